"""Which route Always, CrossSubnet and Never make of a prefix of another node."""

from dataclasses import replace

import pytest

from calico_mn.calico.encapsulation import IPIP, VXLAN, Peer, format_prefix, named, of_device
from calico_mn.calico.pools import PoolMode
from calico_mn.calico.remote_routes import (
    ClusterRoutes,
    NodeNetwork,
    RemoteRoutes,
    as_of,
    is_tunnelled,
)
from calico_mn.errors import ClusterError
from calico_mn.model import EncapsulationMode
from calico_mn.state import Tunnel

from .clusters import ALWAYS, CROSS, MODES, NEVER, NODE31, ip, net, node, topology

RACK_A, GATEWAY = net("192.168.57.0/24"), ip("192.168.57.1")
A = NodeNetwork(RACK_A, RACK_A, GATEWAY)
A_AS_SLASH_32 = NodeNetwork(net("192.168.57.31/32"), RACK_A, GATEWAY)
A_AS_SLASH_16 = NodeNetwork(net("192.168.0.0/16"), RACK_A, GATEWAY)
A_WITHOUT_DEFAULT_ROUTE = NodeNetwork(RACK_A, RACK_A, None)
B, C = ip("192.168.57.32"), ip("192.168.58.33")
BLOCK = "10.22.151.0/26"

TUNNEL_TO_B = f"{BLOCK} via 192.168.57.32 dev tunl0 proto bird onlink"
TUNNEL_TO_C = f"{BLOCK} via 192.168.58.33 dev tunl0 proto bird onlink"
DIRECT_TO_B = f"{BLOCK} via 192.168.57.32 dev eth0 proto bird"
BY_ROUTER = f"{BLOCK} via 192.168.57.1 dev eth0 proto bird"
UNREACHABLE = f"unreachable {BLOCK} proto bird"


def written(peer, pool, node, prefix=BLOCK, **settings):
    """The lines that BIRD and Felix write for a prefix of ``peer``, BIRD's first."""
    routes = ClusterRoutes.of(as_of(topology(), settings.get("profile", "v3.25")))
    table, modes = {net(prefix): peer}, ((net("10.22.0.0/16"), pool),)
    return [str(route) for is_felix in (False, True)
            for route in RemoteRoutes(is_felix=is_felix).of(table, modes, node, routes)]


@pytest.mark.parametrize(("node", "next_hop", "mode", "line"), [
    pytest.param(A, B, ALWAYS, TUNNEL_TO_B, id="same-subnet-Always"),
    pytest.param(A, B, CROSS, DIRECT_TO_B, id="same-subnet-CrossSubnet"),
    pytest.param(A, B, NEVER, DIRECT_TO_B, id="same-subnet-Never"),
    pytest.param(A, C, ALWAYS, TUNNEL_TO_C, id="across-Always"),
    pytest.param(A, C, CROSS, TUNNEL_TO_C, id="across-CrossSubnet"),
    pytest.param(A, C, NEVER, BY_ROUTER, id="across-Never"),
    pytest.param(A_AS_SLASH_32, B, ALWAYS, TUNNEL_TO_B, id="slash32-same-Always"),
    pytest.param(A_AS_SLASH_32, B, CROSS, TUNNEL_TO_B, id="slash32-same-CrossSubnet"),
    pytest.param(A_AS_SLASH_32, B, NEVER, DIRECT_TO_B, id="slash32-same-Never"),
    pytest.param(A_AS_SLASH_32, C, CROSS, TUNNEL_TO_C, id="slash32-across-CrossSubnet"),
    pytest.param(A_AS_SLASH_16, C, CROSS, BY_ROUTER, id="slash16-across-CrossSubnet"),
    pytest.param(A_AS_SLASH_16, C, ALWAYS, TUNNEL_TO_C, id="slash16-across-Always"),
    pytest.param(A_WITHOUT_DEFAULT_ROUTE, B, ALWAYS, TUNNEL_TO_B, id="no-default-same-Always"),
    pytest.param(A_WITHOUT_DEFAULT_ROUTE, B, CROSS, DIRECT_TO_B, id="no-default-same-Cross"),
    pytest.param(A_WITHOUT_DEFAULT_ROUTE, B, NEVER, DIRECT_TO_B, id="no-default-same-Never"),
    pytest.param(A_WITHOUT_DEFAULT_ROUTE, C, ALWAYS, UNREACHABLE, id="no-default-across-Always"),
    pytest.param(A_WITHOUT_DEFAULT_ROUTE, C, CROSS, UNREACHABLE, id="no-default-across-Cross"),
    pytest.param(A_WITHOUT_DEFAULT_ROUTE, C, NEVER, UNREACHABLE, id="no-default-across-Never"),
])
def test_the_route_to_a_remote_block_is_calicos_letter_for_letter(node, next_hop, mode, line):
    assert written(Peer(next_hop), PoolMode(IPIP, mode), node) == [line]


