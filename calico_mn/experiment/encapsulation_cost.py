"""The experiment on the cost of encapsulation: its options, the plan of its trials, conditions."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ClusterError, UnsupportedError
from calico_mn.experiment import instruments
from calico_mn.experiment.instruments import Instrument
from calico_mn.experiment.options import whole_numbers, words_of
from calico_mn.experiment.run import Run
from calico_mn.measure import iperf, offloads, paths, udp
from calico_mn.measure.iperf import timed
from calico_mn.measure.metrics import Value
from calico_mn.measure.paths import Pair
from calico_mn.measure.trials import Trial, conditions, factorial

MODES = ALWAYS, NEVER = ("Always", "Never")
#: offloads as the devices have them, or off
AS_THEY_ARE, OFF = "as they are", "off"
#: instruments
DATAGRAMS, BULK = "udp cost", "tcp cost"

#: bytes of UDP payload; 28 more are the packet, which pods with an MTU of 1480 can still send
_SIZES, _QUICK_SIZES = (64, 512, 960, 1400), (64, 1400)
#: seconds of a trial besides its measurements
_UDP_S, _TCP_S = 0.6, 0.9


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes and back ends."""
    add = parser.add_argument
    add("--sizes", type=whole_numbers(udp.SMALLEST, udp.LARGEST), metavar="BYTES[,BYTES...]",
        help=f"UDP payloads (default: {','.join(map(str, _SIZES))})")
    add("--tunnels", type=words_of("kernel", "ebpf"), default=(), metavar="NAME[,NAME]",
        help="tunnel back ends (default: all that this machine has)")


@dataclass
class Plan:
    """Clusters by their back end, the pair, the settings.

    ``bulk`` maps (tunnel, offloads) to what TCP reached in the warm-up, in Mbit/s.
    """

    run: Run
    nets: dict[str, CalicoNet]
    pair: Pair
    settings: tuple[dict[str, Value], ...]
    bulk: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def net(self) -> CalicoNet:
        """The first cluster."""
        return next(iter(self.nets.values()))

    def warm_up(self) -> None:
        """Short transfers that are no measurements; their rate is the amount that TCP sends."""
        for tunnel, net in self.nets.items():
            client, server = net[self.pair.source.name], net[self.pair.destination.name]
            net.set_ipip_mode(ALWAYS)
            for level in (AS_THEY_ARE, OFF):
                with self._offloads(net, level):
                    self.bulk[tunnel, level] = iperf.warm_up(client, server)

    @contextmanager
    def conditions(self, trial: Trial) -> Iterator[dict[str, Value]]:
        """The trial's mode and offloads; what was seen of them."""
        net = self.nets[trial.text("tunnel")]
        with conditions(net, trial.text("mode"), self.pair, pod_routes=False) as found, \
                self._offloads(net, trial.text("offloads")) as switched:
            yield {"encapsulated": found.encapsulated, "offloads_off": switched}

    @contextmanager
    def _offloads(self, net: CalicoNet, level: str) -> Iterator[str]:
        with ExitStack() as stack:
            if level == AS_THEY_ARE:
                yield ""
                return
            names = [name for end in (self.pair.source, self.pair.destination)
                     for name in (end.name, end.node)]
            switched = stack.enter_context(offloads.offloads(net, names, enabled=False))
            yield ", ".join(f"{one.device} of {one.node}" for one in switched)

    def instruments_of(self, trial: Trial) -> tuple[Instrument, ...]:
        """The instruments of a trial, ready to be read one after the other."""
        net, seconds = self.nets[trial.text("tunnel")], self.run.options.effort.duration
        client, server = net[self.pair.source.name], net[self.pair.destination.name]
        size = int(trial.text("size"))
        if not size:
            rate = self.bulk[trial.text("tunnel"), trial.text("offloads")]
            return ((BULK, {}, partial(instruments.tcp_cost, client, server, duration=seconds,
                                       rate=rate)),)
        return ((DATAGRAMS, {}, partial(instruments.datagrams_cost, client, server, size=size,
                                        duration=seconds)),)

    def facts(self) -> list[tuple[str, str]]:
        """Further lines of the heading."""
        effort, source, destination = (self.run.options.effort, self.pair.source,
                                       self.pair.destination)
        return [
            ("pods", f"{source.name} on {source.node} to {destination.name} on"
             f" {destination.node}"),
            ("trials", f"{len(self.settings)} combinations x {effort.repeats} repeats of"
             f" {self.duration:g} s, in random order (seed {self.run.options.seed}); about"
             f" {self.seconds():.0f} s"),
        ]

    @property
    def duration(self) -> float:
        """How long the installed iperf3 makes a measurement."""
        return timed(self.net[self.pair.source.name], self.run.options.effort.duration)

    def seconds(self) -> float:
        """How long all is expected to take."""
        return self.run.options.effort.repeats * sum(
            self.trial_seconds(Trial(setting, 1)) for setting in self.settings)

    def trial_seconds(self, trial: Trial) -> float:
        """How long a trial is expected to take."""
        return self.duration + (_UDP_S if trial["size"] else _TCP_S)

    def describe(self, trial: Trial) -> str:
        """A trial in a few words."""
        what = f"UDP {trial['size']} B" if trial["size"] else f"TCP, offloads {trial['offloads']}"
        return f"{trial['mode']}, {what}"


def plan(run: Run) -> Plan:
    """Boot a cluster for each back end, choose the pair. Raises ClusterError without a pair."""
    own = run.options.own
    nets = _clusters(run, own.tunnels)
    pair = paths.representative_pairs(paths.endpoints(next(iter(nets.values())))).get(
        paths.SAME_SUBNET)
    if pair is None:
        raise ClusterError(f"{run.source}: no two pods are on two nodes of one subnet, where Always"
                           " and Never can be compared on the same path")
    sizes = own.sizes or (_QUICK_SIZES if run.options.quick else _SIZES)
    fixed: dict[str, Value] = {"path": pair.path, "source": pair.source.name,
                               "destination": pair.destination.name}
    settings = tuple({**setting, **fixed} for setting in (
        *factorial(tunnel=tuple(nets), mode=MODES, size=sizes, offloads=(AS_THEY_ARE,)),
        # Size 0 stands for TCP, which chooses its segments' size.
        *factorial(tunnel=tuple(nets), mode=MODES, size=(0,), offloads=(AS_THEY_ARE, OFF))))
    run.plan = {"pair": [pair.source.name, pair.destination.name], "sizes": list(sizes),
                "tunnels": list(nets), "repeats": run.options.effort.repeats,
                "duration_s": run.options.effort.duration, "seed": run.options.seed,
                "quick": run.options.quick}
    return Plan(run, nets, pair, settings)


def _clusters(run: Run, wanted: tuple[str, ...]) -> dict[str, CalicoNet]:
    """Back end -> cluster: those asked for, else the one of --tunnel, else all that there are."""
    asked = wanted or (() if run.options.tunnel == "auto" else (run.options.tunnel,))
    if asked:
        return {name: run.net(tunnel=name) for name in asked}
    first = run.net()
    nets = {first.tunnel: first}
    for name in {"kernel", "ebpf"} - set(nets):
        try:
            nets[name] = run.net(tunnel=name)
        except UnsupportedError:
            continue
    return nets
