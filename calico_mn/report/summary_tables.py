"""The summary as tables: of all numbers, of speed, and of the metrics that declare a column. Pure.

In goes a :class:`.summary.Summary`; out come tables with a line for each mode and place, or for
each mode, place and metric (:func:`tidy`), and the comparison as the terminal shows it
(:func:`comparison`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.measure import statistics
from calico_mn.measure.readings import Column, known_metrics
from calico_mn.measure.trials import PLAIN, POD_ROUTES
from calico_mn.report.document import Cell, Numbers, Table, rounded
from calico_mn.report.findings import sample_count, tunnelled_pairs
from calico_mn.report.summary import REFERENCE, SAME_PACKETS, Row, Summary, What

COLUMNS = ("mode", "path", "variant", "metric", "size", "unit", "fabric", "encapsulated",
           "source", "destination", "n", "reached", "tunnelled", "median", "low", "high",
           "confidence", "q1", "q3", "min", "max", "outliers", "ratio_to_never", "ratio_n",
           "ratio_low", "ratio_high", "ratio_confidence", "verdict", "needed")

FOOTNOTE = "* measured with the pods' routes added to the routers: unreachable without"

#: when every throughput in Mbit/s is above it, the terminal shows Gbit/s
_GIGABIT = 1000
#: from here on a number, or a ratio, has a decimal less
_LARGE, _LARGE_RATIO = 100, 10

_MEDIANS = "Medians. Each number's scatter and interval are in summary.csv."
#: name -> title of the tables in which metrics have columns (:class:`.readings.Column`)
_TABLES = {"delay": "Delay, packets and connections", "cost": "Packets and their cost"}
#: metric -> what the note below its table says of it
_NOTES = {
    "latency": "RTT: round-trip time at rest.",
    "loaded_latency": "Loaded: round-trip time beside one TCP stream.",
    "packets": "UDP: payloads sent as fast as the client can; kpps: thousands received a second.",
    "wire_bytes": "Headers: what the wire carries beyond the payload.",
    "largest_segment": "Largest segment: what the sender handed over in one piece (GSO).",
    "retransmits": "Resent: segments.",
    "cpu": "CPU time of the whole machine during the TCP transfer, by 10^9 bytes of payload and by"
           " segment of one MSS.",
}


def tidy(summary: Summary) -> Table:
    """All there is, for further work; what does not apply is empty."""
    return Table("summary", "All numbers", tuple(
        column.replace("never", summary.baseline.lower()) for column in COLUMNS), tuple(
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
               "median": numbers.median, "q1": numbers.q1, "q3": numbers.q3,
               "min": numbers.minimum, "max": numbers.maximum,
               **bounds(numbers.interval), "outliers": len(numbers.outliers),
               **(_compared(ratio) if ratio else {})}


def _compared(ratio: statistics.Comparison) -> dict[str, Cell]:
    # Where there is no difference: how many repeats would show it, or more than how many.
    needed = (ratio.needed or f">{statistics.MOST_REPEATS}"
              if ratio.verdict == statistics.NO_DIFFERENCE else None)
    return {"ratio_to_never": ratio.median, "ratio_n": ratio.n,
            **bounds(ratio.interval, "ratio_"), "verdict": ratio.verdict, "needed": needed}


def bounds(interval: statistics.Interval | None, prefix: str = "") -> dict[str, float | None]:
    """``low``, ``high`` and ``confidence``, with ``prefix`` before each; nothing for None."""
    return {} if interval is None else {
        f"{prefix}low": interval.low, f"{prefix}high": interval.high,
        f"{prefix}confidence": interval.confidence}


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

def tables(summary: Summary, encapsulation: Encapsulation) -> tuple[Table, ...]:
    """Speed, and the tables of the metrics that declare a column, if they have any."""
    return (_speed(summary, encapsulation),
            *(table for name in _TABLES for table in _by_columns(summary, name)))


def _speed(summary: Summary, encapsulation: Encapsulation) -> Table:
    """Reachability, TCP throughput and round-trip time, each with its ratio to the baseline."""
    rows = [row for row in summary.rows if row.pairs or row.measures]
    return _filled(Table(
        "speed", "Throughput and round-trip time",
        ("where", "mode", "pairs reached", f"in {encapsulation}", "TCP Mbit/s", "TCP range Mbit/s",
         f"TCP to {summary.baseline}", "TCP verdict", "RTT us", "RTT range us",
         f"RTT to {summary.baseline}", "RTT verdict"),
        tuple((*_who(row), *_pairs(row), *_full(row.throughput, row.throughput_ratio),
               *_full(row.latency, row.latency_ratio)) for row in rows),
        " ".join(filter(None, [
            f"{count}." if (count := _count(rows)) else "",
            *(f"{line}." for line in _legend(rows)),
            FOOTNOTE if any(row.fabric == POD_ROUTES for row in rows) else ""]))))


def _filled(table: Table) -> Table:
    """The table less the columns of what was not measured."""
    kept = [n for n in range(len(table.columns)) if any(row[n] is not None for row in table.rows)]
    return replace(table, columns=tuple(table.columns[n] for n in kept),
                   rows=tuple(tuple(row[n] for n in kept) for row in table.rows))


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
        notes = dict.fromkeys(_NOTES.get(metric, "") for _, (metric, _) in columns)
        yield Table(name, _TABLES[name],
                    ("where", "mode", *(column.heading.format(size=size)
                                        for column, (_, size) in columns)),
                    tuple((*_who(row), *(_cell(row, key, column) for column, key in columns))
                          for row in rows), " ".join(filter(None, [*notes, _MEDIANS])))


def _cell(row: Row, key: What, column: Column) -> Cell:
    spread = row.measures.get(key)
    if spread is None:
        return None
    return rounded(spread.median * column.scale + column.offset, column.digits)


def _pairs(row: Row) -> tuple[Cell, Cell]:
    return (None, None) if not row.pairs else (
        Numbers(f"{row.reached} of {row.pairs}", {"": row.reached, " of": row.pairs}),
        Numbers(tunnelled_pairs(row), {" pairs": row.tunnelled}))


def _who(row: Row) -> tuple[Cell, Cell]:
    return row.place, _mode(row)


def _mode(row: Row) -> str:
    return row.mode + ("*" if row.fabric == POD_ROUTES else "")


def _count(rows: Sequence[Row]) -> str:
    counts = [next(iter(row.measures.values())).n for row in rows if row.measures]
    return sample_count(counts) if counts else ""


def _full(spread: statistics.Spread | None, ratio: statistics.Comparison | None
          ) -> tuple[Cell, Cell, Cell, Cell]:
    """Median, range, ratio to Never and verdict."""
    if spread is None:
        return None, None, None, None
    digits = 0 if spread.median >= _LARGE else 1
    span = Numbers(f"{spread.minimum:,.{digits}f}-{spread.maximum:,.{digits}f}",
                   {" min": spread.minimum, " max": spread.maximum}) if spread.n > 1 else None
    same = ratio and ratio.verdict == SAME_PACKETS
    return (rounded(spread.median, digits), span,
            Numbers(_ratio(ratio), {"": ratio.median, " n": ratio.n,
                                    **bounds(ratio.interval, " ")})
            if ratio and ratio.verdict != REFERENCE else None,
            "same packets" if same else ratio.verdict if ratio else None)


def _ratio(ratio: statistics.Comparison, interval: bool = True) -> str:
    written = ("{:.2f}" if ratio.median < _LARGE_RATIO else "{:.1f}").format
    return ratio.bracketed(written) if interval else written(ratio.median)


# --- for the terminal

def comparison(summary: Summary, width: int, encapsulation: Encapsulation) -> tuple[str, ...]:
    """Lines: a header of two, a rule, the places with their modes, and what the columns mean.

    Medians come with the smallest and the largest sample and ratios with their interval where
    ``width`` characters are enough for that (about 98), or the latter alone (about 83); on
    less, both stand alone (about 65).
    """
    if not summary.rows:
        return ()
    for ranges, intervals in ((True, True), (False, True)):
        lines = _comparison(summary, encapsulation, ranges, intervals)
        if max(map(len, lines)) <= width:
            return lines
    return _comparison(summary, encapsulation, ranges=False, intervals=False)


def _comparison(summary: Summary, encapsulation: Encapsulation, ranges: bool, intervals: bool
                ) -> tuple[str, ...]:
    slowest = min((row.throughput.minimum for row in summary.rows if row.throughput), default=0)
    unit, scale = ("Gbit/s", 1e-3) if slowest >= _GIGABIT else ("Mbit/s", 1.0)
    median = "median [min-max]" if ranges else "median"
    ratio = "ratio [interval]" if intervals else "ratio"
    base = f"to {summary.baseline}"
    heads = (("", "mode"), ("", "pairs"), ("in", encapsulation.name), (f"TCP {unit}", median),
              (base, ratio), ("RTT us", median), (base, ratio))
    lines_of = {row: (
        f"  {_mode(row)}", f"{row.reached}/{row.pairs}" if row.pairs else "-",
        tunnelled_pairs(row) if row.pairs else "-",
        _range(row.throughput, scale, ranges),
        _ratio(row.throughput_ratio, intervals) if row.throughput_ratio else "-",
        _range(row.latency, 1, ranges),
        _ratio(row.latency_ratio, intervals) if row.latency_ratio else "-")
        for row in summary.rows}
    shown = [n for n in range(len(heads)) if any(line[n] != "-" for line in lines_of.values())]
    header = [heads[n] for n in shown]
    cells = {row: [line[n] for n in shown] for row, line in lines_of.items()}
    widths = [max(len(text) for text in (*heading, *(line[column] for line in cells.values())))
              for column, heading in enumerate(header)]
    titles = [_joined([heading[part] for heading in header], widths) for part in (0, 1)]
    lines = [*titles, "-" * max(map(len, titles))]
    for place in summary.places:
        rows = summary.on(place)
        pair = next((f"{place}: {names}" for row in rows if row.source
                     for names in [f"{row.source} to {row.destination}"] if names not in place),
                    place)
        lines.append(", ".join(filter(None, [pair, _count(rows)])))
        lines += [_joined(cells[row], widths) for row in rows]
    if any(row.fabric == POD_ROUTES for row in summary.rows):
        lines.append(FOOTNOTE)
    return (*lines, *(_legend(summary.rows) if intervals else ()))


def _legend(rows: Sequence[Row]) -> list[str]:
    intervals = [ratio.interval for row in rows
                 for ratio in (row.throughput_ratio, row.latency_ratio) if ratio and ratio.interval]
    few = any(interval.confidence < statistics.CONFIDENCE for interval in intervals)
    return [f"[interval]: of the median ratio, {statistics.confidence_of(intervals)}"
            + (" (so few repeats allow no more)" if few else "")] if intervals else []


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]),
                      *(cell.rjust(width) for cell, width in others)]).rstrip()


def _range(spread: statistics.Spread | None, scale: float, ranges: bool) -> str:
    if spread is None:
        return "-"
    digits = 1 if spread.median * scale < _LARGE else 0
    median, low, high = (f"{value * scale:,.{digits}f}"
                         for value in (spread.median, spread.minimum, spread.maximum))
    return f"{median} [{low}-{high}]" if ranges and spread.n > 1 else median