VTEP = ip("10.22.151.0")
VXLAN_TO_PEER = f"{BLOCK} via 10.22.151.0 dev vxlan.calico onlink"


@pytest.mark.parametrize(("node", "address", "mode", "line"), [
    pytest.param(A, B, ALWAYS, VXLAN_TO_PEER, id="same-subnet-Always"),
    pytest.param(A, B, CROSS, f"{BLOCK} via 192.168.57.32 dev eth0 proto 80 onlink",
                 id="same-subnet-CrossSubnet"),
    pytest.param(A, B, NEVER, DIRECT_TO_B, id="same-subnet-Never-is-BIRDs"),
    pytest.param(A, C, ALWAYS, VXLAN_TO_PEER, id="across-Always"),
    pytest.param(A, C, CROSS, VXLAN_TO_PEER, id="across-CrossSubnet"),
    pytest.param(A, C, NEVER, BY_ROUTER, id="across-Never-is-BIRDs"),
    pytest.param(A_AS_SLASH_32, B, CROSS, VXLAN_TO_PEER, id="slash32-same-CrossSubnet"),
    pytest.param(A_WITHOUT_DEFAULT_ROUTE, C, ALWAYS, VXLAN_TO_PEER,
                 id="no-default-across-Always-Felix-does-not-ask"),
])
def test_vxlan_goes_through_the_vtep_or_straight_to_a_node_of_the_subnet(
        node, address, mode, line):
    assert written(Peer(address, "b", VTEP), PoolMode(VXLAN, mode), node) == [line]


def test_to_a_peer_without_a_vtep_there_is_no_vxlan_route():
    assert written(Peer(B), PoolMode(VXLAN, ALWAYS), A) == []
    assert VXLAN.vtep(Peer(B)) is None


def own_block(block, encapsulation=IPIP, mode=ALWAYS, **settings):
    routes = ClusterRoutes.of(as_of(topology(), settings.get("profile", "v3.25")))
    route = routes.block_route(net(block), PoolMode(encapsulation, mode))
    return route and str(route)


def test_felix_blackholes_the_own_blocks_of_vxlan_pools():
    assert own_block("10.22.138.0/26", VXLAN) == "blackhole 10.22.138.0/26 proto 80"
    assert own_block("10.22.138.7/32", VXLAN) is None


@pytest.mark.parametrize(("name", "mac"), [
    # printf NAME | sha1sum
    pytest.param("node31", "66:31:03:c6:ad:c8", id="node31"),
    pytest.param("node32", "66:d3:29:11:7b:69", id="node32"),
])
def test_a_vteps_mac_is_made_from_the_nodes_name(name, mac):
    assert VXLAN.tunnel_mac(node(name, "192.168.57.31/24")) == mac


def test_a_vteps_mac_may_be_configured():
    chosen = replace(node("node31", "192.168.57.31/24"), vxlan_mac="66:00:00:00:00:01")
    assert VXLAN.tunnel_mac(chosen) == "66:00:00:00:00:01"


@pytest.mark.parametrize(("name", "found"), [
    pytest.param("IPIP", IPIP, id="IPIP"), pytest.param("vxlan", VXLAN, id="lower-case")])
