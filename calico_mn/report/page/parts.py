"""The parts of report.html, each from one piece of a document to HTML. Pure; all is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape, unescape
from itertools import groupby
from typing import Any

from calico_mn.report import matrix
from calico_mn.report.cells import numeric, shown
from calico_mn.report.document import BAD, GOOD, MIXED, Cell, Document, Figure, Table
from calico_mn.report.matrix import Grid, Matrices
from calico_mn.report.page.inline import inline, natural_width

#: mark -> (class, what is shown, in words)
_MARKS = {
    matrix.DIRECT: ("direct", "=", "direct"),
    matrix.TUNNELLED: ("tunnel", "#", "in an IPIP tunnel"),
    matrix.UNREACHABLE: ("none", "\u2715", "unreachable"),
    matrix.PARTLY: ("other", "~", "not all pairs alike"),
    matrix.UNKNOWN: ("other", "?", "not tried"),
}
_TONES = {GOOD, BAD, MIXED}
#: characters; a cell or a heading with more may be broken into lines
_SHORT, _SHORT_HEAD = 24, 10
_TEXT = re.compile(r">([^<>]+)</")
_LEAD = re.compile(r"[A-Z][^:.;]{3,58}:(?= )")


def paragraphs(texts: Iterable[str]) -> str:
    """A ``<p>`` for each text."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def listed(texts: Iterable[str], class_: str = "") -> str:
    """A list; in findings, what stands before a colon near a text's beginning is emphasised."""
    def item(text: str) -> str:
        lead = _LEAD.match(text) if class_ else None
        end = lead.end() if lead else 0
        strong = f"<strong>{escape(text[:end])}</strong>" if end else ""
        return f"<li>{strong}{escape(text[end:])}</li>"

    attribute = f' class="{class_}"' if class_ else ""
    return f"<ul{attribute}>{''.join(map(item, texts))}</ul>"


def figure(found: Figure, place: str, *, drawing: bool = False) -> str:
    """A picture with its caption. Plots come on white; a drawing follows the page's colours.

    A phone may make a plot small, a drawing with its small letters hardly: it is scrolled.
    """
    least = natural_width(found.svg) * (0.9 if drawing else 0.6)
    svg = inline(found.svg, place, found.alt).replace(
        "<svg ", f'<svg style="min-width:{least:.0f}px" ', 1)
    # A plot that has its title written in it needs no second one, but a heading all the same.
    hidden = ' class="hidden"' if found.title in _written(found.svg) else ""
    title = "" if drawing else f"<h3{hidden}>{escape(found.title)}</h3>"
    caption = f"<figcaption>{escape(found.caption)}</figcaption>" if found.caption else ""
    return (f'<figure>{title}<div class="plate scroll{"" if drawing else " white"}" id="{place}"'
            f' tabindex="0">{svg}</div>{caption}</figure>')


def _written(svg: str) -> str:
    """All that is written in a picture, lines of one text after each other."""
    return " ".join(unescape(" ".join(_TEXT.findall(svg))).split())


def table(found: Table) -> str:
    """A table in a frame of its own that scrolls where it is too wide."""
    right = numeric(found)
    heads = "".join(f'<th scope="col"{_n(aligned, len(name) <= _SHORT_HEAD)}>{escape(name)}</th>'
                    for name, aligned in zip(found.columns, right, strict=True))
    tones = found.tones or ("",) * len(found.rows)
    rows = "".join(_row(row, right, tone) for row, tone in zip(found.rows, tones, strict=True))
    toned = " toned" if any(found.tones) else ""
    note = f'<p class="note">{escape(found.note)}</p>' if found.note else ""
    return (f'<div class="table"><div class="scroll" tabindex="0" role="region"'
            f' aria-label="{escape(found.title)}"><table class="data{toned}">'
            f"<caption>{escape(found.title)}</caption><thead><tr>{heads}</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>{note}</div>")


def _row(row: Sequence[Cell], right: Sequence[bool], tone: str) -> str:
    cells = "".join(f"<td{_n(aligned, len(shown(cell)) <= _SHORT)}>{escape(shown(cell))}</td>"
                    for cell, aligned in zip(row, right, strict=True))
    return f'<tr class="{tone}">{cells}</tr>' if tone in _TONES else f"<tr>{cells}</tr>"


def _n(aligned: bool, short: bool = False) -> str:
    return ' class="n"' if aligned else ' class="s"' if short else ""


