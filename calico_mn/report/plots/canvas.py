"""The sheet that pictures are drawn on: matplotlib in one style, as wide as a phone can show.

A :class:`Sheet` is a matplotlib figure of :data:`WIDTH` points with a title, a lead, a note, and
axes below each other. Its makers say how high the axes are, matplotlib's constrained layout finds
the room for what stands around them, and the figure becomes as high as that needs::

    title            Sheet.axes[0], [1] ...: heights in points
    lead             head(): a heading at the left, a word at the right
    [key]            Rows: names at the left, beside(): numbers at the right
    axes ...
    note             finish() -> document.Figure with SVG and PNG

matplotlib is loaded with the first picture, which takes a second. Neither the user's settings nor
the home directory matter to what is drawn, and nothing of either is changed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from calico_mn.report import graphics
from calico_mn.report.document import Figure
from calico_mn.report.graphics import FAINT, GRID, INK
from calico_mn.text import number, wrap

#: points; a phone shows them on about 360 CSS pixels, so nothing is smaller than SMALL
WIDTH, MARGIN = 400.0, 14.0
TITLE, HEAD, LABEL, SMALL = 15.0, 12.0, 10.5, 9.5
#: points that names of rows may take
NAMES = 118.0
#: the style of a line besides a solid one
DASHES = (0, (3.2, 1.6))

#: from line to line, as a share of the letters' size
_LEADING = 1.32
_PNG_DPI = 200
#: points by which axes may miss the height that was asked for
_CLOSE = 1e-3
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_STYLE = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": LABEL,
    "svg.fonttype": "none", "text.parse_math": False, "text.color": INK, "figure.dpi": 72,
    "axes.titlesize": HEAD, "axes.titleweight": "bold", "axes.labelsize": SMALL,
    "axes.labelcolor": FAINT, "axes.labelpad": 3, "axes.facecolor": "none", "axes.grid": True,
    "axes.axisbelow": True, "axes.xmargin": 0.0, "grid.color": GRID, "grid.linewidth": 0.8,
    "hatch.linewidth": 0.8, "lines.linewidth": 1.7, "lines.solid_capstyle": "butt",
    # Steps of a curve that cannot be seen only make the file larger.
    "path.simplify_threshold": 0.6,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in (
        ("major.size", 0), ("minor.size", 0), ("labelsize", SMALL), ("labelcolor", FAINT),
        ("major.pad", 6))},
}

#: matplotlib's axes
Axes: TypeAlias = Any


@functools.cache
def load_matplotlib() -> Any:
    """matplotlib, whose caches stay out of the user's home unless MPLCONFIGDIR says where.

    Its first import makes ~/.config/matplotlib and ~/.cache/matplotlib, which would belong to
    root in a home that may be another user's.
    """
    with contextlib.ExitStack() as stack:
        if not os.environ.get("MPLCONFIGDIR"):
            os.environ["MPLCONFIGDIR"] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="calico-mn-"))
            stack.callback(os.environ.pop, "MPLCONFIGDIR")
        import matplotlib
        import matplotlib.backends.backend_agg
        import matplotlib.backends.backend_svg
        import matplotlib.figure
        return matplotlib


@contextlib.contextmanager
def style(settings: Mapping[str, Any]) -> Iterator[None]:
    """Draw by these settings, regardless of matplotlibrc, and leave matplotlib's own alone."""
    matplotlib = load_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


#: a decorator: the function draws in this style
styled = style(_STYLE)


def check_finite(values: Iterable[float], what: str) -> None:
    """Raise ValueError if one of the values, which are of ``what``, is not a finite number."""
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"{what}: {value} cannot be drawn, only finite numbers can")


def check_not_empty(values: Iterable[object], picture: str) -> None:
    """Raise ValueError unless there is a value to draw."""
    if not any(True for _ in values):
        raise ValueError(f"{picture}: nothing to draw, there is no sample")


def tick(value: float) -> str:
    """A number on an axis: three digits, without zeros at the end that say nothing."""
    return number(value, zeros=False)


def minus(text: str) -> str:
    """The text with typographic minus signs."""
    return text.replace("-", "\u2212")


def wrapped(text: str, room: float, size: float, bold: bool = False) -> str:
    """The text in lines no wider than ``room`` points; a longer word is broken, after a sign."""
    def width(part: str) -> float:
        return graphics.width(part, size, bold=bold)

    def pieces(word: str) -> Iterable[str]:
        piece = ""
        for part in re.findall(r"[^-_./:]*[-_./:]?", word) if width(word) > room else [word]:
            for sign in [part] if width(part) <= room else part:
                if width(piece + sign) > room:
                    yield piece
                    piece = ""
                piece += sign
        yield piece

    words = " ".join(piece for word in text.split() for piece in pieces(word) if piece)
    return "\n".join(wrap(words, room, measure=width))


