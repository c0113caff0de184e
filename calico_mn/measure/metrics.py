"""Metrics, and measurements as values of metrics. Pure.

An instrument module of this package declares each of its metrics once, beside the code that
takes it::

    THROUGHPUT = metric("throughput", "Mbit/s", "TCP throughput", more_is_better=True)

The name is what a :class:`Measurement` has as a key. The log, the summary, the tables and the
page find unit, title and column here; docs/results.md lists them, and a test compares the two.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

#: a factor's level, or a measured value
Value = str | int | float | bool | None


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
