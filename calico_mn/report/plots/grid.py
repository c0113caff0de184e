"""A word and a tone for each cell of rows by columns, as of sizes by paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calico_mn.report.document import Figure
from calico_mn.report.plots.engine import styled
from calico_mn.report.plots.layout import demand
from calico_mn.report.plots.lettering import LABEL, SMALL, column, text_height, text_width, wrapped
from calico_mn.report.plots.looks import FAINT, INK, TONES
from calico_mn.report.plots.sheet import MARGIN, WIDTH, Sheet

#: points; narrower columns cannot be read on a phone: the rest goes below
_NARROWEST, _LEAST, _GAP = 54.0, 26.0, 2.5
#: points that rows' names may take: at least, and where the columns leave it
_NAMES, _NAMES_MOST = 96.0, 140.0
#: points below each block of columns
_APART = 10.0

#: (word, tone): tones are those of :mod:`calico_mn.report.document`
Verdict = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Sizes in points, texts in lines. ``blocks`` of columns stand below each other."""

    left: float
    wide: float
    blocks: tuple[tuple[str, ...], ...]
    names: dict[str, str]
    heads: dict[str, str]
    texts: dict[tuple[str, str], str]
    heights: dict[str, float]

    def head(self, block: Sequence[str]) -> float:
        """What a block's headings take."""
        return max(text_height(self.heads[head], SMALL) for head in block) + 4

    @property
    def rows(self) -> float:
        """What all rows of a block take."""
        return sum(self.heights.values())


@styled
def grid(name: str, title: str, rows: Sequence[str], columns: Sequence[str],
         cells: Mapping[tuple[str, str], Verdict], *, row_heading: str = "",
         column_heading: str = "", note: str = "", caption: str = "") -> Figure:
    """``cells`` by (row, column); one that is missing is shown as not tested.

    Raises ValueError without a cell, for a cell of no row or column, or for an unknown tone.
    """
    demand(cells, title)
    for where, (word, tone) in cells.items():
        if where[0] not in rows or where[1] not in columns:
            raise ValueError(f"{title}: the cell {where} is in none of the rows and columns")
        if tone not in TONES:
            raise ValueError(f"{title}: {word} has the unknown tone {tone!r}")
    plan = _plan(rows, columns, cells, row_heading)
    above = text_height(column_heading, SMALL) + (3 if column_heading else 0)
    sheet = Sheet(title, above + sum(plan.head(block) + plan.rows + _APART
                                     for block in plan.blocks), note=note)
    if column_heading:
        sheet.write(plan.left, 0, column_heading, SMALL, colour=FAINT)
    top = above
    for block in plan.blocks:
        _heads(sheet, plan, block, top + plan.head(block) - 4, row_heading)
        _block(sheet, plan, block, top + plan.head(block), cells)
        top += plan.head(block) + plan.rows + _APART
    told = "; ".join(f"{row}: " + ", ".join(
        f"{head} {cells[row, head][0]}" for head in columns if (row, head) in cells)
        for row in rows)
    return sheet.finish(name, title, f"{title}. {told}.", caption)


def _plan(rows: Sequence[str], columns: Sequence[str], cells: Mapping[tuple[str, str], Verdict],
          row_heading: str) -> _Plan:
    # Headings may stand in several lines, the verdicts in cells had better not.
    longest = max(*(text_width(part, SMALL, True) for head in columns for part in head.split()),
                  *(text_width(_word(verdict), SMALL) for verdict in cells.values()))
    needed = max(_NARROWEST, longest + _GAP + 6)
    spare = WIDTH - 2 * MARGIN - 10 - needed * len(columns)
    room = column([*rows, row_heading], min(_NAMES_MOST, max(_NAMES, spare)), LABEL, bold=True)
    left = MARGIN + room + 10
    across = max(1, int((WIDTH - MARGIN - left) / _NARROWEST))
    # As many in each block, so that the last does not stand alone.
    blocks = -(-len(columns) // across)
    across = -(-len(columns) // blocks)
    wide = (WIDTH - MARGIN - left) / across
    inside = wide - _GAP - 6
    names = {row: wrapped(row, room, LABEL, bold=True) for row in rows}
    texts = {(row, head): _words(cells.get((row, head)), inside)
             for row in rows for head in columns}
    heights = {row: max(_LEAST, text_height(names[row], LABEL) + 6,
                        *(text_height(texts[row, head], SMALL) + 8 for head in columns))
               for row in rows}
    return _Plan(left, wide, tuple(tuple(columns[n:n + across])
                                   for n in range(0, len(columns), across)),
                 names, {head: wrapped(head, inside, SMALL, bold=True) for head in columns},
                 texts, heights)


def _heads(sheet: Sheet, plan: _Plan, block: Sequence[str], bottom: float, row_heading: str
           ) -> None:
    """The columns' names, and at the left what the rows are, all ending at ``bottom``."""
    if row_heading:
        sheet.write(plan.left - 10, bottom - text_height(row_heading, SMALL), row_heading, SMALL,
                    colour=FAINT, align="right")
    for place, head in enumerate(block):
        text = plan.heads[head]
        sheet.write(plan.left + (place + 0.5) * plan.wide, bottom - text_height(text, SMALL),
                    text, SMALL, bold=True, align="center")


def _block(sheet: Sheet, plan: _Plan, block: Sequence[str], top: float,
           cells: Mapping[tuple[str, str], Verdict]) -> None:
    """Every row's name, and its cells in the block's columns."""
    axes = sheet.axes(plan.left, top, plan.wide * len(block), plan.rows)
    axes.set_xlim(0, plan.wide * len(block))
    axes.set_ylim(plan.rows, 0)
    at = 0.0
    for row, height in plan.heights.items():
        middle = at + height / 2
        sheet.write(plan.left - 10, top + middle, plan.names[row], bold=True, align="right",
                    middle=True)
        for place, head in enumerate(block):
            known = (row, head) in cells
            if known:
                axes.barh(middle, plan.wide - _GAP, left=place * plan.wide + _GAP / 2,
                          height=height - _GAP, linewidth=0, color=TONES[cells[row, head][1]][0])
            sheet.write(plan.left + (place + 0.5) * plan.wide, top + middle,
                        plan.texts[row, head], SMALL, colour=INK if known else FAINT,
                        align="center", middle=True)
        at += height


def _word(verdict: Verdict) -> str:
    """The word behind its tone's sign."""
    word, tone = verdict
    sign = TONES[tone][1]
    return f"{sign} {word}" if sign else word


def _words(verdict: Verdict | None, room: float) -> str:
    if verdict is None:
        return wrapped("not tested", room, SMALL)
    together, sign = _word(verdict), TONES[verdict[1]][1]
    # A sign alone on a line stands above the whole word.
    if sign and text_width(together, SMALL) > room:
        return f"{sign}\n{wrapped(verdict[0], room, SMALL)}"
    return wrapped(together, room, SMALL)
