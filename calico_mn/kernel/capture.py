"""Frames as the kernel shows them to an AF_PACKET socket: the one way to capture (packet(7)).

    what is wanted           CaptureFilter ──▶ socket filter, in the kernel
    where                    one device, or every device of the namespace
    what comes out           Frame: device, direction, bytes; decoded by kernel.packets

A probe's few packets are read whole. Of a bulk transfer only the first bytes of each packet are
kept, with its length and the segments into which it is still to be cut, and a thread takes them
away. What is captured where is packet_rcv() and packet_recvmsg() in net/packet/af_packet.c;
numbers are those of include/uapi/linux/{if_packet,virtio_net}.h.
"""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep, time_ns

from calico_mn.errors import KernelError
from calico_mn.kernel.packets import (
    ETHERNET_BYTES,
    INSTRUCTION_BYTES,
    NETWORK_HEADER,
    Packet,
    decode,
    filter_program,
)
from calico_mn.packetmatch import CaptureFilter

_ETH_P_ALL = 3
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35
_SOL_PACKET = 263
_PACKET_STATISTICS, _PACKET_AUXDATA, _PACKET_VNET_HDR = 6, 8, 15
#: sockaddr_ll.sll_hatype of devices whose frames begin with an Ethernet header: also loopback
_ARPHRD_ETHER, _WITH_ETHERNET = 1, (1, 772)
#: sockaddr_ll.sll_pkttype
TO_OTHERS, OUTGOING = 3, 4

#: the outer and inner headers of a TCP segment with all options, also inside VXLAN
_SNAPLEN, _WHOLE = 192, 0x40000
_BUFFER_BYTES, _BULK_BUFFER_BYTES = 1 << 20, 128 << 20
_POLL_MS = 50
_STAMP_PAUSE_S, _NOTES_BYTES = 0.001, 64

