"""The netlink wire: attributes, messages, and a socket that sends many of them at once.

In go messages whose content :mod:`.steps` and :mod:`.devices` have built; out come the kernel's
refusals, or the bodies of its answers, which :mod:`.decode` reads. Layouts are those of
``include/uapi/linux/netlink.h`` (RFC 3549 describes the protocol).
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from calico_mn.errors import KernelError

#: (message type, flags without NLM_F_REQUEST, body after the netlink header)
Message = tuple[int, int, bytes]

NLM_F_REQUEST, NLM_F_ACK = 0x001, 0x004
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_DUMP = 0x300

#: level and name of the option with which one socket hears of many namespaces
SOL_NETLINK, LISTEN_ALL_NSID = 270, 8

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_NETLINK_ADD_MEMBERSHIP, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 1, 10, 11

# The kernel answers inside send(), so a reply that is not there after this long never comes.
_REPLY_TIMEOUT_S = 10
_MAX_BATCH_BYTES = 30_000

_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_attribute_header = struct.Struct("=HH").pack
_u32_attribute = struct.Struct("=HHI").pack
_message_header = struct.Struct("=IHHII")
_u16 = struct.Struct("=H")
_numbers = itertools.count(1)


def attribute(kind: int, payload: bytes) -> bytes:
    """One ``struct nlattr`` with its payload, padded to 4 bytes."""
    length = 4 + len(payload)
    return _attribute_header(length, kind) + payload + _PADDING[length & 3]


def u32(kind: int, value: int) -> bytes:
    """A 32-bit attribute in host byte order."""
    return _u32_attribute(8, kind, value)


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def string(payload: bytes) -> str:
    """What such an attribute says."""
    return payload.rstrip(b"\0").decode(errors="replace")


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in ``data`` by kind, without the nesting flags; the last one wins."""
    payloads: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        payloads[kind & 0x3FFF] = data[offset + 4:offset + length]
        offset += (length + 3) & ~3
    return payloads


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of a datagram: type, flags, sequence number, body."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _port = _message_header.unpack_from(data, offset)
        if length < 16:
            break
        yield kind, flags, sequence, data[offset + 16:offset + length]
        offset += (length + 3) & ~3


