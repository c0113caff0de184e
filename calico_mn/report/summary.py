"""Readings -> one row for each mode in each place. Pure.

A place is a path class, and the levels of further factors where a run has several.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from calico_mn.calico.encapsulation import DEFAULT
from calico_mn.measure.paths import PATHS
from calico_mn.measure.readings import Sample, Value, known_metrics
from calico_mn.measure.statistics import Comparison, Spread, compare, paired_ratios, spread
from calico_mn.measure.trials import PLAIN

NEVER = "Never"

#: in place of a verdict: of the baseline itself, and of a mode that sends what it sends
REFERENCE = "reference"
SAME_PACKETS = "same packets, no difference expected"

#: factor -> its levels in words, for those that make a place of their own when they vary
FACTORS = {
    "pair": "{}", "tunnel": f"{{}} {DEFAULT.device}", "congestion": "{}",
    "streams": "streams {}", "direction": "{}",
    "offloads": "offloads {}", "encapsulation": "{}", "vxlan_checksum": "checksum offload {}",
    "pod_mtu": "pod MTU {}", "rate": "{:g} Mbit/s",
}
#: a level that stands for what the topology or the machine has
_AS_IT_IS = {"pod_mtu": "pod MTU as usual", "rate": "rate as usual"}

#: a metric, and what it was taken with: the size of UDP packets in bytes, or ""
What = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """What was found about a mode in a place.

    ``reached`` of ``pairs`` ordered pairs of pods answered on the fabric as it is, and the
    packets of ``tunnelled`` of them were seen inside a tunnel; of ``seen`` any were seen at all, or
    none was to be seen (on one node). ``samples`` are those of the pair ``source``,
    ``destination`` on ``fabric``, one a repeat, and ``measures`` describe them; ``encapsulated``
    is what the wire showed of that pair. ``ratios`` compare them with the baseline in that place,
    repeat by repeat: the trials of one repeat ran close together in time. ``variant`` are the
    levels of the factors that vary besides mode and path.
    """

    mode: str
    path: str
    pairs: int
    reached: int
    tunnelled: int
    seen: int = 0
    variant: str = ""
    source: str = ""
    destination: str = ""
    fabric: str = PLAIN
    encapsulated: bool | None = None
    samples: Mapping[What, tuple[float, ...]] = field(default_factory=dict, hash=False)
    measures: Mapping[What, Spread] = field(default_factory=dict, hash=False)
    ratios: Mapping[What, Comparison] = field(default_factory=dict, hash=False)

    @property
    def place(self) -> str:
        """The path class, and the variant if there are several."""
        return _place(self.path, self.variant)

    @property
    def throughput(self) -> Spread | None:
        """TCP payload in Mbit/s; None when not measured."""
        return self.measures.get(("throughput", ""))

    @property
    def latency(self) -> Spread | None:
        """The median round-trip times in us; None when not measured."""
        return self.measures.get(("latency", ""))

    @property
    def throughput_ratio(self) -> Comparison | None:
        """Of the throughput, to the baseline's."""
        return self.ratios.get(("throughput", ""))

    @property
    def latency_ratio(self) -> Comparison | None:
        """Of the latency, to the baseline's."""
        return self.ratios.get(("latency", ""))

    def sends_as(self, other: Row) -> bool:
        """Whether both were seen to send the same packets in this place."""
        return self.encapsulated is not None and self.encapsulated == other.encapsulated


