"""Who peers with whom: the mesh, BGPPeers, reflectors, and what a file may not say."""

from dataclasses import replace

import pytest

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.bgp.graph import Graph, Speaker
from calico_mn.bgp.peerings import Peering, PeerType, peerings
from calico_mn.bgp_resources import BGPConfiguration, BGPPeer, SessionOptions
from calico_mn.errors import TopologyError
from calico_mn.topology import parse_topology

from .clusters import NODE31, NODE32, NODE33, ip, net

RR = replace(NODE31, route_reflector="244.0.0.1", labels=(("rr", "true"),))
ROUTER = ip("192.168.57.1")


def ends(*nodes, mesh=True, peers=(), **configuration):
    return peerings(nodes, mesh=mesh, configuration=BGPConfiguration(**configuration), peers=peers)


def shown(*args, **options):
    """Each end as ``name as port``, with what is special of it."""
    return {node: [" ".join(filter(None, (
        end.name, f"as {end.as_number}", f"port {end.port}" if end.port else "",
        "passive" if end.is_passive else "", "client" if end.is_client else "",
        "" if end.peer else "no-node"))) for end in own]
        for node, own in ends(*args, **options).items()}


BY_LABEL = BGPPeer("clients", node_selector="!has(rr)", peer_selector="has(rr)")


@pytest.mark.parametrize(("options", "wanted"), [
    pytest.param({}, {
        "node31": ["Mesh_192_168_57_32 as 64512 passive", "Mesh_192_168_58_33 as 64512 passive"],
        "node32": ["Mesh_192_168_57_31 as 64512", "Mesh_192_168_58_33 as 64512 passive"],
        "node33": ["Mesh_192_168_57_31 as 64512", "Mesh_192_168_57_32 as 64512"]}, id="mesh"),
    pytest.param({"mesh": False}, {"node31": [], "node32": [], "node33": []}, id="no-mesh"),
    pytest.param({"mesh": False, "peers": [BGPPeer("tor", peer_ip=ROUTER, as_number=65001)]},
                 {node.name: ["Global_192_168_57_1 as 65001 no-node"]
                  for node in (NODE31, NODE32, NODE33)}, id="router-of-all"),
    pytest.param({"mesh": False, "peers": [
        BGPPeer("tor", node="node32", peer_ip=ROUTER, peer_port=1790, as_number=65001)]},
        {"node31": [], "node32": ["Node_192_168_57_1_port_1790 as 65001 no-node"], "node33": []},
        id="router-of-one"),
    pytest.param({"mesh": False, "peers": [BGPPeer("pair", node="node32", peer_ip=ip(
        "192.168.58.33"))]}, {
        "node31": [], "node32": ["Node_192_168_58_33 as 64512 passive"],
        "node33": ["Node_192_168_57_32 as 64512"]}, id="node-by-address-and-back"),
    pytest.param({"mesh": False, "peers": [BGPPeer("pair", node="node32", peer_ip=ip(
        "192.168.58.33"), as_number=65001)]}, {
        "node31": [], "node32": ["Node_192_168_58_33 as 65001 passive"], "node33": []},
        id="wrong-as-is-not-reversed"),
    pytest.param({"mesh": False, "listen_port": 1790, "as_number": 65000, "peers": [
        BGPPeer("pair", node="node32", peer_ip=ip("192.168.58.33"))]}, {
        "node31": [], "node32": ["Node_192_168_58_33_port_1790 as 65000 port 1790 passive"],
        "node33": ["Node_192_168_57_32_port_1790 as 65000 port 1790"]}, id="listen-port"),
])
def test_three_nodes(options, wanted):
    got = shown(NODE31, NODE32, NODE33, **options)
    assert {node: [line.replace(" port 1790 no-node", " no-node") for line in own]
            for node, own in got.items()} == wanted


def test_a_reflector_is_out_of_the_mesh_and_reflects_to_those_with_another_cluster_id():
    assert shown(RR, NODE32, NODE33, mesh=True, peers=[BY_LABEL]) == {
        "node31": ["Node_192_168_57_32 as 64512 passive client",
                   "Node_192_168_58_33 as 64512 passive client"],
        "node32": ["Mesh_192_168_58_33 as 64512 passive", "Node_192_168_57_31 as 64512"],
        "node33": ["Mesh_192_168_57_32 as 64512", "Node_192_168_57_31 as 64512"]}
    twin = replace(NODE32, route_reflector="244.0.0.1")
    assert shown(RR, twin, mesh=False, peers=[BGPPeer("all", peer_selector="all()")]) == {
        "node31": ["Global_192_168_57_32 as 64512 passive"],
        "node32": ["Global_192_168_57_31 as 64512"]}, "a node's own peering yields to a global one"


