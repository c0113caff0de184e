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
#: an axis ends at the largest p99 times this, where samples lie beyond
_PAST_P99 = 1.3
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


@dataclass(frozen=True, slots=True)
class _Panel:
    """A path's curves, in a unit of its own: ``factor`` times the samples' unit.

    The axis ends at ``end``; ``beyond`` says in words what lies past it, and is empty if nothing
    does. ``head`` and ``names`` are broken into lines.
    """

    label: str
    curves: tuple[Curve, ...]
    factor: float
    unit: str
    end: float
    beyond: str
    head: str
    names: dict[Curve, str]

    @property
    def above(self) -> float:
        """Points of its heading."""
        return text_height(self.head, HEAD) + 6

    @property
    def table(self) -> float:
        """Points of the table below it."""
        return LEADING * SMALL + sum(text_height(self.names[curve], LABEL) + 1
                                      for curve in self.curves)

    @property
    def scale(self) -> float:
        """Points of what stands between the plot and the table."""
        return _SCALE + text_height(self.beyond, SMALL)

    @property
    def height(self) -> float:
        """Points of all of it."""
        return self.above + _PLOT + self.scale + self.table + _GAP


@styled
def distribution(name: str, title: str, quantity: str, unit: str, curves: Sequence[Curve], *,
                 note: str = "", caption: str = "") -> Figure:
    """A panel for each path, with the numbers of each curve in a table below it.

    The x axis is logarithmic where a panel's samples differ widely. It ends a little after the
    largest p99, and says how many samples lie beyond and how far. Curves without values are left
    out. Raises ValueError if none has any.
    """
    curves = [curve for curve in curves if curve.values]
    demand(curves, title)
    for curve in curves:
        checked(curve.values, f"{curve.panel}, {curve.name}")
    styles = looks(curve.series for curve in curves)
    panels = [_panel([curve for curve in curves if curve.panel == label], unit)
              for label in dict.fromkeys(curve.panel for curve in curves)]
    sheet = Sheet(title, sum(panel.height for panel in panels), _lead(curves), note)
    top = 0.0
    for panel in panels:
        sheet.write(MARGIN, top, panel.head, HEAD, bold=True)
        _plot(sheet, top + panel.above, panel, styles, f"{quantity}, {panel.unit}")
        _table(sheet, top + panel.above + _PLOT + panel.scale, panel, styles)
        top += panel.height
    told = "; ".join(map(_told, panels))
    return sheet.finish(name, title, f"{quantity}, cumulative distributions. {told}.", caption)


def _panel(curves: Sequence[Curve], unit: str) -> _Panel:
    factor, larger = unit_for([quantile(curve.values, 0.5) for curve in curves], unit)
    values = [value * factor for curve in curves for value in curve.values]
    end = max(quantile(curve.values, 0.99) for curve in curves) * factor * _PAST_P99
    past = sum(value > end for value in values)
    beyond = (f"Beyond the axis: {past:,} of {len(values):,} samples, up to"
              f" {number(max(values))} {larger}.") if past else ""
    room = WIDTH - 2 * MARGIN
    column = room - _SWATCH - 2 * _column(curves, factor)
    return _Panel(curves[0].panel, tuple(curves), factor, larger,
                  end if past else max(values), wrapped(beyond, room, SMALL) if beyond else "",
                  wrapped(curves[0].panel, room, HEAD, bold=True),
                  {curve: wrapped(curve.name, column, LABEL) for curve in curves})


def _told(panel: _Panel) -> str:
    """A panel for those who do not see it."""
    numbers = ", ".join(
        f"{curve.name} p50 {_at(curve, 0.5, panel.factor)} and {_tail(panel.curves)} "
        f"{_at(curve, 0.99, panel.factor)}" for curve in panel.curves)
    beyond = f" ({panel.beyond.rstrip('.')})".replace("\n", " ") if panel.beyond else ""
    return f"{panel.label}, {panel.unit}: {numbers}{beyond}"


def _lead(curves: Sequence[Curve]) -> str:
    told = "Height: the share of samples that took no longer."
    if any(curve.loaded for curve in curves):
        told += " Solid: unloaded; dashed: under load."
    return told + f" Filled mark: p50, half of the samples; hollow: {_tail(curves)}."


def _tail(curves: Sequence[Curve]) -> str:
    return "p99" if min(len(curve.values) for curve in curves) >= _ENOUGH else "p99 or the largest"


def _at(curve: Curve, share: float, factor: float) -> str:
    return number(quantile(curve.values, share) * factor)


