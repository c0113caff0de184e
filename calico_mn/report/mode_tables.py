"""The comparison of modes as tables: speed, delay, and what the packets are like and cost. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from calico_mn.measure.statistics import Comparison, Spread
from calico_mn.measure.trials import POD_ROUTES
from calico_mn.report.document import Cell, Table
from calico_mn.report.summary import REFERENCE, SAME_PACKETS, Row, Summary
from calico_mn.report.table import FOOTNOTE
from calico_mn.report.words import counted, tunnelled

_MEDIANS = "Medians. Each number's scatter and interval are in summary.csv."


def speed(summary: Summary) -> Table:
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


def delay(summary: Summary) -> Table | None:
    """Round trips at rest and under load, UDP packets by size, connections."""
    rows = [row for row in summary.rows if row.measures]
    sizes = sorted({int(size) for row in rows for metric, size in row.measures
                    if metric == "packets"})
    columns = ["where", "mode", "RTT p50 us", "RTT p99", "loaded p50", "loaded p99"]
    for size in sizes:
        columns += [f"UDP {size} B kpps", f"{size} B lost %"]
    columns.append("TCP conn/s")
    return _table(
        "delay", "Delay, packets and connections", columns, rows,
        lambda row: [
            _median(row, "latency"), _median(row, "latency_p99"),
            _median(row, "loaded_latency"), _median(row, "loaded_latency_p99"),
            *(cell for size in sizes for cell in (
                _median(row, "packets", str(size), 1e-3, 1),
                _median(row, "loss", str(size), 100, 1))),
            _median(row, "connections", digits=0)],
        "Round trips in us, at rest and beside one TCP stream. UDP payloads sent as fast as the"
        " client can: thousands received a second. " + _MEDIANS)


def cost(summary: Summary) -> Table | None:
    """What packets look like, and what they cost in CPU time."""
    rows = [row for row in summary.rows if row.measures]
    return _table(
        "cost", "Packets and their cost",
        ["where", "mode", "MSS", "headers %", "largest segment", "resent",
         "CPU s/GB", "user", "system", "softirq", "us a packet"], rows,
        lambda row: [
            _median(row, "mss", digits=0), _headers(row),
            _median(row, "largest_segment", digits=0), _median(row, "retransmits", digits=0),
            *(_median(row, name, digits=3)
              for name in ("cpu", "cpu_user", "cpu_system", "cpu_softirq", "cpu_packet"))],
        "Headers: what the wire carries beyond the payload. CPU time of the whole machine during"
        " the TCP transfer, by 10^9 bytes of payload and by segment of one MSS. Largest segment:"
        " what the sender handed over in one piece (GSO). "
        + _MEDIANS)


def _table(name: str, title: str, columns: Sequence[str], rows: Sequence[Row],
           cells: Callable[[Row], Sequence[Cell]], note: str) -> Table | None:
    found = [(*_who(row), *cells(row)) for row in rows]
    kept = [number for number in range(len(columns))
            if number < 2 or any(row[number] is not None for row in found)]
    if len(kept) <= 2:
        return None
    return Table(name, title, tuple(columns[number] for number in kept),
                 tuple(tuple(row[number] for number in kept) for row in found), note)


def _who(row: Row) -> tuple[Cell, Cell]:
    return row.place, row.mode + ("*" if row.fabric == POD_ROUTES else "")


def _count(rows: Sequence[Row]) -> str:
    counts = [row.throughput.n for row in rows if row.throughput]
    return f"{counted(counts)}." if counts else ""


def _full(found: Spread | None, ratio: Comparison | None) -> tuple[Cell, Cell, Cell, Cell]:
    if found is None:
        return None, None, None, None
    digits = 0 if found.median >= 100 else 1
    span = f"{found.minimum:,.{digits}f}-{found.maximum:,.{digits}f}" if found.n > 1 else None
    return _rounded(found.median, digits), span, _ratio(ratio), _verdict(ratio)


def _ratio(found: Comparison | None) -> str | None:
    if found is None or found.verdict == REFERENCE:
        return None
    text = f"{found.ratio:.2f}"
    return text + (f" [{found.interval.low:.2f}-{found.interval.high:.2f}]"
                   if found.interval else "")


def _verdict(found: Comparison | None) -> str | None:
    if found is None:
        return None
    return "same packets" if found.verdict == SAME_PACKETS else found.verdict


def _median(row: Row, metric: str, size: str = "", scale: float = 1, digits: int = 1) -> Cell:
    found = row.measures.get((metric, size))
    return None if found is None else _rounded(found.median * scale, digits)


def _headers(row: Row) -> Cell:
    found = row.measures.get(("wire_bytes", ""))
    return None if found is None else round(100 * (found.median - 1), 2)


def _rounded(value: float, digits: int) -> float | int:
    return round(value, digits) if digits else round(value)
