"""The colours that mean something, in plots, drawings and slides alike. Pure.

They are Okabe and Ito's (Color Universal Design, 2008), which people with any colour vision tell
apart. In plots a colour always goes together with a shape, a sign or a hatch: nothing is said by a
colour alone. :func:`series_styles` gives the same series the same style in every picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from calico_mn.report.document import BAD, GOOD, MIXED, PLAIN_TONE

ORANGE, SKY, GREEN = "#e69f00", "#56b4e9", "#009e73"
BLUE, VERMILION, PURPLE = "#0072b2", "#d55e00", "#cc79a7"

#: by encapsulation mode: the same mode has the same colour in every picture
MODES = {"Always": VERMILION, "CrossSubnet": BLUE, "Never": GREEN}

#: letters, less important letters, base lines, lines across a plot
INK, FAINT, RULE, GRID = "#222222", "#5f5f5f", "#9a9a9a", "#e6e6e6"
#: for a series or a part, as the palette's colours are
GREY = "#6b6b6b"

#: tone -> a cell's background and the sign before its word
TONES = {GOOD: ("#cdebe1", "\u2713"), BAD: ("#f6d5c1", "\u2717"), MIXED: ("#fbeabf", "~"),
         PLAIN_TONE: ("#f1f1f1", "")}

_OTHER_COLOURS = (PURPLE, ORANGE, SKY, GREY, VERMILION, BLUE, GREEN)
#: matplotlib's names of shapes
_MARKERS = {"Always": "o", "CrossSubnet": "s", "Never": "^"}
_OTHER_MARKERS = ("D", "v", "P", "X", "h", "<", ">", "p", "*")
#: contrast of text against white, WCAG 2.2 success criterion 1.4.3
_READABLE = 4.5


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """A series' colour, and its dots' shape as matplotlib names it."""

    colour: str
    marker: str

    @property
    def text(self) -> str:
        """The colour for letters: as dark as they need to be on white."""
        return readable(self.colour)


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


def readable(colour: str) -> str:
    """The colour, darkened until its contrast against white is 4.5 to 1."""
    share = 1.0
    while share > 0 and 1.05 / (_luminance(_scaled(colour, share)) + 0.05) < _READABLE:
        share -= 0.02
    return _hex(_scaled(colour, share))


def lighten(colour: str, share: float) -> str:
    """``share`` of the colour on white, opaque."""
    return _hex([255 + share * (part - 255) for part in _scaled(colour, 1)])


def _scaled(colour: str, share: float) -> list[float]:
    return [share * int(colour[at:at + 2], 16) for at in (1, 3, 5)]


def _hex(parts: Iterable[float]) -> str:
    return "#" + "".join(f"{round(part):02x}" for part in parts)


def _luminance(parts: Iterable[float]) -> float:
    """Relative luminance of sRGB parts from 0 to 255 (WCAG 2.2)."""
    red, green, blue = (part / 255 / 12.92 if part / 255 <= 0.04045
                        else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
