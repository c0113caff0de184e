"""A table's cells as people read them, the same on the terminal and in report.html. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from calico_mn.report.document import Cell, Table

_SIGNIFICANT = 4


def shown(cell: Cell) -> str:
    """A cell's text: numbers to four digits, ``yes`` and ``no``, nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}" if abs(cell) >= 10000 else str(cell)
    if isinstance(cell, float):
        return _float(cell)
    return cell


def _float(value: float) -> str:
    if not value or abs(value) >= 10 ** (_SIGNIFICANT - 1):
        return f"{value:,.0f}"
    short = f"{value:.{_SIGNIFICANT}g}"
    return short if "e" in short or "." not in short else short.rstrip("0").rstrip(".")


def numeric(table: Table) -> tuple[bool, ...]:
    """For each column whether it holds nothing but numbers, which are put to the right."""
    return tuple(_numbers(row[place] for row in table.rows)
                 for place in range(len(table.columns)))


def _numbers(cells: Iterable[Cell]) -> bool:
    given = [cell for cell in cells if cell is not None and cell != ""]
    return bool(given) and all(isinstance(cell, (int, float)) and not isinstance(cell, bool)
                               for cell in given)
