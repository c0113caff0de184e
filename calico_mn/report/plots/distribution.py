"""Empirical cumulative distributions: which share of the samples is no larger than x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from calico_mn.report.document import Figure
from calico_mn.report.plots.engine import styled
from calico_mn.report.plots.layout import (
    Box,
    checked,
    demand,
    free_box,
    log_ticks,
    number,
    quantile,
    unit_for,
)
from calico_mn.report.plots.lettering import (
    HEAD,
    LABEL,
    LEADING,
    SMALL,
    text_height,
    text_width,
    wrapped,
)
from calico_mn.report.plots.looks import FAINT, Look, looks
from calico_mn.report.plots.scales import even_ticks, scale_below, scale_left
from calico_mn.report.plots.sheet import MARGIN, WIDTH, Sheet

#: samples that differ by more than this factor get a logarithmic axis
_LONG = 12.0
#: with fewer samples than this the 99th percentile is but the largest of them
_ENOUGH = 100

_PLOT, _SCALE, _GAP = 132.0, 38.0, 12.0
#: points
_FINEST = 0.9
_LEFT, _COLUMN, _SWATCH = 48.0, 52.0, 26.0


@dataclass(frozen=True, slots=True)
class Curve:
    """The samples of ``series`` (a mode) in ``panel`` (a path), unloaded or under load."""

    panel: str
    series: str
    values: tuple[float, ...]
    loaded: bool = False

    @property
    def name(self) -> str:
        """What it is called in the picture."""
        return f"{self.series}, under load" if self.loaded else self.series


@styled
def distribution(name: str, title: str, quantity: str, unit: str, curves: Sequence[Curve], *,
                 note: str = "", caption: str = "") -> Figure:
    """A panel for each path, with the numbers of each curve in a table below it.

    The x axis is logarithmic where a panel's samples differ widely. Curves without values are
    left out. Raises ValueError if none has any.
    """
    curves = [curve for curve in curves if curve.values]
    demand(curves, title)
    for curve in curves:
        checked(curve.values, f"{curve.panel}, {curve.name}")
    styles = looks(curve.series for curve in curves)
    panels: dict[str, list[Curve]] = {}
    for curve in curves:
        panels.setdefault(curve.panel, []).append(curve)
    factors = {panel: unit_for([quantile(curve.values, 0.5) for curve in found], unit)
               for panel, found in panels.items()}
    room = WIDTH - 2 * MARGIN - _SWATCH
    names = {curve: wrapped(curve.name, room - 2 * _column(found, factors[panel][0]), LABEL)
             for panel, found in panels.items() for curve in found}
    tables = [sum(text_height(names[curve], LABEL) + 1 for curve in found) + LEADING * SMALL
              for found in panels.values()]
    heads = [wrapped(label, WIDTH - 2 * MARGIN, HEAD, bold=True) for label in panels]
    above = [text_height(head, HEAD) + 6 for head in heads]
    fixed = _PLOT + _SCALE + _GAP
    sheet = Sheet(title, sum(tables) + sum(above) + fixed * len(panels), _lead(curves), note)
    top, told = 0.0, []
    for (label, found), table, head, high in zip(panels.items(), tables, heads, above,
                                                 strict=True):
        factor, larger = factors[label]
        sheet.write(MARGIN, top, head, HEAD, bold=True)
        top += high
        _panel(sheet, top, found, styles, factor, f"{quantity}, {larger}")
        _table(sheet, top + _PLOT + _SCALE, found, names, styles, factor, larger)
        top += fixed + table
        told.append(f"{label}, {larger}: " + ", ".join(
            f"{curve.name} p50 {_at(curve, 0.5, factor)} and {_tail(found)} "
            f"{_at(curve, 0.99, factor)}" for curve in found))
    return sheet.finish(name, title, f"{quantity}, cumulative distributions. "
                        + "; ".join(told) + ".", caption)


def _lead(curves: Sequence[Curve]) -> str:
    told = "Height: the share of samples that took no longer."
    if any(curve.loaded for curve in curves):
        told += " Solid: unloaded; dashed: under load."
    return told + f" Filled mark: p50, half of the samples; hollow: {_tail(curves)}."


def _tail(curves: Sequence[Curve]) -> str:
    return "p99" if min(len(curve.values) for curve in curves) >= _ENOUGH else "p99 or the largest"


def _at(curve: Curve, share: float, factor: float) -> str:
    return number(quantile(curve.values, share) * factor)


def _panel(sheet: Sheet, top: float, curves: Sequence[Curve], styles: dict[str, Look],
           factor: float, label: str) -> None:
    left, width = MARGIN + _LEFT, WIDTH - 2 * MARGIN - _LEFT
    axes = sheet.axes(left, top, width, _PLOT)
    values = [value * factor for curve in curves for value in curve.values]
    low, high = min(values), max(values)
    axes.set_ylim(0, 1.04)
    if low > 0 and high / low > _LONG:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.15, high * 1.15)
        ticks = log_ticks(*axes.get_xlim())
    else:
        axes.set_xlim(min(0.0, low * 1.05), high * 1.06 or 1)
        ticks = even_ticks(*axes.get_xlim())
    scale_below(axes, ticks, label)
    scale_left(axes, (0, 0.5, 0.99), ("0 %", "50 %", "99 %"))
    lines: list[tuple[float, float]] = []
    for curve in curves:
        lines += _curve(axes, curve, styles[curve.series], factor)
    _name(axes, curves, styles, lines, factor)


def _curve(axes: Any, curve: Curve, look: Look, factor: float) -> list[tuple[float, float]]:
    """Draw a curve; where it runs, in points of the figure, close enough together for a text."""
    ordered = sorted(value * factor for value in curve.values)
    count = len(ordered)
    spots = axes.transData.transform([(value, place / count)
                                      for place, value in enumerate(ordered, 1)])
    xs, ys = [ordered[0]], [0.0]
    kept = spots[0]
    for place, (value, spot) in enumerate(zip(ordered, spots, strict=True), 1):
        # A step that cannot be seen only makes the file larger.
        if place in (1, count) or max(abs(spot - kept)) >= _FINEST:
            xs += [value, value]
            ys += [ys[-1], place / count]
            kept = spot
    axes.plot(xs, ys, color=look.colour, linewidth=1.7, linestyle=_dashes(curve), clip_on=False)
    for share, face in ((0.5, look.colour), (0.99, "white")):
        x = quantile(curve.values, share) * factor
        axes.plot(x, share, look.marker, markersize=6.5, color=look.colour, markerfacecolor=face,
                  markeredgecolor="white" if face != "white" else look.colour,
                  markeredgewidth=0.8 if face != "white" else 1.5, zorder=4, clip_on=False)
    places = [tuple(place) for place in axes.transData.transform(list(zip(xs, ys, strict=True)))]
    dense = []
    for (x0, y0), (x1, y1) in pairwise(places):
        steps = max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / 3))
        dense += [(x0 + (x1 - x0) * k / steps, y0 + (y1 - y0) * k / steps)
                  for k in range(steps + 1)]
    return dense


def _dashes(curve: Curve) -> Any:
    return (0, (3.2, 1.6)) if curve.loaded else "-"


def _name(axes: Any, curves: Sequence[Curve], styles: dict[str, Look],
          lines: Sequence[tuple[float, float]], factor: float) -> None:
    """Write names at the curves where there is room; the table below has them all."""
    frame = axes.get_window_extent()
    room = Box(frame.x0 + 2, frame.y0 + 1, frame.x1, frame.y1)
    # Thousands of points say no more here than one in each spot.
    lines = sorted({(round(x), round(y)) for x, y in lines})
    taken: list[Box] = []
    for curve in curves:
        width = text_width(curve.series, SMALL) + 8
        candidates = []
        for share in (0.5, 0.4, 0.62, 0.3, 0.75, 0.2, 0.86, 0.1):
            x, y = axes.transData.transform((quantile(curve.values, share) * factor, share))
            for start in (x + 4, x - 4 - width):
                candidates.append(Box(start, y - 6, start + width, y + 6))
        box = free_box(candidates, room, taken, lines)
        if box:
            taken.append(box)
            axes.annotate(curve.series, (box.left + 4, (box.low + box.high) / 2),
                          xycoords="figure points", va="center", fontsize=SMALL,
                          color=styles[curve.series].text)


def _column(curves: Sequence[Curve], factor: float) -> float:
    """Points for a column of the table."""
    return max(_COLUMN, *(text_width(_at(curve, share, factor), LABEL, True) + 10
                          for curve in curves for share in (0.5, 0.99)))


def _table(sheet: Sheet, top: float, curves: Sequence[Curve], names: dict[Curve, str],
           styles: dict[str, Look], factor: float, unit: str) -> None:
    right, wide = WIDTH - MARGIN, _column(curves, factor)
    for head, edge in (("p50", right - wide), (_head(curves), right)):
        sheet.write(edge, top, head, SMALL, colour=FAINT, align="right")
    sheet.write(MARGIN + _SWATCH, top, unit, SMALL, colour=FAINT)
    top += LEADING * SMALL
    for curve in curves:
        look, height = styles[curve.series], text_height(names[curve], LABEL)
        swatch = sheet.axes(MARGIN, top, _SWATCH - 6, LABEL * LEADING)
        swatch.set_xlim(0, 1)
        swatch.set_ylim(0, 1)
        swatch.plot([0, 1], [0.55, 0.55], color=look.colour, linewidth=1.7,
                    linestyle=_dashes(curve))
        swatch.plot(0.5, 0.55, look.marker, markersize=6.5, color=look.colour,
                    markeredgecolor="white", markeredgewidth=0.8)
        sheet.write(MARGIN + _SWATCH, top, names[curve], LABEL, colour=look.text)
        for share, edge in ((0.5, right - wide), (0.99, right)):
            sheet.write(edge, top, _at(curve, share, factor), LABEL, bold=share == 0.5,
                        colour=look.text, align="right")
        top += height + 1


def _head(curves: Sequence[Curve]) -> str:
    return "p99" if _tail(curves) == "p99" else "largest"
