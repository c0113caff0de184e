"""User namespaces as ``unshare -Urnm`` makes them, and commands inside as other terminals run them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import calico_mn
from support.patience import SLOWNESS

ROOT = Path(calico_mn.__file__).resolve().parent.parent
#: uid and gid of an ordinary user, who need not be known by a name
SOMEBODY = 1000
_SITE = [path for path in sys.path if path.endswith("-packages")]


def as_somebody() -> list[str]:
    """What makes a command an ordinary user's; nothing, if the tests are one's already."""
    if os.geteuid():
        return []
    return ["setpriv", "--reuid", str(SOMEBODY), "--regid", str(SOMEBODY), "--clear-groups"]


@cache
def python_for(*user: str) -> str:
    """A Python that this user may run, with all that calico_mn needs; empty if there is none."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        # Not by setpriv itself, which may still read everything when it becomes the program.
        tried = subprocess.run(
            [*user, "sh", "-c", '"$@"', "sh", candidate, "-c",
             "import calico_mn.emulation.net, calico_mn.topology.load"],
            env=environment(), cwd="/", capture_output=True, timeout=60 * SLOWNESS, check=False)
        if tried.returncode == 0:
            return candidate
    return ""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Where any Python finds calico_mn, without leaving files there or a login's places."""
    kept = {name: value for name, value in os.environ.items()
            if name not in ("XDG_RUNTIME_DIR", "CALICO_MN_RUN", "HOME")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), *_SITE]),
            "PYTHONDONTWRITEBYTECODE": "1", **(extra or {})}


class UserNamespace:
    """One that is open as long as the ``with`` block; ``user`` makes a command some user's."""

    def __init__(self, user: Sequence[str], flags: str = "-Urnm", before: str = "",
                 **variables: str) -> None:
        self.user = list(user)
        self._environment = environment(variables)
        self.python = python_for(*user)
        self._holder = subprocess.Popen(
            [*user, "unshare", flags, "sh", "-c", f"{before or ':'} && echo ready && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None and self._holder.stderr is not None
        self.refusal = "" if self._holder.stdout.readline() else self._holder.stderr.read().strip()
        self._entering = [*user, "nsenter", "-t", str(self._holder.pid), "--preserve-credentials",
                          "-U", *(f"-{kind}" for kind in "mn" if kind in flags)]

    def __enter__(self) -> UserNamespace:
        return self

    def __exit__(self, *_exc: object) -> None:
        if not self.refusal:
            for run in json.loads(self.calico_mn("list", "--json").stdout or "[]"):
                self.calico_mn("down", run["run"])
        self._holder.communicate()

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A command inside, in its working directory /."""
        return subprocess.run([*self._entering, *argv], capture_output=True, text=True, cwd="/",
                              stdin=subprocess.DEVNULL, env=self._environment,
                              timeout=60 * SLOWNESS, check=False)

    def calico_mn(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb inside, as another terminal would ask."""
        return self.run(self.python, "-m", "calico_mn", *words)

    def ok(self, *words: str) -> str:
        """The output of a verb that must succeed."""
        done = self.calico_mn(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def asked(self, *words: str) -> Any:
        """What a verb answers as JSON."""
        return json.loads(self.ok(*words, "--json"))
