"""Calico's modes compared: who reaches whom, what is on the wire, how fast, at what cost.

Question  What do Always, CrossSubnet and Never do to reachability, to packets, and to speed?
Method    One emulated cluster boots once; its mode is changed live. (Or, with --on kubernetes, pods
          are made in a real cluster, and its pool's mode is changed if that is allowed.)
          1. On the fabric as the topology describes it, every pod pings every other in each
             mode, while captures on the nodes' uplinks show which pings crossed inside a tunnel.
          2. One pair of pods stands for each class of path: same node, same subnet, across
             subnets, unless --pairs names others. A trial is one mode on one path, with one
             level of every further factor that was asked for. Trials run in seeded random order,
             in blocks that hold every combination once, after a warm-up that is discarded.
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

experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml", why_emulated="",
                        full=Repetitions(6, duration=1), quick=Repetitions(2, duration=0.25))
MODES = experiment.factor(
    "--modes", options.mode_list, options.MODES, "MODE[,MODE...]",
    f"modes to compare (default: {','.join(options.MODES)})")
BASELINE = experiment.factor("--baseline", options.mode, "", "MODE",
                             "mode that ratios are to (default: Never)")
PAIRS = experiment.factor("--pairs", options.pair_list, (), "POD:POD[,POD:POD...]",
                          "pods to measure between (default: one pair for each path)",
                          emulated=True)
PATHS = experiment.factor(
    "--paths", choice_list("same-node", "same-subnet", "cross-subnet"), (), "PATH[,PATH...]",
    "same-node, same-subnet, cross-subnet (default: all)")
#: as they are asked for -> as they are called in readings, in their order in a trial
NAMES = {"rtt": "round trips", "tcp": "tcp", "loaded-rtt": "round trips under load", "udp": "udp",
         "connections": "connections", "wire": "wire"}
INSTRUMENTS = experiment.factor(
    "--instruments", choice_list(*NAMES), tuple(NAMES), "NAME[,NAME...]",
    f"what a trial reads: {', '.join(NAMES)} (default: all)")
CONGESTION = experiment.factor(
    "--congestion", options.word_list, (), "NAME[,NAME...]",
    "congestion control of the TCP transfer, such as cubic,bbr (default: the kernel's)")
ENCAPSULATIONS = experiment.factor(
    "--encapsulations", choice_list("ipip", "vxlan"), ("ipip",), "NAME[,NAME]",
    "of the pools, each in a cluster of its own: ipip, vxlan (default: ipip)")
VXLAN_CHECKSUM = experiment.factor(
    "--vxlan-checksum", choice_list("on", "off"), ("on",), "on|off|on,off",
    "checksum offload of vxlan.calico; off is what Calico v3.25 sets (default: on)",
    emulated=True)
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
    "TSO, GSO and GRO of pods and nodes: on is what the kernel gives a new device (default: on)",
    emulated=True)
POD_MTUS = experiment.factor(
    "--pod-mtus", int_list(576, 65535, "auto"), (0,), "BYTES[,BYTES...]",
    "MTUs of the pods (default: auto, as the topology says)", emulated=True)
RATES = experiment.factor(
    "--rates", int_list(1, 1_000_000, "topology"), (0,), "MBIT[,MBIT...]",
    "rates of all links in Mbit/s (default: topology, as it says)", emulated=True)
TUNNELS = experiment.factor("--tunnels", choice_list("kernel", "ebpf"), (), "NAME[,NAME]",
                            "tunnel back ends to compare (default: that of --tunnel)",
                            emulated=True)

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from calico_mn.calico.encapsulation import DEFAULT, NONE, VXLAN, Encapsulation, named
from calico_mn.errors import ClusterError
from calico_mn.experiment import variants
from calico_mn.experiment.report import begin, caption, document
from calico_mn.experiment.run import Run
from calico_mn.experiment.variants import Reach, Variant, pair_factors
from calico_mn.measure import environment, iperf, paths, ping, tcp
from calico_mn.measure.offloads import Switched, checksum_offload, pair_offloads
from calico_mn.measure.paths import Endpoint, Pair
from calico_mn.measure.readings import Value
from calico_mn.measure.trials import POD_ROUTES, Instruments, Trial, conditions, factorial, warm_up
from calico_mn.measure.trials import named as named_trial
from calico_mn.report import (
    findings,
    link_limits,
    matrix,
    summary_figures,
    summary_tables,
    terminal,
)
from calico_mn.report.document import Document
from calico_mn.report.summary import NEVER, Summary, summarise
from calico_mn.text import join

# --- method

@dataclass
class Design:
    """Clusters, pairs of pods, who reaches whom, and what a trial reads.

    ``pairs`` are by path class, or by their pods' names where a class has several.
    """

    clusters: tuple[Variant, ...]
    pairs: Mapping[str, Pair]
    reach: Reach
    instruments: Instruments
    settings: tuple[dict[str, Value], ...] = ()
    switched: dict[tuple[str, str], Switched] = field(default_factory=dict)

    def of(self, setting: Mapping[str, Value]) -> tuple[Variant, str]:
        """The cluster and the key of the pair that a setting is of."""
        return variants.of(self.clusters, setting), str(setting.get("pair", setting["path"]))


def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    design = boot(run)
    design.reach.look(run[MODES])
    for cluster in design.clusters:
        cluster.rates = warm_up(
            cluster.net, design.pairs, run[MODES], lambda mode, pair: design.reach.fabric(
                mode, pair) == POD_ROUTES, encapsulation=cluster.encapsulation)
    design.settings = tuple(settings(run, design))
    run.trials(design.settings, lambda trial: read(run, design, trial),
               readings=lambda _: design.instruments.readings, name=lambda trial: named_trial(
                   trial, design.settings, ("streams", "direction", "offloads", "congestion",
                                            "vxlan_checksum", *variants.FACTORS)),
               doing=lambda trial: f"{trial['mode']}, {trial['path']}")


def boot(run: Run) -> Design:
    """Boot the clusters, choose the pairs, say what will be done."""
    if run[BASELINE] and run[BASELINE] not in run[MODES]:
        raise ClusterError(f"--baseline {run[BASELINE]} is none of the modes that are measured:"
                           f" {', '.join(run[MODES])}")
    encapsulations = [named(choice) for choice in run[ENCAPSULATIONS]]
    clusters = variants.boot(run, tunnels=run[TUNNELS] or (run.options.tunnel,),
                             pod_mtus=run[POD_MTUS], rates=run[RATES],
                             encapsulations=encapsulations)
    first = clusters[0]
    pods, pairs = paths.chosen(paths.endpoints(first.net), run[PAIRS], run[PATHS], run.source)
    client = first.net[pods[0].name]
    iperf.check_congestion(client, run[CONGESTION])
    design = Design(clusters, pairs, Reach(run, first.net, pods, first.encapsulation),
                    instruments(run))
    plan: dict[str, Any] = {
        "baseline": run[BASELINE] or NEVER,
        "pods": [[pod.name, pod.ip, pod.node, pod.subnet] for pod in pods],
        "clusters": [cluster.factors for cluster in clusters],
        "pairs": {path: pair.names for path, pair in pairs.items()},
        "limits": [] if run.real else variants.find_limits(clusters, pairs)}
    if encapsulations != [DEFAULT]:  # results of IPIP alone do not name it
        plan["encapsulations"] = [str(encapsulation) for encapsulation in encapsulations]
        plan["pod_mtus"] = {
            str(cluster.encapsulation): environment.mtu(cluster.net[pods[0].name])
            for cluster in clusters} if run[POD_MTUS] == (0,) else {}

    def seconds(trial: Trial) -> float:
        cluster, path = design.of(trial.setting)
        return design.instruments.seconds(client, limited=path in cluster.limits)

    begin(run, first.net, f"{join(list(map(str, encapsulations)))} modes compared:"
          f" {', '.join(run[MODES])}",
          [{**setting, **cluster.factors} for cluster in clusters
           for setting in combinations(run, cluster, pairs)],
          seconds, design.reach.seconds(run[MODES]),
          facts=variants.slow_links(clusters, run.duration), **plan,
          **run.levels(MODES, STREAMS, DIRECTIONS, OFFLOADS, PACKET_SIZES, INSTRUMENTS,
                       CONGESTION))
    return design


def combinations(run: Run, cluster: Variant, pairs: Iterable[str]) -> tuple[dict[str, Value], ...]:
    """Every combination of factors in a cluster."""
    congestion = {"congestion": run[CONGESTION]} if run[CONGESTION] else {}
    # A factor where there is VXLAN and it was asked for.
    checksums = {"vxlan_checksum": run[VXLAN_CHECKSUM]} if (
        run[VXLAN_CHECKSUM] != ("on",) and cluster.encapsulation is VXLAN) else {}
    return factorial(mode=run[MODES], path=tuple(pairs), streams=run[STREAMS],
                     direction=run[DIRECTIONS], offloads=run[OFFLOADS], **congestion, **checksums)


def settings(run: Run, design: Design) -> Iterator[dict[str, Value]]:
    """Every combination of factors, on the paths that a cluster connects."""
    for cluster in design.clusters:
        for setting in combinations(run, cluster, cluster.rates):
            path = str(setting["path"])
            pair = design.pairs[path]
            if fabric := design.reach.fabric(str(setting["mode"]), pair):
                yield {**setting, **cluster.factors, **pair.factors,
                       **pair_factors(path, pair), "fabric": fabric}


def instruments(run: Run) -> Instruments:
    """What a trial reads between its pods."""
    names = tuple(name for asked, name in NAMES.items() if asked in run[INSTRUMENTS])
    return Instruments(names, run.duration, run[PACKET_SIZES]) if not run.real else Instruments(
        names, run.duration, run[PACKET_SIZES], metered=False, besides_s=run.real.trial_s)


def read(run: Run, design: Design, trial: Trial) -> None:
    """One trial: its conditions, then its instruments, one after the other."""
    cluster, path = design.of(trial.setting)
    net, pair, take = cluster.net, design.pairs[path], design.instruments.take
    with pair_offloads(net, pair, off=trial["offloads"] == "off") as switched, conditions(
            net, trial.text("mode"), pair, pod_routes=trial["fabric"] == POD_ROUTES,
            encapsulation=cluster.encapsulation) as observed, checksum_offload(
                net, pair, VXLAN.device, off=trial.setting.get("vxlan_checksum") == "off"):
        if switched:
            design.switched.update(((device.node, device.device), device) for device in switched)
            run.notes["offloads_changed"] = [asdict(device) for device in design.switched.values()]
        for instrument, factors in design.instruments.readings:
            run.measure(
                instrument, trial, lambda: take(
                    instrument, net, pair, {**trial.setting, **factors},  # noqa: B023
                    rate=cluster.rates[path], limited=path in cluster.limits),
                factors=factors, observed={"encapsulated": observed.encapsulated})


# --- report

def report(run: Run) -> Document:
    """What people read; also fills in what summary.json says of noise and physics."""
    samples = run.log.samples
    summary = summarised(run)
    limits = link_limits.by_place(run.plan["limits"], summary, samples)
    run.notes["noise"] = {"steal_share": run.steal_share, "spread": {
        metric: summary.noise(metric) for metric in (tcp.THROUGHPUT, ping.LATENCY)}}
    run.notes["physics"] = link_limits.as_json(summary, limits)
    run.notes["rows"] = summary_tables.as_json(summary)
    about = {"environment": run.environment, "plan": run.plan, "noise": run.notes["noise"]}
    return replace(document(
        run, experiment, title=f"Calico's {join(encapsulations(run))} modes compared",
        findings=(*findings.headline(summary), *findings.explain(
            summary, paths.PATHS if bool(run[PAIRS]) or bool(run[PATHS]) or run.options.real
            else run.plan["pairs"]),
                  *link_limits.explain(summary, limits, run.steal_share)),
        tables=summary_tables.tables(summary, in_words(run)),
        figures=summary_figures.figures(summary, samples, limits, caption(run), in_words(run)),
        caveats=(*findings.offloads(run.notes.get("offloads_changed", ())),
                 *findings.caveats(about)),
        matrices=matrix.matrices(samples, [Endpoint(*pod) for pod in run.plan["pods"]],
                                 run.plan["modes"])),
        data=(summary_tables.tidy(summary),))


def summarised(run: Run) -> Summary:
    return summarise(run.log.samples, run.plan["modes"], run.plan.get("baseline", NEVER))


def show(out: Any, run: Run, document: Document) -> None:
    """The terminal's version: the comparison has a table of its own."""
    terminal.show_document(out, document, lambda: terminal.show_comparison(
        out, summarised(run), in_words(run)))


def encapsulations(run: Run) -> list[str]:
    """The names of those compared."""
    return list(run.plan.get("encapsulations", [DEFAULT.name]))


def in_words(run: Run) -> Encapsulation:
    """What a table calls the encapsulation: its name, or a tunnel if there are several."""
    names = encapsulations(run)
    return named(names[0]) if len(names) == 1 else replace(NONE, name="a tunnel")


if __name__ == "__main__":
    experiment.main(measure, report, show)
