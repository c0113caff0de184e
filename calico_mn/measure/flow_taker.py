"""A program: takes many short flows. Run by .flows in a pod's namespace.

``flow_taker.py udp|tcp ADDRESS COUNT SECONDS`` prints its port when it listens, and when COUNT
flows have come, or it is ended, or after SECONDS, how many different ones there were. Needs
nothing but Python's own library.
"""

from __future__ import annotations

import resource
import signal
import socket
import sys
from contextlib import suppress

_SO_RCVBUFFORCE = 33
_BUFFER = 1 << 24


def take(kind: str, address: str, count: int, flows: set[tuple[str, int]]) -> None:
    """Note the source of each flow until there are ``count``."""
    if kind == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            # All may come before the first is taken: their buffer must not run over.
            try:
                datagrams.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            except PermissionError:  # in a user namespace: as much as net.core.rmem_max allows
                datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            datagrams.bind((address, 0))
            print(datagrams.getsockname()[1], flush=True)
            while len(flows) < count:
                flows.add(datagrams.recvfrom(2048)[1])
        return
    connections = []  # held open: all of them end together
    with socket.create_server((address, 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        while len(flows) < count:
            connection, peer = listener.accept()
            connections.append(connection)
            if connection.recv(2048):
                flows.add(peer)


def _ended(_number: int, _frame: object) -> None:
    raise SystemExit


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGALRM, _ended)
    signal.signal(signal.SIGTERM, _ended)
    # SIGALRM ends the program, also when nobody is left to do so.
    signal.alarm(int(sys.argv[4]))
    seen: set[tuple[str, int]] = set()
    try:
        take(sys.argv[1], sys.argv[2], int(sys.argv[3]), seen)
    finally:
        print(len(seen), flush=True)
