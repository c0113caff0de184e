"""A /run of its own for commands of a test: they see no other runs, and no other start sees theirs.

In one that all share, a test would meet runs of the same names, and any start on the machine would
clean up after a run that a test has killed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PrivateRun:
    """``entering`` comes before a command; ``runs`` is where its runs are, as seen from outside."""

    entering: tuple[str, ...]
    runs: Path


@contextmanager
def private_run(directory: Path) -> Iterator[PrivateRun]:
    """It lasts as long as the ``with`` block; commands begin in ``directory``. Needs root."""
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run && echo ready && exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        yield PrivateRun(
            ("nsenter", "-t", str(holder.pid), "--mount", f"--wd={directory}", "--"),
            Path(f"/proc/{holder.pid}/root/run/calico-mn"))
    finally:
        holder.communicate()
