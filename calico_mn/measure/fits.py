"""Least squares: a line through samples, or a plane over several counts. Pure.

In go samples with the counts that they were taken at; out come a fixed part, what each count
adds, and the share of the variance that this explains.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

#: relative size of a singular value that counts as 0 (numpy.linalg.lstsq)
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True)
class Line:
    """``intercept`` + ``slope`` * x, and the share of the values' variance that it explains.

    ``r2`` is None where it says nothing: with fewer than three different x, or equal values.
    """

    intercept: float
    slope: float
    r2: float | None

    def at(self, x: float) -> float:
        """The line's value."""
        return self.intercept + self.slope * x


@dataclass(frozen=True, slots=True)
class Plane:
    """``intercept`` + the sum of ``slopes`` times counts; ``r2``: the variance's share explained.

    ``r2`` is None where all values are equal.
    """

    intercept: float
    slopes: tuple[float, ...]
    r2: float | None

    def at(self, counts: Sequence[float]) -> float:
        """The plane's value."""
        return self.intercept + sum(
            slope * count for slope, count in zip(self.slopes, counts, strict=True))


def line(points: Sequence[tuple[float, float]]) -> Line | None:
    """The least squares line through (x, y); None with fewer than two different x."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    different = len(set(xs))
    if different < 2:
        return None
    slope, intercept = statistics.linear_regression(xs, ys)
    explained = _explained(lambda x: intercept + slope * x, xs, ys) if different > 2 else None
    return Line(intercept, slope, explained)


def plane(counts: Sequence[Sequence[float]], values: Sequence[float]) -> Plane | None:
    """Fit ``values`` to rows of ``counts``; None where these do not decide it.

    That is so with no more rows than unknowns, or where one count follows from the others.
    """
    if not counts or len(counts) <= len(counts[0]) + 1:
        return None
    import numpy  # with matplotlib, but slow to import: only reports need it

    # Counts as parts of their largest, so that none outweighs the others in rounding.
    largest = [max(map(abs, column)) or 1.0 for column in zip(*counts, strict=True)]
    rows = [[1.0, *(count / most for count, most in zip(row, largest, strict=True))]
            for row in counts]
    solution, _, rank, _ = numpy.linalg.lstsq(
        numpy.array(rows), numpy.array(values, dtype=float), rcond=_SINGULAR)
    if rank < len(rows[0]):
        return None
    intercept, *parts = map(float, solution)
    slopes = tuple(part / most for part, most in zip(parts, largest, strict=True))
    return Plane(intercept, slopes,
                 _explained(Plane(intercept, slopes, None).at, counts, values))


def _explained(at: Callable[[Any], float], places: Sequence[Any], values: Sequence[float]
               ) -> float | None:
    """R2: the share of the values' variance that a model explains; None for equal values."""
    mean = statistics.fmean(values)
    total = sum((value - mean) ** 2 for value in values)
    if not total:
        return None
    return 1 - sum((value - at(x)) ** 2 for x, value in zip(places, values, strict=True)) / total