_vnet_header = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum start, offset
_auxdata = struct.Struct("=IIIHHHH")  # status, len, snaplen, mac, net, vlan tci, vlan tpid


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as a device saw it.

    ``kind`` is ``sll_pkttype``: :data:`TO_OTHERS`, :data:`OUTGOING`, ...; ``ethernet`` tells
    whether ``data`` begins with an Ethernet header, or else with the IP header, as on tunl0.
    ``time`` is the kernel's in ns, 0 where it was not asked for. ``length`` are the frame's bytes
    in all, and ``gso_size`` the payload of each segment into which it is still to be cut (GSO), 0
    for a packet that goes as it is; ``length`` counts the headers of a packet to be cut once.
    """

    device: str
    kind: int
    ethernet: bool
    time: int
    data: bytes
    length: int = 0
    gso_size: int = 0

    @property
    def outgoing(self) -> bool:
        """It left through the device."""
        return self.kind == OUTGOING

    @property
    def network(self) -> bytes:
        """The bytes from the IP header on."""
        return self.data[ETHERNET_BYTES:] if self.ethernet else self.data

    @property
    def packet(self) -> Packet | None:
        """The frame taken apart; None for what is neither ARP nor IPv4, or is cut short."""
        return decode(self.data, self.ethernet)


class Capture:
    """Frames that match, in both directions, from now on, of ``device`` or of all devices.

    Frames of other devices are never among them. Must be opened in a thread that is inside the
    namespace; reading works from any thread. ``stamped`` asks for the time of each frame, which
    makes the kernel stamp every packet of the machine. ``bulk`` keeps the beginning of each
    packet only, with ``length`` and ``gso_size``, and has room for very many of them.
    Raises KernelError where there is no such device, and for ``bulk`` where it is not Ethernet.
    """

    #: seconds from a frame's passing until it can be read
    lag_s = 0.0

    def __init__(self, wanted: CaptureFilter, device: str = "", *, stamped: bool = False,
                 bulk: bool = False) -> None:
        # A socket without protocol hears nothing until it is bound; one for all devices cannot
        # be bound by Python, and loses below what came before its filter.
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            0 if device else socket.htons(_ETH_P_ALL))
        self._bulk = bulk
        base = NETWORK_HEADER
        try:
            if device:
                self._socket.bind((device, 0))
                kind = self._socket.getsockname()[3]
                if bulk and kind != _ARPHRD_ETHER:
                    raise KernelError(f"{device}: a capture of segments needs an Ethernet device")
                base = ETHERNET_BYTES if kind in _WITH_ETHERNET else 0
            self._prepare(stamped)
            self._attach(filter_program(wanted, base, _SNAPLEN if bulk else _WHOLE))
            if device:
                self._socket.bind((device, _ETH_P_ALL))
            else:
                self.read()
        except OSError as error:
            self._socket.close()
            raise KernelError(f"{device or 'all devices'}: capture:"
                              f" {error.strerror or error}") from error
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def fileno(self) -> int:
        """For poll()."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop capturing. The kernel waits for readers of its lists: some milliseconds."""
        self._socket.close()

    def read(self) -> list[Frame]:
        """The frames since the last call, without waiting.

        None come while the device is down, and none any more once it was deleted.
        """
        frames: list[Frame] = []
        while True:
            try:
                data, notes, _flags, address = self._socket.recvmsg(65536, 128)
            except BlockingIOError:
                return frames
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                # Reported once when the device goes down; the socket works again when it is up.
                continue
            device, _protocol, kind, hardware, _mac = address
            time, length, gso_size = 0, len(data), 0
            for level, _kind, value in notes:
                if level == _SOL_PACKET:
                    length = _auxdata.unpack_from(value)[1]
                else:
                    seconds, nanoseconds = struct.unpack_from("=qq", value)
                    time = seconds * 1_000_000_000 + nanoseconds
            if self._bulk:
                _f, gso_type, _hdr_len, size, _s, _o = _vnet_header.unpack_from(data)
                data, gso_size = data[_vnet_header.size:], size if gso_type else 0
            frames.append(Frame(device, kind, hardware in _WITH_ETHERNET, time, data, length,
                                gso_size))

    def lost(self) -> int:
        """How many frames the kernel had no room for since the last call."""
        _seen, lost = struct.unpack("=II", self._socket.getsockopt(
            _SOL_PACKET, _PACKET_STATISTICS, 8))
        return int(lost)

    def _prepare(self, stamped: bool) -> None:
        """Ask for room and for what the kernel is to say of each frame."""
        if stamped:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if self._bulk:
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        size = _BULK_BUFFER_BYTES if self._bulk else _BUFFER_BYTES
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:
            # Root of a user namespace gets no more than net.core.rmem_max.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def _attach(self, code: bytes) -> None:
        buffer = ctypes.create_string_buffer(code)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack(
            "@HP", len(code) // INSTRUCTION_BYTES, ctypes.addressof(buffer)))


def wait_for_stamps(seconds: float) -> bool:
    """Wait until the kernel stamps packets, which a worker of its own switches on; did it?

    net_enable_timestamp() in net/core/dev.c. Frames before that get the time at which they are
    read, and so a wrong order. A datagram that this thread's namespace sends to itself shows it.
    """
    deadline = monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        probe.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        probe.settimeout(_STAMP_PAUSE_S)
        while monotonic() < deadline:
            with suppress(OSError):
                probe.bind(("127.0.0.1", 0))
            try:
                probe.sendto(b"", probe.getsockname())
                sleep(_STAMP_PAUSE_S)
                before = time_ns()
                _data, notes, _flags, _address = probe.recvmsg(1, _NOTES_BYTES)
            except OSError:
                sleep(_STAMP_PAUSE_S)
                continue
            stamps = [struct.unpack_from("=qq", value) for _level, _kind, value in notes]
            if stamps and stamps[0][0] * 1_000_000_000 + stamps[0][1] < before:
                return True
    return False


class BulkCapture:
    """A bulk capture that a thread of its own empties, from :meth:`start` to :meth:`finish`."""

    def __init__(self, wanted: CaptureFilter, device: str) -> None:
        self._frames: list[Frame] = []
        self._failure: OSError | None = None
        self._stop = threading.Event()
        self._capture = Capture(wanted, device, bulk=True)
        try:
            self._reader = threading.Thread(target=self._read, name=f"capture {device}",
                                            daemon=True)
        except BaseException:
            self._capture.close()
            raise

    def start(self) -> None:
        """Begin to take frames away.

        Not to be called in the thread that entered the namespace: a new thread shares root and
        current directory with the one that started it, which then could enter no mount namespace
        any more (setns(2), EINVAL).
        """
        self._reader.start()

    def finish(self) -> tuple[list[Frame], int]:
        """Stop; the frames, and how many more the kernel had no room for.

        What the socket holds when this is called is still read. Raises KernelError when reading
        failed. Finishing twice gives nothing the second time.
        """
        self._stop.set()
        self._reader.join()
        if self._capture.fileno() < 0:
            return [], 0
        with self._capture:
            lost = self._capture.lost()
        if self._failure is not None:
            raise KernelError(f"capture: {self._failure.strerror}") from self._failure
        return self._frames, lost

    def _read(self) -> None:
        waiting = select.poll()
        waiting.register(self._capture.fileno(), select.POLLIN)
        is_last = False
        while not is_last:
            is_last = self._stop.is_set()
            waiting.poll(_POLL_MS)
            try:
                self._frames += self._capture.read()
            except OSError as error:
                self._failure = error
                return
