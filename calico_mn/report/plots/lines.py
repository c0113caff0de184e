"""A quantity over a size, and over a count with a fitted line; each line is named at its end."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from calico_mn.measure import fits
from calico_mn.report.document import Figure
from calico_mn.report.graphics import FAINT, RULE, SeriesStyle, series_styles
from calico_mn.report.plots import canvas
from calico_mn.text import number, small_unit_for, unit_for

#: values, or sizes, that differ by more than this factor get a logarithmic axis
_LONG, _SIZES_LONG = 60.0, 8.0
#: points: a plot's height, its end labels and the room for lines to them
_HEIGHT, _LABELS, _LEADER = 230.0, 128.0, 16.0


@dataclass(frozen=True, slots=True)
class Line:
    """The samples of ``series`` at each x: (x, values) in any order."""

    series: str
    points: tuple[tuple[float, tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A line in the picture's unit: samples, what is drawn through them, words at its end."""

    line: Line
    samples: tuple[tuple[float, float], ...]
    through: tuple[tuple[float, float], ...]
    words: str
    fitted: bool = False


@canvas.styled
def lines(name: str, title: str, quantity: str, unit: str, size: str, series: Sequence[Line], *,
          each: str = "") -> Figure:
    """``quantity`` in ``unit`` over ``size`` ("packet size, bytes"): dots, and through medians.

    With ``each``, one of what is counted ("pod"), the line is the least squares one through all
    samples, with its formula. Raises ValueError without a value.
    """
    series = [line for line in series if any(values for _, values in line.points)]
    canvas.check_not_empty(series, title)
    for line in series:
        canvas.check_finite((value for x, values in line.points for value in (x, *values)),
                             line.series)
    factor, larger = unit_for([statistics.median(values) for line in series
                                       for _, values in line.points if values], unit)
    drawn = [_drawn(line, factor, larger, each) for line in series]
    styles = series_styles(line.series for line in series)
    room = min(_LABELS, max(max(canvas.text_width(curve.line.series, canvas.LABEL, bold=True),
                                canvas.text_width(curve.words, canvas.SMALL)) for curve in drawn))
    labels = [(canvas.wrapped(curve.line.series, room, canvas.LABEL, bold=True),
               "\n".join(canvas.wrapped(part, room, canvas.SMALL)
                         for part in curve.words.split("\n")))
              for curve in drawn]
    heights = [canvas.text_height(head, canvas.LABEL) + canvas.text_height(below, canvas.SMALL) + 4
               for head, below in labels]
    sheet = canvas.Sheet(
        title, [max(_HEIGHT, sum(heights))], right=room + _LEADER,
        lead="A dot is a sample, the line the least squares fit to all of them." if each
        else "A dot is a sample, the line joins their medians.")
    (axes,) = sheet.axes
    sheet.head(axes, f"{quantity}, {larger}", size=canvas.SMALL)
    _scales(axes, drawn, size, logarithms=not each)
    for curve in drawn:
        _line(axes, curve, styles[curve.line.series])
    sheet.settle()
    frame = axes.bbox
    ends = [frame.y1 - axes.transData.transform(curve.through[-1])[1] for curve in drawn]
    tops = _apart([end - height / 2 for end, height in zip(ends, heights, strict=True)], heights,
                  frame.height)
    for curve, (head, below), top, height in zip(drawn, labels, tops, heights, strict=True):
        style = styles[curve.line.series]
        place = {"xycoords": "axes points", "annotation_clip": False}
        axes.annotate("", curve.through[-1], (frame.width + _LEADER - 2,
                                              frame.height - top - height / 2),
                      xycoords="data", textcoords="axes points", annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "color": style.colour, "linewidth": 0.8,
                                  "shrinkA": 0, "shrinkB": 3})
        corner = frame.width + _LEADER, frame.height - top - 2
        axes.annotate(head, corner, fontsize=canvas.LABEL, fontweight="bold", color=style.text,
                      va="top", linespacing=1.15, **place)
        axes.annotate(below, (corner[0], corner[1] - canvas.text_height(head, canvas.LABEL)),
                      fontsize=canvas.SMALL, color=FAINT, va="top", linespacing=1.15, **place)
    return sheet.finish(name, title, f"{quantity} in {larger} over {size}. "
                                     f"{'; '.join(map(_in_words, drawn))}.")


