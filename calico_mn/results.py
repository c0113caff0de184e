"""What an experiment left in its directory, read back for analysis. docs/results.md explains it.

    results = calico_mn.results.load("results/ipip-modes-20260101-120000")
    pandas.DataFrame(results.rows)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calico_mn import streams
from calico_mn.errors import CalicoMnError
from calico_mn.measure.metrics import Value
from calico_mn.measure.readings import (
    MOST_ABOUT,
    READINGS,
    RECORD,
    SUMMARY,
    Reading,
    check_format,
    load_readings,
    samples,
)


@dataclass(frozen=True, slots=True)
class Results:
    """One run. ``readings`` are in the order of measurement.

    ``summary`` is the whole of summary.json, or of run.json for a run that was killed before it
    could write the former; ``environment`` the part of it that tells of machine and programs.
    """

    directory: Path
    readings: tuple[Reading, ...]
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]

    @property
    def rows(self) -> tuple[dict[str, Value], ...]:
        """Tidy rows: a row a measured value, a column a factor."""
        return tuple(sample.row() for sample in samples(self.readings))

    @property
    def complete(self) -> bool:
        """Whether every trial that was planned was tried."""
        return self.summary.get("complete") is True


def load(directory: str | os.PathLike[str]) -> Results:
    """Read a run's results.jsonl and summary.json.

    A last line of results.jsonl that was torn by a crash is left out. Raises CalicoMnError when
    the directory holds no results, when a file is damaged, or when its format is one that this
    version of calico_mn does not read.
    """
    path = Path(directory)
    if not (path / READINGS).is_file():
        raise CalicoMnError(f"{path}: holds no {READINGS}: give the directory that an experiment"
                            " named as its output")
    # First the format: what a newer one means by a reading is not to be guessed.
    summary = _about(path / SUMMARY) or _about(path / RECORD)
    about = summary.get("environment", {})
    if not isinstance(about, dict):
        raise CalicoMnError(f"{path}: holds an environment that is not one")
    return Results(path, load_readings(path / READINGS), about, summary)


def _about(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        about = json.loads(streams.read_bounded(path, MOST_ABOUT))
    except (OSError, ValueError, RecursionError) as error:
        raise CalicoMnError(f"{path}: cannot be read: {error}") from error
    check_format(path, about.get("format") if isinstance(about, dict) else None)
    return dict(about)
