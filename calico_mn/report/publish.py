"""A report's files, beside the readings that they were made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from calico_mn.report.document import Document, Table
from calico_mn.report.page import page

PAGE = "report.html"


def publish(directory: Path, document: Document, beside: Sequence[str] = ()) -> tuple[str, ...]:
    """Write report.html, a CSV for each table, SVG and PNG for each picture; the files' names.

    ``beside`` are files of others in the directory, to which report.html has links too.
    """
    files: dict[str, bytes] = {}
    for table in (*document.tables, *document.data):
        files[f"{table.name}.csv"] = _csv(table).encode()
    pictures = (document.topology, *document.figures) if document.topology else document.figures
    for figure in pictures:
        files[f"{figure.name}.svg"] = figure.svg.encode()
        if figure.png:
            files[f"{figure.name}.png"] = figure.png
    files = {PAGE: page(document, (*files, *beside)).encode(), **files}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return tuple(files)


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if cell is None else cell for cell in row] for row in table.rows)
    return text.getvalue()
