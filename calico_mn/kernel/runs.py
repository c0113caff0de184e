"""A run on disk: its directory, its identity, and a log per node.

The directory is for root only and disappears when the run ends. The log of a node says what was
wired when, as the files in a Calico host's /var/log/calico/cni do; programs that run inside the
node see it there.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from calico_mn.errors import UnsupportedError
from calico_mn.kernel import processes, registry, runtime_dir

LOG_FILE = "cni.log"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Commands carried out in the namespace ``subject``; ``time`` in seconds since 1970."""

    subject: str
    commands: Sequence[str]
    time: float = field(default_factory=time.time)


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
        self._log_directories: dict[str, Path] = {}
        self.record = {
            "name": name, "pid": os.getpid(),
            "process_started": processes.start_time(os.getpid()),
            "pid_namespace": processes.namespace("pid"),
            "user_namespace": processes.namespace("user"), "locked": True, "started": _now(),
            **description}
        try:
            with runtime_dir.locked() as root:
                self.record["name"] = self.name = registry.new_name(
                    name, str(description.get("topology", "")), registry.runs())
                # One of that name may be another container's, or a killed process's with our pid.
                path = root / f"{os.getpid()}-{next(_numbers)}"
                while os.path.lexists(path):
                    path = root / f"{os.getpid()}-{next(_numbers)}"
                path.mkdir(mode=0o700)
                self.path = path
                self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                (self.path / registry.RECORD).write_text(
                    json.dumps(self.record, indent=2) + "\n", encoding="utf-8")
                (self.path / "logs").mkdir()
        except OSError as error:
            self.remove()
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
        return self.path / registry.SOCKET

    @property
    def logs(self) -> Path:
        """The directory with a directory per node, router and subnet."""
        return self.path / "logs"

    def log_directory(self, name: str) -> Path:
        """Where the log of ``name`` is; made when first asked for."""
        directory = self._log_directories.get(name)
        if directory is None:
            directory = self._log_directories[name] = self.logs / name
            directory.mkdir(exist_ok=True)
        return directory

    def write(self, name: str, entries: Sequence[LogEntry]) -> None:
        """Append ``entries`` to the log of ``name``."""
        with open(self.log_directory(name) / LOG_FILE, "a", encoding="utf-8") as file:
            for entry in entries:
                stamp = datetime.fromtimestamp(entry.time, timezone.utc).isoformat(
                    timespec="microseconds")
                file.writelines(f"{stamp} [{entry.subject}] {command}\n"
                                for command in entry.commands)

    def remove(self) -> None:
        """Delete the directory, and the common one if no other run uses it."""
        if self.path != Path():
            with suppress(OSError):
                _delete(self.path)
            runtime_dir.remove_if_empty(self.path.parent)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def remove_dead(identity: str) -> str:
    """Delete a dead run's directory, and the common one if no other run uses it.

    Does nothing if it is not dead any more: another process may have got its number. Why it
    could not be deleted, or ``""``.
    """
    try:
        with runtime_dir.locked():
            for run in registry.runs():
                if run.identity == identity and run.status == registry.DEAD:
                    _delete(run.path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _delete(path: Path) -> None:
    """Delete the record last: a directory without one that is not empty is not taken for ours."""
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == registry.RECORD):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    path.rmdir()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
