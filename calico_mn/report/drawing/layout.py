"""Where everything in a drawing of a cluster goes. Pure arithmetic, always the same.

Routers are in tiers above the subnets: those with a leg in a drawn subnet lowest, above them
those that only other routers reach. Subnets stand beside each other, and in rows of one column
width when they are too many; the cables of lower rows run down between the columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from calico_mn.report.drawing import cards
from calico_mn.report.drawing.cards import LANE, PAD, Sizes
from calico_mn.report.drawing.scene import NodeBox, RouterBox, Scene, SubnetBox

#: pixels; nodes are put beside each other up to the first, subnets up to the second
_COMFORTABLE, _WIDEST = 1120.0, 1500.0
MARGIN = 20.0
HEADER, BUS = 48.0, 58.0
_BETWEEN, _ROWS_APART, _CARDS_APART = 22.0, 40.0, 16.0
_ROUTERS_APART, _TIERS_APART, _ARC = 36.0, 62.0, 13.0

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
    """A node's card; ``row`` counts within its subnet."""

    node: NodeBox
    box: Box
    row: int

    def chip(self, position: int, found: Sizes) -> Box:
        """The place of a listed pod."""
        top = self.box.y + cards.HEAD + cards.LINE * len(self.node.facts) + 8
        return Box(self.box.x + found.left(self.node),
                   top + position * (found.chip + cards.CHIP_GAP), found.room(self.node),
                   found.chip)


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


@dataclass(slots=True)
class Plan:
    """The whole drawing.

    ``cables`` are lines by (router, subnet); between routers, by the lower one and the transit
    subnet.
    """

    sizes: Sizes
    width: float
    height: float
    subnets: dict[str, SubnetPlace]
    routers: dict[str, RouterPlace]
    cables: dict[tuple[str, str], list[Point]]


def layout(scene: Scene, lanes: int) -> Plan:
    """Place everything, leaving room for so many ways beside each other."""
    found = cards.sizes(scene, lanes)
    subnets = _subnets(scene, found, lanes)
    routers = _routers(scene, subnets)
    boxes = [place.box for place in subnets.values()] + [place.box for place in routers.values()]
    wide = max((box.right for box in boxes), default=0.0)
    left = min((box.x for box in boxes), default=0.0)
    for box in boxes:
        box.x += MARGIN - left
    _ports(scene, subnets, routers)
    elbows = {name: level for level, name in enumerate(
        name for name, place in routers.items() if place.tier == 0 and any(
            abs(x - subnets[other].entries[name]) > 1 or subnets[other].row
            for other, x in place.below.items() if other in subnets))}
    trunk = (34 + 10 * len(elbows)) if any(place.tier == 0 for place in routers.values()) else 0
    # Lines between two routers of one tier run above them, each at a height of its own.
    arcs = sum(routers[one].tier == routers[two].tier for _, one, two in scene.cables)
    bottom = _set_heights(subnets, routers, trunk, arcs, found, lanes)
    cables = _cables(scene, subnets, routers, elbows)
    return Plan(found, wide - left + 2 * MARGIN, bottom + MARGIN, subnets, routers, cables)


