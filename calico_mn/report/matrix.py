"""The reachability matrix as a few lines of text. Pure.

One character a pair: ``=`` reached directly, ``#`` reached through the tunnel, ``.`` not
reached, ``?`` not tried. Rows send, columns answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calico_mn.measure.paths import Endpoint
from calico_mn.measure.readings import Sample

DIRECT, TUNNELLED, UNREACHABLE, PARTLY, UNKNOWN = "=#.~?"

LEGEND = f"{DIRECT} direct   {TUNNELLED} tunnelled   {UNREACHABLE} unreachable"
LEGEND_NODES = f"{LEGEND}   {PARTLY} not all pairs alike"

#: more pods than this are shown by node
MOST_PODS = 16


@dataclass(frozen=True, slots=True)
class Grid:
    """One mode's matrix: ``lines`` all of one width, the first naming the nodes."""

    mode: str
    reached: int
    pairs: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matrices:
    """The matrices of all modes, with the labels of their common rows and a legend."""

    labels: tuple[str, ...]
    grids: tuple[Grid, ...]
    legend: str


def matrices(samples: Sequence[Sample], pods: Sequence[Endpoint], modes: Sequence[str]
             ) -> Matrices:
    """By pod up to :data:`MOST_PODS` of them, else by node."""
    by_node: dict[str, list[Endpoint]] = {}
    for pod in pods:
        by_node.setdefault(pod.node, []).append(pod)
    whole = len(pods) <= MOST_PODS
    if whole:
        longest = max(map(len, by_node))
        labels = [f"{'' if number else node:{longest}} {pod.name}"
                  for node, mine in by_node.items() for number, pod in enumerate(mine)]
    else:
        width = len(str(len(by_node)))
        labels = [f"{number:{width}} {node}" for number, node in enumerate(by_node, 1)]
    grids = []
    for mode in modes:
        marks = {(s.source, s.destination): _mark(s) for s in samples
                 if s.metric == "reachable" and s.mode == mode}
        if not marks:
            continue
        lines = _by_pod(marks, by_node) if whole else _by_node(marks, by_node)
        reached = sum(mark != UNREACHABLE for mark in marks.values())
        grids.append(Grid(mode, reached, len(marks), tuple(lines)))
    return Matrices(tuple(labels), tuple(grids), LEGEND if whole else LEGEND_NODES)


def _mark(sample: Sample) -> str:
    if sample.value != 1:
        return UNREACHABLE
    return TUNNELLED if sample.encapsulated else DIRECT


def _by_pod(marks: Mapping[tuple[str, str], str], by_node: Mapping[str, Sequence[Endpoint]]
            ) -> list[str]:
    """A cell a pod, columns of one node together under its name."""
    widths = {node: max(len(node), 2 * len(mine) - 1) for node, mine in by_node.items()}
    lines = ["  ".join(node.ljust(widths[node]) for node in by_node)]
    for mine in by_node.values():
        for source in mine:
            cells = []
            for node, theirs in by_node.items():
                marked = " ".join(" " if pod is source else
                                  marks.get((source.name, pod.name), UNKNOWN) for pod in theirs)
                cells.append(marked.ljust(widths[node]))
            lines.append("  ".join(cells))
    return lines


def _by_node(marks: Mapping[tuple[str, str], str], by_node: Mapping[str, Sequence[Endpoint]]
             ) -> list[str]:
    """A cell a pair of nodes, standing for all of their pods' pairs; nodes numbered above."""
    width = len(str(len(by_node)))
    lines = [" ".join(str(number).rjust(width) for number in range(1, len(by_node) + 1))]
    for mine in by_node.values():
        cells = []
        for theirs in by_node.values():
            found = {marks.get((one.name, other.name), UNKNOWN)
                     for one in mine for other in theirs if one is not other}
            mark = found.pop() if len(found) == 1 else PARTLY if found else " "
            cells.append(mark.rjust(width))
        lines.append(" ".join(cells))
    return lines
