"""MTUs that do not fit: which packets get through, which are cut, and which make a pod hang.

Question  What happens to packets of each kind when the pods' MTU, tunl0's and the links' do not
          fit together, and ICMP "fragmentation needed" arrives or is filtered?
Method    For each combination of pod MTU, tunl0 MTU and link MTU a cluster of its own boots, in
          mode Always. Two pods on different nodes of one subnet are probed, once with ICMP as it
          is, once with "fragmentation needed" (type 3, code 4) lost on both nodes:
          small and full-sized pings with DF, as UDP sends by default, and without DF; a few bytes
          by TCP, and 256 kB with DF and without. The pods' segmentation offloads are off, so that
          a TCP segment is a packet; the last probe has them on.
          Before each probe, what was learned of paths is forgotten. A probe hangs when --duration
          seconds pass without progress.
          The outcome is what was seen: what arrived, the route exception in the source pod, ICMP
          that reached it, fragments and the largest packet on its node's uplink.
Expected  All works where pod MTU <= tunl0 MTU <= link MTU - 20. A pod MTU above tunl0's is learned
          by ICMP; filtered, large packets with DF hang while small ones pass. A tunl0 MTU above
          link MTU - 20 promises what the link cannot carry. See docs/experiments/mtu.md.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment import mtu, mtu_report
    from calico_mn.experiment.common import facts
    from calico_mn.experiment.run import changed
    from calico_mn.experiment.script import Effort, Run, Trial, interleaved, main
    from calico_mn.measure import path_mtu
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

FULL = Effort(repeats=1, duration=1)
QUICK = Effort(repeats=1, duration=0.4)


def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    found = mtu.plan(run)
    run.heading("MTUs that do not fit", facts(run, found.net) + found.facts(), found.seconds())
    for trial in interleaved(found.settings, run.options.effort.repeats, run.options.seed):
        if not run.has(trial, [("probe", {"probe": probe.name}) for probe in path_mtu.PROBES]):
            with run.attempt(trial):
                probe_all(run, found, trial)
        run.step(found.describe(trial), found.trial_seconds())


def probe_all(run: Run, found: mtu.Plan, trial: Trial) -> None:
    """One combination of MTUs, with ICMP as it is or filtered: a cluster, and all its probes."""
    mtus = {name: int(trial.text(name)) for name in ("pod_mtu", "tunnel_mtu", "link_mtu")}
    with run.passing(changed(run.topology, **mtus)) as net:
        net.set_ipip_mode("Always")
        net.set_filter(found.nodes, mtu.FILTERS[trial.text("icmp")])
        for uncut in (False, True):
            with found.offloads(net, uncut):
                for probe in (probe for probe in path_mtu.PROBES if probe.uncut is uncut):
                    run.take("probe", trial, partial(found.look, net, probe, trial),
                             also={"probe": probe.name})


if __name__ == "__main__":
    main(__file__, __doc__, "two-subnets.yaml", FULL, QUICK, measure,
         mtu_report.report, mtu.add_options)
