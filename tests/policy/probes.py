"""First packets of flows, made by hand, from every place to every other at a time.

A raw socket at the far end sees what all firewalls on the way let through, also of protocols that
this kernel does not speak.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from calico_mn.calico.policy.explain import ECHO_REQUEST, Explainer
from calico_mn.policy import PROTOCOLS, Icmp
from policy.connections import ANSWER_S, ATTEMPTS

ICMP, TCP, UDP, SCTP = (PROTOCOLS[name] for name in ("icmp", "tcp", "udp", "sctp"))
_SYN = 0x02
#: asm-generic/socket.h
_SO_RCVBUFFORCE, _BUFFER = 33, 8 << 20
#: a packet that comes although it should not has come after so many seconds
_SETTLED_S = 0.05
#: (source, destination, protocol, what tells its packets apart)
Key = tuple[str, str, int, int]


@dataclass(frozen=True)
class Flow:
    """A protocol, and its ports, or what a packet of ICMP is."""

    protocol: int
    port: int = 0
    source_port: int = 0
    icmp: Icmp = ECHO_REQUEST

    @property
    def mark(self) -> int:
        """What tells a packet apart at the far end: both ports; of ICMP its type, too."""
        kind = self.icmp.type if self.protocol == ICMP else 0
        return kind << 32 | self.source_port << 16 | self.port

    def packet(self, source: str, destination: str) -> bytes:
        """The bytes after the IPv4 header."""
        if self.protocol == ICMP:
            head = struct.pack("!BBHHH", self.icmp.type, self.icmp.code or 0, 0, self.source_port,
                               self.port)
            return _with_sum(head + bytes(12), 2)
        ports = struct.pack("!HH", self.source_port, self.port)
        if self.protocol == SCTP:
            chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65536, 1, 1, 1)
            return ports + bytes(4) + struct.pack(
                "<I", crc32c(ports + bytes(8) + chunk)) + chunk
        rest = (struct.pack("!HH", 8, 0) if self.protocol == UDP
                else struct.pack("!IIBBHHH", 1, 0, 0x50, _SYN, 1024, 0, 0))
        segment = ports + rest
        pseudo = (IPv4Address(source).packed + IPv4Address(destination).packed
                  + struct.pack("!HH", self.protocol, len(segment)))
        return _with_sum(segment, 6 if self.protocol == UDP else 16, pseudo)


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _with_sum(data: bytes, offset: int, before: bytes = b"") -> bytes:
    """The bytes with the Internet checksum (RFC 1071) at an offset."""
    total = sum(struct.unpack(f"!{len(before + data) // 2}H", before + data))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return data[:offset] + struct.pack("!H", ~total & 0xFFFF) + data[offset + 2:]


class Probes:
    """Raw sockets in every place of a cluster, by place and protocol."""

    def __init__(self, net: Any, places: Iterable[str]) -> None:
        self.net = net
        self.sockets: dict[tuple[str, int], socket.socket] = {}
        for place in places:
            for protocol in (ICMP, TCP, UDP, SCTP):
                item = net.runtime.inside(place, socket.socket, socket.AF_INET, socket.SOCK_RAW,
                                          protocol)
                item.setblocking(False)
                # A node's also gets what the tunnels carry.
                item.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
                self.sockets[place, protocol] = item

    def close(self) -> None:
        """Close them all."""
        for item in self.sockets.values():
            item.close()

    def check(self, pairs: Sequence[tuple[str, str]], flows: Sequence[Flow]) -> list[Key]:
        """Send each flow between each pair; the packets, each with the fate that was said.

        One that should arrive and does not is sent again: a busy machine loses some. Raises
        AssertionError with each that had another fate.
        """
        explainer = Explainer(self.net.cluster)
        places = {name: explainer.place(name) for name, _ in self.sockets}
        packets = {(source, destination, flow.protocol, flow.mark): flow
                   for source, destination in pairs for flow in flows}
        addresses = {pair: str(explainer.seen_from(*map(places.__getitem__, pair)))
                     for pair in pairs}
        said = {key: explainer.explain(
            places[key[0]], places[key[1]], flow.protocol, flow.port,
            source_port=flow.source_port, icmp=flow.icmp).allowed
            for key, flow in packets.items()}
        sources: dict[str, set[str]] = {}
        for (source, _), address in addresses.items():
            sources.setdefault(address, set()).add(source)
        wanted, arrived = {key for key, allowed in said.items() if allowed}, set[Key]()
        sent: Collection[Key] = said
        for _ in range(ATTEMPTS):
            for key in sent:
                address = str(places[key[1]].address)
                self.sockets[key[0], key[2]].sendto(
                    packets[key].packet(addresses[key[:2]], address), (address, 0))
            arrived |= self._arrived(wanted - arrived, sources)
            sent = wanted - arrived
            if not sent:
                break
        wrong = [f"{' -> '.join(key[:2])} protocol {key[2]}, ports {key[3] >> 16 & 0xFFFF}"
                 f" to {key[3] & 0xFFFF}: {'allowed' if allowed else 'denied'} said, the other seen"
                 for key, allowed in said.items() if (key in arrived) != allowed]
        assert not wrong, "\n".join(wrong[:20])
        return list(said)

    def _arrived(self, wanted: set[Key], sources: dict[str, set[str]]) -> set[Key]:
        arrived: set[Key] = set()
        by_socket = {item: key for key, item in self.sockets.items()}
        deadline = time.monotonic() + ANSWER_S
        while True:
            left = (deadline - time.monotonic()) if wanted - arrived else _SETTLED_S
            ready = select.select(list(by_socket), [], [], max(0.0, left))[0]
            if not ready:
                return arrived
            for item in ready:
                place, protocol = by_socket[item]
                packet = item.recv(2000)
                body = packet[4 * (packet[0] & 15):]
                mark = (body[0] << 32 | int.from_bytes(body[4:8], "big") if protocol == ICMP
                        else int.from_bytes(body[:4], "big"))
                arrived |= {(source, place, protocol, mark)
                            for source in sources.get(str(IPv4Address(packet[12:16])), ())}


@contextmanager
def probes(net: Any, places: Iterable[str]) -> Iterator[Probes]:
    """Raw sockets while the block runs."""
    made = Probes(net, places)
    try:
        yield made
    finally:
        made.close()
