"""Samples in rows: a quantity by group and series from 0, or its deviation from a computed value.

Both are rows of one kind: every sample is a dot, a stroke is the median, a line below the dots the
interval, and numbers stand at the right. A forest plot has rows of another kind: ratios to a
reference with their intervals, around the line at 1, a panel for each quantity.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from calico_mn.measure.statistics import Comparison, confidence_of
from calico_mn.report.document import Figure
from calico_mn.report.graphics import INK, RULE, SeriesStyle, lighten, series_styles
from calico_mn.report.plots import canvas
from calico_mn.text import join, number, unit_for

#: groups whose medians differ by more than this factor get an axis each
FAR_APART = 4.0

#: ratios that differ by more than this factor get a logarithmic axis
_RATIOS_APART = 5.0

_ROW, _RATIO_ROW = 31.0, 30.0


@dataclass(frozen=True, slots=True)
class Group:
    """The samples of ``series`` (a mode) in the group ``label`` (a path class).

    ``interval`` holds their true median. ``hatched`` marks what the picture's lead explains, for
    example that packets travel inside a tunnel; ``remark`` is written after the series' name.
    Without values it is shown as not measured.
    """

    label: str
    series: str
    values: tuple[float, ...]
    interval: tuple[float, float] | None = None
    hatched: bool = False
    remark: str = ""

    def row(self, factor: float, style: SeriesStyle) -> _Row:
        """The group with all numbers times ``factor``."""
        name = f"{self.series}, {self.remark}" if self.remark else self.series
        if not self.values:
            return _Row(name, style, (), ("", "not\nmeasured"))
        values = tuple(value * factor for value in self.values)
        interval = self.interval and (self.interval[0] * factor, self.interval[1] * factor)
        span = f"{number(interval[0])} to {number(interval[1])}" if interval else ""
        return _Row(name, style, values, (number(statistics.median(values)), span), interval,
                    is_bar=True, is_hatched=self.hatched)


@dataclass(frozen=True, slots=True)
class Limited:
    """The samples of ``series`` (a mode) on ``label`` (a path), and what is ``computed`` for it.

    All in the unit given to :func:`deviation`.
    """

    label: str
    series: str
    values: tuple[float, ...]
    computed: float

    def row(self, style: SeriesStyle) -> _Row:
        """The samples in percent off the computed value, and both with four digits.

        Three digits would hide the difference.
        """
        median = statistics.median(self.values)
        values = tuple(100 * (value / self.computed - 1) for value in self.values)
        return _Row(self.series, style, values, (
            canvas.minus(f"{100 * (median / self.computed - 1):+.2f} %"),
            f"{number(median, 4)} of {number(self.computed, 4)}"))


@dataclass(frozen=True, slots=True)
class _Row:
    """A row in its axis' unit; ``numbers`` stand at the right, the second below the first.

    A bar reaches from 0 to the median.
    """

    name: str
    style: SeriesStyle
    values: tuple[float, ...]
    numbers: tuple[str, str]
    interval: tuple[float, float] | None = None
    is_bar: bool = False
    is_hatched: bool = False

    @property
    def room(self) -> float:
        """Points that its numbers and the gap before them take."""
        strong, faint = self.numbers
        return 8 + max(canvas.text_width(strong, canvas.HEAD, bold=True),
                       canvas.text_width(faint, canvas.SMALL))

    def draw(self, axes: canvas.Axes, middle: float) -> None:
        """Bar, median, dots and interval, in 25 points around ``middle``.

        The dots stand in the order in which the samples were taken, the first one highest, so that
        a drift of the machine shows as a slant.
        """
        median, colour = statistics.median(self.values), self.style.colour
        if self.is_bar:
            axes.barh(middle, median, height=25, color=colour, alpha=0.17, linewidth=0)
        if self.is_hatched:
            # A bar of its own: the hatch of a transparent bar does not show in SVG.
            axes.barh(middle, median, height=25, facecolor="none", hatch="////", linewidth=0,
                      edgecolor=lighten(colour, 0.5))
        axes.vlines(median, middle - 12.5, middle + 12.5, color=colour, linewidth=2.4)
        # The interval's line needs the room below.
        lowest = 4.0 if self.interval else 9.0
        step = (lowest + 9.0) / max(1, len(self.values) - 1)
        first = -9.0 if len(self.values) > 1 else (lowest - 9.0) / 2
        axes.plot(self.values, [middle + first + n * step for n in range(len(self.values))],
                  self.style.marker, markersize=4.6, color=colour, markeredgecolor="white",
                  markeredgewidth=0.6, clip_on=False)
        if self.interval:
            low, high = self.interval
            axes.errorbar((low + high) / 2, middle + 9.2, xerr=(high - low) / 2, fmt="none",
                          ecolor=INK, elinewidth=1.3, capsize=2.2, capthick=1.3)


def _sheet(title: str, lead: str, note: str, panels: Sequence[Sequence[_Row]], *, sharex: bool
           ) -> canvas.Sheet:
    """A sheet with axes for each panel, in which the rows are named and have their numbers."""
    named = [canvas.Rows([row.name for row in panel], _ROW) for panel in panels]
    sheet = canvas.Sheet(title, [rows.height for rows in named], lead=lead, note=note,
                         sharex=sharex)
    room = max(row.room for panel in panels for row in panel)
    for axes, panel, rows in zip(sheet.axes, panels, named, strict=True):
        for row, middle in zip(panel, rows.show(axes, [row.style.text for row in panel]),
                               strict=True):
            canvas.beside(axes, middle, room, *row.numbers, colour=row.style.text)
            if row.values:
                row.draw(axes, middle)
    return sheet


@canvas.styled
def comparison(name: str, title: str, quantity: str, unit: str, groups: Sequence[Group], *,
               interval: str = "95 % interval of the median", hatched: str = "", note: str = ""
               ) -> Figure:
    """Bars to the medians of ``quantity``, from 0, with every sample in the order it was taken.

    ``unit`` is that of the values; larger ones are shown in a larger unit. ``hatched`` says what
    hatching means. Raises ValueError if no group has a value.
    """
    canvas.check_not_empty(chain.from_iterable(group.values for group in groups), title)
    for group in groups:
        canvas.check_finite(group.values + (group.interval or ()), f"{group.label}, {group.series}")
    panels = {label: [group for group in groups if group.label == label]
              for label in dict.fromkeys(group.label for group in groups)}
    medians = {label: [statistics.median(group.values) for group in panel if group.values]
               for label, panel in panels.items()}
    together = list(chain.from_iterable(medians.values()))
    shared = len(panels) == 1 or max(together) <= FAR_APART * min(together) > 0
    units = {label: unit_for(together if shared else medians[label], unit)
             for label in panels}
    styles = series_styles(group.series for group in groups)
    drawn = {label: [group.row(units[label][0], styles[group.series]) for group in panel]
             for label, panel in panels.items()}
    lead = "A dot is a sample, the tall stroke their median" + (
        f", the line below the dots the {interval}" if any(g.interval for g in groups) else ""
        ) + "." + (f" Hatched: {hatched}." if hatched else "") + (
        "" if shared else " Each axis is of its own length.")
    sheet = _sheet(title, lead, note, list(drawn.values()), sharex=shared)
    for axes, (label, rows) in zip(sheet.axes, drawn.items(), strict=True):
        sheet.head(axes, label, f"median, {units[label][1]}")
        rows = list(chain.from_iterable(drawn.values())) if shared else rows
        farthest = max(0.0, *chain.from_iterable(row.values + (row.interval or ())
                                                 for row in rows))
        axes.set_xlim(0, farthest * 1.04 or 1)
        axes.axvline(0, color=RULE, linewidth=1)
        last = not shared or axes is sheet.axes[-1]
        canvas.scale(axes, f"{quantity}, {units[label][1]}" if last else "")
    parts = (f"{label}: " + ", ".join(f"{row.name} {row.numbers[0] or 'not measured'}"
                                      for row in rows) + f" {units[label][1]}"
             for label, rows in drawn.items())
    return sheet.finish(name, title, f"{quantity}, medians. {'; '.join(parts)}.")


@canvas.styled
def deviation(name: str, title: str, quantity: str, unit: str, limited: Sequence[Limited], *,
              tolerance: float = 0.005, note: str = "") -> Figure:
    """Dots of every sample and a stroke for the median, around the line of the computed value.

    The axis is in percent of that value: what 0.5 % are would not be seen otherwise.
    ``tolerance`` is the part by which a median may differ. Raises ValueError without a value, or
    for a computed value that is not positive.
    """
    limited = [row for row in limited if row.values]
    canvas.check_not_empty(limited, title)
    for row in limited:
        canvas.check_finite((*row.values, row.computed), f"{row.label}, {row.series}")
        if row.computed <= 0:
            raise ValueError(f"{row.label}, {row.series}: no share of {row.computed} can be taken")
    styles = series_styles(row.series for row in limited)
    drawn = {label: [row.row(styles[row.series]) for row in limited if row.label == label]
             for label in dict.fromkeys(row.label for row in limited)}
    band = 100 * tolerance
    sheet = _sheet(title, f"The line at 0 is the computed limit, the band \u00b1{band:g} % around"
                          " it. A dot is a sample, the stroke their median.",
                   note, list(drawn.values()), sharex=True)
    farthest = 1.08 * max(2 * band, *(
        abs(value) for rows in drawn.values() for row in rows for value in row.values))
    for axes, label in zip(sheet.axes, drawn, strict=True):
        sheet.head(axes, label, unit if axes is sheet.axes[0] else "")
        axes.axvspan(-band, band, color="black", alpha=0.08, linewidth=0)
        axes.axvline(0, color=INK, linewidth=1.2, zorder=1.5)
        axes.set_xlim(-farthest, farthest)
        canvas.scale(axes, f"{quantity}, percent off the computed limit"
                     if axes is sheet.axes[-1] else "", ticks=4,
                     text=lambda x: canvas.minus(f"{canvas.tick(x)} %"))
    parts = (f"{label}, {row.name}: {', '.join(row.numbers)} {unit}"
             for label, rows in drawn.items() for row in rows)
    return sheet.finish(name, title, f"{quantity}, median off the computed limit."
                                     f" {'; '.join(parts)}.")


# --- ratios around 1: a forest plot

@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of ``series`` (a mode) in ``place`` to the reference, in ``quantity``.

    ``expected`` says that it ought to be 1, because both send the same packets.
    """

    quantity: str
    place: str
    series: str
    comparison: Comparison
    expected: bool = False

    @property
    def words(self) -> str:
        """``0.72 to 0.84, n = 6``."""
        interval = self.comparison.interval
        span = f"{interval.low:.2f} to {interval.high:.2f}, " if interval else ""
        return f"{span}n = {self.comparison.n}"


