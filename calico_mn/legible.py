"""Words of others in our messages: harmless to a terminal, and not endless. Pure.

File names, arguments, answers of programs and values of files can hold anything: sequences that
clear the screen or rename the window, marks that turn the direction of writing round, halves of
characters that no encoding has.
"""

from __future__ import annotations

import re

#: the longest line of a message, in characters; a path has up to 4,096 (PATH_MAX)
MAX_LINE = 2000
_KEPT = MAX_LINE // 2 - 20
# Control characters but tab and line feed, line and paragraph separators, bidirectional marks and
# embeddings (Unicode Standard Annex #9), surrogates.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
                      "\ud800-\udfff]")


def printable(text: str) -> str:
    """``text`` on one line, with all that is not printed written as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def harmless(text: str) -> str:
    """``text`` with control characters written as escapes; its lines and tabs stay."""
    return _HARMFUL.sub(lambda found: printable(found.group()), text)


def message(text: str) -> str:
    """A message: harmless, and of lines that a person can still read."""
    return "\n".join(map(_shortened, harmless(text).split("\n")))


def _shortened(line: str) -> str:
    if len(line) <= MAX_LINE:
        return line
    return f"{line[:_KEPT]} [...] {line[-_KEPT:]}"
