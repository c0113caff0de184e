"""Lines over a Unix stream socket, bounded in size and time, with descriptors beside them."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Sequence

from calico_mn.control.protocol import ProtocolError

_CHUNK = 64 * 1024
#: a network and a mount namespace
_MOST_DESCRIPTORS = 2
_INT = struct.Struct("=i")
_PEER = struct.Struct("=iII")  # struct ucred: pid, uid, gid (unix(7))


class Channel:
    """One side of a connection. Closing it closes also descriptors that nobody took.

    Unless it is ``expecting`` descriptors, the kernel closes those that the other side sends.
    """

    def __init__(self, connection: socket.socket, *, expecting: bool = False) -> None:
        self._socket = connection
        self._expecting = expecting
        self._buffer = bytearray()
        self._descriptors: list[int] = []

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def send(self, line: bytes, seconds: float, descriptors: Sequence[int] = ()) -> None:
        """Send a line within ``seconds``. Raises OSError when the other side is gone or slow."""
        self._socket.settimeout(seconds)
        if descriptors:
            sent = socket.send_fds(self._socket, [line], descriptors)
            line = line[sent:]
        self._socket.sendall(line)

    def receive(self, most: int, seconds: float) -> bytes:
        """The next line, of at most ``most`` bytes, which comes within ``seconds``.

        Raises ProtocolError when the connection ends first or the line is longer, TimeoutError.
        """
        deadline = time.monotonic() + seconds
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > most:
                raise ProtocolError(f"a line over the control socket is longer than {most} bytes")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._read()
            if not data:
                raise ProtocolError("the control socket was closed in the middle")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 1]
        return line

    def _read(self) -> bytes:
        """What has come. Not by socket.recv_fds: some Pythons forget its flags."""
        if not self._expecting:
            return self._socket.recv(_CHUNK)
        room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * _INT.size)
        data, beside, _flags, _address = self._socket.recvmsg(
            _CHUNK, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(content) - len(content) % _INT.size
                self._descriptors += (number for number, in _INT.iter_unpack(content[:whole]))
        if len(self._descriptors) > _MOST_DESCRIPTORS:
            raise ProtocolError("more descriptors came over the control socket than were asked for")
        return data

    def take_descriptors(self) -> tuple[int, ...]:
        """The descriptors that came so far; whoever takes them closes them."""
        taken, self._descriptors = tuple(self._descriptors), []
        return taken

    def peer(self) -> tuple[int, int]:
        """Process id and user id of the other side, as the kernel knows them."""
        data = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        pid, uid, _gid = _PEER.unpack(data)
        return pid, uid