def explained(ratios: Sequence[Ratio], reference: str) -> str:
    """What marks, lines and hollow marks are, in sentences."""
    intervals = confidence_of(ratio.comparison.interval for ratio in ratios)
    return (f"Mark: median of the repeats' ratios to {reference}"
            + (f"; line: its {intervals} interval." if intervals else ".")
            + (f" Hollow: the same packets as {reference}, so that 1 is expected."
               if any(ratio.expected for ratio in ratios) else ""))


@canvas.styled
def forest(name: str, title: str, reference: str, ratios: Sequence[Ratio], *, note: str = ""
           ) -> Figure:
    """Ratios to ``reference`` in rows by place and series. Raises ValueError for none."""
    canvas.check_not_empty(ratios, title)
    panels = {quantity: [ratio for ratio in ratios if ratio.quantity == quantity]
              for quantity in dict.fromkeys(ratio.quantity for ratio in ratios)}
    rows = {quantity: canvas.Rows([f"{ratio.place}, {ratio.series}" for ratio in panel], _RATIO_ROW)
            for quantity, panel in panels.items()}
    styles = series_styles(ratio.series for ratio in ratios)
    sheet = canvas.Sheet(title, [each.height for each in rows.values()],
                         lead=explained(ratios, reference), note=note)
    for axes, (quantity, panel) in zip(sheet.axes, panels.items(), strict=True):
        sheet.head(axes, quantity, "ratio")
        middles = rows[quantity].show(axes, [styles[ratio.series].text for ratio in panel])
        room = 8 + max(canvas.text_width(ratio.words, canvas.SMALL) for ratio in panel)
        for ratio, middle in zip(panel, middles, strict=True):
            style = styles[ratio.series]
            canvas.beside(axes, middle, room, f"{ratio.comparison.median:.2f}", ratio.words,
                          colour=style.text)
            axes.plot(ratio.comparison.ends, (middle, middle), color=style.colour)
            axes.plot(ratio.comparison.median, middle, style.marker, color=style.colour,
                      markersize=7, markerfacecolor="white" if ratio.expected else style.colour)
        ratio_scale(axes, [ratio.comparison for ratio in panel], f"ratio to {reference}")
    alt = "; ".join(f"{ratio.quantity}, {ratio.place}, {ratio.series}"
                    f" {number(ratio.comparison.median)} ({ratio.words})" for ratio in ratios)
    return sheet.finish(name, title, f"Ratios to {reference}: {join([*panels])}. {alt}.")


def ratio_scale(axes: canvas.Axes, ratios: Sequence[Comparison], label: str) -> None:
    """An x axis for the intervals and 1, and the line at 1."""
    ends = [end for ratio in ratios for end in ratio.ends]
    canvas.check_finite(ends, "ratios")
    low, high = min(1.0, *ends), max(1.0, *ends)
    if low > 0 and high / low > _RATIOS_APART:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.1, high * 1.1)
        canvas.log_ticks(axes.xaxis, low, high)
        axes.set_xlabel(label)
    else:
        margin = (high - low) * 0.06 or 0.1
        axes.set_xlim(low - margin, high + margin)
        canvas.scale(axes, label)
    axes.axvline(1, color=INK, linewidth=1.0, zorder=1.5)
