"""Calico's modes compared: who reaches whom, what is on the wire, how fast, at what cost.

Question  What do Always, CrossSubnet and Never do to reachability, to packets, and to speed?
Method    One emulated cluster boots once; its mode is changed live.
          1. On the fabric as the topology describes it, every pod pings every other in each
             mode, while captures on the nodes' uplinks show which pings crossed inside a tunnel.
          2. One pair of pods stands for each class of path: same node, same subnet, across
             subnets. A trial is one mode on one path, with one level of every further factor
             that was asked for. Trials run in seeded random order, in blocks that hold every
             combination once, after a warm-up that is discarded.
          3. A trial sets the mode, looks at the wire, then reads its instruments one after the
             other. A pair that the fabric cannot connect (Never across subnets, where routers
             know no pods) is measured with the pods' routes added to the routers for that trial,
             and labelled so.
          4. Where the links' rate is limited, header sizes set the throughput. It is computed,
             and the report compares.
Expected  Always tunnels between all nodes, CrossSubnet between subnets only, Never not at all.
          On one node the mode changes nothing. See docs/results.md for the files.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment import options
    from calico_mn.experiment.frame import Experiment, Repetitions
    from calico_mn.experiment.options import choice_list, int_list
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml",
                        full=Repetitions(6, duration=1), quick=Repetitions(2, duration=0.25))
MODES = experiment.factor(
    "--modes", options.mode_list, options.MODES, "MODE[,MODE...]",
    f"modes to compare (default: {','.join(options.MODES)})")
ENCAPSULATIONS = experiment.factor(
    "--encapsulations", choice_list("ipip", "vxlan"), ("ipip",), "NAME[,NAME]",
    "of the pools, each in a cluster of its own: ipip, vxlan (default: ipip)")
VXLAN_CHECKSUM = experiment.factor(
    "--vxlan-checksum", choice_list("on", "off"), ("on",), "on|off|on,off",
    "checksum offload of vxlan.calico; off is what Calico v3.25 sets (default: on)")
STREAMS = experiment.factor("--streams", int_list(1, 128), (1,), "N[,N...]",
                            "TCP streams at once (default: 1)")
DIRECTIONS = experiment.factor(
    "--directions", choice_list("forward", "reverse", "both"), ("forward",), "NAME[,NAME...]",
    "of the TCP transfer: forward, reverse, both (default: forward)")
PACKET_SIZES = experiment.factor(
    "--packet-sizes", int_list(16, 65507), (64, 1400), "BYTES[,BYTES...]",
    "UDP payloads (default: 64,1400; with --quick: 1400)", quick=(1400,))
OFFLOADS = experiment.factor(
    "--offloads", choice_list("on", "off"), ("on",), "on|off|on,off",
    "TSO, GSO and GRO of pods and nodes: on is what the kernel gives a new device (default: on)")
POD_MTUS = experiment.factor(
    "--pod-mtus", int_list(576, 65535, "auto"), (0,), "BYTES[,BYTES...]",
    "MTUs of the pods (default: auto, as the topology says)")
RATES = experiment.factor(
    "--rates", int_list(1, 1_000_000, "topology"), (0,), "MBIT[,MBIT...]",
    "rates of all links in Mbit/s (default: topology, as it says)")
TUNNELS = experiment.factor("--tunnels", choice_list("kernel", "ebpf"), (), "NAME[,NAME]",
                            "tunnel back ends to compare (default: that of --tunnel)")

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from calico_mn.calico.encapsulation import DEFAULT, NONE, VXLAN, Encapsulation, named
from calico_mn.emulation.net import CalicoNet
from calico_mn.emulation.node import Pod
from calico_mn.experiment.report import document, heading, trials_line
from calico_mn.experiment.run import Named, Run
from calico_mn.kernel.tunnel import describe_backend
from calico_mn.measure import iperf, paths, physics, ping, reachability, tcp, udp
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.offloads import Switched, checksum_offload, pair_offloads
from calico_mn.measure.paths import Endpoint, Pair
from calico_mn.measure.trials import PLAIN, POD_ROUTES, Trial, conditions, factorial, warm_up
from calico_mn.report import (
    findings,
    link_limits,
    matrix,
    summary_figures,
    summary_tables,
    terminal,
)
from calico_mn.report.document import Document
from calico_mn.report.summary import summarise
from calico_mn.text import join, plural

#: seconds that one pair's ping takes, and a trial besides its transfers
_PAIR_S, _TRIAL_S, _UDP_S = 0.008, 1.0, 0.2
#: readings other than the TCP transfer take this part of its time, but no less than
_SHORT, _SHORTEST_S = 0.3, 0.1

#: boot-time factors of a cluster; the last only where another encapsulation than IPIP is asked for
CLUSTER_FACTORS = ("tunnel", "pod_mtu", "rate", "encapsulation")
#: their levels
ClusterKey = tuple[Value, ...]


# --- method

@dataclass
class Design:
    """Clusters, pairs of pods, and what was found out about them before the trials."""

    nets: dict[ClusterKey, CalicoNet]
    pods: tuple[Endpoint, ...]
    pairs: Mapping[str, Pair]
    limits: dict[tuple[ClusterKey, str], physics.PathLimit]
    rates: dict[ClusterKey, Mapping[str, float]] = field(default_factory=dict)
    settings: tuple[dict[str, Value], ...] = ()
    switched: dict[tuple[str, str], Switched] = field(default_factory=dict)

    @property
    def net(self) -> CalicoNet:
        """The first cluster."""
        return next(iter(self.nets.values()))


def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    design = boot(run)
    see_who_reaches_whom(run, design)
    design.rates = {
        key: warm_up(net, design.pairs, run[MODES], lambda mode, pair: needs_pod_routes(
            run, design, mode, pair), encapsulation=encapsulation_of(key))
        for key, net in design.nets.items()}
    design.settings = tuple(settings(run, design))
    run.trials(design.settings, lambda trial: read(run, design, trial),
               readings=lambda _: instruments(run), name=lambda trial: name(design, trial),
               seconds=lambda trial: trial_seconds(run, design, (key_of(trial.setting),
                                                                 trial.text("path"))),
               doing=lambda trial: f"{trial['mode']}, {trial['path']}")


def boot(run: Run) -> Design:
    """Boot the clusters, choose the pairs, say what will be done."""
    nets: dict[ClusterKey, CalicoNet] = {}
    is_factor = run[ENCAPSULATIONS] != ("ipip",)  # results of IPIP alone do not name it
    for tunnel, pod_mtu, rate, encapsulation in itertools.product(
            run[TUNNELS] or (run.options.tunnel,), run[POD_MTUS], run[RATES],
            map(named, run[ENCAPSULATIONS])):
        net = run.net(tunnel=tunnel, pod_mtu=pod_mtu, rate=rate, encapsulation=encapsulation)
        key: ClusterKey = (net.tunnel, pod_mtu, rate, encapsulation.name)
        nets[key if is_factor else key[:-1]] = net
    pods = paths.endpoints(next(iter(nets.values())))
    pairs = paths.representative_pairs(pods)
    design = Design(nets, pods, pairs, {
        (key, path): limit for key, net in nets.items()
        for path, limit in physics.path_limits(net, pairs, encapsulation_of(key)).items()})
    run.plan = {
        "modes": list(run[MODES]), "repeats": run.repeats, "duration_s": run.duration,
        "seed": run.options.seed, "quick": run.options.quick, "streams": list(run[STREAMS]),
        "directions": list(run[DIRECTIONS]), "offloads": list(run[OFFLOADS]),
        "packet_sizes": list(run[PACKET_SIZES]),
        "pods": [[pod.name, pod.ip, pod.node, pod.subnet] for pod in pods],
        "clusters": [cluster_factors(key) for key in nets],
        "pairs": {path: [pair.source.name, pair.destination.name]
                  for path, pair in pairs.items()},
        "limits": [{**cluster_factors(key), "path": path, "rate_mbit": limit.rate,
                    "pod_mtu_bytes": limit.pod_mtu, "link_mtu_bytes": limit.link_mtu}
                   for (key, path), limit in design.limits.items()]}
    if is_factor:
        run.plan["encapsulations"] = [str(named(choice)) for choice in run[ENCAPSULATIONS]]
        run.plan["pod_mtus"] = {str(encapsulation_of(key)): net.cluster.endpoints[pods[0].name].mtu
                                for key, net in nets.items()} if run[POD_MTUS] == (0,) else {}
    each = len(run[MODES]) * len(run[STREAMS]) * len(run[DIRECTIONS]) * len(run[OFFLOADS])
    levels = {key: math.prod(map(len, checksums(run, key).values())) for key in nets}
    seconds = len(run[MODES]) * len(paths.ordered_pairs(pods)) * _PAIR_S + each * run.repeats * sum(
        levels[key] * trial_seconds(run, design, (key, path)) for key in nets for path in pairs)
    slow = dict.fromkeys(f"{path} {limit.rate:g} Mbit/s"
                         for (_, path), limit in design.limits.items())
    run.heading(f"{join([str(named(e)) for e in run[ENCAPSULATIONS]])} modes compared:"
                f" {', '.join(run[MODES])}", [
        *heading(run, design.net),
        trials_line(run, f"{sum(levels.values()) * each} settings x"
                    f" {plural(len(pairs), 'path')}", seconds),
        *([("slow links", f"{join(list(slow))}; there {iperf.limited_seconds(run.duration):g} s"
            f" are counted, after a start of {iperf.UNSTEADY_S} s")] if slow else [])], seconds)
    return design


def see_who_reaches_whom(run: Run, design: Design) -> None:
    """Every pod pings every other in each mode, on the fabric as it is."""
    for mode in run[MODES]:
        pairs = [pair for pair in paths.ordered_pairs(design.pods)
                 if not run.log.find("ping", reaching(design, mode, pair))]
        design.net.set_mode(mode, encapsulation=encapsulation_of(next(iter(design.nets))))
        for reached in reachability.matrix(design.net, pairs) if pairs else ():
            run.log.add("ping", reaching(design, mode, reached.pair), reached.measurement)
            run.step(f"{mode}: who reaches whom", _PAIR_S)


def reaching(design: Design, mode: str, pair: Pair) -> dict[str, Value]:
    """The setting under which it is seen whether a pair reaches."""
    return {"mode": mode, **pair.factors, "fabric": PLAIN, "tunnel": design.net.tunnel}


def needs_pod_routes(run: Run, design: Design, mode: str, pair: Pair) -> bool:
    """Whether the pair's ping had no answer on the fabric as it is."""
    reading = run.log.find("ping", reaching(design, mode, pair))
    return reading is None or reading.values[reachability.REACHABLE] != 1


