"""A fabric that drops IP protocol 4: pods of which mode die, and does anything else notice?

Question  IPIP is IP protocol 4, which firewalls and clouds often drop. Who still reaches whom in
          Always, CrossSubnet and Never? And what do the nodes and the route exchange see of it?
Method    One cluster; its routers know the pods' blocks, so that Never has a way across subnets
          too and nothing but the drop makes a difference. In each mode four phases follow each
          other: before; every switch and router drops protocol 4 (nftables); only the routers
          do; after. In each phase every pod pings every other, captures on the nodes' uplinks
          tell which pings left inside IPIP, and the filters' counters tell where they died. Then
          every node pings every other and connects by TCP to its port 179, that of BGP; and each
          node's sessions and its routes in the kernel are counted.
Expected  Always loses all pods of other nodes, CrossSubnet those of other subnets, Never nobody.
          With routers alone that drop it, Always too loses other subnets only. The nodes' pings,
          TCP, sessions and routes stay as they were: TCP is IP protocol 6. Packets die in the
          first device that drops them. See docs/experiments/blocked_protocol_4.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment import blocked, blocked_report
    from calico_mn.experiment.script import Effort, Run, Trial, main
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

FULL = Effort(repeats=3, duration=0.2)
QUICK = Effort(repeats=1, duration=0.05)


def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    plan = blocked.plan(run)
    plan.net.set_pod_routes(True)
    for repeat in range(1, run.options.effort.repeats + 1):
        for mode in plan.modes:
            plan.net.set_ipip_mode(mode)
            for phase in blocked.PHASES:
                trial = Trial({"mode": mode, "phase": phase}, repeat)
                if not run.has(trial, plan.instruments()):
                    with plan.filtered(phase), run.attempt(trial):
                        for name, also, taken in blocked.look(plan):
                            run.keep(name, trial, taken, also=also)
                run.step(f"{mode}: {phase}", plan.phase_seconds(phase))


if __name__ == "__main__":
    main(__file__, __doc__, "two-subnets.yaml", FULL, QUICK, measure,
         blocked_report.report, blocked.add_options)
