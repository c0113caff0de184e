"""Measured against computed throughput, where the topology limits a link. Pure.

Header sizes decide what such a link carries (:mod:`calico_mn.measure.physics`). A measurement
that does not agree with them says that something else was measured than was meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from calico_mn.calico.encapsulation import DEFAULT, named
from calico_mn.measure.paths import SAME_NODE
from calico_mn.measure.physics import PathLimit
from calico_mn.measure.readings import Sample
from calico_mn.report.summary import Summary, variants
from calico_mn.text import percent

#: the largest part of the computed value by which a median may differ from it
TOLERANCE = 0.005

#: pods of one node must be this many times faster than the link for the link to be the limit
_ROOM = 1.5

#: from this share of stolen CPU time on, a link may have stood idle for it
_STOLEN = 0.05

#: below this rate in Mbit/s two seconds are not enough
_SLOW = 10


@dataclass(frozen=True, slots=True)
class Check:
    """A mode's median throughput over limited links, and what header sizes allow; Mbit/s."""

    place: str
    mode: str
    encapsulated: bool
    measured: float
    computed: float

    @property
    def deviation(self) -> float:
        """Of the measured from the computed value, as a part of the latter."""
        return self.measured / self.computed - 1

    @property
    def agrees(self) -> bool:
        """Whether that is within :data:`TOLERANCE`."""
        return abs(self.deviation) <= TOLERANCE


def checks(summary: Summary, limits: Mapping[str, PathLimit]) -> tuple[Check, ...]:
    """A check for each mode that has a throughput where links are limited, in the rows' order.

    ``limits`` are by place: a path class, or a path class and a variant.
    """
    return tuple(
        Check(row.place, row.mode, row.encapsulated, row.throughput.median,
              limits[row.place].goodput(row.encapsulated))
        for row in summary.rows if row.place in limits and row.throughput is not None
        and row.encapsulated is not None)


def by_place(limits: Sequence[Mapping[str, Any]], summary: Summary, samples: Sequence[Sample]
             ) -> dict[str, PathLimit]:
    """Place -> its slowest link, for the places that have one.

    ``limits`` are as a run's plan has them: path and boot-time factors, rate and MTUs.
    """
    return {place: PathLimit(limit["rate_mbit"], limit["pod_mtu_bytes"], limit["link_mtu_bytes"],
                             named(limit.get("encapsulation", DEFAULT.name)))
            for place, setting in variants(summary, samples).items() for limit in limits
            if all(setting.get(factor) == limit[factor]
                   for factor in ("path", "pair", "tunnel", "pod_mtu", "rate", "encapsulation")
                   if factor in limit)}


def as_json(summary: Summary, limits: Mapping[str, PathLimit]) -> dict[str, Any]:
    """What summary.json says about it."""
    return {
        "tolerance": TOLERANCE,
        "limits": {place: {"rate": limit.rate, "pod_mtu": limit.pod_mtu,
                           "link_mtu": limit.link_mtu} for place, limit in limits.items()},
        "checks": [{**asdict(check), "computed": round(check.computed, 3),
                    "deviation": round(check.deviation, 5), "agrees": check.agrees}
                   for check in checks(summary, limits)],
    }


def explain(summary: Summary, limits: Mapping[str, PathLimit], steal: float | None = None
            ) -> tuple[str, ...]:
    """A paragraph for each limited place that was measured.

    ``steal`` is the share of CPU time that the machine lost to others while measuring.
    """
    by_place: dict[str, list[Check]] = {}
    for check in checks(summary, limits):
        by_place.setdefault(check.place, []).append(check)
    return tuple(" ".join([
        _compared(place, limits[place], group),
        *_verdict(summary, limits[place], group, steal or 0)])
        for place, group in by_place.items())


def _compared(place: str, limit: PathLimit, group: Sequence[Check]) -> str:
    each = "; ".join(f"{check.mode} {check.measured:.4g} of {check.computed:.4g} Mbit/s"
                     f" ({percent(check.deviation, 2, sign=True)})" for check in group)
    return (f"Links of {limit.rate:g} Mbit/s ({place}), measured of what header sizes allow:"
            f" {each}.")


def _verdict(summary: Summary, limit: PathLimit, group: Sequence[Check], steal: float
             ) -> Iterator[str]:
    if all(check.agrees for check in group):
        yield f"They agree within {100 * TOLERANCE:g} %."
        return
    for check in group:
        if not check.agrees:
            reason = _reason(summary, limit, check, steal)
            yield f"{check.mode} does not agree: {reason}."


def _reason(summary: Summary, limit: PathLimit, check: Check, steal: float) -> str:
    row = next(row for row in summary.on(check.place) if row.mode == check.mode)
    assert row.throughput is not None
    # Noise first: a noisy median may lie near any computed value.
    if steal > _STOLEN and check.deviation < 0:
        return (f"other machines took {100 * steal:.0f} % of the CPU time that this one wanted"
                " (steal), and a transfer that has to wait for a CPU leaves the link idle")
    if row.throughput.minimum <= check.computed <= row.throughput.maximum:
        return (f"its samples lie on both sides of the limit, from {row.throughput.minimum:.4g} to"
                f" {row.throughput.maximum:.4g}, so this is scatter; a longer --duration has less")
    otherwise = limit.goodput(not check.encapsulated)
    if abs(check.measured / otherwise - 1) <= TOLERANCE:
        seen, other = (f"inside {limit.encapsulation}", "without it") if check.encapsulated else (
            "directly", f"inside {limit.encapsulation}")
        return f"the packets were seen to cross {seen}, and this is what they would get {other}"
    if limit.rate < _SLOW:
        return ("over so slow a link TCP's start outlasts the second that is left out, and few"
                " packets arrive in the time that is counted; try a longer --duration")
    if check.deviation > 0:
        return ("such a link cannot carry so much, so some of it did not cross the link, or the"
                " packets were not of the size that the MTUs tell")
    direct = next((other.throughput.median for other in summary.rows if other.throughput
                   and (other.path, other.variant) == (SAME_NODE, row.variant)), None)
    if direct is not None and direct < _ROOM * check.computed:
        return (f"this machine moves no more than {direct:.4g} Mbit/s between pods of one node,"
                " so its CPUs were the limit and not the link")
    return ("something held it back besides the link: other work on this machine, losses, or TCP's"
            " window")