def balanced(text: str, room: float, size: float, bold: bool = False) -> str:
    """As :func:`wrapped`, in as many lines, but of similar lengths."""
    best = wrapped(text, room, size, bold)
    while best and room > size:
        room -= 6
        tighter = wrapped(text, room, size, bold)
        if tighter.count("\n") > best.count("\n"):
            break
        best = tighter
    return best


def text_height(text: str, size: float) -> float:
    """Points from the top of the first line to what comes below the last."""
    return (text.count("\n") + 1) * size * _LEADING if text else 0.0


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Points that the longest of the text's lines takes at most."""
    return max(graphics.width(line, size, bold=bold) for line in text.split("\n"))


class Sheet:
    """A picture under way: axes of ``heights`` points below each other, in :attr:`axes`.

    ``key`` are the legend's entries, between lead and axes. ``right`` are points that the axes
    leave free at the right for what is drawn after :meth:`settle`.
    """

    def __init__(self, title: str, heights: Sequence[float], *, lead: str = "", note: str = "",
                 key: Sequence[Any] = (), sharex: bool = False, right: float = 0) -> None:
        from matplotlib.figure import Figure as Canvas
        room = WIDTH - 2 * MARGIN
        self._heights, self._right, self._settled = heights, right, False
        title = balanced(title, room, TITLE, bold=True)
        lead, note = balanced(lead, room, LABEL), wrapped(note, room, SMALL)
        self.figure: Any = Canvas((WIDTH / 72, 1), layout="constrained", facecolor="white")
        self._text(1, -MARGIN, title, TITLE, "top", fontweight="bold")
        self._top = MARGIN + text_height(title, TITLE) + 3
        self._text(1, -self._top, lead, LABEL, "top")
        self._top += text_height(lead, LABEL) + 7
        if key:
            self._top += self._key(key) + 4
        self._text(0, MARGIN, note, SMALL, "bottom", color=FAINT)
        self._bottom = MARGIN + (text_height(note, SMALL) + 10 if note else 0)
        # Far too high at first, so that the layout never lacks room.
        self._resize(2 * sum(heights) + 150 * len(heights) + 200)
        self.axes: list[Any] = list(self.figure.subplots(
            len(heights), sharex=sharex, squeeze=False, height_ratios=heights).flat)

    def _text(self, y: float, points: float, text: str, size: float, align: str, **style: Any
              ) -> None:
        """A text at the left margin, so many points above the figure's bottom (0) or top (1)."""
        self.figure.text(0, y, text, fontsize=size, va=align, linespacing=1.15, **style,
                         transform=self._from_corner(y, points))

    def _from_corner(self, y: float, points: float) -> Any:
        from matplotlib.transforms import ScaledTranslation
        return self.figure.transFigure + ScaledTranslation(
            MARGIN / 72, points / 72, self.figure.dpi_scale_trans)

    def _key(self, entries: Sequence[Any]) -> float:
        """Show what the colours mean; the points that it takes."""
        room = WIDTH - 2 * MARGIN - 30
        widest = max(text_width(entry.get_label(), LABEL) for entry in entries)
        for entry in entries:
            entry.set_label(wrapped(entry.get_label(), room, LABEL))
        legend = self.figure.legend(
            handles=entries, loc="upper left", bbox_to_anchor=(0, 1), frameon=False, borderpad=0,
            bbox_transform=self._from_corner(1, -self._top), borderaxespad=0, fontsize=LABEL,
            ncols=max(1, int((room + 30) / (widest + 44))), handlelength=1.1, handleheight=0.9,
            handletextpad=0.5, columnspacing=1.6)
        legend.set_in_layout(False)
        return float(legend.get_window_extent().height)

    def _resize(self, height: float) -> None:
        self._height = height = round(height, 3)
        self.figure.set_figheight(height / 72)
        self.figure.get_layout_engine().set(w_pad=0, h_pad=4 / 72, hspace=0, rect=(
            MARGIN / WIDTH, self._bottom / height, 1 - (2 * MARGIN + self._right) / WIDTH,
            1 - (self._top + self._bottom) / height))

    def settle(self) -> None:
        """Give everything its final place: what is drawn later moves nothing."""
        engine = self.figure.get_layout_engine()
        for _ in range(3):
            engine.execute(self.figure)
            drawn = sum(axes.get_window_extent().height for axes in self.axes)
            if abs(drawn - sum(self._heights)) < _CLOSE:
                break
            self._resize(self._height + sum(self._heights) - drawn)
        self.figure.set_layout_engine("none")
        # The layout's solver adds in the order of addresses in memory: its last digits are chance,
        # and identifiers in an SVG are hashes of all digits.
        for axes in self.axes:
            axes.set_position([round(share, 6) for share in axes.get_position().bounds])
        self._settled = True

    def head(self, axes: Any, left: str, right: str = "", size: float = HEAD) -> None:
        """A heading above axes, from the sheet's left margin, and a word at its right margin."""
        from matplotlib.transforms import blended_transform_factory
        bold = size >= HEAD
        left = wrapped(left, WIDTH - 2 * MARGIN - (text_width(right, SMALL) + 10 if right else 0),
                       size, bold=bold)
        titles = (axes.set_title(left, loc="left", fontsize=size, color=INK if bold else FAINT,
                                 fontweight="bold" if bold else "normal"),
                  axes.set_title(right, loc="right", fontsize=SMALL, color=FAINT,
                                 fontweight="normal"))
        for title, x in zip(titles, (MARGIN, WIDTH - MARGIN), strict=True):
            title.set(x=x / 72, linespacing=1.15, transform=blended_transform_factory(
                self.figure.dpi_scale_trans, axes.transAxes + axes.titleOffsetTrans))

    def finish(self, name: str, title: str, alt: str, caption: str = "") -> Figure:
        """The picture as text and bytes, the same for the same data."""
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        if not self._settled:
            self.settle()
        matplotlib.rcParams["svg.hashsalt"] = name
        text, png = io.StringIO(), io.BytesIO()
        # Figure.savefig would draw each twice.
        vectors, pixels = FigureCanvasSVG(self.figure), FigureCanvasAgg(self.figure)
        vectors.print_svg(text, metadata=_NO_METADATA)  # type: ignore[no-untyped-call]
        self.figure.set_dpi(_PNG_DPI)
        pixels.print_png(png, metadata={"Software": None})  # type: ignore[no-untyped-call]
        return Figure(name, title, text.getvalue(), alt, caption, png.getvalue())


