"""The summary as files: summary.csv and summary.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calico_mn.measure.samples import PLAIN, UNITS
from calico_mn.measure.statistics import Spread
from calico_mn.report.summary import Row, Summary

#: of summary.json and results.jsonl together; docs/results.md describes it
FORMAT = 1

COLUMNS = ("mode", "path", "metric", "unit", "fabric", "encapsulated", "source", "destination",
           "n", "reached", "tunnelled", "median", "q1", "q3", "min", "max", "ratio_to_never")


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
    for metric, numbers, ratio in (("throughput", row.throughput, row.throughput_ratio),
                                   ("latency", row.latency, row.latency_ratio)):
        if numbers is not None:
            yield {"metric": metric, "fabric": row.fabric,
                   "encapsulated": "" if row.encapsulated is None
                   else str(row.encapsulated).lower(),
                   "source": row.source, "destination": row.destination, "n": numbers.n,
                   **{name: _short(value) for name, value in _five(numbers).items()},
                   "ratio_to_never": "" if ratio is None else f"{ratio:.3f}"}


def _five(numbers: Spread) -> dict[str, float]:
    return {"median": numbers.median, "q1": numbers.q1, "q3": numbers.q3,
            "min": numbers.minimum, "max": numbers.maximum}


def _short(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _as_json(row: Row) -> dict[str, Any]:
    values = asdict(row)
    for metric, numbers in (("throughput", row.throughput), ("latency", row.latency)):
        ratio = values.pop(f"{metric}_ratio")
        values[metric] = None if numbers is None else {
            "unit": UNITS[metric], "n": numbers.n,
            **{name: round(value, 3) for name, value in _five(numbers).items()},
            "ratio_to_never": None if ratio is None else round(ratio, 4)}
    return values
