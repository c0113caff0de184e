"""The runs on disk: their directories, records, processes and logs, and which of them are alive.

A run that starts makes a :class:`RunDirectory`, for root only, which disappears when the run ends;
:func:`runs` and :func:`find` tell any process what there is. The text of a ``run.json`` is
displayed, but no process is ended and nothing is removed because of it: a run's process is the one
in its directory's name, and holds a lock on that directory while it lives. The log of a node says
what was wired when, as the files in a Calico host's /var/log/calico/cni do; programs that run
inside the node see it there.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from calico_mn.errors import ClusterError, NotFoundError, UnsupportedError
from calico_mn.kernel import processes, runtime_dir
from calico_mn.text import is_label, suggest

RECORD = "run.json"
SOCKET = "control"
LOG_FILE = "cni.log"
IDENTITY = re.compile(r"([0-9]+)-[0-9]+")
#: what ``run.json`` holds for others to read, and of which type
_TYPES = {"name": str, "started": str, "topology": str, "tunnel": str, "version": str,
          "iptables": str, "pid_namespace": int, "user_namespace": int, "process_started": int}

#: what a run's status can be
RUNNING, STARTING, PRIVATE, ELSEWHERE, DEAD = (
    "running", "starting", "private", "elsewhere", "dead")

_numbers = itertools.count(1)


def utc_now() -> str:
    """The time in UTC, such as ``2026-11-28T19:05:52.000000+00:00``."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


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
        descriptor = runtime_dir.open_directory(path)
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
    ready = [run for run in existing if run.status == RUNNING]
    names = ", ".join(run.name for run in ready)
    if not wanted:
        if len(ready) == 1:
            return ready[0]
        if ready:
            raise NotFoundError(f"several runs are there, {names}: say which by --run NAME, or"
                                " by the variable CALICO_MN_RUN")
        raise NotFoundError("nothing is running: start with 'calico-mn up FILE'")
    matching = [run for run in existing if wanted == run.identity] or [
        run for run in existing if wanted == run.name]
    if not matching:
        similar = suggest(wanted, [run.name for run in ready])
        hint = f"did you mean {similar}? " if similar else ""
        raise NotFoundError(f"no run is called {wanted!r}; {hint}running: {names or 'none'}")
    run = next((run for run in matching if run.status != DEAD), matching[0])
    if run.status != RUNNING:
        raise NotFoundError(f"run {run.name} ({run.identity}) " + {
            DEAD: "is dead: its process is gone; 'calico-mn cleanup' removes what is left of it",
            STARTING: "is still starting: try again in a moment",
            PRIVATE: f"belongs to a program of its own (pid {run.pid}) and takes no requests",
            ELSEWHERE: "is kept in another container or user namespace",
        }[run.status])
    return run


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


class RunDirectory:
    """``PID-N`` where runs are (:mod:`.runtime_dir`): ``run.json`` and ``logs/NAME/cni.log``.

    ``description`` goes into ``run.json``; its ``topology`` gives the run its name unless one is
    given. It is locked (flock(2)) as long as this process has it, which containers that share
    /run see, too. Raises ClusterError for a name that is taken or none, UnsupportedError where
    the directory cannot be made.
    """

    def __init__(self, description: Mapping[str, object], name: str = "") -> None:
        #: nothing until it is made
        self.path = Path()
        self._lock = -1
        self._logged: set[str] = set()
        self.record = {
            "name": name, "pid": os.getpid(),
            "process_started": processes.start_time(os.getpid()),
            "pid_namespace": processes.namespace("pid"),
            "user_namespace": processes.namespace("user"), "locked": True,
            "started": utc_now(), **description}
        try:
            with runtime_dir.locked() as root:
                self.record["name"] = self.name = new_name(
                    name, str(description.get("topology", "")), runs())
                # One of that name may be another container's, or a killed process's with our pid.
                while os.path.lexists(path := root / f"{os.getpid()}-{next(_numbers)}"):
                    pass
                path.mkdir(mode=0o700)
                self.path = path
                self._lock = runtime_dir.open_directory(path)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                self.note()
                for name in ("logs", "locks"):
                    (self.path / name).mkdir()
        except BaseException as error:  # Ctrl-C, too
            self.remove()
            if not isinstance(error, OSError):
                raise
            where = runtime_dir.find() or "/tmp"
            raise UnsupportedError(f"cannot make the run's directory below {where}:"
                                   f" {processes.explain(error.errno)}") from error

    @property
    def identity(self) -> str:
        """``PID-N``, the directory's name."""
        return self.path.name

    @property
    def socket(self) -> Path:
        """Where the run takes requests, if it does."""
        return self.path / SOCKET

    @property
    def logs(self) -> Path:
        """The directory with a directory per node, router and subnet."""
        return self.path / "logs"

    def note(self, **facts: object) -> None:
        """Let the record say these as well, or otherwise than before. Raises OSError."""
        self.record.update(facts)
        new = self.path / f"{RECORD}.new"
        new.write_text(json.dumps(self.record, indent=2) + "\n", encoding="utf-8")
        new.replace(self.path / RECORD)

    def write_log(self, name: str, lines: str) -> None:
        """Append lines to the log of ``name``."""
        directory = self.logs / name
        if name not in self._logged:
            directory.mkdir(exist_ok=True)
            self._logged.add(name)
        with open(directory / LOG_FILE, "a", encoding="utf-8") as file:
            file.write(lines)

    def remove(self) -> None:
        """Delete the directory, and the common one if no other run uses it."""
        if self.path != Path():
            with suppress(OSError):
                delete(self.path)
            runtime_dir.remove_if_empty(self.path.parent)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def delete(path: Path) -> None:
    """Delete a run's directory, the record last: without it, what is not empty is not ours."""
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == RECORD):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    path.rmdir()
