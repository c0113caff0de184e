"""The directory that holds the directories of all runs: where it is, made, locked and removed.

For root of the machine, and of a container with its own /run, it is /run/calico-mn. Root of a user
namespace (``unshare -Urnm``) is an ordinary user outside, or the machine's root without its
capabilities, and must not see the machine's runs: its own are below XDG_RUNTIME_DIR if that
directory is private, else in a directory in /tmp with a random name, which is recognized by its
owner and mode.

The directory exists while a run does. It is created and removed only under its own lock
(flock(2)): a run that starts finds or creates it, and a run that ends does not remove it meanwhile.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calico_mn.errors import UnsupportedError

MACHINE = Path("/run/calico-mn")

_RUN = Path("/run")
_TEMPORARY = Path("/tmp")
_UID_MAP = Path("/proc/self/uid_map")
_PREFIX = "calico-mn-runs-"
_NAME = re.compile(rf"{_PREFIX}\w{{8}}")
# A socket's path has at most 107 bytes (unix(7)); what we put below takes up to 40 of them.
_LONGEST = 64
#: how many numbers there are to map: the first user namespace maps them all
_ALL_IDS = 2**32 - 1
_OTHERS = 0o077
# How long a stop waits for the lock: the process that holds it may be suspended.
_REMOVAL_WAIT_S = 1.0
_LOCK_PAUSE_S = 0.002


def find() -> Path | None:
    """The directory of runs; it need not exist. None if its name is random and it does not."""
    return MACHINE if _is_machines() else _in_runtime_directory() or _in_temporary()


def make() -> Path:
    """The directory of runs, created if missing; its owner is not checked. Raises OSError.

    Without the lock, another process may remove it at any time.
    """
    is_machines = _is_machines()
    path = MACHINE if is_machines else (
        _in_runtime_directory() or _in_temporary() or _new_temporary())
    with suppress(FileExistsError):
        path.mkdir(mode=0o755 if is_machines else 0o700)
    return path


@contextmanager
def locked() -> Iterator[Path]:
    """The directory of runs, created if missing, for one process at a time.

    Choosing a run's name, and creating or removing a directory in it, needs this lock. If it is
    empty afterwards it is removed. Raises OSError, and UnsupportedError if it belongs to another
    user or other users can write to it.
    """
    while True:
        path = make()
        try:
            descriptor = open_directory(path)
        except FileNotFoundError:
            continue  # the last run has just ended and removed it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            status = os.fstat(descriptor)
            if status.st_nlink == 0:
                continue
            if find() not in (path, None):
                with suppress(OSError):
                    path.rmdir()
                continue
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise UnsupportedError(f"{path} is not root's alone: another user can change what"
                                       " is in it; look at it, then remove it")
            try:
                yield path
            finally:
                with suppress(OSError):
                    path.rmdir()
            return
        finally:
            os.close(descriptor)


def remove_if_empty(path: Path) -> None:
    """Remove the directory of runs if it is empty; never while another process has its lock."""
    try:
        descriptor = open_directory(path)
    except OSError:
        return
    try:
        # If it was removed meanwhile there may be a new one of that name, with another lock.
        if _lock_in_time(descriptor) and os.fstat(descriptor).st_nlink:
            with suppress(OSError):
                path.rmdir()
    finally:
        os.close(descriptor)


def open_directory(path: Path) -> int:
    """A descriptor of a directory, never of one that a link leads to. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _lock_in_time(descriptor: int) -> bool:
    """Whether the directory is locked now; not if another process holds the lock for too long."""
    deadline = time.monotonic() + _REMOVAL_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOCK_PAUSE_S)
        else:
            return True


def is_user_namespace() -> bool:
    """Whether this process's powers end at a user namespace that is not the machine's first."""
    return _mapped()[1] != _ALL_IDS


def _is_machines() -> bool:
    """Whether /run is ours to use: also in a container, whose root is an ordinary user outside."""
    outside, count = _mapped()
    if count == _ALL_IDS:
        return True
    return outside != 0 and os.access(_RUN, os.W_OK) and _RUN.stat().st_uid == os.geteuid()


@functools.cache
def _mapped() -> tuple[int, int]:
    """Root's user id outside of this user namespace, and the number of ids mapped inside it.

    See user_namespaces(7). A kernel without user namespaces maps all, and root is root.
    """
    try:
        with open(_UID_MAP, encoding="ascii") as file:
            _inside, outside, count = map(int, file.readline().split())
    except (OSError, ValueError):
        return 0, _ALL_IDS
    return outside, count


def _in_runtime_directory() -> Path | None:
    text = os.environ.get("XDG_RUNTIME_DIR", "")
    if not text.startswith("/") or len(os.fsencode(text)) > _LONGEST:
        return None
    return Path(text, "calico-mn") if _is_private(Path(text)) else None


def _in_temporary() -> Path | None:
    try:
        candidates = [Path(entry) for entry in os.scandir(_TEMPORARY)
                      if _NAME.fullmatch(entry.name)]
    except OSError:
        return None
    return next((path for path in sorted(candidates) if _is_private(path)), None)


def _new_temporary() -> Path:
    """A new directory, or the one that another process has created meanwhile.

    /tmp is locked, so that two processes create one directory, not two. Any user can lock it, so
    the wait is bounded.
    """
    descriptor = os.open(_TEMPORARY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock_in_time(descriptor)
        return _in_temporary() or Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_TEMPORARY))
    finally:
        os.close(descriptor)


def _is_private(path: Path) -> bool:
    """Whether it is a directory, not a link to one, that only this user can enter."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return (stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
            and not status.st_mode & _OTHERS)
