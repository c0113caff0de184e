"""Empirical cumulative distributions: which share of the samples is no larger than x.

A panel for each path, with the curves' numbers in a table below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from calico_mn.report.document import Figure
from calico_mn.report.graphics import FAINT, SeriesStyle, series_styles
from calico_mn.report.plots import canvas
from calico_mn.text import number, unit_for

#: samples that differ by more than this factor get a logarithmic axis
_WIDE = 12.0
#: an axis ends at the largest p99 times this, where samples lie beyond
_PAST_P99 = 1.3
#: with fewer samples than this the 99th percentile is but the largest of them
_ENOUGH = 100
#: points: a plot's height, the table's heads, its columns, its names and what stands before them
_PLOT, _HEADS, _COLUMN, _NAMES, _SWATCH = 132.0, 13.0, 62.0, 180.0, 26.0


@dataclass(frozen=True, slots=True)
class Curve:
    """The samples of ``series`` (a mode) in ``panel`` (a path), unloaded or under load.

    ``p50`` and ``p99`` are shown for those of ``values``, where tables have another estimate.
    """

    panel: str
    series: str
    values: tuple[float, ...]
    loaded: bool = False
    p50: float | None = None
    p99: float | None = None

    @property
    def name(self) -> str:
        """What it is called in the picture."""
        return f"{self.series}, under load" if self.loaded else self.series

    @property
    def label(self) -> str:
        """Its name in the table, in lines."""
        return canvas.wrapped(self.name, _NAMES, canvas.LABEL)

    @property
    def height(self) -> float:
        """Points that it takes in the table."""
        return canvas.text_height(self.label, canvas.LABEL) + 1


@dataclass(frozen=True, slots=True)
class _Panel:
    """A path's curves in a unit of its own; the axis ends at ``end``, ``beyond`` says what is past.

    ``numbers`` are each curve's p50 and p99.
    """

    curves: tuple[Curve, ...]
    unit: str
    low: float
    end: float
    beyond: str
    numbers: Mapping[Curve, tuple[float, float]]

    @property
    def table(self) -> float:
        """Points of its table."""
        return _HEADS + sum(curve.height for curve in self.curves)

    def in_words(self, label: str) -> str:
        """The panel for those who do not see it."""
        each = ", ".join(f"{curve.name} p50 {number(p50)} and {_tail(self.curves)} {number(p99)}"
                         for curve, (p50, p99) in self.numbers.items())
        return f"{label}, {self.unit}: {each}" + (
            f" ({self.beyond.rstrip('.')})" if self.beyond else "")


@canvas.styled
def distribution(name: str, title: str, quantity: str, unit: str, curves: Sequence[Curve], *,
                 note: str = "") -> Figure:
    """Empirical cumulative distributions, a panel for each path, with their numbers below.

    The x axis is logarithmic where a panel's samples differ widely. It ends a little after the
    largest p99, and says how many samples lie beyond and how far. Curves without values are left
    out. Raises ValueError if none has any.
    """
    curves = [curve for curve in curves if curve.values]
    canvas.check_not_empty(curves, title)
    for curve in curves:
        canvas.check_finite(curve.values, f"{curve.panel}, {curve.name}")
    styles = series_styles(curve.series for curve in curves)
    panels = {label: _panel([curve for curve in curves if curve.panel == label], unit)
              for label in dict.fromkeys(curve.panel for curve in curves)}
    heights = [height for panel in panels.values() for height in (_PLOT, panel.table)]
    sheet = canvas.Sheet(title, heights, note=note, lead=(
        "Height: the share of samples that took no longer."
        + (" Solid: unloaded; dashed: under load." if any(c.loaded for c in curves) else "")
        + f" Filled mark: p50, half of the samples; hollow: {_tail(curves)}"
        + (", medians of the repeats." if any(curve.p50 for curve in curves) else ".")))
    for n, (label, panel) in enumerate(panels.items()):
        sheet.head(sheet.axes[2 * n], label)
        _ecdf(sheet.axes[2 * n], panel, styles, f"{quantity}, {panel.unit}")
        _table(sheet.axes[2 * n + 1], panel, styles)
    sheet.settle()
    for axes, panel in zip(sheet.axes[::2], panels.values(), strict=True):
        _name(axes, panel, styles)
    alt = "; ".join(panel.in_words(label) for label, panel in panels.items())
    return sheet.finish(name, title, f"{quantity}, cumulative distributions. {alt}.")


def _panel(curves: Sequence[Curve], unit: str) -> _Panel:
    factor, larger = unit_for(
        [_quantile(curve.values, 0.5) for curve in curves], unit)
    numbers = {replace(curve, values=tuple(factor * value for value in curve.values)): (
        factor * (curve.p50 or _quantile(curve.values, 0.5)),
        factor * (curve.p99 or _quantile(curve.values, 0.99))) for curve in curves}
    values = [value for curve in numbers for value in curve.values]
    end = max(p99 for _, p99 in numbers.values()) * _PAST_P99
    past = sum(value > end for value in values)
    return _Panel(tuple(numbers), larger, min(values), end if past else max(values), (
        f"Beyond the axis: {past:,} of {len(values):,} samples, up to {number(max(values))}"
        f" {larger}.") if past else "", numbers)


def _quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values) - 1e-9) - 1)]


def _tail(curves: Sequence[Curve]) -> str:
    return "p99" if min(len(curve.values) for curve in curves) >= _ENOUGH else "p99 or the largest"


def _ecdf(axes: canvas.Axes, panel: _Panel, styles: Mapping[str, SeriesStyle], label: str) -> None:
    # An axis that leaves samples out ends where it says; else there is some air after the last.
    air = 0.0 if panel.beyond else 1.0
    canvas.scale(axes, f"{label}\n{panel.beyond}".strip())
    if panel.low > 0 and panel.end / panel.low > _WIDE:
        axes.set_xscale("log")
        axes.set_xlim(panel.low / 1.15, panel.end * (1 + 0.15 * air))
        canvas.log_ticks(axes.xaxis, panel.low, panel.end)
    else:
        axes.set_xlim(min(0.0, panel.low * 1.05), panel.end * (1 + 0.06 * air) or 1)
    axes.set_ylim(0, 1.04)
    for curve in panel.curves:
        style = styles[curve.series]
        # Not compress=True: matplotlib 3.11 then gives equal samples the rank of their first.
        axes.ecdf(curve.values, color=style.colour,
                  linestyle=canvas.DASHES if curve.loaded else "-")
        for share, x, hollow in zip((0.5, 0.99), panel.numbers[curve], (False, True), strict=True):
            axes.plot(x, share, style.marker, markersize=6.5, color=style.colour, zorder=4,
                      clip_on=False, markerfacecolor="white" if hollow else style.colour,
                      markeredgecolor=style.colour if hollow else "white",
                      markeredgewidth=1.5 if hollow else 0.8)
    axes.set_yticks((0, 0.5, 0.99), ("0 %", "50 %", "99 %"))


def _name(axes: canvas.Axes, panel: _Panel, styles: Mapping[str, SeriesStyle]) -> None:
    """Each series' name beside its curve where there is room; the table below has them all."""
    from matplotlib.cbook import pts_to_poststep
    from matplotlib.path import Path
    from matplotlib.transforms import Bbox
    curves = [axes.transData.transform_path(Path(pts_to_poststep(*line.get_data()).T))
              for line in axes.lines if len(line.get_xdata()) > 1]
    taken: list[Bbox] = []

    def is_free(box: Bbox) -> bool:
        return (axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0
                and not any(map(box.overlaps, taken))
                and not any(curve.intersects_bbox(box, filled=False) for curve in curves))

    for curve in {curve.series: curve for curve in reversed(panel.curves)}.values():
        width = canvas.text_width(curve.series, canvas.SMALL) + 8
        spots = (axes.transData.transform((_quantile(curve.values, share), share))
                 for share in (0.5, 0.4, 0.62, 0.3, 0.75, 0.2, 0.86, 0.1))
        box = next(filter(is_free, (Bbox.from_bounds(left, y - 6, width, 12) for x, y in spots
                                    for left in (x + 4, x - 4 - width))), None)
        if box:
            taken.append(box)
            axes.annotate(curve.series, (box.x0 + 4, (box.y0 + box.y1) / 2), va="center",
                          xycoords="figure points", fontsize=canvas.SMALL,
                          color=styles[curve.series].text)


