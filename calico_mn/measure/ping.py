"""Round trips by iputils' ping."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

from calico_mn.errors import ToolError
from calico_mn.measure.programs import Host, excerpt, run

#: packets that a sample of latency is the median of
PINGS = 500

_LONGEST_S = 3
_TIME = re.compile(r"\btime=(\d+(?:\.\d+)?) ms")


def argv(ip: str, *, count: int, interval: float | None = None, wait: float | None = None,
         deadline: int | None = None, more: Sequence[str] = ()) -> list[str]:
    """The command: ``interval`` between packets and ``wait`` for a reply in seconds.

    Without an interval, each packet leaves when the reply to the one before has come.
    ``deadline`` (s) makes ping send until ``count`` replies have come or time is up.
    ``more`` are further options.
    """
    words = ["ping", "-n", "-c", str(count)]
    words += ["-A"] if interval is None else ["-i", f"{interval:g}"]
    for flag, value in (("-W", wait), ("-w", deadline)):
        if value is not None:
            words += [flag, f"{value:g}"]
    return [*words, *more, ip]


def parse_times(output: str) -> tuple[float, ...]:
    """The round-trip times in us, as ping printed them (it resolves 1 us below 10 ms)."""
    return tuple(round(float(found) * 1000, 3) for found in _TIME.findall(output))


def answers(host: Host, ip: str) -> bool:
    """Whether ``ip`` answers two packets within two seconds, losses in between allowed."""
    return run(host, argv(ip, count=2, interval=0.01, deadline=2), timeout=10).status == 0


def median_rtt(host: Host, ip: str, *, count: int = PINGS) -> float:
    """The median round-trip time in us of ``count`` packets, sent back to back.

    With pauses in between, an idle CPU's waking up would be most of what is measured. Stops
    after three seconds where so many take longer. Raises ToolError when none is answered.
    """
    command = argv(ip, count=count, deadline=_LONGEST_S)
    finished = run(host, command, timeout=_LONGEST_S + 10)
    times = parse_times(finished.out)
    if not times:
        reason = excerpt(finished.err) or "no reply"
        raise ToolError(f"{host.name}: {' '.join(command)}: {reason}")
    return median(times)


def median(times: Sequence[float]) -> float:
    """The median of times that ping gives in steps of 1 us, interpolated within its step."""
    return round(statistics.median_grouped(times, interval=1), 2)
