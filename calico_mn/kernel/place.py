"""Where the directories of runs lie: one place for all runs that can find each other.

For root of the machine, and of a container that has a /run of its own, that is /run/calico-mn.
Root of a user namespace (``unshare -Urnm``) is an ordinary user there, or the machine's root
without its powers, whose runs are none of its business. Its runs lie below XDG_RUNTIME_DIR if that
is a directory of its own, else in a directory in /tmp with a name that nobody can foresee: it is
known again by its owner and mode.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

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


def find() -> Path | None:
    """Where runs are, if any are; the directory need not exist."""
    return MACHINE if _is_machines() else _in_runtime_directory() or _in_temporary()


def make() -> Path:
    """The place for runs, made if need be; whose it is, who uses it sees. Raises OSError."""
    if _is_machines():
        MACHINE.mkdir(mode=0o755, exist_ok=True)
        return MACHINE
    path = _in_runtime_directory() or _in_temporary() or _new_temporary()
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def is_user_namespace() -> bool:
    """Whether this process's powers end at a user namespace that is not the machine's first."""
    return _mapped()[1] != _ALL_IDS


def _is_machines() -> bool:
    """Whether /run is for us: also in a container, whose root is an ordinary user outside."""
    outside, count = _mapped()
    if count == _ALL_IDS:
        return True
    return outside != 0 and os.access(_RUN, os.W_OK) and _RUN.stat().st_uid == os.geteuid()


@functools.cache
def _mapped() -> tuple[int, int]:
    """Who our root is outside of this user namespace, and how many users there are inside.

    See user_namespaces(7). Without user namespaces there are all, and root is root.
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
        found = [Path(entry) for entry in os.scandir(_TEMPORARY) if _NAME.fullmatch(entry.name)]
    except OSError:
        return None
    return next((path for path in sorted(found) if _is_private(path)), None)


def _new_temporary() -> Path:
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_TEMPORARY))
    # Two processes that find none at the same time make one each: all use the first.
    first = _in_temporary() or path
    if first != path:
        with suppress(OSError):
            path.rmdir()
    return first


def _is_private(path: Path) -> bool:
    """Whether it is a directory, no link to one, of this user and closed to others."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            and not found.st_mode & _OTHERS)
