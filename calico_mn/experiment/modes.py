"""The comparison of modes: its options and the plan of its trials."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from calico_mn.emulation.net import CalicoNet
from calico_mn.emulation.node import Pod
from calico_mn.experiment import instruments
from calico_mn.experiment.common import facts, some
from calico_mn.experiment.instruments import Instrument
from calico_mn.experiment.options import MODES, modes, whole_numbers, words_of
from calico_mn.experiment.run import Run
from calico_mn.measure import iperf, paths, physics, udp
from calico_mn.measure.iperf import timed
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.offloads import Switched, offloads
from calico_mn.measure.paths import Endpoint, Pair
from calico_mn.measure.trials import PLAIN, POD_ROUTES, Trial, factorial
from calico_mn.report.words import listed

#: the boot-time factors of a cluster, as (name, level) pairs
Cluster = tuple[tuple[str, Value], ...]

#: seconds that deciding one pair's reachability takes
PAIR_S = 0.008
#: seconds that a trial takes besides: setting the mode, latencies, starting programs
_TRIAL_S = 1.0
_UDP_S = 0.2
#: readings other than the TCP transfer take this part of its time, but no less than
_SHORT = 0.3
_SHORTEST_S = 0.1

_LARGEST_MTU = 65535


def add_options(parser: argparse.ArgumentParser) -> None:
    """The factors that can be asked for; each takes several levels by commas."""
    add = parser.add_argument
    add("--modes", type=modes, default=MODES, metavar="MODE[,MODE...]",
        help=f"IPIP modes to compare (default: {','.join(MODES)})")
    add("--streams", type=whole_numbers(1, 128), default=(1,), metavar="N[,N...]",
        help="TCP streams at once (default: 1)")
    add("--directions", type=words_of(*iperf.DIRECTIONS), default=("forward",),
        metavar="NAME[,NAME...]",
        help=f"of the TCP transfer: {', '.join(iperf.DIRECTIONS)} (default: forward)")
    add("--packet-sizes", type=whole_numbers(udp.SMALLEST, udp.LARGEST), default=(),
        metavar="BYTES[,BYTES...]", help="UDP payloads (default: 64,1400; with --quick: 1400)")
    add("--offloads", type=words_of("on", "off"), default=("on",), metavar="on|off|on,off",
        help="TSO, GSO and GRO of pods and nodes: on is what the kernel gives a new device"
             " (default: on)")
    add("--pod-mtus", type=whole_numbers(576, _LARGEST_MTU, "auto"), default=(0,),
        metavar="BYTES[,BYTES...]", help="MTUs of the pods (default: auto, as the topology says)")
    add("--rates", type=whole_numbers(1, 1_000_000, "topology"), default=(0,),
        metavar="MBIT[,MBIT...]",
        help="rates of all links in Mbit/s (default: topology, as it says)")
    add("--tunnels", type=words_of("kernel", "ebpf"), default=(), metavar="NAME[,NAME]",
        help="tunnel back ends to compare (default: that of --tunnel)")


@dataclass
class Plan:
    """Clusters, pairs and trials of a run."""

    run: Run
    modes: tuple[str, ...]
    clusters: tuple[Cluster, ...]
    net: CalicoNet
    pods: tuple[Endpoint, ...]
    pairs: Mapping[str, Pair]
    ordered_pairs: tuple[Pair, ...]
    limits: dict[tuple[Cluster, str], physics.PathLimit] = field(
        default_factory=dict)
    rates: Mapping[Cluster, Mapping[str, float]] = field(
        default_factory=dict)
    pair_seconds: float = PAIR_S
    all_settings: tuple[dict[str, Value], ...] = ()
    switched: dict[tuple[str, str], Switched] = field(default_factory=dict)

    def net_of(self, cluster: Cluster) -> CalicoNet:
        """The running cluster with these boot-time factors."""
        return _net(self.run, dict(cluster))

    def net_for(self, trial: Trial) -> CalicoNet:
        """The running cluster of a trial."""
        return self.net_of(self._cluster(trial.setting))

    def reaching(self, mode: str, pair: Pair) -> dict[str, Value]:
        """The setting under which it is seen whether a pair reaches."""
        return {"mode": mode, "path": pair.path, "source": pair.source.name,
                "destination": pair.destination.name, "fabric": PLAIN, "tunnel": self.net.tunnel}

    def needs_pod_routes(self, mode: str, pair: Pair) -> bool:
        """Whether the pair's ping had no answer on the fabric as it is."""
        found = self.run.log.find("ping", self.reaching(mode, pair))
        return found is None or found.values["reachable"] != 1

    def settings(self, rates: Mapping[Cluster, Mapping[str, float]]
                 ) -> tuple[dict[str, Value], ...]:
        """Every combination of factors, on the paths that ``rates`` names for a cluster."""
        self.rates = rates
        own = self.run.options.own
        found: list[dict[str, Value]] = []
        for cluster in self.clusters:
            for setting in factorial(mode=self.modes, path=tuple(rates[cluster]),
                                     streams=own.streams, direction=own.directions,
                                     offloads=own.offloads):
                pair = self.pairs[str(setting["path"])]
                apart = self.needs_pod_routes(str(setting["mode"]), pair)
                found.append({
                    **setting, **dict(cluster), "source": pair.source.name,
                    "destination": pair.destination.name,
                    "fabric": POD_ROUTES if apart else PLAIN})
        self.all_settings = tuple(found)
        return self.all_settings

    @property
    def instruments(self) -> tuple[tuple[str, dict[str, Value]], ...]:
        """Name and own factors of every instrument of a trial."""
        sizes: tuple[dict[str, Value], ...] = tuple(
            {"size": size} for size in self.sizes)
        return (("round trips", {}), ("tcp", {}), ("round trips under load", {}),
                *(("udp", size) for size in sizes), ("connections", {}), ("wire", {}))

    def instruments_of(self, trial: Trial) -> tuple[Instrument, ...]:
        """The instruments of a trial, ready to be read one after the other."""
        net, pair = self.net_for(trial), self.pairs[trial.text("path")]
        client, server = net[pair.source.name], net[pair.destination.name]
        assert isinstance(server, Pod)
        duration, short = self.run.options.effort.duration, self._short
        rate = self.rates[self._cluster(trial.setting)][trial.text("path")]
        streams = trial["streams"]
        assert isinstance(streams, int)

        def take(name: str, size: int) -> Measurement:
            if name == "round trips":
                return instruments.round_trips(client, server)
            if name == "tcp":
                return instruments.tcp(
                    client, server, duration=duration, rate=rate, streams=streams,
                    direction=trial.text("direction"), limited=self.limited(trial.setting))
            if name == "round trips under load":
                return instruments.round_trips_under_load(client, server)
            if name == "udp":
                return instruments.datagrams(client, server, size=size, duration=short)
            if name == "connections":
                return instruments.connects(client, server, duration=short)
            return instruments.wire(net, pair)

        return tuple((name, also, partial(take, name, int(str(also.get("size", 0)))))
                     for name, also in self.instruments)

    @contextmanager
    def offloads(self, trial: Trial) -> Iterator[None]:
        """The offloads that the trial asks for; those of the machine are on."""
        if trial["offloads"] == "on":
            yield
            return
        net, pair = self.net_for(trial), self.pairs[trial.text("path")]
        names = {end for one in (pair.source, pair.destination) for end in (one.name, one.node)}
        with offloads(net, sorted(names), False) as switched:
            self.switched.update(((one.node, one.device), one) for one in switched)
            self.run.notes["offloads_changed"] = [asdict(one) for one in self.switched.values()]
            yield

    @property
    def sizes(self) -> tuple[int, ...]:
        """UDP payloads in bytes."""
        options = self.run.options
        wanted: tuple[int, ...] = options.own.packet_sizes
        return wanted or ((1400,) if options.quick else (64, 1400))

    @property
    def _short(self) -> float:
        """Seconds of a reading that needs no long one."""
        return max(_SHORTEST_S, self.run.options.effort.duration * _SHORT)

    def limited(self, setting: Mapping[str, Value]) -> bool:
        """Whether the path crosses links whose rate is limited."""
        return (self._cluster(setting), str(setting["path"])) in self.limits

    def trial_seconds(self, trial: Trial) -> float:
        """How long a trial is expected to take."""
        return self._seconds(self.limited(trial.setting))

    def expected_seconds(self) -> float:
        """How long all is expected to take."""
        own = self.run.options.own
        trials = (len(self.modes) * len(own.streams) * len(own.directions) * len(own.offloads)
                  * self.run.options.effort.repeats)
        return len(self.modes) * len(self.ordered_pairs) * PAIR_S + trials * sum(
            self._seconds((cluster, path) in self.limits)
            for cluster in self.clusters for path in self.pairs)

    def _seconds(self, limited: bool) -> float:
        client = self.net[self.pods[0].name]
        duration = iperf.counted_seconds(client, self.run.options.effort.duration, limited)
        return (duration + (iperf.UNSTEADY_S if limited else 0) + self._short
                + len(self.sizes) * (timed(client, self._short) + _UDP_S) + _TRIAL_S)

    def describe(self, trial: Trial) -> str:
        """A trial in a few words."""
        return f"{trial['mode']}, {trial['path']}"

    def name(self, trial: Trial) -> str:
        """A trial's name for an error: whose it is, and those factors that vary."""
        varying = [f"{factor.replace('_', ' ')} {trial[factor]}" for factor in (
            "streams", "direction", "offloads", "tunnel", "pod_mtu", "rate")
            if len({setting[factor] for setting in self.all_settings}) > 1]
        pair = f"{trial['source']} to {trial['destination']}"
        return ", ".join([self.describe(trial), pair, *varying, f"repeat {trial.repeat}"])

    def _cluster(self, setting: Mapping[str, Value]) -> Cluster:
        return tuple((name, setting[name]) for name in ("tunnel", "pod_mtu", "rate"))


