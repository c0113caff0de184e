import pytest

from calico_mn.measure import noise, procstat
from calico_mn.measure.noise import CpuTimes, StealTime

# user nice system idle iowait irq softirq steal guest guest_nice
STAT = "cpu  100 10 50 800 40 5 15 20 60 3\ncpu0 50 5 25 400 20 2 8 10 30 1\nintr 5\n"


def test_idle_time_is_not_wanted_and_guests_count_once():
    assert noise.times(procstat.parse(STAT)) == CpuTimes(wanted=200, stolen=20)


@pytest.mark.parametrize("text", ["", "intr 5\n", "cpu  1 2 3 4 5 6 7\n"])
def test_a_kernel_that_does_not_tell(text):
    assert procstat.parse(text) is None
    assert noise.times(None) is None


@pytest.mark.parametrize(("begin", "end", "share"), [
    pytest.param(CpuTimes(200, 20), CpuTimes(300, 30), 0.1, id="some"),
    pytest.param(CpuTimes(200, 20), CpuTimes(300, 20), 0, id="none"),
    pytest.param(CpuTimes(200, 20), CpuTimes(200, 20), 0, id="nothing ran"),
    pytest.param(CpuTimes(200, 20), CpuTimes(300, 19), 0, id="counter runs back"),
    pytest.param(None, CpuTimes(300, 30), None, id="unknown"),
])
def test_share_of_what_was_wanted_since_the_beginning(monkeypatch, begin, end, share):
    times = iter([begin, end])
    monkeypatch.setattr(noise, "_now", lambda: next(times))
    assert StealTime().share() == share


def test_this_machine():
    share = StealTime().share()
    assert share is None or 0 <= share <= 1
