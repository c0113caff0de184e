"""The summary as pictures: samples by place and mode, of each quantity for which there are some.

In go a :class:`.summary.Summary`, the samples behind it and the links' limits; out come figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.measure import ping, tcp, udp
from calico_mn.measure.physics import PathLimit
from calico_mn.measure.readings import Sample, known_metrics
from calico_mn.measure.resources import CPU_PACKET
from calico_mn.measure.statistics import confidence_of
from calico_mn.measure.trials import POD_ROUTES
from calico_mn.report import link_limits
from calico_mn.report.document import Figure
from calico_mn.report.plots.comparison import Group, Limited, Ratio, comparison, deviation, forest
from calico_mn.report.plots.distribution import Curve, distribution
from calico_mn.report.plots.stacks import Stack, stacks
from calico_mn.report.summary import REFERENCE, SAME_PACKETS, Summary, What, places_of

#: what is shown first of ratios to the baseline, where it was measured
FOREST: tuple[What, ...] = ((tcp.THROUGHPUT, ""), (ping.LATENCY, ""))


def figures(summary: Summary, samples: Sequence[Sample], limits: Mapping[str, PathLimit],
            note: str, encapsulation: Encapsulation) -> Iterator[Figure]:
    """Those for which there are samples; ``note`` says below each what was measured where."""
    ratios = forest_of(summary, note)
    if ratios:
        yield ratios
    compared = partial(_compared, summary, note, encapsulation)
    yield from compared("throughput", "TCP throughput, pod to pod", "throughput", "Mbit/s",
                        (tcp.THROUGHPUT, ""))
    yield from _latencies(summary, samples, note)
    yield from compared("cost-per-packet", "CPU time a packet costs", "CPU time a TCP segment",
                        "us", (CPU_PACKET, ""))
    yield from _cpu_time(summary, note)
    for size in sorted({size for row in summary.rows for metric, size in row.measures
                        if metric == udp.PACKETS}, key=int):
        yield from compared(f"udp-{size}", f"UDP packets of {size} bytes that arrive", "packets",
                            "1/s", (udp.PACKETS, size))
    rows = [Limited(check.place, check.mode, row.samples[tcp.THROUGHPUT, ""], check.computed)
            for check in link_limits.checks(summary, limits)
            for row in summary.on(check.place)
            if row.mode == check.mode]
    if rows:
        yield deviation("limits", "Throughput against what header sizes allow", "throughput",
                        "Mbit/s", rows, tolerance=link_limits.TOLERANCE, note=note)


def forest_of(summary: Summary, note: str = "") -> Figure | None:
    """The ratios to the baseline; None where there are none."""
    ratios = ratios_of(summary, FOREST) or ratios_of(
        summary, tuple(dict.fromkeys(key for row in summary.rows for key in row.ratios)))
    base = summary.baseline
    return forest("ratios", f"Compared with {base}", base, ratios, note=note) if ratios else None


def ratios_of(summary: Summary, whats: Sequence[What]) -> list[Ratio]:
    """The modes' ratios to the baseline, by quantity, place and mode."""
    return [Ratio(in_words(key), row.place, row.mode, row.ratios[key],
                  row.ratios[key].verdict == SAME_PACKETS)
            for key in whats for row in summary.rows
            if key in row.ratios and row.ratios[key].verdict != REFERENCE]


def in_words(key: What) -> str:
    """``TCP throughput``, ``UDP packets received, 64 bytes``."""
    metric, size = key
    title = known_metrics()[metric].title
    return title[0].upper() + title[1:] + (f", {size} bytes" if size else "")


def _compared(summary: Summary, note: str, encapsulation: Encapsulation, name: str, title: str,
              quantity: str, unit: str, key: What) -> Iterator[Figure]:
    """A metric by place and mode."""
    rows = [(row, row.measures[key].interval) for row in summary.rows if key in row.samples]
    groups = [Group(row.place, row.mode, row.samples[key],
                    (interval.low, interval.high) if interval else None, bool(row.encapsulated),
                    "pod routes added" if row.fabric == POD_ROUTES else "")
              for row, interval in rows]
    if groups:
        yield comparison(
            name, title, quantity, unit, groups, note=note,
            interval=f"{confidence_of(interval for _, interval in rows)} interval of the median",
            hatched=f"packets seen on the wire inside {encapsulation}")


def _latencies(summary: Summary, samples: Sequence[Sample], note: str) -> Iterator[Figure]:
    """All single round trips, at rest and beside a stream."""
    places = places_of(samples)
    times: dict[tuple[str, str, bool], list[float]] = {}
    medians = {(row.place, row.mode): row.measures for row in summary.rows}
    one_a_reading = {sample.order: sample for sample in reversed(samples)}
    for order, sample in sorted(one_a_reading.items()):
        if ping.ROUND_TRIPS in sample.reading.series:
            key = (places[order], sample.mode, sample.metric.startswith("loaded"))
            times.setdefault(key, []).extend(sample.reading.series[ping.ROUND_TRIPS])
    if times:
        yield distribution(
            "latency", "How long a round trip takes", "round-trip time", "us",
            [Curve(place, mode, tuple(times[place, mode, loaded]), loaded, *(
                medians[place, mode][metric, ""].median for metric in (
                    (ping.LOADED_LATENCY, ping.LOADED_LATENCY_P99) if loaded
                    else (ping.LATENCY, ping.LATENCY_P99))))
             for place in summary.places for mode in summary.modes for loaded in (False, True)
             if times.get((place, mode, loaded))], note=note)


def _cpu_time(summary: Summary, note: str) -> Iterator[Figure]:
    bars = [Stack(f"{row.place}, {row.mode}", tuple(
                (part.removeprefix("cpu_"), row.measures[part, ""].median)
                for part in tcp.CPU_PARTS), row.samples.get((tcp.CPU, ""), ()))
            for row in summary.rows if all((part, "") in row.samples for part in tcp.CPU_PARTS)]
    if bars:
        yield stacks("cpu", "CPU time for a gigabyte of TCP payload", "CPU time", "s/GB", bars,
                     note=note)
