"""Text for people, JSON for programs, tables as kubectl and calicoctl print them; and files.

Colours only where standard output is a terminal and NO_COLOR (https://no-color.org) is unset.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from calico_mn.errors import ClusterError
from calico_mn.streams import complain
from calico_mn.text import COLUMN_GAP, aligned, column_parts, escape_control, one_line

#: kubectl's placeholder for a missing value
NONE = "<none>"

_STYLES = {"title": "1", "good": "32", "bad": "1;31", "place": "1;36", "outer": "33", "faint": "2",
           "plain": "", "warn": "33"}
_END = "\033[0m"
_PAINTED = {_END, *(f"\033[{code}m" for code in _STYLES.values())}
_COLOURS = re.compile(r"(\033\[[0-9;]*m)")


def is_coloured() -> bool:
    """Whether escape sequences are welcome on standard output."""
    return (sys.stdout.isatty() and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb")


def paint(text: str, style: str) -> str:
    """The text in a style's colour, where colours are welcome."""
    code = _STYLES[style]
    return f"\033[{code}m{text}{_END}" if code and is_coloured() else text


def say(text: str = "") -> None:
    """Print lines, with no escape sequences but our own colours."""
    print("".join(part if part in _PAINTED else escape_control(part)
                  for part in _COLOURS.split(text)))


def warn(warnings: Iterable[str]) -> None:
    """Say these on standard error."""
    for warning in warnings:
        complain(f"calico-mn: {warning}")


def print_json(value: Any) -> None:
    """A value as JSON."""
    print(json.dumps(value, indent=2))


def print_yaml(value: Any) -> None:
    """Print a value as YAML."""
    sys.stdout.write(as_yaml(value))


def as_yaml(value: Any) -> str:
    """A value as YAML, in ASCII, with no anchors."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper = type("Dumper", (base,), {"ignore_aliases": lambda *_: True})
    return str(yaml.dump(value, None, dumper, sort_keys=False, width=1000))


def cell(value: object) -> str:
    """A table's cell."""
    if value is None or value == "" or value == []:
        return NONE
    if isinstance(value, (list, tuple)):
        return one_line(",".join(map(str, value)))
    return one_line(str(value))


def columns(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Columns as kubectl prints them: three blanks between, headers in capitals.

    What is too wide for a terminal becomes several tables, with an empty line between.
    """
    lines = [[*headers], *([cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # One blank less before a table is split.
    gap = next((gap for gap in (COLUMN_GAP, COLUMN_GAP - 1)
                if sum(widths) + gap * (len(widths) - 1) <= width()), COLUMN_GAP)
    parts = column_parts(lines, widths, width(), gap)
    tables = [aligned([[line[place] for place in part] for line in lines], gap) for part in parts]
    return [line for table in tables for line in ([""] if table is not tables[0] else []) + table]


def fold(line: str, hang: int) -> list[str]:
    """A line in pieces that fit the terminal; further ones are indented by ``hang`` more."""
    pieces, indent = [], " " * (len(line) - len(line.lstrip()) + hang)
    while len(line) > width():
        cut = line.rfind(" ", len(indent), int(width()) + 1)
        if cut < 0:
            break
        pieces.append(line[:cut].rstrip())
        line = indent + line[cut:].lstrip()
    return [*pieces, line]


def width() -> float:
    """The terminal's width in characters, or COLUMNS; without either there is no end of a line."""
    return shutil.get_terminal_size().columns if (
        sys.stdout.isatty() or os.environ.get("COLUMNS")) else math.inf


def box(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table with a frame, as calicoctl's ``node status`` prints it."""
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(words: Sequence[str]) -> str:
        return f"| {' | '.join(map(str.ljust, words, widths))} |"

    # Centred; of an odd number of blanks the greater part is behind (tablewriter's util.go, Pad()).
    heads = [" " * ((width - len(header)) // 2) + header
             for header, width in zip(headers, widths, strict=True)]
    return [rule, line(heads), rule, *map(line, texts), rule]


def show(lines: Sequence[str], heads: int = 1) -> None:
    """Lines of a table; the first ``heads`` of them are its head, and so after an empty line."""
    for number, text in enumerate(lines):
        is_head = number < heads or not lines[number - 1]
        print(paint(text, "title") if is_head else text)


class Progress:
    """A count on standard error, where that is a terminal; gone at the end."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._shown = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._shown:
            sys.stderr.write(f"\r{' ' * len(self._shown)}\r")
            sys.stderr.flush()

    def __call__(self, message: dict[str, int]) -> None:
        """Show how many are done of how many."""
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return
        self._shown = f"{self._doing}: {message['done']} of {message['of']}"
        sys.stderr.write(f"\r{self._shown}")
        sys.stderr.flush()


# --- files

def open_file(path: str) -> int:
    """A file to write, opened as the user who called sudo, who then owns it.

    Root without sudo follows no symbolic link in a directory of another user.
    """
    from calico_mn.privileges import as_invoking_user

    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        with as_invoking_user(Path(path)):
            if _is_of_another_user(Path(path).parent):
                flags |= os.O_NOFOLLOW
            return os.open(path, flags, 0o666)
    except ValueError as error:  # a NUL
        raise ClusterError(f"cannot write {one_line(path)}: {error}") from None
    except OSError as error:
        why = ("it is a symbolic link in a directory of another user"
               if error.errno == errno.ELOOP and flags & os.O_NOFOLLOW else error.strerror)
        raise ClusterError(f"cannot write {one_line(path) or 'to no name'}: {why}") from None


def _is_of_another_user(directory: Path) -> bool:
    return os.geteuid() == 0 and not os.environ.get("SUDO_UID") and directory.stat().st_uid != 0


def write_file(path: str, content: str | bytes) -> None:
    """Write a file for the user who called sudo, text in UTF-8. Raises ClusterError."""
    was_there = os.path.lexists(path)
    descriptor = open_file(path)
    try:
        with open(descriptor, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        if not was_there:
            from calico_mn.privileges import as_invoking_user

            with as_invoking_user(Path(path)):
                os.unlink(path)  # do not leave half a file
        raise ClusterError(f"cannot write {one_line(path)}: {error.strerror}") from None
