"""Somebody else on this machine, and what root does on behalf of somebody who called sudo."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: a user of the machine who has nothing to do with us
NOBODY = 65534
#: what sudo tells of who called it
SUDO = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}


def attempted(act: Callable[[], object]) -> str:
    """What comes of it when an ordinary user does something: an exception's name, or ``done``."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            act()
            said = "done"
        except BaseException as error:
            said = type(error).__name__
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


@contextmanager
def open_directory() -> Iterator[Path]:
    """A temporary directory of root's that every user may enter, in place of ``tmp_path``.

    pytest closes those of its own to other users, and does so again whenever another pytest starts.
    """
    with tempfile.TemporaryDirectory(prefix="calico-mn-tests-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def home(below: Path) -> Path:
    """A directory of that user's in a directory that they may enter."""
    path = below / "home"
    path.mkdir(mode=0o755)
    os.chown(path, NOBODY, NOBODY)
    return path


def roots(place: Path) -> list[Path]:
    """What below a directory isn't that user's, or cannot be read by them."""
    return [path for path in place.rglob("*")
            if (found := path.lstat()).st_uid != NOBODY or found.st_gid != NOBODY
            or not found.st_mode & 0o400]
