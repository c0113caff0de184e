"""A quantity over a size, and over a count with a fitted line; each line named at its end."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calico_mn.measure import fits
from calico_mn.report.document import Figure
from calico_mn.report.plots.engine import styled
from calico_mn.report.plots.layout import (
    checked,
    demand,
    log_ticks,
    number,
    small_unit_for,
    spread_apart,
    tick,
    unit_for,
)
from calico_mn.report.plots.lettering import LABEL, SMALL, column, text_height, text_width, wrapped
from calico_mn.report.plots.looks import FAINT, RULE, Look, looks
from calico_mn.report.plots.scales import even_ticks, scale_below, scale_left
from calico_mn.report.plots.sheet import MARGIN, WIDTH, Sheet

#: values that differ by more than this factor get a logarithmic axis
_LONG = 60.0
_SIZES_LONG = 8.0
_PLOT, _SCALE, _LEADER, _HEAD = 230.0, 38.0, 16.0, 16.0


@dataclass(frozen=True, slots=True)
class Line:
    """The samples of ``series`` at each x: (x, values) in any order.

    A series named "Always, GSO off" shares its colour with "Always"; ``dashed`` with
    hollow dots tells them apart besides their names.
    """

    series: str
    points: tuple[tuple[float, tuple[float, ...]], ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class _Drawn:
    line: Line
    name: str
    below: str
    fitted: fits.Line | None
    end: tuple[float, float]


@styled
def lines(name: str, title: str, quantity: str, unit: str, size: str, series: Sequence[Line], *,
          note: str = "", caption: str = "") -> Figure:
    """``quantity`` in ``unit`` over ``size`` ("packet size, bytes"): dots, and through medians.

    Raises ValueError without a value.
    """
    return _draw(name, title, quantity, unit, size, series, None, note, caption)


@styled
def growth(name: str, title: str, quantity: str, unit: str, count: str, each: str,
           series: Sequence[Line], *, note: str = "", caption: str = "") -> Figure:
    """``quantity`` over ``count`` ("pods"): dots, and the least squares line with its formula.

    ``each`` is one of what is counted ("pod"). Raises ValueError without a value.
    """
    return _draw(name, title, quantity, unit, count, series, each, note, caption)


def _draw(name: str, title: str, quantity: str, unit: str, size: str, series: Sequence[Line],
          each: str | None, note: str, caption: str) -> Figure:
    series = [line for line in series if any(values for _, values in line.points)]
    demand(series, title)
    for line in series:
        checked((value for x, values in line.points for value in (x, *values)), line.series)
    factor, larger = unit_for([statistics.median(values) for line in series
                               for _, values in line.points if values], unit)
    points = {line: _points(line, factor) for line in series}
    drawn = [_drawn(line, points[line], each, larger) for line in series]
    styles = looks(line.series for line in series)

    room = column([one.name for one in drawn], 128, LABEL, bold=True)
    room = max(room, column([one.below for one in drawn], 128, SMALL))
    names = [wrapped(one.name, room, LABEL, bold=True) for one in drawn]
    belows = [wrapped(one.below, room, SMALL) if one.below else "" for one in drawn]
    sizes = [text_height(text, LABEL) + text_height(below, SMALL) + 4
             for text, below in zip(names, belows, strict=True)]
    height = max(_PLOT, sum(sizes))

    lead = ("A dot is a sample, the line the least squares fit to all of them." if each
            else "A dot is a sample, the line joins their medians.")
    sheet = Sheet(title, _HEAD + height + _SCALE, lead, note)
    sheet.write(MARGIN, 0, f"{quantity}, {larger}", SMALL, colour=FAINT)
    axes, left = _axes(sheet, height, room, size, points.values(), logarithms=each is None)
    ends = []
    for one in drawn:
        _line(axes, one, points[one.line], styles[one.line.series])
        ends.append(tuple(axes.transData.transform(one.end)))
    frame = axes.get_window_extent()
    places = spread_apart([frame.y1 - y for _, y in ends], sizes, 0, height)
    for one, text, below, tall, end, place in zip(drawn, names, belows, sizes, ends, places,
                                                  strict=True):
        look = styles[one.line.series]
        axes.annotate("", (frame.x1 + _LEADER - 2, frame.y1 - place), end,
                      xycoords="figure points", textcoords="figure points", annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "color": look.colour, "linewidth": 0.8,
                                  "shrinkA": 3, "shrinkB": 0})
        x, y = left + frame.width + _LEADER, _HEAD + place - tall / 2 + 2
        sheet.write(x, y, text, bold=True, colour=look.text)
        if below:
            sheet.write(x, y + text_height(text, LABEL), below, SMALL, colour=FAINT)
    return sheet.finish(name, title, _alt(quantity, larger, size, drawn, points), caption)


def _points(line: Line, factor: float) -> list[tuple[float, float]]:
    return [(x, value * factor) for x, values in sorted(line.points) for value in values]


def _medians(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    by_x: dict[float, list[float]] = {}
    for x, y in points:
        by_x.setdefault(x, []).append(y)
    return [(x, statistics.median(ys)) for x, ys in sorted(by_x.items())]


def _drawn(line: Line, points: Sequence[tuple[float, float]], each: str | None, unit: str
           ) -> _Drawn:
    last = _medians(points)[-1]
    if each is None:
        return _Drawn(line, line.series, f"{number(last[1])} {unit}", None, last)
    found = fits.line(points)
    if found is None:
        return _Drawn(line, line.series, "one count only: no line to fit", None, last)
    return _Drawn(line, line.series, formula(found, unit, each), found,
                  (last[0], found.at(last[0])))


def formula(found: fits.Line, unit: str, each: str) -> str:
    """The line in words, with R2 where it says something."""
    sign = "+" if found.slope >= 0 else "\u2212"
    factor, small = small_unit_for(found.slope, unit)
    start = f"{number(found.intercept)} {unit}".replace("-", "\u2212")
    text = f"{start}\n{sign} {number(abs(found.slope) * factor)} {small} per {each}"
    if found.r2 is None:
        return text
    return f"{text}\nR\u00b2 = {found.r2:.4f}"


def _axes(sheet: Sheet, height: float, room: float, size: str,
          series: Any, logarithms: bool) -> tuple[Any, float]:
    every = [point for points in series for point in points]
    xs, ys = sorted({x for x, _ in every}), [y for _, y in every]
    low, high = min(ys), max(ys)
    tall = logarithms and low > 0 and high / low > _LONG
    if tall:
        bottom, top = low / 1.3, high * 1.3
        ticks = log_ticks(bottom, top)
    else:
        bottom, top = min(0.0, low * 1.08), max(0.0, high * 1.08) or 1.0
        ticks = even_ticks(bottom, top)
    left = MARGIN + max((text_width(number(value), SMALL) for value in ticks), default=0.0) + 8
    axes = sheet.axes(left, _HEAD, WIDTH - MARGIN - room - _LEADER - left, height)
    if tall:
        axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    if logarithms and xs[0] > 0 and xs[-1] / xs[0] >= _SIZES_LONG:
        axes.set_xscale("log")
        axes.set_xlim(xs[0] / 1.12, xs[-1] * 1.12)
    else:
        margin = (xs[-1] - xs[0]) * 0.05 or abs(xs[0]) * 0.5 or 1
        axes.set_xlim(xs[0] - margin, xs[-1] + margin)
    scale_below(axes, xs if logarithms else _counts(xs), size)
    scale_left(axes, ticks)
    return axes, left


def _counts(xs: Sequence[float]) -> Sequence[float]:
    return xs if len(xs) <= 6 else even_ticks(xs[0], xs[-1])


def _line(axes: Any, one: _Drawn, points: Sequence[tuple[float, float]], look: Look) -> None:
    through = _medians(points)
    if one.fitted:
        through = [(x, one.fitted.at(x)) for x, _ in (through[0], through[-1])]
    axes.plot([x for x, _ in through], [y for _, y in through], color=look.colour, linewidth=1.7,
              linestyle=(0, (3.2, 1.6)) if one.line.dashed else "-")
    axes.plot([x for x, _ in points], [y for _, y in points], look.marker, color=look.colour,
              markersize=5, markerfacecolor="white" if one.line.dashed else look.colour,
              markeredgecolor=look.colour if one.line.dashed else "white",
              markeredgewidth=1.1 if one.line.dashed else 0.6, clip_on=False, linestyle="none")
    if one.fitted and any(y < 0 for _, y in through):
        axes.axhline(0, color=RULE, linewidth=1)


def _alt(quantity: str, unit: str, size: str, drawn: Sequence[_Drawn],
         points: Mapping[Line, Sequence[tuple[float, float]]]) -> str:
    parts = []
    for one in drawn:
        if one.fitted:
            parts.append(f"{one.name}: {one.below}".replace("\n+", " +")
                         .replace("\n\u2212", " \u2212").replace("\n", ", "))
        else:
            each = ", ".join(f"{number(y)} at {tick(x)}" for x, y in _medians(points[one.line]))
            parts.append(f"{one.name}: {each}")
    return f"{quantity} in {unit} over {size}. " + "; ".join(parts) + "."