def test_encapsulations_have_names(name, found):
    assert named(name) is found
    assert of_device(found.device) is found


def test_the_error_for_an_unknown_encapsulation_names_the_known_ones():
    with pytest.raises(ClusterError, match="'GRE'; encapsulations: IPIP, VXLAN"):
        named("GRE")
    assert of_device("gre0") is None


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_borrowed_address_has_the_route_of_a_block(mode):
    block, single = (written(Peer(B), PoolMode(IPIP, mode), A, prefix)
                     for prefix in (BLOCK, "10.22.151.11/32"))
    assert single == [line.replace(BLOCK, "10.22.151.11") for line in block] != []


def test_crosssubnet_looks_at_the_local_prefix_only_so_the_two_ends_may_disagree():
    #  A 192.168.57.31/24 ---- B 192.168.57.32/32, both in the same subnet
    b = NodeNetwork(net("192.168.57.32/32"), RACK_A, GATEWAY)
    assert not is_tunnelled(CROSS, A, B)
    assert is_tunnelled(CROSS, b, ip("192.168.57.31"))


def test_a_tunnel_is_never_used_where_the_mode_says_never_and_always_where_it_says_always():
    for network in (A, A_AS_SLASH_32, A_AS_SLASH_16, A_WITHOUT_DEFAULT_ROUTE):
        for next_hop in (B, C):
            assert is_tunnelled(ALWAYS, network, next_hop)
            assert not is_tunnelled(NEVER, network, next_hop)


@pytest.mark.parametrize(("block", "line"), [
    pytest.param("10.22.138.0/26", "blackhole 10.22.138.0/26 proto bird", id="article"),
    pytest.param("10.22.138.4/31", "blackhole 10.22.138.4/31 proto bird", id="two-addresses"),
    pytest.param("10.22.128.0/20", "blackhole 10.22.128.0/20 proto bird", id="largest"),
])
def test_a_nodes_own_block_is_a_blackhole(block, line):
    assert own_block(block) == own_block(block, mode=NEVER) == line


def test_a_block_of_a_single_address_has_no_blackhole():
    assert own_block("10.22.138.7/32") is None


@pytest.mark.parametrize(("prefix", "text"), [
    pytest.param("10.22.151.0/26", "10.22.151.0/26", id="block"),
    pytest.param("10.22.151.11/32", "10.22.151.11", id="host"),
    pytest.param("10.22.151.10/31", "10.22.151.10/31", id="two"),
])
def test_a_prefix_is_spelled_as_iproute2_prints_it(prefix, text):
    assert format_prefix(net(prefix)) == text


@pytest.mark.parametrize("word", ["Always", "CrossSubnet", "Never"])
def test_modes_are_spelled_as_calico_spells_them(word):
    assert str(EncapsulationMode(word)) == word


@pytest.mark.parametrize(("uplink", "mtu"), [
    pytest.param(1500, 1480, id="ethernet"),
    pytest.param(1400, 1380, id="smaller"),
    pytest.param(1460, 1440, id="gce"),
    pytest.param(9000, 8980, id="jumbo"),
])
def test_tunl0_leaves_room_for_the_outer_header(uplink, mtu):
    assert IPIP.mtu(uplink) == mtu
    assert IPIP.tunnel(NODE31, uplink, topology(), is_on=True, was_on=True) == Tunnel(
        "tunl0", mtu, "eth0", True)


@pytest.mark.parametrize(("uplink", "mtu"), [
    pytest.param(1500, 1450, id="ethernet"),
    pytest.param(9000, 8950, id="jumbo"),
])
def test_vxlan_calico_leaves_room_for_ip_udp_vxlan_and_ethernet(uplink, mtu):
    device = VXLAN.tunnel(NODE31, uplink, topology(), is_on=True, was_on=True)
    assert device == Tunnel("vxlan.calico", mtu, "eth0", kind="vxlan", vni=4096, port=4789,
                            local="192.168.57.31", mac=VXLAN.tunnel_mac(
                                node("node31", "192.168.57.31/24")))
