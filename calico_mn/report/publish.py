"""A report's files, beside the readings that they were made of."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from calico_mn.report.document import Document, Table


def publish(directory: Path, document: Document) -> tuple[str, ...]:
    """Write a CSV for each table, an SVG for each figure; the files' names."""
    names = []
    for table in (*document.tables, *document.data):
        names.append(f"{table.name}.csv")
        (directory / names[-1]).write_text(_csv(table), encoding="utf-8")
    for figure in document.figures:
        names.append(f"{figure.name}.svg")
        (directory / names[-1]).write_text(figure.svg, encoding="utf-8")
    return tuple(names)


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if cell is None else cell for cell in row] for row in table.rows)
    return text.getvalue()
