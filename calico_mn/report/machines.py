"""A run that was measured on several machines: its numbers by machine. Pure.

In go the readings; out come a table with a column for each machine, and sentences that say where
machines differ from the first. Where there are ratios to a baseline, they are compared, each
machine's own: a slower machine is slower with and without a tunnel. Elsewhere the values are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from calico_mn.measure.metrics import Value, known_metrics
from calico_mn.measure.readings import MACHINE, Reading, samples, values
from calico_mn.measure.statistics import Comparison, spread
from calico_mn.report import estimates
from calico_mn.report.document import Cell, Document, Table
from calico_mn.report.estimates import Estimate
from calico_mn.report.summary import summarise
from calico_mn.report.summary_figures import FOREST

#: a reading's factors and their levels
Setting = tuple[tuple[str, Value], ...]


def with_machines(document: Document, readings: Sequence[Reading], baseline: str) -> Document:
    """The document, with what its readings say by machine if there are several."""
    machines: dict[str, list[Reading]] = {}
    for reading in readings:
        machines.setdefault(str(reading.seen.get(MACHINE, "")), []).append(reading)
    made = _ratios(machines, baseline) or _values(machines) if len(machines) > 1 else ()
    if not made:
        return document
    reference = made[0].reference
    pairs = estimates.compared(made)
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
        *document.findings, *estimates.findings(pairs)))


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
    return estimates.estimates(runs, [what for what in FOREST if what in shared] or shared)


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
