"""What people report about Calico's BGP, staged on both engines: the cause and the remedy are said.

    ant .11   bee .12                       cat .13   dog .14
    pod p-ant                               pod p-cat
       |         |                             |         |
  -----+---------+- east -- (.1) core (.1) -- west ------+--      core speaks BGP, AS 64600
       10.81.1.0/24                            10.81.2.0/24

Numbers are those of issues of projectcalico/calico. Each case says of p-ant and p-cat, between
which no packet passes, what ``bgp`` shows of ant's session, what ``verify`` notes of ant, and what
``trace`` names as the reason; empty where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from support.engines import NEEDS_BIRD, learned, resource
from support.patience import eventually

from calico_mn import CalicoNet, Drop
from calico_mn.bgp.engine import ENGINES
from calico_mn.bgp.timers import read_timers
from calico_mn.control.dispatcher import Job
from calico_mn.control.verification import remarks
from calico_mn.topology import parse_topology
from calico_mn.trace.probe import trace

pytestmark = [pytest.mark.root, NEEDS_BIRD]

NODES = {"ant": "10.81.1.11", "bee": "10.81.1.12", "cat": "10.81.2.13", "dog": "10.81.2.14"}
UNDERLAY = """
apiVersion: calico-mn/v1
kind: Underlay
metadata: {name: zoo}
spec:
  subnets: [{name: east, cidr: 10.81.1.0/24}, {name: west, cidr: 10.81.2.0/24}]
  routers:
  - name: core
    bgp: {asNumber: 64600}
    interfaces: [{subnet: east, address: 10.81.1.1}, {subnet: west, address: 10.81.2.1}]
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: main}
spec: {cidr: 172.30.0.0/16}
---
apiVersion: v1
kind: PodList
items:
- {metadata: {name: p-ant}, spec: {nodeName: ant}}
- {metadata: {name: p-cat}, spec: {nodeName: cat}}
---
apiVersion: projectcalico.org/v3
kind: NodeList
items:
""" + "".join(f"- {{metadata: {{name: {name}}}, spec: {{bgp: {{ipv4Address: {address}/24}}}}}}\n"
              for name, address in NODES.items())


def node(name: str, cluster_id: str = "", **labels: str) -> dict[str, Any]:
    bgp = {"ipv4Address": f"{NODES[name]}/24"}
    return resource("Node", name, labels, bgp={
        **bgp, **({"routeReflectorClusterID": cluster_id} if cluster_id else {})})


def peer(name: str, **spec: Any) -> dict[str, Any]:
    return resource("BGPPeer", name, **spec)


def mesh(is_on: bool) -> dict[str, Any]:
    return resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=is_on)


class Case(NamedTuple):
    """Resources that are applied while the mesh is off, or what is done with the mesh on."""

    resources: tuple[dict[str, Any], ...] = ()
    act: Callable[[CalicoNet], object] | None = None
    bgp: str = ""
    verify: str = ""
    trace: str = ""


def misfit(resources: dict[str, Any], name: str, why: str) -> Case:
    """A case of a session that cannot be."""
    return Case((resources,), None, why, f"ant: no BGP session with {name} ({why}",
                f"ant has no BGP session with {name}: {why}")


def broken(act: Callable[[CalicoNet], object], why: str) -> Case:
    """A case of a session that is cut off."""
    return Case((), act, why, why, f"the BGP session of ant and cat is down: {{}}{why}")


BGP = Drop(6, port=179)
ALONE = "it is in no node-to-node mesh, and no BGPPeer makes a session"
NO_MESH = "there is no node-to-node mesh, and no BGPPeer makes a session"
RR = "244.0.0.1"
CASES = {
    "3309-a-node-drops-port-179": broken(
        lambda net: net.set_filter("cat", [BGP]), "TCP port 179 is dropped at cat"),
    "4059-a-router-drops-port-179": broken(
        lambda net: net.set_filter("core", [BGP]), "TCP port 179 is dropped at core"),
    "2961-another-AS-of-a-node": misfit(
        peer("p", peerIP=NODES["cat"], asNumber=64513), "cat",
        "cat is in AS 64512, ant expects AS 64513: set the BGPPeer's asNumber to 64512"),
    "2021-another-AS-of-a-router": misfit(
        peer("p", peerIP="10.81.1.1", asNumber=64601), "core",
        "core is in AS 64600, ant expects AS 64601: set the BGPPeer's asNumber to 64600"),
    "1939-a-reflector-that-is-not-there": misfit(
        peer("p", peerIP="10.81.1.99", asNumber=64512), "10.81.1.99",
        "no node has 10.81.1.99, so that no BGP speaker answers: peerIP must be the address of a"
        " node, or of a router with bgp"),
    "4103-another-port": misfit(
        peer("p", node="ant", peerIP=f"{NODES['cat']}:1790"), "cat",
        "cat has no peering with ant: a port in peerIP must be its listenPort, and with"
        " reversePeering Manual it needs a BGPPeer of its own"),
    "4992-the-mesh-goes-before-other-peers-come": Case((), None, "", ALONE, NO_MESH),
    "selectors-that-select-nothing": Case(
        (peer("p", nodeSelector="rack == 'west'", peerSelector="rr == 'yes'"),), None, "", ALONE,
        NO_MESH),
    "no-routeReflectorClusterID": Case(
        (node("bee", rr=""), peer("p", nodeSelector="!has(rr)", peerSelector="has(rr)")), None,
        "", "", "without a routeReflectorClusterID nothing is handed on by bee"),
    "2735-reflectors-with-one-cluster-id": Case(
        (node("bee", RR, rr=""), node("dog", RR, rr=""),
         peer("rr", nodeSelector="has(rr)", peerSelector="has(rr)"),
         peer("a", node="ant", peerIP=NODES["bee"]), peer("c", node="cat", peerIP=NODES["dog"])),
        None, "", "", "bee does not hand on what dog reflected, with the same"
        f" routeReflectorClusterID {RR}: give each its own"),
}


@pytest.fixture(scope="module", params=ENGINES)
def running(request: pytest.FixtureRequest, tunnel: str) -> Iterator[CalicoNet]:
    timers = read_timers("short,hold=3,graceful-restart=2") if request.param == "bird" else None
    with CalicoNet(parse_topology(UNDERLAY), tunnel=tunnel, engine=request.param, timers=timers,
                   policies=False) as net:
        yield net


@pytest.fixture
def net(running: CalicoNet, monkeypatch: pytest.MonkeyPatch) -> Iterator[CalicoNet]:
    """The nodes as at first, without BGPPeers. Calls do not wait for what does not come."""
    peers = running.resources("bgppeer")
    if peers:
        running.delete_resources(peers)
    with monkeypatch.context() as patch:
        patch.setattr("calico_mn.emulation.bird._PATIENCE_LATER_S", 1.0)
        yield running
    for place in ("cat", "core"):
        running.set_filter(place)
    running.apply([mesh(False), *map(node, NODES)])


def session(net: CalicoNet) -> list[str]:
    """Why each session of ant with cat, a router or a stranger is down; empty if it is up."""
    if net.birds:
        net.refresh_sessions()
    return [item.reason for item in net.bgp.sessions("ant") if item.peer in ("cat", "core", "")]


def notes(net: CalicoNet) -> list[str]:
    """What ``verify`` notes of ant."""
    if net.birds:
        net.refresh_sessions()
    return [text for text in remarks(Job(net)) if text.startswith("ant: ")]


@pytest.mark.parametrize("case", CASES)
def test_the_cause_and_the_remedy_are_said(net: CalicoNet, case: str) -> None:
    resources, act, of_bgp, of_verify, of_trace = CASES[case]
    net.apply([mesh(act is not None), *resources])
    if act is not None:
        assert eventually(lambda: session(net) == [""], pause=0.3)
        act(net)
    assert eventually(lambda: all(of_bgp in why for why in session(net)), pause=0.3), session(net)
    assert bool(session(net)) is bool(of_bgp)
    assert eventually(lambda: [of_verify in text for text in notes(net)]
                      == [True] * bool(of_verify), pause=0.3), notes(net)
    assert "cat" not in learned(net)["ant"] and net.verify() == ()
    reasons: list[str] = []
    assert eventually(lambda: reason(net, reasons).startswith("ant did not learn")), reasons
    assert all(words in reasons[-1] for words in of_trace.split("{}")), reasons[-1]


def reason(net: CalicoNet, reasons: list[str]) -> str:
    """What a trace says of the route that is not there, after the place that drops the packet."""
    drop = trace(net, "p-ant", "p-cat", patience=0.3).drop
    reasons.append(drop.reason.partition("; ")[2] if drop else "")
    return reasons[-1]


def knows(net: CalicoNet, *names: str) -> bool:
    """Whether each of these nodes has routes to the blocks of the others."""
    return all({*names} <= {name, *learned(net)[name]} for name in names)


def test_what_the_remedies_say_helps(net: CalicoNet) -> None:
    """2961 with the AS number of cat, then 2735 with a cluster id for each reflector."""
    for resources in ([peer("p", peerIP=NODES["cat"], asNumber=64512)],
                      [node("bee", RR, rr=""), node("dog", "244.0.0.2", rr=""), *CASES[
                          "2735-reflectors-with-one-cluster-id"].resources[2:]]):
        net.apply([mesh(False), *resources])
        assert eventually(lambda: knows(net, "ant", "cat") and net.verify() == () and not [
            item for item in net.bgp.sessions() if item.node in ("ant", "cat") and item.reason])
        net.delete_resources(net.resources("bgppeer"))


def test_a_mesh_that_comes_and_goes_leaves_reflectors_as_they_were(net: CalicoNet) -> None:
    """3785: afterwards the configuration of BIRD was not written any more."""
    net.apply([mesh(False), node("bee", RR, rr=""),
               peer("p", nodeSelector="!has(rr)", peerSelector="has(rr)")])
    assert eventually(lambda: knows(net, "ant", "cat"))
    before = [(item.node, item.peer, item.kind) for item in net.bgp.sessions()]
    net.apply([mesh(True)])
    assert "node-to-node mesh" in [str(item.kind) for item in net.bgp.sessions("ant")]
    net.apply([mesh(False)])
    assert [(item.node, item.peer, item.kind) for item in net.bgp.sessions()] == before
    assert eventually(lambda: knows(net, "ant", "cat") and net.verify() == ())
    net.apply([node("bee")])
    assert eventually(lambda: not knows(net, "ant", "cat"))


def test_a_session_whose_peers_are_mended_is_up_before_it_is_asked_about(net: CalicoNet) -> None:
    """What BIRD said of a wrong AS number says nothing of the right one."""
    net.apply([mesh(False), peer("p", peerIP=NODES["cat"], asNumber=64513)])
    assert eventually(lambda: all("expects AS 64513" in why for why in session(net)), pause=0.3)
    net.apply([peer("p", peerIP=NODES["cat"], asNumber=64512)])
    assert eventually(lambda: knows(net, "ant", "cat") and net.verify() == ())


def test_a_dropped_port_is_known_whatever_the_peers_are(net: CalicoNet) -> None:
    net.apply([mesh(False), peer("p", peerIP=NODES["cat"], asNumber=64512)])
    assert eventually(lambda: knows(net, "ant", "cat"))
    net.set_filter("cat", [BGP])
    assert eventually(lambda: session(net) != [""] and not knows(net, "ant", "cat"), pause=0.3)
    net.apply([peer("p", peerIP=NODES["cat"], asNumber=64512, maxRestartTime="60s")])
    assert not knows(net, "ant", "cat")


def test_a_password_is_said_to_have_no_effect(net: CalicoNet) -> None:
    """9610: passwords that differ keep sessions down, and here there are none."""
    (warning,) = net.apply([mesh(False), peer("p", peerSelector="all()", password={
        "secretKeyRef": {"name": "bgp", "key": "rr"}})]).warnings
    assert warning.startswith("BGPPeer spec.password has no effect: sessions have none; in a real")
    assert eventually(lambda: all(item.is_up for item in net.bgp.sessions()))


#    the Node of cat has the address of its second network (8607, 3541), to which no router leads
@pytest.mark.parametrize("engine", ENGINES)
def test_a_node_with_the_address_of_another_interface(engine: str, tunnel: str) -> None:
    text = UNDERLAY.replace(", {subnet: west, address: 10.81.2.1}", "")
    why = "core has no route to 10.81.2.13"
    with CalicoNet(parse_topology(text), tunnel=tunnel, engine=engine, policies=False) as net:
        # A BIRD that has not tried to connect yet knows no error.
        assert eventually(lambda: session(net)[0].endswith(why)), session(net)
        (noted,) = notes(net)
        assert "no BGP session with cat (" in noted and f"{why}), dog (" in noted
        reasons: list[str] = []
        assert eventually(lambda: reason(net, reasons).startswith("ant did not learn")), reasons
        assert "the BGP session of ant and cat is down: " in reasons[-1]
        assert reasons[-1].endswith(why)
