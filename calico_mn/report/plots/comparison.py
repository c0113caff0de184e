"""Samples of a quantity by group and series: every sample a dot, the medians, their intervals."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calico_mn.report.document import Figure
from calico_mn.report.plots.engine import styled
from calico_mn.report.plots.layout import checked, demand, number, span, unit_for
from calico_mn.report.plots.lettering import (
    HEAD,
    LABEL,
    LEADING,
    SMALL,
    column,
    text_height,
    text_width,
    wrapped,
)
from calico_mn.report.plots.looks import FAINT, INK, Look, looks, paled
from calico_mn.report.plots.samples import dots, stroke
from calico_mn.report.plots.scales import base_line, even_ticks, scale_below
from calico_mn.report.plots.sheet import MARGIN, WIDTH, Sheet

#: groups whose medians differ by more than this factor get an axis each
FAR_APART = 4.0

_ROW, _HEADING, _SCALE = 31.0, 21.0, 34.0


@dataclass(frozen=True, slots=True)
class Group:
    """The samples of ``series`` (a mode) in the group ``label`` (a path class).

    ``interval`` holds their true median. ``hatched`` marks what the picture's lead explains, for
    example that packets travel inside IPIP; ``remark`` is written after the series' name.
    Without values it is shown as not measured.
    """

    label: str
    series: str
    values: tuple[float, ...]
    interval: tuple[float, float] | None = None
    hatched: bool = False
    remark: str = ""


@dataclass(frozen=True, slots=True)
class _Panel:
    """A path's groups: ``factor`` makes ``unit`` of the values' own; ``farthest`` is in that."""

    label: str
    groups: tuple[Group, ...]
    factor: float
    unit: str
    farthest: float


@dataclass(frozen=True, slots=True)
class _Plan:
    """Sizes in points, texts in lines; the panels in ``scaled`` have numbers below them."""

    left: float
    width: float
    names: dict[Group, str]
    heads: dict[_Panel, str]
    scaled: Sequence[_Panel]

    def bar(self, group: Group) -> float:
        """What a group takes."""
        return max(_ROW, text_height(self.names[group], LABEL) + 4)

    def bars(self, panel: _Panel) -> float:
        """What a panel's groups take."""
        return sum(map(self.bar, panel.groups))

    def head(self, panel: _Panel) -> float:
        """What a panel's heading takes."""
        return _HEADING - HEAD * LEADING + text_height(self.heads[panel], HEAD)

    def height(self, panel: _Panel) -> float:
        """What all of a panel takes."""
        return self.head(panel) + self.bars(panel) + (_SCALE if panel in self.scaled else 0) + 9


@styled
def comparison(name: str, title: str, quantity: str, unit: str, groups: Sequence[Group], *,
               interval: str = "95 % interval of the median", hatched: str = "", note: str = "",
               caption: str = "") -> Figure:
    """Bars to the medians of ``quantity``, from 0, with every sample in the order it was taken.

    ``unit`` is that of the values; larger ones are shown in a larger unit. ``hatched`` says what
    hatching means. Raises ValueError if no group has a value.
    """
    demand((value for group in groups for value in group.values), title)
    for group in groups:
        checked(group.values + (group.interval or ()), f"{group.label}, {group.series}")
    panels, shared = _panels(groups, unit)
    plan = _plan(groups, panels, shared)
    lead = _lead(groups, interval, hatched)
    sheet = Sheet(title, sum(map(plan.height, panels)),
                  lead if shared else f"{lead} Each axis is of its own length.", note)
    styles, top = looks(group.series for group in groups), 0.0
    for panel in panels:
        _panel(sheet, plan, panel, styles, top, quantity)
        top += plan.height(panel)
    return sheet.finish(name, title, _alt(quantity, panels), caption)


def _plan(groups: Sequence[Group], panels: Sequence[_Panel], shared: bool) -> _Plan:
    names = column([_name(group) for group in groups], 118, LABEL, bold=True)
    numbers = max(max(text_width(_median(group, panel.factor), HEAD, True),
                      text_width(_interval(group, panel.factor), SMALL))
                  for panel in panels for group in panel.groups)
    left = MARGIN + names + 8
    return _Plan(
        left, WIDTH - MARGIN - numbers - 8 - left,
        {group: wrapped(_name(group), names, LABEL, bold=True) for group in groups},
        {panel: wrapped(panel.label, WIDTH - 2 * MARGIN - 100, HEAD, bold=True)
         for panel in panels},
        panels[-1:] if shared else panels)


