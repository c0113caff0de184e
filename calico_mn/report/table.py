"""The comparison as lines of text: for each path class, a line a mode. Pure."""

from __future__ import annotations

from calico_mn.measure.samples import POD_ROUTES
from calico_mn.measure.statistics import Spread
from calico_mn.report.summary import Row, Summary
from calico_mn.report.words import tunnelled

FOOTNOTE = "* with the pods' routes added to the routers: unreachable on the plain fabric"

_GAP = "  "
#: below it a number is shown with a decimal, whatever it counts
_SMALL = 1000


def lines(summary: Summary, ranges: bool) -> tuple[str, ...]:
    """A header of two lines, a rule, then the paths with their modes.

    ``ranges`` adds the smallest and the largest sample to each median, for which a line needs
    about 90 characters instead of 65.
    """
    if not summary.rows:
        return ()
    median = "median [min-max]" if ranges else "median"
    header = (("", "mode"), ("pairs", "reached"), ("in IPIP", "on wire"),
              ("TCP Mbit/s", median), ("of", "Never"), ("RTT us", median), ("of", "Never"))
    cells = {row: _cells(row, ranges) for row in summary.rows}
    widths = [max(len(text) for text in (*title, *(line[column] for line in cells.values())))
              for column, title in enumerate(header)]
    titles = [_joined([title[part] for title in header], widths) for part in (0, 1)]
    found = [*titles, "-" * max(map(len, titles))]
    for path in summary.paths:
        rows = summary.on(path)
        pair = next((f": {row.source} to {row.destination}" for row in rows if row.source), "")
        found.append(f"{path}{pair}")
        found += [_joined(cells[row], widths) for row in rows]
    if any(row.fabric == POD_ROUTES for row in summary.rows):
        found.append(FOOTNOTE)
    return tuple(found)


def _cells(row: Row, ranges: bool) -> tuple[str, ...]:
    star = "*" if row.fabric == POD_ROUTES else " "
    return (f"  {row.mode}",
            f"{row.reached}/{row.pairs}" if row.pairs else "-",
            tunnelled(row) if row.pairs else "-",
            _numbers(row.throughput, 0, ranges) + star, _ratio(row.throughput_ratio),
            _numbers(row.latency, 1, ranges) + star, _ratio(row.latency_ratio))


def _joined(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    first, *others = (
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)))
    return _GAP.join([first, *others]).rstrip()


def _numbers(found: Spread | None, digits: int, ranges: bool) -> str:
    if found is None:
        return "-"
    if found.median < _SMALL:
        digits = 1
    median = f"{found.median:,.{digits}f}"
    return median if not ranges or found.n == 1 else (
        f"{median} [{found.minimum:,.{digits}f}-{found.maximum:,.{digits}f}]")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
