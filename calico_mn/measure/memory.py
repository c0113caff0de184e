"""The machine's memory, and namespaces that the kernel is still taking apart (proc(5))."""

from __future__ import annotations

import gc
import time
from pathlib import Path

from calico_mn.measure.metrics import Value, metric

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
