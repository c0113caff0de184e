"""The lines that ways take through a laid out drawing. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn.report.drawing.cards import LANE
from calico_mn.report.drawing.plan import NodePlace, Plan, Point, SubnetPlace
from calico_mn.report.drawing.ways import Way


@dataclass(frozen=True, slots=True)
class Track:
    """A way as three lines: inside the first node, between nodes, inside the last one.

    The middle one is what a tunnel surrounds. ``end`` is where it arrives or is lost.
    """

    head: tuple[Point, ...]
    middle: tuple[Point, ...]
    tail: tuple[Point, ...]
    end: Point


def tracks(plan: Plan, ways: tuple[Way, ...]) -> tuple[Track | None, ...]:
    """A track for each way; None for one whose pods are not in the drawing."""
    return tuple(_track(plan, way, lane, len(ways)) for lane, way in enumerate(ways))


def _track(plan: Plan, way: Way, lane: int, lanes: int) -> Track | None:
    source, destination = _find(plan, way.source), _find(plan, way.destination)
    if source is None or destination is None:
        return None
    offset = (lane - (lanes - 1) / 2) * 7
    start = _at_chip(plan, source, offset)
    end = _at_chip(plan, destination, 0)
    inside = source[1].box.x + 9 + lane * LANE
    if source[1] is destination[1]:
        return Track((start, (inside, start[1]), (inside, end[1]), end), (), (), end)
    head, up = _leave(source, start, inside, lane)
    if way.lost_at == source[1].node.name:
        return Track(head, (), (), head[-1])
    bus = source[0].bus + 12 + lane * LANE
    middle = [*up, (up[-1][0], bus)]
    for hop, router in enumerate(way.routers):
        before, after = way.subnets[hop], (way.subnets[hop + 1] if hop + 1 < len(way.subnets)
                                           else None)
        middle += _to_router(plan, router, way.routers[hop - 1] if hop else None, before, middle)
        if router == way.lost_at:
            return Track(head, tuple(middle), (), middle[-1])
        middle.append(_inside(plan, router, middle[-1]))
        place = plan.subnets.get(after) if after else None
        if place is not None:
            cable = plan.cables[router, place.subnet.name]
            middle += [_inside(plan, router, cable[0]), *cable]
    if way.subnets[-1] != destination[0].subnet.name:
        return None
    arrival = destination[0].bus + 12 + lane * LANE
    tail, down = _leave(destination, end, destination[1].box.x + 9 + lane * LANE, lane)
    middle += [(middle[-1][0], arrival), (down[-1][0], arrival), *reversed(down)]
    return Track(head, tuple(middle), tuple(reversed(tail)), end)


def _to_router(plan: Plan, router: str, last: str | None, subnet: str, so_far: list[Point]
               ) -> list[Point]:
    """From a subnet's bus, or from the router before, to a router's edge."""
    if subnet in plan.subnets:
        cable = plan.cables[router, subnet]
        bus = so_far[-1][1]
        return [(cable[-1][0], bus), *reversed(cable)]
    if last is None:
        return []
    if (last, subnet) in plan.cables:
        line = plan.cables[last, subnet]
    else:
        line = list(reversed(plan.cables[router, subnet]))
    return [_inside(plan, last, line[0]), *line]


def _inside(plan: Plan, router: str, port: Point) -> Point:
    """Behind the router's card, so that a way does not run along its edge."""
    box = plan.routers[router].box
    return port[0], port[1] + 16 if port[1] <= box.y else port[1] - 16


def _find(plan: Plan, key: str) -> tuple[SubnetPlace, NodePlace, int] | None:
    for subnet in plan.subnets.values():
        for node in subnet.nodes:
            for position, pod in enumerate(node.node.pods):
                if pod.key == key:
                    return subnet, node, position
    return None


def _at_chip(plan: Plan, found: tuple[SubnetPlace, NodePlace, int], offset: float) -> Point:
    chip = found[1].chip(found[2], plan.sizes)
    return chip.x, chip.y + chip.height / 2 + offset


def _leave(found: tuple[SubnetPlace, NodePlace, int], start: Point, inside: float, lane: int
           ) -> tuple[tuple[Point, ...], list[Point]]:
    """From a pod to its card's edge, and from there to where the bus can be reached upwards."""
    _, node, _ = found
    if node.row == 0:
        edge = (inside, node.box.y)
        return (start, (inside, start[1]), edge), [edge]
    edge = (node.box.x, start[1])
    return (start, edge), [edge, (node.box.x - 10 - lane * LANE, start[1])]
