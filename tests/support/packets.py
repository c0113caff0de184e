"""Packets on the wire: captures around a probe, and what tests ask of them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from calico_mn.packetmatch import CaptureFilter, PacketMatch

ICMP, IPIP = 1, 4
ECHO_REQUEST, UNREACHABLE, FRAGMENTATION_NEEDED = 8, 3, 4


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """An IPv4 packet, from its IP header on, read by tests on their own (RFC 791).

    ``outgoing``: it left through the device.
    """

    data: bytes
    outgoing: bool

    @property
    def source(self) -> str:
        """Source address."""
        return socket.inet_ntoa(self.data[12:16])

    @property
    def destination(self) -> str:
        """Destination address."""
        return socket.inet_ntoa(self.data[16:20])

    @property
    def protocol(self) -> int:
        """The IP protocol number; 4 is IPIP (RFC 2003)."""
        return self.data[9]

    @property
    def ttl(self) -> int:
        """Time to live."""
        return self.data[8]

    @property
    def dont_fragment(self) -> bool:
        """The DF flag."""
        return bool(self.data[6] & 0x40)

    @property
    def payload(self) -> bytes:
        """What follows the IP header."""
        return self.data[(self.data[0] & 15) * 4:]


@contextmanager
def captured(net: Any, node: str, device: str, protocol: int) -> Iterator[list[CapturedPacket]]:
    """The packets that cross ``device`` while the block runs; filled when it ends."""
    found: list[CapturedPacket] = []
    wanted = CaptureFilter((PacketMatch(protocol),))
    with net.capture(net[node].name, device, wanted) as capture:
        yield found
        found += [CapturedPacket(frame.network, frame.outgoing) for frame in capture.read()]


def ping(net: Any, source: str, destination: str, *options: str) -> tuple[str, int]:
    """Output and exit status of one ping to an address."""
    out, err, status = net[source].pexec(
        ["ping", "-n", "-c1", "-W2", *options, destination])
    return f"{out}{err}", int(status)


def inner(packet: CapturedPacket) -> CapturedPacket:
    """The packet inside an IPIP packet."""
    return CapturedPacket(packet.payload, packet.outgoing)


def icmp_type(packet: CapturedPacket) -> int:
    """The type of an ICMP message, from its first octet (RFC 792)."""
    return packet.payload[0]


def next_hop_mtu(packet: CapturedPacket) -> int:
    """The MTU in a "fragmentation needed" message (RFC 1191)."""
    kind, code, _checksum, _unused, mtu = struct.unpack("!BBHHH", packet.payload[:8])
    assert (kind, code) == (UNREACHABLE, FRAGMENTATION_NEEDED)
    return int(mtu)


def fragmented(packet: CapturedPacket) -> bool:
    """Whether the packet is a piece of a larger one."""
    return struct.unpack("!H", packet.data[6:8])[0] & 0x3FFF != 0
