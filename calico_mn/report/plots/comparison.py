"""Samples in rows: a quantity by group and series from 0, or its deviation from a computed value.

Every sample is a dot, a stroke is the median, numbers stand at the right.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from calico_mn.report.document import Figure
from calico_mn.report.palette import INK, SeriesStyle, lighten, series_styles
from calico_mn.report.plots import canvas, samples
from calico_mn.text import number

#: groups whose medians differ by more than this factor get an axis each
FAR_APART = 4.0

_ROW = 31.0


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

    @property
    def name(self) -> str:
        """What it is called in the picture."""
        return f"{self.series}, {self.remark}" if self.remark else self.series

    @property
    def farthest(self) -> float:
        """The largest number that is drawn of it."""
        return max((0.0, *self.values, *(self.interval or (0.0, 0.0))))

    def in_unit(self, factor: float) -> tuple[str, str]:
        """Its median, and its interval in words; or that it was not measured."""
        if not self.values:
            return "", "not\nmeasured"
        low, high = self.interval or (0.0, 0.0)
        return (number(statistics.median(self.values) * factor),
                f"{number(low * factor)} to {number(high * factor)}" if self.interval else "")


@canvas.styled
def comparison(name: str, title: str, quantity: str, unit: str, groups: Sequence[Group], *,
               interval: str = "95 % interval of the median", hatched: str = "", note: str = "",
               caption: str = "") -> Figure:
    """Bars to the medians of ``quantity``, from 0, with every sample in the order it was taken.

    ``unit`` is that of the values; larger ones are shown in a larger unit. ``hatched`` says what
    hatching means. Raises ValueError if no group has a value.
    """
    samples.check_not_empty(chain.from_iterable(group.values for group in groups), title)
    for group in groups:
        samples.check_finite(group.values + (group.interval or ()),
                             f"{group.label}, {group.series}")
    panels = {label: [group for group in groups if group.label == label]
              for label in dict.fromkeys(group.label for group in groups)}
    medians = {label: [statistics.median(group.values) for group in panel if group.values]
               for label, panel in panels.items()}
    all_medians = list(chain.from_iterable(medians.values()))
    shared = len(panels) == 1 or max(all_medians) <= FAR_APART * min(all_medians) > 0
    units = {label: samples.unit_for(all_medians if shared else medians[label], unit)
             for label in panels}
    numbers = {group: group.in_unit(units[group.label][0]) for group in groups}
    room = _room(numbers.values())
    heights = {label: canvas.row_heights([_row_name(group.name) for group in panel], _ROW)
               for label, panel in panels.items()}
    lead = "A dot is a sample, the tall stroke their median" + (
        f", the line below the dots the {interval}" if any(g.interval for g in groups) else ""
        ) + "." + (f" Hatched: {hatched}." if hatched else "") + (
        "" if shared else " Each axis is of its own length.")
    sheet = canvas.Sheet(title, [sum(each) for each in heights.values()], lead=lead, note=note,
                         sharex=shared)
    styles = series_styles(group.series for group in groups)
    for axes, (label, panel) in zip(sheet.axes, panels.items(), strict=True):
        factor, larger = units[label]
        sheet.head(axes, label, f"median, {larger}")
        middles = canvas.rows(axes, [_row_name(group.name) for group in panel], heights[label],
                              [styles[group.series].text for group in panel])
        for group, middle in zip(panel, middles, strict=True):
            canvas.beside(axes, middle, room, *numbers[group], colour=styles[group.series].text)
            if group.values:
                _bar(axes, group, middle, factor, styles[group.series])
        farthest = max(group.farthest for group in (groups if shared else panel))
        axes.set_xlim(0, farthest * factor * 1.04 or 1)
        canvas.base_line(axes)
        last = not shared or axes is sheet.axes[-1]
        canvas.scale(axes, f"{quantity}, {larger}" if last else "")
    parts = (f"{label}: " + ", ".join(
        f"{group.name} {numbers[group][0] or 'not measured'}" for group in panel)
        + f" {units[label][1]}" for label, panel in panels.items())
    return sheet.finish(name, title, f"{quantity}, medians. {'; '.join(parts)}.", caption)


def _row_name(text: str) -> str:
    return canvas.wrapped(text, canvas.NAMES, canvas.LABEL, bold=True)


def _room(numbers: Iterable[tuple[str, str]]) -> float:
    """Points for the numbers at the right and the gap before them."""
    return 8 + max(max(canvas.text_width(strong, canvas.HEAD, bold=True),
                       canvas.text_width(faint, canvas.SMALL)) for strong, faint in numbers)


def _bar(axes: canvas.Axes, group: Group, middle: float, factor: float, style: SeriesStyle) -> None:
    median = statistics.median(group.values) * factor
    axes.barh(middle, median, height=25, color=style.colour, alpha=0.17, linewidth=0)
    if group.hatched:
        # A bar of its own with opaque lines: the hatch of a transparent bar does not show in SVG.
        axes.barh(middle, median, height=25, facecolor="none", hatch="////", linewidth=0,
                  edgecolor=lighten(style.colour, 0.5))
    axes.vlines(median, middle - 12.5, middle + 12.5, color=style.colour, linewidth=2.4)
    # The interval's line needs the room below.
    canvas.dots(axes, [value * factor for value in group.values], middle, style, size=4.6,
                lowest=4.0 if group.interval else 9.0)
    if group.interval:
        low, high = (value * factor for value in group.interval)
        centre = (low + high) / 2
        axes.errorbar(centre, middle + 9.2, xerr=(high - low) / 2, fmt="none", ecolor=INK,
                      elinewidth=1.3, capsize=2.2, capthick=1.3)


@dataclass(frozen=True, slots=True)
class Limited:
    """The samples of ``series`` (a mode) on ``label`` (a path), and what is ``computed`` for it.

    All in the unit given to :func:`deviation`.
    """

    label: str
    series: str
    values: tuple[float, ...]
    computed: float

    def percent_off(self, value: float) -> float:
        """By how much a value differs from the computed one."""
        return 100 * (value / self.computed - 1)

    @property
    def in_words(self) -> tuple[str, str]:
        """The median's deviation, and both numbers with four digits: three would hide it."""
        median = statistics.median(self.values)
        return (samples.minus(f"{self.percent_off(median):+.2f} %"),
                f"{number(median, 4)} of {number(self.computed, 4)}")


