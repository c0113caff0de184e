"""Who reaches whom, declared as a whole matrix and compared with what pings say.

    expect_connectivity(net, {
        "a": {"b"},
        "b": {"a"},
        "c": set(),
    })

says of every ordered pair of a, b and c whether a ping gets an answer. Names are those of pods and
nodes. A matrix that a test declares and does not check fails that test (see ``acceptance/``'s
conftest).
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from itertools import count, permutations
from typing import Any

from support.patience import SLOWNESS

ATTEMPTS = 3
WAIT_S = 2.0 if SLOWNESS > 1 else 1.0
_ECHO, _ECHO_REPLY = 8, 0
_numbers = count(os.getpid())

#: the matrices that were declared in the running test and not checked yet
unchecked: list[Connectivity] = []


def ip_of(node: Any) -> str:
    """The address under which others know a pod or a node."""
    return str(getattr(node, "ip", "") or node.address)


class Connectivity:
    """A declared matrix: source -> the destinations that answer it."""

    def __init__(self, matrix: Mapping[str, Collection[str]]) -> None:
        names = list(matrix)
        for source, destinations in matrix.items():
            strangers = set(destinations) - (set(names) - {source})
            assert not strangers, f"{source}: no row for {', '.join(sorted(strangers))}"
        self.names = names
        self.expected = {pair: pair[1] in matrix[pair[0]] for pair in permutations(names, 2)}
        unchecked.append(self)

    def check(self, net: Any) -> None:
        """Ping every pair; those that disagree twice more, then fail with the whole matrix."""
        if self in unchecked:
            unchecked.remove(self)
        seen: dict[tuple[str, str], bool] = {}
        asked = list(self.expected)
        for _ in range(ATTEMPTS):
            seen.update(answered(net, asked))
            asked = [pair for pair in asked if seen[pair] != self.expected[pair]]
            if not asked:
                return
        raise AssertionError(self._drawn(seen))

    def _drawn(self, seen: Mapping[tuple[str, str], bool]) -> str:
        wrong = sum(seen[pair] != wanted for pair, wanted in self.expected.items())
        width = max(len(name) for name in self.names) + 2
        lines = [f"{wrong} of {len(self.expected)} pairs are not as declared",
                 "(from the left to the top; y answers, . does not; !y does and should not,",
                 "!. does not and should):",
                 " " * width + "".join(name.rjust(width) for name in self.names)]
        for source in self.names:
            cells = []
            for destination in self.names:
                if source == destination:
                    cells.append("-")
                    continue
                got = seen[source, destination]
                mark = "" if got == self.expected[source, destination] else "!"
                cells.append(mark + ("y" if got else "."))
            lines.append(source.ljust(width) + "".join(cell.rjust(width) for cell in cells))
        return "\n".join(lines)


def expect_connectivity(net: Any, matrix: Mapping[str, Collection[str]]) -> None:
    """Declare a matrix and check it at once."""
    Connectivity(matrix).check(net)


def full_mesh(*names: str) -> dict[str, set[str]]:
    """Everybody reaches everybody."""
    return {name: set(names) - {name} for name in names}


def answered(net: Any, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], bool]:
    """Which echo requests are answered; sent from here, since a program for each takes long."""
    answers = dict.fromkeys(pairs, False)
    with ExitStack() as stack:
        sockets = {source: stack.enter_context(net.runtime.inside(
            net[source].name, socket.socket, socket.AF_INET, socket.SOCK_RAW,
            socket.IPPROTO_ICMP)) for source in dict.fromkeys(source for source, _ in pairs)}
        waiting = {}
        for source, destination in pairs:
            # A number that was used before would belong to a connection that rules let through.
            number = next(_numbers) % 0xF000
            waiting[number] = (source, destination)
            with suppress(OSError):  # without a route
                sockets[source].sendto(struct.pack(
                    "!BBHHH", _ECHO, 0, 0xFFFF - (_ECHO << 8) - number, number, 0) + bytes(56),
                    (ip_of(net[destination]), 0))
        deadline = time.monotonic() + WAIT_S
        while waiting and (readable := select.select(
                sockets.values(), (), (), max(0, deadline - time.monotonic()))[0]):
            for receiver in readable:
                packet = receiver.recv(2000)
                kind, _, _, number = struct.unpack_from("!BBHH", packet, (packet[0] & 15) * 4)
                if kind == _ECHO_REPLY and number in waiting:
                    answers[waiting.pop(number)] = True
    return answers
