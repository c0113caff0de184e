"""A program: one end of traffic that no standard tool sends. Run in a pod's namespace.

``endpoint.py send-flows udp|tcp ADDRESS PORT COUNT`` sends one datagram, or makes one connection
and sends a few bytes, from each of COUNT sockets. All stay open until the last has sent, so that
no port is used twice.
``endpoint.py take-flows udp|tcp ADDRESS COUNT SECONDS`` prints its port when it listens, and when
COUNT flows have come, or it is ended, or after SECONDS, how many different ones there were.

``endpoint.py push ADDRESS PORT BYTES DISCOVERY PATIENCE`` sends an amount by TCP, and gives up
when PATIENCE seconds have passed since the last acknowledgement. DISCOVERY is ``want``, ``do`` or
``dont``, as ping's -M. It prints ``ACKED SECONDS MTU RETRANSMITS``: bytes that the other end has
acknowledged, the time until the last of them, the path MTU that the socket goes by in the end (0
without a connection), and segments that were sent again.
``endpoint.py sink ADDRESS SECONDS`` prints its port when it listens, takes one TCP connection
after the other, and throws away what they send, for that long at the most.

``endpoint.py stream ADDRESS PEER PORT RATE SECONDS`` sends RATE numbered datagrams a second to
PEER, both on UDP port PORT, and takes note of those that come. It prints ``ready`` when it begins.
On SIGTERM it stops sending, listens a little longer for packets in flight, and prints one line
of JSON: ``sent``, the CLOCK_MONOTONIC time in ns of each packet by its number, and ``arrived``,
the numbers that came, in their order. It never runs longer than SECONDS.

``endpoint.py connect ADDRESS PORT SECONDS`` makes TCP connections one after the other and prints
``COUNT FAILURES SECONDS``: how many carried a byte each way, how many did not, and the time that
both took together.
``endpoint.py echo ADDRESS PORT SECONDS`` prints its port (its own choice if PORT is 0) when it
listens, and serves such connections, for that long at the most.

Run by .programs. Needs nothing but Python's own library.
"""

from __future__ import annotations

import fcntl
import gc
import json
import resource
import select
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress

_TIMEOUT_S = 5.0
_PAYLOAD = b"x" * 100
#: asm-generic/socket.h; Python's socket module has no name for it
_SO_RCVBUFFORCE = 33
#: bytes: all flows may come before the first is taken, and their buffer must not run over
_FLOWS_BUFFER = 1 << 24

# linux/in.h
_IP_MTU_DISCOVER, _IP_MTU = 10, 14
_DISCOVERY = {"dont": 0, "want": 1, "do": 2}
#: where struct tcp_info has tcpi_total_retrans (linux/tcp.h)
_TOTAL_RETRANS = 100
_PIECE = b"x" * 65536
_PAUSE_S = 0.002

# On close, send a reset at once: an orderly close would leave a socket in TIME_WAIT for a minute
# at the end that closes first (RFC 9293, 3.6.1), so that after some 28,000 connections, a few
# seconds, there would be no ephemeral port left (net.ipv4.ip_local_port_range).
_RESET = struct.pack("@ii", 1, 0)
_CONNECT_S = 1.0
_PAUSE_AFTER_FAILURE_S = 0.01

_NUMBER = struct.Struct("!Q")
#: after the last packet sent: this long without a packet means that none is on the way any more
_SILENCE_S = 0.05
_LONGEST_WAIT_S = 1.0
#: bytes: a receiver that has to wait for a CPU must not lose packets by that
_STREAM_BUFFER = 4 << 20
_BATCH = 64


def _udp_socket(buffer: int) -> socket.socket:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        datagrams.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
    except PermissionError:  # in a user namespace: as much as net.core.rmem_max allows
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    return datagrams


# --- many short flows

