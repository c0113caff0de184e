"""Samples against a computed value, in percent of it: what 0.5 % are would not be seen else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calico_mn.report.document import Figure
from calico_mn.report.plots.engine import styled
from calico_mn.report.plots.layout import checked, demand, tick
from calico_mn.report.plots.lettering import (
    HEAD,
    LABEL,
    SMALL,
    column,
    text_height,
    text_width,
    wrapped,
)
from calico_mn.report.plots.looks import FAINT, INK, Look, looks
from calico_mn.report.plots.samples import dots, stroke
from calico_mn.report.plots.scales import even_ticks, scale_below
from calico_mn.report.plots.sheet import MARGIN, WIDTH, Sheet

_ROW, _SCALE = 31.0, 38.0


@dataclass(frozen=True, slots=True)
class Limited:
    """The samples of ``series`` (a mode) on ``label`` (a path), and what is ``computed`` for it.

    All in the unit given to :func:`deviation`.
    """

    label: str
    series: str
    values: tuple[float, ...]
    computed: float


@dataclass(frozen=True, slots=True)
class _Plan:
    """Sizes in points, texts in lines; ``farthest`` is the axis' end, in percent."""

    by_label: dict[str, list[Limited]]
    heads: dict[str, str]
    names: dict[Limited, str]
    left: float
    width: float
    farthest: float

    def head(self, label: str) -> float:
        """What a path's name takes."""
        return text_height(self.heads[label], HEAD) + 5

    def height(self, row: Limited) -> float:
        """What a mode's line takes."""
        return max(_ROW, text_height(self.names[row], LABEL) + 4)

    @property
    def body(self) -> float:
        """What all of them take, without the scale."""
        return sum(map(self.height, self.names)) + sum(map(self.head, self.heads))


@styled
def deviation(name: str, title: str, quantity: str, unit: str, rows: Sequence[Limited], *,
              tolerance: float = 0.005, note: str = "", caption: str = "") -> Figure:
    """Dots of every sample and a stroke for the median, around the line of the computed value.

    ``tolerance`` is the part by which a median may differ. Raises ValueError without a value, or
    for a computed value that is not positive.
    """
    rows = [row for row in rows if row.values]
    demand(rows, title)
    for row in rows:
        checked((*row.values, row.computed), f"{row.label}, {row.series}")
        if row.computed <= 0:
            raise ValueError(f"{row.label}, {row.series}: no share of {row.computed} can be taken")
    styles = looks(row.series for row in rows)
    plan = _plan(rows, tolerance)
    sheet = Sheet(title, plan.body + _SCALE, f"The line at 0 is the computed limit, the band \u00b1"
                  f"{100 * tolerance:g} % around it. A dot is a sample, the stroke their median.",
                  note)
    axes = _axes(sheet, plan, quantity, tolerance)
    at = 0.0
    for label, found in plan.by_label.items():
        sheet.write(MARGIN, at + 2, plan.heads[label], HEAD, bold=True)
        at += plan.head(label)
        for row in found:
            _row(sheet, axes, plan, row, styles[row.series], at + plan.height(row) / 2)
            at += plan.height(row)
    # The unit stands above the numbers, on the first label's line.
    sheet.write(WIDTH - MARGIN, 3, unit, SMALL, colour=FAINT, align="right")
    told = "; ".join(f"{row.label}, {row.series}: {_percent(row)}, {_pair(row)} {unit}"
                     for row in rows)
    return sheet.finish(name, title, f"{quantity}, median off the computed limit. {told}.",
                        caption)


def _plan(rows: Sequence[Limited], tolerance: float) -> _Plan:
    by_label: dict[str, list[Limited]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    room = column([row.series for row in rows], 118, LABEL, bold=True)
    right = max(max(text_width(_percent(row), HEAD, True), text_width(_pair(row), SMALL))
                for row in rows)
    left = MARGIN + room + 8
    width = WIDTH - MARGIN - right - 10 - left
    farthest = max(2 * tolerance, *(abs(value / row.computed - 1) for row in rows
                                    for value in row.values)) * 108
    return _Plan(
        by_label,
        {label: wrapped(label, left + width - MARGIN, HEAD, bold=True) for label in by_label},
        {row: wrapped(row.series, room, LABEL, bold=True) for row in rows}, left, width, farthest)


def _axes(sheet: Sheet, plan: _Plan, quantity: str, tolerance: float) -> Any:
    axes = sheet.axes(plan.left, 0, plan.width, plan.body)
    axes.set_xlim(-plan.farthest, plan.farthest)
    axes.set_ylim(plan.body, 0)
    ticks = even_ticks(-plan.farthest, plan.farthest, 4)
    scale_below(axes, ticks, f"{quantity}, percent off the computed limit",
                [_signed(value) for value in ticks])
    axes.axvspan(-100 * tolerance, 100 * tolerance, color="#000000", alpha=0.08, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1.2)
    return axes


def _row(sheet: Sheet, axes: Any, plan: _Plan, row: Limited, look: Look, middle: float) -> None:
    sheet.write(plan.left - 8, middle, plan.names[row], bold=True, colour=look.text,
                align="right", middle=True)
    stroke(axes, _off(statistics.median(row.values), row), middle, look, 12)
    dots(axes, [_off(value, row) for value in row.values], middle, look, size=5)
    sheet.write(WIDTH - MARGIN, middle - 6, _percent(row), HEAD, bold=True, colour=look.text,
                align="right", middle=True)
    sheet.write(WIDTH - MARGIN, middle + 7, _pair(row), SMALL, colour=FAINT, align="right",
                middle=True)


def _off(value: float, row: Limited) -> float:
    """Percent off the computed value."""
    return 100 * (value / row.computed - 1)


def _percent(row: Limited) -> str:
    return f"{_off(statistics.median(row.values), row):+.2f} %".replace("-", "\u2212")


def _pair(row: Limited) -> str:
    return f"{_four(statistics.median(row.values))} of {_four(row.computed)}"


def _four(value: float) -> str:
    """Four digits that count: three would hide what is shown."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def _signed(value: float) -> str:
    return f"{tick(value)} %".replace("-", "\u2212")
