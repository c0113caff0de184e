"""The design of an experiment: which settings, in which order, under which conditions.

In go the factors' levels, repeats and a seed; out come trials, in the same order on every machine.
:func:`conditions` sets a trial's mode and fabric on the running cluster, and checks them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from calico_mn.calico.encapsulation import DEFAULT, Encapsulation
from calico_mn.measure import iperf, ping
from calico_mn.measure.metrics import Value
from calico_mn.measure.net import Net
from calico_mn.measure.paths import Pair
from calico_mn.measure.wire import watch

#: the fabric as the topology describes it, or with the pods' blocks added to every router
PLAIN, POD_ROUTES = "plain", "pod-routes"


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of all factors, once; ``repeat`` counts from 1."""

    setting: Mapping[str, Value]
    repeat: int

    def __getitem__(self, factor: str) -> Value:
        return self.setting[factor]

    def text(self, factor: str) -> str:
        """A factor's level as text."""
        return str(self.setting[factor])

    def levels(self, *factors: str) -> tuple[Any, ...]:
        """The levels of these factors."""
        return tuple(self.setting[factor] for factor in factors)

    def number(self, factor: str) -> int:
        """A factor's level that is a whole number."""
        return int(self.text(factor))

    def __str__(self) -> str:
        return ", ".join(map(str, self.setting.values())) + f", repeat {self.repeat}"


def named(trial: Trial, settings: Sequence[Mapping[str, Value]], factors: Sequence[str]) -> str:
    """A trial of a pair for a message: mode, path and pods, those of ``factors`` that vary in the
    ``settings``, and the repeat.
    """
    varying = [f"{factor.replace('_', ' ')} {trial.setting.get(factor)}" for factor in factors
               if len({setting.get(factor) for setting in settings}) > 1]
    return ", ".join([f"{trial['mode']}, {trial['path']}, {trial['source']} to"
                      f" {trial['destination']}", *varying, f"repeat {trial.repeat}"])


def factorial(**levels: Sequence[Value]) -> tuple[dict[str, Value], ...]:
    """Every combination of the factors' levels; the last factor varies fastest."""
    return tuple(dict(zip(levels, combination, strict=True))
                 for combination in itertools.product(*levels.values()))


def interleaved(settings: Sequence[Mapping[str, Value]], repeats: int, seed: int
                ) -> tuple[Trial, ...]:
    """Every setting ``repeats`` times, in randomised complete blocks.

    A block holds every setting once, in an order of its own. A drift of the machine (heat, a
    neighbour's load) so meets all settings alike, and each block allows a paired comparison.
    """
    generator = random.Random(seed)
    order: list[Trial] = []
    for repeat in range(1, repeats + 1):
        block = [Trial(dict(setting), repeat) for setting in settings]
        generator.shuffle(block)
        order += block
    return tuple(order)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What held during a trial: the fabric, an answer to ping, what the wire showed of it."""

    fabric: str
    reachable: bool
    encapsulated: bool | None


@contextmanager
def conditions(net: Net, mode: str, pair: Pair, *, pod_routes: bool,
               encapsulation: Encapsulation = DEFAULT) -> Iterator[Conditions]:
    """Set the mode, and the pods' routes in the fabric if asked for; look before measuring.

    The fabric is as the topology says again afterwards. The captures are closed before the
    trial begins: they would cost it time.
    """
    if pod_routes:
        net.set_pod_routes(True)
    try:
        net.set_mode(mode, encapsulation=encapsulation)
        with watch(net, [pair.source.node]) as wire:
            reachable = ping.answers(net[pair.source.name], pair.destination.ip)
            wire.drain()
            encapsulated = wire.encapsulated(pair)
        yield Conditions(POD_ROUTES if pod_routes else PLAIN, reachable, encapsulated)
    finally:
        if pod_routes:
            net.set_pod_routes(False)


def warm_up(net: Net, pairs: Mapping[str, Pair], modes: Sequence[str],
            needs_pod_routes: Callable[[str, Pair], bool], *,
            encapsulation: Encapsulation = DEFAULT) -> dict[str, float]:
    """Send a first, discarded transfer on each path: key of ``pairs`` -> its rate in Mbit/s.

    It is sent in the first mode that connects the path's pair. A path whose pair no mode connects,
    with or without pod routes, is left out.
    """
    rates: dict[str, float] = {}
    for path, pair in pairs.items():
        for mode in modes:
            with conditions(net, mode, pair, pod_routes=needs_pod_routes(mode, pair),
                            encapsulation=encapsulation) as seen:
                if seen.reachable:
                    rates[path] = iperf.warm_up(net[pair.source.name], net[pair.destination.name])
                    break
    return rates
