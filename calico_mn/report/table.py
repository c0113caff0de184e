"""The comparison as lines of text: for each path class, a line a mode. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from calico_mn.measure.statistics import Comparison, Spread
from calico_mn.measure.trials import POD_ROUTES
from calico_mn.report.summary import Row, Summary
from calico_mn.report.words import counted, tunnelled

FOOTNOTE = "* measured with the pods' routes added to the routers: unreachable without"

_GAP = "  "
#: when every throughput is above it, it is shown in Gbit/s
_GIGABIT = 1000
#: from here on a number is shown without decimals
_LARGE = 100
_LARGE_RATIO = 10


def lines(summary: Summary, width: int) -> tuple[str, ...]:
    """A header of two lines, a rule, the paths with their modes, and what the columns mean.

    Medians come with the smallest and the largest sample and ratios with their interval where
    ``width`` characters are enough for that (about 98), or the latter alone (about 83); on
    less, both stand alone (about 65).
    """
    if not summary.rows:
        return ()
    for ranges, intervals in ((True, True), (False, True)):
        found = _lines(summary, ranges, intervals)
        if max(map(len, found)) <= width:
            return found
    return _lines(summary, ranges=False, intervals=False)


def _lines(summary: Summary, ranges: bool, intervals: bool) -> tuple[str, ...]:
    speeds = [row.throughput.minimum for row in summary.rows if row.throughput]
    gigabits = min(speeds, default=0) >= _GIGABIT
    median = "median [min-max]" if ranges else "median"
    ratio = "ratio [interval]" if intervals else "ratio"
    header = (("", "mode"), ("", "pairs"), ("in", "IPIP"),
              ("TCP Gbit/s" if gigabits else "TCP Mbit/s", median), ("to Never", ratio),
              ("RTT us", median), ("to Never", ratio))
    cells = {row: _cells(row, gigabits, ranges, intervals) for row in summary.rows}
    widths = [max(len(text) for text in (*title, *(line[column] for line in cells.values())))
              for column, title in enumerate(header)]
    titles = [_joined([title[part] for title in header], widths) for part in (0, 1)]
    found = [*titles, "-" * max(map(len, titles))]
    for place in summary.places:
        rows = summary.on(place)
        pair = next((f": {row.source} to {row.destination}" for row in rows if row.source), "")
        counts = [row.throughput.n for row in rows if row.throughput]
        found.append(f"{place}{pair}" + (f", {counted(counts)}" if counts else ""))
        found += [_joined(cells[row], widths) for row in rows]
    if any(row.fabric == POD_ROUTES for row in summary.rows):
        found.append(FOOTNOTE)
    if intervals:
        found += _legend(summary.rows)
    return tuple(found)


def _legend(rows: Sequence[Row]) -> list[str]:
    confidences = sorted({ratio.interval.confidence for row in rows
                          for ratio in (row.throughput_ratio, row.latency_ratio)
                          if ratio and ratio.interval})
    if not confidences:
        return []
    percents = [f"{100 * confidence:.0f} %" for confidence in confidences]
    few, many = percents[0], percents[-1]
    return [f"[interval]: of the median ratio, {few if few == many else f'{few} to {many}'}"
            + (" (so few repeats allow no more)" if few != "95 %" else "")]


def _cells(row: Row, gigabits: bool, ranges: bool, intervals: bool) -> tuple[str, ...]:
    return (f"  {row.mode}" + ("*" if row.fabric == POD_ROUTES else ""),
            f"{row.reached}/{row.pairs}" if row.pairs else "-",
            tunnelled(row) if row.pairs else "-",
            _numbers(row.throughput, 1e-3 if gigabits else 1, ranges),
            _ratio(row.throughput_ratio, intervals),
            _numbers(row.latency, 1, ranges), _ratio(row.latency_ratio, intervals))


def _joined(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    first, *others = (
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)))
    return _GAP.join([first, *others]).rstrip()


def _numbers(found: Spread | None, scale: float, ranges: bool) -> str:
    if found is None:
        return "-"
    digits = 1 if found.median * scale < _LARGE else 0
    median, low, high = (f"{value * scale:,.{digits}f}"
                         for value in (found.median, found.minimum, found.maximum))
    return f"{median} [{low}-{high}]" if ranges and found.n > 1 else median


def _ratio(found: Comparison | None, interval: bool) -> str:
    if found is None:
        return "-"
    digits = 2 if found.ratio < _LARGE_RATIO else 1
    text = f"{found.ratio:.{digits}f}"
    if not interval or found.interval is None:
        return text
    return f"{text} [{found.interval.low:.{digits}f}-{found.interval.high:.{digits}f}]"
