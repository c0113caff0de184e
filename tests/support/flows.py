"""Many short flows between two pods, and on which of a router's cables their packets left."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PORT = 9999


@contextmanager
def taker(net: Any, pod: str) -> Iterator[None]:
    """While it lasts the pod takes datagrams and connections on PORT."""
    def opened() -> tuple[socket.socket, socket.socket]:
        datagrams = socket.socket(type=socket.SOCK_DGRAM)
        datagrams.bind(("", PORT))
        return datagrams, socket.create_server(("", PORT), backlog=512)

    datagrams, streams = net.runtime.inside(net[pod].name, opened)
    with datagrams, streams:
        yield


def send(net: Any, pod: str, address: str, kind: str, count: int) -> None:
    """``count`` flows from ports of their own, one after the other."""
    def flows() -> None:
        for _ in range(count):
            with socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
                               ) as sender:
                sender.settimeout(60)
                sender.connect((address, PORT))
                sender.sendall(b"x" * 100)

    net.runtime.inside(net[pod].name, flows)


def sent(router: Any, devices: tuple[str, ...]) -> list[int]:
    """How many packets left a router by each of these devices since it was made."""
    words = router.pexec(["cat", *(f"/sys/class/net/{d}/statistics/tx_packets" for d in devices)])
    return [int(word) for word in words[0].split()]