OPTIONS = SessionOptions(("f", "g"), restart_time=30, keeps_next_hop=True, allowed_local_as=2)


@pytest.mark.parametrize(("peer", "node31", "node32"), [
    pytest.param({"node": "node31", "peer_ip": NODE32.address.ip}, OPTIONS,
                 SessionOptions(("f", "g"), 30), id="an-address-and-its-reverse"),
    pytest.param({"node": "node31", "peer_selector": "has(b)"}, SessionOptions(("f", "g"), 30),
                 SessionOptions(("f", "g"), 30), id="selectors"),
    pytest.param({"node": "node31", "peer_selector": "has(b)", "is_reversed": False},
                 SessionOptions(("f", "g"), 30), None, id="manual"),
])
def test_options_of_a_bgp_peer_on_both_sides(peer, node31, node32):
    own = ends(NODE31, replace(NODE32, labels=(("b", ""),)), mesh=False,
               peers=[BGPPeer("p", options=OPTIONS, **peer)])
    assert {name: [end.options for end in items] for name, items in own.items()} == {
        "node31": [node31], "node32": [node32] if node32 else []}


def test_options_of_the_mesh():
    assert ends(NODE31, NODE32, restart_time=40)["node31"][0].options == SessionOptions(
        restart_time=40)


def test_a_node_of_another_as_is_no_client():
    other = replace(NODE32, as_number=65001)
    assert ends(RR, other, mesh=False, peers=[BY_LABEL])["node31"] == (
        Peering(PeerType.NODE, "node32", other.address.ip, 65001, is_passive=True),)


# --- what is learned by it, in the built-in engine

P, Q, R = net("10.22.138.0/26"), net("10.22.151.0/26"), net("10.22.200.0/26")


def engine(*nodes, mesh=False, peers=(), unreachable=()):
    made = BuiltInEngine()
    for node in nodes:
        made.add_node(node.name, node.address.ip)
    speakers = {node.name: Speaker(node.address.ip, 64512, node.route_reflector) for node in nodes}
    made.set_sessions(Graph.of(speakers, ends(*nodes, mesh=False, peers=peers),
                               [node.name for node in nodes] if mesh else ()),
                      dict.fromkeys(map(frozenset, unreachable), "cut"))
    made.announce(dict(zip((node.name for node in nodes), ([P], [Q], [R]), strict=False)))
    return made


def learned(made):
    return {node: set(made.learned(node)) for node in ("node31", "node32", "node33")}


def test_a_reflector_hands_routes_on_with_their_next_hop():
    made = engine(RR, NODE32, NODE33, peers=[BY_LABEL])
    assert learned(made) == {"node31": {Q, R}, "node32": {P, R}, "node33": {P, Q}}
    assert made.learned("node33")[Q] == (NODE32.address.ip,)
    assert (made.sessions("node31"), made.sessions("node32")) == (("node32", "node33"),
                                                                  ("node31",))
    assert made.why_down("node32", "node33") == "they are not peers"
    assert made.announce({"node32": []}) == {"node31", "node32", "node33"} - {"node32"}
    made.kill("node31")
    made.announce({"node33": []})
    assert made.learned("node32") == {P: (NODE31.address.ip,), R: (NODE33.address.ip,)}
    assert made.restart("node31") == {"node31", "node32"}
    assert made.learned("node32") == {P: (NODE31.address.ip,)}


def test_a_client_without_tcp_to_its_reflector_is_alone():
    made = engine(RR, NODE32, NODE33, peers=[BY_LABEL], unreachable=[("node31", "node33")])
    assert learned(made) == {"node31": {Q}, "node32": {P}, "node33": set()}


def test_without_a_cluster_id_nothing_is_handed_on():
    plain = replace(NODE31, labels=RR.labels)
    made = engine(plain, NODE32, NODE33, peers=[BY_LABEL])
    assert learned(made) == {"node31": {Q, R}, "node32": {P}, "node33": {P}}


def test_a_dead_client_stays_known_behind_the_reflector():
    made = engine(RR, NODE32, NODE33, peers=[BY_LABEL])
    made.kill("node32")
    assert learned(made)["node33"] == {P, Q}
    assert made.announce({"node33": []}) == {"node31"}
    assert made.restart("node32") == {"node32"}


