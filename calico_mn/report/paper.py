"""Figures and tables for publications: estimates of one or several runs, in black on white.

In go the :class:`~calico_mn.report.estimates.Estimate` objects of the runs; out come a figure
without a title (PDF, SVG or PNG), a caption and a booktabs table for LaTeX. Runs differ by the form
of their marks, so nothing is lost in greyscale. PDF embeds its fonts as TrueType (Type 42), which
publishers ask for; the letters of SVG are outlines, and look the same everywhere.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calico_mn.measure.readings import known_metrics
from calico_mn.measure.statistics import confidence_of
from calico_mn.report.document import ends_of
from calico_mn.report.estimates import Estimate, unit
from calico_mn.report.plots import canvas
from calico_mn.report.plots.comparison import ratio_scale
from calico_mn.text import join, number, unit_for

#: points: of letters, of the smallest (two lines of these fit a row), and of a legend's mark
_LETTERS, _SMALLEST, _LEGEND_MARK = 7.5, 5.0, 30.0
_STYLE = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": _LETTERS,
    "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "calico_mn",
    "text.parse_math": False, "axes.linewidth": 0.6, "axes.spines.left": False,
    "axes.spines.right": False, "axes.spines.top": False, "ytick.major.size": 0,
    "xtick.major.width": 0.6, "xtick.major.size": 2.5}
#: a run's mark and its name in a caption; further runs repeat them
_MARKS = (("o", "circles"), ("s", "squares"), ("^", "triangles"), ("D", "diamonds"),
          ("v", "triangles that point down"))
_GREYS = ("#000000", "#6b6b6b")
#: inches: a row for each run in it, what else a row has, what an axis needs below, a further line
_RUN, _ROW, _AXIS, _LINE = 0.11, 0.07, 0.52, 0.125
_PNG_DPI = 600


def figure(estimates: Sequence[Estimate], width: float, form: str) -> bytes:
    """The figure, ``width`` inches wide, as a file of this form; a panel for each quantity."""
    file = io.BytesIO()
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[form]
    with canvas.style(_STYLE):
        _drawn(estimates, width).savefig(file, format=form, dpi=_PNG_DPI, metadata=metadata)
    return file.getvalue()


def _drawn(estimates: Sequence[Estimate], width: float) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    runs = list(dict.fromkeys(each.run for each in estimates))
    panels = {what: [each for each in estimates if each.what == what]
              for what in dict.fromkeys(each.what for each in estimates)}
    row = _ROW + _RUN * len(runs)
    heights = [row * len(list(_rows(panel))) for panel in panels.values()]
    points = width * 72
    names = [canvas.wrapped(run, points - _LEGEND_MARK, _LETTERS) for run in runs]
    key = sum(0.17 + _LINE * name.count("\n") for name in names) if len(runs) > 1 else 0.0
    sheet = Figure((width, key + sum(heights) + _AXIS * len(heights)), layout="constrained")
    if key:
        sheet.legend(handles=[Line2D([], [], label=name, **_mark(n))
                              for n, name in enumerate(names)],
                     loc="outside upper left", frameon=False, borderpad=0, labelspacing=0.2)
    every = sheet.subplots(len(panels), squeeze=False, height_ratios=heights).flat
    for axes, panel in zip(every, panels.values(), strict=True):
        _panel(axes, panel, runs, points)
    return sheet


def _rows(panel: Sequence[Estimate]) -> Iterator[tuple[str, str]]:
    """Place and mode of each row from above; a place's own row has no mode."""
    for place in dict.fromkeys(each.place for each in panel):
        yield place, ""
        for mode in dict.fromkeys(each.mode for each in panel if each.place == place):
            yield place, mode


def _mark(number_of_run: int) -> dict[str, Any]:
    colour = _GREYS[number_of_run % len(_GREYS)]
    return {"marker": _MARKS[number_of_run % len(_MARKS)][0], "color": colour, "markersize": 3.6,
            "markeredgewidth": 0.8, "linewidth": 0.9}


