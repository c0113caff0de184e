"""Wanted minus present: carrying a delta out on the present state gives the wanted one."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico_mn.delta import Delta, creation, delta
from calico_mn.state import (
    VXLAN,
    Address,
    Bridge,
    FdbEntry,
    Namespace,
    Neighbour,
    NextHop,
    Route,
    Shaping,
    Sysctl,
    Tunnel,
    Veth,
    VethEnd,
    VethPeer,
)

TUNL0 = Tunnel("tunl0", 1480, "eth0")
VXLAN_DEVICE = Tunnel("vxlan.calico", 1450, "eth0", kind=VXLAN, vni=4096, port=4789,
                      local="192.168.57.31", mac="66:00:00:00:00:09")
ETH0 = VethEnd("eth0", 1500)
NAME = "node31"


def veth(name, mtu=1500):
    return Veth(name, mtu, VethPeer("pod", "eth0", mtu))


def key(entry):
    """What the kernel knows a neighbour, or an entry of a forwarding database, by."""
    if isinstance(entry, Neighbour):
        return entry.device, entry.address
    return entry.device, entry.mac


class Kernel:
    """What a namespace holds, by the kernel's own identities; refuses what the kernel refuses."""

    def __init__(self, start=None):
        self.devices, self.addresses, self.routes, self.sysctls = {}, set(), {}, {}
        self.neighbours = {}
        if start:
            self.apply(creation(start))

    def apply(self, change):
        for device in change.devices_outdated:
            self.remove(device)
        for device in change.devices_added:
            assert device.name not in self.devices, f"{device.name}: File exists"
            self.devices[device.name] = device
        for tunnel in change.tunnels_changed:
            assert isinstance(self.devices[tunnel.name], Tunnel)
            self.devices[tunnel.name] = tunnel
        for item in change.sysctls:
            assert item.device in ("", "all", "default") or item.device in self.devices
            self.sysctls[item.path] = item
        for item in change.addresses_added:
            assert item.device in self.devices, "Cannot find device"
            assert item not in self.addresses, "File exists"
            self.addresses.add(item)
        for item in change.neighbours_replaced:
            assert item.device in self.devices, "Cannot find device"
            self.neighbours[key(item)] = item
        for item in change.routes_replaced:
            assert item.devices <= self.devices.keys(), "Cannot find device"
            self.routes[item.destination] = item
        for item in change.routes_removed:
            assert self.routes.pop(item.destination) == item, "No such process"
        for item in change.neighbours_removed:
            assert self.neighbours.pop(key(item)) == item, "No such file"
        for item in change.addresses_removed:
            self.addresses.remove(item)
        for device in change.devices_removed:
            self.remove(device)

    def remove(self, device):
        del self.devices[device.name]
        self.addresses = {a for a in self.addresses if a.device != device.name}
        self.routes = {d: r for d, r in self.routes.items() if device.name not in r.devices}
        self.sysctls = {p: s for p, s in self.sysctls.items() if s.device != device.name}
        self.neighbours = {k: n for k, n in self.neighbours.items() if n.device != device.name}

    def holds(self, wanted):
        assert self.devices == {d.name: d for d in wanted.devices}
        assert self.addresses == set(wanted.addresses)
        assert self.routes == {r.destination: r for r in wanted.routes}
        assert self.neighbours == {key(n): n for n in wanted.neighbour_entries}
        for item in wanted.sysctls:
            assert self.sysctls[item.path] == item


