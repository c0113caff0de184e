"""Results belong to the person who called sudo, and are written with that person's rights.

The thread takes on the person's identity for the file system (setfsuid(2)), so that files belong
to them from their first moment, also when the run is killed, and a symbolic link that lies in
wait leads to nothing that they could not have written themselves. All else stays root's.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None)


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """What is made at or below ``place`` meanwhile, by this thread, is the invoking user's.

    Unless this is not root under sudo. Where the user has no right to write, and no symbolic link
    is on the way, root writes: root's own checkout stays root's.
    """
    user, group = (int(found) if found.isdigit() else 0 for found in
                   (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID")))
    if os.geteuid() or not user or _is_closed(place, user, group):
        yield
        return
    _libc.setfsgid(group)
    _libc.setfsuid(user)
    try:
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())


def _is_closed(place: Path, user: int, group: int) -> bool:
    """Whether the nearest directory that exists lets the user make nothing in it."""
    full = Path(os.path.abspath(place))
    nearest = next(path for path in (full, *full.parents) if path.exists())
    if nearest.resolve() != nearest:
        return False
    found = nearest.stat()
    bits = 0o300 if found.st_uid == user else 0o030 if found.st_gid == group else 0o003
    return found.st_mode & bits != bits
