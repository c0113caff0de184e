"""The physical network: gateways, routing between routers, bridge ports, shaped links."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.calico.underlay import Fabric, port_name, shaping
from calico_mn.errors import ClusterError
from calico_mn.model import Link, MultipathHash, Underlay
from calico_mn.state import Address, Bridge, Shaping

from .clusters import NODE31, NODE32, NODE33, ip, net, node, rack, router, topology, two_racks

LINUX_DEFAULT = MultipathHash()


def chain():
    """Three routers in a row.

    node31 -- rack-a -- ra -- transit-1 -- core -- transit-2 -- rb -- rack-b -- node33
              .57.0/24       10.1.0.0/30          10.2.0.0/30         .58.0/24
    """
    return Underlay(
        (rack("rack-a", "192.168.57.0/24"), rack("rack-b", "192.168.58.0/24"),
         rack("transit-1", "172.16.1.0/30"), rack("transit-2", "172.16.2.0/30")),
        (router("ra", ("rack-a", "192.168.57.1"), ("transit-1", "172.16.1.1")),
         router("core", ("transit-1", "172.16.1.2"), ("transit-2", "172.16.2.1")),
         router("rb", ("transit-2", "172.16.2.2"), ("rack-b", "192.168.58.1"))))


def lines(fabric, name, next_hops=None):
    found = next(r for r in fabric.routers if r.name == name)
    return [str(r) for r in fabric.router(found, next_hops or {}).routes]


BLOCKS = {"10.22.138.0/26": ip("192.168.57.31"), "10.22.200.5": ip("192.168.58.33")}


# --- gateways

def test_a_subnets_router_is_its_nodes_gateway():
    fabric = Fabric(topology())
    assert fabric.node_network(NODE31).gateway == ip("192.168.57.1")
    assert fabric.node_network(NODE33).gateway == ip("192.168.58.1")


def test_without_a_router_there_is_no_gateway():
    fabric = Fabric(topology(underlay=Underlay(two_racks().subnets)))
    assert fabric.node_network(NODE31).gateway is None


def test_of_two_routers_the_first_in_the_file_is_the_gateway():
    underlay = Underlay(two_racks().subnets, (
        router("second-rack", ("rack-b", "192.168.58.9")),
        router("one", ("rack-a", "192.168.57.7")), router("two", ("rack-a", "192.168.57.1"))))
    fabric = Fabric(topology(underlay=underlay))
    assert fabric.gateway(underlay.subnets[0]) == ip("192.168.57.7")
    assert fabric.gateway(underlay.subnets[1]) == ip("192.168.58.9")


def test_a_nodes_prefix_and_the_subnet_that_it_is_plugged_into_are_two_things():
    lone = node("lone", "192.168.57.40/32")
    network = Fabric(topology()).node_network(lone)
    assert network.own_subnet == net("192.168.57.40/32")
    assert network.connected == net("192.168.57.0/24")


def test_a_node_outside_of_all_subnets_is_refused_by_name():
    with pytest.raises(ClusterError, match=r"lost: 10\.0\.0\.1 lies in no subnet"):
        Fabric(topology()).subnet_of(node("lost", "10.0.0.1/24"))


# --- routers

def test_a_router_with_a_foot_in_each_subnet_needs_no_route():
    assert lines(Fabric(topology()), "r1") == []


def test_a_router_that_knows_the_pods_sends_their_blocks_to_their_nodes():
    assert lines(Fabric(topology()), "r1", BLOCKS) == [
        "10.22.138.0/26 via 192.168.57.31 dev eth0 proto static",
        "10.22.200.5 via 192.168.58.33 dev eth1 proto static"]


@pytest.mark.parametrize(("name", "subnets", "blocks"), [
    pytest.param("ra",
                 ["192.168.58.0/24 via 172.16.1.2 dev eth1 proto static",
                  "172.16.2.0/30 via 172.16.1.2 dev eth1 proto static"],
                 ["10.22.138.0/26 via 192.168.57.31 dev eth0 proto static",
                  "10.22.200.5 via 172.16.1.2 dev eth1 proto static"], id="left"),
    pytest.param("core",
                 ["192.168.57.0/24 via 172.16.1.1 dev eth0 proto static",
                  "192.168.58.0/24 via 172.16.2.2 dev eth1 proto static"],
                 ["10.22.138.0/26 via 172.16.1.1 dev eth0 proto static",
                  "10.22.200.5 via 172.16.2.2 dev eth1 proto static"], id="core"),
    pytest.param("rb",
                 ["192.168.57.0/24 via 172.16.2.1 dev eth0 proto static",
                  "172.16.1.0/30 via 172.16.2.1 dev eth0 proto static"],
                 ["10.22.138.0/26 via 172.16.2.1 dev eth0 proto static",
                  "10.22.200.5 via 192.168.58.33 dev eth1 proto static"], id="right"),
])
def test_routers_find_every_subnet_across_transit_subnets(name, subnets, blocks):
    fabric = Fabric(topology(underlay=chain()))
    assert sorted(lines(fabric, name)) == sorted(subnets)
    assert sorted(lines(fabric, name, BLOCKS)) == sorted(subnets + blocks)


def test_the_shortest_way_is_taken_whatever_the_order_of_the_feet():
    #  start -- near -- direct -- goal
    #    +----- far --- r1 -- t -- r2 --+
    feet = ("near", "10.0.1.9"), ("far", "10.0.2.9")
    for order in (feet, feet[::-1]):
        underlay = Underlay(
            tuple(rack(name, f"10.0.{i}.0/24") for i, name in
                  enumerate(("near", "far", "t", "goal"), start=1)),
            (router("start", *order),
             router("r1", ("far", "10.0.2.1"), ("t", "10.0.3.1")),
             router("r2", ("t", "10.0.3.2"), ("goal", "10.0.4.2")),
             router("direct", ("near", "10.0.1.3"), ("goal", "10.0.4.3"))))
        found = lines(Fabric(topology(underlay=underlay, nodes=(), affinities=())), "start")
        device = f"eth{order.index(feet[0])}"
        assert f"10.0.4.0/24 via 10.0.1.3 dev {device} proto static" in found


def test_a_ring_of_routers_ends():
    subnets = tuple(rack(f"s{i}", f"10.0.{i}.0/24") for i in range(3))
    ring = tuple(router(f"r{i}", (f"s{i}", f"10.0.{i}.1"), (f"s{(i + 1) % 3}",
                                                          f"10.0.{(i + 1) % 3}.2"))
                 for i in range(3))
    fabric = Fabric(topology(underlay=Underlay(subnets, ring), nodes=(), affinities=()))
    assert lines(fabric, "r0") == [
        "10.0.2.0/24 proto static nexthop via 10.0.0.2 dev eth0 weight 1"
        " nexthop via 10.0.1.1 dev eth1 weight 1"], "both are one router away"


def two_paths(hash_=LINUX_DEFAULT):
    """rack-a -- r1 == left, right == r2 -- rack-b -- node33"""
    return Underlay(
        (rack("rack-a", "192.168.57.0/24"), rack("rack-b", "192.168.58.0/24"),
         rack("left", "10.0.0.0/31"), rack("right", "10.0.0.2/31")),
        (replace(router("r1", ("rack-a", "192.168.57.1"), ("left", "10.0.0.0"),
                        ("right", "10.0.0.2")), multipath_hash=hash_),
         router("r2", ("rack-b", "192.168.58.1"), ("left", "10.0.0.1"), ("right", "10.0.0.3"))))


def test_two_equal_ways_are_two_next_hops_for_subnets_and_pods():
    fabric = Fabric(topology(underlay=two_paths()))
    both = "nexthop via 10.0.0.1 dev eth1 weight 1 nexthop via 10.0.0.3 dev eth2 weight 1"
    assert lines(fabric, "r1", BLOCKS) == [
        f"192.168.58.0/24 proto static {both}",
        "10.22.138.0/26 via 192.168.57.31 dev eth0 proto static",
        f"10.22.200.5 proto static {both}"]
    assert lines(fabric, "r2", BLOCKS)[1] == (
        "10.22.138.0/26 proto static nexthop via 10.0.0.0 dev eth1 weight 1"
        " nexthop via 10.0.0.2 dev eth2 weight 1")


def test_equal_ways_through_different_routers_add_up_and_longer_ones_do_not():
    #          +-- m1 -- near1 --+
    #  start --+-- m2 -- near2 --+-- far -- last -- goal
    #          +-- m3 -- long -- x -- longer -- y -- longest --+
    names = ("m1", "m2", "m3", "far", "x", "goal", "y")
    underlay = Underlay(
        tuple(rack(name, f"10.0.{i}.0/24") for i, name in enumerate(names, start=1)),
        (router("start", ("m1", "10.0.1.9"), ("m2", "10.0.2.9"), ("m3", "10.0.3.9")),
         router("near1", ("m1", "10.0.1.1"), ("far", "10.0.4.1")),
         router("near2", ("m2", "10.0.2.1"), ("far", "10.0.4.2")),
         router("last", ("far", "10.0.4.3"), ("goal", "10.0.6.3")),
         router("long", ("m3", "10.0.3.1"), ("x", "10.0.5.1")),
         router("longer", ("x", "10.0.5.2"), ("y", "10.0.7.2")),
         router("longest", ("y", "10.0.7.3"), ("goal", "10.0.6.2"))))
    fabric = Fabric(topology(underlay=underlay, nodes=(), affinities=()))
    hops = {route.destination: [hop.via for hop in route.next_hops] or [route.via]
            for route in fabric.router(fabric.routers[0], {}).routes}
    assert hops == {"10.0.4.0/24": ["10.0.1.1", "10.0.2.1"], "10.0.5.0/24": ["10.0.3.1"],
                    "10.0.6.0/24": ["10.0.1.1", "10.0.2.1"], "10.0.7.0/24": ["10.0.3.1"]}


@pytest.mark.parametrize(("chosen", "sysctls"), [
    (MultipathHash(), {"policy": 0}), (MultipathHash(2), {"policy": 2}),
    (MultipathHash(3, 0x0DC0), {"policy": 3, "fields": 0x0DC0})])
def test_what_a_router_chooses_a_way_by_is_a_sysctl(chosen, sysctls):
    fabric = Fabric(topology(underlay=two_paths(chosen)))
    assert {item.key.removeprefix("fib_multipath_hash_"): item.value
            for item in fabric.router(fabric.routers[0], {}).sysctls
            if "multipath" in item.key} == sysctls


def test_a_router_without_a_choice_needs_no_such_sysctl():
    fabric = Fabric(topology())
    assert not any("multipath" in item.key for item in fabric.router(fabric.routers[0], {}).sysctls)


def test_what_a_router_cannot_reach_it_has_no_route_to():
    underlay = Underlay(two_racks().subnets, (
        router("ra", ("rack-a", "192.168.57.1")), router("rb", ("rack-b", "192.168.58.1"))))
    assert lines(Fabric(topology(underlay=underlay)), "ra", BLOCKS) == [
        "10.22.138.0/26 via 192.168.57.31 dev eth0 proto static"]


def test_a_router_forwards_and_has_an_address_in_each_subnet():
    fabric = Fabric(topology())
    state = fabric.router(fabric.routers[0], {})
    assert state.addresses == (Address("eth0", "192.168.57.1/24"),
                               Address("eth1", "192.168.58.1/24"))
    assert {s.path: s.value for s in state.sysctls}["net/ipv4/ip_forward"] == 1


# --- switches

def test_a_switch_has_a_port_for_each_node_and_router_of_its_subnet_and_for_no_other():
    fabric = Fabric(topology())
    state = fabric.switch(two_racks().subnets[0], [NODE31, NODE32, NODE33])
    bridge, *ports = state.devices
    assert bridge == Bridge("br0", 1500)
    assert [(p.name, p.peer.namespace, p.peer.name) for p in ports] == [
        ("node31", "node31", "eth0"), ("node32", "node32", "eth0"), ("r1", "r1", "eth0")]
    assert all(p.master == "br0" and p.mtu == p.peer.mtu == 1500 for p in ports)
    assert state.addresses == ()


def test_a_routers_second_foot_is_its_eth1():
    state = Fabric(topology()).switch(two_racks().subnets[1], [NODE33])
    assert [(p.peer.namespace, p.peer.name) for p in state.devices[1:]] == [
        ("node33", "eth0"), ("r1", "eth1")]


@pytest.mark.parametrize(("owner", "kept"), [
    pytest.param("node31", True, id="plain"),
    pytest.param("a", True, id="short"),
    pytest.param("k8s-1.rack-a", True, id="dot-and-dash"),
    pytest.param("x" * 15, True, id="15-characters"),
    pytest.param("x" * 16, False, id="16-characters"),
    pytest.param("ip-10-0-0-1.eu-west-1.compute.internal", False, id="cloud"),
    pytest.param("br0", False, id="the-bridge-itself"),
    pytest.param("lo", False, id="loopback"),
    pytest.param("all", False, id="all"),
    pytest.param("default", False, id="default"),
    pytest.param("Node", False, id="upper-case"),
    pytest.param("-x", False, id="looks-like-an-option"),
    pytest.param("a/b", False, id="slash"),
    pytest.param("a\n", False, id="newline"),
    pytest.param("..", False, id="dots"),
])
def test_a_port_is_called_as_its_owner_where_linux_allows_it(owner, kept):
    name = port_name(owner)
    assert (name == owner) is kept
    assert kept or re.fullmatch("port[0-9a-f]{11}", name)


@given(st.text(min_size=1))
def test_every_port_name_is_a_valid_device_name(owner):
    name = port_name(owner)
    assert 1 <= len(name.encode()) <= 15
    assert not set("/: \t\n%") & set(name)
    assert name not in (".", "..", "br0", "lo", "all", "default")


# --- shaping

@pytest.mark.parametrize(("link", "shaped"), [
    pytest.param(Link(), None, id="none"),
    pytest.param(Link(100.0, None), Shaping(100.0, None), id="rate"),
    pytest.param(Link(None, 1.5), Shaping(None, 1.5), id="delay"),
    pytest.param(Link(10.0, 2.0), Shaping(10.0, 2.0), id="both"),
    pytest.param(Link(loss=1.0), Shaping(loss=1.0), id="loss"),
])
def test_a_link_is_shaped_at_both_of_its_ends_alike(link, shaped):
    assert shaping(link) == shaped
    fabric = Fabric(topology(underlay=two_racks(link=link)))
    switch = fabric.switch(fabric.subnet_of(NODE31), [NODE31])
    end = fabric.router(fabric.routers[0], {}).devices[0]
    assert [d.shaping for d in switch.devices[1:]] == [shaped, shaped]
    assert end.shaping == shaped


# --- the way of a packet

def subnet_named(underlay, name):
    return next(subnet for subnet in underlay.subnets if subnet.name == name)


def two_ways_out():
    """rack-a's gateway knows rack-b by another router of rack-a."""
    return Underlay(two_racks().subnets, (
        router("gw", ("rack-a", "192.168.57.1")),
        router("r2", ("rack-a", "192.168.57.2"), ("rack-b", "192.168.58.1"))))


@pytest.mark.parametrize(("underlay", "ends", "crossed"), [
    pytest.param(two_racks(), ("rack-a", "rack-a"), ["rack-a"], id="one subnet"),
    pytest.param(two_racks(), ("rack-a", "rack-b"), ["rack-a", "rack-b"], id="one router"),
    pytest.param(chain(), ("rack-a", "rack-b"), ["rack-a", "transit-1", "transit-2", "rack-b"],
                 id="three routers"),
    pytest.param(chain(), ("rack-b", "transit-1"), ["rack-b", "transit-2", "transit-1"],
                 id="back, to the middle"),
    pytest.param(two_ways_out(), ("rack-a", "rack-b"), ["rack-a", "rack-b"],
                 id="the gateway sends it on within the subnet"),
    pytest.param(Underlay(two_racks().subnets), ("rack-a", "rack-b"), ["rack-a", "rack-b"],
                 id="no way: the ends"),
])
def test_subnets_that_a_packet_crosses(underlay, ends, crossed):
    found = Fabric(topology(underlay=underlay)).crossed(
        *(subnet_named(underlay, name) for name in ends))
    assert [subnet.name for subnet in found] == crossed
