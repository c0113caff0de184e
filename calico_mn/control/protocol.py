"""What goes over the control socket, and how: one JSON object a line, descriptors beside it.

    request    {"verb": "mode", "arguments": {"mode": "Never"}}
    answer     {"progress": ...}, any number of times, then {"result": ...}
               or {"error": "what, where, and what to do", "kind": "ClusterError"}

A connection carries one request. Descriptors of namespaces come with the result's line. Messages
are encoded and decoded by pure functions; a :class:`Channel` moves lines, bounded in size and time.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

from calico_mn import errors
from calico_mn.errors import CalicoMnError, ToolError, TopologyError

#: the longest lines, in bytes: a request may have files, a result a route per pod
MAX_REQUEST = 16 * 1024 * 1024
MAX_ANSWER = 256 * 1024 * 1024

_CHUNK = 64 * 1024
#: a network and a mount namespace
_MAX_DESCRIPTORS = 2
_INT = struct.Struct("=i")
_PEER = struct.Struct("=iII")  # struct ucred: pid, uid, gid (unix(7))


class ProtocolError(ToolError):
    """The other side does not speak this protocol, or has ended."""


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message of a line. Raises ProtocolError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("what came over the control socket is not JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("what came over the control socket is not an object")
    return message


def decode_request(line: bytes) -> tuple[str, dict[str, Any]]:
    """The request of a line: its verb, and the arguments by name. Raises ProtocolError."""
    message = decode(line)
    verb, arguments = message.get("verb"), message.get("arguments", {})
    if not isinstance(verb, str) or not isinstance(arguments, dict):
        raise ProtocolError("a request has a verb, which is text, and arguments, an object")
    return verb, arguments


def error(problem: CalicoMnError) -> dict[str, Any]:
    """The answer that carries one of our errors."""
    return {"error": str(problem), "kind": type(problem).__name__,
            **({"warnings": problem.warnings} if isinstance(problem, TopologyError) else {})}


def problem(answer: Mapping[str, Any]) -> CalicoMnError:
    """The error that an answer carries, of the class that was raised there if it is one of ours."""
    text, kind = str(answer.get("error", "")), getattr(errors, str(answer.get("kind")), None)
    if kind is TopologyError:
        warnings = answer.get("warnings")
        wrong = TopologyError((), list(map(str, warnings if isinstance(warnings, list) else ())))
        wrong.args = (text,)
        return wrong
    if isinstance(kind, type) and issubclass(kind, CalicoMnError):
        return kind(text)
    return CalicoMnError(text)


class Channel:
    """One side of a connection. Closing it also closes descriptors that were not taken.

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

    def receive(self, limit: int, seconds: float) -> bytes:
        """The next line, of at most ``limit`` bytes, which comes within ``seconds``.

        Raises ProtocolError when the connection ends first or the line is longer, TimeoutError.
        """
        deadline = time.monotonic() + seconds
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > limit:
                raise ProtocolError(f"a line over the control socket is longer than {limit} bytes")
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
        """Received bytes. Not by socket.recv_fds: some Pythons forget its flags."""
        if not self._expecting:
            return self._socket.recv(_CHUNK)
        room = socket.CMSG_SPACE(_MAX_DESCRIPTORS * _INT.size)
        data, beside, _flags, _address = self._socket.recvmsg(
            _CHUNK, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(content) - len(content) % _INT.size
                self._descriptors += (number for number, in _INT.iter_unpack(content[:whole]))
        if len(self._descriptors) > _MAX_DESCRIPTORS:
            raise ProtocolError("more descriptors came over the control socket than were asked for")
        return data

    def take_descriptors(self) -> tuple[int, ...]:
        """The descriptors received so far; the caller closes them."""
        taken, self._descriptors = tuple(self._descriptors), []
        return taken

    def peer(self) -> tuple[int, int]:
        """Process id and user id of the other side, as the kernel knows them."""
        data = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        pid, uid, _gid = _PEER.unpack(data)
        return pid, uid
