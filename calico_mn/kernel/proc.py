"""Statistics that the kernel keeps in /proc (proc(5)): CPU time and protocol counters.

CPU time is the whole machine's; protocol counters are those of one network namespace.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

#: seconds of one tick: 0.01 on every Linux architecture of today
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
#: from the ninth on, times are counted twice (guests in user and nice)
_CLASSES = 8


@dataclass(frozen=True, slots=True)
class CpuTicks:
    """Where the time of all CPUs went since boot, in the kernel's ticks."""

    user: int
    nice: int
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int

    @property
    def wanted(self) -> int:
        """All but idle time: what was worked, and what a hypervisor gave to others meanwhile."""
        return self.user + self.nice + self.system + self.irq + self.softirq + self.steal


def cpu_ticks() -> CpuTicks | None:
    """The line "cpu" of /proc/stat; None where the kernel does not tell."""
    try:
        return parse_cpu_ticks(_read("/proc/stat"))
    except (OSError, ValueError):
        return None


def parse_cpu_ticks(stat: str) -> CpuTicks | None:
    """The sums from /proc/stat; None where they are not all there."""
    for line in stat.splitlines():
        name, *fields = line.split()
        if name == "cpu" and len(fields) >= _CLASSES:
            return CpuTicks(*map(int, fields[:_CLASSES]))
    return None


def protocol_counters() -> dict[str, int]:
    """The counters of the namespace in which this thread is, since the namespace was made.

    ``Ip.InDiscards``, ``TcpExt.IPReversePathFilter`` and so on: those of RFC 4293 and Linux' own.
    """
    return {name: value for file in ("snmp", "netstat")
            for name, value in parse_counters(_read(f"/proc/thread-self/net/{file}")).items()}


def parse_counters(text: str) -> dict[str, int]:
    """The counters in /proc/net/snmp or netstat: a line of names and one of numbers a group."""
    lines = text.splitlines()
    counters: dict[str, int] = {}
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        group, *keys = names.split()
        counters.update((f"{group.rstrip(':')}.{key}", int(number))
                        for key, number in zip(keys, numbers.split()[1:], strict=False))
    return counters


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()
