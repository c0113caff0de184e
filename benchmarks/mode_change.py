#!/usr/bin/env python3
"""How long a running cluster takes to change its IPIP mode.

    sudo .venv/bin/python benchmarks/mode_change.py [--nodes 100] [--rounds 5] [--no-policy]
        [--json FILE]

One cluster, a pod on each node and so one block each: every node holds a route to the block of
every other, 9,900 in all with 100 nodes in two racks. A round goes once through each of the six
transitions between Always, CrossSubnet and Never. Timed is the whole of set_ipip_mode(): from
the new wanted state to the kernel's last answer. *kernel ms* is the kernel's own part: the
processor time that this process spends in the kernel meanwhile, nearly all of it for the routes.
Figures are medians, with the smallest and largest value behind them.

Felix's rules change with a mode to or from Never: an iptables-restore in each node, whose processor
time is *programs' ms*. With --no-policy there are no rules.

CrossSubnet touches only the routes to the other rack (from Never) or to the own one (from
Always); so the time a route is over the routes that a transition really replaced.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

try:
    import figures
    import machine
    from clusters import Size, topology
    from rich.console import Console

    from calico_mn import CalicoNet
    from calico_mn.errors import CalicoMnError
    from calico_mn.experiment.options import int_between, positive_int
    from calico_mn.model import EncapsulationMode
except ImportError as error:
    sys.exit(f"{error}; run ./install.sh, then: sudo .venv/bin/python benchmarks/mode_change.py")

ALWAYS, CROSS_SUBNET, NEVER = EncapsulationMode
#: A way through all six transitions that ends where it began.
TOUR = (ALWAYS, CROSS_SUBNET, NEVER, ALWAYS, NEVER, CROSS_SUBNET, ALWAYS)


@dataclass(frozen=True)
class Change:
    """One change of the mode of all nodes; ``routes`` that it replaced.

    ``kernel_ms`` and ``cpu_ms`` are processor time of this process: in the kernel, and all of it;
    ``programs_ms`` is that of the programs that it ran.
    """

    round: int
    before: str
    after: str
    ms: float
    routes: int
    cpu_ms: float
    kernel_ms: float
    programs_ms: float

    @property
    def transition(self) -> str:
        """``Always -> Never``."""
        return f"{self.before} -> {self.after}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    if os.geteuid() != 0:
        sys.exit("mode_change.py: making network namespaces needs root: run this with sudo")
    machine.interrupt_by(signal.SIGTERM)
    out, about = figures.console(), figures.environment()
    out.print(figures.heading("mode change", about))
    changes: list[Change] = []
    status = 0
    try:
        with CalicoNet(topology(Size.parse(f"{options.nodes}x1")),
                       policies=not options.no_policy) as net:
            about["tunnel"], about["iptables"] = net.tunnel, net.iptables
            total = sum(route.protocol == "bird" and route.kind == "unicast"
                        for node in net.nodes for route in net.states[node.name].routes)
            out.print(f"{options.nodes} nodes, {total} routes to blocks of others,"
                      f" tunnel back end {net.tunnel}, Felix's rules by {net.iptables}")
            for number in range(options.rounds):
                tour(net, number, changes)
    except KeyboardInterrupt:
        out.print("interrupted: what follows was measured until then")
        status = 130
    except (CalicoMnError, ValueError) as error:
        out.print(f"mode_change.py: {error}", style="red", markup=False)
        return 1
    show(out, changes)
    if options.json:
        figures.write_json(options.json, {
            "environment": about, "nodes": options.nodes,
            "samples": [asdict(change) for change in changes],
            "summary": {transition: figures.summary([c.ms for c in found])
                        for transition, found in by_transition(changes).items()}})
    return status


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = figures.Parser(__doc__)
    parser.add_argument("--nodes", type=int_between(1, 1000), default=100,
                        help="a pod on each (100)")
    parser.add_argument("--rounds", type=positive_int, default=5,
                        help="six transitions in each (5)")
    parser.add_argument("--no-policy", action="store_true", help="without Felix's rules")
    return parser.parse_args(argv)


def tour(net: CalicoNet, number: int, changes: list[Change]) -> None:
    """Each transition once; each sample is in ``changes`` at once."""
    for before, after in pairwise(TOUR):
        gc.collect()
        used, start = _processor_ms(), time.perf_counter()
        deltas = net.set_ipip_mode(after)
        ms, now = (time.perf_counter() - start) * 1e3, _processor_ms()
        routes = sum(len(delta.main_routes_replaced) for delta in deltas)
        changes.append(Change(number, str(before), str(after), ms, routes,
                              *(later - earlier for earlier, later in zip(used, now, strict=True))))


def _processor_ms() -> tuple[float, float, float]:
    """Processor time so far: of this process, of it in the kernel, and of programs that ended."""
    own, programs = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return ((own.ru_utime + own.ru_stime) * 1e3, own.ru_stime * 1e3,
            (programs.ru_utime + programs.ru_stime) * 1e3)


def by_transition(changes: Sequence[Change]) -> dict[str, list[Change]]:
    """The samples of each transition."""
    found: dict[str, list[Change]] = {}
    for change in changes:
        found.setdefault(change.transition, []).append(change)
    return found


def show(out: Console, changes: Sequence[Change]) -> None:
    """The table."""
    rows = [(transition, figures.spread([c.ms for c in found], 1),
             figures.spread([c.cpu_ms for c in found], 0),
             figures.spread([c.kernel_ms for c in found], 0),
             figures.spread([c.programs_ms for c in found], 0), str(found[0].routes),
             figures.spread([c.ms / c.routes * 1e3 for c in found if c.routes], 1))
            for transition, found in by_transition(changes).items()]
    out.print(figures.table("Median (smallest-largest)",
                            ("transition", "ms", "cpu ms", "kernel ms", "programs' ms",
                             "routes replaced", "us a route"), rows))


if __name__ == "__main__":
    sys.exit(main())
