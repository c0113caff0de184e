"""Words and numbers of messages: one place for what every room says in the same way. Pure.

Takes counts, lists, numbers and strings; gives parts of sentences. Names of files, arguments,
answers of programs and values of files can hold anything: sequences that clear the screen or rename
the window, marks that reverse the direction of writing, halves of characters that no encoding has.
The sanitizers (:func:`one_line`, :func:`escape_control`, :func:`strip_control`, :func:`message`)
make them safe to print.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

#: the longest line of a message, in characters; a path has up to 4,096 (PATH_MAX)
MAX_LINE = 2000
_HALF_LINE = MAX_LINE // 2 - 20
# Control characters but tab and line feed, line and paragraph separators, bidirectional marks and
# embeddings (Unicode Standard Annex #9), surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
                      "\ud800-\udfff]")

#: unit -> the next larger one, which is 1000 of it
_LARGER = {"bit/s": "kbit/s", "kbit/s": "Mbit/s", "Mbit/s": "Gbit/s", "ns": "\u00b5s",
           "\u00b5s": "ms", "ms": "s", "bytes": "kB", "kB": "MB", "MB": "GB"}
_SMALLER = {larger: unit for unit, larger in _LARGER.items()}

# --- counts and lists


def plural(count: int, noun: str, plural_form: str | None = None) -> str:
    """``1 pod``, ``2 pods``, ``2 addresses``, ``2 bodies`` with ``plural_form`` "bodies"."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {plural_form or noun + ('es' if noun.endswith('s') else 's')}"


