"""What the terminal shows: heading, progress, matrices, table, sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.report import matrix, summary_tables
from calico_mn.report.document import BAD, GOOD, MIXED, Document, format_cell, numeric_columns
from calico_mn.report.document import Table as DocumentTable
from calico_mn.report.summary import Summary
from calico_mn.text import column_parts, join, one_line

_STYLES = {matrix.DIRECT: "green", matrix.TUNNELLED: "bold yellow", matrix.UNREACHABLE: "red"}
_TONES = {GOOD: "green", BAD: "red", MIXED: "yellow"}
_NARROWEST = 100
_REDRAW_S = 0.1
_GAP, _COLUMN_GAP = 3, 2
_INDENT = 2


def console() -> Console:
    """Standard output. In a pipe it is wide enough for the table, and has no colours."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=_NARROWEST)


def heading(out: Console, title: str, facts: Iterable[tuple[str, str]]) -> None:
    """A title, and below it one line for each (name, fact)."""
    out.print(Text(title, style="bold"))
    grid = Table.grid(padding=(0, 2))
    for name, fact in facts:
        grid.add_row(Text(name, style="dim"), Text(one_line(fact)))
    out.print(Padding(grid, (0, 0, 1, 2), expand=False))


@contextmanager
def progress(out: Console, seconds: float) -> Iterator[Callable[[str, float], None]]:
    """A bar over the ``seconds`` expected, on a terminal; nothing elsewhere. Gone at the end.

    What is given moves it: what was done last, and how many of the expected seconds that was. It is
    drawn then and not in between: a thread that draws would take time from what is measured.
    """
    with Progress(BarColumn(40), TaskProgressColumn(), TimeRemainingColumn(),
                  TextColumn("{task.description}"), console=out, auto_refresh=False,
                  transient=True, disable=not out.is_terminal) as bar:
        task, drawn = bar.add_task("", total=seconds), 0.0

        def step(doing: str, seconds: float) -> None:
            nonlocal drawn
            bar.update(task, advance=seconds, description=escape(doing))
            now = time.monotonic()
            if now - drawn > _REDRAW_S:
                drawn = now
                bar.refresh()

        yield step


def show_matrices(out: Console, matrices: matrix.Matrices) -> None:
    """The modes' matrices, beside each other where the terminal is wide enough."""
    if not matrices.grids:
        return
    out.print(Text(matrices.title, style="bold"))
    out.print(Text(f"  {matrices.legend}   (rows send)", style="dim"))
    grids = _without_repeats(matrices.grids)
    room = out.width - _INDENT - max(map(len, matrices.labels))
    across = max(1, room // (_GAP + max(max(len(grid.lines[0]), len(_title(grid)))
                                        for grid in grids)))
    for start in range(0, len(grids), across):
        _beside(out, matrices.labels, grids[start:start + across])


def _without_repeats(grids: Sequence[matrix.Grid]) -> list[matrix.Grid]:
    """Grids of one mode that are alike become one: ``Always, before and after``."""
    alike: dict[tuple[str, tuple[str, ...]], list[matrix.Grid]] = {}
    for grid in grids:
        alike.setdefault((grid.mode.partition(", ")[0], grid.lines), []).append(grid)
    modes = [mode for mode, _ in alike]
    return [same[0] if len(same) == 1 else replace(same[0], mode=f"{mode}, " + (
        join([grid.mode.partition(", ")[2] for grid in same]) if modes.count(mode) > 1 else
        "throughout")) for (mode, _), same in alike.items()]


def _beside(out: Console, labels: Sequence[str], grids: Sequence[matrix.Grid]) -> None:
    rows = Table.grid(padding=(0, 0, 0, _GAP))
    rows.add_row("", *(Text(_title(grid), style="bold", no_wrap=True) for grid in grids))
    for number, (label, *cells) in enumerate(
            zip(["", *labels], *(grid.lines for grid in grids), strict=True)):
        rows.add_row(Text(label, style="dim", no_wrap=True),
                         *(_coloured(cell) if number else Text(cell, style="dim", no_wrap=True)
                           for cell in cells))
    out.print(Padding(rows, (0, 0, 1, _INDENT), expand=False))


