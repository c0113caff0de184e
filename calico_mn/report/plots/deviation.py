"""Samples against a computed value, in percent of it: what 0.5 % are would not be seen else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from calico_mn.report.document import Figure
from calico_mn.report.plots.engine import styled
from calico_mn.report.plots.layout import checked, demand, number
from calico_mn.report.plots.lettering import (
    HEAD,
    LABEL,
    SMALL,
    column,
    text_height,
    text_width,
    wrapped,
)
from calico_mn.report.plots.looks import FAINT, INK, looks
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
    by_label: dict[str, list[Limited]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    room = column([row.series for row in rows], 118, LABEL, bold=True)
    names = {row: wrapped(row.series, room, LABEL, bold=True) for row in rows}
    heights = {row: max(_ROW, text_height(names[row], LABEL) + 4) for row in rows}
    right = max(max(text_width(_percent(row), HEAD, True), text_width(_pair(row), SMALL))
                for row in rows)
    left = MARGIN + room + 8
    width = WIDTH - MARGIN - right - 10 - left
    farthest = max(2 * tolerance, *(abs(value / row.computed - 1) for row in rows
                                    for value in row.values)) * 108

    heads = {label: wrapped(label, left + width - MARGIN, HEAD, bold=True) for label in by_label}
    body = sum(heights.values()) + _SCALE + sum(text_height(text, HEAD) + 5
                                                for text in heads.values())
    sheet = Sheet(title, body, f"The line at 0 is the computed limit, the band \u00b1"
                  f"{100 * tolerance:g} % around it. A dot is a sample, the stroke their median.",
                  note)
    axes = sheet.axes(left, 0, width, body - _SCALE)
    axes.set_xlim(-farthest, farthest)
    axes.set_ylim(body - _SCALE, 0)
    ticks = even_ticks(-farthest, farthest, 4)
    scale_below(axes, ticks, f"{quantity}, percent off the computed limit",
                [_signed(value) for value in ticks])
    axes.axvspan(-100 * tolerance, 100 * tolerance, color="#000000", alpha=0.08, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1.2)
    at = 0.0
    for label, found in by_label.items():
        sheet.write(MARGIN, at + 2, heads[label], HEAD, bold=True)
        at += text_height(heads[label], HEAD) + 5
        for row in found:
            look, middle = styles[row.series], at + heights[row] / 2
            sheet.write(left - 8, middle, names[row], bold=True, colour=look.text, align="right",
                        middle=True)
            median = 100 * (statistics.median(row.values) / row.computed - 1)
            axes.plot([median, median], [middle - 12, middle + 12], color=look.colour,
                      linewidth=2.4, solid_capstyle="butt")
            count = len(row.values)
            for place, value in enumerate(row.values):
                offset = -9 + 18 * (place / (count - 1) if count > 1 else 0.5)
                axes.plot(100 * (value / row.computed - 1), middle + offset, look.marker,
                          markersize=5, color=look.colour, markeredgecolor="white",
                          markeredgewidth=0.6, clip_on=False)
            sheet.write(WIDTH - MARGIN, middle - 6, _percent(row), HEAD, bold=True,
                        colour=look.text, align="right", middle=True)
            sheet.write(WIDTH - MARGIN, middle + 7, _pair(row), SMALL, colour=FAINT,
                        align="right", middle=True)
            at += heights[row]
    # The unit stands above the numbers, on the first label's line.
    sheet.write(WIDTH - MARGIN, 3, unit, SMALL, colour=FAINT, align="right")
    told = "; ".join(f"{row.label}, {row.series}: {_percent(row)}, {_pair(row)} {unit}"
                     for row in rows)
    return sheet.finish(name, title, f"{quantity}, median off the computed limit. {told}.",
                        caption)


def _percent(row: Limited) -> str:
    share = 100 * (statistics.median(row.values) / row.computed - 1)
    return f"{share:+.2f} %".replace("-", "\u2212")


def _pair(row: Limited) -> str:
    return f"{_four(statistics.median(row.values))} of {_four(row.computed)}"


def _four(value: float) -> str:
    """Four digits that count: three would hide what is shown."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def _signed(value: float) -> str:
    return f"{number(value).rstrip('0').rstrip('.') if value % 1 else round(value):}".replace(
        "-", "\u2212") + " %"