def settings(run: Run, design: Design) -> Iterator[dict[str, Value]]:
    """Every combination of factors, on the paths that a cluster connects."""
    for key, rates in design.rates.items():
        for setting in factorial(mode=run[MODES], path=tuple(rates), streams=run[STREAMS],
                                 direction=run[DIRECTIONS], offloads=run[OFFLOADS],
                                 **checksums(run, key)):
            pair = design.pairs[str(setting["path"])]
            apart = needs_pod_routes(run, design, str(setting["mode"]), pair)
            yield {**setting, **cluster_factors(key), **pair.factors,
                   "fabric": POD_ROUTES if apart else PLAIN}


def instruments(run: Run) -> tuple[Named, ...]:
    """All that a trial reads, in order."""
    return (("round trips", {}), ("tcp", {}), ("round trips under load", {}),
            *(("udp", {"size": size}) for size in run[PACKET_SIZES]),
            ("connections", {}), ("wire", {}))


def read(run: Run, design: Design, trial: Trial) -> None:
    """One trial: its conditions, then its instruments, one after the other."""
    key, pair = key_of(trial.setting), design.pairs[trial.text("path")]
    net = design.nets[key]
    client, server = net[pair.source.name], net[pair.destination.name]
    assert isinstance(server, Pod)

    def take(instrument: str, size: int) -> Measurement:
        match instrument:
            case "round trips":
                return ping.latency(client, server)
            case "tcp":
                return tcp.bulk(
                    client, server, duration=run.duration, streams=int(trial.text("streams")),
                    direction=trial.text("direction"), rate=design.rates[key][pair.path],
                    limited=(key, pair.path) in design.limits)
            case "round trips under load":
                return ping.latency_under_load(client, server)
            case "udp":
                return udp.rates(client, server, size=size, duration=short(run))
            case "connections":
                return tcp.connection_rate(client, server, duration=short(run))
        return tcp.segments(net, pair)

    with pair_offloads(net, pair, off=trial["offloads"] == "off") as switched, conditions(
            net, trial.text("mode"), pair, pod_routes=trial["fabric"] == POD_ROUTES,
            encapsulation=encapsulation_of(key)) as observed, checksum_offload(
                net, pair, VXLAN.device, off=trial.setting.get("vxlan_checksum") == "off"):
        if switched:
            design.switched.update(((device.node, device.device), device) for device in switched)
            run.notes["offloads_changed"] = [asdict(device) for device in design.switched.values()]
        for instrument, factors in instruments(run):
            run.measure(
                instrument, trial, lambda: take(instrument, int(str(factors.get("size", 0)))),  # noqa: B023
                factors=factors, observed={"encapsulated": observed.encapsulated})


