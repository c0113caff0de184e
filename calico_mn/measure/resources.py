"""What a piece of work costs the whole machine: CPU time, memory, namespaces (proc(5)).

The kernel does most of a packet's way in softirq, in the name of the process that happens to
run, so no process's own times show what a transfer costs; only the whole machine's do. They
hold everything else that runs as well: measure on a machine that does nothing else. By packet, what
the two programs at the ends report of themselves stands beside it.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from pathlib import Path

from calico_mn.errors import ToolError
from calico_mn.kernel import read
from calico_mn.kernel.read import TICK_S, CpuTicks
from calico_mn.measure.readings import Column, Value, metric

CPU_PACKET = metric("cpu_packet", "us", "CPU per packet", more_is_better=False,
                    column=Column("cost", 9, "us a packet", digits=3))
PROGRAMS_PACKET = metric("programs_packet", "us", "CPU of both programs per packet",
                         more_is_better=False)
#: the whole machine's time by its kind, the sum last
MACHINE_PACKET = (*(
    metric(f"cpu_packet_{part}", "us", f"CPU per packet, {part}", more_is_better=False)
    for part in ("user", "system", "softirq")), CPU_PACKET)


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU time over all CPUs: raw, nothing is subtracted.

    ``user_s`` with nice, ``softirq_s`` with hard interrupts. Each class comes in steps of 10 ms
    (USER_HZ, :data:`.TICK_S`).

    Their accuracy depends on the kernel. With CONFIG_TICK_CPU_ACCOUNTING, what a CPU is doing
    at its timer tick (CONFIG_HZ of them a second) gets the whole tick: a sample, good to a few
    percent after some seconds of work, and worth nothing below 0.1 s. CONFIG_VIRT_CPU_ACCOUNTING
    counts exactly. Softirq without CONFIG_IRQ_TIME_ACCOUNTING is what the tick found in
    progress; the kernel's work for a process outside of softirq is ``system_s`` in any case.
    ``total_s`` does not depend on where this line is drawn: compare that.
    """

    user_s: float
    system_s: float
    softirq_s: float

    @property
    def total_s(self) -> float:
        """All that was worked: user, system and softirq. Stolen time is not work."""
        return round(self.user_s + self.system_s + self.softirq_s, 6)

    @property
    def parts_s(self) -> tuple[float, float, float, float]:
        """User, system, softirq, and their sum."""
        return self.user_s, self.system_s, self.softirq_s, self.total_s

    def by_packet(self, packets: float) -> dict[str, float]:
        """MACHINE_PACKET -> microseconds of CPU time a packet.

        ``packets``: for TCP the payload by the MSS, for UDP the datagrams sent.
        """
        return {name: round(part / packets * 1e6, 4)
                for name, part in zip(MACHINE_PACKET, self.parts_s, strict=True)}


class CpuMeter:
    """A context manager around any work; afterwards :attr:`cost` has what it took.

    Raises ToolError when /proc/stat does not have it.
    """

    def __enter__(self) -> CpuMeter:
        self._cost: Cost | None = None
        self._begin = _now()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        if kind is None:
            self._cost = cost(self._begin, _now())

    @property
    def cost(self) -> Cost:
        """The work's cost. Raises ToolError before its end, and when it failed."""
        if self._cost is None:
            raise ToolError("the CPU time of work that has not ended is not known")
        return self._cost


class StealTime:
    """CPU time that other machines took from this one, counted from when this is made.

    A hypervisor that runs another machine on a CPU which this one wanted counts that as steal
    time (proc(5), /proc/stat).
    """

    def __init__(self) -> None:
        self._begin = read.cpu_ticks()

    def share(self) -> float | None:
        """Stolen so far by what was wanted, 0 to 1; None where the kernel does not report it."""
        end = read.cpu_ticks()
        if self._begin is None or end is None:
            return None
        wanted = end.wanted - self._begin.wanted
        return max(0, end.steal - self._begin.steal) / wanted if wanted > 0 else 0.0


