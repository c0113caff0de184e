"""One picture: throughput and latency by path and mode, every sample a dot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calico_mn.measure.samples import POD_ROUTES, Sample
from calico_mn.report.summary import Row, Summary
from calico_mn.report.words import listed

#: Okabe and Ito's colours, which people with any colour vision tell apart
COLOURS = {"Always": "#D55E00", "CrossSubnet": "#0072B2", "Never": "#009E73"}

_INK, _FAINT, _GRID = "#222222", "#767676", "#e6e6e6"
_HEADERS = {"same-node": "Same node", "same-subnet": "Same subnet",
            "cross-subnet": "Across subnets"}
_DOTS_PER_INCH = 160

# Inches: rows are as high on a picture with one path as on one with three.
_WIDTH, _ROW, _TOP, _BOTTOM, _LEFT, _RIGHT, _BETWEEN = 12.0, 0.36, 1.75, 0.95, 2.35, 0.35, 0.55


@dataclass(frozen=True, slots=True)
class _Panel:
    metric: str
    title: str
    scale: float
    digits: int


_GIGABITS = _Panel("throughput", "TCP throughput, Gbit/s", 1e-3, 1)
_MEGABITS = _Panel("throughput", "TCP throughput, Mbit/s", 1, 1)
_LATENCY = _Panel("latency", "Round-trip time, \u00b5s", 1, 1)
_GIGABITS_FROM = 1000
_NO_DECIMALS_FROM = 1000


def draw(path: Path, summary: Summary, samples: Sequence[Sample], footer: str) -> None:
    """Write a PNG. matplotlib is loaded here, since that alone takes a second."""
    from matplotlib.figure import Figure

    places = _places(summary)
    lowest = max(place for place, _ in places.values()) + 0.7
    height = _TOP + lowest * _ROW + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / _WIDTH, 1 - y / height, text, ha="left", va="top", **style)

    write(0.35, 0.3, "Calico's IPIP modes, pod to pod", fontsize=18, fontweight="bold",
          color=_INK)
    write(0.35, 0.76, "One cluster, its mode changed live. A dot is a sample, the stroke their"
          " median. Hatched: packets seen on the wire inside IPIP.", fontsize=10.5, color=_INK)
    lacking = [row.mode for _, row in places.values() if row.fabric == POD_ROUTES]
    if lacking:
        write(0.35, 1.02, f"{listed(list(dict.fromkeys(lacking)))} cannot cross subnets on this"
              " fabric, whose routers know no pods: measured with the pods' routes added to them.",
              fontsize=10.5, color=_INK)
    write(0.35, height - 0.34, footer, fontsize=8.5, color=_FAINT)

    slowest = min((row.throughput.median for row in summary.rows if row.throughput), default=0)
    panels = (_GIGABITS if slowest >= _GIGABITS_FROM else _MEGABITS, _LATENCY)
    width = (_WIDTH - _LEFT - _RIGHT - _BETWEEN) / 2
    for position, panel in enumerate(panels):
        left = _LEFT + position * (width + _BETWEEN)
        axes = figure.add_axes((left / _WIDTH, _BOTTOM / height, width / _WIDTH,
                                lowest * _ROW / height))
        axes.set_ylim(lowest, 0)
        _draw_panel(axes, panel, places, samples)
        if position == 0:
            _name_rows(axes, places)
    figure.savefig(path, dpi=_DOTS_PER_INCH)


def _places(summary: Summary) -> dict[tuple[str, str], tuple[float, Row]]:
    """Where each measured row is drawn, counted in rows from the top; a header above each path."""
    places: dict[tuple[str, str], tuple[float, Row]] = {}
    place = 0.0
    for path in summary.paths:
        rows = [row for row in summary.on(path) if row.throughput or row.latency]
        place += 1.1 if rows else 0
        for row in rows:
            places[path, row.mode] = (place, row)
            place += 1
        place += 0.2 if rows else 0
    return places


def _name_rows(axes: Any, places: Mapping[tuple[str, str], tuple[float, Row]]) -> None:
    named: set[str] = set()
    for place, row in places.values():
        if row.path not in named:
            named.add(row.path)
            axes.annotate(_HEADERS[row.path], (0, place - 0.85), xytext=(-142, 0),
                          xycoords=("axes fraction", "data"), textcoords="offset points",
                          va="center", fontsize=12, fontweight="bold", color=_INK)
        added = "" if row.fabric != POD_ROUTES else ", pod routes added"
        axes.annotate(row.mode + added, (0, place), xytext=(-8, 0),
                      xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
                      va="center", fontsize=10.5, color=COLOURS.get(row.mode, _INK))


def _draw_panel(axes: Any, panel: _Panel, places: Mapping[tuple[str, str], tuple[float, Row]],
                samples: Sequence[Sample]) -> None:
    axes.set_title(panel.title, loc="left", fontsize=12, color=_INK, pad=8)
    farthest = 0.0
    for place, row in places.values():
        values = [sample.value * panel.scale for sample in samples
                  if (sample.metric, sample.path, sample.mode)
                  == (panel.metric, row.path, row.mode)]
        if values:
            farthest = max(farthest, *values)
            _draw_row(axes, panel, place, row, values)
    # The medians' column needs room at the right.
    axes.set_xlim(0, farthest * 1.22 or 1)
    axes.annotate("median", (1, 1), xytext=(0, 9), xycoords="axes fraction",
                  textcoords="offset points", ha="right", fontsize=9.5, color=_FAINT)
    axes.locator_params(axis="x", nbins=6, steps=[1, 2, 5, 10])
    axes.set_yticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(_FAINT)
    axes.tick_params(axis="x", length=0, labelsize=9, labelcolor=_FAINT)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_row(axes: Any, panel: _Panel, place: float, row: Row, values: Sequence[float]) -> None:
    colour = COLOURS.get(row.mode, _FAINT)
    median = statistics.median(values)
    axes.barh(place, median, height=0.72, color=colour, alpha=0.2, linewidth=0)
    if row.encapsulated:
        axes.barh(place, median, height=0.72, facecolor="none", edgecolor=colour, alpha=0.4,
                  hatch="////", linewidth=0)
    axes.plot([median, median], [place - 0.36, place + 0.36], color=colour, linewidth=2.5,
              solid_capstyle="butt")
    # Samples in the order in which they were taken, from the top of the bar to its bottom.
    step = 0.56 / max(1, len(values) - 1)
    for number, value in enumerate(values):
        offset = (number * step - 0.28) if len(values) > 1 else 0.0
        axes.plot(value, place + offset, "o", markersize=4.5, color=colour,
                  markeredgecolor="white", markeredgewidth=0.6)
    # In a column of their own: beside the farthest dot they would be read as its value.
    digits = panel.digits if median < _NO_DECIMALS_FROM else 0
    axes.annotate(f"{median:,.{digits}f}", (1, place), xycoords=("axes fraction", "data"),
                  ha="right", va="center", fontsize=11, fontweight="bold", color=colour)
