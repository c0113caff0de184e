"""How wide text is on a terminal, and wrapping that knows Chinese. Pure.

East Asian wide and full-width characters take two columns (Unicode Standard Annex #11).
"""

from __future__ import annotations

import re
import unicodedata

#: a wide character may be followed by what must not begin a line; else words are parted by blanks
_WIDE = r"[\u2e80-\u9fff\uff00-\uffef]"
_CLOSING = "，。；：、？！）”’》,.;:?!)\u201d"
_OPENING = "（“‘《(\u201c"
_UNITS = re.compile(
    rf"\s+|[{_OPENING}]*(?:{_WIDE}|[^\s\u2e80-\u9fff\uff00-\uffef{_OPENING}]+)[{_CLOSING}]*|\S")


def columns(text: str) -> int:
    """The columns that a text takes."""
    return sum(0 if unicodedata.combining(sign) else
               2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def wrap(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Lines of at most ``width`` columns, the first one after ``first``, others after ``rest``.

    Breaks are at blanks and between Chinese characters, never before a closing punctuation mark.
    A word that is longer than a line stays whole.
    """
    lines: list[str] = []
    line = first
    empty = True
    for unit in _UNITS.findall(text):
        if unit.isspace():
            line += "" if empty else " "
            continue
        if not empty and columns(line) + columns(unit) > width:
            lines.append(line.rstrip())
            line, empty = rest, True
        line += unit
        empty = False
    return [*lines, line.rstrip()]
