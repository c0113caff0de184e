"""A run on disk: its directory below /run, its identity, and a log per node.

The directory is for root only and disappears when the run ends. The log of a node says what was
wired when, as the files in a Calico host's /var/log/calico/cni do; programs that run inside the
node see it there.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from calico_mn.errors import UnsupportedError

ROOT = Path("/run/calico-mn")
LOG_FILE = "cni.log"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Commands carried out in the namespace ``subject``; ``time`` in seconds since 1970."""

    subject: str
    commands: Sequence[str]
    time: float = field(default_factory=time.time)


class RunDirectory:
    """``/run/calico-mn/PID-N``: ``run.json`` and ``logs/NAME/cni.log``."""

    def __init__(self, description: Mapping[str, object]) -> None:
        self.identity = f"{os.getpid()}-{next(_numbers)}"
        self.path = ROOT / self.identity
        try:
            ROOT.mkdir(mode=0o755, exist_ok=True)
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            # Left behind by a process with our pid that was killed: it cannot be alive.
            shutil.rmtree(self.path)
            self.path.mkdir(mode=0o700)
        except OSError as error:
            raise UnsupportedError(
                f"cannot make the run's directory {self.path}: {error.strerror}") from error
        (self.path / "logs").mkdir()
        self._log_directories: dict[str, Path] = {}
        record = {"pid": os.getpid(), "started": _now(), **description}
        (self.path / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

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
        shutil.rmtree(self.path, ignore_errors=True)
        try:
            ROOT.rmdir()
        except OSError:
            return


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
