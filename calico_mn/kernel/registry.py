"""The runs on disk: their records, their processes, and whether those are alive.

Any process may read them; :mod:`calico_mn.kernel.runs` is the side that writes. The text of a
``run.json`` is displayed, but no process is ended and nothing is removed because of it: a run's
process is the one in its directory's name, and holds a lock on that directory while it lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from calico_mn.errors import ClusterError, NotFoundError
from calico_mn.kernel import processes, runtime_dir
from calico_mn.text import is_label

RECORD = "run.json"
SOCKET = "control"
IDENTITY = re.compile(r"([0-9]+)-[0-9]+")
#: what ``run.json`` holds for others to read, and of which type
_TYPES = {"name": str, "started": str, "topology": str, "tunnel": str, "version": str,
          "pid_namespace": int, "user_namespace": int, "process_started": int}

#: what a run's status can be
RUNNING, STARTING, PRIVATE, ELSEWHERE, DEAD = (
    "running", "starting", "private", "elsewhere", "dead")


@dataclass(frozen=True)
class FoundRun:
    """A run's directory and what its ``run.json`` says, which may be nothing yet."""

    path: Path
    record: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """``PID-N``, the directory's name, which no other run on this machine has."""
        return self.path.name

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.record.get("name", self.identity))

    @property
    def pid(self) -> int:
        """The process that keeps the run."""
        return int(self.identity.partition("-")[0])

    @cached_property
    def status(self) -> str:
        """``running``: takes requests; ``starting``: will; ``private``: belongs to a program of
        its own, such as an experiment; ``elsewhere``: kept in another container or user
        namespace, so that nothing can be asked of it; ``dead``: its process is gone.
        """
        numbering, held = processes.namespace("pid"), is_held(self.path)
        # Without a readable record the process may be in any PID namespace.
        if self.record.get("pid_namespace", None if held else numbering) != numbering:
            return ELSEWHERE if held or not self.record.get("locked") else DEAD
        started = processes.start_time(self.pid)
        if started is None:
            # Where /proc hides other users' processes (hidepid), this one may still be alive.
            return DEAD if processes.has_ended(self.pid) else PRIVATE
        if self.record.get("process_started", started) != started and not held:
            return DEAD
        ours = processes.namespace("user")
        if self.record.get("user_namespace", ours) != ours:
            return ELSEWHERE
        if not self.record.get("controlled"):
            return PRIVATE
        return RUNNING if self.socket.exists() else STARTING

    @property
    def socket(self) -> Path:
        """Where the run takes requests."""
        return self.path / SOCKET


def is_held(path: Path) -> bool:
    """Whether a process, in whichever container, holds the lock on a run's directory (flock(2))."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A shared lock: two processes that look at once do not take each other for the run's.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def runs() -> list[FoundRun]:
    """Every run on this machine, oldest first. Raises ClusterError if they cannot be read."""
    root = runtime_dir.find()
    if root is None:
        return []
    try:
        paths = [path for path in root.iterdir() if IDENTITY.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ClusterError(f"{root} cannot be read: {error.strerror}") from None
    readable = [FoundRun(path, record) for path in paths if (record := _record(path)) is not None]
    return sorted(readable, key=lambda run: (run.record.get("started", ""), run.identity))


def _record(path: Path) -> Mapping[str, Any] | None:
    """The content of ``run.json``, empty before it is written; None if it is not a run's directory.

    A run's directory has a record or is empty: a directory with anything else is not ours.
    """
    try:
        if path.is_symlink() or not path.is_dir():
            return None
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None if _has_entries(path) else {}
    except PermissionError:
        raise ClusterError(f"{path} is for root only: run this with sudo") from None
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {key: value for key, value in record.items()
            if isinstance(value, _TYPES.get(key, object))}


def _has_entries(path: Path) -> bool:
    """Whether a directory holds anything, or is gone."""
    try:
        return any(path.iterdir())
    except OSError:
        return True


def find(wanted: str = "") -> FoundRun:
    """The run of that name or identity; without one the only one that takes requests.

    Raises NotFoundError with what there is.
    """
    existing = runs()
    if not wanted:
        ready = [run for run in existing if run.status == RUNNING]
        if len(ready) == 1:
            return ready[0]
        if ready:
            raise NotFoundError(f"several runs are there: say which one of {_names(ready)}")
        raise NotFoundError("nothing is running: start with 'calico-mn up FILE'")
    matching = [run for run in existing if wanted == run.identity] or [
        run for run in existing if wanted == run.name]
    if not matching:
        ready = [run for run in existing if run.status == RUNNING]
        raise NotFoundError(f"no run is called {wanted!r}; running: {_names(ready) or 'none'}")
    run = next((run for run in matching if run.status != DEAD), matching[0])
    if run.status != RUNNING:
        raise NotFoundError(f"run {run.name} ({run.identity}) {_why_not(run)}")
    return run


def _why_not(run: FoundRun) -> str:
    return {
        DEAD: "is dead: its process is gone; 'calico-mn cleanup' removes what is left of it",
        STARTING: "is still starting: try again in a moment",
        PRIVATE: f"belongs to a program of its own (pid {run.pid}) and takes no requests",
        ELSEWHERE: "is kept in another container or user namespace",
    }[run.status]


def _names(listed: Sequence[FoundRun]) -> str:
    return ", ".join(run.name for run in listed)


def new_name(wanted: str, source: str, existing: Sequence[FoundRun]) -> str:
    """``wanted``, or the topology file's name, with a number where that is taken.

    Raises ClusterError when ``wanted`` is taken or no name for a run.
    """
    taken = {run.name for run in existing}
    if wanted:
        if not is_label(wanted) or IDENTITY.fullmatch(wanted):
            raise ClusterError(f"{wanted!r} is no name for a run: take up to 63 lower-case letters,"
                               " digits and '-', not two numbers joined by '-'")
        if wanted in taken:
            raise ClusterError(f"a run called {wanted} is there already: take another name, or end"
                               f" it by 'calico-mn down {wanted}'")
        return wanted
    base = re.sub(r"[^a-z0-9]+", "-", Path(source).stem.lower())[:40].strip("-")
    if not base or IDENTITY.fullmatch(base):
        base = "run"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name
