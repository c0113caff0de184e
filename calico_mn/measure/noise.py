"""CPU time that other machines took from this one while it measured.

A hypervisor that runs somebody else on a CPU which this machine wanted counts that as steal
time (proc(5), /proc/stat).
"""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn.measure import procstat


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Of all CPUs since boot, in the kernel's ticks: wanted by somebody, and stolen of it."""

    wanted: int
    stolen: int


def times(ticks: procstat.Ticks | None) -> CpuTimes | None:
    """The sums of /proc/stat's classes; None where the kernel does not tell."""
    if ticks is None:
        return None
    busy = ticks.user + ticks.nice + ticks.system + ticks.irq + ticks.softirq
    return CpuTimes(busy + ticks.steal, ticks.steal)


class StealTime:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._begin = _now()

    def share(self) -> float | None:
        """Stolen so far by what was wanted, 0 to 1; None where the kernel does not tell."""
        end = _now()
        if self._begin is None or end is None:
            return None
        wanted = end.wanted - self._begin.wanted
        return max(0, end.stolen - self._begin.stolen) / wanted if wanted > 0 else 0.0


def _now() -> CpuTimes | None:
    return times(procstat.read())
