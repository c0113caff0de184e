"""Wanted against present, as values."""

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from calico_mn import present as items
from calico_mn.calico.felix import owned_on_node
from calico_mn.difference import Difference, compare, diff
from calico_mn.kernel import iptext
from calico_mn.model import EncapsulationMode, IPPool
from calico_mn.present import Link, Present
from calico_mn.repair import next_deltas, veth_ends
from calico_mn.state import (
    Address,
    Bridge,
    Namespace,
    Route,
    Sysctl,
    Tunnel,
    Veth,
    VethEnd,
    VethPeer,
)

OWNED = owned_on_node([IPPool("p", IPv4Network("10.22.0.0/16"), 26,
                                  EncapsulationMode("Always"))])
CALI = Veth("cali1", 1480, VethPeer("pod", "eth0", 1480), mac="ee:ee:ee:ee:ee:ee", txqueuelen=0)
NODE = Namespace(
    "node", (Tunnel("tunl0", 1480, "eth0"), VethEnd("eth0", 1500), CALI),
    (Address("eth0", "192.168.57.31/24"), Address("tunl0", "10.22.31.0/32")),
    (Route("10.22.31.1", device="cali1", scope="link"),),
    (Sysctl("ip_forward", 1), Sysctl("rp_filter", 2, "conf", "default")))
POD = Namespace("pod", (VethEnd("eth0", 1480),), (Address("eth0", "10.22.31.1/32"),))
SWITCH = Namespace("rack", (Bridge("br0", 1500), Veth(
    "node", 1500, VethPeer("node", "eth0", 1500), master="br0")))
STATES = {state.name: state for state in (SWITCH, NODE, POD)}


def as_wanted(state):
    """What a namespace holds in which all is well."""
    routes = [route for address in state.addresses if (route := items.connected_route(address))]
    return Present(
        state.name, tuple(replace(items.expected_link(device, "tun"), index=position)
                          for position, device in enumerate(state.devices, 2)),
        tuple(q for device in state.devices for q in items.expected_qdiscs(device)),
        state.addresses,
        {item.path: item.value for item in items.expected_sysctls(state)}, (*state.routes, *routes))


def differences(present, state=NODE, owned=OWNED, **options):
    return tuple(compare(state, present, owned, tunnel_kind="tun", **options))


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_what_is_as_wanted_has_no_differences(state):
    assert differences(as_wanted(state), state) == ()


def with_routes(*routes):
    present = as_wanted(NODE)
    return replace(present, routes=(*present.routes, *routes))


@pytest.mark.parametrize(("route", "stray"), [
    (Route("203.0.113.0/24", "192.168.57.1", "eth0"), False),
    (Route("203.0.113.0/24", "192.168.57.1", "eth0", "static"), False),
    (Route("203.0.113.0/24", "192.168.57.1", "eth0", "bird"), True),
    (Route("203.0.113.1", device="cali9"), True),
    (Route("fe80", device="cali1", protocol="kernel"), False),
    (Route("203.0.113.1", device="tunl0"), True),
    (Route("10.22.8.0/26", kind="blackhole"), True),
    (Route("10.23.8.0/26", kind="blackhole"), False),
    (Route("default", kind="blackhole", metric=9), False),
    (Route("10.22.31.1", device="cali1", scope="link", metric=1024), True),
], ids=str)
def test_a_route_is_a_stray_only_where_it_is_ours(route, stray):
    expected = (Difference("node", present=route),) if stray else ()
    assert differences(with_routes(route)) == expected


def test_in_a_namespace_where_nothing_is_ours_nothing_is_a_stray():
    present = as_wanted(POD)
    present = replace(present, routes=(Route("203.0.113.1", device="eth0", protocol="bird"),),
                      links=(*present.links, Link("cali7", "veth")))
    assert differences(present, POD, items.Owned()) == ()


def test_a_replaced_route_is_one_difference_with_two_lines():
    present = as_wanted(NODE)
    other = replace(NODE.routes[0], device="eth0")
    present = replace(present, routes=(other, *present.routes[1:]))
    (item,) = differences(present)
    assert (item.kind, item.subject) == ("changed", "route")
    assert item.lines == ("- 10.22.31.1 dev cali1 scope link", "+ 10.22.31.1 dev eth0 scope link")


def test_a_setting_that_this_kernel_does_not_have_is_left_out():
    present = as_wanted(NODE)
    assert differences(replace(present, sysctls={})) == ()


def test_a_renamed_device_is_known_by_its_index_and_keeps_what_hangs_on_it():
    present = as_wanted(NODE)
    links = tuple(replace(link, name="lost") if link.name == "cali1" else link
                  for link in present.links)
    routes = (replace(NODE.routes[0], device="lost"), *present.routes[1:])
    present = replace(present, links=links, routes=routes)
    (item,) = differences(present, indexes={"tunl0": 2, "eth0": 3, "cali1": 4})
    assert (item.kind, item.subject) == ("changed", "device")
    assert [x.kind for x in differences(present)] == ["missing", "changed"], "without the index"
    (step,) = next_deltas(STATES, (item,), veth_ends(STATES))
    assert iptext.commands(step) == ["ip link set lost down", "ip link set lost name cali1",
                                   "ip link set cali1 up"]


def test_a_namespace_that_cannot_be_read_is_one_difference():
    (item,) = differences(Present("node", failure="the namespace is gone"))
    assert (item.kind, item.subject) == ("unreadable", "namespace")
    assert diff((item,)) == ["node:", "  ! the namespace is gone"]
    assert next_deltas(STATES, (item,), veth_ends(STATES)) == []


@pytest.mark.parametrize(("address", "route"), [
    ("192.168.57.31/24", "192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.31"),
    ("10.255.255.9/30", "10.255.255.8/30 dev eth0 proto kernel scope link src 10.255.255.9"),
    ("10.22.31.0/32", "None")])
def test_the_network_that_the_kernel_makes_of_an_address(address, route):
    assert str(items.connected_route(Address("eth0", address))) == route
