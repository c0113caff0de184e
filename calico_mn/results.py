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

from calico_mn.errors import CalicoMnError
from calico_mn.measure.samples import FORMAT, Sample, load_samples

SAMPLES = "results.jsonl"
SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Results:
    """One run. ``rows`` are tidy: a row a sample, a column a factor, in the order of measurement.

    ``summary`` is the whole of summary.json, ``environment`` the part of it that tells of machine
    and programs. Both are empty for a run that was killed before it could write that file.
    """

    directory: Path
    rows: tuple[Sample, ...]
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Whether every trial that was planned was tried."""
        return self.summary.get("complete") is True


def load(directory: str | os.PathLike[str]) -> Results:
    """Read a run's results.jsonl and summary.json.

    A last line of results.jsonl that was torn by a crash is left out. Raises CalicoMnError when
    the directory holds no results, when a file is damaged, or when its format is newer than this
    version of calico_mn reads.
    """
    place = Path(directory)
    if not (place / SAMPLES).is_file():
        raise CalicoMnError(f"{place}: holds no {SAMPLES}: give the directory that an experiment"
                            " named as its output")
    # First the format: what a newer one means by a sample is not to be guessed.
    summary = _summary(place / SUMMARY)
    return Results(place, load_samples(place / SAMPLES), summary.get("environment", {}), summary)


def _summary(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CalicoMnError(f"{path}: cannot be read: {error}") from error
    number = found.get("format") if isinstance(found, dict) else None
    if type(number) is not int or number < 1:
        raise CalicoMnError(f"{path}: not a summary of results: it names no format")
    if number > FORMAT:
        raise CalicoMnError(f"{path}: has format {number}, and this calico_mn reads up to"
                            f" {FORMAT}: use the version that wrote it, or a later one")
    return dict(found)
