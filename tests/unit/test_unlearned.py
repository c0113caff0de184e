"""Why a speaker has not learned a prefix: a table of clusters, each with what is wrong.

    node31 .31    node32 .32               node33 .33
       |             |                        |
  -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.bgp.unlearned import Unlearned, mistake
from calico_mn.bgp_resources import BGPFilter, BGPFilterRule, BGPPeer, SessionOptions
from calico_mn.calico.cluster import Cluster
from calico_mn.emulation.plan import host_states
from calico_mn.emulation.speakers import peer_graph, peerings_of, set_sessions

from .clusters import NODE31, NODE32, NODE33, net, topology

BLOCK33 = net("10.22.200.0/26")
REFLECTOR = replace(NODE32, route_reflector="244.0.0.1", labels=(("rr", "true"),))
CLIENTS = BGPPeer("clients", node_selector="!has(rr)", peer_selector="has(rr)",
                  options=SessionOptions(filters=("no",)))
REFLECTED = {"mesh": False, "nodes": (NODE31, REFLECTOR, NODE33), "bgp_peers": (CLIENTS,)}
REJECT = BGPFilterRule(accepts=False, cidr=BLOCK33, operator="Equal")

#: changes of the topology, speakers that die and are told to be dead, pairs without TCP -> why
CASES = {
    "all-is-well": ({}, (), {}, ""),
    "no-mesh": ({"mesh": False}, (), {},
                "there is no node-to-node mesh, and no BGPPeer makes a session"),
    "no-tcp": ({}, (), {("node31", "node33"): "no route to 192.168.58.33"},
               "the BGP session of node31 and node33 is down: no route to 192.168.58.33"),
    "reflected": (REFLECTED, (), {}, ""),
    "not-to-the-reflector": (
        REFLECTED, (), {("node32", "node33"): "refused"},
        "the BGP session of node32 and node33 is down: refused"),
    "not-from-the-reflector": (
        REFLECTED, (), {("node31", "node32"): "refused"},
        "the BGP session of node31 and node32 is down: refused"),
    "export-filter": (
        {**REFLECTED, "bgp_filters": (BGPFilter("no", exports=(REJECT,)),)}, (), {},
        "node33 does not send it to node32: the export rules of BGPFilter no reject it"),
    "import-filter": (
        {**REFLECTED, "bgp_filters": (BGPFilter("no", imports=(REJECT,)),)}, (), {},
        "node32 does not take it from node33: the import rules of BGPFilter no reject it"),
    "outside-the-mesh": (
        {"nodes": (NODE31, NODE32, replace(NODE33, route_reflector="244.0.0.1"))}, (), {},
        "node33 is a route reflector, not in the mesh"),
    "wrong-AS": (
        {"mesh": False, "bgp_peers": (BGPPeer("p", peer_ip=NODE33.address.ip, as_number=64999),)},
        (), {}, "node31 has no BGP session with node33: node33 is in AS 64512, node31 expects AS"
        " 64999: set the BGPPeer's asNumber to 64512"),
    "no-such-peer": (
        {"mesh": False, "bgp_peers": (BGPPeer("p", peer_ip=NODE33.address.ip + 1),)}, (), {},
        "node31 has no BGP session with 192.168.58.34: no node has 192.168.58.34, so that no BGP"
        " speaker answers: peerIP must be the address of a node, or of a router with bgp"),
    "one-way": (
        {"mesh": False, "bgp_peers": (replace(
            CLIENTS, node_selector="all()", peer_selector="", peer_ip=NODE33.address.ip,
            is_reversed=False),)}, (), {},
        "node31 has no BGP session with node33: node33 has no peering with node31: a port in peerIP"
        " must be its listenPort, and with reversePeering Manual it needs a BGPPeer of its own"),
    "no-cluster-id": (
        {**REFLECTED, "nodes": (NODE31, replace(REFLECTOR, route_reflector=""), NODE33)}, (), {},
        "they are not peers, and without a routeReflectorClusterID nothing is handed on by node32"),
    "own-speaker": ({}, ("node31",), {}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reason_is_named(case):
    changes, dead, unreachable, wanted = CASES[case]
    cluster = Cluster(replace(topology(), **changes), 2)
    engine = BuiltInEngine()
    cluster.probed = {frozenset(pair): why for pair, why in unreachable.items()}
    host_states(cluster, engine)
    cluster.probed = {frozenset(pair): why for pair, why in unreachable.items()}
    set_sessions(cluster, engine)
    for name in dead:
        engine.kill(name)
    asked = Unlearned(engine, peer_graph(cluster), peerings_of(cluster), BLOCK33, "node33")
    if wanted is None:
        assert asked.why("node31") == "node31 learns nothing, since it has no speaker"
    else:
        assert asked.why("node31") == (
            wanted and f"node31 did not learn {BLOCK33} from node33: {wanted}")
        assert bool(wanted) is (BLOCK33 not in engine.learned("node31"))
    assert asked.why("node33") == asked.why("r1") == ""


#    node31 -- reflector node32 -- reflector node34 -- node33
def test_reflectors_with_one_cluster_id_do_not_hand_on_what_the_other_reflected():
    other = replace(REFLECTOR, name="node34", address=ip_interface("192.168.57.34/24"))
    cluster = Cluster(replace(topology(), mesh=False, nodes=(NODE31, REFLECTOR, NODE33, other),
                              bgp_peers=(BGPPeer("rr", node_selector="has(rr)",
                                                 peer_selector="has(rr)"),
                                         BGPPeer("a", "node31", peer_ip=REFLECTOR.address.ip),
                                         BGPPeer("b", "node33", peer_ip=other.address.ip))), 2)
    engine = BuiltInEngine()
    host_states(cluster, engine)
    asked = Unlearned(engine, peer_graph(cluster), peerings_of(cluster), BLOCK33, "node33")
    assert BLOCK33 in engine.learned("node32") and BLOCK33 not in engine.learned("node31")
    assert asked.why("node31").endswith(
        "node32 does not hand on what node34 reflected, with the same routeReflectorClusterID"
        " 244.0.0.1: give each its own")


def test_what_a_dead_reflector_told_may_be_over():
    cluster = Cluster(replace(topology(), **REFLECTED), 2)
    engine = BuiltInEngine()
    host_states(cluster, engine)
    engine.kill("node32")
    asked = Unlearned(engine, peer_graph(cluster), peerings_of(cluster), BLOCK33, "node33")
    assert BLOCK33 in engine.learned("node31")
    assert asked.why("node31").endswith(
        "the BGP session of node31 and node32 is down: no speaker on node32")


def test_a_bgppeer_beside_the_mesh_makes_no_second_session():
    peer = BGPPeer("p", peer_selector="all()", options=SessionOptions(filters=("no",)))
    cluster = Cluster(replace(topology(), bgp_peers=(peer,), bgp_filters=(
        BGPFilter("no", exports=(REJECT,)),)), 2)
    ends, speakers = peerings_of(cluster), peer_graph(cluster).speakers
    assert [mistake("node31", end, ends, speakers) for end in ends["node31"]] == ["", "", *(
        f"node31 has a session of the node-to-node mesh with {name} already: set"
        " nodeToNodeMeshEnabled false, or leave the BGPPeer out" for name in ("node32", "node33"))]
    assert peer_graph(cluster).heard("node31") == {}
