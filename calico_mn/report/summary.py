"""Samples -> one row for each mode on each path. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calico_mn.measure.paths import PATHS
from calico_mn.measure.samples import PLAIN, Sample
from calico_mn.measure.statistics import Spread, spread

NEVER = "Never"


@dataclass(frozen=True, slots=True)
class Row:
    """What was found about a mode on a path class.

    ``reached`` of ``pairs`` ordered pairs of pods answered on the fabric as it is, and the
    packets of ``tunnelled`` of them were seen inside IPIP; of ``seen`` any were seen at all, or
    none was to be seen (on one node). Throughput (Mbit/s) and latency (us)
    are those of the pair ``source``, ``destination`` on ``fabric``; None when not measured.
    ``encapsulated`` is what the wire showed of that pair. The ratios are median to median of
    Never on the same path.
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
    throughput_ratio: float | None = None
    latency_ratio: float | None = None


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

    def on(self, path: str) -> tuple[Row, ...]:
        """The rows of one path class."""
        return tuple(row for row in self.rows if row.path == path)


def summarise(samples: Sequence[Sample], modes: Sequence[str]) -> Summary:
    """Group samples, also those of a run that was cut short; ``modes`` gives the order."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.path, sample.mode), []).append(sample)
    rows = []
    for path in PATHS:
        never = groups.get((path, NEVER), [])
        rows += [_row(mode, path, groups[path, mode], never) for mode in modes
                 if (path, mode) in groups]
    return Summary(tuple(rows))


def _row(mode: str, path: str, samples: Sequence[Sample], never: Sequence[Sample]) -> Row:
    tried = [sample for sample in samples if sample.metric == "reachable"]
    trials = [sample for sample in samples if sample.metric != "reachable"]
    # Without a trial the row stands for no pair.
    first = trials[0] if trials else None
    throughput, latency = (_spread(samples, metric) for metric in ("throughput", "latency"))
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
        throughput=throughput,
        latency=latency,
        throughput_ratio=_ratio(throughput, _spread(never, "throughput")),
        latency_ratio=_ratio(latency, _spread(never, "latency")),
    )


def _spread(samples: Sequence[Sample], metric: str) -> Spread | None:
    values = [sample.value for sample in samples if sample.metric == metric]
    return spread(values) if values else None


def _ratio(one: Spread | None, never: Spread | None) -> float | None:
    return one.median / never.median if one and never and never.median else None
