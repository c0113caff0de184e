"""Describes a few samples, and compares two series of them. Pure.

In go the values of the repeats of one setting, or repeat -> value of two settings; out come a
median with its interval, and a verdict on the ratio or the difference of the two.

Nothing is drawn at random: a sample's median has so few possible values under resampling that
their probabilities are computed, which is what infinitely many resamples would tend to. No
sample is ever left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from calico_mn.text import percent

CONFIDENCE = 0.95
#: a needed n above this is not reported: the estimate would be worth nothing
MOST_REPEATS = 1000

FASTER, SLOWER = "faster", "slower"
MORE, LESS = "more", "less"
NO_DIFFERENCE = "no difference detectable"
TOO_FEW = "too few repeats"

#: fewer samples have no interval
_FEWEST = 3
#: with fewer, not even the whole range holds the true median with 95 %
_ENOUGH = 6
#: chance of seeing a difference that is there, for the n that is needed
_POWER = 0.8
#: a sample is an outlier beyond so many quartile ranges outside the quartiles (Tukey)
_FENCE = 1.5
#: 97.5 % quantiles of Student's t by degrees of freedom, where the expansion is too coarse
_STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
_NORMAL = statistics.NormalDist()
#: stands for the logarithm of a ratio of 0
_LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """``low`` to ``high`` hold the true median with the probability ``confidence``."""

    low: float
    high: float
    confidence: float

    def holds(self, value: float) -> bool:
        """Whether the value lies in it, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Spread:
    """Five numbers, their count and the median's interval, in the samples' own unit.

    Quartiles interpolate between samples (the inclusive method, numpy's default). The outliers
    lie more than 1.5 quartile ranges outside the quartiles; all other numbers count them in.
    """

    n: int
    median: float
    q1: float
    q3: float
    minimum: float
    maximum: float
    interval: Interval | None = None
    outliers: tuple[float, ...] = ()

    @property
    def relative(self) -> float | None:
        """The quartile range as a share of the median; None where there is none."""
        return (self.q3 - self.q1) / self.median if self.n >= _FEWEST and self.median else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A series against a reference, repeat by repeat.

    ``median`` is that of the ``n`` ratios or differences. ``verdict`` is one of :data:`FASTER`,
    :data:`SLOWER` for ratios, :data:`MORE`, :data:`LESS` for differences, or for both
    :data:`NO_DIFFERENCE`, :data:`TOO_FEW`. ``needed`` goes with ratios without a difference: about
    so many repeats would show one of this size; None when that is more than :data:`MOST_REPEATS`.
    """

    n: int
    median: float
    interval: Interval | None
    verdict: str
    needed: int | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """Those of the interval; the median twice where there is none."""
        return (self.interval.low, self.interval.high) if self.interval else (self.median,) * 2

    def bracketed(self, written: Callable[[float], str], *, with_confidence: bool = False) -> str:
        """The median, and its interval if there is one: ``0.93 [0.88-0.99, 95 %]``."""
        if self.interval is None:
            return written(self.median)
        confidence = f", {percent(self.interval.confidence)}" if with_confidence else ""
        return f"{written(self.median)} [{'-'.join(map(written, self.ends))}{confidence}]"


def spread(values: Sequence[float]) -> Spread:
    """Describe at least one value. Raises ValueError for none."""
    if not values:
        raise ValueError("no samples to describe")
    if len(values) == 1:
        only = values[0]
        return Spread(1, only, only, only, only, only)
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    reach = _FENCE * (q3 - q1)
    return Spread(len(values), median, q1, q3, min(values), max(values),
                  interval=median_interval(values),
                  outliers=tuple(v for v in values if not q1 - reach <= v <= q3 + reach))


def median_interval(values: Sequence[float]) -> Interval | None:
    """The bootstrap's 95 % interval of the median; None for fewer than three values.

    The percentile interval is too short for few values, so its percentiles lie farther out, as
    Student's t lies outside the normal distribution (Hesterberg, "What Teachers Should Know
    About the Bootstrap", 2015, expanded percentile interval). No bootstrap reaches beyond the
    samples: up to five, the interval is their range, which holds the true median with the
    probability 1 - 2^(1-n) for any distribution. That is its confidence then.
    """
    n = len(values)
    if n < _FEWEST:
        return None
    tail = _NORMAL.cdf(-math.sqrt(n / (n - 1)) * student(n - 1))
    resampled = sorted(_resampled_medians(sorted(values)))
    return Interval(_quantile(resampled, tail), _quantile(resampled[::-1], tail),
                    min(CONFIDENCE, 1 - 2.0 ** (1 - n)))


def paired_ratios(series: Mapping[int, float], reference: Mapping[int, float]
                  ) -> tuple[float, ...]:
    """Value by reference of each repeat that both have; a reference of 0 has no ratio."""
    return tuple(value / reference[repeat] for repeat, value in sorted(series.items())
                 if reference.get(repeat))


def compare(ratios: Sequence[float], more_is_faster: bool) -> Comparison:
    """Judge the ratios of the repeats. Raises ValueError for none.

    A difference is called one when the bootstrap interval of the median ratio leaves 1 out.
    Below six repeats that interval cannot have 95 %, so there Student's t on the ratios'
    logarithms must say the same at 5 %.
    """
    if not ratios:
        raise ValueError("no ratios to judge")
    logs = [math.log(max(value, _LEAST)) for value in ratios]
    judged = _judged(ratios, 1, logs, FASTER if more_is_faster else SLOWER,
                     SLOWER if more_is_faster else FASTER)
    if judged.verdict != NO_DIFFERENCE:
        return judged
    return replace(judged, needed=_needed(
        judged.n, math.log(max(judged.median, _LEAST)), statistics.stdev(logs)))


def compare_repeats(series: Mapping[int, float], reference: Mapping[int, float],
                    more_is_faster: bool) -> Comparison | None:
    """:func:`compare` the :func:`paired_ratios`; None where there are none."""
    ratios = paired_ratios(series, reference)
    return compare(ratios, more_is_faster) if ratios else None


def judge(series: Mapping[int, float], reference: Mapping[int, float]) -> Comparison | None:
    """Judge differences, series less reference, as :func:`compare` judges ratios; 0 is none.

    Those of each repeat that both have; None where there is no such repeat. For quantities of which
    the difference is the question: microseconds more for each packet.
    """
    differences = [value - reference[repeat] for repeat, value in sorted(series.items())
                   if repeat in reference]
    return _judged(differences, 0, differences, MORE, LESS) if differences else None


def quotient(series: Comparison, reference: Comparison) -> Comparison:
    """One median by another of a run that is independent of it, both positive.

    The interval's ends lie as far from the quotient, on the scale of logarithms, as the root of the
    summed squares of the two intervals' own distances (Zou and Donner, "Construction of confidence
    limits about effect measures", Statistics in Medicine 27, 2008). It has the smaller of their
    levels; below six repeats, where that is not 95 %, no difference is called one.
    """
    n, ratio = min(series.n, reference.n), series.median / reference.median
    top, bottom = series.interval, reference.interval
    if top is None or bottom is None:
        return Comparison(n, ratio, None, TOO_FEW)

    def distance(*parts: float) -> float:
        return math.exp(math.hypot(*map(math.log, parts)))

    interval = Interval(
        ratio / distance(series.median / top.low, bottom.high / reference.median),
        ratio * distance(top.high / series.median, reference.median / bottom.low),
        min(top.confidence, bottom.confidence))
    if interval.confidence < CONFIDENCE:
        return Comparison(n, ratio, interval, TOO_FEW)
    verdict = NO_DIFFERENCE if interval.holds(1) else MORE if ratio > 1 else LESS
    return Comparison(n, ratio, interval, verdict)


def worded(difference: Comparison) -> str:
    """``+0.52 us [+0.31 to +0.70, 95 %]``, and that it is none where it is not sure."""
    text = f"{difference.median:+.2f} us"
    if difference.interval is None or difference.verdict == TOO_FEW:
        return f"{text} ({TOO_FEW})"
    text += (f" [{difference.interval.low:+.2f} to {difference.interval.high:+.2f},"
             f" {percent(difference.interval.confidence)}]")
    return f"{text}, {NO_DIFFERENCE}" if difference.verdict == NO_DIFFERENCE else text


def worded_ratio(ratio: Comparison) -> str:
    """``0.93 [0.88-0.99, 95 %]``."""
    return ratio.bracketed("{:.2f}".format, with_confidence=True)


def confidence_of(intervals: Iterable[Interval | None]) -> str:
    """How surely intervals hold the true value: ``95 %``, ``75 to 95 %``; empty without any."""
    shares = sorted({interval.confidence for interval in intervals if interval})
    ends = dict.fromkeys(map(percent, shares[:1] + shares[-1:]))
    return " to ".join(ends).replace(" % to", " to")


def _judged(values: Sequence[float], neutral: float, centred: Sequence[float], above: str,
            below: str) -> Comparison:
    """``centred`` are the values on a scale on which the ``neutral`` one is 0."""
    n, median, interval = len(values), statistics.median(values), median_interval(values)
    if interval is None:
        return Comparison(n, median, None, TOO_FEW)
    if interval.holds(neutral) or not _centre_differs_from_0(centred):
        return Comparison(n, median, interval, NO_DIFFERENCE)
    return Comparison(n, median, interval, above if median > neutral else below)


def _centre_differs_from_0(values: Sequence[float]) -> bool:
    """Whether Student's t says so at 5 %, asked only where an interval cannot have 95 %."""
    n = len(values)
    return n >= _ENOUGH or abs(statistics.fmean(values)) > (
        student(n - 1) * statistics.stdev(values) / math.sqrt(n))


