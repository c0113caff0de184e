"""A run's directory, and run.json in it: what is known at the start, and needed to resume the run.

Beside run.json lies topology.yaml, a copy of the file that the run began with. The directory holds
nothing before: results are never overwritten.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from calico_mn import streams
from calico_mn.errors import CalicoMnError
from calico_mn.experiment.arguments import Options
from calico_mn.measure.reading_log import FORMAT, MOST_ABOUT, RECORD, TOPOLOGY, check_format


@dataclass(frozen=True, slots=True)
class Record:
    """How a run began: its options as typed, and where its topology was read from."""

    experiment: str
    command: str
    arguments: tuple[str, ...]
    topology: str


def is_private(path: Path) -> bool:
    """Whether only some may read a file, so that its copy must be for its owner alone."""
    try:
        return not path.stat().st_mode & stat.S_IROTH
    except OSError:
        return True  # it is gone


def begin(directory: Path, experiment: str, options: Options, topology: str, *, private: bool,
          source: str = "") -> Record:
    """Write the record, and a copy of the topology: the text that was read, not the file as it is
    by now. ``source`` is what reports call it, by default the file's name.

    Raises CalicoMnError if another run has begun in the directory since it was found empty: the
    copy of the topology is there once, and whichever run makes it has the directory.
    """
    record = Record(experiment, shlex.join([sys.executable, *sys.argv]), options.arguments,
                    source or str(options.topology))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(directory / TOPOLOGY, flags, 0o600 if private else 0o666)
    except FileExistsError:
        raise CalicoMnError(f"{directory}: another run has begun to write its results here: name"
                            " another directory with --output") from None
    with open(descriptor, "wb") as copy:
        copy.write(topology.encode())
    write_json(directory / RECORD, {
        "format": FORMAT, "experiment": experiment, "command": record.command,
        "arguments": list(record.arguments), "topology": record.topology})
    return record


def read(directory: Path, experiment: str) -> Record:
    """The record of a run. Raises CalicoMnError when there is none, or of another experiment."""
    path = directory / RECORD
    try:
        content = json.loads(streams.read_bounded(path, MOST_ABOUT))
    except OSError:
        raise CalicoMnError(f"{directory}: holds no {RECORD}: give the directory of a run that"
                            " was cut short") from None
    except (ValueError, RecursionError) as error:
        raise CalicoMnError(f"{path}: cannot be read: {error}") from error
    check_format(path, content.get("format") if isinstance(content, dict) else None)
    try:
        record = Record(content["experiment"], content["command"], tuple(content["arguments"]),
                        content["topology"])
        texts = (record.experiment, record.command, record.topology, *record.arguments)
        if not isinstance(content["arguments"], list) or not all(
                isinstance(text, str) and "\0" not in text for text in texts):
            raise TypeError
    except (KeyError, TypeError):
        raise CalicoMnError(f"{path}: is not the record of a run") from None
    if record.experiment != experiment:
        raise CalicoMnError(f"{directory}: holds a run of {record.experiment}, not of"
                            f" {experiment}")
    return record


def everything(directory: Path) -> Mapping[str, Any]:
    """What :func:`add` has added, among the rest; for a record that :func:`read` has read."""
    record: dict[str, Any] = json.loads(streams.read_bounded(directory / RECORD, MOST_ABOUT))
    return record


def add(directory: Path, facts: Mapping[str, Any]) -> None:
    """Add what has become known: the environment, the plan."""
    write_json(directory / RECORD, {**everything(directory), **facts})


def discard(directory: Path) -> None:
    """Remove what :func:`begin` wrote, and the directory if nothing else is in it."""
    for name in (RECORD, TOPOLOGY):
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file at once."""
    write(path, json.dumps(content, indent=2) + "\n")


def write(path: Path, text: str) -> None:
    """Replace the file at once: a run that is killed here must not leave half of it."""
    beside = path.with_name(f".{path.name}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


# --- the directory

def output_directory(wanted: Path | None, name: str, now: datetime) -> Path:
    """Make the directory: ``wanted``, or ``results/NAME-TIME`` below the current one.

    Raises CalicoMnError when it holds something already or cannot be made.
    """
    try:
        if wanted is None:
            return _new_directory(Path("results") / f"{name}-{now:%Y%m%d-%H%M%S}")
        _make_whole(wanted)
        if any(wanted.iterdir()):
            raise CalicoMnError(f"{wanted} is not empty, and results are never overwritten: "
                                "name another directory with --output")
        return wanted
    except OSError as error:
        raise CalicoMnError(f"cannot write results to {error.filename}: {error.strerror}; "
                            "name another directory with --output") from error


def _make_whole(wanted: Path) -> None:
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
