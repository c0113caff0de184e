"""Packets lost by a change of mode: its pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from calico_mn.experiment.switch import ALL, DIES, LIVES, ONE, ONLY_FROM
from calico_mn.experiment.switch_outcomes import Change, Outcomes, value_of
from calico_mn.measure.paths import PATHS
from calico_mn.report.document import BAD, GOOD, MIXED, Figure
from calico_mn.report.plots.grid import Losses, grid, timeline


def pictures(found: Outcomes) -> Iterator[Figure]:
    """Those for which there are readings."""
    yield from _grid(found)
    yield from _timeline(found)


def _grid(found: Outcomes) -> Iterator[Figure]:
    cells = {}
    for before, after, path in found.pairs(ONE):
        for number in found.filters:
            change = Change(before, after, ONE, number)
            word = found.verdict(change, path)
            if word:
                tone = GOOD if word == LIVES else BAD if word == DIES else MIXED
                cells[str(change), f"{path}, rp_filter {number}"] = (found.named(word), tone)
    if cells:
        yield grid(
            "alone", f"What lasts when {found.node} alone changes",
            list(dict.fromkeys(row for row, _ in cells)),
            sorted({column for _, column in cells},
                   key=lambda c: (PATHS.index(c.partition(",")[0]), c)), cells,
            row_heading="the change", column_heading="path, and the nodes' reverse path filter",
            note=f"{found.node} against nodes that did not change. {found.named(ONLY_FROM)}:"
                 " its packets arrive, those to it do not. rp_filter: 0 off, 1 strict, 2 loose.",
            caption="Without a reverse path filter a mixed cluster works. With one, it depends on"
                    " the two modes.")


def _timeline(found: Outcomes) -> Iterator[Figure]:
    """Where anything was lost while all nodes changed: a row for each change and filter."""
    lost: dict[Change, list[float]] = defaultdict(list)
    sent: dict[Change, int] = defaultdict(int)
    for (change, path), readings in found.streams.items():
        if change.followers == ALL and found.verdict(change, path) == LIVES:
            lost[change] += [at for one in readings for at in one.series["lost_at"]]
            sent[change] += sum(int(value_of(one, "sent")) for one in readings)
    rows = [Losses(f"{change}, rp_filter {change.rp_filter}", tuple(times), sent[change])
            for change, times in sorted(lost.items()) if times]
    if rows:
        yield timeline(
            "moment", "Packets lost while all nodes change", "the change was asked for", rows,
            window=(0, 5), note="All repeats, paths and directions together. Changes without a"
            " loss are not listed.",
            caption="Nodes change one after the other; in between, two ends of a path are in"
                    " different modes.")
