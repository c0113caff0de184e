"""A quantity in its parts, as stacked bars: CPU time by kind, packets by the path they took."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calico_mn.report import graphics
from calico_mn.report.document import Figure
from calico_mn.report.graphics import INK, RULE, lighten
from calico_mn.report.plots import canvas
from calico_mn.text import number, unit_for

_COLOURS = (graphics.SKY, graphics.ORANGE, graphics.GREEN, graphics.PURPLE, graphics.GREY,
            graphics.BLUE, graphics.VERMILION)
_HATCHES = ("", "////", "\\\\\\\\", "xx", "--", "||", "++")
_ROW, _BAR = 32.0, 20.0


@dataclass(frozen=True, slots=True)
class Stack:
    """A bar of ``parts`` (name, value), not negative; ``totals`` are the sum in each sample.

    Where the parts are medians they do not add up to the median of ``totals``, which is shown.
    """

    label: str
    parts: tuple[tuple[str, float], ...]
    totals: tuple[float, ...] = ()

    @property
    def sum(self) -> float:
        """The median of the totals, or all parts together where there are none."""
        return (statistics.median(self.totals) if self.totals
                else sum(value for _, value in self.parts))

    def times(self, factor: float) -> Stack:
        """The bar with all numbers times ``factor``."""
        return Stack(self.label, tuple((part, value * factor) for part, value in self.parts),
                     tuple(total * factor for total in self.totals))


@canvas.styled
def stacks(name: str, title: str, quantity: str, unit: str, bars: Sequence[Stack], *,
           note: str = "") -> Figure:
    """Stacked bars of ``quantity`` in ``unit``, their sums at the right.

    In "%" the parts are shares of each bar's sum; a bar whose sum is 0 is shown empty. Raises
    ValueError without a bar, or for a part that is negative.
    """
    from matplotlib.patches import Patch
    bars = [bar for bar in bars if bar.parts]
    canvas.check_not_empty(bars, title)
    for bar in bars:
        for part, value in bar.parts:
            canvas.check_finite((value,), f"{bar.label}, {part}")
            if value < 0:
                raise ValueError(f"{bar.label}, {part}: {value} cannot be part of a sum's bar")
        canvas.check_finite(bar.totals, bar.label)
    shares = unit == "%"
    factor, unit = (1.0, unit) if shares else unit_for([bar.sum for bar in bars], unit)
    bars = [bar.times(100 / (bar.sum or 1) if shares else factor) for bar in bars]
    fills = {part: _fill(n) for n, part in enumerate(
        dict.fromkeys(part for bar in bars for part, _ in bar.parts))}
    rows = canvas.Rows([bar.label for bar in bars], _ROW)
    sheet = canvas.Sheet(title, [rows.height], note=note,
                         lead="A dot is the sum in one sample. Numbers are medians: those of the"
                         " parts need not add up to that of the sums." if any(
                             bar.totals for bar in bars) else "",
                         key=[Patch(label=part, **fill) for part, fill in fills.items()])
    (axes,) = sheet.axes
    middles = rows.show(axes, [INK] * len(bars))
    sums = [number(bar.sum) for bar in bars]
    if not shares:
        sheet.head(axes, "", f"sum, {unit}")
    room = 10 + max(canvas.text_width(text, canvas.HEAD, bold=True) for text in sums)
    for bar, text, middle in zip(bars, sums, middles, strict=True):
        canvas.beside(axes, middle, room, "" if shares else text)
        if bar.totals:
            axes.plot(bar.totals, [middle + _BAR / 2 + 2] * len(bar.totals), "o", markersize=4,
                      color=INK, markeredgecolor="white", markeredgewidth=0.5, clip_on=False)
    longest = max(max(sum(value for _, value in bar.parts), *bar.totals, 0.0) for bar in bars)
    axes.set_xlim(0, 100 if shares else longest * 1.04 or 1)
    axes.axvline(0, color=RULE, linewidth=1)
    canvas.scale(axes, f"{quantity}, {unit}")
    sheet.settle()
    for bar, middle in zip(bars, middles, strict=True):
        _bar(axes, bar, middle, fills)
    alt = "; ".join(f"{bar.label}: " + ", ".join(
        f"{part} {number(value)}" for part, value in bar.parts) for bar in bars)
    return sheet.finish(name, title, f"{quantity} in {unit}, by part. {alt}.")


def _fill(place: int) -> Mapping[str, Any]:
    """A part's look. Opaque: the hatch of a transparent bar does not show in SVG."""
    return {"facecolor": lighten(_COLOURS[place % len(_COLOURS)], 0.55), "edgecolor": "white",
            "hatch": _HATCHES[place % len(_HATCHES)], "linewidth": 0.0}


def _bar(axes: canvas.Axes, bar: Stack, middle: float, fills: Mapping[str, Mapping[str, Any]]
         ) -> None:
    start, points = 0.0, axes.bbox.width / axes.get_xlim()[1]
    for part, value in bar.parts:
        drawn = axes.barh(middle, value, left=start, height=_BAR, **fills[part])
        start += value
        axes.vlines(start, middle - _BAR / 2, middle + _BAR / 2, color="white", linewidth=1.2)
        text = number(value)
        if canvas.text_width(text, canvas.SMALL) + 8 < value * points:
            axes.bar_label(drawn, [text], label_type="center", fontsize=canvas.SMALL, bbox={
                "boxstyle": "round,pad=0.12", "facecolor": "white", "alpha": 0.75, "linewidth": 0})
