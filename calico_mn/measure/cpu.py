"""What a piece of work costs in CPU time, counted over the whole machine.

The kernel does most of a packet's way in softirq, in the name of whatever process happens to
run, so that no process's own times tell what a transfer costs; only the whole machine's do. They
hold everything else that runs as well: measure on a machine that does nothing else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from calico_mn.errors import ToolError
from calico_mn.measure import procstat
from calico_mn.measure.procstat import TICK_S, Ticks


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU time over all CPUs: raw, nothing is subtracted.

    ``user_s`` with nice, ``softirq_s`` with hard interrupts, ``idle_s`` with iowait; ``wall_s``
    is the time on the clock. Each class comes in steps of 10 ms (USER_HZ, :data:`.TICK_S`).

    How true they are depends on the kernel. With CONFIG_TICK_CPU_ACCOUNTING, what a CPU is doing
    at its timer tick (CONFIG_HZ of them a second) gets the whole tick: a sample, good to a few
    percent after some seconds of work, and worth nothing below 0.1 s. CONFIG_VIRT_CPU_ACCOUNTING
    counts exactly. Softirq without CONFIG_IRQ_TIME_ACCOUNTING is what the tick found in
    progress; the kernel's work for a process outside of softirq is ``system_s`` in any case.
    ``total_s`` does not depend on where this line is drawn: compare that.
    """

    user_s: float
    system_s: float
    softirq_s: float
    steal_s: float
    idle_s: float
    wall_s: float

    @property
    def total_s(self) -> float:
        """All that was worked: user, system and softirq. Stolen time is not work."""
        return round(self.user_s + self.system_s + self.softirq_s, 6)

    @property
    def busy(self) -> float:
        """The share of all CPU time that was not idle, 0 to 1; stolen time is not idle."""
        wanted = self.total_s + self.steal_s
        return wanted / (wanted + self.idle_s) if wanted else 0.0

    def per_gigabyte(self, payload: int) -> float:
        """Seconds of CPU time for 10^9 bytes, when ``payload`` bytes were moved."""
        return self.total_s / payload * 1e9

    def per_packet(self, packets: float) -> float:
        """Microseconds of CPU time a packet.

        ``packets``: for TCP the payload by the MSS, for UDP the datagrams received.
        """
        return self.total_s / packets * 1e6


class CpuMeter:
    """A context manager around any work; afterwards :attr:`cost` has what it took.

    Raises ToolError when /proc/stat does not tell.
    """

    def __enter__(self) -> CpuMeter:
        self._cost: Cost | None = None
        self._begin = _now()
        self._clock = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        wall = time.monotonic() - self._clock
        if kind is None:
            self._cost = cost(self._begin, _now(), wall)

    @property
    def cost(self) -> Cost:
        """The work's cost. Raises ToolError before its end, and when it failed."""
        if self._cost is None:
            raise ToolError("the CPU time of work that has not ended is not known")
        return self._cost


def cost(begin: Ticks, end: Ticks, wall: float) -> Cost:
    """The difference between two readings, ``wall`` seconds apart."""
    def seconds(*classes: str) -> float:
        # idle and iowait may run backwards by a tick (proc(5)).
        ticks: int = sum(getattr(end, name) - getattr(begin, name) for name in classes)
        return round(max(0, ticks) * TICK_S, 6)

    return Cost(seconds("user", "nice"), seconds("system"), seconds("irq", "softirq"),
                seconds("steal"), seconds("idle", "iowait"), round(wall, 6))


def _now() -> Ticks:
    ticks = procstat.read()
    if ticks is None:
        raise ToolError("/proc/stat has no line 'cpu' with eight classes of time")
    return ticks
