"""Which pods and nodes can open which connections, tried for real, all pairs at a time."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import permutations
from typing import Any

from support.connectivity import ip_of
from support.patience import SLOWNESS

from calico_mn.calico.policy.explain import Explainer

#: for an answer that comes; one that does not is waited for so long, and asked for again
ANSWER_S = 2.0 if SLOWNESS > 1 else 1.0
ATTEMPTS = 3
Pairs = dict[tuple[str, str], bool]


def connected(net: Any, pairs: Sequence[tuple[str, str]], port: int) -> Pairs:
    """Whether a TCP connection comes about, for each pair of pods."""
    listeners = {name: _inside(net, name, lambda: socket.create_server(("", port), backlog=64))
                 for name in {destination for _, destination in pairs}}
    sockets = {pair: _inside(net, pair[0], _connecting, ip_of(net[pair[1]]), port)
               for pair in pairs}
    try:
        deadline = time.monotonic() + ANSWER_S
        waiting = dict(sockets)
        while waiting and (left := deadline - time.monotonic()) > 0:
            _, ready, _ = select.select([], list(waiting.values()), [], left)
            waiting = {pair: item for pair, item in waiting.items() if item not in ready}
        return {pair: pair not in waiting and item.getsockopt(
            socket.SOL_SOCKET, socket.SO_ERROR) == 0 for pair, item in sockets.items()}
    finally:
        for item in (*sockets.values(), *listeners.values()):
            item.close()


def _connecting(address: str, port: int) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex((address, port))
    return client


def received(net: Any, pairs: Sequence[tuple[str, str]], port: int) -> Pairs:
    """Whether a datagram arrives, for each pair of pods."""
    receivers = {name: _inside(net, name, _receiver, port)
                 for name in {destination for _, destination in pairs}}
    try:
        for source, destination in pairs:
            with (_inside(net, source, lambda: socket.socket(type=socket.SOCK_DGRAM)) as sender,
                  suppress(PermissionError)):  # OUTPUT drops it
                sender.sendto(f"{source} {destination}".encode(), (ip_of(net[destination]), port))
        arrived: set[tuple[str, str]] = set()
        deadline = time.monotonic() + ANSWER_S
        while len(arrived) < len(pairs) and (left := deadline - time.monotonic()) > 0:
            for item in select.select(list(receivers.values()), [], [], left)[0]:
                source, destination = item.recv(1000).decode().split()
                arrived.add((source, destination))
        return {pair: pair in arrived for pair in pairs}
    finally:
        for item in receivers.values():
            item.close()


def _receiver(port: int) -> socket.socket:
    item = socket.socket(type=socket.SOCK_DGRAM)
    item.bind(("", port))
    return item


def _inside(net: Any, name: str, job: Any, *words: Any) -> Any:
    return net.runtime.inside(name, job, *words)


def assert_as_said(net: Any, flows: Iterable[tuple[str, int]],
                   pairs: Sequence[tuple[str, str]] = ()) -> dict[str, set[str]]:
    """The kernel does with these pairs, or all pairs of pods, what the verdicts say.

    Returns who reaches whom by the last flow.
    """
    explainer = Explainer(net.cluster)
    pairs = pairs or list(permutations(net.cluster.endpoints, 2))
    places = {name: explainer.place(name if name in explainer.index.endpoints else ip_of(net[name]))
              for pair in pairs for name in pair}
    said: Pairs = {}
    for protocol, port in flows:
        number, tried = (6, connected) if protocol == "tcp" else (17, received)
        said = {(a, b): explainer.explain(places[a], places[b], number, port).allowed
                for a, b in pairs}
        seen: Pairs = {}
        asked = list(said)
        for _ in range(ATTEMPTS):
            seen.update(tried(net, asked, port))
            asked = [pair for pair in asked if seen[pair] != said[pair]]
            if not asked:
                break
        assert not asked, [f"{protocol}/{port} {a} -> {b}: {said[a, b]} said, {seen[a, b]} seen"
                           for a, b in asked]
    return {a: {b for b in places if said.get((a, b))} for a in places}


class Conversations:
    """TCP connections and answered datagrams between pairs of pods, each from a port of its own.

    ``established`` are the pairs with both.
    """

    def __init__(self, net: Any, pairs: Sequence[tuple[str, str]], port: int = 7000) -> None:
        self._listeners: list[socket.socket] = []
        self._ends: dict[tuple[str, str], list[tuple[socket.socket, socket.socket]]] = {}
        pods = {name for pair in pairs for name in pair}
        listening = {name: _inside(net, name, lambda: socket.create_server(("", port), backlog=64))
                     for name in pods}
        receiving = {name: _inside(net, name, _receiver, port) for name in pods}
        self._listeners += [*listening.values(), *receiving.values()]
        calling = {pair: _inside(net, pair[0], _connecting, net[pair[1]].ip, port)
                   for pair in pairs}
        for (source, destination), client in calling.items():
            self._listeners.append(client)
            sender = _inside(net, source, lambda: socket.socket(type=socket.SOCK_DGRAM))
            self._listeners.append(sender)
            sender.connect((net[destination].ip, port))
            sender.send(b"?")
            if not select.select([], [client], [], ANSWER_S / 10)[1] or client.getsockopt(
                    socket.SOL_SOCKET, socket.SO_ERROR):
                continue
            server, _ = listening[destination].accept()
            self._listeners.append(server)
            _, back = receiving[destination].recvfrom(10)
            receiving[destination].sendto(b"!", back)
            self._ends[source, destination] = [(client, server), (sender, receiving[destination])]
            assert _hears(sender) and sender.recv(10) == b"!"

    def __enter__(self) -> Conversations:
        return self

    def __exit__(self, *_exc: object) -> None:
        for item in self._listeners:
            item.close()

    @property
    def established(self) -> set[tuple[str, str]]:
        """Of the pairs, those that have spoken."""
        return set(self._ends)

    def alive(self) -> set[tuple[str, str]]:
        """The pairs between which all packets still arrive, of TCP and UDP."""
        return {pair for pair, ends in self._ends.items()
                if all(near.send(b"x") and _hears(far) and far.recv(10) for near, far in ends)}


def _hears(item: socket.socket) -> bool:
    return bool(select.select([item], [], [], ANSWER_S)[0])
