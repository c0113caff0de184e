"""What every benchmark reports alike: medians, spreads, the machine, tables and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from calico_mn import command_line

# A file or a pipe gets whole lines; a terminal's width does not count.
_WIDTH = 120


def console() -> Console:
    """Standard output: as wide as the terminal, or 120 columns where there is none."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=_WIDTH)


def environment() -> dict[str, object]:
    """The machine and the moment; ``load`` is the load average of the last minute."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def heading(name: str, about: Mapping[str, object]) -> str:
    """The first line of a report."""
    return (f"{name}: Linux {about['kernel']}, {about['cores']} cores, Python {about['python']},"
            f" {about['date']}, load {about['load']}")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, and the smallest and largest value behind it."""
    if not values:
        return "-"
    middle = f"{median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def summary(values: Sequence[float]) -> dict[str, float | int | None]:
    """The same as data."""
    if not values:
        return {"median": None, "min": None, "max": None, "n": 0}
    return {"median": median(values), "min": min(values), "max": max(values), "n": len(values)}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first column names the row."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    for row in rows:
        made.add_row(*row)
    return made


class Parser(command_line.Parser):
    """Options, ``--json`` among them; mistakes are reported before anything is measured."""

    def __init__(self, doc: str | None, epilog: str | None = None) -> None:
        super().__init__(description=(doc or "").partition("\n")[0], epilog=epilog)
        self.add_argument("--json", type=_new_file, metavar="FILE",
                          help="also write everything as JSON")


def _new_file(text: str) -> Path:
    path = Path(text)
    if not text or path.is_dir() or not path.parent.is_dir() or not os.access(
            path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is no file that can be written")
    return path


def write_json(path: Path, report: Mapping[str, object]) -> None:
    """The whole report, samples included."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
