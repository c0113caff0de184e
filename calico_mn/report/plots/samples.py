"""Samples along a line: every one a dot, in the order in which they were taken, and their median.

The first stands highest, so that a drift of the machine shows as a slant. Axes are in points
downwards, with ``middle`` the height of the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calico_mn.report.plots.looks import Look


def dots(axes: Any, values: Sequence[float], middle: float, look: Look, *, size: float,
         lowest: float = 9.0) -> None:
    """From 9 points above the line to ``lowest`` below it; ``size`` in points."""
    highest, count = -9.0, len(values)
    for place, value in enumerate(values):
        offset = highest + (lowest - highest) * (place / (count - 1) if count > 1 else 0.5)
        axes.plot(value, middle + offset, look.marker, markersize=size, color=look.colour,
                  markeredgecolor="white", markeredgewidth=0.6, clip_on=False)


def stroke(axes: Any, x: float, middle: float, look: Look, reach: float) -> None:
    """The median: so many points up and down."""
    axes.plot([x, x], [middle - reach, middle + reach], color=look.colour, linewidth=2.4,
              solid_capstyle="butt")
