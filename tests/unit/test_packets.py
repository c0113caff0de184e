"""Frames taken apart: plain, inside IPIP, inside VXLAN, in fragments, quoted, and cut short."""

import socket
import struct

import pytest

from calico_mn.kernel.packets import ICMP, IPIP, TCP, UDP, Header, Layer, decode, error_text

A, B = "10.22.31.1", "10.22.32.1"
OUTER = ("192.168.57.31", "192.168.57.32")

#: a ping that Linux' own VXLAN device put into UDP (id 4096, dstport 4789, nolearning)
VXLAN_PING = bytes.fromhex(
    "0200c0a83920 0200c0a8391f 0800"
    "45000086 14b40000 40117223 c0a8391f c0a83920  e98612b5 0072f413  08000000 00100000"
    "66000a162000 66000a161f00 0800"
    "45000054 cbcd4000 4001 1bab 0a161f00 0a162005"
    "0800e4f8 43980001 d6150b6b00000000 211a0e0000000000"
    "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637")


def ip(source, destination, protocol, payload, *, options=b"", fragment=0x4000):
    return struct.pack("!BBHHHBBH", 0x40 | 5 + len(options) // 4, 0,
                       20 + len(options) + len(payload), 7, fragment, 64, protocol, 0) + (
        socket.inet_aton(source) + socket.inet_aton(destination) + options + payload)


def udp(port, payload):
    return struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload


