"""What is settled before trials of pairs of pods: their clusters, and who reaches whom in them.

In go the levels of the boot-time factors, which cannot be changed live; out comes a
:class:`Variant` for each combination of them, a cluster that runs beside the others. Its factors
are part of every setting that is measured in it. :class:`Reach` looks in each mode which pods the
fabric connects as it is: a pair that it does not connect needs the pods' routes in the routers,
which an emulated cluster can have and a real one is not given.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calico_mn.calico.encapsulation import DEFAULT, Encapsulation
from calico_mn.experiment.run import Run
from calico_mn.measure import iperf, paths, physics, reachability
from calico_mn.measure.paths import Endpoint, Net, Pair
from calico_mn.measure.physics import PathLimit
from calico_mn.measure.readings import Value
from calico_mn.measure.trials import PLAIN, POD_ROUTES
from calico_mn.text import join

#: boot-time factors; the last only where another encapsulation than the usual one is asked for
FACTORS = ("tunnel", "pod_mtu", "rate", "encapsulation")


@dataclass(slots=True)
class Variant:
    """A running cluster, and what is known of its paths before the trials.

    ``factors`` are its levels. ``limits`` and ``rates`` are by the keys of the pairs: the limit of
    each path whose links have a rate, and the Mbit/s of a first transfer on each that is connected.
    """

    net: Net
    encapsulation: Encapsulation
    factors: Mapping[str, Value]
    limits: Mapping[str, PathLimit] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)


def boot(run: Run, *, tunnels: Iterable[str], pod_mtus: Iterable[int], rates: Iterable[int],
         encapsulations: Sequence[Encapsulation]) -> tuple[Variant, ...]:
    """Boot a cluster for each combination. The real cluster of a run is its only variant."""
    variants = []
    for tunnel, pod_mtu, rate, encapsulation in itertools.product(
            tunnels, pod_mtus, rates, encapsulations):
        net = run.cluster(tunnel=tunnel, pod_mtu=pod_mtu, rate=rate, encapsulation=encapsulation)
        levels: dict[str, Value] = dict(zip(
            FACTORS, (net.tunnel, pod_mtu, rate, encapsulation.name), strict=True))
        if tuple(encapsulations) == (DEFAULT,):
            del levels["encapsulation"]
        variants.append(Variant(net, encapsulation, levels))
    return tuple(variants)


def of(variants: Iterable[Variant], setting: Mapping[str, Value]) -> Variant:
    """The one that a setting is measured in."""
    return next(variant for variant in variants
                if variant.factors.items() <= setting.items())


def find_limits(variants: Iterable[Variant], pairs: Mapping[str, Pair]) -> list[dict[str, Any]]:
    """Fill in the variants' limits; the same for a plan, as :func:`.link_limits.by_place` reads it.
    """
    for variant in variants:
        variant.limits = physics.path_limits(variant.net, pairs, variant.encapsulation)
    return [{**variant.factors, **pair_factors(key, pairs[key]), "rate_mbit": limit.rate,
             "pod_mtu_bytes": limit.pod_mtu, "link_mtu_bytes": limit.link_mtu}
            for variant in variants for key, limit in variant.limits.items()]


def pair_factors(key: str, pair: Pair) -> dict[str, Value]:
    """The path class, and the pair by name where it is one of several in its class."""
    return {"path": pair.path, **({"pair": key} if key != pair.path else {})}


def slow_links(variants: Iterable[Variant], duration: float) -> dict[str, str]:
    """For a heading: which links are limited, and how long a transfer over them is."""
    slow = list(dict.fromkeys(f"{path} {limit.rate:g} Mbit/s" for variant in variants
                              for path, limit in variant.limits.items()))
    return {} if not slow else {
        "slow links": f"{join(slow)}; there {iperf.limited_seconds(duration):g} s are counted,"
        f" after a start of {iperf.UNSTEADY_S} s"}


# --- who reaches whom

#: seconds that one pair's ping takes, many at a time
_PAIR_S = 0.008


@dataclass(frozen=True, slots=True)
class Reach:
    """What the run's log knows of the pods' reach."""

    run: Run
    net: Net
    pods: tuple[Endpoint, ...]
    encapsulation: Encapsulation

    def seconds(self, modes: Sequence[str]) -> float:
        """How long :meth:`look` is expected to take."""
        return len(modes) * len(paths.ordered_pairs(self.pods)) * _PAIR_S

    def look(self, modes: Sequence[str]) -> None:
        """Every pod pings every other in each mode. A resumed run leaves out what it has."""
        for mode in modes:
            pairs = [pair for pair in paths.ordered_pairs(self.pods)
                     if not self.run.log.find("ping", self._setting(mode, pair))]
            if pairs:
                self.net.set_mode(mode, encapsulation=self.encapsulation)
                for reached in reachability.matrix(self.net, pairs):
                    self.run.log.add("ping", self._setting(mode, reached.pair),
                                     reached.measurement)
                    self.run.step(f"{mode}: who reaches whom", _PAIR_S)

    def fabric(self, mode: str, pair: Pair) -> str | None:
        """The fabric on which a trial of the pair can be: as it is, or with the pods' routes.

        None for a pair that a real cluster does not connect.
        """
        reading = self.run.log.find("ping", self._setting(mode, pair))
        if reading is not None and reading.values[reachability.REACHABLE] == 1:
            return PLAIN
        return None if self.run.real else POD_ROUTES

    def _setting(self, mode: str, pair: Pair) -> dict[str, Value]:
        return {"mode": mode, **pair.factors, "fabric": PLAIN, "tunnel": self.net.tunnel}
