"""report.html: one file that needs nothing else, and the files beside it.

:func:`page` makes it of a :class:`~calico_mn.report.document.Document`; ``templates/`` has its
HTML, its style and its script. Names in a document come from files of others: Jinja2 escapes every
value, and a Content-Security-Policy forbids the browser to load anything or to run any script but
the one that copies commands. Pictures are images: nothing in an SVG runs, and its styles and ids
do not reach the page. Jinja2 is imported when a page is made. :func:`publish` writes the page, a
CSV for each table, and SVG and PNG for each picture.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from calico_mn.measure.reading_log import READINGS, RECORD, SUMMARY, TOPOLOGY
from calico_mn.report import matrix
from calico_mn.report.document import (
    Document,
    Figure,
    Table,
    columns_of_csv,
    format_cell,
    numeric_columns,
)
from calico_mn.text import plural

PAGE = "report.html"

_TEMPLATES = Path(__file__).parent / "templates"
#: mark -> (class, sign, words)
_MARKS = {
    matrix.DIRECT: ("direct", "=", "direct"),
    matrix.TUNNELLED: ("tunnel", "#", "in a tunnel"),
    matrix.UNREACHABLE: ("none", "\u2715", "unreachable"),
    matrix.PARTLY: ("other", "~", "not all pairs alike"),
    matrix.UNKNOWN: ("other", "?", "not tried"),
    matrix.UNSEEN: ("direct", "o", "reached, wire not seen"),
    "+": ("direct", "\u2713", "allowed"),
    "-": ("none", "\u2715", "denied"),
}
_LEAD = re.compile(r"[A-Z][^:.;]{3,58}:(?= )")
#: the unit and the letter alone, and no part of a name
_MICRO, _R2 = (re.compile(rf"(?<![\w/.-]){word}(?![\w/-])") for word in ("us", "R2"))
_EXPONENT = re.compile(r"\b10\^[0-9]\b")
_RAISED = str.maketrans("0123456789",
                        "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
#: what the kernel says of a vulnerability that the CPU does not have
_UNAFFECTED = "Not affected"
_WIDTH = re.compile(r'<svg\b[^>]*?\swidth="([0-9.]+)(pt|px|)"')


def publish(directory: Path, document: Document, beside: Sequence[str] = (),
            rights: Callable[[Path], AbstractContextManager[object]] = nullcontext
            ) -> tuple[str, ...]:
    """Write report.html, a CSV for each table, SVG and PNG for each picture; the files' names.

    ``beside`` are other files in the directory, to which report.html has links too. Only writing
    is done inside ``rights``: those of another user may not suffice to import what rendering needs.
    """
    files: dict[str, bytes] = {}
    for table in (*document.tables, *document.data):
        files[f"{table.name}.csv"] = _csv(table).encode()
    for figure in _pictures(document):
        files[f"{figure.name}.svg"] = figure.svg.encode()
        if figure.png:
            files[f"{figure.name}.png"] = figure.png
    files = {PAGE: page(document, (*files, *beside)).encode(), **files}
    with rights(directory):
        for name, content in files.items():
            (directory / name).write_bytes(content)
    return tuple(files)


def page(document: Document, files: Sequence[str] = ()) -> str:
    """The whole text of report.html; ``files`` are the names of files beside it, to be linked."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True,
                              undefined=StrictUndefined)
    environment.filters |= {
        "format_cell": format_cell, "numeric_columns": numeric_columns, "plural": plural,
        "svg_width": _svg_width, "spaced": _spaced, "in_words": _in_words,
        "typeset": _typeset, "key_width": _key_width,
        "lead": lambda text: match[0] if (match := _LEAD.match(text)) else "",
        "cell_class": lambda numeric, text, short: Markup(
            ' class="n"' if numeric else ' class="s"' if len(text) <= short else ""),
        "groupby_order": lambda rows: [(node, len(list(pods))) for node, pods in
                                       groupby(node for node, _ in rows)]}
    environment.tests["nested"] = _is_nested
    css, script = ((_TEMPLATES / name).read_text(encoding="utf-8")
                   for name in ("page.css", "page.js"))
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        document=document, figures=list(_figures(document)), about=_about(document),
        sections=list(_sections(document, files)),
        environment=_blocks(document.environment), files=list(_described(document, files)),
        marks=_MARKS, css=Markup(css), script=Markup(script),
        policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
               f" script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'")


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names, rows = columns_of_csv(table)
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def _pictures(document: Document) -> tuple[Figure, ...]:
    return ((document.topology,) if document.topology else ()) + tuple(document.figures)


