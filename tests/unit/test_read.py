"""What /proc says of CPU time and of protocols, from its own text."""

import pytest

from calico_mn.kernel.read import CpuTicks, cpu_ticks, parse_counters, parse_cpu_ticks

# user nice system idle iowait irq softirq steal guest guest_nice
STAT = "cpu  100 10 50 800 40 5 15 20 60 3\ncpu0 50 5 25 400 20 2 8 10 30 1\nintr 5\n"

GROUPS = """\
TcpExt: SyncookiesSent IPReversePathFilter TCPTimeWaitOverflow
TcpExt: 1 23 456
IpExt: InNoRoutes InOctets
IpExt: 7 8
"""


def test_idle_time_is_not_wanted_and_guests_count_once():
    ticks = parse_cpu_ticks(STAT)
    assert ticks == CpuTicks(100, 10, 50, 800, 40, 5, 15, 20)
    assert (ticks.wanted, ticks.steal) == (200, 20)


@pytest.mark.parametrize("text", ["", "intr 5\n", "cpu  1 2 3 4 5 6 7\n"])
def test_a_kernel_that_does_not_tell(text):
    assert parse_cpu_ticks(text) is None


def test_this_machine():
    ticks = cpu_ticks()
    assert ticks is None or ticks.wanted > 0


@pytest.mark.parametrize(("text", "counters"), [
    pytest.param(GROUPS, {"TcpExt.SyncookiesSent": 1, "TcpExt.IPReversePathFilter": 23,
                          "TcpExt.TCPTimeWaitOverflow": 456, "IpExt.InNoRoutes": 7,
                          "IpExt.InOctets": 8}, id="a number is in the place of its name"),
    pytest.param("TcpExt: IPReversePathFilter\n", {}, id="a line is missing"),
    pytest.param("", {}, id="nothing"),
])
def test_protocol_counters(text, counters):
    assert parse_counters(text) == counters
