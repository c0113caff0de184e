"""What a benchmark's processes do to themselves: end with their parent, leave a namespace."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def interrupt_by(*numbers: signal.Signals) -> None:
    """Have these signals interrupt the process as Ctrl-C does, also if they were ignored before."""
    for number in numbers:
        signal.signal(number, signal.default_int_handler)


def end_with_parent(parent: int) -> None:
    """Be interrupted when the process that started us dies, however it does."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        raise KeyboardInterrupt


def own_network() -> None:
    """Leave the machine's network namespace for an empty one. Only before any thread starts."""
    if _libc.unshare(_CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")


def kill_marked(variable: str, value: str) -> int:
    """Kill, by its id, every process whose environment has the mark; how many there were."""
    mark = f"{variable}={value}".encode()
    killed = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError):
            if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                os.kill(int(entry), signal.SIGKILL)
                killed += 1
    return killed
