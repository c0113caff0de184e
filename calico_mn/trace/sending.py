"""The probe as bytes, and its way out of a raw socket, so that no other packet is sent.

The kernel makes its IPv4 header as it does for any program (source address, DF, identification), so
it meets what a program's packet would meet. raw(7), ip(7).
"""

from __future__ import annotations

import errno
import secrets
import socket
import struct

from calico_mn.kernel.packets import ECHO_REQUEST, PROTOCOLS
from calico_mn.trace.recording import Mark, Probe

#: the shortest packet of a protocol in bytes, IPv4 header included; and the longest of all
MIN_SIZE, MAX_SIZE = {"icmp": 28, "udp": 28, "tcp": 40}, 65_535
_IP_MTU_DISCOVER, _PMTUDISC_DONT, _PMTUDISC_DO = 10, 0, 2
_SYN = 0x02


def new_mark(probe: Probe) -> Mark:
    """A mark that no other packet has; as a port the identifier is above the ephemeral ones.

    conntrack knows flows by it for a while, and gives a flow that comes again its old NAT.
    """
    identifier = (secrets.randbelow(65535) + 1 if probe.protocol == "icmp"
                  else secrets.randbelow(4500) + 61000)
    return Mark(identifier, secrets.randbits(32) if probe.protocol == "tcp" else 1,
                b"calico-mn " + secrets.token_bytes(6))


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
    """The ICMP message, UDP datagram or TCP segment, with its checksum."""
    protocol, length = PROTOCOLS[probe.protocol], probe.size - MIN_SIZE[probe.protocol]
    pseudo_header = struct.pack("!4s4sHH", socket.inet_aton(source), socket.inet_aton(destination),
                                protocol, probe.size - 20)
    if probe.protocol == "icmp":
        pseudo_header, position = b"", 2
        header = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, mark.identifier, mark.sequence)
    elif probe.protocol == "udp":
        position = 6
        header = struct.pack("!HHHH", mark.identifier, probe.port, 8 + length, 0)
    else:
        position = 16
        header = struct.pack("!HHIIBBHHH", mark.identifier, probe.port, mark.sequence, 0, 0x50,
                             _SYN, 64240, 0, 0)
    message = header + (mark.token + bytes(index & 0xFF for index in range(length)))[:length]
    checksum = _checksum(pseudo_header + message) or 0xFFFF  # 0 is "none" in UDP (RFC 768)
    return message[:position] + struct.pack("!H", checksum) + message[position + 2:]


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
