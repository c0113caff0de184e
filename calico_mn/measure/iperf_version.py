"""What the installed iperf3 can time: whole seconds always, an amount only before 3.16."""

from __future__ import annotations

import math
import re
import shutil

from calico_mn.measure.programs import Host, run

__all__ = ["has_threads", "threads", "timed"]

_TIMEOUT_S = 10.0

#: the program's path -> what it said; a measurement is not burdened with asking again
_known: dict[str | None, bool | None] = {}


def threads(version: str | None) -> bool | None:
    """Whether iperf3 has a thread for each stream (since 3.16), from its own first line.

    None where no version can be read. With one thread, parallel streams share one CPU.
    """
    found = re.search(r"\biperf (\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) >= (3, 16) if found else None


def has_threads(host: Host) -> bool | None:
    """The same of the iperf3 that runs in ``host``. Raises ToolError if it does not answer."""
    path = shutil.which("iperf3")
    if path not in _known:
        _known[path] = threads(run(host, ["iperf3", "--version"], _TIMEOUT_S).out)
    return _known[path]


def timed(host: Host, duration: float) -> float:
    """The seconds that iperf3 takes where ``duration`` is asked for. Raises ToolError.

    The one thread of iperf3 up to 3.15 counts a transfer of some amount to its last byte. From
    3.16 on the main thread looks at the amount only when one of its timers wakes it
    (iperf_run_client in src/iperf_client_api.c): never with ``-i 0``, and with reports every
    0.1 s up to that much too late. So there, as with versions that cannot be told, a transfer
    lasts whole seconds.
    """
    if duration == int(duration) or has_threads(host) is False:
        return duration
    return max(1, math.ceil(duration))
