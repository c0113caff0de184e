"""A quantity that grows with several counts at once: the least squares plane. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SINGULAR = 1e-9


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
        return self.intercept + math.fsum(
            slope * count for slope, count in zip(self.slopes, counts, strict=True))


def plane(counts: Sequence[Sequence[float]], values: Sequence[float]) -> Plane | None:
    """Fit ``values`` to rows of ``counts``; None where these do not decide it.

    That is so with no more rows than unknowns, or where one count follows from the others.
    """
    if not counts or len(counts) <= len(counts[0]) + 1:
        return None
    # Counts as parts of their largest, so that none outweighs the others in rounding.
    largest = [max(map(abs, column)) or 1.0 for column in zip(*counts, strict=True)]
    rows = [[1.0, *(count / most for count, most in zip(row, largest, strict=True))]
            for row in counts]
    width = len(rows[0])
    system = [[math.fsum(row[i] * row[j] for row in rows) for j in range(width)]
              + [math.fsum(row[i] * value for row, value in zip(rows, values, strict=True))]
              for i in range(width)]
    solution = _solved(system, len(rows))
    if solution is None:
        return None
    found = Plane(solution[0], tuple(part / most for part, most in
                                     zip(solution[1:], largest, strict=True)), None)
    mean = math.fsum(values) / len(values)
    total = math.fsum((value - mean) ** 2 for value in values)
    if not total:
        return found
    rest = math.fsum((value - found.at(row)) ** 2
                     for row, value in zip(counts, values, strict=True))
    return Plane(found.intercept, found.slopes, 1 - rest / total)


def _solved(system: list[list[float]], rows: int) -> list[float] | None:
    """Gauss and Jordan, with the largest pivot; None if there is no single solution."""
    size = len(system)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(system[row][column]))
        if abs(system[pivot][column]) < _SINGULAR * rows:
            return None
        system[column], system[pivot] = system[pivot], system[column]
        for row in range(size):
            if row != column:
                factor = system[row][column] / system[column][column]
                system[row] = [a - factor * b
                               for a, b in zip(system[row], system[column], strict=True)]
    return [system[row][size] / system[row][row] for row in range(size)]
