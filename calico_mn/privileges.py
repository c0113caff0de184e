"""Results belong to the person who called sudo, and are written with that person's rights.

The thread takes on the person's identity for the file system (setfsuid(2)) with that person's
groups, so that files belong to them from their first moment, also when the run is killed, and a
symbolic link that lies in wait leads to nothing that they could not have written themselves. All
else stays root's. What lies in their directories is read with their rights as well.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None)
# setgroups(2) and getgroups(2) of libc change all threads; the system calls change the one that
# calls. By the machine's name: their numbers on 64-bit architectures (asm/unistd.h).
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159}
#: a user's or group's number, which has 32 bits; the last one means "none" (setfsuid(2))
_NUMBER = re.compile("[0-9]{1,9}|[1-3][0-9]{9}|4[01][0-9]{8}")


@contextmanager
def as_invoking_user(path: Path) -> Iterator[None]:
    """What this thread makes at or below ``path`` meanwhile is the invoking user's.

    Unless this is not root under sudo, or ``path`` is in a directory of root's that no other
    user can change, such as root's own checkout: there root writes.
    """
    user, group = (int(text) if _NUMBER.fullmatch(text) else 0 for text in
                   (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID")))
    if os.geteuid() or not user or _is_roots(path):
        yield
        return
    before = os.getgroups()
    _set_groups(_groups(user, group))
    _libc.setfsgid(group)
    _libc.setfsuid(user)
    try:
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())
        _set_groups(before)


def only_root_can_change(file: Path) -> bool:
    """Whether a file, and what leads to it, is only root's to change."""
    status = file.lstat()
    return stat.S_ISREG(status.st_mode) and _is_roots_file(status) and _is_roots(file.parent)


def _groups(user: int, group: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except (KeyError, OSError):
        return [group]


def _set_groups(groups: Sequence[int]) -> None:
    """This thread's further groups; they stay where the call is not known or not allowed.

    It is not in most user namespaces, whose root has no rights outside.
    """
    number = _SETGROUPS.get(os.uname().machine)
    if number is not None and ctypes.sizeof(ctypes.c_void_p) == 8:
        array = (ctypes.c_uint32 * len(groups))(*groups)
        _libc.syscall(ctypes.c_long(number), ctypes.c_long(len(groups)), array)


def _is_roots(path: Path) -> bool:
    """Whether only root can change what is on the way to ``path``, as far as it exists."""
    full = Path(os.path.abspath(path))
    nearest = next(parent for parent in (full, *full.parents) if parent.is_dir())
    return all(_is_roots_directory(parent.lstat(), parent != nearest)
               for parent in (nearest, *nearest.parents))


def _is_roots_directory(status: os.stat_result, is_on_the_way: bool) -> bool:
    # In a sticky directory such as /tmp others cannot put anything in the place of root's.
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and (
        _is_roots_file(status) or (is_on_the_way and bool(status.st_mode & stat.S_ISVTX)))


def _is_roots_file(status: os.stat_result) -> bool:
    others = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid else 0)
    return status.st_uid == 0 and not status.st_mode & others