def _drawn(line: Line, factor: float, unit: str, each: str) -> _Drawn:
    dots = tuple((x, value * factor) for x, values in sorted(line.points) for value in values)
    medians = tuple((x, statistics.median(values) * factor)
                    for x, values in sorted(line.points) if values)
    if not each:
        return _Drawn(line, dots, medians, f"{number(medians[-1][1])} {unit}")
    fitted = fits.line(dots)
    if fitted is None:
        return _Drawn(line, dots, medians, "one count only: no line to fit")
    if not fitted.grows:
        return _Drawn(line, dots, medians, "medians joined: no straight line fits")
    return _Drawn(line, dots, tuple((x, fitted.at(x)) for x in (medians[0][0], medians[-1][0])),
                  _formula(fitted, unit, each), fitted=True)


def _formula(fitted: fits.Fit, unit: str, each: str) -> str:
    """The line in words, with R2 where it says something."""
    factor, small = small_unit_for(fitted.slope, unit)
    text = (canvas.minus(f"{number(fitted.intercept)} {unit}")
            + f"\n{'+' if fitted.slope >= 0 else canvas.minus('-')} "
            f"{number(abs(fitted.slope) * factor)} {small} per {each}")
    return text if fitted.r2 is None else f"{text}\nR\u00b2 = {fitted.r2:.4f}"


def _in_words(curve: _Drawn) -> str:
    if curve.fitted:
        first, *rest = curve.words.split("\n")
        return f"{curve.line.series}: {', '.join([' '.join([first, rest[0]]), *rest[1:]])}"
    return f"{curve.line.series}: " + ", ".join(
        f"{number(y)} at {canvas.tick(x)}" for x, y in curve.through)


def _scales(axes: canvas.Axes, drawn: Sequence[_Drawn], size: str, logarithms: bool) -> None:
    """Both axes; ``logarithms`` where numbers differ very much."""
    from matplotlib.ticker import MaxNLocator
    ys = [y for curve in drawn for _, y in curve.samples]
    xs = sorted({x for curve in drawn for x, _ in curve.samples})
    if logarithms and min(ys) > 0 and max(ys) / min(ys) > _LONG:
        axes.set_yscale("log")
        axes.set_ylim(min(ys) / 1.3, max(ys) * 1.3)
        canvas.log_ticks(axes.yaxis, min(ys), max(ys))
    else:
        axes.set_ylim(min(0.0, min(ys) * 1.08), max(0.0, max(ys) * 1.08) or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(lambda value, _: canvas.tick(value))
    if logarithms and xs[0] > 0 and xs[-1] / xs[0] >= _SIZES_LONG:
        axes.set_xscale("log")
        axes.set_xlim(xs[0] / 1.12, xs[-1] * 1.12)
    else:
        margin = (xs[-1] - xs[0]) * 0.05 or abs(xs[0]) * 0.5 or 1
        axes.set_xlim(xs[0] - margin, xs[-1] + margin)
    axes.minorticks_off()
    canvas.scale(axes, size)
    if logarithms or len(xs) <= 6:
        axes.set_xticks(_with_room(axes, xs))


def _with_room(axes: canvas.Axes, xs: Sequence[float]) -> list[float]:
    """Those of the sizes whose numbers have room beside each other, the first always."""
    shares = axes.transAxes.inverted().transform(axes.transData.transform([(x, 1) for x in xs]))
    shown, right = [], -1.0
    for x, (share, _) in zip(xs, shares, strict=True):
        half = (canvas.text_width(canvas.tick(x), canvas.SMALL) / 2 + 4) / 200
        if share - half >= right:
            shown.append(x)
            right = share + half
    return shown


def _line(axes: canvas.Axes, curve: _Drawn, style: SeriesStyle) -> None:
    xs, ys = zip(*curve.through, strict=True)
    axes.plot(xs, ys, color=style.colour)
    xs, ys = zip(*curve.samples, strict=True)
    axes.plot(xs, ys, style.marker, color=style.colour, markersize=5, clip_on=False,
              markeredgecolor="white", markeredgewidth=0.6)
    if curve.fitted and min(y for _, y in curve.through) < 0:
        axes.axhline(0, color=RULE, linewidth=1)


def _apart(wanted: Sequence[float], heights: Sequence[float], room: float) -> list[float]:
    """Tops of labels near where they are wanted, in that order, without overlap, within room."""
    order = sorted(range(len(wanted)), key=lambda n: wanted[n] + heights[n] / 2)
    tops = list(wanted)
    low = 0.0
    for n in order:
        tops[n] = low = max(low, tops[n])
        low += heights[n]
    for n in reversed(order):
        tops[n] = min(room - heights[n], tops[n])
        room = tops[n]
    return tops
