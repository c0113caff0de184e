"""Frames taken apart: Ethernet, ARP, IPv4 as many times as it is there, ICMP and what it quotes.

Pure. RFC 826 (ARP), RFC 791 (IPv4), RFC 792 (ICMP), RFC 2003 (IP in IP), RFC 768, RFC 9293.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

ICMP, IPIP, TCP, UDP = 1, 4, 6, 17
ECHO_REPLY, UNREACHABLE, REDIRECT, ECHO_REQUEST, TIME_EXCEEDED = 0, 3, 5, 8, 11
FRAGMENTATION_NEEDED, PORT_UNREACHABLE = 4, 3
PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP}

#: ICMP messages that quote the packet they are about
_QUOTING = (UNREACHABLE, 4, REDIRECT, TIME_EXCEEDED, 12)
_UNREACHABLE = {0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable",
                3: "port unreachable", 4: "fragmentation needed", 5: "source route failed",
                9: "network prohibited", 10: "host prohibited", 13: "administratively filtered"}
_SHORTEST = 20


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
    sender_mac: str
    target: str
    target_mac: str


@dataclass(frozen=True, slots=True)
class Transport:
    """What follows the innermost IPv4 header.

    For ICMP ``kind``, ``code`` and the header's second word (``rest``), for TCP and UDP the
    ports, and TCP's ``sequence``, ``acknowledgement`` and ``flags``.
    """

    protocol: int
    kind: int = -1
    code: int = 0
    rest: int = 0
    source_port: int = 0
    destination_port: int = 0
    sequence: int = 0
    acknowledgement: int = 0
    flags: int = 0
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Packet:
    """A frame taken apart. ``headers`` are IPv4's, the outer one first.

    ``quoted`` is the packet that an ICMP error is about, as far as it is quoted.
    """

    macs: tuple[str, str] | None = None
    arp: Arp | None = None
    headers: tuple[Header, ...] = ()
    transport: Transport | None = None
    quoted: Packet | None = field(default=None)


def decode(data: bytes, ethernet: bool) -> Packet | None:
    """Take a frame apart; None for what is neither ARP nor IPv4, or is cut short."""
    macs = None
    if ethernet:
        if len(data) < 14:
            return None
        macs = (data[6:12].hex(":"), data[:6].hex(":"))
        kind, = struct.unpack_from("!H", data, 12)
        data = data[14:]
        if kind == 0x0806:
            return _arp(data, macs)
        if kind != 0x0800:
            return None
    headers, transport, quoted = _ip(data)
    return Packet(macs, None, headers, transport, quoted) if headers else None


def _arp(data: bytes, macs: tuple[str, str]) -> Packet | None:
    if len(data) < 28:
        return None
    operation, sender_mac, sender, target_mac, target = struct.unpack_from("!6xH6s4s6s4s", data)
    return Packet(macs, Arp(operation, socket.inet_ntoa(sender), sender_mac.hex(":"),
                            socket.inet_ntoa(target), target_mac.hex(":")))


def _ip(data: bytes) -> tuple[tuple[Header, ...], Transport | None, Packet | None]:
    """Headers, the outer one first, and what follows the last of them."""
    headers: list[Header] = []
    while len(data) >= _SHORTEST and data[0] >> 4 == 4:
        length, identification, fragment, ttl, protocol, source, destination = (
            struct.unpack_from("!2xHHHBB2x4s4s", data))
        headers.append(Header(
            socket.inet_ntoa(source), socket.inet_ntoa(destination), ttl, protocol, length,
            bool(fragment & 0x4000), identification, (fragment & 0x1FFF) * 8,
            bool(fragment & 0x2000)))
        data = data[(data[0] & 15) * 4:]
        if headers[-1].offset:
            return tuple(headers), None, None
        if protocol != IPIP:
            transport = _transport(protocol, data)
            return tuple(headers), transport, _quoted(transport)
    return tuple(headers), None, None


def _transport(protocol: int, data: bytes) -> Transport | None:
    if len(data) < 8:
        return None
    if protocol == ICMP:
        kind, code, _sum, rest = struct.unpack_from("!BBHI", data)
        return Transport(ICMP, kind, code, rest, payload=data[8:])
    if protocol == UDP:
        source, destination = struct.unpack_from("!HH", data)
        return Transport(UDP, source_port=source, destination_port=destination, payload=data[8:])
    if protocol == TCP:
        source, destination, sequence = struct.unpack_from("!HHI", data)
        acknowledgement, flags = struct.unpack_from("!IxB", data, 8) if len(data) >= 14 else (0, 0)
        return Transport(TCP, 0, 0, 0, source, destination, sequence, acknowledgement, flags)
    return None


def _quoted(transport: Transport | None) -> Packet | None:
    if transport is None or transport.protocol != ICMP or transport.kind not in _QUOTING:
        return None
    headers, inside, _ = _ip(transport.payload)
    return Packet(None, None, headers, inside) if headers else None


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
