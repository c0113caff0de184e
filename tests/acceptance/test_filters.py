"""Packet filters in the fabric and in nodes.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

On a fabric that loses IP protocol 4 (calico-node reports healthy: BGP is TCP) Always connects no
pods of different nodes, CrossSubnet those of one subnet, and Never is none the worse.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.packets import ping
from support.patience import eventually
from support.topologies import one_subnet, two_subnets

from calico_mn import Drop
from calico_mn.errors import ClusterError, UnsupportedError
from calico_mn.kernel.tunnel import kernel_reason

pytestmark = pytest.mark.root

NODES = ("node31", "node32", "node33")
PODS = ("a", "b", "c")
NOBODY = {pod: set() for pod in PODS}
NEIGHBOURS = {"a": {"b"}, "b": {"a"}, "c": set()}


def unfiltered(family: str) -> str:
    """Why this kernel cannot filter in ``family``, asked in a namespace that ends with it."""
    asked = subprocess.run(["unshare", "-n", "nft", "add", "table", family, "t"],
                           capture_output=True, text=True, timeout=60, check=False)
    return "" if asked.returncode == 0 else (
        f"nft cannot filter in family {family} here: {' '.join(asked.stderr.split())[:120]}")


@pytest.fixture
def routed_filters() -> None:
    reason = unfiltered("ip")
    if reason:
        pytest.skip(reason)


@pytest.fixture
def switched_filters() -> None:
    reason = unfiltered("bridge")
    if reason:
        pytest.skip(reason)


def rules(net, place) -> str:
    """Those of filters, that is, without the eBPF tunnel's own."""
    out, err, status = net[place].pexec(["nft", "list", "ruleset"])
    assert status == 0, err
    return re.sub(r"(?s)table ip calico_mn_tunl0 \{.*?\n\}\n", "", out)


def speakers(net) -> dict[str, object]:
    return {node: net.distributor.learned(node) for node in NODES}


def tcp_between_nodes(net) -> None:
    """What BGP needs: a TCP connection from node31 to port 179 of node33."""
    serving = net["node33"].popen(["iperf3", "-s", "-1", "-p", "179"])
    try:
        assert eventually(lambda: net["node31"].pexec(
            ["iperf3", "-c", net["node33"].address, "-p", "179", "-n", "1K"])[2] == 0)
    finally:
        serving.kill()
        serving.communicate()


@pytest.mark.parametrize(("mode", "pods_reached", "pods_healthy"), [
    ("Always", NOBODY, full_mesh(*PODS)),
    ("CrossSubnet", NEIGHBOURS, full_mesh(*PODS)),
    ("Never", NEIGHBOURS, NEIGHBOURS),
])
def test_a_fabric_without_protocol_4(boot, routed_filters, mode, pods_reached, pods_healthy):
    net = boot(two_subnets(mode))
    before = speakers(net)
    routes = net["node31"].pexec(["ip", "route"])[0]
    with net.dropping(net.fabric, Drop.IPIP):
        expect_connectivity(net, pods_reached)
        expect_connectivity(net, full_mesh(*NODES))
        tcp_between_nodes(net)
        assert speakers(net) == before
        assert net["node31"].pexec(["ip", "route"])[0] == routes
        lost = sum(net.dropped(place)[Drop.IPIP] for place in net.fabric)
        assert (lost > 0) == (mode != "Never")
    expect_connectivity(net, pods_healthy)
    assert [rules(net, place.name) for place in net.fabric] == [""] * 3
    assert net.dropped("r1") == {}


# The same with switches alone, as the User-Mode Linux guest's kernel has nft for bridges only.
@pytest.mark.ipip
@pytest.mark.parametrize(("mode", "pods_reached"), [
    ("Always", NOBODY), ("CrossSubnet", NEIGHBOURS)])
def test_switches_without_protocol_4(boot, switched_filters, mode, pods_reached):
    net = boot(two_subnets(mode))
    with net.dropping(net.switches, Drop.IPIP):
        expect_connectivity(net, pods_reached)
        expect_connectivity(net, full_mesh(*NODES))
        assert net.dropped("rack-a")[Drop.IPIP] > 0
    expect_connectivity(net, full_mesh(*PODS))


def test_a_router_alone_parts_the_subnets(boot, routed_filters):
    net = boot(two_subnets("Always"))
    net.set_filter("r1", Drop.IPIP)
    expect_connectivity(net, NEIGHBOURS)
    net.set_filter("r1")
    expect_connectivity(net, full_mesh(*PODS))


UDP_SEND = ("import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
            " [s.sendto(b'x', (sys.argv[1], int(port))) for port in sys.argv[2:]]")


@pytest.mark.parametrize("place", ["rack-a", "node31"])
def test_only_one_udp_port_is_lost(boot, switched_filters, routed_filters, place):
    net = boot(one_subnet("Never"), policies=False)  # Felix lets no pod send to port 4789.
    net.set_filter(place, Drop(17, port=4789))
    net["a"].pexec([sys.executable, "-c", UDP_SEND, net["b"].ip, "4789", "4788", "4789", "53"])
    assert net.dropped(place) == {Drop(17, port=4789): 2}


def test_every_lost_packet_is_counted(boot, switched_filters):
    net = boot(one_subnet("Always"))
    net.set_filter("rack-a", Drop.IPIP)
    assert ping(net, "a", net["b"].ip, "-c5", "-i0.01", "-W1")[1] != 0
    assert net.dropped("rack-a") == {Drop.IPIP: 5}


