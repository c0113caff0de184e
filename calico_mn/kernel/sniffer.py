"""All frames of one namespace that can tell of a probe: every device, both directions, stamped.

Unlike :mod:`calico_mn.kernel.capture`, which counts one protocol on one device, a sniffer is one
AF_PACKET socket bound to no device, so that a whole node costs one descriptor, and the kernel
says of each frame on which device, in which direction and when it was seen (packet(7)).
"""

from __future__ import annotations

import ctypes
import socket
import struct
from dataclasses import dataclass

_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_SO_TIMESTAMPNS = 35
_RECEIVE_BUFFER = 1 << 20
_ICMP, _IPIP = 1, 4

# Offsets that the kernel takes as "from the network header" and "about the packet" (bpf, cBPF).
_NET_OFF, _PROTOCOL_OF_FRAME = 0xFFF00000, 0xFFFFF000
_LOAD_HALF, _LOAD_BYTE, _JUMP_EQUAL, _RETURN = 0x28, 0x30, 0x15, 0x06

_instruction = struct.Struct("=HBBI").pack

#: sockaddr_ll.sll_pkttype
TO_US, BROADCAST, MULTICAST, TO_OTHERS, OUTGOING = range(5)
#: sockaddr_ll.sll_hatype of devices whose frames begin with an Ethernet header
_WITH_ETHERNET = (1, 772)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as a device saw it.

    ``kind`` is one of the ``sll_pkttype`` above; ``ethernet`` tells whether ``data`` begins with
    an Ethernet header (else with the IP header, as on tunl0); ``time`` is the kernel's, in ns.
    """

    device: str
    kind: int
    ethernet: bool
    time: int
    data: bytes

    @property
    def outgoing(self) -> bool:
        """It left through the device."""
        return self.kind == OUTGOING


class Sniffer:
    """ARP, ICMP and ``protocol``, also inside IPIP, on all devices of a namespace from now on.

    Must be opened in a thread that is inside the namespace; reading works from any thread.
    """

    def __init__(self, protocol: int = _ICMP) -> None:
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.htons(_ETH_P_ALL))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._attach_filter(protocol)
            # A socket of no device listens from the start: what came before the filter goes.
            self.read()
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop. The kernel waits for readers of its lists: some milliseconds."""
        self._socket.close()

    def read(self) -> list[Frame]:
        """The frames since the last call, without waiting."""
        found: list[Frame] = []
        while True:
            try:
                data, notes, _flags, address = self._socket.recvmsg(65536, 64)
            except BlockingIOError:
                return found
            device, _protocol, kind, hardware, _mac = address
            found.append(Frame(device, kind, hardware in _WITH_ETHERNET, _stamp(notes), data))

    def _attach_filter(self, protocol: int) -> None:
        wanted = sorted({protocol, _ICMP})
        inner = [(_LOAD_BYTE, 0, 0, _NET_OFF + 20 + 9), *_any_of(wanted, 0)]
        program = [
            (_LOAD_HALF, 0, 0, _PROTOCOL_OF_FRAME),
            (_JUMP_EQUAL, 0, 1, 0x0806), (_RETURN, 0, 0, 0x40000),  # ARP
            (_JUMP_EQUAL, 1, 0, 0x0800), (_RETURN, 0, 0, 0),  # IPv4, or nothing
            (_LOAD_BYTE, 0, 0, _NET_OFF + 9),
            (_JUMP_EQUAL, 0, len(inner), _IPIP), *inner,
            *_any_of(wanted, 0),
        ]
        code = ctypes.create_string_buffer(b"".join(_instruction(*one) for one in program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack(
            "@HP", len(program), ctypes.addressof(code)))


def _any_of(protocols: list[int], otherwise: int) -> list[tuple[int, int, int, int]]:
    """Accept if the loaded byte is one of ``protocols``, else return ``otherwise``."""
    found: list[tuple[int, int, int, int]] = []
    for protocol in protocols:
        found += [(_JUMP_EQUAL, 0, 1, protocol), (_RETURN, 0, 0, 0x40000)]
    return [*found, (_RETURN, 0, 0, otherwise)]


def _stamp(notes: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in notes:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("=qq", data[:16])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0
