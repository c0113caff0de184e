"""Scales of axes: round numbers below or at the left, with faint lines across the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calico_mn.report.plots.layout import thinned, tick
from calico_mn.report.plots.lettering import SMALL, text_width
from calico_mn.report.plots.looks import FAINT, GRID, RULE
from calico_mn.report.plots.sheet import WIDTH


def scale_below(axes: Any, ticks: Sequence[float], label: str = "",
                names: Sequence[str] | None = None) -> None:
    """Numbers below the axes at ``ticks`` with lines upwards, as many as have room."""
    low, high = axes.get_xlim()
    texts = list(names) if names else [tick(value) for value in ticks]
    inside = [i for i, value in enumerate(ticks)
              if min(low, high) - 1e-9 <= value <= max(low, high) * (1 + 1e-9) + 1e-12]
    spots = {i: float(axes.transData.transform((ticks[i], 1))[0]) for i in inside}
    wide = {i: text_width(texts[i], SMALL) for i in inside}
    inside = [i for i in inside if spots[i] - wide[i] / 2 >= 2
              and spots[i] + wide[i] / 2 <= WIDTH - 2]
    kept = [inside[k] for k in thinned([spots[i] for i in inside], [wide[i] for i in inside])]
    axes.set_xticks([ticks[i] for i in kept], [texts[i] for i in kept], minor=False)
    axes.tick_params(axis="x", which="both", length=0, pad=6, labelsize=SMALL, labelcolor=FAINT)
    axes.set_xticks([], minor=True)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    if label:
        axes.set_xlabel(label, fontsize=SMALL, color=FAINT, labelpad=3)


def scale_left(axes: Any, ticks: Sequence[float], names: Sequence[str] | None = None) -> None:
    """Numbers left of the axes at ``ticks`` with lines across."""
    axes.set_yticks(list(ticks), list(names) if names else [tick(value) for value in ticks])
    axes.set_yticks([], minor=True)
    axes.tick_params(axis="y", which="both", length=0, pad=4, labelsize=SMALL, labelcolor=FAINT)
    axes.grid(axis="y", color=GRID, linewidth=0.8)


def even_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about so many."""
    from matplotlib.ticker import MaxNLocator
    found = MaxNLocator(nbins=about, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(value) for value in found if low - 1e-12 <= value <= high * (1 + 1e-12)]


def base_line(axes: Any, x: float = 0) -> None:
    """The line from which bars begin."""
    axes.axvline(x, color=RULE, linewidth=1)
