"""State objects as rtnetlink messages, taken apart by a reader of this file's own.

Expected numbers are those of include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour,pkt_sched}.h,
written out here a second time.
"""

import socket
import struct
import sys
from dataclasses import replace

import pytest

from calico_mn.kernel import devices, rtnetlink, steps
from calico_mn.state import (
    Address,
    Bridge,
    FdbEntry,
    Neighbour,
    NextHop,
    Route,
    Shaping,
    Tunnel,
    Veth,
    VethPeer,
)

CREATE, EXCL, REPLACE = 0x400, 0x200, 0x100


def tlvs(data):
    """The attributes as a list, so that a repeated one is seen."""
    found = []
    while data:
        length, kind = struct.unpack_from("=HH", data)
        assert 4 <= length <= len(data), "an attribute runs over the end"
        found.append((kind, data[4:length]))
        padded = (length + 3) & ~3
        assert not any(data[length:padded]), "padding is not zero"
        data = data[padded:]
    kinds = [kind for kind, _ in found]
    assert len(kinds) == len(set(kinds)), "an attribute is given twice"
    return dict(found)


def u32(payload):
    (value,) = struct.unpack("=I", payload)
    return value


def link_body(body):
    family, pad, kind, index, flags, change = struct.unpack_from("=BBHiII", body)
    assert (family, pad, kind) == (0, 0, 0)
    return (index, flags, change), tlvs(body[16:])


CALI = Veth("cali262cda17a90", 1480, VethPeer("sit/web", "eth0", 1480, index=4),
            mac="ee:ee:ee:ee:ee:ee", txqueuelen=0)
PORT = Veth("node31", 1500, VethPeer("node31", "eth0", 1400, index=3), master="br0")


def test_a_veth_is_made_with_both_ends_in_one_message():
    kind, flags, body = devices.veth(CALI, 10, 4, 77)
    assert (kind, flags) == (16, CREATE | EXCL)
    header, link = link_body(body)
    assert header == (10, 0, 0), "down: its partner does not exist yet"
    assert link[3] == b"cali262cda17a90\0"
    assert u32(link[4]) == 1480
    assert u32(link[13]) == 0
    assert link[1] == b"\xee" * 6
    assert (u32(link[31]), u32(link[32])) == (1, 1), "one queue each way"
    assert 10 not in link
    info = tlvs(link[18])
    assert info[1] == b"veth\0"
    data = tlvs(info[2])
    assert set(data) == {1}
    header, peer = link_body(data[1])
    assert header == (4, 0, 0)
    assert peer[3] == b"eth0\0"
    assert u32(peer[28]) == 77
    assert u32(peer[4]) == 1480
    assert u32(peer[13]) == 0
    assert (u32(peer[31]), u32(peer[32])) == (1, 1)
    assert 1 not in peer, "a pod's MAC is random"


def test_a_bridge_port_names_its_bridge_and_each_end_its_own_mtu():
    _, link = link_body(devices.veth(PORT, 12, 3, 5, master=9)[2])
    assert u32(link[10]) == 9
    assert u32(link[4]) == 1500
    assert 1 not in link
    _, peer = link_body(tlvs(tlvs(link[18])[2])[1])
    assert u32(peer[4]) == 1400


def test_a_mac_that_was_asked_for_is_given_to_the_peer():
    veth = replace(CALI, mac="", peer=replace(CALI.peer, mac="02:00:00:00:00:01"))
    _, link = link_body(devices.veth(veth, 10, 4, 77)[2])
    assert 1 not in link
    assert link_body(tlvs(tlvs(link[18])[2])[1])[1][1] == bytes.fromhex("020000000001")


def test_a_bridge_is_up_at_once_and_does_not_snoop():
    kind, flags, body = devices.bridge(Bridge("br0", 1400), 10)
    assert (kind, flags) == (16, CREATE | EXCL)
    header, link = link_body(body)
    assert header == (10, 1, 1)
    assert link[3] == b"br0\0"
    assert u32(link[4]) == 1400
    info = tlvs(link[18])
    assert info[1] == b"bridge\0"
    assert tlvs(info[2]) == {23: b"\0"}


def test_an_ipip_device_has_neither_end():
    kind, flags, body = devices.tunnel("tunl0", "ipip", 2)
    assert (kind, flags) == (16, CREATE | EXCL)
    header, link = link_body(body)
    assert header == (2, 0, 0)
    assert link[3] == b"tunl0\0"
    assert tlvs(link[18]) == {1: b"ipip\0"}