def _panel(axes: canvas.Axes, panel: Sequence[Estimate], runs: Sequence[str], points: float
           ) -> None:
    """One quantity, in a figure of so many points' width."""
    reference = panel[0].reference
    factor, shown_unit = (1.0, "") if reference else unit_for(
        [each.comparison.median for each in panel], unit(panel[0].what))
    rows = list(_rows(panel))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [mode for _, mode in rows])
    for row, (place, mode) in enumerate(rows):
        if not mode:
            _place(axes, row, place, points)
    step = _RUN / (_ROW + _RUN * len(runs))
    for each in panel:
        n = runs.index(each.run)
        y = rows.index((each.place, each.mode)) + step * (n - (len(runs) - 1) / 2)
        style = _mark(n)
        axes.plot([end * factor for end in each.comparison.ends], (y, y), color=style["color"],
                  linewidth=style["linewidth"], solid_capstyle="butt")
        axes.plot(each.comparison.median * factor, y, **style,
                  markerfacecolor="white" if each.expected else style["color"])
    if reference:
        ratio_scale(axes, [each.comparison for each in panel],
              f"{panel[0].title}\n" + canvas.wrapped(
                  f"ratio{reference}{_better(panel[0])}", points * 0.6, _LETTERS))
    else:
        axes.set_xlim(0, max(max(each.comparison.ends) for each in panel) * factor * 1.05 or 1)
        canvas.scale(axes, f"{panel[0].title} ({shown_unit})", ticks=min(5, int(points // 45)))


def _place(axes: canvas.Axes, row: int, place: str, points: float) -> None:
    """A place's name in a row of its own, across the figure: it takes no width from the axes."""
    from matplotlib.transforms import blended_transform_factory

    room = points * 0.94 - 6  # small letters are a little wider than their outlines
    size = _LETTERS * min(1.0, room / canvas.text_width(place, _LETTERS, bold=True))
    if size < _SMALLEST:
        size, place = _SMALLEST, canvas.wrapped(place, room, _SMALLEST, bold=True)
    axes.text(3 / points, row, place, fontsize=size, fontweight="bold", va="center",
              linespacing=1.0,
              transform=blended_transform_factory(axes.figure.transFigure, axes.transData),
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}).set_in_layout(False)


def _better(estimate: Estimate) -> str:
    better = known_metrics()[estimate.what[0]].more_is_better
    return "" if better is None else " (more is better)" if better else " (less is better)"


# --- LaTeX

_SPECIAL = re.compile(r"[\\{}&%$#_^~<>]")
_ESCAPES = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
            "<": r"\textless{}", ">": r"\textgreater{}"}


def latex(text: str) -> str:
    """The text as LaTeX prints it."""
    escaped = _SPECIAL.sub(lambda sign: _ESCAPES.get(sign[0], "\\" + sign[0]), text)
    return escaped.replace("\u00b5", r"\textmu{}")


def caption(estimates: Sequence[Estimate], measured: Mapping[str, str]) -> str:
    """What the figure shows; ``measured`` says for each run how and where it was measured."""
    titles = join([_noun(title) for title in dict.fromkeys(each.title for each in estimates)])
    base = estimates[0].baseline
    n = ends_of([each.comparison.n for each in estimates], str)
    intervals = confidence_of(each.comparison.interval for each in estimates)
    bars = (f"; bars are {intervals} intervals of the median (bootstrap, expanded percentiles)"
            if intervals else "")
    of = f"ratios to {base}, each within one repeat" if base else "repeats"
    sentences = [
        f"{titles[0].upper()}{titles[1:]} by path and mode"
        f"{f', relative to {base}' if base else ''}.",
        f"Marks are medians of n = {n} {of}{bars}.",
        *([f"Hollow marks: the mode sends the same packets as {base}, so a ratio of 1 is"
           " expected."] if any(each.expected for each in estimates) else ()),
        *(f"{place}: {mode} is measured with the pods' routes added to the routers, because it does"
          " not connect these pods without them." for place, mode in dict.fromkeys(
              (each.place.partition(", ")[0], each.with_routes) for each in estimates
              if each.with_routes)),
        *(f"{_MARKS[place % len(_MARKS)][1].capitalize() + ' (' if len(measured) > 1 else ''}"
          f"{run}{')' if len(measured) > 1 else ''}: {how}"
          for place, (run, how) in enumerate(measured.items()))]
    return "\n".join(map(latex, sentences)) + "\n"


def _noun(title: str) -> str:
    """``median round-trip time`` for ``Round-trip time, median``: a part of a sentence."""
    name, _, which = title.partition(", ")
    name = name if name[1:2].isupper() else name[:1].lower() + name[1:]
    return f"{which.replace(' bytes', '-byte')} {name}".strip()


def table(estimates: Sequence[Estimate]) -> str:
    """A tabular with booktabs' rules: a row for each quantity, run, path and mode."""
    runs, titles = ({getattr(each, name) for each in estimates} for name in ("run", "title"))
    several = [("Quantity", "title")] * (len(titles) > 1) + [("Run", "run")] * (len(runs) > 1)
    several += [("Path", "place"), ("Mode", "mode")]
    reference = estimates[0].reference
    level = confidence_of(each.comparison.interval for each in estimates)
    heads = [*(head for head, _ in several), "$n$", f"Ratio{reference}" if reference else "Median",
             f"{level} interval" if level else "Interval"]
    heads[:-3], heads[-2:] = map(latex, heads[:-3]), map(latex, heads[-2:])
    lines = [rf"\begin{{tabular}}{{{'l' * len(several)}rrr}}", r"\toprule",
             f"{' & '.join(heads)} \\\\", r"\midrule"]
    for each in estimates:
        interval = each.comparison.interval
        amount = "" if reference else f" {unit(each.what)}".replace(" us", " \u00b5s")
        lines.append(" & ".join([
            *(latex(getattr(each, name)) for _, name in several), str(each.comparison.n),
            latex(f"{number(each.comparison.median)}{amount}"),
            f"{number(interval.low)}--{number(interval.high)}" if interval else "--"]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
