"""The reachability matrix as a few lines of text. Pure.

One character a pair: ``=`` reached directly, ``#`` reached through the tunnel, ``o`` reached where
the wire was not seen, ``.`` not reached, ``?`` not tried. Rows send, columns answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calico_mn.measure.paths import Endpoint
from calico_mn.measure.readings import Sample

DIRECT, TUNNELLED, UNREACHABLE, PARTLY, UNKNOWN, UNSEEN = "=#.~?o"

LEGEND = f"{DIRECT} direct   {TUNNELLED} tunnelled   {UNREACHABLE} unreachable"
_LEGEND_UNSEEN = f"{UNSEEN} reached, wire not seen   {UNREACHABLE} unreachable"
LEGEND_NODES = f"{LEGEND}   {PARTLY} not all pairs alike"

#: more pods than this are shown by node
MOST_PODS = 16


@dataclass(frozen=True, slots=True)
class Grid:
    """One mode's matrix: ``lines`` all of one width, the first naming the nodes.

    ``cells`` are the same marks, a row of them for each of :attr:`Matrices.rows`; a pod to itself
    has a space. ``details`` say more of each cell in words, where there is more to say; then
    columns have numbers.
    """

    mode: str
    reached: int
    pairs: int
    lines: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...] = ()
    details: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Matrices:
    """The matrices of all modes, with the labels of their common rows and a legend.

    ``rows`` are (node, pod) of each row, or (nothing, node) in matrices by node.
    """

    labels: tuple[str, ...]
    grids: tuple[Grid, ...]
    legend: str
    rows: tuple[tuple[str, str], ...] = ()
    title: str = "Who reaches whom, on the fabric as it is"


def matrices(samples: Sequence[Sample], pods: Sequence[Endpoint], modes: Sequence[str]
             ) -> Matrices:
    """By pod up to :data:`MOST_PODS` of them, else by node."""
    marks = {mode: {(s.source, s.destination): mark(s.value == 1, s.encapsulated) for s in samples
                    if s.metric == "reachable" and s.mode == mode} for mode in modes}
    return drawn({mode: pairs for mode, pairs in marks.items() if pairs}, pods)


def of_answer(answer: Mapping[str, Any]) -> Matrices:
    """The matrix of what a run answers to ``pingall``."""
    return drawn({"": {(pair["source"], pair["destination"]): mark(
        pair["reached"], pair["encapsulated"]) for pair in answer["pairs"]}},
        [Endpoint(**pod) for pod in answer["pods"]])


def mark(reached: bool, encapsulated: bool | None) -> str:
    """A pair's character."""
    if not reached:
        return UNREACHABLE
    return UNSEEN if encapsulated is None else TUNNELLED if encapsulated else DIRECT


def drawn(marks: Mapping[str, Mapping[tuple[str, str], str]], pods: Sequence[Endpoint]
          ) -> Matrices:
    """The matrices of ``marks``: mode -> (source, destination) -> character."""
    by_node: dict[str, list[Endpoint]] = {}
    for pod in pods:
        by_node.setdefault(pod.node, []).append(pod)
    whole = len(pods) <= MOST_PODS
    if whole:
        longest = max(map(len, by_node))
        labels = [f"{'' if number else node:{longest}} {pod.name}"
                  for node, group in by_node.items() for number, pod in enumerate(group)]
    else:
        width = len(str(len(by_node)))
        labels = [f"{number:{width}} {node}" for number, node in enumerate(by_node, 1)]
    groups = [[pod] for group in by_node.values() for pod in group] if whole else [
        *by_node.values()]
    grids = []
    for mode, pairs in marks.items():
        cells = _cells(pairs, groups)
        lines = _by_pod(cells, by_node) if whole else _by_node(cells)
        reached = sum(sign != UNREACHABLE for sign in pairs.values())
        grids.append(Grid(mode, reached, len(pairs), tuple(lines), cells))
    rows = [(node, pod.name) for node, group in by_node.items() for pod in group]
    legend = LEGEND if whole else LEGEND_NODES
    if any(UNSEEN in pairs.values() for pairs in marks.values()):
        legend = _LEGEND_UNSEEN
    return Matrices(tuple(labels), tuple(grids), legend,
                    tuple(rows if whole else (("", node) for node in by_node)))


def _cells(marks: Mapping[tuple[str, str], str], groups: Sequence[Sequence[Endpoint]]
           ) -> tuple[tuple[str, ...], ...]:
    """A cell a pair of groups, standing for all of their pods' pairs."""
    return tuple(tuple(_common({marks.get((source.name, destination.name), UNKNOWN)
                                for source in sources for destination in destinations
                                if source is not destination})
                       for destinations in groups) for sources in groups)


def _common(marks: set[str]) -> str:
    return marks.pop() if len(marks) == 1 else PARTLY if marks else " "


def _by_pod(rows: Sequence[Sequence[str]], by_node: Mapping[str, Sequence[Endpoint]]
            ) -> list[str]:
    """Columns of one node together under its name."""
    widths = {node: max(len(node), 2 * len(pods) - 1) for node, pods in by_node.items()}
    lines = ["  ".join(node.ljust(widths[node]) for node in by_node)]
    for row in rows:
        cells, start = [], 0
        for node, pods in by_node.items():
            cells.append(" ".join(row[start:start + len(pods)]).ljust(widths[node]))
            start += len(pods)
        lines.append("  ".join(cells))
    return lines


def _by_node(rows: Sequence[Sequence[str]]) -> list[str]:
    """Nodes numbered above."""
    width = len(str(len(rows)))
    lines = [" ".join(str(number).rjust(width) for number in range(1, len(rows) + 1))]
    lines += [" ".join(mark.rjust(width) for mark in row) for row in rows]
    return lines
