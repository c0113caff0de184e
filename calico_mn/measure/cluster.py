"""Instruments that read the cluster itself: how long it takes to change, and what it has then.

In goes a running cluster; out come times until the kernel has acknowledged the last route, and
counts of routes, sessions and dropped packets, read from the kernel or from the emulation.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from calico_mn.calico.encapsulation import UPLINK, Encapsulation, format_prefix
from calico_mn.calico.evolution import evolved
from calico_mn.calico.snapshot import snapshot
from calico_mn.errors import ToolError
from calico_mn.measure.readings import Measurement, Value, metric
from calico_mn.model import EncapsulationMode, Topology
from calico_mn.packetmatch import Drop
from calico_mn.policy import NetworkSet, Policy
from calico_mn.state import Route
from calico_mn.topology.scaled import blocks_of_node, free_addresses

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

BOOT = metric("boot", "ms", "boot time", more_is_better=False)
STOP = metric("stop", "ms", "stop time", more_is_better=False)
CHANGE = metric("change", "ms", "time that a mode change took", more_is_better=False)
CHANGE_BACK = metric("change_back", "ms", "time that the change back took", more_is_better=False)
POLICY_CHANGE = metric("policy_change", "ms", "time that a change of policies took",
                       more_is_better=False)
CONVERGENCE = metric("convergence", "ms", "time until every node has every route",
                     more_is_better=False)
ROUTES = metric("routes", "routes", "routes in the kernel")
ROUTES_REMOTE = metric("routes_remote", "routes", "routes to other nodes' blocks in the kernel")
ROUTES_CHANGED = metric("routes_changed", "routes", "routes that a mode change replaced")
SESSIONS = metric("sessions", "sessions", "route sessions established", more_is_better=True)
DROPPED = metric("dropped", "packets", "packets that the fabric dropped")

def milliseconds_since(start: float) -> float:
    """Since a moment of :func:`time.perf_counter`."""
    return round((time.perf_counter() - start) * 1e3, 3)


def enforce(net: CalicoNet, policies: Iterable[Policy], network_sets: Iterable[NetworkSet]
            ) -> Measurement:
    """Let these policies and sets take the place of those in force, and time that.

    From the policies as data to the end of the last program that writes rules: the nodes' new
    states are worked out meanwhile.
    """
    start = time.perf_counter()
    net.become(evolved(net.cluster, replace(
        snapshot(net.cluster), policies=tuple(policies), network_sets=tuple(network_sets))))
    return Measurement({POLICY_CHANGE: milliseconds_since(start)})


def routes(net: CalicoNet) -> dict[str, Value]:
    """The routes in the nodes' main tables, read from the kernel."""
    tables = [net.kernel_routes(node.name) for node in net.nodes]
    return {ROUTES: sum(map(len, tables)), ROUTES_REMOTE: sum(map(len, map(_remote, tables)))}


@dataclass(frozen=True, slots=True)
class Routes:
    """What a cluster's nodes should have in their main tables, by arithmetic alone."""

    remote: int
    own: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.remote + self.own


def computed(topology: Topology, nodes: int, pods: int) -> Routes:
    """The nodes' routes in mode Always.

    A node has so many blocks that its pods and its tunnel have an address. It has a route to each
    block of every other node; of its own, one to its subnet, a default route where there is a
    router, a blackhole for each of its blocks, and one to each of its pods.
    """
    blocks = blocks_of_node(topology, pods)
    routed = {interface.subnet for router in topology.underlay.routers
              for interface in router.interfaces}
    local = 0
    for address in free_addresses(topology, nodes):
        subnet = topology.subnet_of(address.ip)
        local += 1 + (subnet is not None and subnet.name in routed) + blocks + pods
    return Routes(nodes * (nodes - 1) * blocks, local)


def change_there_and_back(net: CalicoNet, encapsulation: Encapsulation) -> dict[str, Value]:
    """All nodes to Never and back to Always, timed; then every table is checked.

    Raises ToolError if a node's kernel has another route than the mode asks for.
    """
    times = []
    replaced = 0
    for mode, device in ((EncapsulationMode.NEVER, UPLINK),
                         (EncapsulationMode.ALWAYS, encapsulation.device)):
        start = time.perf_counter()
        changes = net.set_mode(mode, encapsulation=encapsulation)
        times.append(milliseconds_since(start))
        replaced = sum(len(change.main_routes_replaced) for change in changes)
        for node in net.nodes:
            remote = _remote(net.kernel_routes(node.name)).values()
            if {route.device for route in remote} != {device}:
                raise ToolError(f"{node.name}: not all routes to other nodes are by {device} in"
                                f" mode {mode}")
    return {CHANGE: times[0], CHANGE_BACK: times[1], ROUTES_CHANGED: replaced}


def join(net: CalicoNet, name: str, address: str) -> dict[str, Value]:
    """One node more: the time until every node has the others' blocks, checked in the kernel.

    Raises ToolError if one has not.
    """
    start = time.perf_counter()
    added = net.add_node(name, address)
    convergence = milliseconds_since(start)
    for node in net.nodes:
        wanted = {format_prefix(IPv4Network(block))
                  for other in net.nodes if other is not node for block in other.blocks}
        missing = wanted - _remote(net.kernel_routes(node.name)).keys()
        if missing:
            raise ToolError(f"{node.name}: no route to {', '.join(sorted(missing))} after"
                            f" {added.name} joined")
    return {CONVERGENCE: convergence}


def _remote(table: Iterable[Route]) -> dict[str, Route]:
    """Those to other nodes' blocks, by destination: BIRD's, and Felix's with VXLAN."""
    return {route.destination: route for route in table
            if route.via and route.destination != "default"}


def route_exchange(net: CalicoNet, node: Any) -> Measurement:
    """A node's sessions that are up, and the routes in its kernel to other nodes' blocks.

    They may be ``unreachable``, as on a node without a way to the other.
    """
    table = net.kernel_routes(node.name)
    return Measurement({
        SESSIONS: len(net.distributor.sessions(node.name)),
        ROUTES: len(_remote(table)) + sum(route.kind == "unreachable" for route in table)})


def dropped(net: CalicoNet, device: Any, match: Drop) -> Measurement:
    """What a switch or router has dropped of the matching packets, and whether it has a filter."""
    counts = net.dropped(device)
    return Measurement({DROPPED: counts.get(match, 0)}, seen={"filters": match in counts})
