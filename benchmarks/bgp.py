#!/usr/bin/env python3
"""How long the built-in route engine computes, without a kernel and without root.

    .venv/bin/python benchmarks/bgp.py [--nodes 200,1000] [--repeats 5] [--json FILE]

Clusters of N nodes in two racks with a block each, as a mesh and with two route reflectors, which
are nodes, too. From the ready graph of sessions on, timed are a *boot* (all announce, and every
node's table is there), a *new block* of one node, its *withdrawal*, and a node that *goes*: each
until every node's table is there again.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

try:
    import figures
    from clusters import Size, topology
    from rich.console import Console

    from calico_mn.bgp.builtin import BuiltInEngine
    from calico_mn.calico.cluster import Cluster
    from calico_mn.emulation.speakers import peer_graph, speaker_addresses
    from calico_mn.experiment.options import int_list, positive_int
    from calico_mn.topology.scaled import with_reflectors
except ImportError as error:
    sys.exit(f"{error}; run ./install.sh, then: .venv/bin/python benchmarks/bgp.py")

WAYS = MESH, REFLECTORS = ("mesh", "reflectors")


@dataclass(frozen=True)
class Sample:
    """One event; ``changed`` nodes have another table after it, at a boot all."""

    nodes: int
    way: str
    event: str
    ms: float
    changed: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    out, about = figures.console(), figures.environment()
    out.print(figures.heading("BGP, computed", about))
    samples: list[Sample] = []
    status = 0
    try:
        _measure(options, samples)
    except KeyboardInterrupt:
        out.print("interrupted: what follows was measured until then")
        status = 130
    show(out, samples)
    if options.json:
        figures.write_json(options.json, {"environment": about,
                                          "samples": [asdict(sample) for sample in samples]})
    return status


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = figures.Parser(__doc__)
    parser.add_argument("--nodes", type=int_list(3, 1000), default=(200, 1000), metavar="N,...",
                        help="numbers of nodes (200,1000)")
    parser.add_argument("--repeats", type=positive_int, default=5, help="of each (5)")
    return parser.parse_args(argv)


def _measure(options: argparse.Namespace, samples: list[Sample]) -> None:
    meshed = {nodes: topology(Size(nodes, 1)) for nodes in options.nodes}
    clusters = {(nodes, way): Cluster(with_reflectors(made, 2) if way == REFLECTORS else made, 2)
                for nodes, made in meshed.items() for way in WAYS}
    for _ in range(options.repeats):
        for (nodes, way), cluster in clusters.items():
            for event, ms, changed in _events(cluster):
                samples.append(Sample(nodes, way, event, ms, changed))


def _events(cluster: Cluster) -> list[tuple[str, float, int]]:
    """Each event with its time in milliseconds and the number of nodes with another table."""
    graph, engine = peer_graph(cluster), BuiltInEngine()
    own = {name: cluster.originated(name) for name in cluster.nodes}
    last, taken = list(own)[-1], {block for blocks in own.values() for block in blocks}
    (pool,) = cluster.topology.pools
    block = next(block for block in pool.cidr.subnets(new_prefix=26) if block not in taken)

    def boot() -> frozenset[str]:
        for name, address in speaker_addresses(cluster).items():
            engine.add_node(name, address)
        engine.set_sessions(graph, {})
        return engine.announce(own)

    events: dict[str, Callable[[], frozenset[str]]] = {
        "boot": boot,
        "new block": lambda: engine.announce({last: (*own[last], block)}),
        "withdrawal": lambda: engine.announce({last: own[last]}),
        "node goes": lambda: engine.remove_node(last)}
    timed = []
    for event, act in events.items():
        gc.collect()
        begun = time.perf_counter()
        changed = act()
        for name in own.keys() - ({last} if event == "node goes" else set()):
            engine.table(name)
        timed.append((event, (time.perf_counter() - begun) * 1e3, len(changed)))
    return timed


def show(out: Console, samples: Sequence[Sample]) -> None:
    """The table: a row for each number of nodes, way and event."""
    times: dict[tuple[int, str, str], list[float]] = {}
    for sample in samples:
        times.setdefault((sample.nodes, sample.way, sample.event), []).append(sample.ms)
    events = list(dict.fromkeys(sample.event for sample in samples))
    out.print(figures.table("Milliseconds, median (smallest-largest)", (
        "nodes, peerings", *events), [
            (f"{nodes} {way}", *(figures.spread(times.get((nodes, way, event), []), 1)
                                 for event in events))
            for nodes, way in dict.fromkeys((sample.nodes, sample.way) for sample in samples)]))


if __name__ == "__main__":
    sys.exit(main())
