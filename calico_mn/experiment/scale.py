"""Clusters of many sizes: the plan, and what is looked at in the life of each."""

from __future__ import annotations

import argparse
import gc
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from calico_mn.calico.encapsulation import IPIP, UPLINK
from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import CalicoMnError, ToolError
from calico_mn.experiment.common import facts, some
from calico_mn.experiment.options import whole_numbers
from calico_mn.experiment.run import Run
from calico_mn.measure import memory, ping
from calico_mn.measure.metrics import Value
from calico_mn.measure.trials import Trial, factorial
from calico_mn.model import EncapsulationMode, Topology
from calico_mn.state import PROTO_BIRD, Route
from calico_mn.topology.placement import free_addresses, scaled

INSTRUMENT = "life"

_NODES, _PODS = (2, 5, 10, 20, 40), (10, 20, 50)
_QUICK_NODES, _QUICK_PODS = (2, 5, 10), (5, 20)
_LIMIT = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
#: seconds that a machine has to come to rest
_REST_S, _REST_QUICK_S = 10.0, 2.0
#: about what was measured, for the time that is told and for refusing what cannot fit: ms and kB
_POD_MS, _NODE_MS, _TRIAL_MS, _POD_KB = 2.2, 12.0, 900.0, 350


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes; other ones with --quick."""
    for name, least, most, usual in (("nodes", 2, 400, _NODES), ("pods", 1, 500, _PODS)):
        parser.add_argument(f"--{name}", type=whole_numbers(least, most), metavar="N[,N...]",
                            help=f"{name}{' on each node' if name == 'pods' else ''}"
                                 f" (default: {','.join(map(str, usual))})")


@dataclass(frozen=True)
class Computed:
    """What a cluster's nodes should have in their main tables, by arithmetic alone."""

    remote: int
    own: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.remote + self.own


def computed(topology: Topology, nodes: int, pods: int) -> Computed:
    """The nodes' routes in mode Always.

    A node has so many blocks that its pods and its tunl0 have an address. It has a route to each
    block of every other node; of its own, one to its subnet, a default route where there is a
    router, a blackhole for each of its blocks, and one to each of its pods.
    """
    blocks = math.ceil((pods + 1) / 2 ** (32 - topology.pools[0].block_size))
    routed = {foot.subnet for router in topology.underlay.routers for foot in router.interfaces}
    own = 0
    for address in free_addresses(topology, nodes):
        subnet = topology.subnet_of(address.ip)
        own += 1 + (subnet is not None and subnet.name in routed) + blocks + pods
    return Computed(nodes * (nodes - 1) * blocks, own)


@dataclass
class Plan:
    """The trials, and the number of namespaces that the machine had when it was last at rest."""

    run: Run
    sizes: tuple[dict[str, Value], ...]
    namespaces: int | None

    def topology(self, trial: Trial) -> Topology:
        """The cluster of a trial."""
        return scaled(self.run.topology, *size(trial))

    def rest(self) -> bool:
        """Wait until the kernel has taken the last cluster apart; whether it had in time."""
        gc.collect()
        rested = memory.settle(self.namespaces,
                               timeout=_REST_QUICK_S if self.run.options.quick else _REST_S)
        if rested:
            # What others have made meanwhile is not ours to wait for a second time.
            self.namespaces = memory.namespace_count()
        return rested

    def seconds(self, trial: Trial) -> float:
        """How long a trial is expected to take."""
        return _seconds(*size(trial))


class Footprint:
    """The memory in use at this moment, and how it has changed since."""

    def __init__(self) -> None:
        self._free, self._slab, self._own = (
            memory.available_kb(), memory.slab_kb(), memory.resident_kb())

    def since(self) -> dict[str, Value]:
        """MB: what is less available, what slabs and this process have more."""
        return {"memory": (self._free - memory.available_kb()) / 1000,
                "memory_slab": (memory.slab_kb() - self._slab) / 1000,
                "memory_process": (memory.resident_kb() - self._own) / 1000}


def since(start: float) -> float:
    """Milliseconds since a moment of :func:`time.perf_counter`."""
    return round((time.perf_counter() - start) * 1e3, 3)


def size(trial: Trial) -> tuple[int, int]:
    """Nodes, and pods on each."""
    return int(str(trial["nodes"])), int(str(trial["pods"]))


def count_routes(net: CalicoNet) -> dict[str, Value]:
    """The routes in the nodes' main tables, read from the kernel."""
    tables = [net.kernel_routes(node.name) for node in net.nodes]
    return {"routes": sum(map(len, tables)),
            "routes_remote": sum(map(len, map(_remote, tables)))}