def trial_seconds(run: Run, design: Design, place: tuple[ClusterKey, str]) -> float:
    """How long a trial is expected to take."""
    client, limited = design.net[design.pods[0].name], place in design.limits
    counted = (iperf.limited_seconds(run.duration) + iperf.UNSTEADY_S if limited
               else iperf.timed(client, run.duration))
    return (counted + short(run) + _TRIAL_S
            + len(run[PACKET_SIZES]) * (iperf.timed(client, short(run)) + _UDP_S))


def short(run: Run) -> float:
    """Seconds of a reading that needs no long one."""
    return max(_SHORTEST_S, run.duration * _SHORT)


def name(design: Design, trial: Trial) -> str:
    """A trial's name for an error: the pair, and those factors that vary."""
    varying = [f"{factor.replace('_', ' ')} {trial.setting.get(factor)}" for factor in (
        "streams", "direction", "offloads", "vxlan_checksum", *CLUSTER_FACTORS)
        if len({setting.get(factor) for setting in design.settings}) > 1]
    return ", ".join([f"{trial['mode']}, {trial['path']}, {trial['source']} to"
                      f" {trial['destination']}", *varying, f"repeat {trial.repeat}"])


def key_of(setting: Mapping[str, Value]) -> ClusterKey:
    """Which cluster a setting is of."""
    return tuple(setting[factor] for factor in CLUSTER_FACTORS if factor in setting)