@st.composite
def namespaces(draw):
    """A node-like namespace whose devices differ from another one's by name or tunnel state."""
    names = draw(st.lists(st.sampled_from(["caliaaa", "calibbb", "caliccc"]), unique=True))
    devices = [ETH0, *map(veth, names)]
    if draw(st.booleans()):
        devices.append(replace(TUNL0, mtu=draw(st.sampled_from([1480, 1380])),
                               up=draw(st.booleans())))
    if draw(st.booleans()):
        devices.append(replace(VXLAN_DEVICE, vni=draw(st.sampled_from([4096, 1]))))
    if draw(st.booleans()):
        devices.append(Bridge("br0", 1500))
    present = [d.name for d in devices]
    device = st.sampled_from(present)
    addresses = draw(st.lists(st.builds(
        Address, device, st.sampled_from(["10.0.0.1/32", "10.0.0.2/32", "192.168.57.31/24"])),
        unique=True))
    route = st.one_of(
        st.builds(Route, st.sampled_from(["10.0.0.9", "10.1.0.0/26", "default"]),
                  via=st.sampled_from(["", "192.168.57.32"]), device=device,
                  protocol=st.sampled_from(["bird", "boot"]), onlink=st.booleans()),
        st.builds(Route, st.sampled_from(["10.1.0.0/26", "10.3.0.0/26"]), next_hops=st.tuples(
            st.builds(NextHop, st.just("10.0.0.1"), device),
            st.builds(NextHop, st.just("10.0.0.2"), device))),
        st.builds(Route, st.sampled_from(["10.1.0.0/26", "10.2.0.0/26"]),
                  kind=st.sampled_from(["blackhole", "unreachable"]), protocol=st.just("bird")))
    routes = draw(st.lists(route, unique_by=lambda r: r.destination))
    sysctl = st.one_of(
        st.builds(Sysctl, st.just("ip_forward"), st.integers(0, 1)),
        st.builds(Sysctl, st.sampled_from(["proxy_arp", "rp_filter"]), st.integers(0, 2),
                  st.just("conf"), st.sampled_from([*present, "all", "default"])))
    sysctls = draw(st.lists(sysctl, unique_by=lambda s: s.path))
    macs = st.sampled_from(["66:00:00:00:00:01", "66:00:00:00:00:02"])
    neighbours = draw(st.lists(st.builds(
        Neighbour, device, st.sampled_from(["10.2.0.0", "10.3.0.0"]), macs), unique_by=key))
    fdb = draw(st.lists(st.builds(
        FdbEntry, device, macs, st.sampled_from(["192.168.57.32", "192.168.57.33"])),
        unique_by=key))
    return Namespace(NAME, tuple(devices), tuple(addresses), tuple(routes), tuple(sysctls),
                     tuple(neighbours), tuple(fdb))


@settings(max_examples=60, deadline=None)
@given(namespaces(), namespaces())
def test_the_present_state_with_the_delta_applied_is_the_wanted_state(present, wanted):
    kernel = Kernel(present)
    kernel.holds(present)
    kernel.apply(delta(present, wanted))
    kernel.holds(wanted)


@settings(max_examples=60, deadline=None)
@given(namespaces())
def test_nothing_is_to_do_where_the_state_is_as_wanted(state):
    change = delta(state, state)
    assert not change
    assert change == Delta(NAME)


@settings(max_examples=30, deadline=None)
@given(namespaces())
def test_creation_is_the_delta_against_an_empty_namespace(state):
    assert creation(state) == delta(Namespace(NAME), state)
    assert creation(state)


@settings(max_examples=30, deadline=None)
@given(namespaces(), namespaces(), st.builds(Route, st.just("10.9.0.0/16"), via=st.just("1.2.3.4"),
                                             device=st.just("eth0"), protocol=st.just("static")))
def test_what_somebody_added_by_hand_stays(present, wanted, by_hand):
    kernel = Kernel(present)
    kernel.routes[by_hand.destination] = by_hand
    kernel.apply(delta(present, wanted))
    assert kernel.routes[by_hand.destination] == by_hand


def state(*devices, routes=(), addresses=(), sysctls=()):
    return Namespace(NAME, (ETH0, *devices), tuple(addresses), tuple(routes), tuple(sysctls))


TUNNELLED = Route("10.22.151.0/26", via="192.168.57.32", device="tunl0", protocol="bird",
                  onlink=True)
DIRECT = Route("10.22.151.0/26", via="192.168.57.32", device="eth0", protocol="bird")
HOLE = Route("10.22.151.0/26", protocol="bird", kind="blackhole")