# --- what files may say

NODES = "".join(f"""
apiVersion: projectcalico.org/v3
kind: Node
metadata: {{name: node{number}}}
spec: {{bgp: {{ipv4Address: 192.168.57.{number}/24}}}}
---""" for number in (31, 32))


def read(kind, **spec):
    return parse_topology(f"""{NODES}
apiVersion: projectcalico.org/v3
kind: {kind}
metadata: {{name: default}}
spec: {spec!r}
""", environ={})


@pytest.mark.parametrize(("spec", "wanted"), [
    ({"peerIP": "192.168.57.1", "asNumber": 65001},
     BGPPeer("default", peer_ip=ROUTER, as_number=65001)),
    ({"peerIP": "192.168.57.1:1790", "node": "node31", "asNumber": "1.10"},
     BGPPeer("default", "node31", peer_ip=ROUTER, peer_port=1790, as_number=65546)),
    ({"peerSelector": "has(rr)", "nodeSelector": "all()"},
     BGPPeer("default", node_selector="all()", peer_selector="has(rr)")),
    ({"peerIP": "192.168.57.1", "filters": ["f", "g"], "maxRestartTime": "1m30s",
      "keepaliveTime": "20s", "ttlSecurity": 1, "keepOriginalNextHop": True,
      "numAllowedLocalASNumbers": 1, "reversePeering": "Manual"},
     BGPPeer("default", peer_ip=ROUTER, is_reversed=False, options=SessionOptions(
         ("f", "g"), 90, 20, 1, "Auto", True, 1))),
], ids=["address", "port-and-dotted-as", "selectors", "options"])
def test_a_peer_is_read(spec, wanted):
    assert read("BGPPeer", **spec).bgp_peers == (wanted,)


@pytest.mark.parametrize(("kind", "spec", "problem"), [
    ("BGPPeer", {"node": "a", "nodeSelector": "all()", "peerIP": "10.0.0.1"},
     "spec.node must be empty when BGPPeer spec.nodeSelector is given"),
    ("BGPPeer", {"peerSelector": "all()", "peerIP": "10.0.0.1"},
     "spec.peerIP must be empty when BGPPeer spec.peerSelector is given"),
    ("BGPPeer", {"peerSelector": "all()", "asNumber": 1},
     "spec.asNumber must be empty when BGPPeer spec.peerSelector is given"),
    ("BGPPeer", {"peerIP": "10.0.0.1:99999"}, '"10.0.0.1:99999" has no valid port'),
    ("BGPPeer", {"peerIP": "tor"}, '"tor" is not an IPv4 address'),
    ("BGPPeer", {"peerIP": "10.0.0.1", "asNumber": 4294967296}, "is not an AS number"),
    ("BGPPeer", {"peerIP": "10.0.0.1", "keepOriginalNextHop": True, "nextHopMode": "Self"},
     "spec.keepOriginalNextHop and BGPPeer spec.nextHopMode cannot both be set"),
    ("BGPPeer", {"peerSelector": "all()", "reachableBy": "10.0.0.1"},
     "spec.reachableBy must be empty when spec.peerIP is"),
    ("BGPPeer", {"peerIP": "10.0.0.1", "maxRestartTime": 90}, 'must be a time, not "90"'),
    ("BGPPeer", {"peerIP": "10.0.0.1", "ttlSecurity": 256}, "256 is not between 0 and 255"),
    ("BGPPeer", {"peerIP": "10.0.0.1", "filters": "f"}, "must be a list"),
    ("BGPConfiguration", {"ignoredInterfaces": ["eth 1"]}, "is not a device or a pattern"),
    ("BGPConfiguration", {"listenPort": 0}, "0 is not between 1 and 65535"),
    ("BGPConfiguration", {"asNumber": "7.65536"}, "is not an AS number"),
], ids=lambda value: value if isinstance(value, str) else "-")
def test_what_calico_refuses(kind, spec, problem):
    with pytest.raises(TopologyError) as caught:
        read(kind, **spec)
    assert len(caught.value.problems) == 1 and problem in caught.value.problems[0].what


def test_ports_and_numbers_of_the_whole_cluster():
    assert read("BGPConfiguration", asNumber=65000, listenPort=1790, nodeMeshMaxRestartTime="45s",
                ignoredInterfaces=["docker*"]).bgp == BGPConfiguration(65000, 1790, 45, (
                    "docker*",))
