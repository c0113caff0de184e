"""Estimates of several runs side by side, and whether runs agree. Pure.

In go the runs' summaries by label; out come :class:`Estimate`, a row for each run, place and mode,
and :func:`compared`: for each place and mode the ratio of a later run's estimate to the first's,
with its interval, as findings and tables. Runs are independent of each other, so their repeats
are not paired (:func:`~calico_mn.measure.statistics.quotient`). The machines of one run are
compared in the same way (:func:`with_machines`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from calico_mn.errors import CalicoMnError
from calico_mn.measure.readings import MACHINE, Reading, Value, known_metrics, samples, values
from calico_mn.measure.statistics import NO_DIFFERENCE, TOO_FEW, Comparison, quotient, spread
from calico_mn.measure.trials import POD_ROUTES
from calico_mn.report.document import Cell, Document, Numbers, Table
from calico_mn.report.summary import REFERENCE, SAME_PACKETS, Row, Summary, What, summarise
from calico_mn.report.summary_figures import FOREST, in_words
from calico_mn.text import join, number, plural

#: a reading's factors and their levels
Setting = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The median of ``what`` in a run: of the ratios to ``baseline``, or of the values themselves.

    ``baseline`` is empty for the latter. ``expected`` says that a ratio ought to be 1, because both
    send the same packets. ``with_routes`` is the mode, this one or the baseline, that was measured
    with the pods' routes added to the routers; empty for none.
    """

    run: str
    what: What
    place: str
    mode: str
    comparison: Comparison
    baseline: str = ""
    expected: bool = False
    with_routes: str = ""

    @property
    def title(self) -> str:
        """``TCP throughput``."""
        return in_words(self.what)

    @property
    def reference(self) -> str:
        """``to Never`` with a space before it; empty for the values themselves."""
        return f" to {self.baseline}" if self.baseline else ""

    @property
    def cell(self) -> Numbers:
        """For a table."""
        return shown(self.comparison)


def shown(comparison: Comparison, digits: int = 3) -> Numbers:
    """``0.800 [0.721-0.843]`` in a table, the numbers in its CSV."""
    interval = comparison.interval
    return Numbers(
        comparison.bracketed(partial(number, digits=digits)),
        {"": comparison.median, " n": comparison.n,
         " low": interval.low if interval else None, " high": interval.high if interval else None,
         " confidence": interval.confidence if interval else None})


def estimates(runs: Mapping[str, Summary], whats: Sequence[What], *, absolute: bool = False
              ) -> tuple[Estimate, ...]:
    """The estimates of all runs, by quantity, place and mode.

    Raises CalicoMnError when a run has none of a quantity, with the quantities that it has, and
    for ratios to different modes.
    """
    if not absolute and len({summary.baseline for summary in runs.values()}) > 1:
        raise CalicoMnError("the runs have ratios to different modes: --absolute takes the values"
                            " themselves")
    made: list[Estimate] = []
    for what in whats:
        for label, summary in runs.items():
            of_run = [estimate for row in summary.rows
                      for estimate in [_estimate(label, summary, row, what, absolute)]
                      if estimate]
            if not of_run:
                of = "values" if absolute else f"ratios to {summary.baseline}"
                raise CalicoMnError(f"{label}: has no {of} of {_written(what)}; it has"
                                    f" {', '.join(_known(summary, absolute)) or 'none at all'}")
            made += of_run
    places = {key: n for n, key in enumerate(dict.fromkeys(
        (row.place, row.mode) for summary in runs.values() for row in summary.rows))}
    return tuple(sorted(made, key=lambda each: (
        whats.index(each.what), places[each.place, each.mode], list(runs).index(each.run))))


def _estimate(label: str, summary: Summary, row: Row, what: What, absolute: bool
              ) -> Estimate | None:
    shown = {row.mode} if absolute else {row.mode, summary.baseline}
    routed = next((other.mode for other in summary.on(row.place)
                   if other.mode in shown and other.fabric == POD_ROUTES), "")
    if absolute:
        values = row.measures.get(what)
        return None if values is None else Estimate(label, what, row.place, row.mode, Comparison(
            values.n, values.median, values.interval, ""), with_routes=routed)
    ratio = row.ratios.get(what)
    return None if ratio is None or ratio.verdict == REFERENCE else Estimate(
        label, what, row.place, row.mode, ratio, summary.baseline, ratio.verdict == SAME_PACKETS,
        routed)


def read_what(text: str) -> What:
    """``throughput``, or with the size of packets ``packets:64``."""
    metric, _, size = text.partition(":")
    return metric, size


def _written(what: What) -> str:
    return ":".join(filter(None, what))


def _known(summary: Summary, absolute: bool) -> list[str]:
    return list(dict.fromkeys(_written(what) for row in summary.rows
                              for what in (row.measures if absolute else row.ratios)))


# --- do runs agree?

#: of quotients, so that one shows on which side of 1 its interval ends
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Agreement:
    """``later``'s estimate by ``first``'s."""

    first: Estimate
    later: Estimate
    quotient: Comparison

    @property
    def verdict(self) -> str:
        """``differ``, or why that cannot be said."""
        verdict = self.quotient.verdict
        return verdict if verdict in (NO_DIFFERENCE, TOO_FEW) else "differ"


def compared(made: Sequence[Estimate]) -> tuple[Agreement, ...]:
    """Each later run with the first, where both have an estimate that is more than 0."""
    first = made[0].run
    of_first = {(each.what, each.place, each.mode): each for each in made if each.run == first}
    return tuple(
        Agreement(base, each, quotient(each.comparison, base.comparison))
        for each in made if each.run != first
        for base in [of_first.get((each.what, each.place, each.mode))]
        if base and min(*each.comparison.ends, *base.comparison.ends) > 0)