@canvas.styled
def deviation(name: str, title: str, quantity: str, unit: str, limited: Sequence[Limited], *,
              tolerance: float = 0.005, note: str = "", caption: str = "") -> Figure:
    """Dots of every sample and a stroke for the median, around the line of the computed value.

    The axis is in percent of that value: what 0.5 % are would not be seen otherwise.
    ``tolerance`` is the part by which a median may differ. Raises ValueError without a value, or
    for a computed value that is not positive.
    """
    limited = [row for row in limited if row.values]
    samples.check_not_empty(limited, title)
    for row in limited:
        samples.check_finite((*row.values, row.computed), f"{row.label}, {row.series}")
        if row.computed <= 0:
            raise ValueError(f"{row.label}, {row.series}: no share of {row.computed} can be taken")
    panels = {label: [row for row in limited if row.label == label]
              for label in dict.fromkeys(row.label for row in limited)}
    heights = {label: canvas.row_heights([_row_name(row.series) for row in panel], _ROW)
               for label, panel in panels.items()}
    sheet = canvas.Sheet(title, [sum(each) for each in heights.values()], note=note, sharex=True,
                         lead="The line at 0 is the computed limit, the band \u00b1"
                              f"{100 * tolerance:g} % around it. A dot is a sample, the stroke"
                              " their median.")
    styles = series_styles(row.series for row in limited)
    room = _room(row.in_words for row in limited)
    farthest = 1.08 * max(200 * tolerance, *(
        abs(row.percent_off(value)) for row in limited for value in row.values))
    for axes, (label, panel) in zip(sheet.axes, panels.items(), strict=True):
        sheet.head(axes, label, unit if axes is sheet.axes[0] else "")
        middles = canvas.rows(axes, [_row_name(row.series) for row in panel], heights[label],
                              [styles[row.series].text for row in panel])
        axes.axvspan(-100 * tolerance, 100 * tolerance, color="black", alpha=0.08, linewidth=0)
        axes.axvline(0, color=INK, linewidth=1.2)
        for row, middle in zip(panel, middles, strict=True):
            style = styles[row.series]
            axes.vlines(row.percent_off(statistics.median(row.values)), middle - 12, middle + 12,
                        color=style.colour, linewidth=2.4)
            canvas.dots(axes, [row.percent_off(value) for value in row.values], middle, style, 5)
            canvas.beside(axes, middle, room, *row.in_words, colour=style.text)
        axes.set_xlim(-farthest, farthest)
        canvas.scale(axes, f"{quantity}, percent off the computed limit"
                     if axes is sheet.axes[-1] else "", ticks=4,
                     text=lambda x: samples.minus(f"{samples.tick(x)} %"))
    parts = (f"{row.label}, {row.series}: {', '.join(row.in_words)} {unit}" for row in limited)
    return sheet.finish(name, title, f"{quantity}, median off the computed limit."
                                     f" {'; '.join(parts)}.", caption)
