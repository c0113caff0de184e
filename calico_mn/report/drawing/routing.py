"""The places of a drawing: routers in tiers above the subnets, and the cables. Pure arithmetic.

Routers with a leg in a drawn subnet stand lowest, above them those that only other routers reach,
each over what it joins. Cables leave routers, meet subnets, and run in between; those of lower rows
run down between the columns of subnets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from calico_mn.report.drawing.boxes import (
    PAD,
    Box,
    Drawing,
    Point,
    RouterBox,
    SubnetBox,
    router_size,
    subnet_words,
)

#: pixels between the lines that join two routers of one tier
ARC = 13.0

# --- routers

_ROUTERS_APART = 36.0


def place_routers(drawing: Drawing) -> None:
    """Put routers in order, from the lowest tier upwards: tier, x and size; no height yet."""
    subnets, tiers = drawing.subnets, _tiers(drawing)
    placed: dict[str, RouterBox] = {}
    middle = max((subnet.right for subnet in subnets.values()), default=0) / 2
    for tier in sorted(set(tiers.values())):
        wanted = []
        for router in drawing.routers.values():
            router.tier = tiers[router.name]
            if router.tier == tier:
                below = [subnets[name].middle for name in router.subnets if name in subnets]
                below += [placed[other].middle for other in _neighbours(drawing, router.name)
                          if other in placed and placed[other].tier < tier]
                router.width, router.height = router_size(router)
                wanted.append((sum(below) / len(below) if below else middle, router))
        wanted.sort(key=lambda pair: pair[0])
        edges = _apart([(x, router.width) for x, router in wanted])
        for (_, router), edge in zip(wanted, edges, strict=True):
            router.x = edge
            placed[router.name] = router
    drawing.routers = placed


def _tiers(drawing: Drawing) -> dict[str, int]:
    """0 for a router in a drawn subnet, else one more than the nearest neighbour's."""
    tiers = {name: 0 for name, router in drawing.routers.items()
             if any(subnet in drawing.subnets for subnet in router.subnets)}
    queue = deque(tiers)
    while queue:
        router = queue.popleft()
        for other in _neighbours(drawing, router):
            if other not in tiers:
                tiers[other] = tiers[router] + 1
                queue.append(other)
    return {name: tiers.get(name, 0) for name in drawing.routers}


def _neighbours(drawing: Drawing, router: str) -> list[str]:
    return [right if left == router else left
            for _, left, right in drawing.transit if router in (left, right)]


def _apart(sized: Sequence[tuple[float, float]]) -> list[float]:
    """Left edges near the wanted middles, without overlap: half way between two sweeps."""
    rightwards, edge = [], float("-inf")
    for x, wide in sized:
        rightwards.append(max(x - wide / 2, edge))
        edge = rightwards[-1] + wide + _ROUTERS_APART
    leftwards, edge = [], float("inf")
    for x, wide in reversed(sized):
        leftwards.append(min(x - wide / 2, edge - wide))
        edge = leftwards[-1] - _ROUTERS_APART
    return [(left + right) / 2
            for left, right in zip(reversed(leftwards), rightwards, strict=True)]


# --- cables

#: pixels between a router's lower edge and the first level part of a cable, and between two such
_FIRST_LEVEL, _LEVELS = 18.0, 10.0
#: pixels at least between two ports of a router, and from a port to the card's corner
_PORTS_APART, _CORNER = 20.0, 14.0


def find_ports(drawing: Drawing) -> None:
    """Fill in where cables leave routers and meet subnets."""
    for subnet in drawing.subnets.values():
        _enter(subnet, drawing.routers.values())
    for router in drawing.routers.values():
        _leave(drawing, router)


def _enter(subnet: SubnetBox, routers: Iterable[RouterBox]) -> None:
    """On its bus right of its words, below each router if there is room."""
    users = sorted((router for router in routers if subnet.name in router.subnets),
                   key=lambda router: router.middle)
    first = subnet.x + PAD + subnet_words(subnet) + 22
    last = subnet.right - PAD - 12
    spacing = min(40.0, (last - first) / max(1, len(users)))
    for position, user in enumerate(users):
        low, high = first + position * spacing, last - (len(users) - 1 - position) * spacing
        subnet.entries[user.name] = min(max(user.middle, low), high)


