import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.measure.statistics import (
    FASTER,
    MOST_REPEATS,
    NO_DIFFERENCE,
    SLOWER,
    TOO_FEW,
    Interval,
    Spread,
    compare,
    median_interval,
    paired_ratios,
    spread,
)

SAMPLES = st.lists(st.floats(0.01, 1e6), min_size=3, max_size=25)


@pytest.mark.parametrize(("values", "expected"), [
    pytest.param([5.0], Spread(1, 5, 5, 5, 5, 5), id="one"),
    pytest.param([2.0, 1.0], Spread(2, 1.5, 1.25, 1.75, 1, 2), id="two"),
    pytest.param([3.0, 1.0, 2.0], Spread(3, 2, 1.5, 2.5, 1, 3, Interval(1, 3, 0.75)), id="three"),
    pytest.param([1.0, 2.0, 3.0, 4.0, 100.0],
                 Spread(5, 3, 2, 4, 1, 100, Interval(1, 100, 0.9375), (100.0,)),
                 id="outlier shown and kept"),
])
def test_samples_described(values, expected):
    assert spread(values) == expected


def test_nothing_has_no_spread():
    with pytest.raises(ValueError, match="no samples"):
        spread([])


@pytest.mark.parametrize(("values", "share"), [
    ([1.0, 2.0], None), ([9.0, 10.0, 11.0], 0.1), ([0.0, 0.0, 0.0], None)])
def test_relative_spread(values, share):
    assert spread(values).relative == share


@pytest.mark.parametrize(("n", "expected"), [
    pytest.param(2, None, id="two have none"),
    # Up to five the bootstrap cannot do better than the range, whose confidence is 1 - 2^(1-n).
    pytest.param(3, Interval(1, 3, 0.75), id="three"),
    pytest.param(4, Interval(1, 4, 0.875), id="four"),
    pytest.param(5, Interval(1, 5, 0.9375), id="five"),
    # Binomial: the median of a resample of 9 is the least with 0.14 %, one of two with 2.9 %.
    pytest.param(9, Interval(2, 8, 0.95), id="nine"),
    pytest.param(21, Interval(6, 16, 0.95), id="twenty-one"),
])
def test_interval_of_the_median(n, expected):
    assert median_interval([float(value) for value in range(1, n + 1)]) == expected


def test_many_samples_have_a_narrow_interval():
    found = median_interval([float(value) for value in range(1, 2002)])
    # sqrt(2001) / 2 ranks times 1.96 to both sides
    assert (found.low, found.high) == (pytest.approx(957, abs=2), pytest.approx(1045, abs=2))


@pytest.mark.parametrize("n", [4, 7, 8, 12])
def test_interval_is_what_resampling_tends_to(n):
    generator = random.Random(n)
    values = [generator.gauss(100, 10) for _ in range(n)]
    medians = sorted(statistics.median(generator.choices(values, k=n)) for _ in range(20_000))
    found = median_interval(values)
    below = sum(value < found.low - 1e-9 for value in medians) / len(medians)
    up_to = sum(value <= found.low + 1e-9 for value in medians) / len(medians)
    # Student's t instead of the normal distribution, so less than 2.5 % on either side.
    assert below <= 0.025
    assert up_to >= 0.0002
    assert below < up_to


@given(SAMPLES)
def test_interval_lies_within_the_samples_around_their_median(values):
    found = median_interval(values)
    slack = 1e-9 * max(values)
    assert min(values) <= found.low <= statistics.median(values) + slack
    assert statistics.median(values) - slack <= found.high <= max(values)


@given(SAMPLES, st.randoms(use_true_random=False), st.sampled_from([0.25, 2.0, 1024.0]))
def test_interval_ignores_order_and_follows_the_unit(values, generator, factor):
    found = median_interval(values)
    mixed = [value * factor for value in values]
    generator.shuffle(mixed)
    assert median_interval(mixed) == Interval(found.low * factor, found.high * factor,
                                              found.confidence)


@pytest.mark.parametrize("n", [3, 5, 6, 9, 16])
def test_interval_holds_the_true_median_about_as_often_as_it_says(n):
    generator = random.Random(n)
    runs = 1000
    # Skewed, as transfer times are; its true median is 1.
    found = [median_interval([math.exp(generator.gauss(0, 0.3)) for _ in range(n)])
             for _ in range(runs)]
    share = sum(interval.holds(1) for interval in found) / runs
    assert share == pytest.approx(found[0].confidence, abs=0.04)


