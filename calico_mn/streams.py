"""Standard streams that are always there, complaints on them, and bounded reading of files.

A program that is started with standard input, output or error closed would be given its number for
the next file that it opens, and print into that: :func:`reopen_std` comes first. Files that others
may have made are read by :func:`read_bounded` alone.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from calico_mn.text import message


def reopen_std() -> None:
    """Put /dev/null where standard input, output or error is closed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        with suppress(OSError):
            os.fstat(number)
            continue  # a file was opened under this number since
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal in ASCII, or half a character in a file's name, is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")


def redirect_to_null(stream: TextIO) -> None:
    """Send what ``stream`` still holds to /dev/null, so that Python ends in silence."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def complain(text: str) -> None:
    """A message for the person, on standard error if that can be written."""
    try:
        print(message(text), file=sys.stderr)
    except OSError:
        # Else newer Pythons (3.13.5) end with a status of their own.
        redirect_to_null(sys.stderr)


def read_bounded(path: Path, limit: int) -> bytes:
    """The file's bytes. Raises OSError, also for what is no file; ValueError above ``limit`` bytes.

    A FIFO without a writer does not block.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        # A file in /proc has no size before it is read, and others grow.
        large = os.fstat(descriptor).st_size > limit
        data = b"" if large else file.read(limit + 1)
    if large or len(data) > limit:
        raise ValueError(f"{path} is larger than {limit / 1e6:g} MB")
    return data