def join(words: Sequence[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``; nothing for no words."""
    return f" {last} ".join([part for part in (", ".join(words[:-1]), *words[-1:]) if part])


def join_some(words: Iterable[str], limit: int) -> str:
    """``a, b``; of more than ``limit`` words ``a, b, c and 4 more``."""
    names = list(words)
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def suggest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name that ``word`` is most probably a slip of, or nothing.

    Case does not matter. ``cutoff`` is the least similarity, from 0 to 1, as difflib counts it.
    """
    names = list(known)
    lower = {name.lower(): name for name in names}
    same = next((name for name in names if name.lower() == word.lower()), "")
    if same or len(word) > 64:  # difflib takes the square of the length
        return same
    # Two exchanged letters are a large part of a short word to difflib, and a common slip.
    letters = sorted(word.lower())
    close = [name for name in lower if sorted(name) == letters]
    if not close:
        from difflib import get_close_matches

        close = get_close_matches(word.lower(), list(lower), n=1, cutoff=cutoff)
    return lower[close[0]] if close else ""


def suggest_place(word: str, places: Iterable[str]) -> str:
    """As :func:`suggest`, of nodes and pods: the namespace of ``default/web-0`` may be left out.

    A pod of that very name in another namespace comes first.
    """
    names = list(places)
    bare = {name.rpartition("/")[2]: name for name in reversed(names)}
    namesake = bare.get(word.rpartition("/")[2], "") if "/" in word else ""
    return namesake or suggest(word, names) or bare.get(suggest(word, bare), "")


# --- numbers

def number(value: float, digits: int = 3, *, zeros: bool = True) -> str:
    """``value`` with so many significant digits, thousands with commas: ``1,234``, ``0.500``.

    An exponent is used from 1e15 upwards and below 1e-4 only. ``zeros=False`` leaves out zeros at
    the end of a fraction: ``0.5``.
    """
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e15 or size < 1e-4:
        return f"{value:.{digits - 1}g}"
    # 99.97 is 100 with three digits, not 100.0: first rounded, then counted.
    magnitude = math.floor(math.log10(float(f"{size:.{digits}g}")) + 1e-12)
    shown = f"{value:,.{min(max(0, digits - 1 - magnitude), 6)}f}"
    return shown if zeros or "." not in shown else shown.rstrip("0").rstrip(".")


def unit_for(values: Sequence[float], unit: str) -> tuple[float, str]:
    """(factor, unit) in which the smallest positive of ``values`` is a short number, 1 or more."""
    unit = "\u00b5s" if unit == "us" else unit
    factor = 1.0
    least = min((abs(value) for value in values if value), default=0.0)
    while unit in _LARGER and least * factor >= 1000:
        factor, unit = factor / 1000, _LARGER[unit]
    return factor, unit


def small_unit_for(value: float, unit: str) -> tuple[float, str]:
    """(factor, unit) in which a value below 1 is 1 or more, if there is such a unit."""
    factor = 1.0
    while value and abs(value) * factor < 1 and unit in _SMALLER:
        factor, unit = factor * 1000, _SMALLER[unit]
    return factor, unit


def duration(milliseconds: float) -> str:
    """``12.3 ms``, or ``1.23 s`` from a second on."""
    return (f"{number(milliseconds)} ms" if milliseconds < 1000
            else f"{number(milliseconds / 1000)} s")


def percent(share: float, decimals: int = 0, *, sign: bool = False) -> str:
    """``12 %`` of 0.12; with ``sign`` ``+12 %``, and zero without a sign."""
    shown = f"{100 * share:{'+' if sign else ''}.{decimals}f}"
    return f"{shown.lstrip('+-') if float(shown) == 0 else shown} %"


# --- lines

#: blanks between columns
COLUMN_GAP = 3

# A wide character may be followed by what must not begin a line; other words are parted by blanks.
_WIDE = "\u2e80-\u9fff\uff00-\uffef"
_CLOSING = "\uff0c\u3002\uff1b\uff1a\u3001\uff1f\uff01\uff09\u201d\u2019\u300b,.;:?!)"
_OPENING = "\uff08\u201c\u2018\u300a("
# As text: compiled where a text is wrapped, which most programs never do.
_UNITS = rf"\s+|[{_OPENING}]*(?:[{_WIDE}]|[^\s{_WIDE}{_OPENING}]+)[{_CLOSING}]*|\S"


def columns(text: str) -> int:
    """The columns that a text takes on a terminal: wide characters take two (UAX #11)."""
    return sum(0 if unicodedata.combining(sign) else
               2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def wrap(text: str, width: float, indent: str = "", *, first: str | None = None,
         measure: Callable[[str], float] = columns) -> list[str]:
    """Lines no wider than ``width``, each after ``indent``, the first one after ``first``.

    Breaks are at blanks and between Chinese characters, never before a closing punctuation mark.
    A word that is longer than a line stays whole. ``measure`` gives a text's width, by default in
    columns of a terminal.
    """
    lines: list[str] = []
    line = indent if first is None else first
    empty = True
    for unit in re.findall(_UNITS, text):
        if unit.isspace():
            line += "" if empty else " "
            continue
        if not empty and measure(line + unit) > width:
            lines.append(line.rstrip())
            line, empty = indent, True
        line += unit
        empty = False
    return [*lines, line.rstrip()]


def column_parts(rows: Sequence[Sequence[str]], widths: Sequence[int], room: float, gap: int
                 ) -> list[list[int]]:
    """The columns of each table into which a table must be split to fit: one where it does.

    The first row is the head. Each part begins with the columns that tell the rows apart, as few
    of the first ones as do. ``gap`` is between columns; ``room`` and ``widths`` are in characters.
    """
    def is_too_wide(places: Sequence[int]) -> bool:
        return sum(widths[place] for place in places) + gap * (len(places) - 1) > room

    everything = list(range(len(widths)))
    if not is_too_wide(everything):
        return [everything]
    keys = next((count for count in everything if count and len(
        {tuple(row[:count]) for row in rows[1:]}) == len(rows) - 1), 1)
    parts = [everything[:keys]]
    for place in everything[keys:]:
        if len(parts[-1]) > keys and is_too_wide([*parts[-1], place]):
            parts.append(everything[:keys])
        parts[-1].append(place)
    return parts


def aligned(rows: Sequence[Sequence[str]], gap: int = COLUMN_GAP) -> list[str]:
    """Rows of cells as lines of columns, with three blanks between as kubectl prints them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [(" " * gap).join(
        cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows]


# --- names of Kubernetes; those that pass are safe as names of files, too

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"


def is_label(name: str) -> bool:
    """An RFC 1123 label: a namespace's name, at most 63 characters."""
    return re.fullmatch(_LABEL, name) is not None


def is_subdomain(name: str) -> bool:
    """An RFC 1123 subdomain: the name of a pod or node, at most 253 characters."""
    return len(name) <= 253 and re.fullmatch(_SUBDOMAIN, name) is not None


# --- sanitizers

def one_line(text: str) -> str:
    """``text`` on one line, with all that is not printed written as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def escape_control(text: str) -> str:
    """``text`` with control characters written as escapes; its lines and tabs stay."""
    return _CONTROL.sub(lambda match: one_line(match.group()), text)


def strip_control(text: str, instead: str = " ") -> str:
    """``text`` with ``instead`` for each character that is not printed, line feeds too."""
    return "".join(c if c.isprintable() else instead for c in text)


def quote(text: str, limit: int = 60) -> str:
    """``text`` in double quotes, at most ``limit`` characters of it, on one line."""
    shown = text if len(text) <= limit else text[:limit] + "..."
    return f'"{one_line(shown)}"'


def message(text: str) -> str:
    """A message: control characters escaped, and the middle of overlong lines left out."""
    return "\n".join(
        line if len(line) <= MAX_LINE else f"{line[:_HALF_LINE]} [...] {line[-_HALF_LINE:]}"
        for line in escape_control(text).split("\n"))