def _panel(sheet: Sheet, plan: _Plan, panel: _Panel, styles: dict[str, Look], top: float,
           quantity: str) -> None:
    """A heading, a bar for each group, and a scale if this panel has one."""
    sheet.write(MARGIN, top, plan.heads[panel], HEAD, bold=True)
    sheet.write(WIDTH - MARGIN, top + 2, f"median, {panel.unit}", SMALL, colour=FAINT,
                align="right")
    top += plan.head(panel)
    axes = sheet.axes(plan.left, top, plan.width, plan.bars(panel))
    axes.set_xlim(0, panel.farthest * panel.factor * 1.04 or 1)
    axes.set_ylim(plan.bars(panel), 0)
    at = 0.0
    for group in panel.groups:
        look, middle = styles[group.series], at + plan.bar(group) / 2
        sheet.write(plan.left - 8, top + middle, plan.names[group], bold=True, colour=look.text,
                    align="right", middle=True)
        _row(axes, group, look, middle, panel.factor)
        _numbers(sheet, group, top + middle, panel.factor, look)
        at += plan.bar(group)
    base_line(axes)
    scaled = panel in plan.scaled
    scale_below(axes, even_ticks(*axes.get_xlim()), f"{quantity}, {panel.unit}" if scaled else "")
    if not scaled:
        axes.tick_params(labelbottom=False)


def _panels(groups: Sequence[Group], unit: str) -> tuple[list[_Panel], bool]:
    """A panel for each label, and whether one axis serves all."""
    by_label: dict[str, list[Group]] = {}
    for group in groups:
        by_label.setdefault(group.label, []).append(group)
    medians = {label: [statistics.median(group.values) for group in found if group.values]
               for label, found in by_label.items()}
    every = [value for values in medians.values() for value in values]
    shared = (min(every) > 0 and max(every) / min(every) <= FAR_APART) or len(by_label) == 1
    farthest = {label: max((max(*group.values, *(group.interval or ()), 0.0)
                            for group in found if group.values), default=0.0)
                for label, found in by_label.items()}
    panels = []
    for label, found in by_label.items():
        factor, larger = unit_for(every if shared else medians[label], unit)
        panels.append(_Panel(label, tuple(found), factor, larger,
                             max(farthest.values()) if shared else farthest[label]))
    return panels, shared


def _name(group: Group) -> str:
    return f"{group.series}, {group.remark}" if group.remark else group.series


def _lead(groups: Sequence[Group], interval: str, hatched: str) -> str:
    told = "A dot is a sample, the tall stroke their median"
    if any(group.interval for group in groups):
        told += f", the line below the dots the {interval}"
    return told + "." + (f" Hatched: {hatched}." if hatched else "")


def _median(group: Group, factor: float) -> str:
    return number(statistics.median(group.values) * factor) if group.values else "not"


def _interval(group: Group, factor: float) -> str:
    if not group.values:
        return "measured"
    if group.interval is None:
        return ""
    return span(group.interval[0] * factor, group.interval[1] * factor)


def _numbers(sheet: Sheet, group: Group, middle: float, factor: float, look: Look) -> None:
    """The median, and below it its interval, in a column at the right."""
    right = WIDTH - MARGIN
    if not group.values:
        sheet.write(right, middle, "not\nmeasured", SMALL, colour=FAINT, align="right",
                    middle=True)
        return
    below = _interval(group, factor)
    sheet.write(right, middle - (6 if below else 0), _median(group, factor), HEAD, bold=True,
                colour=look.text, align="right", middle=True)
    if below:
        sheet.write(right, middle + 7, below, SMALL, colour=FAINT, align="right", middle=True)


def _row(axes: Any, group: Group, look: Look, middle: float, factor: float) -> None:
    if not group.values:
        return
    median = statistics.median(group.values) * factor
    axes.barh(middle, median, height=25, color=look.colour, alpha=0.17, linewidth=0)
    if group.hatched:
        # Opaque: in SVG a transparent hatch would be so twice.
        axes.barh(middle, median, height=25, facecolor="none", hatch="////", linewidth=0,
                  edgecolor=paled(look.colour, 0.5))
    stroke(axes, median, middle, look, 12.5)
    # The interval's line needs the room below.
    dots(axes, [value * factor for value in group.values], middle, look, size=4.6,
         lowest=4.0 if group.interval else 9.0)
    if group.interval:
        low, high = (value * factor for value in group.interval)
        axes.plot([low, high], [middle + 9.2] * 2, color=INK, linewidth=1.3)
        for end in (low, high):
            axes.plot([end, end], [middle + 7, middle + 11.4], color=INK, linewidth=1.3)


def _alt(quantity: str, panels: Sequence[_Panel]) -> str:
    parts = []
    for panel in panels:
        each = ", ".join(f"{_name(group)} {_median(group, panel.factor)}" if group.values
                         else f"{_name(group)} not measured" for group in panel.groups)
        parts.append(f"{panel.label}: {each} {panel.unit}")
    return f"{quantity}, medians. " + "; ".join(parts) + "."