def plan(run: Run) -> Plan:
    """Boot the clusters, choose the pairs, say what will be done."""
    own = run.options.own
    clusters = []
    for factors in factorial(tunnel=own.tunnels or (run.options.tunnel,), pod_mtu=own.pod_mtus,
                             rate=own.rates):
        net = _net(run, factors)
        clusters.append(tuple({**factors, "tunnel": net.tunnel}.items()))
    first = _net(run, dict(clusters[0]))
    pods = paths.endpoints(first)
    found = Plan(run, own.modes, tuple(clusters), first, pods, paths.representative_pairs(pods),
                 paths.ordered_pairs(pods))
    for cluster in clusters:
        for path, limit in physics.path_limits(found.net_of(cluster), found.pairs).items():
            found.limits[cluster, path] = limit
    run.plan = _record(found)
    run.heading(f"IPIP modes compared: {', '.join(own.modes)}", _facts(found),
                found.expected_seconds())
    return found


def _net(run: Run, factors: Mapping[str, Value]) -> CalicoNet:
    tunnel, pod_mtu, rate = factors["tunnel"], factors["pod_mtu"], factors["rate"]
    assert isinstance(pod_mtu, int) and isinstance(rate, int)
    return run.net(tunnel=str(tunnel), pod_mtu=pod_mtu, rate=rate)


