"""Sending one probe from a raw socket in the source's namespace, so that no other packet is sent.

The kernel makes the IPv4 header as it does for any program (source address, DF, identification),
so the probe meets what a program's packet would meet. raw(7), ip(7).
"""

from __future__ import annotations

import errno
import secrets
import socket
import struct

from calico_mn.kernel.packets import ECHO_REQUEST, PROTOCOLS
from calico_mn.trace.recording import Mark, Probe

_IP_MTU_DISCOVER, _PMTUDISC_DONT, _PMTUDISC_DO = 10, 0, 2
_SYN = 0x02

#: the shortest packet of a protocol in bytes, IPv4 header included
MIN_SIZE = {"icmp": 28, "udp": 28, "tcp": 40}


def new_mark() -> Mark:
    """A mark that no other packet has; as a port the identifier is above the ephemeral ones."""
    return Mark(secrets.randbelow(4500) + 61000, 1, b"calico-mn " + secrets.token_bytes(6))


def send(probe: Probe, mark: Mark, destination: str) -> str:
    """Send it in the namespace of this thread; the errno's name if the kernel refused, or ""."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                       PROTOCOLS[probe.protocol]) as raw:
        raw.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER,
                       _PMTUDISC_DO if probe.df else _PMTUDISC_DONT)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, probe.ttl)
        try:
            # connect() fails without a route, send() where the message is too long.
            raw.connect((destination, 0))
            raw.send(_message(probe, mark, raw.getsockname()[0], destination))
        except OSError as refusal:
            return errno.errorcode.get(refusal.errno or 0, str(refusal.errno))
    return ""


def _message(probe: Probe, mark: Mark, source: str, destination: str) -> bytes:
    length = probe.size - MIN_SIZE[probe.protocol]
    payload = (mark.token + bytes(index & 0xFF for index in range(max(0, length))))[:length]
    if probe.protocol == "icmp":
        return _icmp(mark, payload)
    if probe.protocol == "udp":
        segment = struct.pack("!HHHH", mark.identifier, probe.port, 8 + len(payload), 0) + payload
        position = 6
    else:
        segment = struct.pack("!HHIIBBHHH", mark.identifier, probe.port, mark.sequence, 0, 0x50,
                              _SYN, 64240, 0, 0)
        position = 16
    pseudo = struct.pack("!4s4sBBH", socket.inet_aton(source), socket.inet_aton(destination), 0,
                         PROTOCOLS[probe.protocol], len(segment))
    checksum = _checksum(pseudo + segment) or 0xFFFF
    return segment[:position] + struct.pack("!H", checksum) + segment[position + 2:]


def _icmp(mark: Mark, payload: bytes) -> bytes:
    def message(checksum: int) -> bytes:
        return struct.pack("!BBHHH", ECHO_REQUEST, 0, checksum, mark.identifier, mark.sequence
                           ) + payload
    return message(_checksum(message(0)))


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