def _leave(drawing: Drawing, router: RouterBox) -> None:
    """Along its edges, in the order of what the cables lead to."""
    subnets = drawing.subnets
    down = {subnet: subnets[subnet].entries[router.name] for subnet in router.subnets
            if subnet in subnets}
    up: dict[str, float] = {}
    for cable, left, right in drawing.transit:
        if router.name in (left, right):
            other = drawing.routers[right if left == router.name else left]
            (down if other.tier < router.tier else up)[cable] = other.middle
    router.below, router.above = _spread(router, down), _spread(router, up)
    for target, x in down.items():  # a straight cable where there is room for one
        if (target in subnets and router.x + _CORNER <= x <= router.right - _CORNER
                and all(abs(x - port) >= _PORTS_APART
                        for subnet, port in router.below.items() if subnet != target)):
            router.below[target] = x


def _spread(box: Box, targets: dict[str, float]) -> dict[str, float]:
    """Evenly along an edge, in the order of what they lead to."""
    ordered = sorted(targets, key=lambda name: targets[name])
    step = box.width / (len(ordered) + 1)
    return {name: box.x + step * (place + 1) for place, name in enumerate(ordered)}


def elbows(drawing: Drawing) -> dict[str, int]:
    """Routers of the lowest tier with a cable that is not straight: each has a level of its own."""
    subnets = drawing.subnets
    bent = (name for name, router in drawing.routers.items() if router.tier == 0 and any(
        abs(x - subnets[other].entries[name]) > 1 or subnets[other].row
        for other, x in router.below.items() if other in subnets))
    return {name: level for level, name in enumerate(bent)}


def trunk(drawing: Drawing, elbows: dict[str, int]) -> float:
    """Pixels between the lowest routers and the subnets: room for every level."""
    lowest = any(not router.tier for router in drawing.routers.values())
    return 34 + _LEVELS * len(elbows) if lowest else 0


def cable_lines(drawing: Drawing, elbows: dict[str, int]) -> dict[tuple[str, str], list[Point]]:
    """The cables, once all heights are known; by what :class:`.boxes.Drawing` says."""
    lines: dict[tuple[str, str], list[Point]] = {}
    routers = drawing.routers
    lowest = max((router.bottom for router in routers.values() if router.tier == 0), default=0)
    for name, router in routers.items():
        for other, x in router.below.items():
            if other in drawing.subnets:
                level = lowest + _FIRST_LEVEL + _LEVELS * elbows.get(name, 0)
                lines[name, other] = _to_subnet((x, router.bottom), drawing.subnets[other], name,
                                                level)
    arcs = 0
    for cable, left, right in drawing.transit:
        low, high = sorted((routers[left], routers[right]), key=lambda router: router.tier)
        start: Point = (low.above[cable], low.y)
        if low.tier == high.tier:
            arcs += 1
            end: Point = (high.above[cable], high.y)
            tops = [router.y for router in routers.values() if router.tier == low.tier]
            up = min(tops) - 6 - ARC * arcs
            line = [start, (start[0], up), (end[0], up), end]
        else:
            line = [start, (high.below[cable], high.bottom)]
        lines[low.name, cable] = line
    return lines


def _to_subnet(start: Point, subnet: SubnetBox, router: str, level: float) -> list[Point]:
    x = subnet.entries[router]
    if subnet.row == 0:
        return [start, (start[0], level), (x, level), (x, subnet.bus)] if abs(
            start[0] - x) > 1 else [start, (x, subnet.bus)]
    aside = subnet.x - 8 - 6 * ((subnet.row - 1) % 3)
    above = subnet.y - 14
    return [start, (start[0], level), (aside, level), (aside, above), (x, above), (x, subnet.bus)]