def _title(grid: matrix.Grid) -> str:
    return f"{grid.mode}: {grid.reached} of {grid.pairs}"


def _coloured(cells: str) -> Text:
    return Text.assemble(*((mark, _STYLES.get(mark, "")) for mark in cells), no_wrap=True)


def show_comparison(out: Console, summary: Summary, encapsulation: Encapsulation) -> None:
    """The comparison, with paths in bold and what was not reached in red."""
    for line in summary_tables.comparison(summary, out.width - _INDENT, encapsulation):
        text = Text(" " * _INDENT + line, no_wrap=True)
        if line.startswith(summary.places):
            text.stylize("bold")
        elif line.startswith(("-", "*", "[")):
            text.stylize("dim")
        text.highlight_regex(r" 0/\d+", "red")
        out.print(text, soft_wrap=True)


def show_sentences(out: Console, sentences: Iterable[str]) -> None:
    """Sentences, one below the other, wrapped with a hanging indent."""
    out.print()
    _print_sentences(out, sentences)


def _print_sentences(out: Console, sentences: Iterable[str]) -> None:
    grid = Table.grid(padding=(0, 1))
    for sentence in sentences:
        grid.add_row("-", Text(sentence))
    out.print(grid)


def show_document(out: Console, document: Document,
                  first_table: Callable[[], None] | None = None) -> None:
    """What was found, the matrices and tables, then what the numbers cannot say.

    ``first_table`` shows what stands in place of the first table.
    """
    _show_titled(out, "Findings", document.findings)
    if document.matrices:
        show_matrices(out, document.matrices)
    if first_table:
        first_table()
        out.print()
    for each in document.tables[bool(first_table):]:
        show_table(out, each)
    _show_titled(out, "What the numbers cannot say", document.caveats)


def _show_titled(out: Console, title: str, sentences: Sequence[str]) -> None:
    if sentences:
        out.print(Text(title, style="bold"))
        _print_sentences(out, sentences)
        out.print()


def show_table(out: Console, content: DocumentTable) -> None:
    """A table under its title; one that is too wide becomes several, below each other.

    Each of them begins with the columns that tell the rows apart.
    """
    cells = [[format_cell(cell) for cell in row] for row in content.rows]
    tones = [_TONES.get(tone, "") for tone in content.tones or ("",) * len(cells)]
    right = numeric_columns(content)
    room = out.width - _INDENT
    out.print(Text(content.title, style="bold"))
    rows = [content.columns, *cells]
    for number, part in enumerate(column_parts(rows, _longest_words(rows), room, _COLUMN_GAP)):
        grid = Table(box=None, pad_edge=False, padding=(0, _COLUMN_GAP, 0, 0), header_style="dim")
        widths = _widths([[row[place] for place in part] for row in rows], room)
        for place, width in zip(part, widths, strict=True):
            grid.add_column(Text(content.columns[place]), width=width, overflow="fold",
                            justify="right" if right[place] else "left")
        for row, tone in zip(cells, tones, strict=True):
            grid.add_row(*(Text(row[place]) for place in part), style=tone)
        out.print(Padding(grid, (1 if number else 0, 0, 0, _INDENT), expand=False))
    if content.note:
        out.print(Padding(Text(content.note, style="dim"), (0, 0, 0, _INDENT), expand=False))
    out.print()


def _longest_words(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width that each column needs at least."""
    return [max(len(word) for cell in column for word in cell.split() or [""])
            for column in zip(*rows, strict=True)]


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Columns' widths that break no word where they fit, lines as few as possible."""
    columns = list(zip(*rows, strict=True))
    wanted = [max(map(len, column)) for column in columns]
    widths = _longest_words(rows)

    def total(widths: Sequence[int]) -> int:
        return sum(widths) + _COLUMN_GAP * (len(widths) - 1)

    while total(widths) < room and widths != wanted:
        place = min((place for place in range(len(widths)) if widths[place] < wanted[place]),
                    key=lambda place: widths[place] / wanted[place])
        widths[place] += 1
    while total(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    return widths
