"""What devices.py writes, read back: the same values, and the lines that ip prints for others."""

import socket
import struct

import pytest

from calico_mn.kernel import decode, devices, steps
from calico_mn.kernel.netlink import attribute, text, u32
from calico_mn.present import Link, Program, Qdisc
from calico_mn.state import Address, FdbEntry, Neighbour, NextHop, Route, Shaping

INDEXES = {"": 0, "tunl0": 2, "eth0": 3, "cali1": 9}
NAMES = {index: name for name, index in INDEXES.items() if name}


@pytest.mark.parametrize("route", [
    Route("10.22.32.0/26", "192.168.57.32", "tunl0", "bird", onlink=True),
    Route("10.22.32.0/26", "192.168.57.32", "eth0", "bird"),
    Route("10.22.31.1", device="cali1", scope="link"),
    Route("default", "192.168.57.1", "eth0"),
    Route("10.22.31.0/26", protocol="bird", kind="blackhole"),
    Route("10.22.33.0/26", protocol="bird", kind="unreachable"),
    Route("10.0.0.0/8", "192.168.57.1", "eth0", "80", mtu=1400, metric=1024),
    Route("192.168.57.0/24", device="eth0", protocol="kernel", scope="link",
          source="192.168.57.31"),
    Route("10.0.0.0/8", protocol="static", next_hops=(
        NextHop("192.168.57.1", "eth0"), NextHop("192.168.57.2", "tunl0", weight=3))),
    Route("10.0.0.0/8", next_hops=(
        NextHop("192.168.57.1", "eth0"), NextHop("", "tunl0", onlink=True))),
], ids=str)
def test_a_route_comes_back_as_it_was_sent(route):
    _kind, _flags, body = steps.route(
        route, INDEXES[route.device], hop_indexes=[INDEXES[h.device] for h in route.next_hops])
    assert decode.route(body, NAMES) == route


def dumped_route(*attributes, tos=0, table=254, flags=0):
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, tos, table, 3, 253, 1, flags)
    return header + b"".join(
        (attribute(1, socket.inet_aton("192.0.2.1")), u32(4, 3), *attributes))


@pytest.mark.parametrize(("body", "line"), [
    pytest.param(dumped_route(tos=0x10), "192.0.2.1 dev eth0 scope link tos 0x10", id="tos"),
    pytest.param(dumped_route(attribute(8, u32(8, 1400) + u32(11, 10))),
                 "192.0.2.1 dev eth0 scope link advmss 1400 initcwnd 10", id="metrics"),
    pytest.param(dumped_route(attribute(8, u32(2, 1400) + u32(1, 4))),
                 "192.0.2.1 dev eth0 scope link mtu 1400 mtu lock", id="locked-mtu"),
    pytest.param(dumped_route(u32(30, 7)), "192.0.2.1 dev eth0 scope link nhid 7", id="nexthop"),
    pytest.param(dumped_route(flags=16), "192.0.2.1 dev eth0 scope link", id="linkdown"),
])
def test_what_we_never_send_of_a_route_is_seen_too(body, line):
    assert str(decode.route(body, NAMES)) == line


@pytest.mark.parametrize("body", [
    pytest.param(dumped_route(table=255), id="local-table"),
    pytest.param(dumped_route(u32(15, 1000)), id="table-1000"),
    pytest.param(dumped_route(flags=0x200), id="cached"),
])
def test_routes_of_other_tables_are_passed_over(body):
    assert decode.routes([body], NAMES) == ()


@pytest.mark.parametrize(("body", "line"), [
    (dumped_route(table=255), "192.0.2.1 dev eth0 table local scope link"),
    (dumped_route(u32(15, 1000)), "192.0.2.1 dev eth0 table 1000 scope link"),
    (dumped_route(flags=16), "192.0.2.1 dev eth0 scope link linkdown")])
def test_a_route_says_its_table_and_state(body, line):
    assert str(decode.route(body, NAMES, with_state=True)) == line


@pytest.mark.parametrize("address", ["192.168.57.31/24", "10.22.31.0/32"])
def test_an_address_comes_back_as_it_was_sent(address):
    item = Address("eth0", address)
    assert decode.address(steps.address(item, 3)[2], NAMES) == item


