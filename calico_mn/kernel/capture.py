"""Packets seen on a device: an AF_PACKET socket with a filter for one IP protocol.

For counting and reading a few packets of a probe, not for recording a bulk transfer.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from dataclasses import dataclass

from calico_mn.errors import KernelError

_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_ARPHRD_ETHER = 1
_PACKET_OUTGOING = 4
_ETHERNET_HEADER = 14

_instruction = struct.Struct("=HBBI").pack


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """An IPv4 packet, from its IP header on. ``outgoing``: it left through the device."""

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


class Capture:
    """IPv4 packets of one ``protocol`` on ``device``, both directions, from now on.

    Must be opened in a thread that is inside the namespace; reading works from any thread.
    Raises KernelError where there is no such device.
    """

    def __init__(self, device: str, protocol: int) -> None:
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
        try:
            # Filter first, then bind: so no packet gets in that the filter has not seen.
            self._socket.bind((device, 0))
            ethernet = self._socket.getsockname()[3] == _ARPHRD_ETHER
            self._offset = _ETHERNET_HEADER if ethernet else 0
            self._attach_filter(protocol)
            self._socket.bind((device, _ETH_P_ALL))
        except OSError as error:
            self._socket.close()
            raise KernelError(f"{device}: capture: {error.strerror or error}") from error
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop capturing."""
        self._socket.close()

    def read(self) -> list[CapturedPacket]:
        """The packets since the last call, without waiting.

        None come while the device is down, and none any more once it was deleted.
        """
        found: list[CapturedPacket] = []
        while True:
            try:
                data, address = self._socket.recvfrom(65536)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                # Told once, when the device goes down; the socket hears it again when it is up.
                continue
            found.append(CapturedPacket(data[self._offset:], address[2] == _PACKET_OUTGOING))

    def _attach_filter(self, protocol: int) -> None:
        """Classic BPF: the frame is IPv4, and its protocol is the one asked for."""
        base = self._offset
        program = [
            _instruction(0x28, 0, 0, 0xFFFFF000),  # ldh [SKF_AD_OFF + SKF_AD_PROTOCOL]
            _instruction(0x15, 0, 3, 0x0800),  # jeq ETH_P_IP, else drop
            _instruction(0x30, 0, 0, base + 9),  # ldb [protocol]
            _instruction(0x15, 0, 1, protocol),  # jeq protocol, else drop
            _instruction(0x06, 0, 0, 0x40000),  # accept
            _instruction(0x06, 0, 0, 0),  # drop
        ]
        code = ctypes.create_string_buffer(b"".join(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack(
            "@HP", len(program), ctypes.addressof(code)))
