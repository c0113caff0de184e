"""Which way packets take between pods, and how: directly, in a tunnel, or into nowhere. Pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import is_tunnelled
from calico_mn.measure.paths import Endpoint, Pair, representative_pairs
from calico_mn.model import EncapsulationMode


@dataclass(frozen=True, slots=True)
class Way:
    """The way from one pod to another, ``namespace/name`` each, in one mode.

    ``path`` is its class (:data:`calico_mn.measure.paths.PATHS`). ``subnets`` are crossed in this
    order, ``routers`` lie between them. ``lost_at`` is the router or the node that throws the
    packets away, empty when they arrive.
    """

    source: str
    destination: str
    mode: str
    path: str
    tunnelled: bool = False
    subnets: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    lost_at: str = ""


def ways(cluster: Cluster, mode: EncapsulationMode) -> tuple[Way, ...]:
    """One way for each path class that the cluster has, as they are when all pools are in ``mode``.

    They follow from the same functions that the nodes' routes come from; nothing is measured. Of
    several equally short ways through the fabric it is the first.
    """
    fabric = cluster.fabric
    pods = [Endpoint(key, str(found.address), found.node,
                     fabric.subnet_of(cluster.nodes[found.node]).name)
            for key, found in cluster.endpoints.items()]
    return tuple(way(cluster, mode, pair) for pair in representative_pairs(pods).values())


def way(cluster: Cluster, mode: EncapsulationMode, pair: Pair) -> Way:
    """The way of one pair, by the routes of the sending node and of the routers in between."""
    names = (pair.source.name, pair.destination.name, mode.value, pair.path)
    if pair.source.node == pair.destination.node:
        return Way(*names)
    here, there = cluster.nodes[pair.source.node], cluster.nodes[pair.destination.node]
    fabric = cluster.fabric
    network = fabric.node_network(here)
    tunnelled = is_tunnelled(mode, network, there.address.ip)
    subnets = tuple(subnet.name for subnet in
                    fabric.crossed(fabric.subnet_of(here), fabric.subnet_of(there)))
    if there.address.ip not in network.connected and network.gateway is None:
        return Way(*names, tunnelled, subnets[:1], (), here.name)
    routers: list[str] = []
    for one, other in itertools.pairwise(subnets):
        between = next((router.name for router in fabric.routers
                        if {one, other} <= {foot.subnet for foot in router.interfaces}), None)
        if between is None:
            # crossed() gives the two ends alone when the first router knows no way.
            first = next(router.name for router in fabric.routers
                         if any(foot.subnet == one for foot in router.interfaces))
            return Way(*names, tunnelled, subnets[:1], (*routers, first), first)
        routers.append(between)
        if not tunnelled and between not in cluster.pod_routers:
            return Way(*names, tunnelled, subnets[:len(routers)], tuple(routers), between)
    return Way(*names, tunnelled, subnets, tuple(routers))
