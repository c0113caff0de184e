"""Running out of what a process may have: said as what it is, with what to do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from calico_mn.errors import KernelError

#: what is met when a process, its user or the machine may have no more
_REMEDIES = {
    errno.EMFILE: "raise this shell's limit by 'ulimit -n 65536' (a namespace takes up to four)",
    errno.ENFILE: "the whole machine has too many files open: see /proc/sys/fs/file-nr",
    errno.EAGAIN: "no process or thread could be started: see 'ulimit -u' and the pids limit of"
                  " the container or service that this runs in",
    errno.ENOMEM: "end something else, or take a smaller cluster",
    errno.ENOSPC: "either a file system is full, or there are as many namespaces as"
                  " /proc/sys/user/max_net_namespaces and max_mnt_namespaces allow",
}


def is_met(number: int | None) -> bool:
    """Whether an error number tells of a limit and not of what was asked."""
    return number in _REMEDIES


def explained(number: int | None) -> str:
    """The kernel's words for an error number, and what to do where it is a limit that was met."""
    remedy = _REMEDIES.get(number or 0, "")
    return os.strerror(number or 0) + (f"; {remedy}" if remedy else "")


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raise KernelError, saying ``what``, for a limit that is met inside."""
    try:
        yield
    except OSError as error:
        if not is_met(error.errno):
            raise
        raise KernelError(f"{what}: {explained(error.errno)}") from error
    except RuntimeError as error:
        # The one that threading raises is told from others by its words alone.
        if "start new thread" not in str(error):
            raise
        raise KernelError(f"{what}: {explained(errno.EAGAIN)}") from error
