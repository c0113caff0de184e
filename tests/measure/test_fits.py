import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.measure.fits import line, plane, through

GRID = [(nodes, nodes * each) for nodes in (2, 5, 10, 40) for each in (10, 50)]
NUMBERS = st.floats(-1000, 1000)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_plane_is_found_again(start, first, second):
    values = [start + first * nodes + second * pods for nodes, pods in GRID]
    found = plane(GRID, values)
    assert found is not None
    for row, value in zip(GRID, values, strict=True):
        assert found.at(*row) == pytest.approx(value, abs=1e-4)
    assert found.r2 is None or found.r2 == pytest.approx(1, abs=1e-3) or max(values) - min(
        values) < 1e-3


def test_a_line_through_three_points_by_hand():
    found = plane([(0,), (1,), (2,)], [0, 1, 5])
    assert found is not None
    assert (found.intercept, *found.slopes) == pytest.approx((-0.5, 2.5))
    assert found.r2 == pytest.approx(1 - 1.5 / 14)


@pytest.mark.parametrize(("counts", "values"), [
    pytest.param([], [], id="nothing"),
    pytest.param([(1,), (2,)], [1, 2], id="as many as unknowns"),
    pytest.param([(3,), (3,), (3,)], [1, 2, 3], id="one count only"),
    pytest.param([(n, 10 * n) for n in range(1, 9)], list(range(8)), id="one follows the other"),
])
def test_where_counts_do_not_decide_there_is_no_plane(counts, values):
    assert plane(counts, values) is None


def test_equal_values_have_no_share_explained():
    found = plane([(1,), (2,), (3,)], [4, 4, 4])
    assert found is not None
    assert found.r2 is None
    assert found.slopes == pytest.approx((0,))


def test_a_line_through_its_own_points():
    found = line([(64, 5.064), (1400, 6.4), (512, 5.512)])
    assert (found.intercept, found.slope, found.r2) == pytest.approx((5, 0.001, 1))
    assert found.at(1000) == pytest.approx(6)


@pytest.mark.parametrize(("values", "describes", "grows"), [
    pytest.param([1, 2, 3.1], True, True, id="a line"),
    pytest.param([3, 2, 1], True, False, id="one that falls"),
    pytest.param([1, 9, 2], False, False, id="scattered"),
])
def test_what_may_be_called_a_fit(values, describes, grows):
    fit = line(list(enumerate(values)))
    assert fit is not None
    assert (fit.describes, fit.grows) == (describes, grows)


def test_a_line_through_the_samples_at_each_x():
    samples = [(1, (2.0, 4.0)), (2, ()), (3, (7.0,))]
    assert through(samples) == line([(1, 2.0), (1, 4.0), (3, 7.0)])