def test_filters_add_up_and_a_counter_outlives_changes_beside_it(boot, switched_filters):
    net = boot(one_subnet("Always"))
    with net.dropping("rack-a", Drop.IPIP):
        ping(net, "a", net["b"].ip, "-W1")
        with net.dropping("rack-a", Drop(17)):
            assert "ip protocol udp" in rules(net, "rack-a")
            ping(net, "a", net["b"].ip, "-W1")
        assert net.dropped("rack-a") == {Drop.IPIP: 2}
    assert rules(net, "rack-a") == ""


def test_a_person_sees_the_filter_in_the_namespace_and_in_the_log(boot, routed_filters):
    net = boot(two_subnets("Always"))
    net.set_filter(["r1", net["rack-a"]], Drop.IPIP)
    shown = rules(net, "r1")
    assert "table ip calico_mn_protocol_4" in shown and "hook forward" in shown
    assert "table bridge calico_mn_protocol_4" in rules(net, "rack-a")
    log = net["r1"].cmd("cat /var/log/calico/cni/cni.log")
    assert "nft 'add table ip calico_mn_protocol_4'" in log


# pod a sends 1480 bytes with DF into a route of node31 that takes 1400: node31 answers with
# "fragmentation needed", unless it is filtered there.
@pytest.mark.parametrize(("hooks", "answered"), [
    (("input", "forward", "output"), False), (("output",), False), (("input", "forward"), True)])
def test_fragmentation_needed_is_lost_in_the_node_that_sends_it(boot, routed_filters, hooks,
                                                                answered):
    net = boot(one_subnet("Never"))
    net["node31"].pexec(["ip", "route", "replace", "10.22.32.0/26", "via", net["node32"].address,
                         "mtu", "1400"])
    with net.dropping("node31", Drop.FRAGMENTATION_NEEDED, hooks=hooks):
        text, _ = ping(net, "a", net["b"].ip, "-M", "do", "-s", "1400", "-W1")
        assert ("mtu = 1400" in text or "mtu=1400" in text) == answered, text
        assert net.dropped("node31") == {Drop.FRAGMENTATION_NEEDED: 0 if answered else 1}
        # Small packets and other ICMP pass.
        expect_connectivity(net, full_mesh("a", "b"))
    net["a"].pexec(["ip", "route", "flush", "cache"])
    text, _ = ping(net, "a", net["b"].ip, "-M", "do", "-s", "1400", "-W1")
    assert "1400" in text and "mtu" in text


# pod a sends 1480 bytes with DF to pod c, and r1's cable to rack-b takes 1400: r1's answer goes
# back through rack-a and node31, and can be lost at each of them, or by the pod itself.
@pytest.mark.parametrize("place", ["r1", "rack-a", "node31", "a"])
def test_a_routers_fragmentation_needed_is_lost_on_its_way_back(boot, routed_filters, place):
    net = boot(two_subnets("Never", pod_routes=True))
    net["r1"].pexec(["ip", "link", "set", "eth1", "mtu", "1400"])
    large = ("-M", "do", "-s", "1400", "-W1")
    with net.dropping(place, Drop.FRAGMENTATION_NEEDED):
        text, _ = ping(net, "a", net["c"].ip, *large)
        assert "1400" not in text.partition("bytes of data")[2], text
        assert net.dropped(place) == {Drop.FRAGMENTATION_NEEDED: 1}
        expect_connectivity(net, full_mesh("a", "c"))
    text, _ = ping(net, "a", net["c"].ip, *large)
    assert "From 192.168.57.1" in text and "1400" in text.partition("bytes of data")[2], text


def test_what_cannot_be_filtered_is_refused_and_changes_nothing(boot, routed_filters):
    net = boot(two_subnets("Always"), policies=False)
    with pytest.raises(ClusterError, match="no node, pod, router, host or subnet is called 'r9'"):
        net.set_filter(["r1", "r9"], Drop.IPIP)
    with pytest.raises(ClusterError, match="hooks: input, forward, output"):
        net.set_filter("r1", Drop.IPIP, hooks=["ingress"])
    if kernel_reason() is not None:
        with pytest.raises(UnsupportedError, match="node31: with the ebpf tunnel"):
            net.set_filter(["r1", "node31"], Drop.IPIP)
    assert rules(net, "r1") == rules(net, "node31") == ""


@pytest.mark.parametrize("hook", ["input", "forward"])
def test_a_node_filters_the_outer_packets_that_it_receives(boot, routed_filters, hook):
    net = boot(one_subnet("Always"))
    with net.dropping("node32", Drop.IPIP, hooks=[hook]):
        expect_connectivity(net, {"a": set(), "b": set()} if hook == "input"
                            else full_mesh("a", "b"))
        # One from each side, each way: what node32 sends is not lost, but what answers it.
        assert net.dropped("node32") == {Drop.IPIP: 0 if hook == "forward" else 2}
    expect_connectivity(net, full_mesh("a", "b"))


def test_a_filter_that_is_refused_half_way_is_taken_back(boot, routed_filters, monkeypatch):
    net = boot(two_subnets("Always"))
    net["rack-b"].pexec(["nft", "add", "table", "bridge", "calico_mn_protocol_4"])
    net["rack-b"].pexec(["nft", "add", "chain", "bridge", "calico_mn_protocol_4", "forward"])
    with pytest.raises(Exception, match="rack-b: nft"):
        net.set_filter(["r1", "rack-b"], Drop.IPIP)
    assert rules(net, "r1") == ""


def test_a_node_that_left_takes_its_filter_along(boot, routed_filters):
    net = boot(two_subnets("Always"), policies=False)
    with net.dropping(["node32", "r1"], Drop.FRAGMENTATION_NEEDED):
        net.delete_node("node32")
        net.add_node("node32", "192.168.57.32/24")
    assert rules(net, "node32") == rules(net, "r1") == ""
    assert net.dropped("node32") == {}
