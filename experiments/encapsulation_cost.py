"""What the outer header costs: CPU time of each packet, tunnelled and not, by size and offloads.

Question  How many microseconds of CPU time does encapsulation add to a packet, does that depend
          on its size, and what do segmentation offloads change?
Method    Two pods on two nodes of one subnet. Always tunnels between them, Never does not: the
          same pods, nodes and links, the mode is changed live, and the encapsulation alone differs.
          1. UDP datagrams of several sizes, as fast as the client can: packets/s, and CPU time
             of the two programs, with the kernel's work in their name, by the packets sent.
          2. TCP in bulk, with offloads as they are and with tso, gso and gro off on both pods and
             both nodes: CPU time by the segments, and segments/s. UDP datagrams of
             iperf3 are never larger than a packet, so no offload cuts or joins them.
          Trials run in seeded random order, in blocks that hold every combination once. Each block
          gives a paired difference, Always less Never, and a line cost = a + b * size through its
          UDP sizes.
Expected  A fixed cost a packet, since the payload is not touched; with offloads it is paid once
          for dozens of TCP segments. See docs/experiments/encapsulation_cost.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment import encapsulation_cost, encapsulation_report
    from calico_mn.experiment.common import facts
    from calico_mn.experiment.script import Effort, Run, interleaved, main
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

FULL = Effort(repeats=6, duration=1)
QUICK = Effort(repeats=3, duration=0.3)


def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    plan = encapsulation_cost.plan(run)
    run.heading("What the outer header costs", facts(run, plan.net) + plan.facts(), plan.seconds())
    plan.warm_up()
    for trial in interleaved(plan.settings, run.options.effort.repeats, run.options.seed):
        instruments = plan.instruments_of(trial)
        if not run.has(trial, [(name, also) for name, also, _ in instruments]):
            with run.attempt(trial), plan.conditions(trial) as seen:
                for name, also, instrument in instruments:
                    run.take(name, trial, instrument, also=also, seen=seen)
        run.step(plan.describe(trial), plan.trial_seconds(trial))


if __name__ == "__main__":
    main(__file__, __doc__, "two-subnets.yaml", FULL, QUICK, measure,
         encapsulation_report.report, encapsulation_cost.add_options)
