"""How an emulated cluster grows: boot, stop, memory, routes and convergence by nodes and pods.

Question  What does a cluster cost to boot, to stop and in memory, how many routes does it have,
          and how long do all nodes take to learn of a change, as nodes and pods become more?
Method    For every number of nodes with every number of pods on each, a cluster of its own is
          made from the topology's subnets and pools, in mode Always. Its life, one reading:
          1. The machine comes to rest: the kernel takes stopped clusters apart in the background,
             and a boot meanwhile is up to twice as slow.
          2. It boots, from topology object to Mininet nodes; the machine's memory is compared.
          3. All nodes' routing tables are read from the kernel and counted.
          4. All nodes change to Never and back to Always; one more node joins. Timed until the
             kernel has acknowledged the last route; then every table is read and checked.
          5. A pod on the first node pings one on the last. The cluster is stopped.
          Sizes come in seeded random order, in blocks that hold each once. Straight lines and
          planes are fitted to all samples by least squares.
Expected  Boot and memory linear in pods, with something for each node. Remote routes: nodes times
          (nodes - 1), times blocks a node; so what touches them all grows with the square.
          See docs/experiments/scale.md.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment import scale, scale_report
    from calico_mn.experiment.script import Effort, Measurement, Run, Trial, interleaved, main
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

FULL = Effort(repeats=3, duration=1)
QUICK = Effort(repeats=1, duration=1)


def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    plan = scale.plan(run)
    for trial in interleaved(plan.sizes, run.options.effort.repeats, run.options.seed):
        with run.attempt(trial):
            run.take(scale.INSTRUMENT, trial, partial(life, run, plan, trial))
        run.step(f"{trial['nodes']} nodes with {trial['pods']} pods", plan.seconds(trial))


def life(run: Run, plan: scale.Plan, trial: Trial) -> Measurement:
    """One cluster from boot to stop."""
    topology, at_rest = plan.topology(trial), plan.rest()
    footprint, start = scale.Footprint(), time.perf_counter()
    with run.passing(topology) as net:
        values = {"boot": scale.since(start), **footprint.since()}
        values |= scale.count_routes(net)
        values |= scale.change_mode(net)
        values |= scale.add_node(net)
        scale.expect_answer(net)
        stopping = time.perf_counter()
    return Measurement({**values, "stop": scale.since(stopping)}, seen={"at_rest": at_rest})


if __name__ == "__main__":
    main(__file__, __doc__, "scale.yaml", FULL, QUICK, measure,
         scale_report.report, scale.add_options)
