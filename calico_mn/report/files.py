"""The summary as files: summary.csv and summary.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calico_mn.measure.samples import FORMAT, PLAIN, UNITS
from calico_mn.measure.statistics import (
    MOST_REPEATS,
    NO_DIFFERENCE,
    Comparison,
    Interval,
    Spread,
)
from calico_mn.report.summary import Row, Summary

COLUMNS = ("mode", "path", "metric", "unit", "fabric", "encapsulated", "source", "destination",
           "n", "reached", "tunnelled", "median", "low", "high", "confidence", "q1", "q3", "min",
           "max", "outliers", "ratio_to_never", "ratio_n", "ratio_low", "ratio_high",
           "ratio_confidence", "verdict", "needed")


def write(directory: Path, summary: Summary, run: Mapping[str, Any]) -> None:
    """Write both files; ``run`` is what is known about the run besides its samples."""
    (directory / "summary.csv").write_text(csv_text(summary), encoding="utf-8")
    (directory / "summary.json").write_text(json_text(summary, run), encoding="utf-8")


def csv_text(summary: Summary) -> str:
    """One line for each mode, path and metric; a field that does not apply is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in summary.rows:
        for line in _lines(row):
            writer.writerow({"mode": row.mode, "path": row.path,
                             "unit": UNITS[line["metric"]], **line})
    return text.getvalue()


def json_text(summary: Summary, run: Mapping[str, Any]) -> str:
    """The rows with their statistics, after what is known about the run."""
    return json.dumps({"format": FORMAT, **run, "rows": [_as_json(row) for row in summary.rows]},
                      indent=2) + "\n"


def _lines(row: Row) -> Iterator[dict[str, Any]]:
    if row.pairs:
        yield {"metric": "reachable", "fabric": PLAIN, "n": row.pairs, "reached": row.reached,
               "tunnelled": row.tunnelled}
    for metric, numbers, ratio in _measured(row):
        if numbers is not None:
            yield {"metric": metric, "fabric": row.fabric,
                   "encapsulated": "" if row.encapsulated is None
                   else str(row.encapsulated).lower(),
                   "source": row.source, "destination": row.destination, "n": numbers.n,
                   **{name: _short(value) for name, value in _five(numbers).items()},
                   **_bounds(numbers.interval), "outliers": len(numbers.outliers),
                   **({} if ratio is None else {
                       "ratio_to_never": f"{ratio.ratio:.3f}", "ratio_n": ratio.n,
                       **_bounds(ratio.interval, "ratio_"), "verdict": ratio.verdict,
                       "needed": _needed(ratio) or ""})}


def _measured(row: Row) -> tuple[tuple[str, Spread | None, Comparison | None], ...]:
    return (("throughput", row.throughput, row.throughput_ratio),
            ("latency", row.latency, row.latency_ratio))


def _bounds(interval: Interval | None, prefix: str = "") -> dict[str, str]:
    return {} if interval is None else {
        f"{prefix}low": _short(interval.low), f"{prefix}high": _short(interval.high),
        f"{prefix}confidence": f"{interval.confidence:g}"}


def _needed(ratio: Comparison) -> int | str | None:
    """Beside a verdict that there is no difference: how many repeats, or more than how many."""
    if ratio.verdict != NO_DIFFERENCE:
        return None
    return f">{MOST_REPEATS}" if ratio.needed is None else ratio.needed


def _five(numbers: Spread) -> dict[str, float]:
    return {"median": numbers.median, "q1": numbers.q1, "q3": numbers.q3,
            "min": numbers.minimum, "max": numbers.maximum}


def _short(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _as_json(row: Row) -> dict[str, Any]:
    values = asdict(row)
    for metric, numbers, ratio in _measured(row):
        del values[f"{metric}_ratio"]
        values[metric] = None if numbers is None else {
            "unit": UNITS[metric], "n": numbers.n,
            **{name: round(value, 3) for name, value in _five(numbers).items()},
            "interval": _interval(numbers.interval, 3), "outliers": list(numbers.outliers),
            "to_never": None if ratio is None else {
                "n": ratio.n, "ratio": round(ratio.ratio, 4),
                "interval": _interval(ratio.interval, 4), "verdict": ratio.verdict,
                "needed": _needed(ratio)}}
    return values


def _interval(interval: Interval | None, digits: int) -> dict[str, float] | None:
    return None if interval is None else {
        "low": round(interval.low, digits), "high": round(interval.high, digits),
        "confidence": interval.confidence}
