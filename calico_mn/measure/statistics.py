"""Numbers that describe a few samples. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Five numbers and their count, in the samples' own unit.

    Quartiles interpolate between samples (the inclusive method, numpy's default).
    """

    n: int
    median: float
    q1: float
    q3: float
    minimum: float
    maximum: float

    def overlaps(self, other: Spread) -> bool:
        """Whether the two ranges, minimum to maximum, have a value in common."""
        return self.minimum <= other.maximum and other.minimum <= self.maximum


def spread(values: Sequence[float]) -> Spread:
    """Describe at least one value. Raises ValueError for none."""
    if not values:
        raise ValueError("no samples to describe")
    if len(values) == 1:
        only = values[0]
        return Spread(1, only, only, only, only, only)
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(len(values), median, q1, q3, min(values), max(values))
