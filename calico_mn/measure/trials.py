"""The design of an experiment: settings, their order, their conditions, and what a trial reads.

In go the factors' levels, repeats and a seed; out come trials, in the same order on every machine.
:func:`conditions` sets a trial's mode and fabric on the running cluster, and checks them;
:class:`Instruments` reads two pods, one instrument after the other, by the readings' names.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from calico_mn.calico.encapsulation import DEFAULT, Encapsulation
from calico_mn.errors import ToolError
from calico_mn.measure import iperf, ping, tcp, udp
from calico_mn.measure.iperf import Server
from calico_mn.measure.paths import Net, Pair
from calico_mn.measure.readings import Measurement, Value
from calico_mn.measure.wire import watch

#: the fabric as the topology describes it, or with the pods' blocks added to every router
PLAIN, POD_ROUTES = "plain", "pod-routes"
#: a reading's name -> seconds that it takes besides its transfer, in their order in a trial
READINGS = {"round trips": 0.1, "tcp": 0.0, "round trips under load": 0.5, "udp": 0.2,
            "connections": 0.0, "wire": 0.1}
#: readings other than the TCP transfer take this part of its time, but no less than
_SHORT, _SHORTEST_S = 0.3, 0.1


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


# --- what a trial reads

@dataclass(frozen=True, slots=True)
class Instruments:
    """Some of :data:`READINGS`; ``duration`` of the TCP transfer in seconds.

    ``sizes`` are UDP payloads in bytes, a reading each. ``metered`` adds this machine's CPU time to
    a TCP transfer, for clusters that are on this machine. ``besides_s`` are seconds that a trial
    takes besides its readings.
    """

    names: tuple[str, ...]
    duration: float
    sizes: tuple[int, ...]
    metered: bool = True
    besides_s: float = 0.3

    @property
    def readings(self) -> tuple[tuple[str, Mapping[str, Value]], ...]:
        """Each reading's name, and the factors of its own."""
        return tuple((name, factors) for name in self.names for factors in (
            [{"size": size} for size in self.sizes] if name == "udp" else [{}]))

    def take(self, name: str, net: Net, pair: Pair, factors: Mapping[str, Value], *, rate: float,
             limited: bool) -> Measurement:
        """One reading. ``factors`` are all that it is taken under: ``size``, ``streams``...

        ``rate`` and ``limited`` as of :func:`.iperf.transfer`. Raises ToolError.
        """
        client: Server = net[pair.source.name]
        server: Server = net[pair.destination.name]
        match name:
            case "round trips":
                return ping.latency(client, server)
            case "tcp":
                return tcp.bulk(
                    client, server, duration=self.duration, rate=rate, limited=limited,
                    streams=int(str(factors["streams"])), direction=str(factors["direction"]),
                    congestion=str(factors.get("congestion", "")), metered=self.metered)
            case "round trips under load":
                return ping.latency_under_load(client, server)
            case "udp":
                return udp.rates(client, server, size=cast(int, factors["size"]),
                                 duration=self._short)
            case "connections":
                return tcp.connection_rate(client, server, duration=self._short)
            case "wire":
                return tcp.segments(net, pair)
        raise ToolError(f"there is no reading {name!r}")

    def seconds(self, client: Server, *, limited: bool) -> float:
        """How long a trial is expected to take. Raises ToolError without an iperf3."""
        transfers = {
            "tcp": (iperf.limited_seconds(self.duration) + iperf.UNSTEADY_S if limited
                    else iperf.timed(client, self.duration)),
            "udp": iperf.timed(client, self._short), "connections": self._short}
        return self.besides_s + sum(READINGS[name] + transfers.get(name, 0)
                                    for name, _ in self.readings)

    @property
    def _short(self) -> float:
        return max(_SHORTEST_S, self.duration * _SHORT)
