"""The summary as a tidy table: a line for each mode, place and metric. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from calico_mn.measure.metrics import known_metrics
from calico_mn.measure.statistics import (
    MOST_REPEATS,
    NO_DIFFERENCE,
    Comparison,
    Interval,
    Spread,
)
from calico_mn.measure.trials import PLAIN
from calico_mn.report.document import Cell, Table
from calico_mn.report.summary import Row, Summary

COLUMNS = ("mode", "path", "variant", "metric", "size", "unit", "fabric", "encapsulated",
           "source", "destination", "n", "reached", "tunnelled", "median", "low", "high",
           "confidence", "q1", "q3", "min", "max", "outliers", "ratio_to_never", "ratio_n",
           "ratio_low", "ratio_high", "ratio_confidence", "verdict", "needed")


def tidy(summary: Summary) -> Table:
    """All there is, for further work; what does not apply is empty."""
    return Table("summary", "All numbers", COLUMNS, tuple(
        tuple(line.get(column) for column in COLUMNS)
        for row in summary.rows for line in _lines(row)))


def _lines(row: Row) -> Iterator[dict[str, Cell]]:
    common = {"mode": row.mode, "path": row.path, "variant": row.variant or None}
    if row.pairs:
        yield {**common, "metric": "reachable", "unit": known_metrics()["reachable"].unit,
               "fabric": PLAIN, "n": row.pairs, "reached": row.reached,
               "tunnelled": row.tunnelled}
    for (metric, size), numbers in row.measures.items():
        ratio = row.ratios.get((metric, size))
        yield {**common, "metric": metric, "size": int(size) if size else None,
               "unit": known_metrics()[metric].unit, "fabric": row.fabric,
               "encapsulated": None if row.encapsulated is None
               else str(row.encapsulated).lower(),
               "source": row.source, "destination": row.destination, "n": numbers.n,
               **{name: short(value) for name, value in _five(numbers).items()},
               **_bounds(numbers.interval), "outliers": len(numbers.outliers),
               **(_compared(ratio) if ratio else {})}


def _compared(ratio: Comparison) -> dict[str, Cell]:
    return {"ratio_to_never": short(ratio.ratio, 4), "ratio_n": ratio.n,
            **_bounds(ratio.interval, "ratio_", 4), "verdict": ratio.verdict,
            "needed": _needed(ratio)}


def _bounds(interval: Interval | None, prefix: str = "", digits: int = 3) -> dict[str, Cell]:
    return {} if interval is None else {
        f"{prefix}low": short(interval.low, digits), f"{prefix}high": short(interval.high, digits),
        f"{prefix}confidence": interval.confidence}


def _needed(ratio: Comparison) -> Cell:
    """Beside a verdict that there is no difference: how many repeats, or more than how many."""
    if ratio.verdict != NO_DIFFERENCE:
        return None
    return f">{MOST_REPEATS}" if ratio.needed is None else ratio.needed


def _five(numbers: Spread) -> dict[str, float]:
    return {"median": numbers.median, "q1": numbers.q1, "q3": numbers.q3,
            "min": numbers.minimum, "max": numbers.maximum}


def short(value: float, digits: int = 3) -> float | int:
    """Rounded, and without a fraction where there is none."""
    found = round(value, digits)
    return int(found) if found == int(found) else found


def as_json(summary: Summary) -> list[dict[str, Any]]:
    """The same lines for summary.json, with the outliers themselves."""
    found = []
    for row in summary.rows:
        for line in _lines(row):
            numbers = row.measures.get((str(line["metric"]), str(line.get("size") or "")))
            found.append({**{name: value for name, value in line.items() if value is not None},
                          **({"outliers": list(numbers.outliers)} if numbers else {})})
    return found
