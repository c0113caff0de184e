"""A quantity in its parts: CPU time a gigabyte by kind, packets by the path they took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calico_mn.report.document import Figure
from calico_mn.report.palette import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION
from calico_mn.report.plots.engine import styled
from calico_mn.report.plots.layout import checked, demand, number, unit_for
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
from calico_mn.report.plots.looks import FAINT, GREY, INK
from calico_mn.report.plots.scales import base_line, even_ticks, scale_below
from calico_mn.report.plots.sheet import MARGIN, WIDTH, Sheet

_COLOURS = (SKY, ORANGE, GREEN, PURPLE, GREY, BLUE, VERMILION)
_HATCHES = ("", "////", "\\\\\\\\", "xx", "--", "||", "++")
_ROW, _BAR, _SCALE, _SWATCH = 32.0, 20.0, 38.0, 18.0


@dataclass(frozen=True, slots=True)
class Stack:
    """A bar of ``parts`` (name, value), not negative; ``totals`` are the sum in each sample."""

    label: str
    parts: tuple[tuple[str, float], ...]
    totals: tuple[float, ...] = ()


@styled
def stacks(name: str, title: str, quantity: str, unit: str, bars: Sequence[Stack], *,
           note: str = "", caption: str = "") -> Figure:
    """Stacked bars of ``quantity`` in ``unit``, their sums at the right.

    Raises ValueError without a bar, or for a part that is negative.
    """
    bars = _usable(bars, title)
    factor, larger = unit_for([_sum(bar) for bar in bars], unit)
    return _draw(name, title, quantity, larger, bars, factor, note, caption)


@styled
def shares(name: str, title: str, quantity: str, bars: Sequence[Stack], *, note: str = "",
           caption: str = "") -> Figure:
    """The same as percent of each bar's sum; a bar whose sum is 0 is shown empty.

    Raises ValueError without a bar, or for a part that is negative.
    """
    bars = [Stack(bar.label, tuple((part, 100 * value / (_sum(bar) or 1))
                                   for part, value in bar.parts))
            for bar in _usable(bars, title)]
    return _draw(name, title, quantity, "%", bars, 1.0, note, caption)


def _usable(bars: Sequence[Stack], title: str) -> Sequence[Stack]:
    bars = [bar for bar in bars if bar.parts]
    demand(bars, title)
    for bar in bars:
        for part, value in bar.parts:
            checked((value,), f"{bar.label}, {part}")
            if value < 0:
                raise ValueError(f"{bar.label}, {part}: {value} cannot be part of a sum's bar")
        checked(bar.totals, bar.label)
    return bars


def _sum(bar: Stack) -> float:
    return sum(value for _, value in bar.parts)


def _draw(name: str, title: str, quantity: str, unit: str, bars: Sequence[Stack], factor: float,
          note: str, caption: str) -> Figure:
    whole = unit == "%"
    parts = list(dict.fromkeys(part for bar in bars for part, _ in bar.parts))
    styles = {part: (_COLOURS[n % len(_COLOURS)], _HATCHES[n % len(_HATCHES)])
              for n, part in enumerate(parts)}
    room = column([bar.label for bar in bars], 118, LABEL, bold=True)
    names = [wrapped(bar.label, room, LABEL, bold=True) for bar in bars]
    heights = [max(_ROW, text_height(text, LABEL) + 6) for text in names]
    key = _places(parts)
    head = (key[-1][1] + 1) * LABEL * LEADING + 8 + (0 if whole else SMALL * LEADING + 2)
    sums = 0.0 if whole else 10 + max(text_width(number(_sum(bar) * factor), HEAD, True)
                                      for bar in bars)
    left = MARGIN + room + 8
    lead = "A dot is the sum in one sample." if any(bar.totals for bar in bars) else ""
    sheet = Sheet(title, head + sum(heights) + _SCALE, lead, note)
    for part, (x, line) in zip(parts, key, strict=True):
        top = line * LABEL * LEADING
        swatch = sheet.axes(MARGIN + x, top + 2, _SWATCH - 6, LABEL)
        swatch.set_xlim(0, 1)
        swatch.set_ylim(0, 1)
        _fill(swatch, 0.5, 0, 1, 1, styles[part])
        sheet.write(MARGIN + x + _SWATCH - 2, top, wrapped(part, WIDTH - 2 * MARGIN - _SWATCH,
                                                           LABEL))
    if not whole:
        sheet.write(WIDTH - MARGIN, head - SMALL * LEADING - 2, f"sum, {unit}", SMALL,
                    colour=FAINT, align="right")
    # Half of "100 %" hangs out at the right.
    axes = sheet.axes(left, head, WIDTH - MARGIN - (sums or 14) - left, sum(heights))
    longest = max(max(_sum(bar), *bar.totals, 0.0) for bar in bars) * factor
    axes.set_xlim(0, 100 if whole else longest * 1.04 or 1)
    axes.set_ylim(sum(heights), 0)
    base_line(axes)
    scale_below(axes, even_ticks(*axes.get_xlim()), f"{quantity}, {unit}")
    at = 0.0
    for bar, text, height in zip(bars, names, heights, strict=True):
        middle = at + height / 2
        sheet.write(left - 8, head + middle, text, bold=True, align="right", middle=True)
        _bar(axes, bar, middle, factor, styles)
        if not whole:
            sheet.write(WIDTH - MARGIN, head + middle, number(_sum(bar) * factor), HEAD,
                        bold=True, align="right", middle=True)
        at += height
    told = "; ".join(f"{bar.label}: " + ", ".join(
        f"{part} {number(value * factor)}" for part, value in bar.parts) for bar in bars)
    return sheet.finish(name, title, f"{quantity} in {unit}, by part. {told}.", caption)


def _places(parts: Sequence[str]) -> list[tuple[float, int]]:
    """Where each part's name goes in the key: (points from the left, line)."""
    places, x, line = [], 0.0, 0
    for part in parts:
        width = _SWATCH + text_width(part, LABEL) + 14
        if x and x + width > WIDTH - 2 * MARGIN:
            x, line = 0.0, line + 1
        places.append((x, line))
        x += width
        # A name longer than a line is wrapped.
        line += text_height(wrapped(part, WIDTH - 2 * MARGIN - _SWATCH, LABEL), LABEL
                            ) > LABEL * LEADING * 1.5
    return places


