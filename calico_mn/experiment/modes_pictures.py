"""The comparison of modes: its pictures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from calico_mn.measure.physics import PathLimit
from calico_mn.measure.readings import Reading, Sample
from calico_mn.measure.trials import POD_ROUTES
from calico_mn.report import physics
from calico_mn.report.document import Figure
from calico_mn.report.plots.comparison import Group, Limited, comparison, deviation
from calico_mn.report.plots.lines import Curve, distribution
from calico_mn.report.plots.stacks import Stack, stacks
from calico_mn.report.summary import Row, Summary, What, places_of

_IN_IPIP = "packets seen on the wire inside IPIP"
_ADDED = "pod routes added"
_PARTS = (("user", "cpu_user"), ("system", "cpu_system"), ("softirq", "cpu_softirq"))


def pictures(found: Summary, samples: Sequence[Sample], limits: Mapping[str, PathLimit],
             note: str) -> tuple[Figure, ...]:
    """Those for which there are samples; ``note`` says below each what was measured where."""
    return tuple(figure for figure in (
        _compared("throughput", "TCP throughput, pod to pod", "throughput", "Mbit/s", found,
                  samples, ("throughput", ""), note),
        _latency(found, samples, note),
        _compared("cost-per-packet", "CPU time a packet costs", "CPU time a TCP segment", "us",
                  found, samples, ("cpu_packet", ""), note),
        _cpu(found, samples, note),
        *(_compared(f"udp-{size}", f"UDP packets of {size} bytes that arrive", "packets", "1/s",
                    found, samples, ("packets", size), note)
          for size in _sizes(found)),
        _limits(found, samples, limits, note)) if figure)


def _compared(name: str, title: str, quantity: str, unit: str, found: Summary,
              samples: Sequence[Sample], what: What, note: str) -> Figure | None:
    places = places_of(samples)
    groups = [Group(row.place, row.mode, values,
                    (numbers.interval.low, numbers.interval.high) if numbers.interval else None,
                    bool(row.encapsulated), _ADDED if row.fabric == POD_ROUTES else "")
              for row in found.rows
              for numbers in [row.measures.get(what)] if numbers
              for values in [_values(row, samples, places, what)] if values]
    if not groups:
        return None
    confidences = {numbers.interval.confidence for row in found.rows
                   for numbers in [row.measures.get(what)] if numbers and numbers.interval}
    words = {f"{100 * one:.0f} %" for one in confidences}
    interval = f"{words.pop()} interval of the median" if len(words) == 1 else (
        "interval of the median")
    return comparison(name, title, quantity, unit, groups, interval=interval, hatched=_IN_IPIP,
                      note=note)


def _values(row: Row, samples: Sequence[Sample], places: Mapping[int, str], what: What
            ) -> tuple[float, ...]:
    metric, size = what
    return tuple(sample.number for sample in samples
                 if sample.metric == metric and isinstance(sample.value, (int, float))
                 and str(sample.reading.setting.get("size", "")) == size
                 and sample.mode == row.mode and places.get(sample.order) == row.place)


def _latency(found: Summary, samples: Sequence[Sample], note: str) -> Figure | None:
    places = places_of(samples)
    times: dict[tuple[str, str, bool], list[float]] = {}
    seen: set[int] = set()
    for sample in samples:
        reading: Reading = sample.reading
        if "round_trips_us" in reading.series and reading.order not in seen:
            seen.add(reading.order)
            key = (places[sample.order], sample.mode, sample.metric.startswith("loaded"))
            times.setdefault(key, []).extend(reading.series["round_trips_us"])
    if not times:
        return None
    return distribution(
        "latency", "How long a round trip takes", "round-trip time", "us",
        [Curve(place, mode, tuple(values), loaded)
         for place in found.places for mode in found.modes for loaded in (False, True)
         for values in [times.get((place, mode, loaded))] if values], note=note)


def _cpu(found: Summary, samples: Sequence[Sample], note: str) -> Figure | None:
    # Means and not medians: only those of the parts add up to that of the whole.
    places, bars = places_of(samples), []
    for row in found.rows:
        parts = {name: _values(row, samples, places, (metric, "")) for name, metric in _PARTS}
        if all(parts.values()):
            bars.append(Stack(
                f"{row.place}, {row.mode}",
                tuple((name, statistics.mean(values)) for name, values in parts.items()),
                _values(row, samples, places, ("cpu", ""))))
    return stacks("cpu", "CPU time for a gigabyte of TCP payload, means", "CPU time", "s/GB",
                  bars, note=note) if bars else None


def _sizes(found: Summary) -> list[str]:
    return sorted({size for row in found.rows for metric, size in row.measures
                   if metric == "packets"}, key=int)


def _limits(found: Summary, samples: Sequence[Sample], limits: Mapping[str, PathLimit],
            note: str) -> Figure | None:
    checks, places = physics.checks(found, limits), places_of(samples)
    rows = [Limited(check.place, check.mode, _values(row, samples, places, ("throughput", "")),
                    check.computed)
            for check in checks for row in found.on(check.place) if row.mode == check.mode]
    return deviation("limits", "Throughput against what header sizes allow", "throughput",
                     "Mbit/s", rows, tolerance=physics.TOLERANCE, note=note) if rows else None
