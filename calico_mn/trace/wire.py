"""Packets as bytes: the probe on its way out of a raw socket, and all its frames in a file.

    Probe, Mark --> send      the kernel makes the IPv4 header as it does for any program (source
                              address, DF, identification), so that no other packet is sent, and
                              it meets what a program's packet would meet; raw(7), ip(7)
    Recording   --> pcapng    a file for Wireshark with an interface per device: the probe, its
                              reply, ICMP errors about them and ARP, at each device that saw them

The format is draft-ietf-opsawg-pcapng: a section header, an interface description for each device,
and an enhanced packet for each frame.
"""

from __future__ import annotations

import errno
import secrets
import socket
import struct

from calico_mn.kernel.capture import Frame
from calico_mn.kernel.packets import ECHO_REQUEST, PROTOCOLS
from calico_mn.trace.follow import sort_frames
from calico_mn.trace.recording import Mark, Port, Probe, Recording

#: the shortest packet of a protocol in bytes, IPv4 header included; and the longest of all
MIN_SIZE, MAX_SIZE = {"icmp": 28, "udp": 28, "tcp": 40}, 65_535
_IP_MTU_DISCOVER, _PMTUDISC_DONT, _PMTUDISC_DO = 10, 0, 2
_SYN = 0x02

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER, _UNKNOWN_LENGTH = 0x1A2B3C4D, -1
#: options: the writing program; an interface's name and resolution of time; a packet's flags
_USER_APPLICATION, _NAME, _RESOLUTION, _FLAGS = 4, 2, 9, 2
_NANOSECONDS = bytes([9])
_INBOUND, _OUTBOUND = 1, 2
#: LINKTYPE_ETHERNET, and LINKTYPE_RAW: the frame begins with its IP header, as on tunl0
_ETHERNET, _RAW = 1, 101


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


# --- the file for Wireshark

def pcapng(recording: Recording) -> bytes:
    """The file. Interfaces are named ``NAMESPACE:DEVICE``; times are the kernel's, in ns."""
    frames = _frames(recording)
    interfaces: dict[tuple[Port, bool], int] = {}
    for namespace, frame in frames:
        interfaces.setdefault(((namespace, frame.device), frame.ethernet), len(interfaces))
    blocks = [_block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH)
                     + _options({_USER_APPLICATION: b"calico-mn trace"}))]
    for (namespace, device), ethernet in interfaces:
        blocks.append(_block(_INTERFACE, struct.pack("<HHI", _ETHERNET if ethernet else _RAW, 0, 0)
                             + _options({_NAME: f"{namespace}:{device}".encode(),
                                         _RESOLUTION: _NANOSECONDS})))
    for namespace, frame in frames:
        number = interfaces[(namespace, frame.device), frame.ethernet]
        head = struct.pack("<IIIII", number, frame.time >> 32, frame.time & 0xFFFFFFFF,
                           len(frame.data), frame.length or len(frame.data))
        flags = struct.pack("<I", _OUTBOUND if frame.outgoing else _INBOUND)
        blocks.append(_block(_PACKET, head + _padded(frame.data) + _options({_FLAGS: flags})))
    return b"".join(blocks)


def _frames(recording: Recording) -> list[tuple[str, Frame]]:
    """The frames that belong to the probe, and ARP at hosts, in order of time."""
    by_role = sort_frames(recording)
    frames = [(item.namespace, item.frame) for item in (
        *by_role.forward, *by_role.reply, *(item for error in by_role.errors for item in error))]
    frames += [(item.namespace, item.frame) for item in by_role.arp]
    return sorted(frames, key=lambda item: item[1].time)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _options(values: dict[int, bytes]) -> bytes:
    """Options, and the one that ends them."""
    return b"".join(struct.pack("<HH", code, len(value)) + _padded(value)
                    for code, value in values.items()) + struct.pack("<HH", 0, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
