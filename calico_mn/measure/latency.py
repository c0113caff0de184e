"""How round-trip times are distributed, on idle pods and beside a TCP stream."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from calico_mn.errors import ToolError
from calico_mn.measure import iperf, ping
from calico_mn.measure.programs import Host, await_words, end, ending, excerpt, run, start

_LONGEST_S = 3
#: the stream is ended when the pings have: it must only be longer than they can be
_STREAM_S = 60
_STREAM_START_S = 10.0
#: reports of a tenth of a second each; TCP's start is over then
_REPORTS_BEFORE = 3


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """``times`` of the answered packets in us, in their order.

    ping resolves 1 us below 10 ms, 10 us below 100 ms (print_ping in iputils' ping_common.c).
    """

    times: tuple[float, ...]

    @property
    def p50(self) -> float:
        """The median, interpolated within ping's step as in :func:`.ping.median`."""
        return ping.median(self.times)

    @property
    def p99(self) -> float:
        """Of a hundred packets, 99 are answered at least so fast (the inclusive method)."""
        if len(self.times) == 1:
            return self.times[0]
        return round(statistics.quantiles(self.times, n=100, method="inclusive")[-1], 2)


def round_trips(client: Host, ip: str, *, count: int = ping.PINGS) -> RoundTrips:
    """Up to ``count`` packets, sent back to back as in :func:`.ping.median_rtt`.

    Stops after three seconds where so many take longer. Raises ToolError when none is answered.
    """
    command = ping.argv(ip, count=count, deadline=_LONGEST_S)
    finished = run(client, command, timeout=_LONGEST_S + 10)
    times = ping.parse_times(finished.out)
    if not times:
        killed = finished.status < 0
        reason = excerpt(finished.err) or (ending(finished.status) if killed else "no reply")
        raise ToolError(f"{client.name}: {' '.join(command)}: {reason}")
    return RoundTrips(times)


def round_trips_under_load(client: Host, server: iperf.Server, *, count: int = ping.PINGS
                           ) -> RoundTrips:
    """The same while one TCP stream runs from ``client`` to ``server`` the whole time.

    Raises ToolError also when the stream does not get going, or ends before the pings do.
    """
    with _stream(client, server) as stream:
        found = round_trips(client, server.ip, count=count)
        if stream.poll() is not None:
            raise ToolError(f"{client.name} to {server.name}: the TCP stream ended before the"
                            f" pings did ({ending(stream.returncode)})")
    return found


@contextmanager
def _stream(client: Host, server: iperf.Server) -> Iterator[subprocess.Popen[Any]]:
    """A TCP stream that is under way when the block begins, and ended after it."""
    with iperf.listening(server):
        stream = start(client, [
            "iperf3", "-c", server.ip, "-t", str(_STREAM_S), "-i", "0.1", "--forceflush",
            "--connect-timeout", str(iperf.CONNECT_TIMEOUT_MS)])
        try:
            await_words(client, stream, b"bits/sec", _STREAM_START_S, times=_REPORTS_BEFORE,
                        name="the TCP stream", aim="get going")
            yield stream
        finally:
            end(stream)
