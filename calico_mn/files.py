"""Reading files that others may have made: regular ones only, and not more than is sensible."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read(path: Path, most: int) -> bytes:
    """The file's bytes. Raises OSError, also for what is no file; ValueError above ``most`` bytes.

    A FIFO without a writer holds nobody up.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        # A file in /proc has no size before it is read, and others grow.
        large = os.fstat(descriptor).st_size > most
        data = b"" if large else file.read(most + 1)
    if large or len(data) > most:
        raise ValueError(f"{path} is larger than {most / 1e6:g} MB")
    return data
