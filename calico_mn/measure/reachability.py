"""Who reaches whom: every pod pings every other, many at a time; or TCP connects to a port."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from calico_mn.errors import ToolError
from calico_mn.measure import ping, tcp
from calico_mn.measure.iperf import Server
from calico_mn.measure.paths import Net, Pair
from calico_mn.measure.programs import Host, end, start
from calico_mn.measure.readings import Measurement, metric
from calico_mn.measure.wire import Wire, watch

REACHABLE = metric("reachable", "bool", "answers on the fabric as it is")

#: programs at a time; the unreachable ones only wait
_CONCURRENCY = 64
_FIRST_WAIT_S = 0.3
_SECOND_WAIT_S = 0.6
_OVERDUE_S = 10.0
_POLL_MS = 50


@dataclass(frozen=True, slots=True)
class Reached:
    """Whether a pod's ping was answered, and how its requests crossed the wire.

    ``encapsulated`` is None when no request was seen on any uplink (as without a gateway).
    """

    pair: Pair
    reached: bool
    encapsulated: bool | None

    @property
    def measurement(self) -> Measurement:
        """The same for the log."""
        return Measurement({REACHABLE: int(self.reached)},
                           seen={"encapsulated": self.encapsulated})


def by_tcp(client: Host, server: Server, *, port: int, duration: float) -> Measurement:
    """Whether TCP connections to the server's ``port`` carry a byte each way, and how many do so a
    second, one after the other for ``duration`` seconds.
    """
    try:
        made = tcp.connections(client, server, duration=duration, port=port)
    except ToolError as error:
        return Measurement({REACHABLE: 0}, seen={"reason": str(error)})
    return Measurement({REACHABLE: int(made.count > 0), tcp.CONNECTIONS: made.per_s})


def matrix(net: Net, pairs: Sequence[Pair]) -> Iterator[Reached]:
    """Each pair, as soon as it is decided.

    A pair without an answer is tried a second time, with more patience, before it counts as
    unreachable. An unreachable pair so costs a second, but not a second of its own.
    """
    with watch(net, sorted({end.node for pair in pairs
                            for end in (pair.source, pair.destination)})) as wire:
        again: list[Pair] = []
        for pair, answered in _attempt(net, pairs, wire, _FIRST_WAIT_S):
            if answered:
                yield Reached(pair, True, wire.encapsulated(pair))
            else:
                again.append(pair)
        for pair, answered in _attempt(net, again, wire, _SECOND_WAIT_S):
            yield Reached(pair, answered, wire.encapsulated(pair))


def _attempt(net: Net, pairs: Iterable[Pair], wire: Wire, wait: float
             ) -> Iterator[tuple[Pair, bool]]:
    """Ping once along each pair, ``wait`` seconds for the reply; pairs in order of decision."""
    waiting = deque(pairs)
    running: dict[int, tuple[Pair, subprocess.Popen[str], float]] = {}
    ended = select.poll()
    try:
        while waiting or running:
            while waiting and len(running) < _CONCURRENCY:
                pair = waiting.popleft()
                process = _ping(net[pair.source.name], pair, wait)
                descriptor = os.pidfd_open(process.pid)
                running[descriptor] = (pair, process, time.monotonic() + wait + _OVERDUE_S)
                ended.register(descriptor, select.POLLIN)
                wire.drain()
            done = [descriptor for descriptor, _ in ended.poll(_POLL_MS)]
            wire.drain()
            now = time.monotonic()
            done += [d for d, (_, _, limit) in running.items() if now > limit and d not in done]
            for descriptor in done:
                pair, process, _ = running.pop(descriptor)
                ended.unregister(descriptor)
                os.close(descriptor)
                hung = process.poll() is None
                end(process)
                if hung:
                    raise ToolError(f"{pair.source.name}: ping {pair.destination.ip} did not end"
                                    f" within {wait + _OVERDUE_S:g} s")
                yield pair, process.returncode == 0
    finally:
        for descriptor, (_, process, _) in running.items():
            os.close(descriptor)
            end(process)


def _ping(source: Host, pair: Pair, wait: float) -> subprocess.Popen[str]:
    return start(source, ping.argv(pair.destination.ip, count=1, interval=1, wait=wait),
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
