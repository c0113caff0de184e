"""Tests on several processors at once, except those that need the machine for themselves.

Under pytest-xdist each worker holds a shared lock while one of its tests runs; a test marked
``alone`` holds it exclusively. A second lock, held only while waiting for the first, keeps those
that share it from slipping past one that waits. Tests marked ``kills`` hold a third one, one at a
time: a clean-up ends what killed runs left wherever it finds it, also what another test looks for.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """The three locks, as files in ``directory``, which all workers are given."""

    def __init__(self, directory: Path) -> None:
        self._gate, self._floor, self._kills = (
            os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            for name in ("gate", "floor", "kills"))

    @contextmanager
    def taken(self, *, alone: bool, kills: bool) -> Iterator[None]:
        """Run what is inside beside others, or alone; if it kills, beside none that kills."""
        if kills:
            fcntl.flock(self._kills, fcntl.LOCK_EX)
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._floor, fcntl.LOCK_UN)
            fcntl.flock(self._kills, fcntl.LOCK_UN)
