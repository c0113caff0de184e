"""Where a run's files go: a directory that held nothing before."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from calico_mn.errors import CalicoMnError


def output_directory(wanted: Path | None, name: str, now: datetime) -> Path:
    """Make the directory: ``wanted``, or ``results/NAME-TIME`` below the current one.

    Raises CalicoMnError when it holds something already or cannot be made.
    """
    try:
        if wanted is None:
            return _new_directory(Path("results") / f"{name}-{now:%Y%m%d-%H%M%S}")
        _make(wanted)
        if any(wanted.iterdir()):
            raise CalicoMnError(f"{wanted} is not empty, and results are never overwritten: "
                                "name another directory with --output")
        return wanted
    except OSError as error:
        raise CalicoMnError(f"cannot write results to {error.filename}: {error.strerror}; "
                            "name another directory with --output") from error


def _make(wanted: Path) -> None:
    """With all parents, or none of them."""
    absent = [path for path in (wanted, *wanted.parents) if not os.path.lexists(path)]
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError:
        for path in absent:
            with suppress(OSError):
                path.rmdir()
        raise


def _new_directory(path: Path) -> Path:
    for number in itertools.count(1):
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        return candidate
    raise AssertionError("unreachable: count() does not end")
