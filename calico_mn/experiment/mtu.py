"""The experiment on MTUs: its options, the plan of its trials, and its instrument."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ClusterError
from calico_mn.experiment.options import whole_numbers
from calico_mn.experiment.run import Run
from calico_mn.measure import offloads, path_mtu, paths
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.paths import Pair
from calico_mn.measure.trials import Trial, factorial
from calico_mn.packetmatch import Drop

#: ICMP "fragmentation needed": as it is, or lost on both nodes
PASSES, FILTERED = "passes", "filtered"
FILTERS: Mapping[str, tuple[Drop, ...]] = {
    PASSES: (), FILTERED: (Drop.FRAGMENTATION_NEEDED,)}

_SMALLEST, _LARGEST = 576, 9216
_FULL = ((1400, 1480, 1500), (1400, 1480, 1500), (1500, 1460))
_QUICK = ((1480, 1500), (1480, 1500), (1500,))

#: seconds that booting and switching take, and a probe that gets through
_BOOT_S, _PROBE_S = 0.3, 0.2
#: of a trial's probes, so many hang on average
_HANGING = 1.5


def add_options(parser: argparse.ArgumentParser) -> None:
    """The levels of the three MTUs."""
    for name, what, place in (("--pod-mtus", "MTUs of the pods", 0),
                              ("--tunnel-mtus", "MTUs of tunl0 (ipipMTU)", 1),
                              ("--link-mtus", "MTUs of all links", 2)):
        parser.add_argument(
            name, type=whole_numbers(_SMALLEST, _LARGEST), metavar="BYTES[,BYTES...]",
            help=f"{what} (default: {_listed(_FULL[place])}; --quick: {_listed(_QUICK[place])})")


@dataclass
class Plan:
    """The pair of pods, and the combinations in which it is probed.

    ``net`` is the cluster as the topology says, of which the environment tells. ``switched``
    names the devices whose offloads are off at the moment.
    """

    run: Run
    net: CalicoNet
    pair: Pair
    settings: tuple[dict[str, Value], ...]
    switched: str = ""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Both pods' nodes."""
        return (self.pair.source.node, self.pair.destination.node)

    @contextmanager
    def offloads(self, net: CalicoNet, enabled: bool) -> Iterator[None]:
        """The pods' segmentation offloads as they are, or off while the block runs."""
        if enabled:
            yield
            return
        names = (self.pair.source.name, self.pair.destination.name)
        with offloads.offloads(net, names, enabled=False) as switched:
            self.switched = ", ".join(f"{one.device} of {one.node}" for one in switched)
            try:
                yield
            finally:
                self.switched = ""

    def look(self, net: CalicoNet, probe: path_mtu.Probe, trial: Trial) -> Measurement:
        """Send one probe; what was seen as metrics."""
        seen = path_mtu.look(net, self.pair, probe, pod_mtu=int(trial.text("pod_mtu")),
                             patience=self.run.options.effort.duration)
        return Measurement({
            "outcome": seen.outcome,
            ("answered" if probe.program == "ping" else "delivered"): seen.delivered,
            **({} if seen.path_mtu is None else {"path_mtu": seen.path_mtu}),
            "frag_needed": seen.frag_needed, "dropped": seen.filtered,
            "fragments": seen.fragments, "largest_packet": seen.largest,
            **({} if seen.retransmits is None else {"retransmits": seen.retransmits}),
        }, seen={"offloads_off": self.switched})

    def facts(self) -> list[tuple[str, str]]:
        """Further lines of the heading."""
        source, destination = self.pair.source, self.pair.destination
        effort = self.run.options.effort
        return [
            ("pods", f"{source.name} on {source.node} to {destination.name} on"
             f" {destination.node}, in mode Always"),
            ("trials", f"{len(self.settings)} combinations, {len(path_mtu.PROBES)} probes each"
             + (f", {effort.repeats} times" if effort.repeats > 1 else "")
             + f"; a probe hangs after {effort.duration:g} s without progress; about"
             f" {self.seconds():.0f} s"),
        ]

    def seconds(self) -> float:
        """How long all is expected to take."""
        return len(self.settings) * self.run.options.effort.repeats * self.trial_seconds()

    def trial_seconds(self) -> float:
        """How long a trial is expected to take."""
        patience = self.run.options.effort.duration
        return _BOOT_S + len(path_mtu.PROBES) * _PROBE_S + _HANGING * patience

    def describe(self, trial: Trial) -> str:
        """A trial in a few words."""
        return (f"pods {trial['pod_mtu']}, tunl0 {trial['tunnel_mtu']}, links"
                f" {trial['link_mtu']}, ICMP {trial['icmp']}")


def plan(run: Run) -> Plan:
    """Choose the pair and the combinations. Raises ClusterError without two pods on two nodes."""
    net = run.net()
    pairs = paths.representative_pairs(paths.endpoints(net))
    pair = pairs.get(paths.SAME_SUBNET) or pairs.get(paths.CROSS_SUBNET)
    if pair is None:
        raise ClusterError(f"{run.source}: all pods are on one node, and tunl0 is between two")
    own = run.options.own
    pod, tunnel, link = (asked or usual for asked, usual in zip(
        (own.pod_mtus, own.tunnel_mtus, own.link_mtus),
        _QUICK if run.options.quick else _FULL, strict=True))
    fixed: dict[str, Value] = {"mode": "Always", "path": pair.path, "source": pair.source.name,
                               "destination": pair.destination.name, "tunnel": net.tunnel}
    settings = tuple({**setting, **fixed} for setting in factorial(
        pod_mtu=pod, tunnel_mtu=tunnel, link_mtu=link, icmp=(PASSES, FILTERED)))
    run.plan = {
        "pair": [pair.source.name, pair.destination.name], "pod_mtus": list(pod),
        "tunnel_mtus": list(tunnel), "link_mtus": list(link),
        "probes": [probe.name for probe in path_mtu.PROBES],
        "repeats": run.options.effort.repeats, "patience_s": run.options.effort.duration,
        "seed": run.options.seed, "quick": run.options.quick}
    return Plan(run, net, pair, settings)


def _listed(levels: tuple[int, ...]) -> str:
    return ",".join(map(str, levels))
