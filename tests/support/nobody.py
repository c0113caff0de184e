"""Somebody else on this machine, and what root does on behalf of somebody who called sudo."""

from __future__ import annotations

import os
from collections.abc import Callable
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


def open_up(path: Path) -> None:
    """Let everybody get to a temporary directory of pytest's, also where a worker made it."""
    for part in (path, *path.parents[:3]):
        part.chmod(0o755)
        if part.name.startswith("pytest-of-"):
            break


def home(below: Path) -> Path:
    """A directory of that user's, below a temporary one of pytest's, which is root's alone."""
    open_up(below)
    place = below / "home"
    place.mkdir(mode=0o755)
    os.chown(place, NOBODY, NOBODY)
    return place


def roots(place: Path) -> list[Path]:
    """What below a directory isn't that user's, or cannot be read by them."""
    return [path for path in place.rglob("*")
            if (found := path.lstat()).st_uid != NOBODY or found.st_gid != NOBODY
            or not found.st_mode & 0o400]
