"""Round trips by iputils' ping: whether an address answers, and how times are distributed.

Latency is taken on idle pods and beside a TCP stream.
"""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from calico_mn.errors import ToolError
from calico_mn.measure import iperf
from calico_mn.measure.programs import Host, end, ending, excerpt, run, start, wait_for_output
from calico_mn.measure.readings import Column, Measurement, metric

LATENCY = metric("latency", "us", "round-trip time, median", more_is_better=False,
                 column=Column("delay", 1, "RTT p50 us", digits=1))
LATENCY_P99 = metric("latency_p99", "us", "round-trip time, p99", more_is_better=False,
                     column=Column("delay", 2, "RTT p99 us", digits=1))
LOADED_LATENCY = metric("loaded_latency", "us", "round-trip time under load, median",
                        more_is_better=False,
                        column=Column("delay", 3, "loaded p50 us", digits=1))
LOADED_LATENCY_P99 = metric("loaded_latency_p99", "us", "round-trip time under load, p99",
                            more_is_better=False,
                            column=Column("delay", 4, "loaded p99 us", digits=1))
#: the series of the single times
ROUND_TRIPS = "round_trips_us"

#: packets that a sample of latency is the median of
PINGS = 500

_LONGEST_S = 3
#: the stream is ended when the pings have: it must only be longer than they can be
_STREAM_S = 60
_STREAM_START_S = 10.0
#: reports of a tenth of a second each; TCP's start is over then
_REPORTS_BEFORE = 3
_TIME = re.compile(r"\btime=(\d+(?:\.\d+)?) ms")


def argv(ip: str, *, count: int, interval: float | None = None, wait: float | None = None,
         deadline: int | None = None, more: Sequence[str] = ()) -> list[str]:
    """The command: ``interval`` between packets and ``wait`` for a reply in seconds.

    Without an interval, each packet leaves when the reply to the one before has come.
    ``deadline`` (s) makes ping send until ``count`` replies have come or time is up.
    ``more`` are further options.
    """
    command = ["ping", "-n", "-c", str(count)]
    command += ["-A"] if interval is None else ["-i", f"{interval:g}"]
    for flag, value in (("-W", wait), ("-w", deadline)):
        if value is not None:
            command += [flag, f"{value:g}"]
    return [*command, *more, ip]


def parse_times(output: str) -> tuple[float, ...]:
    """The round-trip times in us, as ping printed them (it resolves 1 us below 10 ms)."""
    return tuple(round(float(time) * 1000, 3) for time in _TIME.findall(output))


def answers(host: Host, ip: str) -> bool:
    """Whether ``ip`` answers two packets within two seconds, losses in between allowed."""
    return run(host, argv(ip, count=2, interval=0.01, deadline=2), timeout=10).status == 0


def median(times: Sequence[float]) -> float:
    """The median of times that ping gives in steps of 1 us, interpolated within its step."""
    return round(statistics.median_grouped(times, interval=1), 2)


def p99(times: Sequence[float]) -> float:
    """Of a hundred packets, 99 are answered at least so fast (the inclusive method)."""
    return times[0] if len(times) == 1 else round(
        statistics.quantiles(times, n=100, method="inclusive")[-1], 2)


def round_trips(client: Host, ip: str, *, count: int = PINGS) -> tuple[float, ...]:
    """The times in us of up to ``count`` packets, sent back to back, in their order.

    With pauses in between, an idle CPU's waking up would be most of what is measured. Stops after
    three seconds where so many take longer. ping resolves 1 us below 10 ms, 10 us below 100 ms
    (print_ping in iputils' ping_common.c). Raises ToolError when none is answered.
    """
    command = argv(ip, count=count, deadline=_LONGEST_S)
    finished = run(client, command, timeout=_LONGEST_S + 10)
    times = parse_times(finished.out)
    if not times:
        killed = finished.status < 0
        reason = excerpt(finished.err) or (ending(finished.status) if killed else "no reply")
        raise ToolError(f"{client.name}: {' '.join(command)}: {reason}")
    return times


def round_trips_under_load(client: Host, server: iperf.Server, *, count: int = PINGS
                           ) -> tuple[float, ...]:
    """The same while one TCP stream runs from ``client`` to ``server`` the whole time.

    Raises ToolError also when the stream does not get going, or ends before the pings do.
    """
    with _stream(client, server) as stream:
        times = round_trips(client, server.ip, count=count)
        if stream.poll() is not None:
            raise ToolError(f"{client.name} to {server.name}: the TCP stream ended before the"
                            f" pings did ({ending(stream.returncode)})")
    return times


@contextmanager
def _stream(client: Host, server: iperf.Server) -> Iterator[subprocess.Popen[Any]]:
    """A TCP stream that is under way when the block begins, and ended after it."""
    with iperf.listening(server):
        stream = start(client, [
            "iperf3", "-c", server.ip, "-t", str(_STREAM_S), "-i", "0.1", "--forceflush",
            "--connect-timeout", str(iperf.CONNECT_TIMEOUT_MS)])
        try:
            wait_for_output(client, stream, b"bits/sec", _STREAM_START_S, times=_REPORTS_BEFORE,
                        name="the TCP stream", aim="get going")
            yield stream
        finally:
            end(stream)


def latency(client: Host, server: iperf.Server) -> Measurement:
    """Round trips, one after the other, nothing else going on."""
    times = round_trips(client, server.ip)
    return Measurement({LATENCY: median(times), LATENCY_P99: p99(times)},
                       series={ROUND_TRIPS: times})


def latency_under_load(client: Host, server: iperf.Server) -> Measurement:
    """The same beside a TCP stream."""
    times = round_trips_under_load(client, server)
    return Measurement({LOADED_LATENCY: median(times), LOADED_LATENCY_P99: p99(times)},
                       series={ROUND_TRIPS: times})
