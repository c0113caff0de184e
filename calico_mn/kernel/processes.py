"""Ending what we started: by its process id, never by a name."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

_GRACE_S = 1.0


def end(started: Sequence[subprocess.Popen[Any]]) -> None:
    """Ask processes to end, then kill those that did not."""
    running = [process for process in started if process.poll() is None]
    for process in running:
        with suppress(ProcessLookupError):
            process.terminate()
    deadline = time.monotonic() + _GRACE_S
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_in_namespaces(inodes: Collection[int]) -> None:
    """Kill what still runs in network namespaces of ours, such as a shell's background jobs."""
    if not inodes:
        return
    for pid in _inside(inodes):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _inside(inodes: Collection[int]) -> list[int]:
    """The processes whose network namespace is one of ``inodes``, other than ourselves."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError):
            if os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                found.append(int(entry))
    return found
