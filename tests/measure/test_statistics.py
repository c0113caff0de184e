import pytest

from calico_mn.measure.statistics import Spread, spread


@pytest.mark.parametrize(("values", "expected"), [
    pytest.param([5.0], Spread(1, 5, 5, 5, 5, 5), id="one"),
    pytest.param([2.0, 1.0], Spread(2, 1.5, 1.25, 1.75, 1, 2), id="two"),
    pytest.param([3.0, 1.0, 2.0], Spread(3, 2, 1.5, 2.5, 1, 3), id="three"),
    pytest.param([1.0, 2.0, 3.0, 4.0, 100.0], Spread(5, 3, 2, 4, 1, 100), id="outlier kept"),
])
def test_five_numbers(values, expected):
    assert spread(values) == expected


def test_nothing_has_no_spread():
    with pytest.raises(ValueError, match="no samples"):
        spread([])


@pytest.mark.parametrize(("one", "other", "overlap"), [
    ([1, 2], [3, 4], False), ([1, 3], [2, 4], True), ([1, 2], [2, 3], True),
    ([1, 4], [2, 3], True), ([3, 4], [1, 2], False),
])
def test_ranges_overlap(one, other, overlap):
    assert spread(one).overlaps(spread(other)) is overlap
