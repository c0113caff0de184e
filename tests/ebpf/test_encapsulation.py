"""What a node puts on the wire for a packet that is routed to tunl0 (ip_tunnel_xmit).

    pod-a -> node-a -> tunl0 -> eth0 -> [looked at here, at node-b's eth0] -> node-b -> pod-b
"""

import errno
import socket
import struct

import pytest

IP_TOS, IP_TTL, IP_MTU_DISCOVER = 1, 2, 10
DONT_FRAGMENT, MAY_FRAGMENT = 2, 0
IPIP = 4
DF = 0x4000


def is_ipip(lab, frame):
    return frame[12:14] == b"\x08\x00" and frame[23] == IPIP


def on_the_wire(lab, send, payload, at="node-b"):
    """The outer and the inner header of the first IPIP packet with ``payload`` in it."""
    with lab[at].capture("eth0") as capture:
        send()
        frame = capture.until(lambda f: is_ipip(lab, f) and payload in f)[-1][1]
    outer = lab.header.read(frame[14:])
    return outer, lab.header.read(outer.payload)


def test_the_outer_header_is_plain_ipip(lab):
    outer, inner = on_the_wire(lab, lambda: lab.send("pod-a", "10.2.0.2", b"hello"), b"hello")
    assert (outer.version, outer.ihl, outer.protocol) == (4, 5, IPIP)
    assert (outer.source, outer.destination) == ("192.168.57.31", "192.168.57.32")
    assert outer.length == 20 + inner.length == 20 + 20 + 8 + len(b"hello")
    assert outer.right_check
    assert outer.ident


def test_the_inner_packet_travels_unchanged(lab):
    _, inner = on_the_wire(lab, lambda: lab.send("pod-a", "10.2.0.2", b"intact"), b"intact")
    assert (inner.source, inner.destination, inner.protocol) == ("10.1.0.2", "10.2.0.2", 17)
    assert inner.right_check
    assert inner.payload[8:] == b"intact"


@pytest.mark.parametrize("ttl", [2, 17, 255])
def test_the_outer_ttl_is_the_inner_one(lab, ttl):
    outer, inner = on_the_wire(
        lab, lambda: lab.send("pod-a", "10.2.0.2", b"ttl", (IP_TTL, ttl)), b"ttl")
    assert (outer.ttl, inner.ttl) == (ttl - 1, ttl - 1)  # node-a is a hop, the tunnel is none


@pytest.mark.parametrize(("setting", "flag"), [(DONT_FRAGMENT, DF), (MAY_FRAGMENT, 0)])
def test_df_is_copied(lab, setting, flag):
    outer, inner = on_the_wire(
        lab, lambda: lab.send("pod-a", "10.2.0.2", b"df", (IP_MTU_DISCOVER, setting)), b"df")
    assert (outer.fragment, inner.fragment) == (flag, flag)


@pytest.mark.parametrize(("inner_tos", "outer_tos"), [
    pytest.param(0x00, 0x00, id="not-ECT"),
    pytest.param(0x01, 0x01, id="ECT(1)"),
    pytest.param(0x02, 0x02, id="ECT(0)"),
    pytest.param(0x03, 0x02, id="CE stays inside"),
    pytest.param(0xB8, 0x00, id="DSCP EF stays inside"),
    pytest.param(0xBB, 0x02, id="DSCP EF with CE"),
])
def test_dscp_is_zero_and_ecn_as_in_inet_ecn_encapsulate(lab, inner_tos, outer_tos):
    outer, inner = on_the_wire(
        lab, lambda: lab.send("pod-a", "10.2.0.2", b"tos", (IP_TOS, inner_tos)), b"tos")
    assert (inner.tos, outer.tos) == (inner_tos, outer_tos)


def test_the_gateway_of_the_route_is_the_outer_destination(lab):
    outer, inner = on_the_wire(lab, lambda: lab.send("pod-a", "10.3.0.3", b"gateway"), b"gateway")
    assert (inner.destination, outer.destination) == ("10.3.0.3", "192.168.57.32")


def test_a_node_itself_sends_with_the_address_of_tunl0_inside(lab):
    outer, inner = on_the_wire(lab, lambda: lab.send("node-a", "10.2.0.2", b"node"), b"node")
    assert (inner.source, outer.source) == ("10.1.0.1", "192.168.57.31")


