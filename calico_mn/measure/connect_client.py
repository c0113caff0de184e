"""A program: makes TCP connections, one after the other. Run by .connections in a pod's namespace.

``connect_client.py ADDRESS PORT SECONDS`` prints ``COUNT FAILURES SECONDS``: how many connections
carried a byte each way, how many did not, and the time that both took together. Needs nothing
but Python's own library.
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


def once(address: str, port: int, timeout: float) -> None:
    """Connect, send a byte, get one, close. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.connect((address, port))
        connection.sendall(b"?")
        if not connection.recv(1):
            raise ConnectionError("closed without an answer")


def repeat(address: str, port: int, seconds: float) -> tuple[int, int, float]:
    """(connections, failures, seconds that they took)."""
    # Not counted: it waits for the neighbours on the way to be resolved.
    once(address, port, _FIRST_TIMEOUT_S)
    count = failures = 0
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + seconds:
        try:
            once(address, port, _TIMEOUT_S)
            count += 1
        except OSError:
            failures += 1
            time.sleep(_PAUSE_AFTER_FAILURE_S)
    return count, failures, now - begin


if __name__ == "__main__":
    duration = float(sys.argv[3])
    # SIGALRM ends the program, also when nobody is left to do so.
    signal.alarm(int(duration + _FIRST_TIMEOUT_S + _TIMEOUT_S) + 5)
    try:
        print(*repeat(sys.argv[1], int(sys.argv[2]), duration))
    except OSError as error:
        sys.exit(f"{sys.argv[1]} port {sys.argv[2]}: {error}")
