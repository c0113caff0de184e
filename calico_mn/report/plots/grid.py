"""What happened in each case: a word for each cell of rows by columns, losses on a line of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calico_mn.report.document import Figure
from calico_mn.report.graphics import FAINT, INK, LETTERS, TONES, VERMILION
from calico_mn.report.plots import canvas
from calico_mn.text import number

#: points; narrower columns cannot be read on a phone: the rest goes below
_NARROWEST = 54.0
#: points that rows' names may take: at least, and where the columns leave it
_ROW_NAMES, _ROW_NAMES_MOST = 96.0, 140.0

#: (word, tone): tones are those of :mod:`calico_mn.report.document`
Verdict = tuple[str, str]


@canvas.styled
def grid(name: str, title: str, row_names: Sequence[str], columns: Sequence[str],
         cells: Mapping[tuple[str, str], Verdict], *, row_heading: str = "",
         column_heading: str = "", note: str = "", caption: str = "") -> Figure:
    """``cells`` by (row, column); one that is missing is shown as not tested.

    Columns that find no room beside each other stand in blocks below each other. Raises ValueError
    without a cell, for a cell of no row or column, or for an unknown tone.
    """
    canvas.check_not_empty(cells, title)
    for where, (word, tone) in cells.items():
        if where[0] not in row_names or where[1] not in columns:
            raise ValueError(f"{title}: the cell {where} is in none of the rows and columns")
        if tone not in TONES:
            raise ValueError(f"{title}: {word} has the unknown tone {tone!r}")
    # Headings may stand in several lines, the verdicts in cells had better not.
    longest = max(
        *(canvas.text_width(part, canvas.SMALL, True) for head in columns for part in head.split()),
        *(canvas.text_width(_signed(verdict), canvas.SMALL) for verdict in cells.values()))
    spare = canvas.WIDTH - 2 * canvas.MARGIN - 10 - max(_NARROWEST, longest + 8) * len(columns)
    names_room = min(min(_ROW_NAMES_MOST, max(_ROW_NAMES, spare)),
                     max(canvas.text_width(text, canvas.LABEL, True)
                         for text in (*row_names, row_heading)))
    room = canvas.WIDTH - 2 * canvas.MARGIN - names_room - 10
    most = max(1, int(room / _NARROWEST))
    # As many in each block, so that the last does not stand alone.
    across = -(-len(columns) // -(-len(columns) // most))
    blocks = [columns[n:n + across] for n in range(0, len(columns), across)]
    inside = room / across - 8
    rows = canvas.Rows(row_names, 26, room=names_room)
    texts = {(row, head): _text(cells.get((row, head)), inside)
             for row in row_names for head in columns}
    rows.heights = [max(height, *(canvas.text_height(texts[row, head], canvas.SMALL) + 8
                                  for head in columns))
                    for row, height in zip(row_names, rows.heights, strict=True)]
    sheet = canvas.Sheet(title, [rows.height] * len(blocks), note=note)
    for axes, block in zip(sheet.axes, blocks, strict=True):
        middles = rows.show(axes, [INK] * len(row_names))
        _block(axes, block, across, rows.heights, [
            [TONES[cells[row, head][1]][0] if (row, head) in cells else "white" for head in block]
            for row in row_names])
        axes.set_xticks(range(len(block)), [
            canvas.wrapped(head, inside, canvas.SMALL, bold=True) for head in block],
            fontweight="bold", color=INK)
        axes.annotate(canvas.wrapped(row_heading, names_room, canvas.SMALL), (0, 1), (-10, 4),
                      ha="right", xycoords="axes fraction", textcoords="offset points",
                      fontsize=canvas.SMALL, color=FAINT)
        for row, middle in zip(row_names, middles, strict=True):
            for place, head in enumerate(block):
                axes.text(place, middle, texts[row, head], fontsize=canvas.SMALL, ha="center",
                          va="center", linespacing=1.15,
                          color=INK if (row, head) in cells else FAINT)
    sheet.axes[0].set_xlabel(column_heading, loc="left", labelpad=7)
    alt = "; ".join(f"{row}: " + ", ".join(
        f"{head} {cells[row, head][0]}" for head in columns if (row, head) in cells)
        for row in row_names)
    return sheet.finish(name, title, f"{title}. {alt}.", caption)


def _block(axes: canvas.Axes, block: Sequence[str], across: int, heights: Sequence[float],
           colours: Sequence[Sequence[str]]) -> None:
    """The cells' backgrounds in axes that have room for so many columns."""
    from matplotlib.colors import ListedColormap
    flat = [colour for row in colours for colour in row]
    number_of = {colour: n for n, colour in enumerate(dict.fromkeys(flat))}
    axes.pcolormesh([n - 0.5 for n in range(len(block) + 1)],
                    [sum(heights[:n]) for n in range(len(heights) + 1)],
                    [[number_of[colour] for colour in row] for row in colours],
                    cmap=ListedColormap(list(number_of)), vmin=-0.5, vmax=len(number_of) - 0.5,
                    edgecolors="white", linewidth=2.5)
    axes.set_xlim(-0.5, across - 0.5)
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")