@pytest.mark.parametrize(("state", "mac", "expected"), [
    (0x80, "66:00:0a:16:20:00", "PERMANENT"), (0x02, "66:00:0a:16:20:00", "REACHABLE"),
    (0x01, "", "INCOMPLETE"), (0x40, "66:00:0a:16:20:00", None)])
def test_a_neighbour_and_its_state(state, mac, expected):
    body = struct.pack("=BxxxiHBB", socket.AF_INET, 3, state, 0, 1) + attribute(
        1, socket.inet_aton("10.22.32.0")) + (attribute(2, bytes.fromhex(mac.replace(":", "")))
                                              if mac else b"")
    assert decode.neighbour(body, NAMES) == (
        expected and (Neighbour("eth0", "10.22.32.0", mac), expected))


def test_neighbours_and_fdb_entries_come_back_as_they_were_sent():
    neighbour = Neighbour("tunl0", "10.22.32.0", "66:00:0a:16:20:00")
    assert decode.neighbour(steps.neighbour(neighbour, 2)[2], NAMES) == (neighbour, "PERMANENT")
    entry = FdbEntry("tunl0", "66:00:0a:16:20:00", "192.168.57.32")
    assert decode.fdb_entry(steps.neighbour(entry, 2)[2], NAMES) == entry
    assert decode.fdb_entry(steps.neighbour(neighbour, 2)[2], NAMES) is None


@pytest.mark.parametrize(("shaping", "expected"), [
    (Shaping(rate=100), [Qdisc("eth0", "tbf", 100)]),
    (Shaping(delay=0.25), [Qdisc("eth0", "netem", 0.25)]),
    (Shaping(40_000, 5), [Qdisc("eth0", "tbf", 40_000), Qdisc("eth0", "netem", 5)]),
])
def test_shaping_comes_back_as_it_was_sent(shaping, expected):
    messages = devices.shaping(shaping, 3)
    assert [decode.qdisc(body, NAMES) for _kind, _flags, body in messages] == expected


def test_other_qdiscs_and_filters_are_passed_over():
    assert decode.qdisc(devices.noqueue(3)[2], NAMES) is None
    other = struct.pack("=BxxxiIII", 0, 3, 1, 0xFFFFFFF2, 0) + text(1, "u32")
    assert decode.program(other, NAMES) is None


@pytest.mark.parametrize(("message", "direction"), [
    (devices.program(3, "ingress", 7, "underlay/ingress"), "ingress"),
    (devices.program(3, "egress", 7, "underlay/ingress"), "egress")])
def test_a_program_is_known_by_its_place_and_name(message, direction):
    assert decode.program(message[2], NAMES) == Program("eth0", direction, "underlay/ingress")


def dumped_link(index, name, kind, *, up, master=0, conf=()):
    return struct.pack("=BxHiII", 0, 1, index, int(up), 0) + b"".join((
        text(3, name), u32(4, 1480), u32(13, 7), attribute(1, b"\xee" * 6),
        u32(10, master) if master else b"", attribute(18, text(1, kind)) if kind else b"",
        attribute(26, attribute(2, attribute(1, struct.pack(f"={len(conf)}i", *conf))))))


def test_devices_with_masters_and_their_settings():
    conf = [0] * 26
    conf[0], conf[2], conf[7] = 1, 1, 2  # IPV4_DEVCONF_FORWARDING, _PROXY_ARP, _RP_FILTER
    devices = decode.devices([
        dumped_link(9, "port", "veth", up=True, master=4, conf=conf),
        dumped_link(4, "br0", "bridge", up=False)])
    links = [device.link for device in devices]
    assert links == [Link("port", "veth", 1480, True, 7, "ee:ee:ee:ee:ee:ee", "br0"),
                     Link("br0", "bridge", 1480, False, 7, "ee:ee:ee:ee:ee:ee")]
    assert [link.index for link in links] == [9, 4]
    assert {key: value for key, value in devices[0].settings.items() if value} == {
        "forwarding": 1, "proxy_arp": 1, "rp_filter": 2}
    assert not any(devices[1].settings.values())
    assert [device.carrier for device in devices] == [False, False]
