"""What paired differences allow to say."""

import pytest

from calico_mn.measure.statistics import (
    LESS,
    MORE,
    NO_DIFFERENCE,
    TOO_FEW,
    judge,
)


def test_only_repeats_that_both_have_make_a_pair():
    found = judge({3: 5.0, 1: 2.0, 2: 9.0}, {1: 1.5, 3: 7.0})
    assert (found.n, found.median) == (2, pytest.approx((0.5 - 2.0) / 2))


@pytest.mark.parametrize(("differences", "median", "verdict"), [
    pytest.param([1.0, 1.1, 0.9, 1.0, 1.2, 1.05], 1.025, MORE, id="always more"),
    pytest.param([-1.0, -1.1, -0.9, -1.0, -1.2, -1.05], -1.025, LESS, id="always less"),
    pytest.param([1.0, -1.1, 0.9, -1.0, 1.2, -1.05], -0.05, NO_DIFFERENCE, id="either way"),
    pytest.param([0.1, 5.0, 0.2], 0.2, NO_DIFFERENCE, id="three, scattered"),
    pytest.param([1.0, 1.01, 0.99], 1.0, MORE, id="three, close together"),
    pytest.param([1.0, 1.0], 1.0, TOO_FEW, id="two"),
])
def test_a_difference_is_called_one_only_when_zero_is_left_out(differences, median, verdict):
    found = judge(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0))
    assert found.median == pytest.approx(median)
    assert (found.n, found.verdict) == (len(differences), verdict)


def test_no_differences_cannot_be_judged():
    assert judge({1: 1.0}, {2: 1.0}) is None
