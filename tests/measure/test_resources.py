import pytest

from calico_mn.errors import ToolError
from calico_mn.kernel import read
from calico_mn.kernel.read import CpuTicks
from calico_mn.measure import resources
from calico_mn.measure.resources import Cost, CpuMeter, StealTime

BEGIN = CpuTicks(100, 10, 50, 800, 40, 5, 15, 20)


def ticks(wanted, steal):
    return CpuTicks(wanted - steal, 0, 0, 0, 0, 0, 0, steal)


@pytest.fixture(autouse=True)
def hundredths(monkeypatch):
    monkeypatch.setattr(resources, "TICK_S", 0.01)


def read_in_turn(monkeypatch, *readings):
    remaining = iter(readings)
    monkeypatch.setattr(read, "cpu_ticks", lambda: next(remaining))


def test_classes_are_put_together():
    cost = resources.cost(BEGIN, CpuTicks(200, 20, 250, 1100, 45, 6, 64, 21))
    assert cost == Cost(user_s=1.1, system_s=2.0, softirq_s=0.5)
    assert cost.total_s == 3.6


def test_counters_that_run_backwards_count_as_nothing():
    cost = resources.cost(BEGIN, CpuTicks(100, 9, 50, 799, 39, 5, 15, 20))
    assert (cost.user_s, cost.total_s) == (0, 0)


def test_cost_of_a_packet():
    assert Cost(0.1, 1.4, 0.5).by_packet(1_000_000)["cpu_packet"] == pytest.approx(2.0)


def test_the_meter_reads_before_and_after(monkeypatch):
    read_in_turn(monkeypatch, BEGIN, CpuTicks(100, 10, 150, 900, 40, 5, 15, 20))
    with CpuMeter() as meter, pytest.raises(ToolError, match="has not ended"):
        _ = meter.cost
    assert meter.cost.system_s == 1.0


def test_work_that_failed_has_no_cost():
    meter = CpuMeter()
    with pytest.raises(ZeroDivisionError), meter:
        raise ZeroDivisionError
    with pytest.raises(ToolError, match="has not ended"):
        _ = meter.cost


def test_a_kernel_that_does_not_tell(monkeypatch):
    read_in_turn(monkeypatch, None)
    with pytest.raises(ToolError, match=r"^/proc/stat has no line 'cpu'"), CpuMeter():
        pass


@pytest.mark.parametrize(("begin", "end", "share"), [
    pytest.param(ticks(200, 20), ticks(300, 30), 0.1, id="some"),
    pytest.param(ticks(200, 20), ticks(300, 20), 0, id="none"),
    pytest.param(ticks(200, 20), ticks(200, 20), 0, id="nothing ran"),
    pytest.param(ticks(200, 20), ticks(300, 19), 0, id="counter runs back"),
    pytest.param(None, ticks(300, 30), None, id="unknown"),
])
def test_stolen_share_of_what_was_wanted_since_the_beginning(monkeypatch, begin, end, share):
    read_in_turn(monkeypatch, begin, end)
    assert StealTime().share() == share


def test_stolen_time_on_this_machine():
    share = StealTime().share()
    assert share is None or 0 <= share <= 1
