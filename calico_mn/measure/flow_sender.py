"""A program: sends many short flows. Run by .flows in a pod's namespace.

``flow_sender.py udp|tcp ADDRESS PORT COUNT`` sends one datagram, or makes one connection and sends
a few bytes, from each of COUNT sockets. All stay open until the last has sent, so that no port is
used twice. Needs nothing but Python's own library.
"""

from __future__ import annotations

import resource
import signal
import socket
import sys
from contextlib import suppress

_TIMEOUT_S = 5.0
_PAYLOAD = b"x" * 100


def send(kind: str, address: str, port: int, count: int) -> None:
    """Send the flows, one after the other. Raises OSError."""
    sockets = []
    for _ in range(count):
        made = socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        made.settimeout(_TIMEOUT_S)
        made.connect((address, port))
        made.sendall(_PAYLOAD)
        sockets.append(made)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.alarm(60)  # also when nobody is left to end it
    try:
        send(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    except OSError as error:
        sys.exit(f"{sys.argv[2]} port {sys.argv[3]}: {error}")