def cluster_factors(key: ClusterKey) -> dict[str, Value]:
    """The same as factors of a setting."""
    return dict(zip(CLUSTER_FACTORS, key))  # noqa: B905


def encapsulation_of(key: ClusterKey) -> Encapsulation:
    """The encapsulation of a cluster's pools."""
    return named(str(cluster_factors(key).get("encapsulation", DEFAULT)))


def checksums(run: Run, key: ClusterKey) -> dict[str, tuple[str, ...]]:
    """The factor of VXLAN's checksum offload, where there is VXLAN and it was asked for."""
    asked_for = run[VXLAN_CHECKSUM] != ("on",) and encapsulation_of(key) is VXLAN
    return {"vxlan_checksum": run[VXLAN_CHECKSUM]} if asked_for else {}


# --- report

def report(run: Run) -> Document:
    """What people read; also fills in what summary.json says of noise and physics."""
    samples = run.log.samples
    summary = summarise(samples, run.plan["modes"])
    limits = link_limits.by_place(run.plan["limits"], summary, samples)
    run.notes["noise"] = {"steal_share": run.steal_share, "spread": {
        metric: summary.noise(metric) for metric in (tcp.THROUGHPUT, ping.LATENCY)}}
    run.notes["physics"] = link_limits.as_json(summary, limits)
    run.notes["rows"] = summary_tables.as_json(summary)
    about = {"environment": run.environment, "plan": run.plan, "noise": run.notes["noise"]}
    return replace(document(
        run, experiment, title=f"Calico's {join(encapsulations(run))} modes compared",
        findings=(*findings.headline(summary), *findings.explain(summary, run.plan["pairs"]),
                  *link_limits.explain(summary, limits, run.steal_share)),
        tables=summary_tables.tables(summary, in_words(run)),
        figures=summary_figures.figures(summary, samples, limits, note(run), in_words(run)),
        caveats=(*findings.offloads(run.notes.get("offloads_changed", ())),
                 *findings.caveats(about)),
        matrices=matrix.matrices(samples, [Endpoint(*pod) for pod in run.plan["pods"]],
                                 run.plan["modes"])),
        data=(summary_tables.tidy(summary),))


def show(out: Any, run: Run, document: Document) -> None:
    """The terminal's version: the comparison has a table of its own."""
    if document.matrices:
        terminal.show_matrices(out, document.matrices)
    terminal.show_comparison(out, summarise(run.log.samples, run.plan["modes"]), in_words(run))
    out.print()
    for table in document.tables[1:]:
        terminal.show_table(out, table)
    terminal.show_sentences(out, [*document.findings, *document.caveats])


def encapsulations(run: Run) -> list[str]:
    """The names of those compared."""
    return list(run.plan.get("encapsulations", [DEFAULT.name]))


def in_words(run: Run) -> Encapsulation:
    """What a table calls the encapsulation: its name, or a tunnel if there are several."""
    names = encapsulations(run)
    return named(names[0]) if len(names) == 1 else replace(NONE, name="a tunnel")


def note(run: Run) -> str:
    """Below each picture: what was measured where."""
    cluster, machine = run.environment["cluster"], run.environment["machine"]
    return (f"{DEFAULT.device}: {describe_backend(cluster['tunnel'])}  \u00b7  Linux"
            f" {machine['kernel']}, {machine['cpus']} CPUs  \u00b7  {Path(run.source).name}"
            f"  \u00b7  {str(run.environment['date'])[:10]}")


if __name__ == "__main__":
    experiment.main(measure, report, show)