def change_mode(net: CalicoNet) -> dict[str, Value]:
    """All nodes to Never and back to Always; what the kernel has afterwards is looked at."""
    took = []
    replaced = 0
    for mode, device in ((EncapsulationMode.NEVER, UPLINK),
                         (EncapsulationMode.ALWAYS, IPIP.device)):
        start = time.perf_counter()
        changes = net.set_ipip_mode(mode)
        took.append(since(start))
        replaced = sum(len(change.routes_replaced) for change in changes)
        for node in net.nodes:
            found = _remote(net.kernel_routes(node.name)).values()
            if {route.device for route in found} != {device}:
                raise ToolError(f"{node.name}: not all routes to other nodes are by {device} in"
                                f" mode {mode}")
    return {"change": took[0], "change_back": took[1], "routes_changed": replaced}


def add_node(net: CalicoNet) -> dict[str, Value]:
    """One node more: the time until every node has the others' blocks, checked in the kernel."""
    count = len(net.nodes)
    name, address = f"node{count + 1}", free_addresses(net.topology, count + 1)[-1]
    start = time.perf_counter()
    added = net.add_node(name, str(address))
    took = since(start)
    for node in net.nodes:
        wanted = {block for other in net.nodes if other is not node for block in other.blocks}
        missing = wanted - _remote(net.kernel_routes(node.name)).keys()
        if missing:
            raise ToolError(f"{node.name}: no route to {', '.join(sorted(missing))} after"
                            f" {added.name} joined")
    return {"convergence": took}


def expect_answer(net: CalicoNet) -> None:
    """A pod of the first node reaches one of the last. Raises ToolError if not."""
    first, last = net.pods[0], net.pods[-1]
    if not ping.answers(first, last.ip):
        raise ToolError(f"{last.name} does not answer {first.name}")


def _remote(table: Iterable[Route]) -> dict[str, Route]:
    """Those to other nodes' blocks, by destination."""
    return {route.destination: route for route in table
            if route.protocol == PROTO_BIRD and route.kind == "unicast"}


def plan(run: Run) -> Plan:
    """Boot the topology itself, which stays; say what will be done."""
    own, effort = run.options.own, run.options.effort
    run.topology = replace(run.topology, pools=tuple(
        replace(pool, ipip_mode=EncapsulationMode.ALWAYS) for pool in run.topology.pools))
    nodes = own.nodes or (_QUICK_NODES if run.options.quick else _NODES)
    pods = own.pods or (_QUICK_PODS if run.options.quick else _PODS)
    _check(run.topology, max(nodes), max(pods))
    namespaces = memory.namespace_count()
    net = run.net()
    sizes = factorial(nodes=nodes, pods=pods)
    total = effort.repeats * sum(_seconds(int(str(one["nodes"])), int(str(one["pods"])))
                                 for one in sizes)
    limit = int(_LIMIT.read_text(encoding="ascii")) if _LIMIT.exists() else None
    run.plan = {"nodes": list(nodes), "pods": list(pods), "repeats": effort.repeats,
                "seed": run.options.seed, "neighbour_limit": limit}
    run.heading("How an emulated cluster grows", [
        *facts(run, net),
        ("sizes", f"{', '.join(map(str, nodes))} nodes with {', '.join(map(str, pods))} pods on"
         f" each: up to {max(nodes) * max(pods):,} pods"),
        ("trials", f"{some(sizes, 'size')} x {some(range(effort.repeats), 'repeat')}, in random"
         f" order (seed {run.options.seed}); about {total:.0f} s")], total)
    return Plan(run, tuple({**one, "tunnel": net.tunnel} for one in sizes), namespaces)


def _seconds(nodes: int, pods: int) -> float:
    return (_TRIAL_MS + _NODE_MS * nodes + _POD_MS * nodes * pods) / 1e3


def _check(topology: Topology, nodes: int, pods: int) -> None:
    """Refuse what cannot fit before the first cluster boots."""
    free_addresses(topology, nodes + 1)
    size = topology.pools[0].block_size
    blocks = math.ceil((pods + 1) / 2 ** (32 - size)) * nodes + 1
    room = 2 ** (size - topology.pools[0].cidr.prefixlen)
    if blocks > room:
        raise CalicoMnError(f"{nodes} nodes with {pods} pods need {blocks:,} blocks, and"
                            f" {topology.pools[0].cidr} has {room:,}: ask for fewer, or give the"
                            " pool a shorter prefix")
    wanted, free = nodes * pods * _POD_KB, memory.available_kb()
    if wanted > free:
        raise CalicoMnError(f"{nodes} nodes with {pods} pods need about {wanted / 1e6:.1f} GB, and"
                            f" this machine has {free / 1e6:.1f} GB available: ask for fewer")