@pytest.mark.parametrize(("old", "new"), [
    pytest.param(TUNNELLED, DIRECT, id="tunnel-to-direct"),
    pytest.param(DIRECT, TUNNELLED, id="direct-to-tunnel"),
    pytest.param(DIRECT, HOLE, id="to-blackhole"),
    pytest.param(DIRECT, replace(DIRECT, mtu=1400), id="mtu-only"),
    pytest.param(DIRECT, replace(DIRECT, protocol="static"), id="protocol-only"),
])
def test_a_route_that_changes_is_replaced_in_one_step(old, new):
    change = delta(state(TUNL0, routes=[old]), state(TUNL0, routes=[new]))
    assert change == Delta(NAME, routes_replaced=(new,))


@pytest.mark.parametrize("changed", [
    pytest.param(replace(TUNL0, up=False), id="down"),
    pytest.param(replace(TUNL0, mtu=1380), id="mtu"),
])
def test_a_tunnel_keeps_its_identity_and_what_is_on_it(changed):
    address = Address("tunl0", "10.22.138.0/32")
    change = delta(state(TUNL0, routes=[TUNNELLED], addresses=[address]),
                   state(changed, routes=[TUNNELLED], addresses=[address]))
    assert change == Delta(NAME, tunnels_changed=(changed,))


@pytest.mark.parametrize(("changed", "expected"), [
    (replace(veth("cali1"), up=False), {"links_changed": ["link cali1 type veth mtu 1500 "
                                                          "txqueuelen 1000 down"]}),
    (replace(veth("cali1"), shaping=Shaping(10)), {"devices_reshaped": ["cali1"]}),
    (replace(ETH0, shaping=Shaping(10)), {"devices_reshaped": ["eth0"]}),
], ids=["down", "shaped", "shaped at the other end"])
def test_a_veth_keeps_its_identity_and_what_is_on_it(changed, expected):
    before = Namespace(NAME, (ETH0, veth("cali1")), (Address("eth0", "192.168.57.31/24"),))
    wanted = replace(before, devices=tuple(
        changed if device.name == changed.name else device for device in before.devices))
    change = delta(before, wanted)
    assert {"links_changed": [str(link) for link, _ in change.links_changed],
            "devices_reshaped": [device.name for device in change.devices_reshaped]} == {
                "links_changed": [], "devices_reshaped": [], **expected}
    assert change == Delta(NAME, links_changed=change.links_changed,
                           devices_reshaped=change.devices_reshaped)


def test_a_tunnel_address_that_changes_is_added_before_the_old_one_goes():
    old, new = Address("tunl0", "10.22.138.0/32"), Address("tunl0", "10.22.138.5/32")
    change = delta(state(TUNL0, addresses=[old]), state(TUNL0, addresses=[new]))
    assert change == Delta(NAME, addresses_added=(new,), addresses_removed=(old,))


@pytest.mark.parametrize("changed", [
    pytest.param({"vni": 1}, id="vni"), pytest.param({"port": 8472}, id="port"),
    pytest.param({"local": "192.168.57.32"}, id="local"),
    pytest.param({"mac": "66:00:00:00:00:08"}, id="mac"), pytest.param({"uplink": ""}, id="uplink"),
])
def test_a_vxlan_device_that_differs_is_made_again_and_what_is_on_it_too(changed):
    neighbour = Neighbour("vxlan.calico", "10.2.0.0", "66:00:00:00:00:01")
    fdb = FdbEntry("vxlan.calico", "66:00:00:00:00:01", "192.168.57.32")
    present = replace(state(VXLAN_DEVICE), neighbours=(neighbour,), fdb=(fdb,))
    device = replace(VXLAN_DEVICE, **changed)
    wanted = replace(present, devices=(ETH0, device))
    assert delta(present, wanted) == Delta(
        NAME, devices_outdated=(VXLAN_DEVICE,), devices_added=(device,),
        neighbours_replaced=(neighbour, fdb))


def test_a_neighbour_that_changes_is_replaced_in_one_step():
    old = Neighbour("eth0", "10.2.0.0", "66:00:00:00:00:01")
    new = replace(old, mac="66:00:00:00:00:02")
    gone = FdbEntry("eth0", "66:00:00:00:00:01", "192.168.57.32")
    present = replace(state(), neighbours=(old,), fdb=(gone,))
    assert delta(present, replace(state(), neighbours=(new,))) == Delta(
        NAME, neighbours_replaced=(new,), neighbours_removed=(gone,))


