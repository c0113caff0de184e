"""When packets were lost around an event: a row for each repeat, a stroke for each packet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calico_mn.report.document import Figure
from calico_mn.report.palette import VERMILION
from calico_mn.report.plots.engine import styled
from calico_mn.report.plots.layout import checked, demand, number
from calico_mn.report.plots.lettering import LABEL, SMALL, column, text_height, text_width, wrapped
from calico_mn.report.plots.looks import FAINT, INK, readable
from calico_mn.report.plots.scales import even_ticks, scale_below
from calico_mn.report.plots.sheet import MARGIN, WIDTH, Sheet

_ROW, _SCALE, _HEAD = 30.0, 38.0, 17.0


@dataclass(frozen=True, slots=True)
class Losses:
    """A case: when each lost packet was sent, in ms since the event; ``sent`` packets in all."""

    label: str
    lost: tuple[float, ...]
    sent: int | None = None


@styled
def timeline(name: str, title: str, event: str, rows: Sequence[Losses], *,
             window: tuple[float, float] | None = None, note: str = "",
             caption: str = "") -> Figure:
    """Strokes at the lost packets; ``event`` ("mode changed") is at 0.

    ``window`` is the time that was watched, in ms; losses outside it are shown nevertheless.
    A row without losses says so. Raises ValueError without a row.
    """
    demand(rows, title)
    for row in rows:
        checked((*row.lost, *(window or ())), row.label)
    room = column([row.label for row in rows], 118, LABEL)
    names = [wrapped(row.label, room, LABEL) for row in rows]
    heights = [max(_ROW, text_height(text, LABEL) + 6) for text in names]
    numbers = max(max(text_width(_many(row), LABEL, True), text_width(_of(row), SMALL))
                  for row in rows)
    left = MARGIN + room + 8
    sheet = Sheet(title, _HEAD + sum(heights) + _SCALE,
                  "A stroke is a lost packet, at the time at which it was sent; the bar reaches"
                  " from the first to the last.", note)
    axes = sheet.axes(left, _HEAD, WIDTH - MARGIN - numbers - 10 - left, sum(heights))
    axes.set_ylim(sum(heights), 0)
    times = [time for row in rows for time in row.lost] + [0.0, *(window or ())]
    _clock(sheet, axes, left, times, event)
    at = 0.0
    for row, text, height in zip(rows, names, heights, strict=True):
        sheet.write(left - 8, _HEAD + at + height / 2, text, align="right", middle=True)
        _row(sheet, axes, row, at + height / 2)
        at += height
    told = "; ".join(f"{row.label}: {_many(row)} {_of(row)}".rstrip() + (
        f" from {number(min(row.lost))} to {number(max(row.lost))} ms" if row.lost else "")
        for row in rows)
    return sheet.finish(name, title, f"Packets lost since {event}. {told}.", caption)


def _clock(sheet: Sheet, axes: Any, left: float, times: Sequence[float], event: str) -> None:
    """The scale of time, and a line at the event with its name above."""
    margin = (max(times) - min(times)) * 0.03 or 1.0
    axes.set_xlim(min(times) - margin, max(times) + margin)
    scale_below(axes, even_ticks(*axes.get_xlim()), f"ms since {event}")
    axes.axvline(0, color=INK, linewidth=1.2)
    zero, wide = axes.transData.transform((0, 0))[0], text_width(event, SMALL)
    if wide < axes.get_window_extent().width:
        sheet.write(max(left, min(zero - 2, WIDTH - MARGIN - wide)), 1, event, SMALL)
    else:
        sheet.write(MARGIN, 1, wrapped(event, WIDTH - 2 * MARGIN, SMALL), SMALL)


def _row(sheet: Sheet, axes: Any, row: Losses, middle: float) -> None:
    """A case: its strokes, and at the right how many of how many."""
    axes.axhline(middle, color="#dddddd", linewidth=0.8, zorder=0.5)
    if row.lost:
        first, last = min(row.lost), max(row.lost)
        axes.barh(middle, last - first, left=first, height=13, color=VERMILION, alpha=0.2,
                  linewidth=0)
        axes.vlines(row.lost, middle - 8, middle + 8, color=VERMILION, linewidth=1.0)
    sheet.write(WIDTH - MARGIN, _HEAD + middle - (6 if _of(row) else 0), _many(row),
                bold=bool(row.lost), colour=readable(VERMILION) if row.lost else FAINT,
                align="right", middle=True)
    if _of(row):
        sheet.write(WIDTH - MARGIN, _HEAD + middle + 7, _of(row), SMALL, colour=FAINT,
                    align="right", middle=True)


def _many(row: Losses) -> str:
    return f"{len(row.lost):,} lost" if row.lost else "none lost"


def _of(row: Losses) -> str:
    return f"of {row.sent:,}" if row.sent is not None else ""