def _fill(axes: Any, middle: float, start: float, length: float, height: float,
          style: tuple[str, str]) -> None:
    colour, hatch = style
    axes.barh(middle, length, left=start, height=height, color=colour, alpha=0.55, linewidth=0)
    if hatch:
        axes.barh(middle, length, left=start, height=height, facecolor="none", edgecolor="white",
                  hatch=hatch, linewidth=0, alpha=0.8)


def _bar(axes: Any, bar: Stack, middle: float, factor: float,
         styles: dict[str, tuple[str, str]]) -> None:
    start, (low, high) = 0.0, axes.get_xlim()
    points = axes.get_window_extent().width / (high - low)
    for part, value in bar.parts:
        length = value * factor
        _fill(axes, middle, start, length, _BAR, styles[part])
        axes.plot([start + length] * 2, [middle - _BAR / 2, middle + _BAR / 2], color="white",
                  linewidth=1.2)
        text = number(length)
        if text_width(text, SMALL) + 8 < length * points:
            axes.text(start + length / 2, middle, text, ha="center", va="center", fontsize=SMALL,
                      color=INK, bbox={"boxstyle": "round,pad=0.12", "facecolor": "white",
                                       "alpha": 0.75, "linewidth": 0})
        start += length
    for total in bar.totals:
        axes.plot(total * factor, middle + _BAR / 2 + 2, "o", markersize=4, color=INK,
                  markeredgecolor="white", markeredgewidth=0.5, clip_on=False)