def test_what_was_on_a_removed_device_goes_with_it_and_is_not_removed_twice():
    cali = veth("caliaaa")
    change = delta(
        state(cali, routes=[Route("10.22.138.1", device="caliaaa", scope="link")],
              addresses=[Address("caliaaa", "10.0.0.1/32")],
              sysctls=[Sysctl("proxy_arp", 1, "conf", "caliaaa")]),
        state())
    assert change == Delta(NAME, devices_removed=(cali,))


def test_a_route_that_moves_off_a_removed_device_is_there_before_the_device_goes():
    cali = veth("caliaaa")
    borrowed = Route("10.22.138.1", via="192.168.57.32", device="tunl0", protocol="bird",
                     onlink=True)
    change = delta(
        state(TUNL0, cali, routes=[Route("10.22.138.1", device="caliaaa", scope="link")]),
        state(TUNL0, routes=[borrowed]))
    assert change == Delta(NAME, routes_replaced=(borrowed,), devices_removed=(cali,))


def test_a_sysctl_is_written_when_its_value_differs_and_only_then():
    old, new = Sysctl("ip_forward", 0), Sysctl("ip_forward", 1)
    same = Sysctl("rp_filter", 2, "conf", "all")
    assert delta(state(sysctls=[old, same]), state(sysctls=[new, same])).sysctls == (new,)


def test_a_sysctl_that_nobody_wants_any_more_is_left_alone():
    assert not delta(state(sysctls=[Sysctl("ip_forward", 1)]), state())


def test_a_device_made_anew_gets_all_that_was_on_it_again():
    old, new = veth("caliaaa", 1500), veth("caliaaa", 1480)
    things = {"routes": [Route("10.22.138.1", device="caliaaa", scope="link")],
              "addresses": [Address("caliaaa", "10.0.0.1/32")],
              "sysctls": [Sysctl("proxy_arp", 1, "conf", "caliaaa")]}
    assert delta(state(old, **things), state(new, **things)) == Delta(
        NAME, devices_added=(new,), sysctls=tuple(things["sysctls"]),
        addresses_added=tuple(things["addresses"]), routes_replaced=tuple(things["routes"]),
        devices_outdated=(old,))


def test_a_device_made_anew_replaces_the_old_one():
    old, new = state(veth("caliaaa", 1500)), state(veth("caliaaa", 1480))
    kernel = Kernel(old)
    kernel.apply(delta(old, new))
    kernel.holds(new)


def test_deltas_are_empty_or_not_whatever_part_of_them_is_filled():
    assert not Delta(NAME)
    for part, item in (("devices_added", ETH0), ("tunnels_changed", TUNL0),
                       ("sysctls", Sysctl("ip_forward", 1)),
                       ("addresses_added", Address("eth0", "10.0.0.1/32")),
                       ("routes_replaced", DIRECT), ("routes_removed", DIRECT),
                       ("addresses_removed", Address("eth0", "10.0.0.1/32")),
                       ("devices_removed", ETH0)):
        assert Delta(NAME, **{part: (item,)}), part


@pytest.mark.parametrize(("before", "after", "promoted"), [
    pytest.param("192.168.57.31/24", "192.168.57.41/24", ["eth0"], id="same-network"),
    pytest.param("192.168.57.31/24", "192.168.57.41/26", [], id="other-prefix"),
    pytest.param("10.22.31.0/32", "10.22.31.5/32", [], id="single-addresses"),
])
def test_the_new_address_of_a_network_outlives_the_old_one(before, after, promoted):
    change = delta(*(Namespace(NAME, (ETH0,), (Address("eth0", address),))
                     for address in (before, after)))
    assert [item.device for item in change.sysctls
            if item.key == "promote_secondaries"] == promoted
    assert (change.addresses_added, change.addresses_removed) == (
        (Address("eth0", after),), (Address("eth0", before),))
