"""The frames of a probe as a pcapng file for Wireshark, with an interface per device. Pure.

In goes a recording, out come the file's bytes: the probe, its reply, ICMP errors about them and
ARP, in order of time, at each device of each namespace that saw them. The format is
draft-ietf-opsawg-pcapng: a section header, an interface description for each device, and an
enhanced packet for each frame.
"""

from __future__ import annotations

import struct

from calico_mn.kernel.capture import Frame
from calico_mn.trace.follow import sort_frames
from calico_mn.trace.recording import Port, Recording

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER, _UNKNOWN_LENGTH = 0x1A2B3C4D, -1
#: options: the writing program; an interface's name and resolution of time; a packet's flags
_USER_APPLICATION, _NAME, _RESOLUTION, _FLAGS = 4, 2, 9, 2
_NANOSECONDS = bytes([9])
_INBOUND, _OUTBOUND = 1, 2
#: LINKTYPE_ETHERNET, and LINKTYPE_RAW: the frame begins with its IP header, as on tunl0
_ETHERNET, _RAW = 1, 101


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
