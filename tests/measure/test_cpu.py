import pytest

from calico_mn.errors import ToolError
from calico_mn.measure import cpu, procstat
from calico_mn.measure.cpu import Cost, CpuMeter
from calico_mn.measure.procstat import Ticks

BEGIN = Ticks(100, 10, 50, 800, 40, 5, 15, 20)


@pytest.fixture(autouse=True)
def hundredths(monkeypatch):
    monkeypatch.setattr(cpu, "TICK_S", 0.01)


def test_classes_are_put_together():
    end = Ticks(200, 20, 250, 1100, 45, 6, 64, 21)
    cost = cpu.cost(BEGIN, end, 2.5)
    assert cost == Cost(user_s=1.1, system_s=2.0, softirq_s=0.5, steal_s=0.01, idle_s=3.05,
                        wall_s=2.5)
    assert cost.total_s == 3.6
    assert cost.busy == pytest.approx(3.61 / 6.66)


def test_counters_that_run_backwards_count_as_nothing():
    cost = cpu.cost(BEGIN, Ticks(100, 10, 50, 799, 39, 5, 15, 20), 0)
    assert (cost.idle_s, cost.total_s, cost.busy) == (0, 0, 0)


def test_cost_of_a_gigabyte_and_of_a_packet():
    cost = Cost(0.1, 1.4, 0.5, 0, 2, 2)
    assert cost.per_gigabyte(4_000_000_000) == pytest.approx(0.5)
    assert cost.per_packet(1_000_000) == pytest.approx(2.0)


def test_the_meter_reads_before_and_after(monkeypatch):
    readings = iter([BEGIN, Ticks(100, 10, 150, 900, 40, 5, 15, 20)])
    monkeypatch.setattr(procstat, "read", lambda: next(readings))
    with CpuMeter() as meter, pytest.raises(ToolError, match="has not ended"):
        _ = meter.cost
    assert (meter.cost.system_s, meter.cost.busy) == (1.0, 0.5)


def test_work_that_failed_has_no_cost():
    meter = CpuMeter()
    with pytest.raises(ZeroDivisionError), meter:
        raise ZeroDivisionError
    with pytest.raises(ToolError, match="has not ended"):
        _ = meter.cost


def test_a_kernel_that_does_not_tell(monkeypatch):
    monkeypatch.setattr(procstat, "read", lambda: None)
    with pytest.raises(ToolError, match=r"^/proc/stat has no line 'cpu'"), CpuMeter():
        pass
