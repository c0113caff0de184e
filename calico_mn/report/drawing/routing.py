"""The places of a drawing: routers in tiers above the subnets, and the cables. Pure arithmetic.

Routers with a leg in a drawn subnet stand lowest, above them those that only other routers reach,
each over what it joins. Cables leave routers, meet subnets, and run in between; those of lower rows
run down between the columns of subnets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from calico_mn.report.drawing.boxes import (
    CHIP_GAP,
    HEAD,
    LINE,
    PAD,
    Content,
    NodeBox,
    RouterBox,
    Sizes,
    SubnetBox,
    router_size,
    subnet_words,
)

#: pixels from a subnet's upper edge to the line that stands for its switch
BUS = 58.0
#: pixels between the lines that join two routers of one tier
ARC = 13.0

Point = tuple[float, float]


@dataclass(slots=True)
class Box:
    """A place: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """Half way between left and right."""
        return self.x + self.width / 2


@dataclass(slots=True)
class NodePlace:
    """A node's card; ``row`` and ``column`` count within its subnet."""

    node: NodeBox
    box: Box
    row: int
    column: int

    def chip(self, position: int, sizes: Sizes) -> Box:
        """The place of a listed pod."""
        top = self.box.y + HEAD + LINE * len(self.node.facts) + 8
        return Box(self.box.x + sizes.left(self.node),
                   top + position * (sizes.chip + CHIP_GAP), sizes.room(self.node),
                   sizes.chip)


@dataclass(slots=True)
class SubnetPlace:
    """A subnet; ``entries`` tells for each router where its cable meets the bus."""

    subnet: SubnetBox
    box: Box
    row: int
    nodes: list[NodePlace]
    entries: dict[str, float] = field(default_factory=dict)

    @property
    def bus(self) -> float:
        """The height of the line that stands for the switch."""
        return self.box.y + BUS


@dataclass(slots=True)
class RouterPlace:
    """A router's card; ``below`` and ``above`` tell where the cable of a subnet leaves it."""

    router: RouterBox
    box: Box
    tier: int
    below: dict[str, float] = field(default_factory=dict)
    above: dict[str, float] = field(default_factory=dict)


# --- routers

_ROUTERS_APART = 36.0


def place_routers(content: Content, subnets: dict[str, SubnetPlace]) -> dict[str, RouterPlace]:
    """Routers by name, from the lowest tier upwards: tier, x and size; no height yet."""
    tiers = _tiers(content, subnets)
    places: dict[str, RouterPlace] = {}
    middle = max((place.box.right for place in subnets.values()), default=0) / 2
    for tier in sorted(set(tiers.values())):
        wanted = []
        for router in content.routers:
            if tiers[router.name] != tier:
                continue
            below = [subnets[name].box.middle for name in router.subnets if name in subnets]
            below += [places[other].box.middle for other in _neighbours(content, router.name)
                      if other in places and places[other].tier < tier]
            wanted.append((sum(below) / len(below) if below else middle, router))
        wanted.sort(key=lambda pair: pair[0])
        sized = [(x, *router_size(router)) for x, router in wanted]
        for x, (_, router), (_, wide, high) in zip(_apart(sized), wanted, sized, strict=True):
            places[router.name] = RouterPlace(router, Box(x, 0, wide, high), tier)
    return places


def _tiers(content: Content, subnets: dict[str, SubnetPlace]) -> dict[str, int]:
    """0 for a router in a drawn subnet, else one more than the nearest neighbour's."""
    tiers = {router.name: 0 for router in content.routers
             if any(name in subnets for name in router.subnets)}
    queue = deque(tiers)
    while queue:
        router = queue.popleft()
        for other in _neighbours(content, router):
            if other not in tiers:
                tiers[other] = tiers[router] + 1
                queue.append(other)
    return {each.name: tiers.get(each.name, 0) for each in content.routers}


def _neighbours(content: Content, router: str) -> list[str]:
    return [right if left == router else left
            for _, left, right in content.cables if router in (left, right)]


def _apart(sized: Sequence[tuple[float, float, float]]) -> list[float]:
    """Left edges near the wanted middles, without overlap: half way between two sweeps."""
    rightwards, edge = [], float("-inf")
    for x, wide, _ in sized:
        rightwards.append(max(x - wide / 2, edge))
        edge = rightwards[-1] + wide + _ROUTERS_APART
    leftwards, edge = [], float("inf")
    for x, wide, _ in reversed(sized):
        leftwards.append(min(x - wide / 2, edge - wide))
        edge = leftwards[-1] - _ROUTERS_APART
    return [(left + right) / 2
            for left, right in zip(reversed(leftwards), rightwards, strict=True)]


# --- cables

#: pixels between a router's lower edge and the first level part of a cable, and between two such
_FIRST_LEVEL, _LEVELS = 18.0, 10.0
#: pixels at least between two ports of a router, and from a port to the card's corner
_PORTS_APART, _CORNER = 20.0, 14.0