@dataclass(frozen=True, slots=True)
class Summary:
    """Rows by place, nearest path first, then by mode in the order of measurement.

    ``baseline`` is the mode that ratios are to.
    """

    rows: tuple[Row, ...]
    baseline: str = NEVER

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that have a row."""
        return tuple(dict.fromkeys(row.mode for row in self.rows))

    @property
    def paths(self) -> tuple[str, ...]:
        """The path classes that have a row."""
        return tuple(dict.fromkeys(row.path for row in self.rows))

    @property
    def places(self) -> tuple[str, ...]:
        """The places that have a row."""
        return tuple(dict.fromkeys(row.place for row in self.rows))

    def noise(self, metric: str) -> float | None:
        """How far samples of one mode and place lie apart: the middle one of the rows' shares.

        A row's share is its quartile range by its median; None without three samples in a row.
        """
        shares = [spread.relative for spread in (row.measures.get((metric, ""))
                                               for row in self.rows)
                  if spread is not None and spread.relative is not None]
        return statistics.median(shares) if shares else None

    def on(self, place: str) -> tuple[Row, ...]:
        """The rows of one place."""
        return tuple(row for row in self.rows if row.place == place)


def summarise(samples: Sequence[Sample], modes: Sequence[str], baseline: str = NEVER) -> Summary:
    """Group samples, also those of a run that was cut short; ``modes`` gives the order."""
    trials = [sample for sample in samples if sample.metric != "reachable"]
    varying = _varying(trials)
    variants = list(dict.fromkeys(variant_of(sample, varying)
                                  for sample in sorted(trials, key=_levels(varying)))) or [""]
    tried: dict[tuple[str, str, str], dict[tuple[str, str], Sample]] = {}
    for sample in samples:
        if sample.metric == "reachable":
            pairs = tried.setdefault((sample.path, sample.mode, sample.tunnel), {})
            pair = sample.source, sample.destination
            # Of several machines' answers for a pair, one that there was none counts.
            if pair not in pairs or not sample.value:
                pairs[pair] = sample
    # Who reaches whom was seen with one tunnel back end, and says nothing of another.
    seen_with = next((tunnel for _, _, tunnel in tried), "")
    tunnels = {variant_of(sample, varying): sample.tunnel for sample in trials}
    measured: dict[tuple[str, str, str], list[Sample]] = {}
    for sample in trials:
        key = (sample.path, variant_of(sample, varying), sample.mode)
        measured.setdefault(key, []).append(sample)
    rows: list[Row] = []
    for path in PATHS:
        # Where nothing was measured, it is still known who reaches whom.
        of_path = [variant for variant in variants
                   if any((path, variant, mode) in measured for mode in modes)]
        for variant in of_path or [""]:
            by_mode = {mode: _row(mode, path, variant,
                                [*tried.get((path, mode, tunnels.get(variant, seen_with)),
                                            {}).values()],
                                measured.get((path, variant, mode), []))
                     for mode in modes if (path, mode, tunnels.get(variant, seen_with)) in tried
                     or (path, variant, mode) in measured}
            if baseline in by_mode:
                reference = measured.get((path, variant, baseline), [])
                by_mode = {mode: replace(row, ratios=_against(
                    row, by_mode[baseline], measured.get((path, variant, mode), []), reference))
                    for mode, row in by_mode.items()}
            rows += by_mode.values()
    return Summary(tuple(rows), baseline)


def variant_of(sample: Sample, varying: Sequence[str]) -> str:
    """The levels of the factors that vary, in words."""
    setting = sample.reading.setting
    return ", ".join(
        _AS_IT_IS[name] if name in _AS_IT_IS and not setting[name]
        else FACTORS[name].format(setting[name]) for name in varying if name in setting)


def _varying(samples: Sequence[Sample]) -> tuple[str, ...]:
    return tuple(name for name in FACTORS
                 if len({sample.reading.setting.get(name) for sample in samples}) > 1)


def _levels(varying: Sequence[str]) -> Callable[[Sample], tuple[tuple[float, str], ...]]:
    def key(sample: Sample) -> tuple[tuple[float, str], ...]:
        levels = (sample.reading.setting.get(name) for name in varying)
        return tuple((float(level), "") if isinstance(level, (int, float)) else (0.0, str(level))
                     for level in levels)

    return key


def places_of(samples: Sequence[Sample]) -> dict[int, str]:
    """Order of each reading of a trial -> the place that it belongs to."""
    trials = [sample for sample in samples if sample.metric != "reachable"]
    varying = _varying(trials)
    return {sample.order: _place(sample.path, variant_of(sample, varying)) for sample in trials}


def variants(summary: Summary, samples: Sequence[Sample]) -> dict[str, Mapping[str, Value]]:
    """Place -> the setting of one of its trials."""
    places = places_of(samples)
    settings: dict[str, Mapping[str, Value]] = {}
    for sample in samples:
        if sample.order in places:
            settings.setdefault(places[sample.order], sample.reading.setting)
    return {place: settings[place] for place in summary.places if place in settings}


def _place(path: str, variant: str) -> str:
    return f"{path}, {variant}" if variant else path


def what(sample: Sample) -> What:
    """What a sample is of."""
    return sample.metric, str(sample.reading.setting.get("size", ""))


def _row(mode: str, path: str, variant: str, tried: Sequence[Sample],
         trials: Sequence[Sample]) -> Row:
    # Without a trial the row stands for no pair.
    first = trials[0] if trials else None
    by_key = {key: tuple(_by_repeat(trials, key).values())
              for key in dict.fromkeys(map(what, trials))}
    samples = {key: values for key, values in by_key.items() if values}
    return Row(
        mode, path,
        pairs=len(tried),
        reached=sum(sample.value == 1 for sample in tried),
        tunnelled=sum(sample.encapsulated is True for sample in tried),
        seen=sum(sample.encapsulated is not None for sample in tried),
        variant=variant,
        source=first.source if first else "",
        destination=first.destination if first else "",
        fabric=first.fabric if first else PLAIN,
        encapsulated=first.encapsulated if first else None,
        samples=samples,
        measures={key: spread(values) for key, values in samples.items()},
    )


def _by_repeat(samples: Sequence[Sample], key: What) -> dict[int, float]:
    return {sample.repeat: sample.number for sample in samples
            if what(sample) == key and isinstance(sample.value, (int, float))}


def _against(row: Row, base_row: Row, samples: Sequence[Sample], base: Sequence[Sample]
             ) -> dict[What, Comparison]:
    comparisons = {}
    for key in row.measures:
        better = known_metrics()[key[0]].more_is_better
        reference = _by_repeat(base, key)
        ratios = paired_ratios(_by_repeat(samples, key), reference)
        # To leave out just the repeats that have no quotient would judge by the others alone.
        if better is None or not ratios or min(ratios) <= 0 or 0 in reference.values():
            continue
        if row is base_row:
            comparisons[key] = Comparison(len(ratios), 1.0, None, REFERENCE)
            continue
        compared = compare(ratios, more_is_faster=better)
        comparisons[key] = (replace(compared, verdict=SAME_PACKETS, needed=None)
                      if row.sends_as(base_row) else compared)
    return comparisons
