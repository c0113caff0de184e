"""Calico's IPIP modes compared: who reaches whom, what is on the wire, how fast, at what cost.

Question  What do Always, CrossSubnet and Never do to reachability, to packets, and to speed?
Method    One emulated cluster boots once; its mode is changed live.
          1. On the fabric as the topology describes it, every pod pings every other in each
             mode, while captures on the nodes' uplinks tell which pings crossed inside IPIP.
          2. One pair of pods stands for each class of path: same node, same subnet, across
             subnets. A trial is one mode on one path, with one level of every further factor
             that was asked for. Trials run in seeded random order, in blocks that hold every
             combination once, after a warm-up that is discarded.
          3. A trial sets the mode, looks at the wire, then reads its instruments one after the
             other. A pair that the fabric cannot connect (Never across subnets, where routers
             know no pods) is measured with the pods' routes added to the routers for that trial,
             and labelled so.
          4. Where the links' rate is limited, header sizes tell the throughput. It is computed,
             and the report compares.
Expected  Always tunnels between all nodes, CrossSubnet between subnets only, Never nowhere.
          On one node the mode changes nothing. See docs/results.md for the files.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment import modes, modes_report
    from calico_mn.experiment.script import Effort, Measurement, Run, Trial, interleaved, main
    from calico_mn.measure import reachability
    from calico_mn.measure.trials import conditions, warm_up
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

FULL = Effort(repeats=6, duration=1)
QUICK = Effort(repeats=2, duration=0.25)


def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    plan = modes.plan(run)
    for mode in plan.modes:
        pairs = [pair for pair in plan.ordered_pairs
                 if not run.log.find("ping", plan.reaching(mode, pair))]
        plan.net.set_ipip_mode(mode)
        for found in reachability.matrix(plan.net, pairs) if pairs else ():
            run.log.add("ping", plan.reaching(mode, found.pair),
                        Measurement({"reachable": int(found.reached)},
                              seen={"encapsulated": found.encapsulated}))
            run.step(f"{mode}: who reaches whom", plan.pair_seconds)

    rates = {cluster: warm_up(plan.net_of(cluster), plan.pairs, plan.modes, plan.needs_pod_routes)
             for cluster in plan.clusters}
    for trial in interleaved(plan.settings(rates), run.options.effort.repeats, run.options.seed):
        if not run.has(trial, plan.instruments):
            with run.attempt(plan.name(trial)):
                read(run, plan, trial)
        run.step(plan.describe(trial), plan.trial_seconds(trial))


def read(run: Run, plan: modes.Plan, trial: Trial) -> None:
    """One trial: its conditions, then its instruments."""
    net, pair = plan.net_for(trial), plan.pairs[trial.text("path")]
    with plan.offloads(trial), conditions(
            net, trial.text("mode"), pair, pod_routes=trial["fabric"] == "pod-routes") as seen:
        for name, also, instrument in plan.instruments_of(trial):
            run.take(name, trial, instrument, also=also, seen={"encapsulated": seen.encapsulated})


if __name__ == "__main__":
    main(__file__, __doc__, "two-subnets.yaml", FULL, QUICK, measure,
         modes_report.report, modes.add_options, modes_report.show)