def test_a_packet_that_has_to_wait_for_arp_is_not_lost(lab):
    with lab.listen("pod-b", 5001) as listener:
        for round_number in range(3):
            lab["node-a"].ip("neigh flush dev eth0")
            lab.send("pod-a", "10.2.0.2", b"%d" % round_number, port=5001)
            assert listener.recv(100) == b"%d" % round_number


def test_a_long_packet_without_df_arrives_in_fragments_inside_the_tunnel(lab):
    payload = bytes(range(256)) * 12
    with lab.listen("pod-b", 5002) as listener, lab["node-b"].capture("eth0") as capture:
        lab.send("pod-a", "10.2.0.2", payload, (IP_MTU_DISCOVER, MAY_FRAGMENT), port=5002)
        assert listener.recv(10_000) == payload
        outer = [lab.header.read(f[14:]) for _, f in capture.so_far() if is_ipip(lab, f)]
    assert [o.fragment for o in outer] == [0, 0, 0]
    assert [lab.header.read(o.payload).fragment & 0x3FFF for o in outer] == [
        0x2000, 0x2000 + 1456 // 8, 2912 // 8]


def test_a_long_packet_with_df_is_answered_with_the_tunnels_mtu(lab):
    lab["pod-a"].ip("link set eth0 mtu 1500")
    lab["node-a"].ip("link set pod mtu 1500")
    try:
        with lab["pod-a"].capture("eth0") as capture:
            lab.send("pod-a", "10.2.0.2", bytes(1465), (IP_MTU_DISCOVER, 3))  # PROBE: DF, no limit
            frame = capture.until(lambda f: f[23:24] == b"\1" and f[34:35] == b"\3")[-1][1]
    finally:
        lab["pod-a"].ip("link set eth0 mtu 1480")
        lab["node-a"].ip("link set pod mtu 1480")
        lab["pod-a"].ip("route flush cache")
    kind, code, _, _, mtu = struct.unpack_from("!BBHHH", frame, 34)
    assert (kind, code, mtu) == (3, 4, 1480)


@pytest.mark.parametrize("route", [
    pytest.param("10.9.0.0/24 via 10.9.0.1 dev tunl0 onlink", id="gateway behind the tunnel"),
    pytest.param("10.9.0.0/24 dev tunl0", id="no gateway, so the inner destination"),
    pytest.param("10.9.0.0/24 via 203.0.113.1 dev tunl0 onlink", id="gateway without a route"),
])
def test_a_packet_whose_outer_route_is_the_tunnel_or_missing_is_dropped(lab, route):
    lab["node-a"].ip(f"route add {route}")
    try:
        with lab["fabric"].capture("to-node-a") as capture:
            lab.send("pod-a", "10.9.0.5", b"loop")
            lab.send("pod-a", "10.2.0.2", b"marker")
            seen = capture.until(lambda f: b"marker" in f)
    finally:
        lab["node-a"].ip(f"route del {route.split()[0]}")
    assert not any(b"loop" in frame for _, frame in seen)


@pytest.mark.parametrize("packet", [
    pytest.param(b"\x45" + bytes(10), id="shorter than a header"),
    pytest.param(b"\x65" + b"odd version" * 10, id="not IPv4"),
    pytest.param(b"\x41" + b"odd header length" * 10, id="header too short"),
])
def test_a_malformed_packet_written_into_tunl0_is_dropped(ebpf_lab, packet):
    with ebpf_lab["node-a"].socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as raw, \
            pytest.raises(OSError) as refused:
        raw.sendto(packet, ("tunl0", 0x0800, 0, 0, bytes(4)))
    assert refused.value.errno == errno.ENOBUFS  # so the kernel calls "dropped on the way out"


def test_a_good_packet_written_into_tunl0_is_sent(ebpf_lab):
    packet = ebpf_lab.header.write("10.1.0.1", "10.2.0.2", ebpf_lab.udp(b"written"))

    def write():
        with ebpf_lab["node-a"].socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as raw:
            raw.sendto(packet, ("tunl0", 0x0800, 0, 0, bytes(4)))

    outer, _ = on_the_wire(ebpf_lab, write, b"written")
    assert outer.payload == packet
