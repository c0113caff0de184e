"""Metrics, measurements as their values, and readings: what was measured, as data. Pure.

An instrument module of this package declares each of its metrics once, beside the code that
takes it::

    THROUGHPUT = metric("throughput", "Mbit/s", "TCP throughput", more_is_better=True)

The name is what a :class:`Measurement` has as a key. The log, the summary, the tables and the
page find unit, title and column here; docs/results.md lists them, and a test compares the two.

A reading is one instrument's result under one setting: a TCP transfer gives throughput,
retransmits and CPU time together. It is asked for by its factors, by repeat, for a metric's
numbers. The file that readings go to is :mod:`.reading_log`'s.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

#: a factor's level, or a measured value
Value = str | int | float | bool | None
#: in ``seen``: the machine that took the reading, where a run was measured on several
MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Column:
    """A metric's column in a table of medians over modes and places.

    ``table`` is the table's name and ``position`` the place among its columns. ``heading`` may
    have ``{size}``. A cell is ``scale`` times the median, ``offset`` added, to so many ``digits``.
    """

    table: str
    position: int
    heading: str
    digits: int = 0
    scale: float = 1
    offset: float = 0


@dataclass(frozen=True, slots=True)
class Metric:
    """What a value is: ``more_is_better`` is None for a fact that is not a performance."""

    name: str
    unit: str
    title: str
    more_is_better: bool | None = None
    column: Column | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What an instrument says: metric -> value, and lists of the single values behind them.

    ``seen`` is what was observed besides, such as whether packets were encapsulated.
    """

    values: Mapping[str, Value]
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seen: Mapping[str, Value] = field(default_factory=dict)


_declared: dict[str, Metric] = {}


def metric(name: str, unit: str, title: str, *, more_is_better: bool | None = None,
           column: Column | None = None) -> str:
    """Declare a metric; its name. Raises ValueError for a name that two instruments declare."""
    declared = Metric(name, unit, title, more_is_better, column)
    if _declared.setdefault(name, declared) != declared:
        raise ValueError(f"the metric {name} is declared twice")
    return name


@cache
def known_metrics() -> Mapping[str, Metric]:
    """Every metric of every instrument, by name: those of all modules beside this one."""
    package = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{__package__}.{module.name}")
    return _declared


# --- readings

@dataclass(frozen=True, slots=True)
class Reading:
    """A line of results.jsonl.

    ``setting`` has the factors under which it was taken. ``repeat`` and ``order`` count from 1,
    the latter over the whole run.
    """

    order: int
    instrument: str
    repeat: int
    setting: Mapping[str, Value]
    seen: Mapping[str, Value]
    values: Mapping[str, Value]
    series: Mapping[str, Sequence[float]]

    def text(self, factor: str) -> str:
        """A factor's level as text."""
        return str(self.setting[factor])

    def number(self, metric: str) -> float | None:
        """A metric's value; None where it has none, or another than a number."""
        value = self.values.get(metric)
        return value if isinstance(value, (int, float)) else None


def by_factors(readings: Iterable[Reading], *factors: str
               ) -> dict[tuple[Any, ...], tuple[Reading, ...]]:
    """Levels of these factors -> the readings under them, in the order they were taken."""
    groups: dict[tuple[Any, ...], list[Reading]] = {}
    for reading in readings:
        groups.setdefault(tuple(reading.setting[factor] for factor in factors), []).append(reading)
    return {levels: tuple(group) for levels, group in groups.items()}


def under(readings: Iterable[Reading], instrument: str = "", /, **levels: Value
          ) -> list[Reading]:
    """The readings under these levels of factors, of one instrument if it is named."""
    return [reading for reading in readings if instrument in (reading.instrument, "")
            and all(reading.setting.get(factor) == level for factor, level in levels.items())]


def values(readings: Iterable[Reading], metric: str, **levels: Value) -> list[float]:
    """A metric's numbers in the readings under these levels; what is no number is left out."""
    return [value for reading in under(readings, **levels)
            for value in [reading.number(metric)] if value is not None]


def by_repeat(readings: Iterable[Reading], metric: str, **levels: Value) -> dict[int, float]:
    """Repeat -> the metric's number in it, the sum of several, under these levels."""
    numbers: dict[int, float] = {}
    for reading in under(readings, **levels):
        value = reading.number(metric)
        if value is not None:
            numbers[reading.repeat] = numbers.get(reading.repeat, 0) + value
    return numbers


def _factor(name: str) -> property:
    return property(lambda sample: str(sample.reading.setting.get(name, "")))


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value of a reading: a tidy row.

    ``path`` is the path class, ``source`` and ``destination`` are pods as ``namespace/name``,
    ``tunnel`` is the tunnel back end; each is empty where the reading has none.
    """

    metric: str
    value: Value
    reading: Reading
    repeat = property(lambda self: self.reading.repeat)
    order = property(lambda self: self.reading.order)
    mode = _factor("mode")
    path = _factor("path")
    source = _factor("source")
    destination = _factor("destination")
    tunnel = _factor("tunnel")

    @property
    def number(self) -> float:
        """The value of a metric that is a number."""
        assert isinstance(self.value, (int, float))
        return self.value

    @property
    def unit(self) -> str:
        """The metric's unit."""
        return known_metrics()[self.metric].unit

    @property
    def fabric(self) -> str:
        """``plain``, or ``pod-routes`` when the routers were taught the pods' blocks."""
        return str(self.reading.setting.get("fabric") or "plain")

    @property
    def encapsulated(self) -> bool | None:
        """Whether the packets were seen encapsulated; None: none was seen at all."""
        seen = self.reading.seen.get("encapsulated")
        return seen if isinstance(seen, bool) else None

    def row(self) -> dict[str, Value]:
        """A flat row for tables: a column for each factor, then metric, value and unit."""
        reading = self.reading
        return {"order": reading.order, "instrument": reading.instrument,
                "repeat": reading.repeat, **reading.setting, **reading.seen,
                "metric": self.metric, "value": self.value, "unit": self.unit}


def samples(readings: Sequence[Reading]) -> tuple[Sample, ...]:
    """Every value of every reading, in the order in which they were taken."""
    return tuple(Sample(metric, value, reading) for reading in readings
                 for metric, value in reading.values.items())
