"""Samples -> one row for each mode on each path. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from calico_mn.measure.paths import PATHS
from calico_mn.measure.samples import PLAIN, Sample
from calico_mn.measure.statistics import Comparison, Spread, compare, paired_ratios, spread

NEVER = "Never"

#: in place of a verdict: of Never itself, and of a mode that sends what Never sends
REFERENCE = "reference"
SAME_PACKETS = "same packets, no difference expected"


@dataclass(frozen=True, slots=True)
class Row:
    """What was found about a mode on a path class.

    ``reached`` of ``pairs`` ordered pairs of pods answered on the fabric as it is, and the
    packets of ``tunnelled`` of them were seen inside IPIP; of ``seen`` any were seen at all, or
    none was to be seen (on one node). Throughput (Mbit/s) and latency (us)
    are those of the pair ``source``, ``destination`` on ``fabric``; None when not measured.
    ``encapsulated`` is what the wire showed of that pair. The ratios compare it with Never on
    the same path, repeat by repeat: the trials of one repeat ran close together in time.
    """

    mode: str
    path: str
    pairs: int
    reached: int
    tunnelled: int
    seen: int = 0
    source: str = ""
    destination: str = ""
    fabric: str = PLAIN
    encapsulated: bool | None = None
    throughput: Spread | None = None
    latency: Spread | None = None
    throughput_ratio: Comparison | None = None
    latency_ratio: Comparison | None = None

    def sends_as(self, other: Row) -> bool:
        """Whether both were seen to send the same packets on this path."""
        return self.encapsulated is not None and self.encapsulated == other.encapsulated


@dataclass(frozen=True, slots=True)
class Summary:
    """Rows by path, nearest first, then by mode in the order of measurement."""

    rows: tuple[Row, ...]

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that have a row."""
        return tuple(dict.fromkeys(row.mode for row in self.rows))

    @property
    def paths(self) -> tuple[str, ...]:
        """The path classes that have a row."""
        return tuple(dict.fromkeys(row.path for row in self.rows))

    def noise(self, metric: str) -> float | None:
        """How far samples of one mode and path lie apart: the middle one of the rows' shares.

        A row's share is its quartile range by its median; None without three samples in a row.
        """
        shares = [found.relative for found in (getattr(row, metric) for row in self.rows)
                  if found is not None and found.relative is not None]
        return statistics.median(shares) if shares else None

    def on(self, path: str) -> tuple[Row, ...]:
        """The rows of one path class."""
        return tuple(row for row in self.rows if row.path == path)


def summarise(samples: Sequence[Sample], modes: Sequence[str]) -> Summary:
    """Group samples, also those of a run that was cut short; ``modes`` gives the order."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.path, sample.mode), []).append(sample)
    rows: list[Row] = []
    for path in PATHS:
        found = {mode: _row(mode, path, groups[path, mode]) for mode in modes
                 if (path, mode) in groups}
        if NEVER in found:
            never = groups[path, NEVER]
            found = {mode: replace(
                row, throughput_ratio=_against(row, found[NEVER], groups[path, mode], never,
                                               "throughput"),
                latency_ratio=_against(row, found[NEVER], groups[path, mode], never, "latency"))
                for mode, row in found.items()}
        rows += found.values()
    return Summary(tuple(rows))


def _row(mode: str, path: str, samples: Sequence[Sample]) -> Row:
    tried = [sample for sample in samples if sample.metric == "reachable"]
    trials = [sample for sample in samples if sample.metric != "reachable"]
    # Without a trial the row stands for no pair.
    first = trials[0] if trials else None
    return Row(
        mode, path,
        pairs=len(tried),
        reached=sum(sample.value == 1 for sample in tried),
        tunnelled=sum(sample.encapsulated is True for sample in tried),
        seen=sum(sample.encapsulated is not None for sample in tried),
        source=first.source if first else "",
        destination=first.destination if first else "",
        fabric=first.fabric if first else PLAIN,
        encapsulated=first.encapsulated if first else None,
        throughput=_spread(samples, "throughput"),
        latency=_spread(samples, "latency"),
    )


def _by_repeat(samples: Sequence[Sample], metric: str) -> dict[int, float]:
    return {sample.repeat: sample.value for sample in samples if sample.metric == metric}


def _spread(samples: Sequence[Sample], metric: str) -> Spread | None:
    values = [sample.value for sample in samples if sample.metric == metric]
    return spread(values) if values else None


def _against(row: Row, never_row: Row, samples: Sequence[Sample], never: Sequence[Sample],
             metric: str) -> Comparison | None:
    ratios = paired_ratios(_by_repeat(samples, metric), _by_repeat(never, metric))
    if not ratios:
        return None
    if row is never_row:
        return Comparison(len(ratios), 1.0, None, REFERENCE)
    found = compare(ratios, more_is_faster=metric == "throughput")
    return (replace(found, verdict=SAME_PACKETS, needed=None)
            if row.sends_as(never_row) else found)
