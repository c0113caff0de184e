"""Whether TCP works between namespaces: a listener, many connections at once, what became of them.

In go addresses and a port; out come errnos, 0 where the connection was made. Each socket belongs to
the namespace in which the calling thread made it; waiting for them needs no namespace.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TypeVar

from calico_mn.kernel import processes

Key = TypeVar("Key")

_BACKLOG = 4096
#: TCP_LISTEN of linux/tcp_states.h, as /proc/net/tcp has it
_LISTEN = "0A"
#: closing resets the connection, so that none is left in TIME_WAIT
_RESET = struct.pack("ii", 1, 0)


def listen(address: str, port: int) -> socket.socket | None:
    """A listener in this thread's namespace; None where the port is in use, or the address gone."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        return None
    return listener


def listening(port: int) -> str | None:
    """What listens on a port in this thread's namespace: ``nc (pid 17)``; None if nothing does.

    Empty where the process cannot be seen from here.
    """
    with open("/proc/thread-self/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file][1:]
    inodes = {f"socket:[{row[9]}]" for row in rows
              if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port}
    if not inodes:
        return None
    own = os.stat("/proc/thread-self/ns/net").st_ino
    for pid in processes.all_pids():
        if processes.namespace("net", pid) == own:
            with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
                if any(os.readlink(entry.path) in inodes for entry in entries):
                    return f"{processes.name_of(pid)} (pid {pid})"
    return ""


def connect(source: str, destinations: Iterable[str], port: int
            ) -> dict[str, socket.socket | int]:
    """Begin to connect from this thread's namespace; a socket for each, or its errno."""
    begun: dict[str, socket.socket | int] = {}
    for destination in destinations:
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        try:
            client.bind((source, 0))
            code = client.connect_ex((destination, port))
        except OSError as error:
            code = error.errno or errno.EIO
        if code in (0, errno.EINPROGRESS):
            begun[destination] = client
        else:
            client.close()
            begun[destination] = code
    return begun


def outcomes(clients: Mapping[Key, socket.socket], patience: float) -> dict[Key, int]:
    """Wait ``patience`` seconds at most for the connections; the errno of each. Closes them all.

    Without patience they are as they are by now.
    ETIMEDOUT where nothing came back; the kernel itself would try for two minutes.
    """
    waiting = {client.fileno(): key for key, client in clients.items()}
    results: dict[Key, int] = {}
    deadline = time.monotonic() + patience
    with select.epoll() as poll:
        for descriptor in waiting:
            poll.register(descriptor, select.EPOLLOUT)
        is_over = False
        while waiting and not is_over:
            left = max(0.0, deadline - time.monotonic())
            for descriptor, _events in poll.poll(left):
                key = waiting.pop(descriptor)
                poll.unregister(descriptor)
                results[key] = clients[key].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            is_over = left == 0
    results.update(dict.fromkeys(waiting.values(), errno.ETIMEDOUT))
    for client in clients.values():
        with suppress(OSError):
            client.close()
    return results