def _record(found: Plan) -> dict[str, Any]:
    """What run.json and summary.json say of the plan."""
    options, own = found.run.options, found.run.options.own
    return {
        "modes": list(found.modes), "repeats": options.effort.repeats,
        "duration_s": options.effort.duration, "seed": options.seed, "quick": options.quick,
        "streams": list(own.streams), "directions": list(own.directions),
        "offloads": list(own.offloads), "packet_sizes": list(found.sizes),
        "pods": [[pod.name, pod.ip, pod.node, pod.subnet] for pod in found.pods],
        "clusters": [dict(cluster) for cluster in found.clusters],
        "pairs": {path: [pair.source.name, pair.destination.name]
                  for path, pair in found.pairs.items()},
        "limits": [{**dict(cluster), "path": path, "rate_mbit": limit.rate,
                    "pod_mtu_bytes": limit.pod_mtu, "link_mtu_bytes": limit.link_mtu}
                   for (cluster, path), limit in found.limits.items()],
    }


def _facts(found: Plan) -> list[tuple[str, str]]:
    run, net = found.run, found.net
    effort, own = run.options.effort, run.options.own
    count = (len(found.clusters) * len(found.modes) * len(own.streams) * len(own.directions)
             * len(own.offloads))
    return [
        *facts(run, net),
        ("trials", f"{count} settings x {some(found.pairs, 'path')} x"
         f" {some(range(effort.repeats), 'repeat')}, in random order"
         f" (seed {run.options.seed}); about {found.expected_seconds():.0f} s"),
        *_slow(found),
    ]


def _slow(found: Plan) -> list[tuple[str, str]]:
    if not found.limits:
        return []
    rates = dict.fromkeys(f"{path} {limit.rate:g} Mbit/s"
                          for (_, path), limit in found.limits.items())
    seconds = iperf.limited_seconds(found.run.options.effort.duration)
    return [("slow links", f"{listed(list(rates))}; there {seconds:g} s are counted, after a"
             f" start of {iperf.UNSTEADY_S} s")]
