"""Which way packets take between pods, and the lines of it through a drawing. Pure.

A :class:`PodPath` says how: directly, in a tunnel, or lost at a router or node. A :class:`Track` is
its line along the cables of a laid out drawing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeAlias

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.calico.remote_routes import is_tunnelled
from calico_mn.measure.paths import SAME_NODE, Endpoint, Pair, representative_pairs
from calico_mn.model import EncapsulationMode
from calico_mn.report.drawing.boxes import LANE, Drawing, NodeBox, Point, Sizes, SubnetBox


@dataclass(frozen=True, slots=True)
class PodPath:
    """The way from one pod to another, ``namespace/name`` each, in one mode.

    ``path`` is its class (:data:`calico_mn.measure.paths.PATHS`). ``subnets`` are crossed in this
    order, ``routers`` lie between them. ``tunnel`` is the encapsulation's name where the packets
    travel inside another. ``lost_at`` is the router or the node that throws the packets away, empty
    when they arrive.
    """

    source: str
    destination: str
    mode: str
    path: str
    tunnel: str = ""
    subnets: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    lost_at: str = ""

    @property
    def in_words(self) -> str:
        """What the legend says of it."""
        start = f"{self.source} to {self.destination}, {self.path}: "
        if self.path == SAME_NODE:
            return f"{start}inside the node"
        article = "an" if self.tunnel[:1] in tuple("AEIOU") else "a"
        how = f"in {article} {self.tunnel} tunnel" if self.tunnel else (
            "directly, with the pods' own addresses")
        return start + how + (f"; lost at {self.lost_at}, which has no route"
                              if self.lost_at else "")


def pod_paths(cluster: Cluster, mode: EncapsulationMode | None,
              encapsulation: Encapsulation | None = None) -> tuple[PodPath, ...]:
    """One way for each path class that the cluster has, as they are when all pools are in ``mode``
    with ``encapsulation``; with None each pool has its own.

    They follow from the same functions that the nodes' routes come from; nothing is measured. Of
    several equally short ways through the fabric it is the first.
    """
    fabric = cluster.fabric
    pods = [Endpoint(key, str(pod.address), pod.node,
                     fabric.subnet_of(cluster.nodes[pod.node]).name)
            for key, pod in cluster.endpoints.items()]
    return tuple(pod_path(cluster, mode, pair, encapsulation)
                 for pair in representative_pairs(pods).values())


def pod_path(cluster: Cluster, mode: EncapsulationMode | None, pair: Pair,
             encapsulation: Encapsulation | None = None) -> PodPath:
    """The way of one pair, by the routes of the sending node and of the routers in between."""
    pool = next(pool for pool in cluster.topology.pools
                if IPv4Address(pair.destination.ip) in pool.cidr)
    pool_mode = cluster.mode_of_pool(pool).changed(mode, encapsulation)
    names = (pair.source.name, pair.destination.name, pool_mode.mode.value, pair.path)
    if pair.source.node == pair.destination.node:
        return PodPath(*names)
    source, destination = cluster.nodes[pair.source.node], cluster.nodes[pair.destination.node]
    fabric = cluster.fabric
    network = fabric.node_network(source)
    tunnel = (pool_mode.encapsulation.name
              if is_tunnelled(pool_mode.mode, network, destination.address.ip) else "")
    subnets = tuple(subnet.name for subnet in
                    fabric.crossed(fabric.subnet_of(source), fabric.subnet_of(destination)))
    if destination.address.ip not in network.connected and network.gateway is None:
        return PodPath(*names, tunnel, subnets[:1], (), source.name)
    routers: list[str] = []
    legs = {router.name: {interface.subnet for interface in router.interfaces}
            for router in fabric.routers}
    for near, far in itertools.pairwise(subnets):
        between = next((name for name, joined in legs.items() if {near, far} <= joined), None)
        if between is None:
            # crossed() gives the two ends alone when the first router knows no path.
            first = next(name for name, joined in legs.items() if near in joined)
            return PodPath(*names, tunnel, subnets[:1], (*routers, first), first)
        routers.append(between)
        if not tunnel and between not in cluster.pod_routers | fabric.speaking.keys():
            return PodPath(*names, tunnel, subnets[:len(routers)], tuple(routers), between)
    return PodPath(*names, tunnel, subnets, tuple(routers))


# --- lines

#: where a pod stands: its subnet, its node, and its place in the node's list
_PodPlace: TypeAlias = tuple[SubnetBox, NodeBox, int]


@dataclass(frozen=True, slots=True)
class Track:
    """A way as three lines: inside the first node, between nodes, inside the last one.

    The middle one is what a tunnel surrounds. ``end`` is where it arrives or is lost.
    """

    head: tuple[Point, ...]
    middle: tuple[Point, ...]
    tail: tuple[Point, ...]
    end: Point


def tracks(drawing: Drawing, sizes: Sizes, paths: tuple[PodPath, ...]) -> tuple[Track | None, ...]:
    """A track for each path; None for one whose pods are not in the drawing."""
    return tuple(_track(drawing, sizes, path, lane, len(paths)) for lane, path in enumerate(paths))


def _track(drawing: Drawing, sizes: Sizes, path: PodPath, lane: int, lanes: int
           ) -> Track | None:
    source, destination = _find(drawing, path.source), _find(drawing, path.destination)
    if source is None or destination is None:
        return None
    offset = (lane - (lanes - 1) / 2) * 7
    start = _at_chip(sizes, source, offset)
    end = _at_chip(sizes, destination, 0)
    inside = source[1].x + 9 + lane * LANE
    if source[1] is destination[1]:
        return Track((start, (inside, start[1]), (inside, end[1]), end), (), (), end)
    head, up = _leave(source, start, inside, lane)
    if path.lost_at == source[1].name:
        return Track(head, (), (), head[-1])
    bus = source[0].bus + 12 + lane * LANE
    middle = [*up, (up[-1][0], bus)]
    for hop, router in enumerate(path.routers):
        before, after = path.subnets[hop], (path.subnets[hop + 1] if hop + 1 < len(path.subnets)
                                           else None)
        last = path.routers[hop - 1] if hop else None
        middle += _to_router(drawing, router, last, before, middle)
        if router == path.lost_at:
            return Track(head, tuple(middle), (), middle[-1])
        middle.append(_inside(drawing, router, middle[-1]))
        place = drawing.subnets.get(after) if after else None
        if place is not None:
            cable = drawing.cables[router, place.name]
            middle += [_inside(drawing, router, cable[0]), *cable]
    if path.subnets[-1] != destination[0].name:
        return None
    arrival = destination[0].bus + 12 + lane * LANE
    tail, down = _leave(destination, end, destination[1].x + 9 + lane * LANE, lane)
    middle += [(middle[-1][0], arrival), (down[-1][0], arrival), *reversed(down)]
    return Track(head, tuple(middle), tuple(reversed(tail)), end)


def _to_router(drawing: Drawing, router: str, last: str | None, subnet: str, so_far: list[Point]
               ) -> list[Point]:
    """From a subnet's bus, or from the router before, to a router's edge."""
    if subnet in drawing.subnets:
        cable = drawing.cables[router, subnet]
        bus = so_far[-1][1]
        return [(cable[-1][0], bus), *reversed(cable)]
    if last is None:
        return []
    if (last, subnet) in drawing.cables:
        line = drawing.cables[last, subnet]
    else:
        line = list(reversed(drawing.cables[router, subnet]))
    return [_inside(drawing, last, line[0]), *line]


def _inside(drawing: Drawing, router: str, port: Point) -> Point:
    """Behind the router's card, so that a way does not run along its edge."""
    box = drawing.routers[router]
    return port[0], port[1] + 16 if port[1] <= box.y else port[1] - 16


def _find(drawing: Drawing, key: str) -> _PodPlace | None:
    for subnet in drawing.subnets.values():
        for node in subnet.nodes:
            for position, pod in enumerate(node.pods):
                if pod.key == key:
                    return subnet, node, position
    return None


def _at_chip(sizes: Sizes, pod: _PodPlace, offset: float) -> Point:
    chip = pod[1].chip(pod[2], sizes)
    return chip.x, chip.y + chip.height / 2 + offset


def _leave(pod: _PodPlace, start: Point, inside: float, lane: int
           ) -> tuple[tuple[Point, ...], list[Point]]:
    """From a pod to its card's edge, and from there to where the bus can be reached upwards."""
    _, node, _ = pod
    if node.row == 0:
        edge = (inside, node.y)
        return (start, (inside, start[1]), edge), [edge]
    edge = (node.x, start[1])
    return (start, edge), [edge, (node.x - 10 - lane * LANE, start[1])]
