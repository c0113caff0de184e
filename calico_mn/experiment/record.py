"""run.json: what is known about a run from its beginning on, so that it can be taken up again.

Beside it lies topology.yaml, a copy of the file that the run began with.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calico_mn import streams
from calico_mn.errors import CalicoMnError
from calico_mn.experiment.options import Options
from calico_mn.measure.readings import FORMAT, MOST_ABOUT, check_format

RECORD = "run.json"
TOPOLOGY = "topology.yaml"


@dataclass(frozen=True, slots=True)
class Record:
    """How a run began: its options as typed, and where its topology was read from."""

    experiment: str
    command: str
    arguments: tuple[str, ...]
    topology: str


@dataclass(frozen=True, slots=True)
class Source:
    """A topology file's content, and whether only some may read it."""

    content: bytes
    is_private: bool


def source(path: Path, text: str) -> Source:
    """What is copied into the results: the text that was read, not what ``path`` holds by now."""
    try:
        return Source(text.encode(), not path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return Source(text.encode(), True)  # it is gone


def begin(directory: Path, experiment: str, options: Options, topology: Source) -> Record:
    """Write the record, and the copy of the topology: for its owner alone if that is private."""
    record = Record(experiment, shlex.join([sys.executable, *sys.argv]), options.arguments,
                    str(options.topology))
    descriptor = os.open(directory / TOPOLOGY, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
                         0o600 if topology.is_private else 0o666)
    with open(descriptor, "wb") as copy:
        copy.write(topology.content)
    _write(directory, {
        "format": FORMAT, "experiment": experiment, "command": record.command,
        "arguments": list(record.arguments), "topology": record.topology})
    return record


def read(directory: Path, experiment: str) -> Record:
    """The record of a run. Raises CalicoMnError when there is none, or of another experiment."""
    path = directory / RECORD
    try:
        found = json.loads(streams.read_bounded(path, MOST_ABOUT))
    except OSError:
        raise CalicoMnError(f"{directory}: holds no {RECORD}: give the directory of a run that"
                            " was cut short") from None
    except (ValueError, RecursionError) as error:
        raise CalicoMnError(f"{path}: cannot be read: {error}") from error
    check_format(path, found.get("format") if isinstance(found, dict) else None)
    try:
        record = Record(found["experiment"], found["command"], tuple(found["arguments"]),
                        found["topology"])
        words = (record.experiment, record.command, record.topology, *record.arguments)
        if not isinstance(found["arguments"], list) or not all(
                isinstance(word, str) and "\0" not in word for word in words):
            raise TypeError
    except (KeyError, TypeError):
        raise CalicoMnError(f"{path}: is not the record of a run") from None
    if record.experiment != experiment:
        raise CalicoMnError(f"{directory}: holds a run of {record.experiment}, not of"
                            f" {experiment}")
    return record


def also(directory: Path) -> Mapping[str, Any]:
    """What :func:`add` has added, among the rest; for a record that :func:`read` has read."""
    found: dict[str, Any] = json.loads(streams.read_bounded(directory / RECORD, MOST_ABOUT))
    return found


def add(directory: Path, facts: Mapping[str, Any]) -> None:
    """Add what has become known: the environment, the plan."""
    path = directory / RECORD
    _write(directory, {**json.loads(streams.read_bounded(path, MOST_ABOUT)), **facts})


def discard(directory: Path) -> None:
    """Take back what :func:`begin` wrote, and the directory if nothing else is in it."""
    for name in (RECORD, TOPOLOGY):
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()


def write_json(path: Path, found: Mapping[str, Any]) -> None:
    """Replace the file at once: a run that is killed here must not leave half of it."""
    beside = path.with_name(f".{path.name}")
    beside.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def _write(directory: Path, record: Mapping[str, Any]) -> None:
    write_json(directory / RECORD, record)
