"""The file that readings go to as they are taken: one JSON object a line.

A line is written whole, so a crash loses or keeps all of it, and a run that is taken up again
knows what it has. In go readings, or a file of them; out come lines, or readings that were checked.
docs/results.md describes the fields.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from calico_mn import streams
from calico_mn.errors import CalicoMnError
from calico_mn.measure.readings import Measurement, Reading, Sample, Value, known_metrics, samples

#: files in an experiment's directory: the log of readings, what is known of the run before it
#: measures, all that is known at its end, and the topology that was emulated
READINGS, RECORD, SUMMARY, TOPOLOGY = (
    "results.jsonl", "run.json", "summary.json", "topology.yaml")
#: of results.jsonl, run.json and summary.json together; docs/results.md describes it
FORMAT = 2
#: what is read at most, in bytes: of results.jsonl, and of run.json or summary.json
MOST_READINGS, MOST_ABOUT = 512_000_000, 32_000_000
_Key = tuple[str, int, tuple[tuple[str, Value], ...]]


def _key(instrument: str, setting: Mapping[str, Value], repeat: int) -> _Key:
    return instrument, repeat, tuple(sorted(setting.items()))


class ReadingLog:
    """Writes readings to ``path`` at once, so that a crash loses none that was taken.

    With ``resume`` the file is one that was begun before: its readings are taken over, and a
    last line that was torn is cut off; CalicoMnError when another log writes to it at the moment.
    Otherwise it must not exist: earlier measurements are never overwritten.
    """

    def __init__(self, path: Path, experiment: str, *, resume: bool = False) -> None:
        self.readings: list[Reading] = []
        self._known: dict[_Key, Reading] = {}
        self._file = _opened(path, resume)
        try:
            if resume:
                self._take_over(path, experiment)
            else:
                self._write({"format": FORMAT, "experiment": experiment})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ReadingLog:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The values of all readings so far."""
        return samples(self.readings)

    def find(self, instrument: str, setting: Mapping[str, Value], repeat: int = 1
             ) -> Reading | None:
        """The reading of this instrument under this setting and repeat, if it was taken."""
        return self._known.get(_key(instrument, setting, repeat))

    def add(self, instrument: str, setting: Mapping[str, Value], measurement: Measurement,
            repeat: int = 1) -> Reading:
        """Number a reading, store it, write it. A repeat of a setting is read once in a run."""
        unknown = set(measurement.values) - set(known_metrics())
        assert not unknown, f"metrics without a unit: {unknown}"
        assert self.find(instrument, setting, repeat) is None, "read twice"
        reading = Reading(len(self.readings) + 1, instrument, repeat, dict(setting),
                          dict(measurement.seen), dict(measurement.values),
                          {name: list(values) for name, values in measurement.series.items()})
        self._write(asdict(reading))
        self._keep(reading)
        return reading

    def _take_over(self, path: Path, experiment: str) -> None:
        name, readings, whole = _read(path)
        if name != experiment:
            raise CalicoMnError(f"{path}: holds readings of {name}, not of {experiment}")
        for reading in readings:
            self._keep(reading)
        os.truncate(path, whole)

    def _keep(self, reading: Reading) -> None:
        self.readings.append(reading)
        self._known[_key(reading.instrument, reading.setting, reading.repeat)] = reading

    def _write(self, record: Mapping[str, object]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def _opened(path: Path, resume: bool) -> TextIO:
    """The file, locked for as long as it is open: two runs at once would spoil it."""
    if resume and not path.is_file():
        raise CalicoMnError(f"{path}: is missing: there is nothing to go on with")
    try:
        file = open(path, "a" if resume else "x", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        if not resume:
            raise
        raise CalicoMnError(f"{path}: cannot be gone on with: {error.strerror}") from None
    with suppress(OSError):  # a file system that has no locks
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise CalicoMnError(f"{path}: its run is still going on") from None
    return file


def load_readings(path: Path) -> tuple[Reading, ...]:
    """Read a file of readings.

    A last line that was torn by a crash is left out. Raises CalicoMnError, with the line's number,
    for anything else that is not a reading, and for a later format.
    """
    return _read(path)[1]


def _read(path: Path) -> tuple[str, tuple[Reading, ...], int]:
    """The experiment's name, its readings, and how many bytes of the file are whole lines."""
    try:
        data = streams.read_bounded(path, MOST_READINGS)
        # What follows the last line end was not written to its end.
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].decode("utf-8").split("\n")[:-1]
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CalicoMnError(f"{path}: cannot be read: {why}") from error
    if not lines:
        raise CalicoMnError(f"{path}: holds nothing: the run ended before its first reading")
    return _header(path, lines[0]), tuple(_readings(path, lines[1:])), whole


def _header(path: Path, line: str) -> str:
    try:
        header = json.loads(line)
        number, name = header["format"], header["experiment"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CalicoMnError(f"{path}:1: not the first line of results: {line[:80]!r}") from None
    check_format(path, number)
    return str(name)


def check_format(path: Path, number: object) -> None:
    """Raise CalicoMnError when a file has a format that this version does not read."""
    if type(number) is not int or number < 1:
        raise CalicoMnError(f"{path}: names no format of results")
    if number > FORMAT:
        raise CalicoMnError(f"{path}: has format {number}, and this calico_mn reads up to"
                            f" {FORMAT}: use the version that wrote it, or a later one")
    if number < FORMAT:
        raise CalicoMnError(f"{path}: has format {number}, and this calico_mn reads {FORMAT}:"
                            " use the version that wrote it")


def _readings(path: Path, lines: Sequence[str]) -> Iterator[Reading]:
    for number, line in enumerate(lines, 2):
        try:
            yield _reading(json.loads(line))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CalicoMnError(f"{path}:{number}: not a reading: {line[:80]!r}") from error


def _reading(line: Mapping[str, Any]) -> Reading:
    """Raises ValueError, TypeError or KeyError for what is no reading."""
    series = _object(line["series"])
    if not all(isinstance(values, list) and all(map(_is_number, values))
               for values in series.values()):
        raise TypeError("a series is a list of numbers")
    values = _levels(line["values"])
    if not _is_word(line["instrument"]) or not values.keys() <= known_metrics().keys():
        raise TypeError("an instrument has a name, and metrics that are known")
    return Reading(_counted(line["order"]), line["instrument"], _counted(line["repeat"]),
                   _levels(line["setting"]), _levels(line["seen"]), values, series)


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _levels(value: object) -> dict[str, Value]:
    levels = _object(value)
    if not all(level is None or _is_word(level) or isinstance(level, bool) or _is_number(level)
               for level in levels.values()) or not all(map(_is_word, levels)):
        raise TypeError("a level or value is a word, a number, a truth value or null")
    return levels


def _is_word(value: object) -> bool:
    """Names of pods, modes, devices: nothing that a terminal would act on."""
    return isinstance(value, str) and value.isprintable()


def _is_number(value: object) -> bool:
    """Also finite: JSON has neither infinity nor NaN, but 1e999 is read as the former."""
    return isinstance(value, (int, float)) and abs(value) < math.inf


def _counted(value: object) -> int:
    if type(value) is not int or value < 1:
        raise TypeError("a count begins at 1")
    return value
