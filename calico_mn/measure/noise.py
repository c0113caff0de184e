"""CPU time that other machines took from this one while it measured.

A hypervisor that runs somebody else on a CPU which this machine wanted counts that as steal
time (proc(5), /proc/stat).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
#: places in the line "cpu"; from the eighth on, times are counted twice (guests in user)
_IDLE, _IOWAIT, _STEAL, _COUNTED = 3, 4, 7, 8


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Of all CPUs since boot, in the kernel's ticks: wanted by somebody, and stolen of it."""

    wanted: int
    stolen: int


def parse_stat(text: str) -> CpuTimes | None:
    """The sums from /proc/stat; None where the kernel does not tell."""
    for line in text.splitlines():
        name, *fields = line.split()
        if name == "cpu" and len(fields) >= _COUNTED:
            ticks = [int(field) for field in fields[:_COUNTED]]
            return CpuTimes(sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT], ticks[_STEAL])
    return None


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
    try:
        return parse_stat(_STAT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