def _sections(document: Document, files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(id, title) of each section that has something to say."""
    matrices = document.matrices
    for name, title, content in (
            ("findings", "Findings", document.findings),
            ("reachability", matrices.title if matrices else "", matrices and matrices.grids),
            ("plots", "Plots", document.figures), ("tables", "Tables", document.tables),
            ("caveats", "What the numbers cannot say", document.caveats),
            ("topology", "Topology", document.topology),
            ("method", "Method", document.method),
            ("failures", "Failed trials", document.failures),
            ("reproduce", "Do it again", document.reproduce),
            ("environment", "Environment", document.environment), ("files", "Files", files)):
        if content:
            yield name, title


def _figures(document: Document) -> Iterator[Figure]:
    """The plots; a caption that several have stands below the first."""
    captions: set[str] = set()
    for figure in document.figures:
        yield replace(figure, caption="") if figure.caption in captions else figure
        captions.add(figure.caption)


def _key_width(table: Table) -> float:
    """The first column's width in rem where it takes two columns to name a row, else 0.

    Both stay when the table is scrolled, so the second has to know where the first ends.
    """
    first = [str(row[0]) for row in table.rows]
    several = len(set(first)) < len(first) and isinstance(table.rows[0][1], str)
    return round(min(14, 1.6 + 0.5 * max(map(len, first))), 1) if several else 0


def _typeset(text: object) -> str:
    """Units as in print: what is ASCII in terminals and files."""
    return _EXPONENT.sub(lambda match: match[0][:-2] + match[0][-1:].translate(_RAISED),
                         _R2.sub("R\u00b2", _MICRO.sub("\u00b5s", str(text))))


def _about(document: Document) -> str:
    machine = document.environment.get("machine") or {}
    return " \u00b7 ".join([
        document.date, *([f"Linux {machine['kernel']}"] if machine.get("kernel") else []),
        *([plural(machine["cpus"], "CPU")] if machine.get("cpus") else []), *document.design])


def _blocks(environment: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What the result depends on: what is nested gets a heading, the rest is of the run."""
    plain = {name: value for name, value in environment.items()
             if not isinstance(value, Mapping)}
    blocks = [*([("run", plain)] if plain else []),
              *((name, value) for name, value in environment.items()
                if isinstance(value, Mapping) and name != "machines"),
              *((f"machine {name}", about["machine"])
                for name, about in environment.get("machines", {}).items())]
    return [(title, {**block, "mitigations": _mitigations(block["mitigations"])}
             if isinstance(block.get("mitigations"), Mapping) else block)
            for title, block in blocks]


def _mitigations(states: Mapping[str, object]) -> str:
    """What is done about each vulnerability of the CPU; those that it has not are named last."""
    spared = [_spaced(name) for name, state in states.items() if state == _UNAFFECTED]
    return ". ".join([*(f"{_spaced(name)}: {state}" for name, state in states.items()
                        if state != _UNAFFECTED),
                      *([f"{_UNAFFECTED}: {', '.join(spared)}"] if spared else [])]) or "unknown"


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(inner, Mapping) for inner in value.values())


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_spaced(name)} {_in_words(inner)}"
                         for name, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_in_words, value)) or "none"
    if value is None:
        return "unknown"
    return format_cell(value) if isinstance(value, (bool, float)) else str(value)


def _spaced(name: object) -> str:
    return str(name).replace("_", " ")


def _svg_width(svg: str) -> float:
    """An SVG's width in CSS pixels, 0 when it does not say."""
    match = _WIDTH.search(svg)
    return float(match[1]) * (4 / 3 if match[2] == "pt" else 1) if match else 0.0


def _described(document: Document, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names of files, with what they are if that is known."""
    known = {f"{table.name}.csv": f"the table \u201c{table.title}\u201d"
             for table in (*document.tables, *document.data)}
    known |= {f"{figure.name}.{kind}": f"the picture \u201c{figure.title}\u201d"
              for figure in _pictures(document) for kind in ("svg", "png")}
    known |= {READINGS: "every reading, one JSON object a line",
              RECORD: "how the run began: command, options, plan",
              SUMMARY: "all that is known about the run and its machine",
              TOPOLOGY: "the cluster as resources"}
    yield from ((name, known.get(name, "")) for name in names)
