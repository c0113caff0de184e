"""The paper that pictures are drawn on: matplotlib, measured in points from the top left.

Every picture is as wide as :data:`WIDTH` and as high as it needs to be. Shown on a phone it is
still readable, so nothing is written smaller than :data:`SMALL`. Text is measured before it is
placed, in DejaVu Sans, which matplotlib brings along and which is wider than what browsers use:
what fits here fits there.
"""

from __future__ import annotations

import functools
import io
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from calico_mn.report.document import Figure
from calico_mn.report.plots.layout import thinned, tick
from calico_mn.report.plots.looks import FAINT, GRID, INK, RULE

#: points
WIDTH, MARGIN = 400.0, 14.0
TITLE, HEAD, LABEL, SMALL = 15.0, 12.0, 10.5, 9.5
LEADING = 1.32

_DOTS_PER_INCH = 200
_FONT = "DejaVu Sans"
_STYLE = {"font.family": "sans-serif", "font.sans-serif": [_FONT], "svg.fonttype": "none",
          "text.parse_math": False, "hatch.linewidth": 0.8, "axes.unicode_minus": True}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def _load() -> Any:
    """matplotlib, whose caches stay out of the user's home unless MPLCONFIGDIR says where.

    Its first import makes ~/.config/matplotlib and ~/.cache/matplotlib, which would belong to
    root in a home that may be another user's.
    """
    if os.environ.get("MPLCONFIGDIR"):
        return _import()
    with tempfile.TemporaryDirectory(prefix="calico-mn-") as directory:
        os.environ["MPLCONFIGDIR"] = directory
        try:
            return _import()
        finally:
            del os.environ["MPLCONFIGDIR"]


def _import() -> Any:
    import matplotlib
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.figure
    return matplotlib


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in our style, whatever matplotlibrc says, and leave matplotlib's settings alone."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        matplotlib = _load()
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return drawn


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Points that the longest of the text's lines takes."""
    return max(_line_width(line, size, bold) for line in text.split("\n"))


@functools.lru_cache(maxsize=4096)
def _line_width(line: str, size: float, bold: bool) -> float:
    _load()
    from matplotlib.font_manager import FontProperties
    font = FontProperties(family=_FONT, size=size, weight="bold" if bold else "normal")
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
    svg = svg.replace(f"'{_FONT}', sans-serif", "sans-serif")
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"|<g/>', "", svg)
    # Hundredths of a point are enough.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip() + "\n"


def scale_below(axes: Any, ticks: Sequence[float], label: str = "",
                names: Sequence[str] | None = None) -> None:
    """Numbers below the axes at ``ticks`` with lines upwards, as many as have room."""
    low, high = axes.get_xlim()
    texts = list(names) if names else [tick(value) for value in ticks]
    inside = [i for i, value in enumerate(ticks)
              if min(low, high) - 1e-9 <= value <= max(low, high) * (1 + 1e-9) + 1e-12]
    spots = {i: float(axes.transData.transform((ticks[i], 1))[0]) for i in inside}
    wide = {i: text_width(texts[i], SMALL) for i in inside}
    inside = [i for i in inside if spots[i] - wide[i] / 2 >= 2
              and spots[i] + wide[i] / 2 <= WIDTH - 2]
    kept = [inside[k] for k in thinned([spots[i] for i in inside], [wide[i] for i in inside])]
    axes.set_xticks([ticks[i] for i in kept], [texts[i] for i in kept], minor=False)
    axes.tick_params(axis="x", which="both", length=0, pad=6, labelsize=SMALL, labelcolor=FAINT)
    axes.set_xticks([], minor=True)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    if label:
        axes.set_xlabel(label, fontsize=SMALL, color=FAINT, labelpad=3)


def scale_left(axes: Any, ticks: Sequence[float], names: Sequence[str] | None = None) -> None:
    """Numbers left of the axes at ``ticks`` with lines across."""
    axes.set_yticks(list(ticks), list(names) if names else [tick(value) for value in ticks])
    axes.set_yticks([], minor=True)
    axes.tick_params(axis="y", which="both", length=0, pad=4, labelsize=SMALL, labelcolor=FAINT)
    axes.grid(axis="y", color=GRID, linewidth=0.8)


def even_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about so many."""
    from matplotlib.ticker import MaxNLocator
    found = MaxNLocator(nbins=about, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(value) for value in found if low - 1e-12 <= value <= high * (1 + 1e-12)]


def base_line(axes: Any, x: float = 0) -> None:
    """The line from which bars begin."""
    axes.axvline(x, color=RULE, linewidth=1)
