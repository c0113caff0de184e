"""A word and a tone for each cell of rows by columns, as of sizes by paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calico_mn.report.document import Figure
from calico_mn.report.plots.engine import styled
from calico_mn.report.plots.layout import demand
from calico_mn.report.plots.lettering import LABEL, SMALL, column, text_height, text_width, wrapped
from calico_mn.report.plots.looks import FAINT, INK, TONES
from calico_mn.report.plots.sheet import MARGIN, WIDTH, Sheet

#: narrower columns cannot be read on a phone: the rest goes below
_NARROWEST, _LEAST, _GAP = 54.0, 26.0, 2.5

#: (word, tone): tones are those of :mod:`calico_mn.report.document`
Verdict = tuple[str, str]


@styled
def grid(name: str, title: str, rows: Sequence[str], columns: Sequence[str],
         cells: Mapping[tuple[str, str], Verdict], *, row_heading: str = "",
         column_heading: str = "", lead: str = "", note: str = "", caption: str = "") -> Figure:
    """``cells`` by (row, column); one that is missing is shown as not tested.

    Raises ValueError without a cell, for a cell of no row or column, or for an unknown tone.
    """
    demand(cells, title)
    for where, (word, tone) in cells.items():
        if where[0] not in rows or where[1] not in columns:
            raise ValueError(f"{title}: the cell {where} is in none of the rows and columns")
        if tone not in TONES:
            raise ValueError(f"{title}: {word} has the unknown tone {tone!r}")
    room = column([*rows, row_heading], 96, LABEL, bold=True)
    names = {row: wrapped(row, room, LABEL, bold=True) for row in rows}
    left = MARGIN + room + 10
    across = max(1, int((WIDTH - MARGIN - left) / _NARROWEST))
    # As many in each block, so that the last does not stand alone.
    blocks = -(-len(columns) // across)
    across = -(-len(columns) // blocks)
    wide = (WIDTH - MARGIN - left) / across
    inside = wide - _GAP - 6
    texts = {(row, head): _words(cells, row, head, inside) for row in rows for head in columns}
    heads = {head: wrapped(head, inside, SMALL, bold=True) for head in columns}
    high = {row: max(_LEAST, text_height(names[row], LABEL) + 6,
                     *(text_height(texts[row, head], SMALL) + 8 for head in columns))
            for row in rows}
    parts = [columns[n:n + across] for n in range(0, len(columns), across)]
    above = text_height(column_heading, SMALL)
    tops = [max(text_height(heads[head], SMALL) for head in part) + 4 for part in parts]
    body = above + sum(tops) + (sum(high.values()) + 10) * len(parts)
    sheet = Sheet(title, body, lead, note)
    if column_heading:
        sheet.write(left, 0, column_heading, SMALL, colour=FAINT)
    at = above
    for part, top in zip(parts, tops, strict=True):
        if row_heading:
            sheet.write(left - 10, at + top - 4 - text_height(row_heading, SMALL), row_heading,
                        SMALL, colour=FAINT, align="right")
        for place, head in enumerate(part):
            sheet.write(left + (place + 0.5) * wide, at + top - 4 - text_height(heads[head], SMALL),
                        heads[head], SMALL, bold=True, align="center")
        at += top
        axes = sheet.axes(left, at, wide * len(part), sum(high.values()))
        axes.set_xlim(0, wide * len(part))
        axes.set_ylim(sum(high.values()), 0)
        start = at
        for row in rows:
            sheet.write(left - 10, at + high[row] / 2, names[row], bold=True, align="right",
                        middle=True)
            for place, head in enumerate(part):
                known = (row, head) in cells
                if known:
                    axes.barh(at - start + high[row] / 2, wide - _GAP, left=place * wide + _GAP / 2,
                              height=high[row] - _GAP, linewidth=0,
                              color=TONES[cells[row, head][1]][0])
                sheet.write(left + (place + 0.5) * wide, at + high[row] / 2, texts[row, head],
                            SMALL, colour=INK if known else FAINT, align="center", middle=True)
            at += high[row]
        at += 10
    told = "; ".join(f"{row}: " + ", ".join(
        f"{head} {cells[row, head][0]}" for head in columns if (row, head) in cells)
        for row in rows)
    return sheet.finish(name, title, f"{title}. {told}.", caption)


def _words(cells: Mapping[tuple[str, str], Verdict], row: str, head: str, room: float) -> str:
    if (row, head) not in cells:
        return wrapped("not tested", room, SMALL)
    word, tone = cells[row, head]
    sign = TONES[tone][1]
    together = f"{sign} {word}" if sign else word
    # A sign alone on a line stands above the whole word.
    if sign and text_width(together, SMALL) > room:
        return f"{sign}\n{wrapped(word, room, SMALL)}"
    return wrapped(together, room, SMALL)
