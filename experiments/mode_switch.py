"""Packets lost by a live change of the IPIP mode, by all nodes or by one alone.

Question  What does a change of ipipMode cost running traffic at that moment? And what stays
          broken when one node follows and the others do not?
Method    Clusters that differ in the nodes' reverse path filter (rp_filter 0 off, 1 strict,
          2 loose) run side by side. In a trial all nodes are in one mode, and numbered packets
          flow at a steady rate between two pods of one subnet and two of different subnets, in
          both directions. Then the mode changes: on every node, or on one. The streams go on.
          Numbers tell which packets were lost, reordered or duplicated, and the sender's clock
          (CLOCK_MONOTONIC, common to all namespaces) when. The nodes' own counters tell how many
          packets their reverse path filters dropped meanwhile. Trials run in seeded random
          order, in blocks that hold every combination once.
          Where Never is the mode before or after, the routers know the pods' blocks: without
          that, Never has no way across them, and there would be nothing to lose.
Expected  All nodes: next to nothing, since one route replaces the other in one step, but nodes
          change one after the other, and for that moment a filter can bite. One node: nothing
          without a filter. Strict: pods lose each other in both directions wherever one node
          tunnels and the other does not. Loose: only what is tunnelled to a node in Never, whose
          tunl0 has no address any more. See docs/experiments/mode_switch.md for why.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment import switch, switch_report
    from calico_mn.experiment.script import Effort, Run, interleaved, main
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

FULL = Effort(repeats=5, duration=0.5)
QUICK = Effort(repeats=1, duration=0.1)


def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    plan = switch.plan(run)
    for trial in interleaved(plan.settings(), run.options.effort.repeats, run.options.seed):
        if not run.has(trial, plan.instruments(trial)):
            with run.attempt(trial):
                for name, also, taken in switch.watch(plan, trial):
                    run.keep(name, trial, taken, also=also)
        run.step(f"{trial['before']} to {trial['after']}", plan.seconds())


if __name__ == "__main__":
    main(__file__, __doc__, "two-subnets.yaml", FULL, QUICK, measure,
         switch_report.report, switch.add_options)
