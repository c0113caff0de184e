"""Calico's IPIP modes compared: who reaches whom, what is on the wire, how fast, how far.

Question  What do Always, CrossSubnet and Never do to reachability, to packets, and to speed?
Method    One emulated cluster boots once; its mode is changed live.
          1. On the fabric as the topology describes it, every pod pings every other in each
             mode, while captures on the nodes' uplinks tell which pings crossed inside IPIP.
          2. One pair of pods stands for each class of path: same node, same subnet, across
             subnets. Each (mode, path, repeat) is a trial; trials run in seeded random order,
             in blocks that hold every mode and path once, after a warm-up that is discarded.
          3. A trial sets the mode, looks at the wire, then takes round-trip times (ping) and
             TCP throughput (iperf3). A pair that the fabric cannot connect (Never across
             subnets, where routers know no pods) is measured with the pods' routes added to
             the routers for that trial, and labelled so.
          4. Where the topology limits the links' rate, header sizes tell the throughput. It is
             computed, and the report compares.
Expected  Always tunnels between all nodes, CrossSubnet between subnets only, Never nowhere.
          On one node the mode changes nothing. See docs/results.md for the files.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn import CalicoNet, load_topology
    from calico_mn.errors import ToolError
    from calico_mn.experiment import conclusion, opening
    from calico_mn.experiment.command import exit_status
    from calico_mn.experiment.interruption import Interruption
    from calico_mn.experiment.options import Options, parse
    from calico_mn.experiment.output import output_directory
    from calico_mn.measure import environment, iperf, ping, reachability
    from calico_mn.measure.conditions import conditions
    from calico_mn.measure.noise import StealTime
    from calico_mn.measure.paths import Endpoint, Pair, endpoints, representative_pairs
    from calico_mn.measure.physics import PathLimit, path_limits
    from calico_mn.measure.samples import SampleLog
    from calico_mn.measure.trials import interleaved
    from calico_mn.measure.warmup import warm_up
    from calico_mn.report.terminal import ProgressBar, console, progress
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

NAME = "ipip-modes"
TOPOLOGY = Path(__file__).resolve().parent.parent / "topologies" / "two-subnets.yaml"


def measure(net: CalicoNet, options: Options, pods: tuple[Endpoint, ...],
            pairs: dict[str, Pair], limits: dict[str, PathLimit], log: SampleLog,
            bar: ProgressBar) -> None:
    """The method; samples go to ``log`` as they are taken."""
    connected: set[tuple[str, Pair]] = set()
    for mode in options.modes:
        net.set_ipip_mode(mode)
        for found in reachability.matrix(net, pods):
            log.add(found.pair, mode, "reachable", int(found.reached),
                    encapsulated=found.encapsulated)
            if found.reached:
                connected.add((mode, found.pair))
            bar.step(f"{mode}: who reaches whom", opening.PAIR_S)

    def needs_pod_routes(mode: str, pair: Pair) -> bool:
        return (mode, pair) not in connected

    rates = warm_up(net, pairs, options.modes, needs_pod_routes)
    for trial in interleaved(options.modes, tuple(rates), options.effort.repeats, options.seed):
        pair = pairs[trial.path]
        client, server = net[pair.source.name], net[pair.destination.name]
        pod_routes = needs_pod_routes(trial.mode, pair)
        try:
            with conditions(net, trial.mode, pair, pod_routes=pod_routes) as seen:
                rtt = ping.median_rtt(client, server.ip)
                log.add(pair, trial.mode, "latency", rtt, repeat=trial.repeat,
                        encapsulated=seen.encapsulated, fabric=seen.fabric)
                transfer = iperf.transfer(client, server, duration=options.effort.duration,
                                          rate=rates[trial.path],
                                          limited=trial.path in limits)
                log.add(pair, trial.mode, "throughput", transfer.mbit_per_s, repeat=trial.repeat,
                        encapsulated=seen.encapsulated, fabric=seen.fabric)
        except ToolError as error:
            log.failures.append(f"{trial.mode}, {trial.path}, repeat {trial.repeat}: {error}")
        bar.step(f"{trial.mode}, {trial.path}",
                 opening.trial_seconds(options.effort, trial.path in limits))


def main() -> int:
    """Boot, measure, clean up, report; the exit status."""
    options = parse(__doc__.partition("\n")[0], TOPOLOGY)
    topology = load_topology(options.topology)
    requirements.require_root_and_programs()
    out = console()
    with Interruption() as interruption:
        with CalicoNet(topology, tunnel=options.tunnel) as net:
            pods = endpoints(net)
            pairs = representative_pairs(pods)
            limits = path_limits(net, pairs)
            directory = output_directory(options.output, NAME, datetime.now())
            run = conclusion.run_record(options, pairs, environment.collect(net), limits)
            opening.show(out, net, options, pairs, run["environment"], limits)
            with (SampleLog(directory / "results.jsonl", net.tunnel) as log,
                  progress(out, opening.expected_seconds(options, pods, pairs, limits)) as bar):
                steal = StealTime()
                interruption.may_stop(measure, net, options, pods, pairs, limits, log, bar)
                stolen = steal.share()
            net.save_logs(directory / "logs")
        conclusion.conclude(out, directory, log, pods, run, limits, stolen, interruption.reason)
    return interruption.status


if __name__ == "__main__":
    sys.exit(exit_status(main))
