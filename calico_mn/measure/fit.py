"""A straight line through samples: a fixed part, and a part that grows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fit:
    """``intercept`` + ``slope`` * x, and the share of the values' variance that it explains.

    ``r2`` is None where it says nothing: with fewer than three different x, or equal values.
    """

    intercept: float
    slope: float
    r2: float | None

    def at(self, x: float) -> float:
        """The line's value."""
        return self.intercept + self.slope * x


def fit(points: Sequence[tuple[float, float]]) -> Fit | None:
    """The least squares line; None with fewer than two different x."""
    different = {x for x, _ in points}
    if len(different) < 2:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    slope = (math.fsum((x - mean_x) * (y - mean_y) for x, y in points)
             / math.fsum((x - mean_x) ** 2 for x in xs))
    found = Fit(mean_y - slope * mean_x, slope, None)
    total = math.fsum((y - mean_y) ** 2 for y in ys)
    if len(different) < 3 or not total:
        return found
    rest = math.fsum((y - found.at(x)) ** 2 for x, y in points)
    return Fit(found.intercept, slope, 1 - rest / total)
