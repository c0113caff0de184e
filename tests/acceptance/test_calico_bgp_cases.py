"""BGP as Calico's own system tests stage it (node/tests/st/bgp), on both engines.

      rr00 .20   rr01 .21     rr10 .22   rr11 .23       route reflectors, two of each cluster id
         |          |            |          |
   ---+--+---+------+---+--------+----------+---- lan 192.168.57.0/24 -- r1
      |      |          |
   host1 .31 host2 .32  host3 .33                       pods w1, w2, w3

Each case begins without BGPPeers, and the reflectors have sessions by BGPPeers only. Those tests
also look at the addresses of Services (k8st's test_bgp_advert.py), which are not announced here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.engines import NEEDS_BIRD, learned, resource
from support.flows import sent
from support.patience import eventually

from calico_mn import CalicoNet, Drop
from calico_mn.bgp.engine import ENGINES
from calico_mn.bgp.timers import read_timers
from calico_mn.errors import TopologyError
from calico_mn.measure import flows, paths
from calico_mn.model import Topology
from calico_mn.topology import parse_topology

pytestmark = [pytest.mark.root, NEEDS_BIRD]

HOSTS, PODS = ("host1", "host2", "host3"), ("w1", "w2", "w3")
#: the reflectors by name, each with its address and its cluster id
REFLECTORS = {"rr00": ("192.168.57.20", "255.0.0.1"), "rr01": ("192.168.57.21", "255.0.0.1"),
              "rr10": ("192.168.57.22", "255.0.0.2"), "rr11": ("192.168.57.23", "255.0.0.2")}
MESH, GLOBAL, NODE = "node-to-node mesh", "global", "node specific"
LARGE_AS = "4294.566"


def host(name: str, **bgp: Any) -> dict[str, Any]:
    """A host as at first, but for these fields; label ``rr`` if it is a reflector."""
    labels = {"host": "", **({"rr": ""} if "routeReflectorClusterID" in bgp else {})}
    return resource("Node", name, labels,
                    bgp={"ipv4Address": f"192.168.57.3{name[-1]}/24", **bgp})


def topology() -> Topology:
    items = [
        {"apiVersion": "calico-mn/v1", "kind": "Underlay", "metadata": {"name": "lab"}, "spec": {
            "subnets": [{"name": "lan", "cidr": "192.168.57.0/24"}], "routers": [{
                "name": "r1", "interfaces": [{"subnet": "lan", "address": "192.168.57.1"}]}]}},
        *map(host, HOSTS),
        *(resource("Node", name, {"group": cluster_id}, bgp={
            "ipv4Address": f"{address}/24", "routeReflectorClusterID": cluster_id})
          for name, (address, cluster_id) in REFLECTORS.items()),
        resource("IPPool", "pool", cidr="10.22.0.0/16"),
        *({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": {"nodeName": node}}
          for pod, node in zip(PODS, HOSTS, strict=True))]
    return parse_topology(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


@pytest.fixture(scope="module", params=ENGINES)
def running(request: pytest.FixtureRequest, tunnel: str) -> Iterator[CalicoNet]:
    timers = read_timers("short,hold=3,graceful-restart=2") if request.param == "bird" else None
    with CalicoNet(topology(), tunnel=tunnel, engine=request.param, timers=timers, policies=False
                   ) as net:
        yield net


@pytest.fixture
def net(running: CalicoNet) -> CalicoNet:
    """The hosts as at first, no BGPPeer and no mesh."""
    peers = running.resources("bgppeer")
    if peers:
        running.delete_resources(peers)
    configure(running, False)
    running.apply([host(name) for name in HOSTS])
    return running


def configure(net: CalicoNet, mesh: bool, as_number: int | str | None = None) -> None:
    given = {} if as_number is None else {"asNumber": as_number}
    net.apply([resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=mesh, **given)])


def sessions(net: CalicoNet, *names: str) -> dict[str, list[tuple[str, str, str]]]:
    """The sessions of these hosts: type, peer and state, as calicoctl node status has them."""
    net.refresh_sessions()
    return {name: sorted((str(item.kind), item.peer, item.bgp_state or item.state)
                         for item in net.bgp.sessions(name)) for name in names}


def expect_sessions(net: CalicoNet, wanted: dict[str, list[tuple[str, str, str]]]) -> None:
    """BIRD may have all routes before all sessions are up."""
    assert eventually(lambda: sessions(net, *wanted) == wanted, pause=0.3), sessions(net, *wanted)


def has_no_routes(net: CalicoNet) -> bool:
    """Whether each node knows its own blocks only."""
    return not any(learned(net).values())


def expect_pods_connected(net: CalicoNet) -> None:
    """Routes to the node that has the block, with no reflector on the way, and answers."""
    assert {name: learned(net)[name] for name in HOSTS} == {
        name: set(HOSTS) - {name} for name in HOSTS}
    addresses = {net[name].ip for name in HOSTS}
    assert {route.via for name in HOSTS for route in net.kernel_routes(name)
            if route.protocol == "bird" and route.kind == "unicast"} == addresses
    expect_connectivity(net, full_mesh(*PODS))
    assert net.verify() == ()


def test_global_config(net: CalicoNet) -> None:
    """test_global_config.py: AS numbers that are none are refused; one may be that of all nodes."""
    for as_number in (99999999999999999999999, "abcde"):
        with pytest.raises(TopologyError, match="is not an AS number"):
            configure(net, mesh=True, as_number=as_number)
    assert has_no_routes(net)
    expect_connectivity(net, {pod: set() for pod in PODS})
    net.apply([host("host2", asNumber=LARGE_AS)])
    configure(net, mesh=True, as_number=LARGE_AS)
    assert net.topology.bgp.as_number == (4294 << 16) + 566
    expect_sessions(net, {
        name: [(MESH, peer, "Established") for peer in HOSTS if peer != name] for name in HOSTS})
    expect_pods_connected(net)


@pytest.mark.parametrize("kind", [GLOBAL, NODE])
def test_peers_in_the_place_of_the_mesh(net: CalicoNet, kind: str) -> None:
    """test_global_peers.py, test_node_peers.py: each host is named as a peer, of all or of one."""
    net.apply([host(name, asNumber=LARGE_AS) for name in HOSTS])
    assert has_no_routes(net)
    net.apply([resource("BGPPeer", f"{name}-{peer}", peerIP=net[peer].ip, asNumber=LARGE_AS,
                        **({"node": name} if kind == NODE else {"nodeSelector": "has(host)"}))
               for name in HOSTS for peer in HOSTS if name != peer])
    expect_pods_connected(net)


@pytest.mark.parametrize("as_number", [64514, None], ids=["AS-64514", "default-AS"])
def test_a_single_reflector(net: CalicoNet, as_number: int | None) -> None:
    """test_single_route_reflector.py: one global peer, which reflects."""
    configure(net, mesh=False, as_number=as_number)
    assert has_no_routes(net)
    net.apply([resource("BGPPeer", "rr", peerIP=REFLECTORS["rr00"][0],
                        asNumber=as_number or 64512)])
    expect_sessions(net, {name: [(GLOBAL, "rr00", "Established")] for name in HOSTS})
    expect_pods_connected(net)


PEERINGS = resource("BGPPeer", "rr-peerings", nodeSelector="has(host) && !has(rr)",
                    peerSelector="has(rr)")


def test_a_host_becomes_the_reflector(net: CalicoNet) -> None:
    """test_internal_route_reflector.py: the others peer with it alone, by selectors."""
    configure(net, mesh=False, as_number=64514)
    assert has_no_routes(net)
    net.apply([host("host2", routeReflectorClusterID="224.0.0.2"), PEERINGS])
    expect_sessions(net, {
        name: [(NODE, "host2", "Established")] for name in ("host1", "host3")})
    expect_pods_connected(net)


def test_from_the_mesh_to_a_reflector_no_packet_is_lost(net: CalicoNet) -> None:
    """test_switch_route_reflector.py: the peerings come up before the mesh goes."""
    configure(net, mesh=True)
    expect_pods_connected(net)
    by_name = {item.name: item for item in paths.endpoints(net)}
    pair = paths.Pair(by_name["default/w1"], by_name["default/w2"])
    with flows.streams(net, [pair], rate=1000, longest=300) as running:
        before = [sent(net[name], ("eth0",))[0] for name in ("w1", "w2")]
        net.apply([host("host3", routeReflectorClusterID="224.0.0.3"), PEERINGS])
        expect_sessions(net, {
            name: [(NODE, "host3", "Established"), (MESH, peer, "Established")]
            for name, peer in (("host1", "host2"), ("host2", "host1"))})
        configure(net, mesh=False)
        expect_sessions(net, {"host1": [(NODE, "host3", "Established")]})
        # On a busy machine the streams may not have had their turn meanwhile.
        assert eventually(lambda: all(
            sent(net[name], ("eth0",))[0] > count + 10
            for name, count in zip(("w1", "w2"), before, strict=True)))
        until = time.monotonic_ns()
        tallies = [flows.tally(flow, running.began, until) for flow in running.finish().values()]
    assert [tally.lost for tally in tallies] == [0, 0]
    assert all(tally.sent > 10 for tally in tallies)
    expect_pods_connected(net)


def test_a_cluster_of_reflectors(net: CalicoNet) -> None:
    """test_route_reflector_cluster.py: each host peers with two, one of which may go."""
    configure(net, mesh=False, as_number=64513)
    chosen = {"host1": ("rr00", "rr01"), "host2": ("rr10", "rr11"), "host3": ("rr00", "rr01")}
    assert has_no_routes(net)
    net.apply([resource("BGPPeer", "rr-mesh", nodeSelector="has(group)", peerSelector="has(group)"),
               *(resource("BGPPeer", f"{name}-{peer}", node=name, peerIP=REFLECTORS[peer][0],
                          asNumber=64513) for name in HOSTS for peer in chosen[name])])
    expect_sessions(net, {
        name: [(NODE, peer, "Established") for peer in chosen[name]] for name in HOSTS})
    expect_pods_connected(net)
    net.kill_speaker("rr00")
    try:
        assert eventually(lambda: "Established" not in sessions(net, "host1")["host1"][0])
        if net.birds:
            # Once the restart time is over, what rr00 told is gone.
            assert eventually(lambda: {route.sender for route in net.bgp.routes("host1")
                                       if route.sender} == {
                                           net.cluster.nodes["rr01"].address.ip})
        expect_pods_connected(net)
    finally:
        net.restart_speaker("rr00")


def test_a_changed_address_of_a_node(net: CalicoNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """test_update_ip_addr.py: two Node resources have other addresses than their machines."""
    monkeypatch.setattr("calico_mn.emulation.bird._PATIENCE_LATER_S", 1.0)
    for name in ("host1", "host2"):
        number = name[-1]
        for words in (f"address del 192.168.57.3{number}/24",
                      f"address add 192.168.57.4{number}/24", "route add default via 192.168.57.1"):
            assert net[name].pexec(["ip", *words.split(), "dev", "eth0"])[2] == 0
    configure(net, mesh=True)
    net.refresh_sessions()
    assert has_no_routes(net)
    monkeypatch.undo()
    net.apply([host(name, ipv4Address=f"192.168.57.4{name[-1]}/24") for name in ("host1", "host2")])
    expect_sessions(net, {"host1": [(MESH, "host2", "Established"),
                                    (MESH, "host3", "Established")]})
    expect_pods_connected(net)


def test_blocked_bgp_is_reported(net: CalicoNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """test_bgp.py, test_bird_readiness: what is not established is named, until it is again."""
    monkeypatch.setattr("calico_mn.emulation.bird._PATIENCE_LATER_S", 1.0)
    configure(net, mesh=True)
    up = sessions(net, *HOSTS)
    net.set_filter(["host1", "host2"], [Drop(6, port=179)])
    places = {("host1", "host2"): "host2", ("host1", "host3"): "host1", ("host2", "host3"): "host2"}
    assert eventually(lambda: reasons(net) == {
        pair: f"TCP port 179 is dropped at {place}" for pair, place in places.items()}, pause=0.3)
    net.set_filter(["host1", "host2"])
    assert eventually(lambda: sessions(net, *HOSTS) == up and not {
        *HOSTS} & net.bgp.remarks().keys(), pause=0.3), net.bgp.remarks()


def reasons(net: CalicoNet) -> dict[tuple[str, ...], str]:
    """What is the cause of each session that is down, after what BIRD says of it."""
    if net.birds:
        net.refresh_sessions()
    return {tuple(sorted((item.node, item.peer))): item.reason.rpartition("; ")[2]
            for item in net.bgp.sessions() if not item.is_up}
