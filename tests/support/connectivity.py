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

import subprocess
from collections.abc import Collection, Mapping
from itertools import permutations
from typing import Any

from support.patience import SLOWNESS

ATTEMPTS = 3
#: pings under way at once
BATCH = 16 if SLOWNESS > 1 else 64

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
            seen.update(_ping(net, asked))
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


def _ping(net: Any, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], bool]:
    answers = {}
    todo = list(pairs)
    while todo:
        batch, todo = todo[:BATCH], todo[BATCH:]
        running = {
            (source, destination): net[source].popen(
                ["ping", "-n", "-c1", "-W1", ip_of(net[destination])],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for source, destination in batch}
        for pair, process in running.items():
            answers[pair] = process.wait(timeout=60 * SLOWNESS) == 0
    return answers
