"""Least squares: a line through samples, or a plane over several counts; what grows. Pure.

In go samples with the counts that they were taken at; out come a fixed part, what each count
adds, and the share of the variance that this explains.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from calico_mn.measure.statistics import MORE, TOO_FEW, Comparison, judge

#: with a smaller share of the variance explained, there is no line to speak of
STRAIGHT = 0.9
#: relative size of a singular value that counts as 0 (numpy.linalg.lstsq)
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True)
class Fit:
    """``intercept`` + the sum of ``slopes`` times counts; ``r2``: the variance's share explained.

    ``r2`` is None where it says nothing: for equal values, or a line through two different x.
    """

    intercept: float
    slopes: tuple[float, ...]
    r2: float | None = None

    @property
    def slope(self) -> float:
        """That of a line."""
        return self.slopes[0]

    @property
    def describes(self) -> bool:
        """Whether the samples lie on it, as far as can be said."""
        return self.r2 is None or self.r2 >= STRAIGHT

    @property
    def grows(self) -> bool:
        """Whether it describes the samples, and what is measured grows with each count."""
        return self.describes and min(self.slopes) >= 0

    def at(self, *counts: float) -> float:
        """The line's or plane's value."""
        return self.intercept + sum(
            slope * count for slope, count in zip(self.slopes, counts, strict=True))


@dataclass(frozen=True, slots=True)
class Growth:
    """A quantity at two counts or more, smallest first: count -> repeat -> value."""

    points: Mapping[int, Mapping[int, float]]

    @property
    def difference(self) -> Comparison | None:
        """From the smallest to the largest count, repeat by repeat."""
        least, *_, most = self.points.values()
        return judge(most, least)

    @property
    def straight(self) -> Fit | None:
        """The line through all samples, if they lie on one and nothing says that none grows."""
        fit = through((count, values.values()) for count, values in self.points.items())
        grows = self.difference and self.difference.verdict in (MORE, TOO_FEW)
        return fit if grows and fit and fit.r2 and fit.grows else None


def line(points: Sequence[tuple[float, float]]) -> Fit | None:
    """The least squares line through (x, y); None with fewer than two different x."""
    different = len({x for x, _ in points})
    if different < 2:
        return None
    slope, intercept = statistics.linear_regression(*zip(*points, strict=True))
    fit = Fit(intercept, (slope,))
    return fit if different == 2 else _explained(fit, [(x,) for x, _ in points],
                                                 [y for _, y in points])


def through(samples: Iterable[tuple[float, Iterable[float]]]) -> Fit | None:
    """The :func:`line` through all samples: (x, the values at it)."""
    return line([(x, value) for x, values in samples for value in values])


def plane(counts: Sequence[Sequence[float]], values: Sequence[float]) -> Fit | None:
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
    return _explained(Fit(intercept, tuple(map(operator.truediv, parts, largest))), counts, values)


def _explained(fit: Fit, counts: Sequence[Sequence[float]], values: Sequence[float]) -> Fit:
    """With R2, the share of the values' variance that the fit explains."""
    mean = statistics.fmean(values)
    total = sum((value - mean) ** 2 for value in values)
    left = sum((value - fit.at(*row)) ** 2 for row, value in zip(counts, values, strict=True))
    return replace(fit, r2=1 - left / total) if total else fit
