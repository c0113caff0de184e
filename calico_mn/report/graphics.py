"""What all pictures share: colours that mean something, widths of texts, SVG elements. Pure.

The colours are Okabe and Ito's (Color Universal Design, 2008), which people with any colour vision
tell apart. In plots a colour always goes together with a shape, a sign or a hatch: nothing is said
by a colour alone. :func:`series_styles` gives the same series the same style in every picture.

The screen that shows a drawing has fonts of its own, so widths are those of DejaVu Sans, which is
wider than the common fonts of screens: what fits in it fits in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from calico_mn.report.document import BAD, GOOD, MIXED, PLAIN_TONE

ORANGE, SKY, GREEN = "#e69f00", "#56b4e9", "#009e73"
BLUE, VERMILION, PURPLE = "#0072b2", "#d55e00", "#cc79a7"

#: by encapsulation mode: the same mode has the same colour in every picture
MODES = {"Always": VERMILION, "CrossSubnet": BLUE, "Never": GREEN}

#: letters, less important letters, base lines, lines across a plot
INK, FAINT, RULE, GRID = "#222222", "#5f5f5f", "#9a9a9a", "#e6e6e6"
#: for a series or a part, as the colours above are
GREY = "#6b6b6b"
#: each of those for letters: as dark as a contrast of 4.5 to 1 on white needs (WCAG 2.2, 1.4.3)
LETTERS = {ORANGE: "#9c6c00", SKY: "#3a7a9e", GREEN: "#008561", BLUE: BLUE, VERMILION: "#c05500",
           PURPLE: "#a36186", GREY: GREY}

#: tone -> a cell's background and the sign before its word
TONES = {GOOD: ("#cdebe1", "\u2713"), BAD: ("#f6d5c1", "\u2717"), MIXED: ("#fbeabf", "~"),
         PLAIN_TONE: ("#f1f1f1", "")}

_OTHER_COLOURS = (PURPLE, ORANGE, SKY, GREY, VERMILION, BLUE, GREEN)
#: matplotlib's names of shapes
_MARKERS = {"Always": "o", "CrossSubnet": "s", "Never": "^"}
_OTHER_MARKERS = ("D", "v", "P", "X", "h", "<", ">", "p", "*")


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """A series' colour, and its dots' shape as matplotlib names it."""

    colour: str
    marker: str

    @property
    def text(self) -> str:
        """The colour for letters."""
        return LETTERS[self.colour]


def series_styles(series: Iterable[str]) -> dict[str, SeriesStyle]:
    """A style for each of the series, in their order; repeated only when there are very many.

    A series that begins with a mode's name ("Always, GSO off") looks like that mode.
    """
    names = list(dict.fromkeys(series))
    modes = {name: name.split(",")[0].strip() for name in names}
    used = {MODES.get(mode) for mode in modes.values()}
    colours = [colour for colour in _OTHER_COLOURS if colour not in used] or _OTHER_COLOURS
    others = [name for name in names if modes[name] not in MODES]
    styles = {name: SeriesStyle(MODES[mode], _MARKERS[mode])
              for name, mode in modes.items() if mode in MODES}
    styles |= {name: SeriesStyle(colours[n % len(colours)],
                                 _OTHER_MARKERS[n % len(_OTHER_MARKERS)])
               for n, name in enumerate(others)}
    return {name: styles[name] for name in names}


def lighten(colour: str, share: float) -> str:
    """``share`` of the colour on white, opaque."""
    parts = (int(colour[at:at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(255 + share * (part - 255)):02x}" for part in parts)


# --- texts and elements

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
