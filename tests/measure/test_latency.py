import pytest

from calico_mn.measure.latency import RoundTrips


@pytest.mark.parametrize(("times", "p50", "p99"), [
    pytest.param((9.0,), 9.0, 9.0, id="one"),
    pytest.param((9.0, 8.0, 9.0, 9.0), 8.83, 9.0, id="the median lies within ping's step"),
    pytest.param(tuple(float(n) for n in range(101)), 50.0, 99.0, id="0 to 100"),
    pytest.param((*[10.0] * 199, 1000.0), 10.0, 10.0, id="one of 200 is beyond the 99th"),
])
def test_median_and_99th_percentile(times, p50, p99):
    found = RoundTrips(times)
    assert (found.p50, found.p99) == (p50, p99)
