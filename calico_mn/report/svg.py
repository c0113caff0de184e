"""SVG as text: elements, and how wide a text will be. Pure, and nothing about clusters.

The screen that shows a drawing has fonts of its own, so widths are those of DejaVu Sans, which is
wider than the common fonts of screens: what fits in it fits in them.
"""

from __future__ import annotations

from html import escape

#: widths of the characters from space to "~" in DejaVu Sans, in hundredths of the font size
_WIDTHS = (
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 34, 34, 84, 84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79,
    60, 79, 69, 63, 61, 73, 68, 99, 69, 61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63,
    63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52, 39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84)
_WIDEST = 110
_BOLD = 1.2
_MONO = 0.61

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def width(text: str, size: float, *, bold: bool = False, mono: bool = False) -> float:
    """At most so many pixels wide is ``text`` in a font of ``size`` pixels."""
    if mono:
        return len(text) * size * _MONO
    hundredths = sum(_WIDTHS[ord(char) - 32] if " " <= char <= "~" else _WIDEST for char in text)
    return hundredths * size / 100 * (_BOLD if bold else 1)


def fitted(text: str, room: float, size: float, *, bold: bool = False, mono: bool = False) -> str:
    """``text``, or its beginning and end around an ellipsis so that it fits into ``room``.

    Kubernetes makes names that differ at their end, so more of the end is kept.
    """
    if width(text, size, bold=bold, mono=mono) <= room:
        return text
    for length in range(len(text) - 1, 1, -1):
        head = length * 2 // 5
        short = f"{text[:head]}\u2026{text[len(text) - (length - head):]}"
        if width(short, size, bold=bold, mono=mono) <= room:
            return short
    return "\u2026"


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{round(value, 1) + 0:.1f}".removesuffix(".0")


def element(tag: str, *content: str, **attributes: str | float | None) -> str:
    """``<tag ...>content</tag>``; the content is SVG already, attributes are escaped.

    ``stroke_width`` becomes ``stroke-width`` and ``class_`` becomes ``class``; None is left out.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is not None:
            spelled = value if isinstance(value, str) else number(value)
            words.append(f'{name.rstrip("_").replace("_", "-")}="{escape(spelled)}"')
    return f"<{' '.join(words)}>{''.join(content)}</{tag}>" if content else f"<{' '.join(words)}/>"


def text(x: float, y: float, words: str, class_: str | None = None, *, whole: str = "",
         anchor: str | None = None, size: float | None = None, bold: bool = False) -> str:
    """A line of text with its baseline at ``y``; ``whole`` is what it was shortened from.

    Without ``size`` in pixels and ``bold`` the class says how it looks.
    """
    tip = element("title", escape(whole)) if whole and whole != words else ""
    return element("text", tip, escape(words), x=x, y=y, class_=class_, text_anchor=anchor,
                   font_size=size, font_weight="700" if bold else None)


def polyline(points: list[tuple[float, float]], radius: float = 0) -> str:
    """The ``d`` of a path through ``points``, its corners rounded."""
    corners = [point for n, point in enumerate(points) if n == 0 or point != points[n - 1]]
    steps = [f"M{number(corners[0][0])} {number(corners[0][1])}"]
    for before, (x, y), after in zip(corners, corners[1:], corners[2:], strict=False):
        start, end = _towards((x, y), before, radius), _towards((x, y), after, radius)
        steps.append(f"L{number(start[0])} {number(start[1])}"
                     f"Q{number(x)} {number(y)} {number(end[0])} {number(end[1])}")
    steps.append(f"L{number(corners[-1][0])} {number(corners[-1][1])}")
    return "".join(steps)


def _towards(start: tuple[float, float], end: tuple[float, float], radius: float
             ) -> tuple[float, float]:
    """The point ``radius`` away from ``start``, but at most half of the way to ``end``."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = (across * across + down * down) ** 0.5
    share = min(radius / length, 0.5) if length else 0
    return start[0] + across * share, start[1] + down * share