@pytest.mark.parametrize("n", [3, 4, 5, 7, 10, 16])
def test_modes_that_do_not_differ_are_rarely_said_to(n):
    generator = random.Random(n)
    runs = 1000
    wrong = sum(compare([math.exp(generator.gauss(0, 0.1)) for _ in range(n)], True).verdict
                != NO_DIFFERENCE for _ in range(runs))
    assert wrong / runs < 0.075


def test_the_n_that_is_needed_mostly_suffices():
    generator = random.Random(1)

    def ratios(n):
        return [math.exp(generator.gauss(0.06, 0.1)) for _ in range(n)]

    sizes = [found.needed for found in (compare(ratios(12), True) for _ in range(200))
             if found.verdict == NO_DIFFERENCE]
    assert all(size is None or size > 12 for size in sizes)
    # pi/2 * (2.80 * 0.1 / 0.06)^2 for the true size and scatter
    assert sum(compare(ratios(35), True).verdict == FASTER for _ in range(200)) > 0.65 * 200


@pytest.mark.parametrize(("series", "reference", "expected"), [
    pytest.param({1: 2.0, 2: 6.0}, {1: 1.0, 2: 2.0}, (2.0, 3.0), id="paired"),
    pytest.param({2: 6.0, 1: 2.0}, {1: 1.0, 2: 2.0}, (2.0, 3.0), id="in order of repeats"),
    pytest.param({1: 2.0, 3: 6.0}, {1: 1.0, 2: 2.0}, (2.0,), id="a repeat that one lacks"),
    pytest.param({1: 2.0}, {1: 0.0}, (), id="nothing to divide by"),
    pytest.param({1: 0.0}, {1: 2.0}, (0.0,), id="a transfer that stood still"),
])
def test_ratios_are_taken_repeat_by_repeat(series, reference, expected):
    assert paired_ratios(series, reference) == expected


@pytest.mark.parametrize(("ratios", "more", "verdict"), [
    pytest.param([0.7, 0.9], True, TOO_FEW, id="two"),
    pytest.param([0.70, 0.71, 0.69], True, SLOWER, id="less throughput"),
    pytest.param([0.70, 0.71, 0.69], False, FASTER, id="shorter round trips"),
    pytest.param([1.40, 1.42, 1.41], True, FASTER, id="more throughput"),
    pytest.param([1.40, 1.42, 1.41], False, SLOWER, id="longer round trips"),
    pytest.param([0.9, 1.1, 1.2], True, NO_DIFFERENCE, id="on both sides of 1"),
    # All on one side: that alone happens by chance in one run of four.
    pytest.param([0.95, 0.7, 0.98], True, NO_DIFFERENCE, id="three that scatter"),
    pytest.param([0.8] * 3, True, SLOWER, id="no scatter"),
    pytest.param([1.0] * 5, True, NO_DIFFERENCE, id="equal"),
    pytest.param([0.9, 0.91, 0.89, 0.9, 0.92, 0.9, 0.91, 0.9, 5.0], True, SLOWER,
                 id="an outlier does not hide it"),
    pytest.param([0.0, 0.9, 0.9], True, NO_DIFFERENCE, id="a transfer that stood still"),
])
def test_verdicts(ratios, more, verdict):
    found = compare(ratios, more)
    assert found.verdict == verdict
    assert found.median == statistics.median(ratios)
    assert (found.n, found.interval) == (len(ratios), median_interval(ratios))


def test_nothing_cannot_be_judged():
    with pytest.raises(ValueError, match="no ratios"):
        compare([], True)


@pytest.mark.parametrize(("ratios", "expected"), [
    pytest.param([0.95, 0.7, 0.98], (4, 400), id="some"),
    pytest.param([0.8, 1.001, 1.2], None, id="far too many to measure"),
    pytest.param([0.9, 1.0, 1.1], None, id="no difference at all"),
])
def test_repeats_needed(ratios, expected):
    found = compare(ratios, True)
    assert found.verdict == NO_DIFFERENCE
    if expected is None:
        assert found.needed is None
    else:
        assert expected[0] <= found.needed <= min(expected[1], MOST_REPEATS)


@given(st.lists(st.floats(0.1, 10), min_size=3, max_size=12))
def test_a_verdict_agrees_with_its_interval(ratios):
    found = compare(ratios, True)
    if found.verdict == NO_DIFFERENCE:
        assert found.needed is None or len(ratios) < found.needed <= MOST_REPEATS
    else:
        assert not found.interval.holds(1)
        assert (found.median > 1) is (found.verdict == FASTER)
        assert found.needed is None