@pytest.mark.parametrize(("options", "flags", "attributes"), [
    pytest.param({"up": True}, (1, 1), {}, id="up"),
    pytest.param({"up": False}, (0, 1), {}, id="down"),
    pytest.param({}, (0, 0), {}, id="state-untouched"),
    pytest.param({"mtu": 1480, "txqueuelen": 1000}, (0, 0), {4: 1480, 13: 1000}, id="mtu-queue"),
    pytest.param({"txqueuelen": 0}, (0, 0), {13: 0}, id="queue-of-zero-is-set"),
])
def test_a_device_is_changed_in_what_was_asked_for_only(options, flags, attributes):
    kind, request_flags, body = devices.link(7, **options)
    assert (kind, request_flags) == (16, 0), "without NLM_F_CREATE"
    header, link = link_body(body)
    assert header == (7, *flags)
    assert {kind: u32(value) for kind, value in link.items()} == attributes


def test_a_devices_sysctls_ride_in_a_link_message():
    conf = {"route_localnet": 1, "proxy_arp": 1, "forwarding": 1, "rp_filter": 0}
    _, link = link_body(devices.link(7, up=True, conf=conf)[2])
    inet = tlvs(tlvs(link[26])[socket.AF_INET])
    assert {kind: u32(value) for kind, value in tlvs(inet[1]).items()} == {26: 1, 3: 1, 1: 1, 8: 0}


@pytest.mark.parametrize(("key", "number"), [
    ("forwarding", 1), ("proxy_arp", 3), ("send_redirects", 6), ("rp_filter", 8),
    ("accept_local", 23), ("route_localnet", 26),
])
def test_the_numbers_of_the_per_device_settings_are_those_of_linux_ip_h(key, number):
    assert rtnetlink.DEVCONF[key] == number


def test_a_device_is_deleted_by_its_index():
    kind, flags, body = devices.link_removal(12)
    assert (kind, flags) == (17, 0)
    assert link_body(body) == ((12, 0, 0), {})


def test_proxy_delay_is_a_parameter_of_the_arp_tables_device():
    kind, flags, body = devices.proxy_delay(12, 800)
    assert (kind, flags) == (67, REPLACE)
    assert body[:4] == bytes([socket.AF_INET, 0, 0, 0])
    table = tlvs(body[4:])
    assert table[1] == b"arp_cache\0"
    parameters = tlvs(table[6])
    assert u32(parameters[1]) == 12
    assert parameters[13] == struct.pack("=Q", 800)


@pytest.mark.parametrize(("address", "packed", "prefix"), [
    pytest.param("10.22.138.0/32", bytes([10, 22, 138, 0]), 32, id="tunnel"),
    pytest.param("192.168.57.31/24", bytes([192, 168, 57, 31]), 24, id="uplink"),
])
@pytest.mark.parametrize(("remove", "kind", "flags"), [(False, 20, CREATE | EXCL), (True, 21, 0)],
                         ids=["add", "remove"])
def test_an_address(address, packed, prefix, remove, kind, flags):
    message = steps.address(Address("tunl0", address), 2, remove=remove)
    assert message[:2] == (kind, flags)
    assert struct.unpack_from("=BBBBI", message[2]) == (socket.AF_INET, prefix, 0, 0, 2)
    assert tlvs(message[2][8:]) == {1: packed, 2: packed}


TUNNEL = Route("10.22.151.0/26", via="192.168.57.32", device="tunl0", protocol="bird", onlink=True)


@pytest.mark.parametrize(("route", "index", "header", "attributes"), [
    pytest.param(TUNNEL, 2, (26, 12, 0, 1, 4),
                 {1: bytes([10, 22, 151, 0]), 5: bytes([192, 168, 57, 32]), 4: 2}, id="tunnelled"),
    pytest.param(Route("10.22.151.0/26", via="192.168.57.32", device="eth0", protocol="bird"), 3,
                 (26, 12, 0, 1, 0),
                 {1: bytes([10, 22, 151, 0]), 5: bytes([192, 168, 57, 32]), 4: 3}, id="direct"),
    pytest.param(Route("default", via="192.168.57.1", device="eth0"), 3, (0, 3, 0, 1, 0),
                 {5: bytes([192, 168, 57, 1]), 4: 3}, id="default"),
    pytest.param(Route("10.22.138.1", device="cali0", scope="link"), 9, (32, 3, 253, 1, 0),
                 {1: bytes([10, 22, 138, 1]), 4: 9}, id="pod"),
    pytest.param(Route("10.22.138.0/26", protocol="bird", kind="blackhole"), 0, (26, 12, 0, 6, 0),
                 {1: bytes([10, 22, 138, 0])}, id="blackhole"),
    pytest.param(Route("10.22.200.0/26", protocol="bird", kind="unreachable"), 0,
                 (26, 12, 0, 7, 0), {1: bytes([10, 22, 200, 0])}, id="unreachable"),
    pytest.param(Route("10.0.0.0/8", via="10.1.0.2", device="eth1", protocol="static", mtu=1400),
                 4, (8, 4, 0, 1, 0), {1: bytes([10, 0, 0, 0]), 5: bytes([10, 1, 0, 2]), 4: 4,
                                      8: struct.pack("=HHI", 8, 2, 1400)}, id="mtu"),
])
@pytest.mark.parametrize(("remove", "kind", "flags"),
                         [(False, 24, CREATE | REPLACE), (True, 25, 0)], ids=["replace", "remove"])
