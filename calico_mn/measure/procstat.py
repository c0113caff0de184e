"""The line "cpu" of /proc/stat (proc(5)): where the time of all CPUs went since boot."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
#: from the ninth on, times are counted twice (guests in user and nice)
_COUNTED = 8

#: seconds of one tick: 0.01 on every Linux architecture of today
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Ticks:
    """In the kernel's ticks, over all CPUs."""

    user: int
    nice: int
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int


def parse(text: str) -> Ticks | None:
    """The sums from /proc/stat; None where the kernel does not tell."""
    for line in text.splitlines():
        name, *fields = line.split()
        if name == "cpu" and len(fields) >= _COUNTED:
            return Ticks(*(int(field) for field in fields[:_COUNTED]))
    return None


def read() -> Ticks | None:
    """As of now; None where the kernel does not tell."""
    try:
        return parse(_STAT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
