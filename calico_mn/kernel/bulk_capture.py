"""The headers of all TCP packets of one sender on a device, during a bulk transfer.

Where :mod:`calico_mn.kernel.capture` reads a few whole packets of a probe, this keeps the first
bytes of very many, and says of each how long it is and into which segments the device would have
to cut it. Numbers are those of ``include/uapi/linux/{if_packet,virtio_net,filter}.h``; what is
captured where is packet_rcv() and packet_recvmsg() in net/packet/af_packet.c.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address

from calico_mn.errors import KernelError

_ETH_P_ALL = 3
_ARPHRD_ETHER = 1
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_SOL_PACKET = 263
_PACKET_STATISTICS, _PACKET_AUXDATA, _PACKET_VNET_HDR = 6, 8, 15

#: Ethernet 14, two IPv4 headers 40, TCP 60, and some to spare: the filter cuts the packet here
_SNAPLEN = 128
_BUFFER_BYTES = 128 << 20
_POLL_S = 0.05

_vnet_header = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum start, offset
_auxdata = struct.Struct("=IIIHHHH")  # status, len, snaplen, mac, net, vlan tci, vlan tpid
_instruction = struct.Struct("=HBBI").pack


@dataclass(frozen=True, slots=True)
class CapturedHeader:
    """The beginning of an Ethernet frame, and ``length``, its bytes in all.

    ``gso_size``: the payload of each segment that the packet is still to be cut into (GSO), 0
    for a packet that goes as it is. ``length`` counts the headers of a packet to be cut once.
    """

    data: bytes
    length: int
    gso_size: int


class BulkCapture:
    """TCP packets of ``source``, plain or inside IPIP, on the Ethernet ``device``, from now on.

    Must be opened in a thread that is inside the namespace. After :meth:`start` a thread of its
    own takes the packets away; :meth:`finish` ends it. Raises KernelError when the kernel
    refuses, or the device is not Ethernet.
    """

    def __init__(self, device: str, source: str) -> None:
        self._found: list[CapturedHeader] = []
        self._failure: OSError | None = None
        self._stop = threading.Event()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            # Filter first, then bind: so no packet gets in that the filter has not seen.
            self._socket.bind((device, 0))
            if self._socket.getsockname()[3] != _ARPHRD_ETHER:
                raise KernelError(f"{device}: a capture of segments needs an Ethernet device")
            self._enlarge_buffer()
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            self._socket.settimeout(_POLL_S)
            self._attach_filter(int(IPv4Address(source)))
            self._socket.bind((device, _ETH_P_ALL))
            self._reader = threading.Thread(
                target=self._read, name=f"capture {device}", daemon=True)
        except OSError as error:
            self._socket.close()
            raise KernelError(f"{device}: capture: {error.strerror or error}") from error
        except BaseException:
            self._socket.close()
            raise

    def start(self) -> None:
        """Begin to take packets away.

        Not to be called in the thread that entered the namespace: a new thread shares root and
        current directory with the one that started it, which then could enter no mount namespace
        any more (setns(2), EINVAL).
        """
        self._reader.start()

    def finish(self) -> tuple[list[CapturedHeader], int]:
        """Stop; the packets, and how many more the kernel had no room for.

        What the socket holds when this is called is still read. Raises KernelError when reading
        failed. Finishing twice gives nothing the second time.
        """
        self._stop.set()
        self._reader.join()
        if self._socket.fileno() < 0:
            return [], 0
        with self._socket:
            # Two counters, packets and drops, both since the socket was made.
            _seen, dropped = struct.unpack("=II", self._socket.getsockopt(
                _SOL_PACKET, _PACKET_STATISTICS, 8))
        if self._failure is not None:
            raise KernelError(f"capture: {self._failure.strerror}") from self._failure
        return self._found, dropped

    def _read(self) -> None:
        space = socket.CMSG_SPACE(_auxdata.size)
        while True:
            stopping = self._stop.is_set()
            try:
                data, ancillary, _flags, _address = self._socket.recvmsg(
                    _vnet_header.size + _SNAPLEN, space)
            except TimeoutError:
                if stopping:
                    return
                continue
            except OSError as error:
                if error.errno == errno.ENETDOWN:
                    continue  # told once, when the device goes down
                self._failure = error
                return
            _f, gso_type, _hdr_len, gso_size, _s, _o = _vnet_header.unpack_from(data)
            length = _auxdata.unpack_from(ancillary[0][2])[1]
            self._found.append(CapturedHeader(
                data[_vnet_header.size:], length, gso_size if gso_type else 0))

    def _enlarge_buffer(self) -> None:
        """As large as need be; root of a user namespace gets no more than net.core.rmem_max."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)

    def _attach_filter(self, source: int) -> None:
        """Classic BPF: keep the beginning of TCP from the source, plainly or inside IPIP."""
        program = [
            _instruction(0x28, 0, 0, 12),  # ldh [EtherType]
            _instruction(0x15, 0, 8, 0x0800),  # jeq IPv4, else drop
            _instruction(0x30, 0, 0, 23),  # ldb [protocol]
            _instruction(0x15, 0, 2, 6),  # jeq TCP, else look for IPIP
            _instruction(0x20, 0, 0, 26),  # ld [source]
            _instruction(0x05, 0, 0, 2),  # ja: compare
            _instruction(0x15, 0, 3, 4),  # jeq IPIP, else drop
            _instruction(0x20, 0, 0, 46),  # ld [inner source]
            _instruction(0x15, 0, 1, source),  # jeq source, else drop
            _instruction(0x06, 0, 0, _SNAPLEN),  # accept so much
            _instruction(0x06, 0, 0, 0),  # drop
        ]
        code = ctypes.create_string_buffer(b"".join(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack(
            "@HP", len(program), ctypes.addressof(code)))
