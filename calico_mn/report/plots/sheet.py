"""The paper that pictures are drawn on: matplotlib, measured in points from the top left.

Every picture is as wide as :data:`WIDTH` and as high as it needs to be. Shown on a phone it is
still readable, so nothing is written smaller than :data:`~.lettering.SMALL`.
"""

from __future__ import annotations

import io
import re
from typing import Any

from calico_mn.report.document import Figure
from calico_mn.report.plots.engine import FONT
from calico_mn.report.plots.lettering import (
    LABEL,
    SMALL,
    TITLE,
    balanced,
    text_height,
    wrapped,
)
from calico_mn.report.plots.looks import FAINT, INK

#: points
WIDTH, MARGIN = 400.0, 14.0

_DOTS_PER_INCH = 200
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


class Sheet:
    """A picture under way: title, lead and note stand, ``body`` points are free between them.

    Places are points from the left edge and from the top of the body, downwards.
    """

    def __init__(self, title: str, body: float, lead: str = "", note: str = "") -> None:
        from matplotlib.figure import Figure as Canvas
        room = WIDTH - 2 * MARGIN
        title = balanced(title, room, TITLE, bold=True)
        lead = wrapped(lead, room, LABEL)
        note = wrapped(note, room, SMALL)
        self._top = MARGIN + text_height(title, TITLE) + 3 + text_height(lead, LABEL) + 10
        self.height = self._top + body + (text_height(note, SMALL) + 6 if note else 0) + MARGIN
        self.figure: Any = Canvas(figsize=(WIDTH / 72, self.height / 72), dpi=72,
                                  facecolor="white")
        self.write(MARGIN, MARGIN - self._top, title, TITLE, bold=True)
        if lead:
            self.write(MARGIN, -10 - text_height(lead, LABEL), lead)
        if note:
            self.write(MARGIN, body + 6, note, SMALL, colour=FAINT)

    def write(self, x: float, y: float, text: str, size: float = LABEL, *, bold: bool = False,
              colour: str = INK, align: str = "left", middle: bool = False) -> None:
        """Text with its top at ``y``, or its middle."""
        self.figure.text(x / WIDTH, 1 - (self._top + y) / self.height, text, fontsize=size,
                         fontweight="bold" if bold else "normal", color=colour, ha=align,
                         va="center" if middle else "top", linespacing=1.15)

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Axes without a frame, an axis or a grid."""
        axes = self.figure.add_axes((left / WIDTH, 1 - (self._top + top + height) / self.height,
                                     width / WIDTH, height / self.height))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.patch.set_visible(False)
        return axes

    def finish(self, name: str, title: str, alt: str, caption: str) -> Figure:
        """The picture as text and bytes, the same for the same data."""
        import matplotlib
        matplotlib.rcParams["svg.hashsalt"] = name
        svg, png = io.BytesIO(), io.BytesIO()
        self.figure.savefig(svg, format="svg", metadata=_NO_METADATA)
        self.figure.savefig(png, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
        return Figure(name, title, _tidy(svg.getvalue().decode("utf-8")), alt, caption,
                      png.getvalue())


def _tidy(svg: str) -> str:
    """The SVG so that it can stand inside a page, beside others.

    Its style sheet would hold for the whole page, and its groups' ids, which nothing refers to,
    would be in each picture.
    """
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = svg.replace("<svg", '<svg stroke-linejoin="round" stroke-linecap="butt"', 1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    # The page's own sans serif: few have DejaVu, and a name in each text makes files larger.
    svg = svg.replace(f"'{FONT}', sans-serif", "sans-serif")
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"|<g/>', "", svg)
    # Hundredths of a point are enough.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip() + "\n"
