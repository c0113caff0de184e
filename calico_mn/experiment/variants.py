"""Clusters that differ in what cannot be changed live, and run side by side in one run.

In go the levels of the boot-time factors; out comes a :class:`Variant` for each combination of
them. Its factors are part of every setting that is measured in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calico_mn.calico.encapsulation import DEFAULT, Encapsulation
from calico_mn.experiment.run import Run
from calico_mn.measure import iperf, physics
from calico_mn.measure.metrics import Value
from calico_mn.measure.net import Net
from calico_mn.measure.paths import Pair
from calico_mn.measure.physics import PathLimit
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
