"""IPIP over two equal cables: do the flows between two pods spread, and by what do routers choose?

Question  A tunnel hides its flows' ports. Which hash policies of a router spread them over equal
          paths all the same, and which put all that one node sends to another on one path?
Method    Two racks are joined by two equal cables. 200 flows, each from a port of its own, go from
          a pod in one rack to a pod in the other; the router in between has a route with two next
          hops, and the kernel counts what it sends into each cable. A flow is a datagram, or a TCP
          connection of about five packets. Factors:
          mode      Always (inside IPIP), Never (as they are, the routers know the pods' blocks)
          policy    net.ipv4.fib_multipath_hash_policy of the routers: 0 outer addresses, 1 outer
                    addresses and ports, 2 inner addresses, 3 chosen fields (outer, or inner)
          hashes    kept: as between namespaces, where a packet brings the hash of the socket
                    that sent it. forgotten: routers erase that hash from what they receive, since
                    no cable carries it
          protocol  UDP, TCP
          Trials run in seeded random order, in blocks that hold every combination once. The share
          of the fuller cable is judged by the binomial distribution of fair coins.
Expected  Never: only policy 1 looks at ports, and spreads. Always: policy 1 has no ports to look
          at; it spreads only while the sockets' hashes are kept, which is an artefact of emulation.
          Policy 3 with inner fields spreads in earnest. See docs/experiments/flow_entropy.md.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment import entropy, entropy_report
    from calico_mn.experiment.script import Effort, Run, interleaved, main
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

FULL = Effort(repeats=5, duration=1)
QUICK = Effort(repeats=1, duration=1)


def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    plan = entropy.plan(run)
    for trial in interleaved(plan.settings, run.options.effort.repeats, run.options.seed):
        with run.attempt(trial):
            run.take(entropy.INSTRUMENT, trial, partial(plan.send, trial))
        run.step(plan.describe(trial), plan.trial_seconds)


if __name__ == "__main__":
    main(__file__, __doc__, "two-paths.yaml", FULL, QUICK, measure,
         entropy_report.report, entropy.add_options)