def _plot(sheet: Sheet, top: float, panel: _Panel, styles: dict[str, Look], label: str) -> None:
    left, width = MARGIN + _LEFT, WIDTH - 2 * MARGIN - _LEFT
    axes = sheet.axes(left, top, width, _PLOT)
    low = min(value for curve in panel.curves for value in curve.values) * panel.factor
    axes.set_ylim(0, 1.04)
    # An axis that leaves samples out ends where it says; else there is some air after the last.
    air = 0.0 if panel.beyond else 1.0
    if low > 0 and panel.end / low > _LONG:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.15, panel.end * (1 + 0.15 * air))
        ticks = log_ticks(*axes.get_xlim())
    else:
        axes.set_xlim(min(0.0, low * 1.05), panel.end * (1 + 0.06 * air) or 1)
        ticks = even_ticks(*axes.get_xlim())
    scale_below(axes, ticks, label)
    scale_left(axes, (0, 0.5, 0.99), ("0 %", "50 %", "99 %"))
    sheet.write(left + width / 2, top + _PLOT + _SCALE - 4, panel.beyond, SMALL, align="center")
    lines: list[tuple[float, float]] = []
    for curve in panel.curves:
        lines += _curve(axes, curve, styles[curve.series], panel)
    _name(axes, panel, styles, lines)


def _steps(axes: Any, curve: Curve, panel: _Panel) -> tuple[list[float], list[float]]:
    """The curve as far as the axis goes: x and y of its corners."""
    count = len(curve.values)
    ordered = [x for x in sorted(value * panel.factor for value in curve.values) if x <= panel.end]
    spots = axes.transData.transform([(value, place / count)
                                      for place, value in enumerate(ordered, 1)])
    xs, ys = [ordered[0]], [0.0]
    kept = spots[0]
    for place, (value, spot) in enumerate(zip(ordered, spots, strict=True), 1):
        # A step that cannot be seen only makes the file larger.
        if place in (1, len(ordered)) or max(abs(spot - kept)) >= _FINEST:
            xs += [value, value]
            ys += [ys[-1], place / count]
            kept = spot
    if len(ordered) < count:
        xs.append(panel.end)
        ys.append(ys[-1])
    return xs, ys


def _curve(axes: Any, curve: Curve, look: Look, panel: _Panel) -> list[tuple[float, float]]:
    """Draw a curve; where it runs, in points of the figure, close enough together for a text."""
    xs, ys = _steps(axes, curve, panel)
    axes.plot(xs, ys, color=look.colour, linewidth=1.7, linestyle=_dashes(curve), clip_on=False)
    for share, face in ((0.5, look.colour), (0.99, "white")):
        x = quantile(curve.values, share) * panel.factor
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


def _name(axes: Any, panel: _Panel, styles: dict[str, Look],
          lines: Sequence[tuple[float, float]]) -> None:
    """Write each series' name at a curve where there is room; the table below has them all."""
    frame = axes.get_window_extent()
    room = Box(frame.x0 + 2, frame.y0 + 1, frame.x1, frame.y1)
    # Thousands of points say no more here than one in each spot.
    lines = sorted({(round(x), round(y)) for x, y in lines})
    taken: list[Box] = []
    named: set[str] = set()
    for curve in panel.curves:
        if curve.series in named:
            continue
        width = text_width(curve.series, SMALL) + 8
        candidates = []
        for share in (0.5, 0.4, 0.62, 0.3, 0.75, 0.2, 0.86, 0.1):
            x, y = axes.transData.transform((quantile(curve.values, share) * panel.factor,
                                              share))
            for start in (x + 4, x - 4 - width):
                candidates.append(Box(start, y - 6, start + width, y + 6))
        box = free_box(candidates, room, taken, lines)
        if box:
            taken.append(box)
            named.add(curve.series)
            axes.annotate(curve.series, (box.left + 4, (box.low + box.high) / 2),
                          xycoords="figure points", va="center", fontsize=SMALL,
                          color=styles[curve.series].text)


def _column(curves: Sequence[Curve], factor: float) -> float:
    """Points for a column of the table."""
    return max(_COLUMN, *(text_width(_at(curve, share, factor), LABEL, True) + 10
                          for curve in curves for share in (0.5, 0.99)))


def _table(sheet: Sheet, top: float, panel: _Panel, styles: dict[str, Look]) -> None:
    right, wide = WIDTH - MARGIN, _column(panel.curves, panel.factor)
    for head, edge in (("p50", right - wide), (_head(panel.curves), right)):
        sheet.write(edge, top, head, SMALL, colour=FAINT, align="right")
    sheet.write(MARGIN + _SWATCH, top, panel.unit, SMALL, colour=FAINT)
    top += LEADING * SMALL
    for curve in panel.curves:
        look, name = styles[curve.series], panel.names[curve]
        swatch = sheet.axes(MARGIN, top, _SWATCH - 6, LABEL * LEADING)
        swatch.set_xlim(0, 1)
        swatch.set_ylim(0, 1)
        swatch.plot([0, 1], [0.55, 0.55], color=look.colour, linewidth=1.7,
                    linestyle=_dashes(curve))
        swatch.plot(0.5, 0.55, look.marker, markersize=6.5, color=look.colour,
                    markeredgecolor="white", markeredgewidth=0.8)
        sheet.write(MARGIN + _SWATCH, top, name, LABEL, colour=look.text)
        for share, edge in ((0.5, right - wide), (0.99, right)):
            sheet.write(edge, top, _at(curve, share, panel.factor), LABEL, bold=share == 0.5,
                        colour=look.text, align="right")
        top += text_height(name, LABEL) + 1


def _head(curves: Sequence[Curve]) -> str:
    return "p99" if _tail(curves) == "p99" else "largest"