class Rows:
    """Named rows of axes, from above: each of ``least`` points, or as many as its name needs."""

    def __init__(self, names: Sequence[str], least: float, *, room: float = NAMES,
                 bold: bool = True) -> None:
        self._bold = bold
        self.names = [wrapped(name, room, LABEL, bold=bold) for name in names]
        self.heights = [max(least, text_height(name, LABEL) + 6) for name in self.names]

    @property
    def height(self) -> float:
        """Points of all rows."""
        return sum(self.heights)

    def show(self, axes: Any, colours: Sequence[str]) -> list[float]:
        """Name the rows; returns where each one's middle is, in points downwards."""
        ends = [sum(self.heights[:n + 1]) for n in range(len(self.heights))]
        middles = [end - height / 2 for end, height in zip(ends, self.heights, strict=True)]
        axes.set_ylim(ends[-1], 0)
        axes.set_yticks(middles, self.names, fontsize=LABEL, linespacing=1.15,
                        fontweight="bold" if self._bold else "normal")
        axes.grid(visible=False, axis="y")
        for label, colour in zip(axes.get_yticklabels(), colours, strict=True):
            label.set_color(colour)
        return middles


def beside(axes: Any, middle: float, room: float, strong: str, faint: str = "", *,
           colour: str = INK, size: float = HEAD, bold: bool = True) -> None:
    """Numbers at the right of a row, ending ``room`` points from the axes."""
    place = {"xy": (1, middle), "xycoords": axes.get_yaxis_transform(),
             "textcoords": "offset points", "ha": "right", "va": "center", "linespacing": 1.15}
    if strong:
        axes.annotate(strong, xytext=(room, 6 if faint else 0), fontsize=size, color=colour,
                      fontweight="bold" if bold else "normal", **place)
    if faint:
        axes.annotate(faint, xytext=(room, -7 if strong else 0), fontsize=SMALL, color=FAINT,
                      **place)


def scale(axes: Any, label: str = "", *, ticks: int = 5, text: Callable[[float], str] = tick
          ) -> None:
    """Round numbers below axes, about so many, and what they are."""
    from matplotlib.ticker import MaxNLocator
    axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: text(value))
    axes.set_xlabel(label)


def log_ticks(axis: Any, low: float, high: float) -> None:
    """Powers of ten on an axis from ``low`` to ``high``; with 2 and 5 of each if that gives few."""
    from matplotlib.ticker import LogLocator
    few = high / low < 1000
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6))
    axis.set_major_formatter(lambda value, _: tick(value))
    axis.axes.minorticks_off()