def _needed(n: int, size: float, scatter: float) -> int | None:
    """Repeats that would show a difference of this ``size`` in four of five runs, roughly.

    The ratios' logarithms are taken as normal with the scatter seen: a mean would need
    ((z(97.5 %) + z(80 %)) scatter / size)^2 repeats, a median pi/2 times as many.
    """
    if abs(size) < _LEAST:
        return None
    z = _NORMAL.inv_cdf((1 + CONFIDENCE) / 2) + _NORMAL.inv_cdf(_POWER)
    estimate = math.pi / 2 * (z * scatter / size) ** 2
    # The n of this run were not enough, even if the estimate says so.
    return max(math.ceil(estimate), n + 1) if estimate <= MOST_REPEATS else None


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t; the expansion is right to 0.002 (Fisher, Cornish)."""
    z = _NORMAL.inv_cdf((1 + CONFIDENCE) / 2)
    return _STUDENT.get(freedom) or (
        z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3))


def _resampled_medians(ordered: Sequence[float]) -> Iterator[tuple[float, float]]:
    """(median, probability) of the resamples of n values with replacement."""
    n = len(ordered)
    half = (n + 1) // 2

    def at_most(rank: int) -> float:
        """That the half-th smallest of a resample is one of the ``rank`` smallest values."""
        if rank in (0, n):
            return rank / n
        inside, outside = math.log(rank / n), math.log(1 - rank / n)
        return math.fsum(math.exp(_log_choose(n, k) + k * inside + (n - k) * outside)
                         for k in range(half, n + 1))

    ranks = [at_most(rank) for rank in range(n + 1)]
    for low in range(1, n + 1):
        lowest = ranks[low] - ranks[low - 1]
        if n % 2:
            yield ordered[low - 1], lowest
            continue
        # The lower of the two middle values: half of the draws are up to it.
        lower = math.exp(_log_choose(n, half) + half * math.log(low / n)) * (
            1 - ((low - 1) / low) ** half)
        yield ordered[low - 1], lowest - lower * ((n - low) / n) ** half
        for high in range(low + 1, n + 1):
            upper = ((n - high + 1) / n) ** half - ((n - high) / n) ** half
            yield (ordered[low - 1] + ordered[high - 1]) / 2, lower * upper


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _quantile(resampled: Sequence[tuple[float, float]], tail: float) -> float:
    """The first value at which the probabilities summed up reach ``tail``."""
    total = 0.0
    for value, probability in resampled:
        total += probability
        if total >= tail:
            return value
    return resampled[-1][0]