def findings(pairs: Sequence[Agreement]) -> Iterator[str]:
    """How many agree, then each that differs."""
    for run in dict.fromkeys(pair.later.run for pair in pairs):
        mine = [pair for pair in pairs if pair.later.run == run]
        base, counts = mine[0].first.run, {verdict: sum(
            pair.verdict == verdict for pair in mine) for verdict in
            (NO_DIFFERENCE, "differ", TOO_FEW)}
        parts = [text for verdict, text in (
            (NO_DIFFERENCE, f"no difference is detectable in {counts[NO_DIFFERENCE]}"),
            ("differ", f"they differ in {counts['differ']}"),
            (TOO_FEW, f"{counts[TOO_FEW]} have too few repeats")) if counts[verdict]]
        yield f"{run} against {base}: of {plural(len(mine), 'estimate')} {join(parts)}."
        for pair in mine:
            if pair.verdict == "differ":
                yield (f"{pair.later.title}, {pair.later.place}, {pair.later.mode}"
                       f"{pair.later.reference}:"
                       f" {_said(pair.first.comparison)} in {base} and"
                       f" {_said(pair.later.comparison)} in {run}, which is"
                       f" {_said(pair.quotient, _DIGITS)} times as much.")


def _said(comparison: Comparison, digits: int = 3) -> str:
    return comparison.bracketed(partial(number, digits=digits), with_confidence=True)


def tables(pairs: Sequence[Agreement]) -> Iterator[Table]:
    """A table for each quantity and later run."""
    for run, what in dict.fromkeys((pair.later.run, pair.later.what) for pair in pairs):
        mine = [pair for pair in pairs if (pair.later.run, pair.later.what) == (run, what)]
        rows: list[tuple[Cell, ...]] = [
            (pair.later.place, pair.later.mode, pair.first.cell, pair.later.cell,
             shown(pair.quotient, _DIGITS), pair.verdict) for pair in mine]
        yield Table(f"compare-{_written(what).replace(':', '-')}",
                    f"{mine[0].later.title}: A is {mine[0].first.run}, B is {run}",
                    ("where", "mode", "A", "B", "B / A", "verdict"), tuple(rows))


def unit(what: What) -> str:
    """The metric's."""
    return known_metrics()[what[0]].unit


# --- a run that was measured on several machines

def with_machines(document: Document, readings: Sequence[Reading], baseline: str) -> Document:
    """The document, with what its readings say by machine if there are several."""
    machines: dict[str, list[Reading]] = {}
    for reading in readings:
        machines.setdefault(str(reading.seen.get(MACHINE, "")), []).append(reading)
    made = _ratios(machines, baseline) or _values(machines) if len(machines) > 1 else ()
    if not made:
        return document
    reference = made[0].reference
    pairs = compared(made)
    cells: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for each in made:
        cells.setdefault((each.title, each.place, each.mode), {})[each.run] = each.cell
    has_modes = any(each.mode for each in made)
    table = Table(
        "machines", f"By machine: {'ratios' + reference if reference else 'medians'}",
        ("quantity", "where", *(["mode"] if has_modes else []), *sorted(machines)),
        tuple((quantity, place, *([mode] if has_modes else []), *map(row.get, sorted(machines)))
              for (quantity, place, mode), row in cells.items()),
        "Each machine's repeats by themselves"
        + (", paired within the machine." if reference else "; facts only where they differ."))
    return replace(document, tables=(*document.tables, table), findings=(
        *document.findings, *findings(pairs)))


def _ratios(machines: Mapping[str, Sequence[Reading]], baseline: str) -> Sequence[Estimate]:
    modes = tuple(dict.fromkeys(str(reading.setting["mode"]) for some in machines.values()
                                for reading in some if "mode" in reading.setting))
    if baseline not in modes:
        return ()
    runs = {machine: summarise(samples(some), modes, baseline)
            for machine, some in sorted(machines.items())}
    shared = [what for what in dict.fromkeys(
        what for summary in runs.values() for row in summary.rows for what in row.ratios)
        if all(any(what in row.ratios and row.mode != baseline for row in summary.rows)
               for summary in runs.values())]
    return estimates(runs, [what for what in FOREST if what in shared] or shared)


def _values(machines: Mapping[str, Sequence[Reading]]) -> Sequence[Estimate]:
    every = [reading for some in machines.values() for reading in some]
    settings = {tuple(reading.setting.items()): None for reading in every}
    varying = {factor for factor in {name for setting in settings for name, _ in setting}
               if len({dict(setting).get(factor) for setting in settings}) > 1}
    made: list[Estimate] = []
    for metric in dict.fromkeys(sample.metric for sample in samples(every)):
        for setting in sorted(settings, key=_natural):
            place = ", ".join(str(level) for name, level in setting if name in varying)
            medians = [
                Estimate(machine, (metric, ""), place, "", Comparison(
                    group.n, group.median, group.interval, ""))
                for machine, some in sorted(machines.items())
                for numbers in [values((reading for reading in some if tuple(
                    reading.setting.items()) == setting), metric)] if numbers
                for group in [spread(numbers)]]
            is_fact = known_metrics()[metric].more_is_better is None
            if not is_fact or len({each.comparison.median for each in medians}) > 1:
                made += medians
    return made


def _natural(setting: Setting) -> list[tuple[float, str]]:
    """For an order in which 9 comes before 10."""
    return [(level, "") if isinstance(level, (int, float)) else (0.0, str(level))
            for _, level in setting]