def _subnets(scene: Scene, found: Sizes, lanes: int) -> dict[str, SubnetPlace]:
    """Their widths and places from left to right, and how many nodes each has in a row."""
    routers = {box.name: max(1, sum(box.name in router.subnets for router in scene.routers))
               for box in scene.subnets}
    least = {box.name: 2 * PAD + cards.subnet_words(box) + 18
             + routers[box.name] * (26 + lanes * LANE) for box in scene.subnets}
    columns = {box.name: 1 for box in scene.subnets}

    def wide(box: SubnetBox) -> float:
        count = columns[box.name]
        gutters = count if _rows(box, count) > 1 else count - 1
        return max(least[box.name], 2 * PAD + count * found.card + gutters * _gutter(lanes))

    def total() -> float:
        return sum(map(wide, scene.subnets)) + _BETWEEN * (len(scene.subnets) - 1)

    growing = [box for box in scene.subnets if len(box.nodes) > 1]
    while growing:
        box = max(growing, key=lambda box: _rows(box, columns[box.name]))
        columns[box.name] += 1
        if total() > _COMFORTABLE:
            columns[box.name] -= 1
            growing.remove(box)
        elif columns[box.name] == len(box.nodes):
            growing.remove(box)
    for box in scene.subnets:  # no column more than the rows need
        columns[box.name] = -(-len(box.nodes) // max(1, _rows(box, columns[box.name]))) or 1
    if total() <= _WIDEST or len(scene.subnets) < 2:
        return _in_one_row(scene.subnets, [wide(box) for box in scene.subnets], columns)
    each = max(map(wide, scene.subnets))
    gap = _BETWEEN + 8 * (len(scene.subnets) // 4)
    across = max(1, int((_WIDEST + gap) / (each + gap)))
    across = -(-len(scene.subnets) // -(-len(scene.subnets) // across))
    return {box.name: SubnetPlace(box, Box(place % across * (each + gap), 0, each, 0),
                                  place // across, _cards(box, columns[box.name]))
            for place, box in enumerate(scene.subnets)}


def _in_one_row(boxes: Sequence[SubnetBox], widths: Sequence[float], columns: dict[str, int]
                ) -> dict[str, SubnetPlace]:
    places, x = {}, 0.0
    for box, wide in zip(boxes, widths, strict=True):
        places[box.name] = SubnetPlace(box, Box(x, 0, wide, 0), 0, _cards(box, columns[box.name]))
        x += wide + _BETWEEN
    return places


def _rows(box: SubnetBox, columns: int) -> int:
    return -(-len(box.nodes) // columns)


def _gutter(lanes: int) -> float:
    return _CARDS_APART + lanes * LANE


def _cards(box: SubnetBox, columns: int) -> list[NodePlace]:
    """Their rows; ``x`` is the column until heights are set."""
    return [NodePlace(node, Box(place % columns, 0, 0, 0), place // columns)
            for place, node in enumerate(box.nodes)]


def _routers(scene: Scene, subnets: dict[str, SubnetPlace]) -> dict[str, RouterPlace]:
    tiers = _tiers(scene, subnets)
    places: dict[str, RouterPlace] = {}
    middle = max((place.box.right for place in subnets.values()), default=0) / 2
    for tier in sorted(set(tiers.values())):
        wanted = []
        for router in scene.routers:
            if tiers[router.name] != tier:
                continue
            below = [subnets[name].box.middle for name in router.subnets if name in subnets]
            below += [places[other].box.middle for other in _neighbours(scene, router.name)
                      if other in places and places[other].tier < tier]
            wanted.append((sum(below) / len(below) if below else middle, router))
        wanted.sort(key=lambda pair: pair[0])
        sized = [(x, *cards.router_size(router)) for x, router in wanted]
        for x, (_, router), (_, wide, high) in zip(_apart(sized), wanted, sized, strict=True):
            places[router.name] = RouterPlace(router, Box(x, 0, wide, high), tier)
    return places


def _tiers(scene: Scene, subnets: dict[str, SubnetPlace]) -> dict[str, int]:
    """0 for a router in a drawn subnet, else one more than the nearest neighbour's."""
    tiers = {router.name: 0 for router in scene.routers
             if any(name in subnets for name in router.subnets)}
    queue = deque(tiers)
    while queue:
        here = queue.popleft()
        for other in _neighbours(scene, here):
            if other not in tiers:
                tiers[other] = tiers[here] + 1
                queue.append(other)
    return {router.name: tiers.get(router.name, 0) for router in scene.routers}


def _neighbours(scene: Scene, router: str) -> list[str]:
    return [two if one == router else one for _, one, two in scene.cables if router in (one, two)]


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
    return [(one + other) / 2 for one, other in zip(rightwards, reversed(leftwards), strict=True)]


def _ports(scene: Scene, subnets: dict[str, SubnetPlace], routers: dict[str, RouterPlace]) -> None:
    """Where cables leave routers and meet subnets."""
    for place in subnets.values():
        users = sorted((other for other in routers.values()
                        if place.subnet.name in other.router.subnets),
                       key=lambda other: other.box.middle)
        first = place.box.x + PAD + cards.subnet_words(place.subnet) + 22
        last = place.box.right - PAD - 12
        spacing = min(40.0, (last - first) / max(1, len(users)))
        for position, user in enumerate(users):
            low, high = first + position * spacing, last - (len(users) - 1 - position) * spacing
            place.entries[user.router.name] = min(max(user.box.middle, low), high)
    for place_ in routers.values():
        name = place_.router.name
        targets = {subnet: subnets[subnet].entries[name] for subnet in place_.router.subnets
                   if subnet in subnets}
        up: dict[str, float] = {}
        for cable, one, two in scene.cables:
            if name not in (one, two):
                continue
            other_ = routers[two if one == name else one]
            (targets if other_.tier < place_.tier else up)[cable] = other_.box.middle
        place_.below, place_.above = _spread(place_.box, targets), _spread(place_.box, up)
        for target, x in targets.items():  # a straight cable where there is room for one
            if target in subnets and place_.box.x + 14 <= x <= place_.box.right - 14 and all(
                    abs(x - port) >= 20 for other, port in place_.below.items() if other != target):
                place_.below[target] = x


def _spread(box: Box, targets: dict[str, float]) -> dict[str, float]:
    """Evenly along an edge, in the order of what they lead to."""
    ordered = sorted(targets, key=lambda name: targets[name])
    step = box.width / (len(ordered) + 1)
    return {name: box.x + step * (place + 1) for place, name in enumerate(ordered)}


def _set_heights(subnets: dict[str, SubnetPlace], routers: dict[str, RouterPlace], trunk: float,
                 arcs: int, found: Sizes, lanes: int) -> float:
    """Everything's place from top to bottom; returns the lowest edge."""
    y = MARGIN + _ARC * arcs
    for tier in sorted({place.tier for place in routers.values()}, reverse=True):
        mine = [place for place in routers.values() if place.tier == tier]
        highest = max(place.box.height for place in mine)
        for place in mine:
            place.box.y = y + highest - place.box.height
        y += highest + (_TIERS_APART + _ARC * arcs if tier else trunk)
    row = 0
    while mine_ := [place for place in subnets.values() if place.row == row]:
        for place_ in mine_:
            place_.box.y = y
            place_.box.height = _fill(place_, found, lanes)
        highest = max(place_.box.height for place_ in mine_)
        for place_ in mine_:
            if place_.nodes:
                place_.box.height = highest
        y += highest + _ROWS_APART
        row += 1
    return y - _ROWS_APART if row else y


def _fill(place: SubnetPlace, found: Sizes, lanes: int) -> float:
    """Place a subnet's nodes; returns its height."""
    rows = 1 + max((node.row for node in place.nodes), default=0)
    columns = 1 + int(max((node.box.x for node in place.nodes), default=0))
    used = columns * found.card + (columns - 1) * _gutter(lanes)
    lead = _gutter(lanes) if rows > 1 else 0
    left = place.box.x + lead + (place.box.width - used - lead) / 2
    y = place.bus + 20 + lanes * LANE
    if not place.nodes:
        return y + 14 - place.box.y
    for row in range(rows):
        mine = [node for node in place.nodes if node.row == row]
        highest = max(cards.node_height(node.node, found) for node in mine)
        for node in mine:
            x = left + node.box.x * (found.card + _gutter(lanes))
            node.box = Box(x, y, found.card, highest)
        y += highest + _CARDS_APART
    return y - _CARDS_APART + PAD + (22 if place.subnet.more else 0) - place.box.y


def _cables(scene: Scene, subnets: dict[str, SubnetPlace], routers: dict[str, RouterPlace],
            elbows: dict[str, int]) -> dict[tuple[str, str], list[Point]]:
    cables: dict[tuple[str, str], list[Point]] = {}
    lowest = max((place.box.bottom for place in routers.values() if place.tier == 0), default=0)
    for name, place in routers.items():
        for other, x in place.below.items():
            if other in subnets:
                level = lowest + 18 + 10 * elbows.get(name, 0)
                cables[name, other] = _to_subnet((x, place.box.bottom), subnets[other], name, level)
    arc = 0
    for cable, one, two in scene.cables:
        low, high = sorted((routers[one], routers[two]), key=lambda place: place.tier)
        start: Point = (low.above[cable], low.box.y)
        tops = [place.box.y for place in routers.values() if place.tier == low.tier]
        if low.tier == high.tier:
            end: Point = (high.above[cable], high.box.y)
            arc += 1
            up = min(start[1], end[1], *tops) - 6 - _ARC * arc
            line = [start, (start[0], up), (end[0], up), end]
        else:
            line = [start, (high.below[cable], high.box.bottom)]
        cables[low.router.name, cable] = line
    return cables


def _to_subnet(start: Point, place: SubnetPlace, router: str, level: float) -> list[Point]:
    x = place.entries[router]
    if place.row == 0:
        return [start, (start[0], level), (x, level), (x, place.bus)] if abs(
            start[0] - x) > 1 else [start, (x, place.bus)]
    aside = place.box.x - 8 - 6 * ((place.row - 1) % 3)
    above = place.box.y - 14
    return [start, (start[0], level), (aside, level), (aside, above), (x, above), (x, place.bus)]
