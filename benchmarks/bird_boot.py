#!/usr/bin/env python3
"""How long clusters take to boot with a BIRD in each node, and what the BIRDs need.

    sudo .venv/bin/python benchmarks/bird_boot.py [--nodes 40,80] [--repeats 3]
        [--bird-timers short] [--raise-neighbour-limit] [--json FILE]

Clusters of N nodes in two racks with a pod each, without Felix's rules, in three ways, which take
turns in each repeat: the built-in route engine, a mesh of BIRDs, and BIRDs with two route
reflectors, which are nodes, too. Timed is ``CalicoNet.start()``, which returns when every node has
all its routes. *CPU* is processor time until then, of this process with the ``bird -p`` that it
runs, and of all BIRDs. *kB a node* is the memory of a BIRD, shared pages by their share (PSS in
smaps_rollup, proc(5)); *idle %* the BIRDs' processor time in the five seconds after the boot, in
percent of one processor.

A mesh of N nodes has N x (N - 1) ends of sessions, and needs half as many neighbour entries, for
which the kernel has 1,024 in all: bigger ones are left out without ``--raise-neighbour-limit``.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

try:
    import figures
    import machine
    from clusters import Size, topology
    from rich.console import Console

    from calico_mn import CalicoNet
    from calico_mn.bgp.timers import SHORT, read_timers
    from calico_mn.errors import CalicoMnError, ClusterError, UnsupportedError
    from calico_mn.experiment.options import int_list, positive_int
    from calico_mn.kernel import processes
    from calico_mn.kernel.read import TICK_S
    from calico_mn.topology.scaled import with_reflectors
except ImportError as error:
    sys.exit(f"{error}; run ./install.sh, then: sudo .venv/bin/python benchmarks/bird_boot.py")

WAYS = BUILTIN, MESH, REFLECTORS = ("builtin", "mesh", "reflectors")
_IDLE_S = 5.0


@dataclass(frozen=True)
class Sample:
    """One boot. ``late``: nodes without all of their routes when waiting ended."""

    nodes: int
    way: str
    repeat: int
    ms: float
    own_cpu_ms: float
    birds_cpu_ms: float
    kb_a_node: float
    idle_percent: float
    late: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    if os.geteuid() != 0:
        sys.exit("bird_boot.py: making network namespaces needs root: run this with sudo")
    machine.interrupt_by(signal.SIGTERM)
    out, about = figures.console(), figures.environment()
    out.print(figures.heading("boot with BIRD", about))
    samples: list[Sample] = []
    skipped: dict[str, str] = {}
    status = 0
    try:
        for repeat in range(options.repeats):
            for nodes in options.nodes:
                for way in WAYS:
                    _measure(out, options, Sample(nodes, way, repeat, 0, 0, 0, 0, 0, 0), samples,
                             skipped)
    except KeyboardInterrupt:
        out.print("interrupted: what follows was measured until then")
        status = 130
    except CalicoMnError as error:
        out.print(f"bird_boot.py: {error}", style="red", markup=False)
        return 1
    show(out, samples)
    if options.json:
        figures.write_json(options.json, {
            "environment": about, "timers": str(options.bird_timers), "skipped": skipped,
            "samples": [asdict(sample) for sample in samples]})
    return status


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = figures.Parser(__doc__)
    parser.add_argument("--nodes", type=int_list(3, 1000), default=(40, 80), metavar="N,...",
                        help="numbers of nodes (40,80)")
    parser.add_argument("--repeats", type=positive_int, default=3, help="boots of each (3)")
    parser.add_argument("--bird-timers", type=_timers, default=SHORT, metavar="TIMERS",
                        help="as of calico-mn up (short)")
    parser.add_argument("--raise-neighbour-limit", action="store_true",
                        help="let clusters raise the machine's limit while they run")
    return parser.parse_args(argv)


def _timers(text: str) -> object:
    try:
        return read_timers(text)
    except ClusterError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _measure(out: Console, options: argparse.Namespace, sample: Sample, samples: list[Sample],
             skipped: dict[str, str]) -> None:
    """Boot a cluster once, if the machine can bear it."""
    name = f"{sample.nodes} nodes, {sample.way}"
    if name in skipped:
        return
    is_bird, meshed = sample.way != BUILTIN, topology(Size(sample.nodes, 1))
    net = CalicoNet(with_reflectors(meshed, 2) if sample.way == REFLECTORS else meshed,
                    policies=False,
                    engine="bird" if is_bird else "builtin",
                    timers=options.bird_timers if is_bird else None,
                    raise_neighbour_limit=options.raise_neighbour_limit)
    before, began = _own_cpu_s(), time.perf_counter()
    try:
        net.start()
    except UnsupportedError as error:
        skipped[name] = str(error)
        out.print(f"{name} is left out: {error}", markup=False)
        return
    try:
        ms, own_s = (time.perf_counter() - began) * 1e3, _own_cpu_s() - before
        pids = list(net.birds.pids().values()) if net.birds else []
        cpu_s = sum(map(_cpu_s, pids))
        memory_kb = sum(map(processes.memory_kb, pids)) / max(1, len(pids))
        late = len(net.birds.late) if net.birds else 0
        if pids:
            time.sleep(_IDLE_S)
        idle_s = sum(map(_cpu_s, pids)) - cpu_s
    finally:
        net.stop()
    samples.append(replace(
        sample, ms=ms, own_cpu_ms=own_s * 1e3, birds_cpu_ms=cpu_s * 1e3, kb_a_node=memory_kb,
        idle_percent=idle_s / _IDLE_S * 100, late=late))


def _own_cpu_s() -> float:
    return sum(sum(resource.getrusage(who)[:2])
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _cpu_s(pid: int) -> float:
    """A process's user and system time (proc(5): fields 14 and 15 of stat)."""
    words = processes.proc_file(pid, "stat").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) * TICK_S


def show(out: Console, samples: Sequence[Sample]) -> None:
    """The table: a row for each number of nodes and way."""
    rows = []
    for nodes, way in dict.fromkeys((sample.nodes, sample.way) for sample in samples):
        own = [s for s in samples if (s.nodes, s.way) == (nodes, way)]
        builtin = {s.repeat: s.ms for s in samples if (s.nodes, s.way) == (nodes, BUILTIN)}
        rows.append((
            f"{nodes} {way}", figures.spread([s.ms / 1e3 for s in own]),
            figures.spread([s.ms / builtin[s.repeat] for s in own if s.repeat in builtin], 1),
            figures.spread([s.own_cpu_ms / 1e3 for s in own]),
            *(("-", "-", "-") if way == BUILTIN else (
                figures.spread([s.birds_cpu_ms / 1e3 for s in own]),
                figures.spread([s.kb_a_node for s in own], 0),
                figures.spread([s.idle_percent for s in own], 1))),
            str(max(s.late for s in own))))
    out.print(figures.table("Median (smallest-largest)", (
        "nodes, peerings", "boot, s", "by builtin", "own CPU, s", "BIRDs' CPU, s", "kB a node",
        "idle %", "late"), rows))


if __name__ == "__main__":
    sys.exit(main())
