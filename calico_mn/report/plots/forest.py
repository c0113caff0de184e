"""Ratios with their intervals, a row each, around the line at 1: a forest plot.

A panel for each quantity. A mark is the median of the repeats' ratios, numbers stand at the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calico_mn.measure.statistics import Comparison, confidence_of
from calico_mn.report.document import Figure
from calico_mn.report.graphics import INK, series_styles
from calico_mn.report.plots import canvas
from calico_mn.text import join, number

#: ratios that differ by more than this factor get a logarithmic axis
_FAR_APART = 5.0
_ROW = 30.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of ``series`` (a mode) in ``place`` to the reference, in ``quantity``.

    ``expected`` says that it ought to be 1, because both send the same packets.
    """

    quantity: str
    place: str
    series: str
    comparison: Comparison
    expected: bool = False

    @property
    def words(self) -> str:
        """``0.72 to 0.84, n = 6``."""
        interval = self.comparison.interval
        span = f"{interval.low:.2f} to {interval.high:.2f}, " if interval else ""
        return f"{span}n = {self.comparison.n}"


def explained(ratios: Sequence[Ratio], reference: str) -> str:
    """What marks, lines and hollow marks are, in sentences."""
    intervals = confidence_of(ratio.comparison.interval for ratio in ratios)
    return (f"Mark: median of the repeats' ratios to {reference}"
            + (f"; line: its {intervals} interval." if intervals else ".")
            + (f" Hollow: the same packets as {reference}, so that 1 is expected."
               if any(ratio.expected for ratio in ratios) else ""))


@canvas.styled
def forest(name: str, title: str, reference: str, ratios: Sequence[Ratio], *, note: str = ""
           ) -> Figure:
    """Ratios to ``reference`` in rows by place and series. Raises ValueError for none."""
    canvas.check_not_empty(ratios, title)
    panels = {quantity: [ratio for ratio in ratios if ratio.quantity == quantity]
              for quantity in dict.fromkeys(ratio.quantity for ratio in ratios)}
    rows = {quantity: canvas.Rows([f"{ratio.place}, {ratio.series}" for ratio in panel], _ROW)
            for quantity, panel in panels.items()}
    styles = series_styles(ratio.series for ratio in ratios)
    sheet = canvas.Sheet(title, [each.height for each in rows.values()],
                         lead=explained(ratios, reference), note=note)
    for axes, (quantity, panel) in zip(sheet.axes, panels.items(), strict=True):
        sheet.head(axes, quantity, "ratio")
        middles = rows[quantity].show(axes, [styles[ratio.series].text for ratio in panel])
        room = 8 + max(canvas.text_width(ratio.words, canvas.SMALL) for ratio in panel)
        for ratio, middle in zip(panel, middles, strict=True):
            style = styles[ratio.series]
            canvas.beside(axes, middle, room, f"{ratio.comparison.median:.2f}", ratio.words,
                          colour=style.text)
            axes.plot(ratio.comparison.ends, (middle, middle), color=style.colour)
            axes.plot(ratio.comparison.median, middle, style.marker, color=style.colour,
                      markersize=7, markerfacecolor="white" if ratio.expected else style.colour)
        scale(axes, [ratio.comparison for ratio in panel], f"ratio to {reference}")
    alt = "; ".join(f"{ratio.quantity}, {ratio.place}, {ratio.series}"
                    f" {number(ratio.comparison.median)} ({ratio.words})" for ratio in ratios)
    return sheet.finish(name, title, f"Ratios to {reference}: {join([*panels])}. {alt}.")


def scale(axes: canvas.Axes, ratios: Sequence[Comparison], label: str) -> None:
    """An x axis for the intervals and 1, and the line at 1."""
    ends = [end for ratio in ratios for end in ratio.ends]
    canvas.check_finite(ends, "ratios")
    low, high = min(1.0, *ends), max(1.0, *ends)
    if low > 0 and high / low > _FAR_APART:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.1, high * 1.1)
        canvas.log_ticks(axes.xaxis, low, high)
        axes.set_xlabel(label)
    else:
        margin = (high - low) * 0.06 or 0.1
        axes.set_xlim(low - margin, high + margin)
        canvas.scale(axes, label)
    axes.axvline(1, color=INK, linewidth=1.0, zorder=1.5)
