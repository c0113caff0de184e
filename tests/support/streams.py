"""A TCP connection between two pods that a test keeps alive while it changes something."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from support.patience import PATIENCE_S, eventually

PORT = 7777
PAUSE_S = 0.02


class Stream:
    """Counts the bytes that went to and fro on one connection, one each 20 ms."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._ends = client, server
        self._closed = threading.Event()
        self.echoed = 0
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self) -> None:
        client, server = self._ends
        with suppress(OSError):  # it broke, or was closed
            while not self._closed.wait(PAUSE_S):
                for sender, receiver in ((client, server), (server, client)):
                    sender.sendall(b"x")
                    if not receiver.recv(1):
                        return
                self.echoed += 1

    def goes_on(self, echoes: int = 3, seconds: float = PATIENCE_S) -> bool:
        """Whether more echoes arrive, on the connection that was made at the beginning."""
        goal = self.echoed + echoes
        return eventually(lambda: self.echoed >= goal, seconds)

    def close(self) -> None:
        """End the connection."""
        self._closed.set()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join()


@contextmanager
def established(net: Any, client: str, server: str) -> Iterator[Stream]:
    """A connection from pod to pod over which bytes go to and fro while the block runs."""
    address = net[server].ip, PORT
    with net.runtime.inside(net[server].name, socket.create_server, address) as listener:
        calling = net.runtime.inside(net[client].name, socket.socket)
        calling.settimeout(PATIENCE_S)
        calling.connect(address)
        taken, _ = listener.accept()
    with calling, taken:
        calling.settimeout(None)
        calling.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(calling, taken)
        try:
            assert stream.goes_on(), "no connection"
            yield stream
        finally:
            stream.close()