def listener(groups: Iterable[int], protocol: int = socket.NETLINK_ROUTE) -> socket.socket:
    """A socket that hears what the kernel tells these multicast groups, and waits for nothing.

    It is of the network namespace in which the calling thread is. Raises OSError.
    """
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC
                         | socket.SOCK_NONBLOCK, protocol)
    try:
        # Without an address of its own it would count as the kernel, and hear nothing.
        sock.bind((0, 0))
        for group in groups:
            sock.setsockopt(SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    except OSError:
        sock.close()
        raise
    return sock


class Step:
    """A message, the commands that it amounts to, and the errors that are none.

    ``frame`` is the message for the wire, under the step's own sequence number: the same bytes
    wherever the step is carried out. The commands are only worked out when the kernel refuses it.
    """

    __slots__ = ("commands", "frame", "harmless", "message", "number")

    def __init__(self, message: Message, commands: Callable[[], str | Iterable[str]],
                 harmless: tuple[int, ...] = ()) -> None:
        self.message, self.commands, self.harmless = message, commands, harmless
        self.number = next(_numbers) & 0xFFFFFFFF
        self.frame = _frame(message, self.number)

    def command(self) -> str:
        """The commands in one line."""
        commands = self.commands()
        return commands if isinstance(commands, str) else "; ".join(commands)


def _frame(message: Message, number: int) -> bytes:
    kind, flags, body = message
    return _message_header.pack(16 + len(body), kind, flags | NLM_F_REQUEST, number, 0) + body


class NetlinkError(KernelError):
    """The kernel refused message number ``index`` of a request with ``errno``."""

    def __init__(self, number: int, index: int, reason: str) -> None:
        self.errno = number
        self.index = index
        self.reason = reason or os.strerror(number)
        super().__init__(f"the kernel refused message {index + 1}: {self.reason}")

    def __reduce__(self) -> tuple[object, ...]:
        """For pickle, which would otherwise make it of its text."""
        return type(self), (self.errno, self.index, self.reason)


class NetlinkSocket:
    """A socket of the network namespace in which the opening thread is; rtnetlink's by default.

    The socket stays with that namespace wherever the thread goes afterwards.
    """

    __slots__ = ("_sequence", "_socket")

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _REPLY_TIMEOUT_S, 0))
        self._sequence = 0

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; closing twice does no harm."""
        self._socket.close()

    def request(self, messages: Sequence[Message]) -> None:
        """Send ``messages`` in as few calls as possible; only the last one asks for an answer.

        Raises NetlinkError for the first one that failed, after all have been tried.
        """
        failures = self.attempt(messages)
        if failures:
            raise failures[0]

    def attempt(self, messages: Sequence[Message]) -> list[NetlinkError]:
        """As :meth:`request`, but returns what failed.

        A message that fails answers unasked, and the kernel goes on with the next one.
        """
        numbers = range(self._sequence + 1, self._sequence + 1 + len(messages))
        self._sequence += len(messages)
        return self._exchange(list(map(_frame, messages, numbers)), numbers)

    def carry_out(self, steps: Sequence[Step]) -> list[NetlinkError]:
        """As :meth:`attempt`, with frames that are ready."""
        return self._exchange([step.frame for step in steps], [step.number for step in steps])

    def _exchange(self, frames: Sequence[bytes], numbers: Sequence[int]) -> list[NetlinkError]:
        failures: list[NetlinkError] = []
        sizes = list(itertools.accumulate(map(len, frames)))
        start = done = 0
        while start < len(frames):
            end = min(bisect_right(sizes, done + _MAX_BATCH_BYTES) + 1, len(frames))
            last = frames[end - 1]
            flags, = _u16.unpack_from(last, 6)
            self._socket.send(b"".join(
                [*frames[start:end - 1], last[:6], _u16.pack(flags | NLM_F_ACK), last[8:]]))
            failures += self._answers(numbers, numbers[end - 1])
            start, done = end, sizes[end - 1]
        return failures

    def _answers(self, numbers: Sequence[int], awaited: int) -> list[NetlinkError]:
        """Read up to the answer to message ``awaited``; the failures among the answers."""
        failures: list[NetlinkError] = []
        while True:
            for kind, flags, sequence, body in self._receive():
                if kind != _NLMSG_ERROR:
                    continue
                number = -struct.unpack_from("=i", body)[0]
                if number and sequence in numbers:
                    reason = ""
                    if flags & _NLM_F_ACK_TLVS:
                        reason = string(attributes(body[20:]).get(_NLMSGERR_ATTR_MSG, b""))
                    failures.append(NetlinkError(number, numbers.index(sequence), reason))
                if sequence == awaited:
                    return failures

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies of all answers to a dump request of type ``kind``."""
        return list(self._ask(kind, NLM_F_REQUEST | NLM_F_DUMP, body))

    def get(self, kind: int, body: bytes) -> bytes:
        """The body of the one answer to a question of type ``kind``.

        Raises NetlinkError with the kernel's errno where the answer is one.
        """
        return next(self._ask(kind, NLM_F_REQUEST, body))

    def _ask(self, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        self._socket.send(_message_header.pack(
            16 + len(body), kind, flags, self._sequence, 0) + body)
        while True:
            for answer, _flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if answer == _NLMSG_DONE:
                    return
                if answer == _NLMSG_ERROR:
                    raise NetlinkError(-struct.unpack_from("=i", payload)[0], 0, "")
                yield payload

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """One datagram's messages: type, flags, sequence number, body."""
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                raise KernelError(
                    f"rtnetlink gave no answer within {_REPLY_TIMEOUT_S} s") from error
            raise KernelError(f"rtnetlink: {error.strerror}") from error
        return messages(data)
