"""What paired differences allow to say, in the unit of the samples. Pure.

The counterpart of :func:`calico_mn.measure.statistics.compare`, for quantities of which the
difference is the question and not the ratio: microseconds more for each packet.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calico_mn.measure.statistics import (
    NO_DIFFERENCE,
    TOO_FEW,
    Interval,
    median_interval,
    student,
)

MORE, LESS = "more", "less"
#: fewer cannot have a 95 % interval, whatever the distribution
_ENOUGH = 6


@dataclass(frozen=True, slots=True)
class Difference:
    """The median of ``n`` paired differences; ``verdict`` is :data:`MORE`, :data:`LESS`,
    :data:`NO_DIFFERENCE` or :data:`TOO_FEW`.
    """

    n: int
    median: float
    interval: Interval | None
    verdict: str


def paired_differences(series: Mapping[int, float], reference: Mapping[int, float]
                       ) -> tuple[float, ...]:
    """Value less reference of each repeat that both have."""
    return tuple(value - reference[repeat] for repeat, value in sorted(series.items())
                 if repeat in reference)


def judge(differences: Sequence[float]) -> Difference:
    """Is it different from 0? Raises ValueError for no differences.

    It is, when the bootstrap interval of the median leaves 0 out; below six repeats, where that
    interval cannot have 95 %, Student's t must say the same at 5 %.
    """
    if not differences:
        raise ValueError("no differences to judge")
    n, median = len(differences), statistics.median(differences)
    interval = median_interval(differences)
    if interval is None:
        return Difference(n, median, None, TOO_FEW)
    scatter = statistics.stdev(differences)
    sure = n >= _ENOUGH or (
        abs(statistics.fmean(differences)) > student(n - 1) * scatter / math.sqrt(n))
    if interval.holds(0) or not sure:
        return Difference(n, median, interval, NO_DIFFERENCE)
    return Difference(n, median, interval, MORE if median > 0 else LESS)
