"""Under each host the routes by which the packet went on, and who answered ARP. Pure."""

from __future__ import annotations

from calico_mn.report.svg import fitted, text, width
from calico_mn.trace.path_trace import Neighbour, Routing
from calico_mn.trace.picture import style
from calico_mn.trace.picture.layout import Column, Stage
from calico_mn.trace.recording import SWITCH

#: pixels, and lines' distance as a share of them
_SMALLEST, _LARGEST, _LEADING = 12, 19, 1.25

_REFUSALS = {"ENETUNREACH": "no route", "EXDEV": "source refused", "EINVAL": "source refused",
             "EHOSTUNREACH": "unreachable", "EACCES": "prohibited"}
#: routes that end a packet's way; their line says how
_ENDS = ("blackhole", "unreachable", "prohibit")
#: words of a route that are not parted from their value
_PAIRED = ("via", "dev", "proto", "scope", "src", "metric", "mtu", "table", "local", *_ENDS)


def size(set_out: Stage) -> int:
    """The largest letters in which the notes of every column fit under it."""
    hosts = [column for column in set_out.columns if column.kind != SWITCH]
    found = max(_SMALLEST, min(_LARGEST, int(min((c.width for c in hosts), default=300) / 12)))
    while found > _SMALLEST and any(len(_notes(c, found)) > _most(found) for c in hosts):
        found -= 1
    return found


def _most(size: int) -> int:
    """So many lines fit."""
    return int((style.NOTES_BOTTOM - style.NOTES_TOP) / (size * _LEADING)) + 1


def _notes(column: Column, size: int) -> list[tuple[str, str, bool]]:
    """The routes by which the packet went on, and who answered ARP: text, style, bold."""
    if column.hop is None or column.kind == SWITCH:
        return []
    lines: list[tuple[str, str, bool]] = []
    for step in column.hop.steps:
        if isinstance(step, Routing):
            if lines:
                lines.append(("", "", False))
            class_ = "outer" if step.outer else "inner"
            label = f"route to {step.query.destination}"
            if width(label, size, bold=True) > column.width:
                label = f"to {step.query.destination}"
            lines.append((label, class_, True))
            lines += [(line, class_, False)
                      for line in _wrapped(step.answer.line, column.width, size)]
            if step.answer.error:
                lines.append((_REFUSALS.get(step.answer.error, step.answer.error)
                              if step.answer.kind not in _ENDS else "dropped", "stop", True))
        elif isinstance(step, Neighbour):
            lines += [(line, "", False)
                      for line in _wrapped(_arp(step), column.width, size)]
    return lines


def lines(column: Column, size: int) -> list[str]:
    """A column's notes in letters of ``size`` pixels; an ellipsis for what has no room."""
    notes = _notes(column, size)
    if len(notes) > _most(size):
        notes = [note for note in notes if note[0]]
    if len(notes) > _most(size):
        notes = [*notes[:_most(size) - 1], ("\u2026", "", False)]
    found = []
    for position, (words, class_, bold) in enumerate(notes):
        shown = fitted(words, column.width, size, bold=bold, mono=not bold)
        found.append(text(column.left, style.NOTES_TOP + position * size * _LEADING, shown,
                          f"{class_} {'' if bold else 'mono'}".strip() or None, size=size,
                          bold=bold))
    return found


def _arp(step: Neighbour) -> str:
    if step.answered_by is not None:
        kind = "proxy ARP" if step.proxy else "ARP"
        return f"{kind}: {step.answered_by[0]} is {step.mac}"
    if not step.mac:
        return "ARP: nobody answers" if step.asked else f"neighbour {step.state or 'unknown'}"
    return f"MAC known: {step.mac}"


def _wrapped(words: str, room: float, size: float) -> list[str]:
    """Lines that fit; a word stays with its value (``via ADDRESS``)."""
    pieces: list[str] = []
    for word in words.split():
        if pieces and pieces[-1] in _PAIRED:
            pieces[-1] += f" {word}"
        else:
            pieces.append(word)
    lines: list[str] = []
    for piece in pieces:
        if width(piece, size, mono=True) > room:
            lines += piece.split()
        elif lines and width(f"{lines[-1]} {piece}", size, mono=True) <= room:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines
