"""A program: both ends of TCP connections that are made one after the other. Run in a pod.

``connect.py client ADDRESS PORT SECONDS`` prints ``COUNT FAILURES SECONDS``: how many connections
carried a byte each way, how many did not, and the time that both took together.
``connect.py server ADDRESS PORT SECONDS`` prints its port (its own choice if PORT is 0) when it
listens, and serves one connection after the other, for that long at the most.

Run by .tcp. Needs nothing but Python's own library.
"""

from __future__ import annotations

import signal
import socket
import struct
import sys
import time

_TIMEOUT_S = 1.0
_FIRST_TIMEOUT_S = 5.0
_PAUSE_AFTER_FAILURE_S = 0.01
# On close, send a reset at once: an orderly close would leave a socket in TIME_WAIT for a minute
# at the end that closes first (RFC 9293, 3.6.1), so that after some 28,000 connections, a few
# seconds, there would be no ephemeral port left (net.ipv4.ip_local_port_range).
_RESET = struct.pack("@ii", 1, 0)


def connect(address: str, port: int, timeout: float) -> None:
    """Connect, send a byte, get one, close. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.connect((address, port))
        connection.sendall(b"?")
        if not connection.recv(1):
            raise ConnectionError("closed without an answer")


def client(address: str, port: int, seconds: float) -> tuple[int, int, float]:
    """(connections, failures, seconds that they took)."""
    # Not counted: it waits for the neighbours on the way to be resolved.
    connect(address, port, _FIRST_TIMEOUT_S)
    count = failures = 0
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + seconds:
        try:
            connect(address, port, _TIMEOUT_S)
            count += 1
        except OSError:
            failures += 1
            time.sleep(_PAUSE_AFTER_FAILURE_S)
    return count, failures, now - begin


def server(address: str, port: int) -> None:
    """Read a byte, send it back, and wait for the client's end of the connection."""
    with socket.create_server((address, port), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(connection.recv(1))
                    # Until the client closes: the end that closes first pays for it, and that is
                    # the client's part. It ends by a reset.
                    connection.recv(1)
                except OSError:
                    continue


if __name__ == "__main__":
    role, at, port_number, longest = sys.argv[1:]
    # SIGALRM ends the program, also when its caller is gone.
    if role == "server":
        signal.alarm(int(longest))
        server(at, int(port_number))
    signal.alarm(int(float(longest) + _FIRST_TIMEOUT_S + _TIMEOUT_S) + 5)
    try:
        print(*client(at, int(port_number), float(longest)))
    except OSError as error:
        sys.exit(f"{at} port {port_number}: {error}")
