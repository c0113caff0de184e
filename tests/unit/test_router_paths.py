"""What speakers of several ASes converge to, as a table of cases.

      a        b            c
      |        |            |
    --+- left -+- r1 - up - r2 -+- right
"""

from dataclasses import replace

import pytest

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.bgp_resources import BGPConfiguration, BGPPeer
from calico_mn.calico.cluster import Cluster
from calico_mn.emulation.speakers import follow, peer_graph, peerings_of, tunnels_to_routers
from calico_mn.errors import ClusterError
from calico_mn.model import Underlay

from .clusters import NODE31, NODE32, NODE33, ip, net, rack, router, topology

SUBNETS = (rack("rack-a", "192.168.57.0/24"), rack("rack-b", "192.168.58.0/24"),
           rack("up", "10.0.0.0/31"))
PEERS = (BGPPeer("a", node_selector="rack == 'a'", peer_ip=ip("192.168.57.1"), as_number=64601),
         BGPPeer("b", node_selector="rack == 'b'", peer_ip=ip("192.168.58.1"), as_number=64602))
BLOCK = {"node31": net("10.22.31.0/26"), "node33": net("10.22.33.0/26")}


def made(r1=64601, r2=64602, a=64601, b=64601, c=64602, peers=PEERS):
    """A cluster with these ASes, and its engine after a boot."""
    routers = (
        router("r1", ("rack-a", "192.168.57.1"), ("up", "10.0.0.0"), as_number=r1),
        router("r2", ("rack-b", "192.168.58.1"), ("up", "10.0.0.1"), as_number=r2))
    nodes = tuple(replace(node, as_number=number, labels=(("rack", label),))
                  for node, number, label in ((NODE31, a, "a"), (NODE32, b, "a"),
                                              (NODE33, c, "b")))
    cluster = Cluster(replace(
        topology(), underlay=Underlay(SUBNETS, routers), nodes=nodes, mesh=False,
        bgp_peers=peers, bgp=BGPConfiguration()), 2)
    engine = BuiltInEngine()
    follow(engine, cluster)
    engine.announce({"node31": [BLOCK["node31"]], "node32": [], "node33": [BLOCK["node33"]]})
    return cluster, engine


def hops(engine, node, origin):
    return [str(hop) for hop in engine.table(node).get(BLOCK[origin], ())]


@pytest.mark.parametrize(("numbers", "near", "far"), [
    pytest.param({}, ["192.168.57.31"], ["192.168.57.1"], id="reflector"),
    pytest.param({"a": 65031, "b": 65032, "c": 65033}, ["192.168.57.31"], ["192.168.57.1"],
                 id="an-AS-per-node"),
    pytest.param({"a": 65001, "b": 65001, "c": 65002}, [], ["192.168.57.1"],
                 id="own-AS-in-the-path"),
    pytest.param({"r2": 64601, "c": 64601}, ["192.168.57.31"], [], id="wrong-AS-of-the-peer"),
])
def test_next_hops_of_a_node(numbers, near, far):
    _, engine = made(**numbers)
    assert hops(engine, "node32", "node31") == near
    assert hops(engine, "node32", "node33") == far


#    r2 in rack-a, too: the nodes peer with r1 by iBGP, and r1 with r2 by eBGP
def test_a_router_tells_another_one_in_its_subnet_the_node_as_next_hop():
    cluster, engine = made(peers=PEERS[:1])
    routers = (router("r1", ("rack-a", "192.168.57.1"), as_number=64601),
               router("r2", ("rack-a", "192.168.57.2"), as_number=64602))
    beside = Cluster(replace(cluster.topology, underlay=Underlay(SUBNETS, routers)), 2)
    follow(engine, beside, cluster)
    engine.announce({"node31": [BLOCK["node31"]]})
    assert hops(engine, "r2", "node31") == ["192.168.57.31"]


def test_one_as_keeps_the_node_as_next_hop_so_that_tunnels_work():
    peers = (PEERS[0], replace(PEERS[1], as_number=64601))
    cluster, engine = made(r2=64601, c=64601, peers=peers)
    assert hops(engine, "node32", "node33") == ["192.168.58.33"]
    assert tunnels_to_routers(cluster, engine) == ""


@pytest.mark.parametrize("is_dead", [False, True], ids=["alive", "dead"])
@pytest.mark.parametrize(("numbers", "peer_as", "wanted"), [
    pytest.param({"r2": 64601, "c": 64601}, 64601, [
        ("10.22.31.0/26", "192.168.57.1", "192.168.57.31", (), "192.168.57.31", ["192.168.57.1"]),
        ("10.22.33.0/26", "192.168.57.1", "192.168.58.33", (), "192.168.58.33",
         ["192.168.57.1", "192.168.58.1"])], id="two-reflectors"),
    pytest.param({}, 64602, [
        ("10.22.31.0/26", "192.168.57.1", "192.168.57.31", (), "192.168.57.31", ["192.168.57.1"]),
        ("10.22.33.0/26", "192.168.57.1", "192.168.57.1", (64602,), "None", [])],
        id="another-AS"),
])
def test_the_attributes_of_what_a_node_heard(numbers, peer_as, wanted, is_dead):
    _, engine = made(**numbers, peers=(PEERS[0], replace(PEERS[1], as_number=peer_as)))
    if is_dead:
        engine.kill("node32")
    assert [(str(route.prefix), str(route.sender), str(route.next_hop), route.as_path,
             str(route.originator), list(map(str, route.cluster_list)))
            for route in engine.routes("node32")] == wanted
    assert [(route.prefix, route.is_own) for route in engine.routes("node31")][:1] == [
        (BLOCK["node31"], True)]


def test_a_router_at_the_far_end_of_a_tunnel_is_warned_of():
    cluster, engine = made()
    assert tunnels_to_routers(cluster, engine).startswith(
        "IPIP sends packets for other racks to r1 and r2")


def test_a_dead_router_leaves_routes_and_a_cut_session_takes_them():
    cluster, engine = made()
    engine.kill("r1")
    assert hops(engine, "node32", "node33") == ["192.168.57.1"]
    assert engine.why_down("node32", "r1") == "no speaker on r1"
    assert engine.restart("r1") == frozenset()
    pair = frozenset(("r1", "r2"))
    assert engine.set_sessions(peer_graph(cluster), {pair: "cut"}) == {
        "node31", "node32", "node33", "r1", "r2"}
    assert hops(engine, "node32", "node33") == [] and engine.why_down("r1", "r2") == "cut"
    with pytest.raises(ClusterError, match="no BGP speaker on r9"):
        engine.table("r9")


def test_the_peerings_of_a_router():
    cluster, _ = made()
    assert [(end.name, end.peer, end.as_number, end.is_passive, end.is_client, str(end.local))
            for end in peerings_of(cluster)["r1"]] == [
        ("Node_192_168_57_31", "node31", 64601, True, True, "192.168.57.1"),
        ("Node_192_168_57_32", "node32", 64601, True, True, "192.168.57.1"),
        ("Router_10_0_0_1", "r2", 64602, True, False, "10.0.0.0")]