def _table(axes: canvas.Axes, panel: _Panel, styles: Mapping[str, SeriesStyle]) -> None:
    """Each curve's line, name, p50 and p99."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(panel.table, 0)
    tail = "p99" if _tail(panel.curves) == "p99" else "largest"
    column = max(_COLUMN, 10 + max(canvas.text_width(number(p99), canvas.LABEL) for _, p99 in
                                   panel.numbers.values()))
    _cells(axes, _HEADS - 2, column, (panel.unit, "p50", tail), FAINT, canvas.SMALL)
    top = _HEADS
    for curve, numbers in panel.numbers.items():
        style, middle = styles[curve.series], top + canvas.LABEL * 0.62
        axes.plot((0, 0.065), (middle, middle), color=style.colour,
                  linestyle=canvas.DASHES if curve.loaded else "-")
        axes.plot(0.0325, middle, style.marker, color=style.colour, markersize=6.5,
                  markeredgecolor="white", markeredgewidth=0.8)
        _cells(axes, top + canvas.LABEL, column, (curve.label, *map(number, numbers)), style.text,
               canvas.LABEL)
        top += curve.height


def _cells(axes: canvas.Axes, base: float, column: float, texts: Sequence[str], colour: str,
           size: float) -> None:
    """A name, p50 and p99, the first line of each standing on ``base``."""
    for text, x, offset in zip(texts, (0, 1, 1), (_SWATCH, -column, 0), strict=True):
        axes.annotate(text, (x, base), (offset, size * 0.93), fontsize=size, color=colour,
                      xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="top",
                      ha="right" if x else "left", linespacing=1.15,
                      fontweight="bold" if offset < 0 and size == canvas.LABEL else "normal")
