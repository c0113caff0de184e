"""Packets as bytes: the one decoder of what a capture has seen, and the filter of a capture. Pure.

    bytes ──decode──▶ Packet:  layers, the outer one first   transport    quoted
                               Ethernet, IPv4                (of the      (by an ICMP
                                 └ IPIP or VXLAN ─▶ …         last one)    error)

Goes in: a frame, and whether it begins with an Ethernet header. Comes out: ARP, or the IPv4
headers with the outer ones peeled off, and what the innermost carries. RFC 826 (ARP), RFC 791
(IPv4), RFC 792 (ICMP), RFC 2003 (IP in IP), RFC 7348 (VXLAN), RFC 768 (UDP), RFC 9293 (TCP).

What a capture wants, a :class:`~calico_mn.packetmatch.CaptureFilter`, becomes a socket filter for
the kernel (Documentation/networking/filter.rst; numbers of include/uapi/linux/filter.h)::

    is it ARP, and is ARP wanted?          take it
    is it IPv4?                            else leave it
    for each encapsulation, and for none:
        for each match:                    take it if all of it is so, else try the next
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from calico_mn.packetmatch import (
    PROTOCOL_ICMP,
    PROTOCOL_IPIP,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    CaptureFilter,
    PacketMatch,
)

ICMP, IPIP, TCP, UDP = PROTOCOL_ICMP, PROTOCOL_IPIP, PROTOCOL_TCP, PROTOCOL_UDP
ECHO_REPLY, UNREACHABLE, REDIRECT, ECHO_REQUEST, TIME_EXCEEDED = 0, 3, 5, 8, 11
FRAGMENTATION_NEEDED, PORT_UNREACHABLE = 4, 3
PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP}

#: ICMP messages that quote the packet they are about
_QUOTING = (UNREACHABLE, 4, REDIRECT, TIME_EXCEEDED, 12)
_UNREACHABLE = {0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable",
                3: "port unreachable", 4: "fragmentation needed", 5: "source route failed",
                9: "network prohibited", 10: "host prohibited", 13: "administratively filtered"}
ETHERNET_BYTES, IPV4_BYTES, UDP_BYTES, VXLAN_BYTES = 14, 20, 8, 8
_ETHERTYPE_IPV4, _ETHERTYPE_ARP = 0x0800, 0x0806
_DONT_FRAGMENT, _MORE_FRAGMENTS, _FRAGMENT_OFFSET = 0x4000, 0x2000, 0x1FFF
#: the port that IANA gives VXLAN, and Felix's ``vxlanPort`` by default; and a flag of its header
_VXLAN_PORT, _VXLAN_HAS_VNI = 4789, 0x08
_ipv4_header = struct.Struct("!2xHHHBB2x4s4s").unpack_from

#: base of a filter: counts from the IPv4 header on a device of any kind, but reaches only the
#: linear part of a packet's memory (bpf_internal_load_pointer_neg_helper() in kernel/bpf/core.c)
NETWORK_HEADER = 0xFFF00000
_instruction = struct.Struct("=HBBI")
INSTRUCTION_BYTES = _instruction.size
_PROTOCOL_OF_FRAME = 0xFFFFF000
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_AT_X, _LOAD_BYTE_AT_X, _X_IS_HEADER_LENGTH = 0x48, 0x50, 0xB1
_IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x15, 0x45, 0x06


@dataclass(frozen=True, slots=True)
class Header:
    """An IPv4 header; ``length`` is the whole packet's in bytes, ``offset`` a fragment's."""

    source: str
    destination: str
    ttl: int
    protocol: int
    length: int
    dont_fragment: bool
    identification: int
    offset: int = 0
    more_fragments: bool = False

    @property
    def is_fragment(self) -> bool:
        """A piece of a larger packet."""
        return self.more_fragments or self.offset > 0


@dataclass(frozen=True, slots=True)
class Arp:
    """A question (``operation`` 1) or an answer (2)."""

    operation: int
    sender: str
    target: str


@dataclass(frozen=True, slots=True)
class Transport:
    """What follows the innermost IPv4 header.

    For ICMP ``kind``, ``code`` and the header's second word (``rest``), for TCP and UDP the
    ports, and TCP's ``sequence`` and ``flags``.
    """

    protocol: int
    kind: int = -1
    code: int = 0
    rest: int = 0
    source_port: int = 0
    destination_port: int = 0
    sequence: int = 0
    flags: int = 0
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Layer:
    """An IPv4 header and what stood before it.

    ``macs`` are the sender's and the receiver's of the Ethernet header, None where there is none;
    ``vni`` is that of the VXLAN header which carried this layer.
    """

    header: Header
    macs: tuple[str, str] | None = None
    vni: int | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """A frame taken apart.

    ``layers`` are the IPv4 headers, the outer one first; ``macs`` are the frame's own.
    ``quoted`` is the packet that an ICMP error is about, as far as it is quoted.
    ``header_bytes`` are all bytes before the payload of TCP, UDP or ICMP, Ethernet's included; 0
    where the frame ends before.
    """

    macs: tuple[str, str] | None = None
    arp: Arp | None = None
    layers: tuple[Layer, ...] = ()
    transport: Transport | None = None
    quoted: Packet | None = None
    header_bytes: int = 0

    @property
    def headers(self) -> tuple[Header, ...]:
        """The IPv4 headers, the outer one first."""
        return tuple(layer.header for layer in self.layers)

    @property
    def encapsulated(self) -> bool:
        """Whether a whole IPv4 header is inside another one."""
        return len(self.layers) > 1

    @property
    def is_fragment(self) -> bool:
        """Whether it is a piece of a larger packet, or has one inside."""
        return any(layer.header.is_fragment for layer in self.layers)


def decode(data: bytes, ethernet: bool) -> Packet | None:
    """Take a frame apart; None for what is neither ARP nor IPv4, or is cut short."""
    if not ethernet:
        return _ip(data, 0, None)
    if len(data) < ETHERNET_BYTES:
        return None
    macs, kind = _ethernet(data, 0)
    if kind == _ETHERTYPE_ARP:
        return _arp(data, macs)
    return _ip(data, ETHERNET_BYTES, macs) if kind == _ETHERTYPE_IPV4 else None


def _ethernet(data: bytes, at: int) -> tuple[tuple[str, str], int]:
    """The sender's and the receiver's address, and the EtherType."""
    return ((data[at + 6:at + 12].hex(":"), data[at:at + 6].hex(":")),
            int.from_bytes(data[at + 12:at + 14], "big"))


def _arp(data: bytes, macs: tuple[str, str]) -> Packet | None:
    if len(data) < ETHERNET_BYTES + 28:
        return None
    operation, sender, target = struct.unpack_from("!6xH6x4s6x4s", data, ETHERNET_BYTES)
    return Packet(macs, Arp(operation, socket.inet_ntoa(sender), socket.inet_ntoa(target)))


def _ip(data: bytes, at: int, macs: tuple[str, str] | None) -> Packet | None:
    """The packet whose first IPv4 header is at ``at``; None if there is no whole one."""
    layers: list[Layer] = []
    transport, inner, vni, end = None, macs, None, 0
    while len(data) >= at + IPV4_BYTES and data[at] >> 4 == 4 and data[at] & 15 >= 5:
        length, identification, fragment, ttl, protocol, source, destination = _ipv4_header(
            data, at)
        offset = (fragment & _FRAGMENT_OFFSET) * 8
        layers.append(Layer(Header(
            socket.inet_ntoa(source), socket.inet_ntoa(destination), ttl, protocol, length,
            bool(fragment & _DONT_FRAGMENT), identification, offset,
            bool(fragment & _MORE_FRAGMENTS)), inner, vni))
        at += (data[at] & 15) * 4
        if offset:
            break
        if protocol == IPIP:
            inner = vni = None
            continue
        transport, end = _transport(protocol, data, at)
        if protocol != UDP or transport is None or transport.destination_port != _VXLAN_PORT:
            break
        carried = _vxlan(data, at + UDP_BYTES)
        if carried is None:
            break
        inner, vni, at = carried
        transport, end = None, 0
    if not layers:
        return None
    quoted = None
    if transport is not None and transport.protocol == ICMP and transport.kind in _QUOTING:
        quoted = _ip(transport.payload, 0, None)
    return Packet(macs, None, tuple(layers), transport, quoted, end)


def _vxlan(data: bytes, at: int) -> tuple[tuple[str, str], int, int] | None:
    """The inner frame's addresses, the VNI, and where its IPv4 header begins (RFC 7348, 5).

    None for what is no VXLAN header with a VNI, or carries something else than IPv4.
    """
    begin = at + VXLAN_BYTES
    if len(data) < begin + ETHERNET_BYTES or not data[at] & _VXLAN_HAS_VNI:
        return None
    macs, kind = _ethernet(data, begin)
    if kind != _ETHERTYPE_IPV4:
        return None
    return macs, int.from_bytes(data[at + 4:at + 7], "big"), begin + ETHERNET_BYTES


def _transport(protocol: int, data: bytes, at: int) -> tuple[Transport | None, int]:
    """What begins at ``at``, and where its payload does, 0 if the frame ends before.

    An ICMP error may quote as little as 8 bytes of it (RFC 792).
    """
    if len(data) < at + 8:
        return None, 0
    if protocol == ICMP:
        kind, code, _sum, rest = struct.unpack_from("!BBHI", data, at)
        return Transport(ICMP, kind, code, rest, payload=data[at + 8:]), at + 8
    if protocol == UDP:
        source, destination = struct.unpack_from("!HH", data, at)
        return Transport(UDP, source_port=source, destination_port=destination,
                         payload=data[at + UDP_BYTES:]), at + UDP_BYTES
    if protocol == TCP:
        source, destination, sequence = struct.unpack_from("!HHI", data, at)
        size, flags = struct.unpack_from("!BB", data, at + 12) if len(data) >= at + 14 else (0, 0)
        return (Transport(TCP, 0, 0, 0, source, destination, sequence, flags),
                at + (size >> 4) * 4 if len(data) >= at + 20 else 0)
    return None, 0


def error_text(transport: Transport) -> str:
    """An ICMP error in words, with the MTU where it tells one (RFC 1191)."""
    if transport.kind == UNREACHABLE:
        text = _UNREACHABLE.get(transport.code, f"unreachable, code {transport.code}")
        mtu = transport.rest & 0xFFFF
        return f"{text}, MTU {mtu}" if transport.code == FRAGMENTATION_NEEDED else text
    if transport.kind == TIME_EXCEEDED:
        return "TTL exceeded" if transport.code == 0 else "reassembly time exceeded"
    if transport.kind == REDIRECT:
        return f"redirect to {socket.inet_ntoa(struct.pack('!I', transport.rest))}"
    return f"ICMP type {transport.kind}, code {transport.code}"


# --- the socket filter of a capture

#: a load, or a comparison together with the outcome that is wanted
_Step = tuple[int, int] | tuple[int, int, bool]


def filter_program(wanted: CaptureFilter, base: int, length: int) -> bytes:
    """A socket filter that takes the first ``length`` bytes of what is wanted.

    ``base`` is where the frame's IPv4 header begins. The alternatives follow each other: each
    loads what it compares, and falls through to the next one.
    """
    code = [_instruction.pack(_LOAD_HALF, 0, 0, _PROTOCOL_OF_FRAME)]
    if wanted.arp:
        code += _alternative([(_IF_EQUAL, _ETHERTYPE_ARP, True)], length)
    code += [_instruction.pack(_IF_EQUAL, 1, 0, _ETHERTYPE_IPV4),
             _instruction.pack(_RETURN, 0, 0, 0)]
    outer: list[tuple[list[_Step], int]] = [([], base)]
    outer += [_carried(tunnel, base) for tunnel in wanted.inside]
    for before, at in outer:
        source: list[_Step] = [(_LOAD_WORD, at + 12),
                               (_IF_EQUAL, int(IPv4Address(wanted.source)), True)
                               ] if wanted.source else []
        for match in wanted.matches:
            code += _alternative([*before, *_steps(match, at), *source], length)
    return b"".join([*code, _instruction.pack(_RETURN, 0, 0, 0)])


def _alternative(steps: Iterable[_Step], length: int) -> list[bytes]:
    """Return ``length`` if all comparisons turn out as wanted, or go on behind."""
    listed = list(steps)
    code = []
    for position, (operation, value, *outcome) in enumerate(listed):
        away = len(listed) - position
        jumps = (0, 0) if not outcome else (0, away) if outcome[0] else (away, 0)
        code.append(_instruction.pack(operation, *jumps, value))
    return [*code, _instruction.pack(_RETURN, 0, 0, length)]


def _steps(match: PacketMatch, at: int) -> list[_Step]:
    """What is to be compared in a packet whose IPv4 header begins at ``at``."""
    steps: list[_Step] = [(_LOAD_BYTE, at + 9), (_IF_EQUAL, match.protocol, True)]
    if match.port is None and match.icmp_type is None:
        return steps
    # Only the first fragment has what follows the IPv4 header.
    steps += [(_LOAD_HALF, at + 6), (_IF_ANY_BIT, _FRAGMENT_OFFSET, False),
              (_X_IS_HEADER_LENGTH, at)]
    if match.port is not None:
        steps += [(_LOAD_HALF_AT_X, at + 2), (_IF_EQUAL, match.port, True)]
    if match.icmp_type is not None:
        steps += [(_LOAD_BYTE_AT_X, at), (_IF_EQUAL, match.icmp_type, True)]
    if match.icmp_code is not None:
        steps += [(_LOAD_BYTE_AT_X, at + 1), (_IF_EQUAL, match.icmp_code, True)]
    return steps


def _carried(tunnel: PacketMatch, at: int) -> tuple[list[_Step], int]:
    """What an encapsulated packet's outer header must be, and where its inner one begins."""
    if tunnel.port is None:
        return _steps(tunnel, at), at + IPV4_BYTES
    inner = at + IPV4_BYTES + UDP_BYTES + VXLAN_BYTES + ETHERNET_BYTES
    return [*_steps(tunnel, at), (_LOAD_HALF, inner - 2), (_IF_EQUAL, _ETHERTYPE_IPV4, True)], inner