def tcp(options=b""):
    return struct.pack("!HHIIBBHHH", 40000, 5201, 1, 2, (5 + len(options) // 4) << 4, 0x12, 0, 0,
                       0) + options


def ethernet(kind, payload):
    return bytes.fromhex("020000000002 020000000001") + struct.pack("!H", kind) + payload


ECHO = bytes.fromhex("0800 0000 0001 0001")
PING = ip(A, B, ICMP, ECHO)
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


@pytest.mark.parametrize(("packet", "protocols", "transport", "header_bytes"), [
    pytest.param(PING, [ICMP], (ICMP, 8, 0), 28, id="plain ping"),
    pytest.param(ip(*OUTER, IPIP, PING), [IPIP, ICMP], (ICMP, 8, 0), 48, id="inside IPIP"),
    pytest.param(ip(*OUTER, IPIP, PING, options=b"\1\1\1\0"), [IPIP, ICMP], (ICMP, 8, 0), 52,
                 id="outer header with options"),
    pytest.param(ip(*OUTER, IPIP, ip(*OUTER, IPIP, PING)), [IPIP, IPIP, ICMP], (ICMP, 8, 0), 68,
                 id="twice inside IPIP"),
    pytest.param(ip(A, B, UDP, udp(53, b"x")), [UDP], (UDP, 40000, 53), 28, id="UDP"),
    pytest.param(ip(A, B, TCP, tcp()), [TCP], (TCP, 40000, 5201), 40, id="TCP"),
    pytest.param(ip(*OUTER, IPIP, ip(A, B, TCP, tcp(bytes(12)))), [IPIP, TCP],
                 (TCP, 40000, 5201), 72, id="TCP with options inside IPIP"),
    pytest.param(ip(A, B, TCP, tcp()[:16]), [TCP], (TCP, 40000, 5201), 0, id="torn TCP"),
    pytest.param(ip(A, B, TCP, tcp()[:4]), [TCP], None, 0, id="no ports"),
    pytest.param(ip(*OUTER, IPIP, PING[:10]), [IPIP], None, 0, id="torn inside"),
    pytest.param(ip(*OUTER, IPIP, b"\x60" + bytes(60)), [IPIP], None, 0, id="IPv6 inside"),
    pytest.param(ip(A, B, 132, bytes(20)), [132], None, 0, id="SCTP"),
])
def test_headers_and_what_follows_them(packet, protocols, transport, header_bytes):
    read = decode(packet, False)
    assert [header.protocol for header in read.headers] == protocols
    assert read.encapsulated is (len(protocols) > 1)
    assert read.header_bytes == header_bytes
    if transport is None:
        assert read.transport is None
    elif transport[0] == ICMP:
        assert (read.transport.protocol, read.transport.kind, read.transport.code) == transport
    else:
        assert (read.transport.protocol, read.transport.source_port,
                read.transport.destination_port) == transport
    # Ethernet in front of it changes nothing else.
    framed = decode(ethernet(0x0800, packet), True)
    assert (framed.macs, framed.headers, framed.transport) == (MACS, read.headers, read.transport)
    assert framed.header_bytes == (header_bytes and header_bytes + 14)


def test_a_ping_inside_vxlan():
    read = decode(VXLAN_PING, True)
    assert read.macs == ("02:00:c0:a8:39:1f", "02:00:c0:a8:39:20")
    assert read.layers == (
        Layer(Header(*OUTER, 64, UDP, 134, False, 0x14B4), read.macs),
        Layer(Header("10.22.31.0", "10.22.32.5", 64, ICMP, 84, True, 0xCBCD),
              ("66:00:0a:16:1f:00", "66:00:0a:16:20:00"), vni=4096))
    assert (read.transport.kind, read.transport.rest) == (8, 0x43980001)
    assert read.header_bytes == 14 + 20 + 8 + 8 + 14 + 20 + 8


@pytest.mark.parametrize("frame", [
    pytest.param(ip(A, B, UDP, udp(4789, b"x" * 40)), id="no VNI flag"),
    pytest.param(ip(A, B, UDP, udp(4789, b"\x08" + bytes(7) + ethernet(0x86DD, bytes(40)))),
                 id="IPv6 inside"),
    pytest.param(ip(A, B, UDP, udp(4789, b"\x08" + bytes(10))), id="torn"),
    pytest.param(ip(A, B, UDP, udp(4788, b"\x08" + bytes(7) + ethernet(0x0800, PING))),
                 id="another port"),
])
def test_udp_that_is_no_vxlan_stays_udp(frame):
    read = decode(frame, False)
    assert (len(read.layers), read.transport.protocol, read.header_bytes) == (1, UDP, 28)


@pytest.mark.parametrize(("fragment", "offset", "more", "has_transport"), [
    (0x2000, 0, True, True), (0x00B9, 1480, False, False), (0x4000, 0, False, True)])
def test_fragments(fragment, offset, more, has_transport):
    (header,), transport = (read := decode(ip(A, B, ICMP, ECHO, fragment=fragment), False)
                            ).headers, read.transport
    assert (header.offset, header.more_fragments) == (offset, more)
    assert header.is_fragment is (more or offset > 0)
    assert (transport is not None) is has_transport


@pytest.mark.parametrize(("outer", "inner", "answer"), [
    pytest.param(0, 0, False, id="whole"),
    pytest.param(0x4000, 0x4000, False, id="DF"),
    pytest.param(0, 0x2000, True, id="first fragment inside"),
    pytest.param(0, 0x00B9, True, id="last fragment inside"),
    pytest.param(0x2000, 0, True, id="first fragment of the outer packet"),
    pytest.param(0x00B9, 0, True, id="last fragment of the outer packet"),
])
def test_fragments_are_known_inside_and_outside(outer, inner, answer):
    packet = ip(*OUTER, IPIP, ip(A, B, TCP, b"", fragment=inner), fragment=outer)
    assert decode(packet, False).is_fragment is answer


@pytest.mark.parametrize(("inner", "protocols"), [
    (ip(*OUTER, IPIP, PING), [IPIP, ICMP]), (VXLAN_PING[14:], [UDP, ICMP])],
    ids=["IPIP", "VXLAN"])
def test_an_icmp_error_names_its_mtu_and_quotes_both_headers(inner, protocols):
    error = bytes.fromhex("0304 0000 000005b4") + inner
    read = decode(ip("192.168.57.1", OUTER[0], ICMP, error), False)
    assert error_text(read.transport) == "fragmentation needed, MTU 1460"
    assert [header.protocol for header in read.quoted.headers] == protocols
    assert read.quoted.transport.kind == 8


@pytest.mark.parametrize(("frame", "has_ethernet"), [
    pytest.param(b"", True, id="empty"),
    pytest.param(bytes(13), True, id="short"),
    pytest.param(bytes(40), True, id="unknown EtherType"),
    pytest.param(b"\x45" + bytes(10), False, id="short IPv4"),
    pytest.param(b"\x40" + bytes(8) + b"\x04" + bytes(60), False, id="IPv4 of no length"),
    pytest.param(ethernet(0x0806, b"\0\1"), True, id="short ARP"),
])
def test_frames_that_are_cut_short_are_not_read(frame, has_ethernet):
    assert decode(frame, has_ethernet) is None


def test_arp():
    read = decode(ethernet(0x0806, bytes.fromhex(
        "0001 0800 06 04 0002 020000000001 0a161f01 020000000002 a9fe0101")), True)
    assert (read.arp.operation, read.arp.sender, read.arp.target) == (2, A, "169.254.1.1")
