"""The summary as tables: of all numbers, of speed, and of the metrics that declare a column. Pure.

In goes a :class:`.summary.Summary`; out come tables with a line for each mode and place, or for
each mode, place and metric (:func:`tidy`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from calico_mn.measure.metrics import Column, known_metrics
from calico_mn.measure.statistics import (
    MOST_REPEATS,
    NO_DIFFERENCE,
    Comparison,
    Interval,
    Spread,
)
from calico_mn.measure.trials import PLAIN, POD_ROUTES
from calico_mn.report.document import Cell, Table
from calico_mn.report.summary import REFERENCE, SAME_PACKETS, Row, Summary, What
from calico_mn.report.table import FOOTNOTE
from calico_mn.report.words import counted, tunnelled

COLUMNS = ("mode", "path", "variant", "metric", "size", "unit", "fabric", "encapsulated",
           "source", "destination", "n", "reached", "tunnelled", "median", "low", "high",
           "confidence", "q1", "q3", "min", "max", "outliers", "ratio_to_never", "ratio_n",
           "ratio_low", "ratio_high", "ratio_confidence", "verdict", "needed")

_MEDIANS = "Medians. Each number's scatter and interval are in summary.csv."
#: name -> title and note of the tables in which metrics have columns (:class:`.metrics.Column`)
_TABLES = {
    "delay": ("Delay, packets and connections",
              "Round trips in us, at rest and beside one TCP stream. UDP payloads sent as fast as"
              " the client can: thousands received a second. " + _MEDIANS),
    "cost": ("Packets and their cost",
             "Headers: what the wire carries beyond the payload. CPU time of the whole machine"
             " during the TCP transfer, by 10^9 bytes of payload and by segment of one MSS. Largest"
             " segment: what the sender handed over in one piece (GSO). " + _MEDIANS),
}


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
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


def as_json(summary: Summary) -> list[dict[str, Any]]:
    """The same lines for summary.json, with the outliers themselves."""
    lines = []
    for row in summary.rows:
        for line in _lines(row):
            numbers = row.measures.get((str(line["metric"]), str(line.get("size") or "")))
            lines.append({**{name: value for name, value in line.items() if value is not None},
                          **({"outliers": list(numbers.outliers)} if numbers else {})})
    return lines


# --- to be read

def tables(summary: Summary) -> tuple[Table, ...]:
    """Speed, and the tables of the metrics that declare a column, if they have any."""
    return (_speed(summary), *(table for name in _TABLES for table in _by_columns(summary, name)))


def _speed(summary: Summary) -> Table:
    """Reachability, TCP throughput and round-trip time, each with its ratio to Never."""
    rows = [row for row in summary.rows if row.pairs or row.measures]
    note = FOOTNOTE if any(row.fabric == POD_ROUTES for row in rows) else ""
    return Table(
        "speed", "Throughput and round-trip time",
        ("where", "mode", "pairs reached", "in IPIP", "TCP Mbit/s", "TCP min-max", "TCP to Never",
         "TCP verdict", "RTT us", "RTT min-max", "RTT to Never", "RTT verdict"),
        tuple((*_who(row), f"{row.reached} of {row.pairs}" if row.pairs else None,
               tunnelled(row) if row.pairs else None,
               *_full(row.throughput, row.throughput_ratio),
               *_full(row.latency, row.latency_ratio)) for row in rows),
        " ".join(filter(None, [_count(rows), note])))


def _by_columns(summary: Summary, name: str) -> Iterator[Table]:
    """The medians of all metrics that have a column in this table.

    A metric that was taken with several sizes has a column for each, smallest first.
    """
    rows = [row for row in summary.rows if row.measures]
    columns = sorted(
        ((column, key) for key in dict.fromkeys(key for row in rows for key in row.measures)
         for column in [known_metrics()[key[0]].column] if column and column.table == name),
        key=lambda pair: (pair[0].position, int(pair[1][1] or 0)))
    if columns:
        title, note = _TABLES[name]
        yield Table(name, title,
                    ("where", "mode", *(column.heading.format(size=size)
                                        for column, (_, size) in columns)),
                    tuple((*_who(row), *(_cell(row, key, column) for column, key in columns))
                          for row in rows), note)


def _cell(row: Row, key: What, column: Column) -> Cell:
    spread = row.measures.get(key)
    if spread is None:
        return None
    return round(spread.median * column.scale + column.offset, column.digits or None)


def _who(row: Row) -> tuple[Cell, Cell]:
    return row.place, row.mode + ("*" if row.fabric == POD_ROUTES else "")


def _count(rows: Sequence[Row]) -> str:
    counts = [row.throughput.n for row in rows if row.throughput]
    return f"{counted(counts)}." if counts else ""


def _full(spread: Spread | None, ratio: Comparison | None) -> tuple[Cell, Cell, Cell, Cell]:
    if spread is None:
        return None, None, None, None
    digits = 0 if spread.median >= 100 else 1
    span = f"{spread.minimum:,.{digits}f}-{spread.maximum:,.{digits}f}" if spread.n > 1 else None
    return round(spread.median, digits or None), span, _ratio(ratio), _verdict(ratio)


def _ratio(comparison: Comparison | None) -> str | None:
    if comparison is None or comparison.verdict == REFERENCE:
        return None
    text = f"{comparison.ratio:.2f}"
    return text + (f" [{comparison.interval.low:.2f}-{comparison.interval.high:.2f}]"
                   if comparison.interval else "")


def _verdict(comparison: Comparison | None) -> str | None:
    if comparison is None:
        return None
    return "same packets" if comparison.verdict == SAME_PACKETS else comparison.verdict