def _signed(verdict: Verdict) -> str:
    """The word behind its tone's sign."""
    return f"{TONES[verdict[1]][1]} {verdict[0]}".strip()


def _text(verdict: Verdict | None, room: float) -> str:
    """A cell's text in lines; a sign that has no room beside the word stands above it."""
    if verdict is None:
        return canvas.wrapped("not tested", room, canvas.SMALL)
    together, sign = _signed(verdict), TONES[verdict[1]][1]
    if sign and canvas.text_width(together, canvas.SMALL) > room:
        return f"{sign}\n{canvas.wrapped(verdict[0], room, canvas.SMALL)}"
    return canvas.wrapped(together, room, canvas.SMALL)


@dataclass(frozen=True, slots=True)
class Losses:
    """A case: when each lost packet was sent, in ms since the event; ``sent`` packets in all."""

    label: str
    lost: tuple[float, ...]
    sent: int | None = None

    @property
    def in_words(self) -> tuple[str, str]:
        """How many were lost, and of how many."""
        return (f"{len(self.lost):,} lost" if self.lost else "none lost",
                f"of {self.sent:,}" if self.sent is not None else "")


@canvas.styled
def timeline(name: str, title: str, event: str, cases: Sequence[Losses], *,
             window: tuple[float, float] | None = None, note: str = "",
             caption: str = "") -> Figure:
    """Strokes at the lost packets; ``event`` ("mode changed") is at 0.

    ``window`` is the time that was watched, in ms; losses outside it are shown nevertheless.
    A row without losses says so. Raises ValueError without a row.
    """
    canvas.check_not_empty(cases, title)
    for case in cases:
        canvas.check_finite((*case.lost, *(window or ())), case.label)
    rows = canvas.Rows([case.label for case in cases], 30, bold=False)
    sheet = canvas.Sheet(title, [rows.height], note=note,
                         lead="A stroke is a lost packet, at the time at which it was sent; the bar"
                              " reaches from the first to the last.")
    (axes,) = sheet.axes
    middles = rows.show(axes, [INK] * len(cases))
    axes.grid(visible=True, axis="y")
    room = 10 + max(canvas.text_width(text, canvas.LABEL, bold=True)
                    for case in cases for text in case.in_words)
    for case, middle in zip(cases, middles, strict=True):
        if case.lost:
            axes.barh(middle, max(case.lost) - min(case.lost), left=min(case.lost), height=13,
                      color=VERMILION, alpha=0.2, linewidth=0)
        canvas.beside(axes, middle, room, *case.in_words, size=canvas.LABEL, bold=bool(case.lost),
                      colour=LETTERS[VERMILION] if case.lost else FAINT)
    axes.eventplot([case.lost for case in cases], lineoffsets=middles, linelengths=16,
                   linewidths=1.0, colors=VERMILION)
    times = [time for case in cases for time in case.lost] + [0.0, *(window or ())]
    margin = (max(times) - min(times)) * 0.03 or 1.0
    axes.set_xlim(min(times) - margin, max(times) + margin)
    axes.axvline(0, color=INK, linewidth=1.2)
    axes.annotate(canvas.wrapped(event, 200, canvas.SMALL), (0, 1), (-2, 4), ha="left",
                  fontsize=canvas.SMALL, xycoords=axes.get_xaxis_transform(),
                  textcoords="offset points")
    canvas.scale(axes, f"ms since {event}")
    alt = "; ".join(f"{case.label}: {' '.join(case.in_words)}".rstrip() + (
        f" from {number(min(case.lost))} to {number(max(case.lost))} ms" if case.lost else "")
        for case in cases)
    return sheet.finish(name, title, f"Packets lost since {event}. {alt}.", caption)