def matrices(found: Matrices) -> str:
    """A grid for each mode, below a legend of the marks that occur."""
    marks = {mark for grid in found.grids for row in grid.cells for mark in row}
    legend = "".join(f'<li><span class="{class_}" aria-hidden="true">{sign}</span>{words}</li>'
                     for mark, (class_, sign, words) in _MARKS.items() if mark in marks)
    grids = "".join(_grid(grid, found.rows) for grid in found.grids)
    return (f'<ul class="legend">{legend}</ul><div class="grids">{grids}</div>'
            '<p class="note">Rows send, columns answer; columns are in the order of the rows.</p>')


def _grid(grid: Grid, names: Sequence[tuple[str, str]]) -> str:
    groups = [(node, len(list(mine))) for node, mine in groupby(node for node, _ in names)]
    firsts = [not place or names[place - 1][0] != node for place, (node, _) in enumerate(names)]
    grouped = any(node for node, _ in names)
    if grouped:
        # A long name is cut off rather than making its node's columns wide.
        heads = "".join(f'<th scope="colgroup" colspan="{count}" title="{escape(node)}"'
                        f' style="max-width:{max(3.7, 1.8 * count):g}rem">'
                        f"{escape(node)}</th>" for node, count in groups)
    else:
        heads = "".join(f'<th scope="col" title="{escape(name)}">{number}</th>'
                        for number, (_, name) in enumerate(names, 1))
    rows = []
    for place, (cells, (node, name)) in enumerate(zip(grid.cells, names, strict=True)):
        label = f"{node} \u00b7 {name}" if firsts[place] and grouped else name
        marked = "".join(
            _cell(mark, name, other, grouped and firsts[column])
            for column, (mark, (_, other)) in enumerate(zip(cells, names, strict=True)))
        label = label if grouped else f"{name} {place + 1}"
        first = ' class="first"' if grouped and firsts[place] else ""
        rows.append(f'<tr{first}><th scope="row">{escape(label)}</th>{marked}</tr>')
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(grid.mode)}">'
            f'<table class="grid"><caption>{escape(grid.mode)}: {grid.reached} of {grid.pairs}'
            f" pairs</caption><thead><tr><td></td>{heads}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>")


def _cell(mark: str, source: str, destination: str, first: bool) -> str:
    class_, sign, words = _MARKS.get(mark, ("", "", ""))
    classes = " ".join(filter(None, (class_, "first" if first else "")))
    attribute = f' class="{classes}"' if classes else ""
    if not words:
        return f"<td{attribute}></td>"
    tip = escape(f"{source} to {destination}: {words}")
    return (f'<td{attribute} title="{tip}"><span aria-hidden="true">{sign}</span>'
            f'<span class="hidden">{words}</span></td>')


def environment(found: Mapping[str, Any]) -> str:
    """What the result depends on: what is nested deeper gets a heading."""
    plain = {name: value for name, value in found.items() if not isinstance(value, Mapping)}
    blocks: list[tuple[str, Mapping[str, Any]]] = [("run", plain)] if plain else []
    blocks += [(name, value) for name, value in found.items() if isinstance(value, Mapping)]
    return '<div class="facts">' + "".join(
        f"<div><h3>{escape(_words(name).capitalize())}</h3>{_facts(block)}</div>"
        for name, block in blocks) + "</div>"


def _facts(found: Mapping[str, Any]) -> str:
    return "<dl>" + "".join(f"<div><dt>{escape(_words(name))}</dt><dd>{_value(value)}</dd></div>"
                            for name, value in found.items()) + "</dl>"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        if any(isinstance(inner, Mapping) for inner in value.values()):
            return _facts(value)
        return ", ".join(f"{escape(_words(name))} {_value(inner)}"
                         for name, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value)) or "none"
    if value is None:
        return "unknown"
    return escape(shown(value) if isinstance(value, (bool, float)) else str(value))


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def files(document: Document, names: Iterable[str]) -> str:
    """Links to the files beside the page, with what they are."""
    known = {f"{one.name}.csv": f"the table \u201c{one.title}\u201d"
             for one in (*document.tables, *document.data)}
    pictures = (*document.figures, *((document.topology,) if document.topology else ()))
    for one in pictures:
        known |= {f"{one.name}.{kind}": f"the picture \u201c{one.title}\u201d"
                  for kind in ("svg", "png")}
    known |= {"results.jsonl": "every reading, one JSON object a line",
              "summary.json": "all that is known about the run and its machine",
              "topology.yaml": "the topology that was emulated"}
    return '<ul class="files">' + "".join(
        f'<li><a href="{escape(name)}"><code>{escape(name)}</code></a>'
        + (f", {escape(known[name])}" if name in known else "") + "</li>"
        for name in names) + "</ul>"
