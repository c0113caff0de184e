import pytest

from calico_mn.measure import ping

REPLIES = """PING 10.22.108.2 (10.22.108.2) 56(84) bytes of data.
64 bytes from 10.22.108.2: icmp_seq=1 ttl=62 time=0.140 ms
64 bytes from 10.22.108.2: icmp_seq=2 ttl=62 time=0.032 ms
64 bytes from 10.22.108.2: icmp_seq=3 ttl=62 time=12.5 ms
64 bytes from 10.22.108.2: icmp_seq=4 ttl=62 time=104 ms

--- 10.22.108.2 ping statistics ---
4 packets transmitted, 4 received, 0% packet loss, time 8ms
rtt min/avg/max/mdev = 0.022/0.048/0.140/0.045 ms, ipg/ewma 0.039/0.040 ms
"""


@pytest.mark.parametrize(("output", "times"), [
    pytest.param(REPLIES, (140, 32, 12500, 104000), id="replies, and not the summary's times"),
    pytest.param("2 packets transmitted, 0 received, 100% packet loss, time 1ms", (), id="none"),
    pytest.param("From 10.0.0.1 icmp_seq=1 Destination Host Unreachable", (), id="unreachable"),
    pytest.param("64 bytes from 1.2.3.4: icmp_seq=1 ttl=62 time=", (), id="torn"),
    pytest.param("", (), id="nothing"),
])
def test_times_are_read_in_microseconds(output, times):
    assert ping.parse_times(output) == times


@pytest.mark.parametrize(("times", "median"), [
    pytest.param([9.0], 9.0, id="one"),
    pytest.param([7.0, 9.0, 11.0], 9.0, id="apart"),
    pytest.param([9.0, 9.0, 9.0, 9.0], 9.0, id="all in one step"),
    # 1 of 4 lies below the step 8.5 to 9.5, and 3 in it: the middle is a third into the step.
    pytest.param([8.0, 9.0, 9.0, 9.0], 8.83, id="towards the lower neighbour"),
])
def test_the_median_is_interpolated_within_pings_step(times, median):
    assert ping.median(times) == median


@pytest.mark.parametrize(("options", "words"), [
    pytest.param({"count": 1, "interval": 1, "wait": 0.3},
                 ["-c", "1", "-i", "1", "-W", "0.3"], id="one"),
    pytest.param({"count": 500, "deadline": 3}, ["-c", "500", "-A", "-w", "3"],
                 id="back to back"),
])
def test_command(options, words):
    assert ping.argv("10.0.0.1", **options) == ["ping", "-n", *words, "10.0.0.1"]


@pytest.mark.parametrize(("times", "p50", "p99"), [
    pytest.param((9.0,), 9.0, 9.0, id="one"),
    pytest.param((9.0, 8.0, 9.0, 9.0), 8.83, 9.0, id="the median lies within ping's step"),
    pytest.param(tuple(float(n) for n in range(101)), 50.0, 99.0, id="0 to 100"),
    pytest.param((*[10.0] * 199, 1000.0), 10.0, 10.0, id="one of 200 is beyond the 99th"),
])
def test_median_and_99th_percentile(times, p50, p99):
    assert (ping.median(times), ping.p99(times)) == (p50, p99)