def _allow_many_sockets() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def send_flows(kind: str, address: str, port: str, count: str) -> None:
    """Send the flows, one after the other."""
    _allow_many_sockets()
    signal.alarm(60)
    sockets = []
    try:
        for _ in range(int(count)):
            made = socket.socket(
                socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
            made.settimeout(_TIMEOUT_S)
            made.connect((address, int(port)))
            made.sendall(_PAYLOAD)
            sockets.append(made)
    except OSError as error:
        sys.exit(f"{address} port {port}: {error}")


def take_flows(kind: str, address: str, count: str, seconds: str) -> None:
    """Note the source of each flow until there are enough, or the program is ended."""
    def end(_number: int, _frame: object) -> None:
        raise SystemExit

    _allow_many_sockets()
    signal.signal(signal.SIGALRM, end)
    signal.signal(signal.SIGTERM, end)
    signal.alarm(int(seconds))
    flows: set[tuple[str, int]] = set()
    try:
        if kind == "udp":
            _take_datagrams(address, int(count), flows)
        else:
            _take_connections(address, int(count), flows)
    finally:
        print(len(flows), flush=True)


def _take_datagrams(address: str, count: int, flows: set[tuple[str, int]]) -> None:
    with _udp_socket(_FLOWS_BUFFER) as datagrams:
        datagrams.bind((address, 0))
        print(datagrams.getsockname()[1], flush=True)
        while len(flows) < count:
            flows.add(datagrams.recvfrom(2048)[1])


def _take_connections(address: str, count: int, flows: set[tuple[str, int]]) -> None:
    connections = []  # held open: all of them end together
    with socket.create_server((address, 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        while len(flows) < count:
            connection, peer = listener.accept()
            connections.append(connection)
            if connection.recv(2048):
                flows.add(peer)


# --- an amount by TCP

def push(address: str, port: str, amount: str, discovery: str, patience: str) -> None:
    """Send the amount, and print what was acknowledged."""
    signal.alarm(60)
    print(*_push(address, int(port), int(amount), discovery, float(patience)))


def _push(address: str, port: int, amount: int, discovery: str, patience: float
          ) -> tuple[int, float, int, int]:
    """(bytes acknowledged, seconds until the last, path MTU, retransmits)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _DISCOVERY[discovery])
        connection.settimeout(patience)
        begin = last = time.monotonic()
        try:
            connection.connect((address, port))
        except OSError:
            return 0, round(time.monotonic() - begin, 6), 0, 0
        connection.setblocking(False)
        written = acked = 0
        while acked < amount and (now := time.monotonic()) < last + patience:
            try:
                written += connection.send(_PIECE[:amount - written])
            except BlockingIOError:
                pass
            except OSError:
                break
            before, acked = acked, written - _unacknowledged(connection)
            if acked > before:
                last = now
            else:
                time.sleep(_PAUSE_S)
        return (acked, round(last - begin, 6), connection.getsockopt(socket.IPPROTO_IP, _IP_MTU),
                _retransmits(connection))


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes written and not yet acknowledged (tcp(7), SIOCOUTQ)."""
    answer = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("@i", answer)[0])


def _retransmits(connection: socket.socket) -> int:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOTAL_RETRANS + 4)
    return int(struct.unpack_from("@I", info, _TOTAL_RETRANS)[0])


def sink(address: str, seconds: str) -> None:
    """Read each connection to its end."""
    def read(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    signal.alarm(int(seconds))
    _serve(address, 0, read)


def _serve(address: str, port: int, handle: Callable[[socket.socket], None]) -> None:
    """Listen, print the port, handle one connection after the other; one that breaks is left."""
    with socket.create_server((address, port), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                handle(connection)


# --- connections, one after the other

def _connect(address: str, port: int, timeout: float) -> None:
    """Connect, send a byte, get one, close. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.connect((address, port))
        connection.sendall(b"?")
        if not connection.recv(1):
            raise ConnectionError("closed without an answer")


def connect(address: str, port: str, seconds: str) -> None:
    """Print how many connections there were, how many failed, and the seconds that they took."""
    signal.alarm(int(float(seconds) + _TIMEOUT_S + _CONNECT_S) + 5)
    count = failures = 0
    try:
        # Not counted: it waits for the neighbours on the way to be resolved.
        _connect(address, int(port), _TIMEOUT_S)
    except OSError as error:
        sys.exit(f"{address} port {port}: {error}")
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + float(seconds):
        try:
            _connect(address, int(port), _CONNECT_S)
            count += 1
        except OSError:
            failures += 1
            time.sleep(_PAUSE_AFTER_FAILURE_S)
    print(count, failures, now - begin)


def echo(address: str, port: str, seconds: str) -> None:
    """Read a byte, send it back, and wait for the client's end of the connection."""
    def answer(connection: socket.socket) -> None:
        connection.sendall(connection.recv(1))
        # Until the client closes: the end that closes first pays for it, and that is the client's
        # part. It ends by a reset.
        connection.recv(1)

    signal.alarm(int(seconds))
    _serve(address, int(port), answer)


# --- a steady stream

class StreamEnd:
    """One end of a stream: what it sent, and what it got."""

    def __init__(self, address: str, peer: str, port: int) -> None:
        self.sent: list[int] = []
        self.arrived: list[int] = []
        self.stopping = False
        self._peer = (peer, port)
        # Not connected: then no ICMP error of the change comes back as an error of the next call.
        self._socket = _udp_socket(_STREAM_BUFFER)
        self._socket.bind((address, port))
        self._socket.setblocking(False)

    def stop(self, *_: object) -> None:
        """Send no more; for signal.signal()."""
        self.stopping = True

    def send(self) -> None:
        """One packet. What the kernel refuses counts as sent, and is lost."""
        number = _NUMBER.pack(len(self.sent))
        self.sent.append(time.monotonic_ns())
        with suppress(OSError):
            self._socket.sendto(number, self._peer)

    def receive(self) -> None:
        """Take what has come, but no more than a batch: sending must go on."""
        for _ in range(_BATCH):
            try:
                data, sender = self._socket.recvfrom(_NUMBER.size)
            except BlockingIOError:
                return
            if sender == self._peer and len(data) == _NUMBER.size:
                self.arrived.append(_NUMBER.unpack(data)[0])

    def wait(self, until: float) -> None:
        """Receive until a time, of time.monotonic()."""
        while (left := until - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                self.receive()

    def run(self, rate: float, seconds: float) -> None:
        """Send until stopped. A packet that comes late is not made up for by a burst."""
        due = time.monotonic()
        limit = due + seconds
        while not self.stopping and due < limit:
            self.send()
            self.receive()
            due = max(due + 1 / rate, time.monotonic())
            self.wait(due)
        limit = time.monotonic() + _LONGEST_WAIT_S
        while (select.select([self._socket], [], [], _SILENCE_S)[0]
               and time.monotonic() < limit):
            self.receive()


def stream(address: str, peer: str, port: str, rate: str, seconds: str) -> None:
    """Send and receive until SIGTERM; print what was sent and what came."""
    signal.alarm(int(float(seconds)) + 5)
    gc.disable()  # a pause of the collector would be one of the stream
    end = StreamEnd(address, peer, int(port))
    signal.signal(signal.SIGTERM, end.stop)
    print("ready", flush=True)
    end.run(float(rate), float(seconds))
    print(json.dumps({"sent": end.sent, "arrived": end.arrived}), flush=True)


#: SIGALRM ends each of them, also when its caller is gone
_ROLES: dict[str, Callable[..., None]] = {
    "send-flows": send_flows, "take-flows": take_flows, "push": push, "sink": sink,
    "connect": connect, "echo": echo, "stream": stream}

if __name__ == "__main__":
    _ROLES[sys.argv[1]](*sys.argv[2:])
