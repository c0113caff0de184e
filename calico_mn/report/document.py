"""What an experiment has to say, apart from how it is shown. Pure data.

The terminal, report.html and the CSV files are made of one :class:`Document`, so they cannot say
different things. An experiment fills it; :mod:`calico_mn.report.page` and
:mod:`calico_mn.report.terminal` show it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import median
from typing import Any

from calico_mn.report.matrix import Matrices


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers in a cell that people read as ``text``: rounded, or several together.

    The CSV has each of ``values`` unrounded in a column of its own. A key is what that column's
    name has after the table's: ``""``, ``" low"``.
    """

    text: str
    values: Mapping[str, float | None] = field(hash=False)

    def __str__(self) -> str:
        return self.text


#: what a cell holds: numbers stay numbers in the CSV; None is an empty cell
Cell = str | int | float | bool | Numbers | None

#: tones of a row or a verdict, which screens colour and never use alone
GOOD, BAD, MIXED, PLAIN_TONE = "good", "bad", "mixed", ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns. ``name`` is a file's (``NAME.csv``); ``note`` explains below.

    ``tones`` gives a tone for each row, or is empty.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    tones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: ``NAME.svg`` and ``NAME.png`` in the run's directory.

    ``svg`` is its whole text, ``png`` the same picture's bytes, empty if there are none. ``alt``
    says in words what is to be seen, for those who don't see it; ``caption`` what to take from
    it.
    """

    name: str
    title: str
    svg: str
    alt: str
    caption: str = ""
    png: bytes = b""

    @property
    def data_url(self) -> str:
        """The SVG for an image's ``src``: nothing in it runs."""
        return f"data:image/svg+xml;base64,{b64encode(self.svg.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report.

    ``question`` is one sentence, ``method`` paragraphs; ``findings`` are sentences, the most
    important first; ``caveats`` what the numbers cannot say; ``reproduce`` the exact commands,
    one a line. ``environment`` is as :func:`calico_mn.measure.environment.collect` gives it.
    ``design`` says how much was measured, in parts: repeats, seconds, seed. The numbers of a
    ``quick`` run are not to be reported. ``cut_short`` is None, or why the run was. ``data`` are
    tables for files only: too large to be read, made for further work.
    """

    experiment: str
    title: str
    question: str
    method: tuple[str, ...]
    findings: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    caveats: tuple[str, ...]
    reproduce: tuple[str, ...]
    environment: Mapping[str, Any]
    date: str
    cut_short: str | None = None
    topology: Figure | None = None
    matrices: Matrices | None = None
    failures: Sequence[str] = ()
    data: tuple[Table, ...] = ()
    design: tuple[str, ...] = ()
    quick: bool = False


#: digits of a number in a cell
_SIGNIFICANT = 4


def format_cell(cell: Cell) -> str:
    """A cell's text: numbers to four digits, ``yes`` and ``no``, nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, Numbers):
        return cell.text
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}" if abs(cell) >= 10000 else str(cell)
    return _float(cell) if isinstance(cell, float) else cell


def _float(value: float) -> str:
    if not value or abs(value) >= 10 ** (_SIGNIFICANT - 1):
        return f"{value:,.0f}"
    short = f"{value:.{_SIGNIFICANT}g}"
    return short if "e" in short or "." not in short else short.rstrip("0").rstrip(".")


def numeric_columns(table: Table) -> tuple[bool, ...]:
    """For each column whether it holds nothing but numbers, which are put to the right."""
    return tuple(_are_numbers(row[column] for row in table.rows)
                 for column in range(len(table.columns)))


def _are_numbers(cells: Iterable[Cell]) -> bool:
    given = [cell for cell in cells if cell is not None and cell != ""]
    return bool(given) and all(isinstance(cell, (int, float, Numbers))
                               and not isinstance(cell, bool) for cell in given)


def rounded(value: float | None, digits: int = 0, scale: float = 1) -> Numbers | None:
    """``scale`` times the value with so many digits after the point; all digits in the CSV."""
    return None if value is None else Numbers(f"{scale * value:,.{digits}f}", {"": scale * value})


def median_of(values: Collection[float], digits: int = 0, scale: float = 1) -> Numbers | None:
    """The values' median as of :func:`rounded`; None for no values."""
    return rounded(median(values), digits, scale) if values else None


def ends_of(values: Collection[float], shown: Callable[[float], str]) -> str:
    """``3 to 40``: the least and the most, or one of them if they do not differ."""
    return " to ".join(dict.fromkeys(map(shown, (min(values), max(values)))))


def range_of(values: Collection[float], shown: Callable[[float], str]) -> Numbers | None:
    """``12 (3 to 40)``: the median, and the least and the most if their texts differ.

    ``shown`` gives the text of one number. None for no values.
    """
    if not values:
        return None
    middle, low, high = median(values), min(values), max(values)
    return Numbers(shown(middle) + (
        f" ({ends_of(values, shown)})" if shown(low) != shown(high) else ""),
                   {"": middle, " min": low, " max": high})


def columns_of_csv(table: Table) -> tuple[list[str], list[list[str | float | None]]]:
    """The table's columns and rows with one number in each cell."""
    keys = [list(dict.fromkeys(chain.from_iterable(
        cell.values if isinstance(cell, Numbers) else ("",) if cell is not None else ()
        for cell in cells))) or [""]
        for cells in ([row[n] for row in table.rows] for n in range(len(table.columns)))]
    return [name + key for name, each in zip(table.columns, keys, strict=True) for key in each], [
        [cell.values.get(key) if isinstance(cell, Numbers) else None if key else cell
         for cell, each in zip(row, keys, strict=True) for key in each] for row in table.rows]
