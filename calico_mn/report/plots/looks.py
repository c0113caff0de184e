"""Colours and shapes, which always go together: nothing is told by a colour alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from calico_mn.report.document import BAD, GOOD, MIXED, PLAIN_TONE
from calico_mn.report.palette import BLUE, GREEN, MODES, ORANGE, PURPLE, SKY, VERMILION

INK, FAINT, RULE, GRID = "#222222", "#5f5f5f", "#9a9a9a", "#e6e6e6"
#: for a series or a part, as the palette's colours are
GREY = "#6b6b6b"

_OTHERS = (PURPLE, ORANGE, SKY, GREY, VERMILION, BLUE, GREEN)
#: matplotlib's names of shapes
_MARKERS = {"Always": "o", "CrossSubnet": "s", "Never": "^"}
_OTHER_MARKERS = ("D", "v", "P", "X", "h", "<", ">", "p", "*")

#: of text against white, WCAG 2.2 success criterion 1.4.3
_READABLE = 4.5

#: a cell's background and the sign before its word
TONES = {GOOD: ("#cdebe1", "\u2713"), BAD: ("#f6d5c1", "\u2717"), MIXED: ("#fbeabf", "~"),
         PLAIN_TONE: ("#f1f1f1", "")}


@dataclass(frozen=True, slots=True)
class Look:
    """A series' colour, and its dots' shape as matplotlib names it."""

    colour: str
    marker: str

    @property
    def text(self) -> str:
        """The colour for letters: as dark as they need to be read on white."""
        return readable(self.colour)


def looks(series: Iterable[str]) -> dict[str, Look]:
    """A look for each of the series, in their order; repeated only when there are very many.

    A series that begins with a known one's name ("Always, GSO off") looks like that one.
    """
    found: dict[str, Look] = {}
    names = list(dict.fromkeys(series))
    heads = {name: name.split(",")[0].strip() for name in names}
    used = {MODES[head] for head in heads.values() if head in MODES}
    colours = [colour for colour in _OTHERS if colour not in used] or list(_OTHERS)
    markers = list(_OTHER_MARKERS)
    others = taken = 0
    for name in names:
        if heads[name] in MODES:
            colour = MODES[heads[name]]
        else:
            colour = colours[others % len(colours)]
            others += 1
        marker = _MARKERS.get(heads[name])
        if marker is None:
            marker = markers[taken % len(markers)]
            taken += 1
        found[name] = Look(colour, marker)
    return found


def readable(colour: str) -> str:
    """The colour, darkened until its contrast against white is 4.5 to 1."""
    red, green, blue = (int(colour[at:at + 2], 16) for at in (1, 3, 5))
    share = 1.0
    while share > 0 and 1.05 / (_luminance(share * red, share * green, share * blue) + 0.05
                                ) < _READABLE:
        share -= 0.02
    return "#" + "".join(f"{round(share * part):02x}" for part in (red, green, blue))


def paled(colour: str, share: float) -> str:
    """``share`` of the colour on white, opaque."""
    parts = (int(colour[at:at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(255 + share * (part - 255)):02x}" for part in parts)


def _luminance(*parts: float) -> float:
    """Relative luminance of sRGB parts from 0 to 255 (WCAG 2.2)."""
    linear = [part / 255 / 12.92 if part / 255 <= 0.04045
              else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
