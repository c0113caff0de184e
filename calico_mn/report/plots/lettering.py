"""Text in pictures: its sizes, how much room it takes, and how it is broken into lines.

Text is measured before it is placed, in DejaVu Sans, which matplotlib brings along and which is
wider than what browsers use: what fits here fits there.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from calico_mn.report.plots.engine import FONT, load

#: points
TITLE, HEAD, LABEL, SMALL = 15.0, 12.0, 10.5, 9.5
#: from line to line, as a share of the size
LEADING = 1.32


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Points that the longest of the text's lines takes."""
    return max(_line_width(line, size, bold) for line in text.split("\n"))


@functools.lru_cache(maxsize=4096)
def _line_width(line: str, size: float, bold: bool) -> float:
    load()
    from matplotlib.font_manager import FontProperties
    font = FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")
    return float(_renderer().get_text_width_height_descent(line, font, False)[0])


@functools.cache
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg
    renderer: Any = RendererAgg
    return renderer(1, 1, 72)


def text_height(text: str, size: float) -> float:
    """Points from the top of the first line to the beginning of what comes below the last."""
    return (text.count("\n") + 1) * size * LEADING if text else 0.0


def wrapped(text: str, room: float, size: float, bold: bool = False) -> str:
    """The text in lines no wider than ``room`` points; a longer word is broken."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            for piece in _pieces(word, room, size, bold):
                longer = f"{line} {piece}" if line else piece
                if line and text_width(longer, size, bold) > room:
                    lines.append(line)
                    line = piece
                else:
                    line = longer
        lines.append(line)
    return "\n".join(lines)


def balanced(text: str, room: float, size: float, bold: bool = False) -> str:
    """As :func:`wrapped`, in as many lines, but of similar lengths."""
    found = wrapped(text, room, size, bold)
    lines = found.count("\n")
    while lines and room > size:
        room -= 6
        tighter = wrapped(text, room, size, bold)
        if tighter.count("\n") > lines:
            break
        found = tighter
    return found


def _pieces(word: str, room: float, size: float, bold: bool) -> list[str]:
    pieces = []
    while text_width(word, size, bold) > room and len(word) > 1:
        cut = next((n for n in range(len(word) - 1, 1, -1)
                    if text_width(word[:n], size, bold) <= room), 1)
        # A name is best broken after a sign in it.
        sign = max((word.rfind(sign, 0, cut) for sign in "-_./:"), default=-1)
        cut = sign + 1 if sign > cut / 2 else cut
        pieces.append(word[:cut])
        word = word[cut:]
    return [*pieces, word]


def column(texts: Sequence[str], most: float, size: float = LABEL, bold: bool = False) -> float:
    """Points for a column of texts, at most ``most``; longer ones are to be wrapped."""
    return min(most, max((text_width(text, size, bold) for text in texts), default=0.0))