def test_a_route(route, index, header, attributes, remove, kind, flags):
    length, protocol, scope, route_kind, route_flags = header
    message = steps.route(route, index, remove=remove)
    assert message[:2] == (kind, flags)
    assert struct.unpack_from("=BBBBBBBBI", message[2]) == (
        socket.AF_INET, length, 0, 0, 254, protocol, scope, route_kind, route_flags)
    found = tlvs(message[2][12:])
    assert {k: u32(v) if k == 4 else v for k, v in found.items()} == attributes


EQUAL = Route("10.0.0.0/8", protocol="static", next_hops=(
    NextHop("10.1.0.2", "eth1"), NextHop("10.2.0.2", "eth2")))


@pytest.mark.parametrize(("onlink", "flags"), [(False, 0), (True, 4)])
def test_a_route_with_two_next_hops(onlink, flags):
    kind, header_flags, body = steps.route(
        replace(EQUAL, next_hops=tuple(replace(hop, onlink=onlink) for hop in EQUAL.next_hops)),
        0, hop_indexes=[4, 70_000])
    assert (kind, header_flags) == (24, CREATE | REPLACE)
    found = tlvs(body[12:])
    assert found.keys() == {1, 9}
    hops = found[9]
    assert len(hops) == 32
    for hop, index, gateway in ((hops[:16], 4, [10, 1, 0, 2]), (hops[16:], 70_000, [10, 2, 0, 2])):
        assert struct.unpack_from("=HBBi", hop) == (16, flags, 0, index)
        assert tlvs(hop[8:]) == {5: bytes(gateway)}


def test_a_route_with_two_next_hops_is_removed_by_its_destination():
    _, _, body = steps.route(EQUAL, 0, remove=True)
    assert tlvs(body[12:]) == {1: bytes([10, 0, 0, 0])}


def test_each_next_hop_needs_an_index():
    with pytest.raises(ValueError, match="zip"):
        steps.route(EQUAL, 0, hop_indexes=[4])


def qdisc(message):
    kind, flags, body = message
    assert (kind, flags) == (36, CREATE | EXCL)
    family, index, handle, parent, info = struct.unpack_from("=BxxxiIII", body)
    assert (family, info) == (0, 0)
    found = tlvs(body[20:])
    return index, handle, parent, found[1], found[2]


@pytest.mark.parametrize("rate", [1e-3, 0.5, 10, 100, 1000, 40_000, 1e6], ids="{}Mbit".format)
def test_a_rate_is_a_token_bucket(rate):
    (message,) = devices.shaping(Shaping(rate, None), 7)
    index, handle, parent, name, options = qdisc(message)
    assert (index, handle, parent, name) == (7, 0x10000, 0xFFFFFFFF, b"tbf\0")
    found = tlvs(options)
    bytes_per_second = int(rate * 1e6 / 8)
    limit, buffer_ticks, _mtu = struct.unpack_from("=III", found[1], 24)
    assert len(found[1]) == 36, "struct tc_tbf_qopt"
    assert struct.unpack_from("=I", found[1], 8)[0] == min(bytes_per_second, 0xFFFFFFFF)
    assert struct.unpack("=Q", found[4])[0] == bytes_per_second
    burst = u32(found[6])
    assert burst >= 16_384, "a GSO packet, cut to the device's MTU, fits"
    assert limit > burst
    seconds = buffer_ticks * 64 / 1e9
    assert seconds * rate * 1e6 / 8 == pytest.approx(burst, rel=0.01)


def test_a_delay_is_netem_in_nanoseconds():
    (message,) = devices.shaping(Shaping(None, 1.5), 7)
    index, handle, parent, name, options = qdisc(message)
    assert (index, handle, parent, name) == (7, 0x10000, 0xFFFFFFFF, b"netem\0")
    ticks, limit, loss, gap, duplicate, jitter = struct.unpack_from("=IIIIII", options)
    assert ticks == 1_500_000 // 64
    assert limit >= 10_000
    assert (loss, gap, duplicate, jitter) == (0, 0, 0, 0)
    assert tlvs(options[24:]) == {10: struct.pack("=q", 1_500_000)}