def find_ports(content: Content, subnets: dict[str, SubnetPlace], routers: dict[str, RouterPlace]
               ) -> None:
    """Fill in where cables leave routers and meet subnets."""
    for subnet in subnets.values():
        _enter(subnet, routers)
    for router in routers.values():
        _leave(content, router, subnets, routers)


def _enter(subnet: SubnetPlace, routers: dict[str, RouterPlace]) -> None:
    """On its bus right of its words, below each router if there is room."""
    users = sorted((router for router in routers.values()
                    if subnet.subnet.name in router.router.subnets),
                   key=lambda router: router.box.middle)
    first = subnet.box.x + PAD + subnet_words(subnet.subnet) + 22
    last = subnet.box.right - PAD - 12
    spacing = min(40.0, (last - first) / max(1, len(users)))
    for position, user in enumerate(users):
        low, high = first + position * spacing, last - (len(users) - 1 - position) * spacing
        subnet.entries[user.router.name] = min(max(user.box.middle, low), high)


def _leave(content: Content, place: RouterPlace, subnets: dict[str, SubnetPlace],
           routers: dict[str, RouterPlace]) -> None:
    """Along its edges, in the order of what the cables lead to."""
    name = place.router.name
    down = {subnet: subnets[subnet].entries[name] for subnet in place.router.subnets
            if subnet in subnets}
    up: dict[str, float] = {}
    for cable, left, right in content.cables:
        if name in (left, right):
            other = routers[right if left == name else left]
            (down if other.tier < place.tier else up)[cable] = other.box.middle
    place.below, place.above = _spread(place.box, down), _spread(place.box, up)
    for target, x in down.items():  # a straight cable where there is room for one
        if (target in subnets and place.box.x + _CORNER <= x <= place.box.right - _CORNER
                and all(abs(x - port) >= _PORTS_APART
                        for other, port in place.below.items() if other != target)):
            place.below[target] = x


def _spread(box: Box, targets: dict[str, float]) -> dict[str, float]:
    """Evenly along an edge, in the order of what they lead to."""
    ordered = sorted(targets, key=lambda name: targets[name])
    step = box.width / (len(ordered) + 1)
    return {name: box.x + step * (place + 1) for place, name in enumerate(ordered)}


def elbows(subnets: dict[str, SubnetPlace], routers: dict[str, RouterPlace]) -> dict[str, int]:
    """Routers of the lowest tier with a cable that is not straight: each has a level of its own."""
    bent = (name for name, place in routers.items() if place.tier == 0 and any(
        abs(x - subnets[other].entries[name]) > 1 or subnets[other].row
        for other, x in place.below.items() if other in subnets))
    return {name: level for level, name in enumerate(bent)}


def trunk(routers: dict[str, RouterPlace], elbows: dict[str, int]) -> float:
    """Pixels between the lowest routers and the subnets: room for every level."""
    return 34 + _LEVELS * len(elbows) if any(not place.tier for place in routers.values()) else 0


def cable_lines(content: Content, subnets: dict[str, SubnetPlace], routers: dict[str, RouterPlace],
          elbows: dict[str, int]) -> dict[tuple[str, str], list[Point]]:
    """The cables, once all heights are known; by what :class:`.layout.Layout` says."""
    lines: dict[tuple[str, str], list[Point]] = {}
    lowest = max((place.box.bottom for place in routers.values() if place.tier == 0), default=0)
    for name, place in routers.items():
        for other, x in place.below.items():
            if other in subnets:
                level = lowest + _FIRST_LEVEL + _LEVELS * elbows.get(name, 0)
                lines[name, other] = _to_subnet((x, place.box.bottom), subnets[other], name, level)
    arcs = 0
    for cable, left, right in content.cables:
        low, high = sorted((routers[left], routers[right]), key=lambda place: place.tier)
        start: Point = (low.above[cable], low.box.y)
        if low.tier == high.tier:
            arcs += 1
            end: Point = (high.above[cable], high.box.y)
            tops = [place.box.y for place in routers.values() if place.tier == low.tier]
            up = min(tops) - 6 - ARC * arcs
            line = [start, (start[0], up), (end[0], up), end]
        else:
            line = [start, (high.below[cable], high.box.bottom)]
        lines[low.router.name, cable] = line
    return lines


def _to_subnet(start: Point, place: SubnetPlace, router: str, level: float) -> list[Point]:
    x = place.entries[router]
    if place.row == 0:
        return [start, (start[0], level), (x, level), (x, place.bus)] if abs(
            start[0] - x) > 1 else [start, (x, place.bus)]
    aside = place.box.x - 8 - 6 * ((place.row - 1) % 3)
    above = place.box.y - 14
    return [start, (start[0], level), (aside, level), (aside, above), (x, above), (x, place.bus)]