def cost(begin: CpuTicks, end: CpuTicks) -> Cost:
    """The difference between two readings; a counter that ran backwards counts as nothing."""
    def seconds(*classes: str) -> float:
        ticks: int = sum(getattr(end, name) - getattr(begin, name) for name in classes)
        return round(max(0, ticks) * TICK_S, 6)

    return Cost(seconds("user", "nice"), seconds("system"), seconds("irq", "softirq"))


def _now() -> CpuTicks:
    ticks = read.cpu_ticks()
    if ticks is None:
        raise ToolError("/proc/stat has no line 'cpu' with eight classes of time")
    return ticks


# --- memory, and namespaces that the kernel is still taking apart

MEMORY = metric("memory", "MB", "memory", more_is_better=False)
MEMORY_SLAB = metric("memory_slab", "MB", "memory in the kernel's slabs", more_is_better=False)
MEMORY_PROCESS = metric("memory_process", "MB", "memory of the emulating process",
                        more_is_better=False)

# The counter of objects in use is exact only up to a few slabs of each processor.
_SLACK = 64
_POLL_S = 0.1
_QUIET_S = 0.5
# Others may have made namespaces in the meantime; the kernel's work on a batch is shorter.
_LONG_QUIET_S = 4.0
_FIXED_WAIT_S = 2.0


def available_kb() -> int:
    """MemAvailable of the machine, in kB."""
    return _field(Path("/proc/meminfo"), "MemAvailable:")


def slab_kb() -> int:
    """Slab of the machine: the kernel's own small objects, in kB."""
    return _field(Path("/proc/meminfo"), "Slab:")


def unreclaimable_slab_kb() -> int:
    """SUnreclaim of the machine, in kB: slab without what only caches files and their names."""
    return _field(Path("/proc/meminfo"), "SUnreclaim:")


def resident_kb() -> int:
    """This process's resident memory, in kB."""
    return _field(Path("/proc/self/status"), "VmRSS:")


def _field(path: Path, name: str) -> int:
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def namespace_count() -> int | None:
    """Network namespaces that the kernel holds memory for; None where it does not report it."""
    try:
        return _field(Path("/proc/slabinfo"), "net_namespace") or None
    except OSError:
        return None


def settle(baseline: int | None, timeout: float = 30.0) -> bool:
    """Wait until the namespaces of the last cluster are gone; whether they went in time.

    A stopped cluster's namespaces are taken apart in the background, under locks that the next
    boot needs as well: a boot right after a stop takes up to twice as long. The wait ends
    when the count is back at ``baseline`` or no longer changes; without a baseline it is a fixed
    two seconds.
    """
    if baseline is None or namespace_count() is None:
        time.sleep(_FIXED_WAIT_S)
        return True
    deadline = time.monotonic() + timeout
    last, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        count = namespace_count() or 0
        if count != last:
            last, since = count, time.monotonic()
        wanted = _QUIET_S if count <= baseline + _SLACK else _LONG_QUIET_S
        if time.monotonic() - since >= wanted:
            return True
        time.sleep(_POLL_S)
    return False


class Rest:
    """Waits until the kernel has taken the last cluster apart, ``timeout`` seconds at most."""

    def __init__(self, timeout: float) -> None:
        self._namespaces = namespace_count()
        self._timeout = timeout

    def wait(self) -> bool:
        """Whether it had in time."""
        gc.collect()
        rested = settle(self._namespaces, timeout=self._timeout)
        if rested:
            # Do not wait a second time for namespaces that others have made meanwhile.
            self._namespaces = namespace_count()
        return rested


class Footprint:
    """The memory in use at this moment, and how it has changed since."""

    def __init__(self) -> None:
        self._available, self._slab, self._process = available_kb(), slab_kb(), resident_kb()

    def since(self) -> dict[str, Value]:
        """MB: how much less is available, how much more slabs and this process have."""
        return {MEMORY: (self._available - available_kb()) / 1000,
                MEMORY_SLAB: (slab_kb() - self._slab) / 1000,
                MEMORY_PROCESS: (resident_kb() - self._process) / 1000}