@pytest.mark.parametrize(("percent", "share"), [(100, 0xFFFFFFFF), (1, 0xFFFFFFFF // 100)])
def test_a_loss_is_netem_by_its_probability(percent, share):
    (message,) = devices.shaping(Shaping(loss=percent), 7)
    assert struct.unpack_from("=IIIIII", qdisc(message)[4])[2] == share


def test_a_jitter_and_a_reordering_are_netems():
    (message,) = devices.shaping(Shaping(delay=5, jitter=0.5, reorder=100), 7)
    options = qdisc(message)[4]
    _ticks, _limit, _loss, gap, _duplicate, jitter = struct.unpack_from("=IIIIII", options)
    assert (gap, jitter) == (1, 500_000 // 64)
    assert tlvs(options[24:]) == {10: struct.pack("=q", 5_000_000), 11: struct.pack("=q", 500_000),
                                  3: struct.pack("=II", 0xFFFFFFFF, 0)}


def test_with_both_the_delay_is_inside_the_bucket():
    outer, inner = (qdisc(m) for m in devices.shaping(Shaping(100, 10_000), 7))
    assert outer[1:4] == (0x10000, 0xFFFFFFFF, b"tbf\0")
    assert inner[1:4] == (0x20000, 0x10001, b"netem\0")


MESSAGES = {
    "veth, pod": devices.veth(CALI, 10, 4, 77),
    "veth, bridge port": devices.veth(PORT, 12, 3, 5, master=9),
    "bridge": devices.bridge(Bridge("br0", 1400), 10),
    "ipip": devices.tunnel("tunl0", "ipip", 2),
    "link, up": devices.link(7, up=True, mtu=1480, txqueuelen=1000),
    "link, settings": devices.link(7, conf={"proxy_arp": 1, "rp_filter": 2}),
    "link, delete": devices.link_removal(12),
    "proxy_delay": devices.proxy_delay(12, 0),
    "address, add": steps.address(Address("tunl0", "10.22.138.0/32"), 2),
    "address, delete": steps.address(Address("tunl0", "10.22.138.0/32"), 2, remove=True),
    "route, replace": steps.route(TUNNEL, 2),
    "route, delete": steps.route(TUNNEL, 2, remove=True),
    "route, two next hops": steps.route(EQUAL, 0, hop_indexes=[4, 5]),
    "blackhole": steps.route(Route("10.22.138.0/26", protocol="bird", kind="blackhole"), 0),
    "tbf and netem, outer": devices.shaping(Shaping(100, 2), 7)[0],
    "tbf and netem, inner": devices.shaping(Shaping(100, 2), 7)[1],
}


@pytest.mark.skipif(sys.byteorder != "little", reason="the golden bytes are little-endian")
def test_messages_are_byte_for_byte_what_they_were(golden):
    golden("rtnetlink", "".join(
        f"{name}: type {kind}, flags {flags:#x}\n    {body.hex(' ', 4)}\n"
        for name, (kind, flags, body) in MESSAGES.items()))


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_ends_where_the_next_one_may_begin(name):
    assert len(MESSAGES[name][2]) % 4 == 0


# --- neighbours, forwarding databases, VXLAN

@pytest.mark.parametrize(("item", "header", "destination"), [
    pytest.param(Neighbour("eth0", "10.22.5.0", "66:00:00:00:00:01"), (2, 7, 0x80, 0, 0),
                 "10.22.5.0", id="neighbour"),
    pytest.param(FdbEntry("eth0", "66:00:00:00:00:01", "192.168.57.2"), (7, 7, 0x80, 0x02, 0),
                 "192.168.57.2", id="fdb"),
])
@pytest.mark.parametrize("remove", [False, True])
def test_a_neighbour_entry_is_permanent(item, header, destination, remove):
    kind, flags, body = steps.neighbour(item, 7, remove=remove)
    assert (kind, flags) == ((29, 0) if remove else (28, CREATE | REPLACE))
    assert struct.unpack_from("=BxxxiHBB", body) == header
    assert tlvs(body[12:]) == {1: socket.inet_aton(destination), 2: bytes.fromhex("660000000001")}


def test_a_vxlan_device_neither_learns_nor_is_up_when_it_is_made():
    device = Tunnel("vxlan.calico", 1450, "eth0", kind="vxlan", vni=4096, port=4789,
                    local="192.168.57.1", mac="66:00:00:00:00:10")
    kind, flags, body = devices.vxlan(device, 9, 3)
    assert (kind, flags) == (16, CREATE | EXCL)
    header, found = link_body(body)
    assert header == (9, 0, 0)
    assert found[3] == b"vxlan.calico\0"
    assert found[1] == bytes.fromhex("660000000010")
    assert u32(found[4]) == 1450
    info = tlvs(found[18])
    assert info[1] == b"vxlan\0"
    assert tlvs(info[2]) == {1: struct.pack("=I", 4096), 3: struct.pack("=I", 3),
                             4: socket.inet_aton("192.168.57.1"), 7: b"\0",
                             15: struct.pack(">H", 4789)}
