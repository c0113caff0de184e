"""Where everything in a drawing of a cluster goes. Pure arithmetic, always the same.

First from left to right: subnets beside each other, and in rows of one column width when they are
too many, with the nodes inside each. Routers with a leg in a drawn subnet stand lowest above them,
higher those that only other routers reach, each over what it joins. Then where cables leave
routers and meet subnets, and only then the heights, since cables that run beside each other need
room; those of lower rows run down between the columns of subnets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from calico_mn.report.drawing import boxes
from calico_mn.report.drawing.boxes import (
    LANE,
    PAD,
    Box,
    Drawing,
    Point,
    RouterBox,
    Sizes,
    SubnetBox,
    router_size,
    subnet_words,
)

#: pixels, around everything
MARGIN = 20.0
_ROWS_APART, _TIERS_APART = 40.0, 62.0
#: pixels between the lines that join two routers of one tier
_ARC = 13.0


def layout(drawing: Drawing, lanes: int) -> Sizes:
    """Place everything, leaving room for so many ways beside each other; what cards share."""
    sizes = boxes.sizes(drawing, lanes)
    _place_subnets(drawing, sizes, lanes)
    _place_routers(drawing)
    placed: list[Box] = [*drawing.subnets.values(), *drawing.routers.values()]
    right = max((box.right for box in placed), default=0.0)
    left = min((box.x for box in placed), default=0.0)
    for box in placed:
        box.x += MARGIN - left
    _find_ports(drawing)
    elbows = _elbows(drawing)
    bottom = top = _stack_routers(drawing, _trunk(drawing, elbows))
    for row in sorted({subnet.row for subnet in drawing.subnets.values()}):
        beside = [subnet for subnet in drawing.subnets.values() if subnet.row == row]
        heights = [_fill(subnet, top, sizes, lanes) for subnet in beside]
        for subnet, height in zip(beside, heights, strict=True):
            subnet.height = max(heights) if subnet.nodes else height
        bottom = top + max(heights)
        top = bottom + _ROWS_APART
    drawing.width, drawing.height = right - left + 2 * MARGIN, bottom + MARGIN
    drawing.cables = _cable_lines(drawing, elbows)
    return sizes


def _stack_routers(drawing: Drawing, trunk: float) -> float:
    """Tiers from the top downwards, ``trunk`` below the last; returns where subnets begin."""
    routers = drawing.routers
    # Lines between two routers of one tier run above them, each at a height of its own.
    arcs = sum(routers[left].tier == routers[right].tier for _, left, right in drawing.transit)
    y = MARGIN + _ARC * arcs
    for tier in sorted({router.tier for router in routers.values()}, reverse=True):
        in_tier = [router for router in routers.values() if router.tier == tier]
        highest = max(router.height for router in in_tier)
        for router in in_tier:
            router.y = y + highest - router.height
        y += highest + (_TIERS_APART + _ARC * arcs if tier else trunk)
    return y


# --- subnets and their nodes

#: pixels; nodes are put beside each other up to the first, subnets up to the second
_COMFORTABLE, _WIDEST = 1120.0, 1500.0
_BETWEEN, _CARDS_APART = 22.0, 16.0


def _place_subnets(drawing: Drawing, sizes: Sizes, lanes: int) -> None:
    """Find subnets' x, width and row, and each node's column and row in its subnet."""
    subnets = list(drawing.subnets.values())
    least = {subnet.name: _least(drawing, subnet, lanes) for subnet in subnets}
    columns = _columns(subnets, least, sizes, lanes)
    widths = [_wide(subnet, columns[subnet.name], least[subnet.name], sizes, lanes)
              for subnet in subnets]
    gap, across = _BETWEEN, len(widths)
    if _total(widths) > _WIDEST and across > 1:
        gap += 8 * (across // 4)
        most = max(1, int((_WIDEST + gap) / (max(widths) + gap)))
        # As many in each row, so that the last does not hold a single one.
        across = -(-across // -(-across // most))
        widths = [max(widths)] * len(widths)
    x = 0.0
    for number, (subnet, wide) in enumerate(zip(subnets, widths, strict=True)):
        subnet.row, column = divmod(number, across)
        subnet.x, subnet.width = x if column else 0.0, wide
        x = subnet.right + gap
        for place, node in enumerate(subnet.nodes):
            node.row, node.column = divmod(place, columns[subnet.name])


def _fill(subnet: SubnetBox, top: float, sizes: Sizes, lanes: int) -> float:
    """Put a subnet and its nodes at a height; returns how high it has to be."""
    subnet.y = top
    y = subnet.bus + 20 + lanes * LANE
    if not subnet.nodes:
        return y + 14 - top
    rows = 1 + max(node.row for node in subnet.nodes)
    columns = 1 + max(node.column for node in subnet.nodes)
    used = columns * sizes.card + (columns - 1) * _gutter(lanes)
    # The stubs of lower rows run down left of the first column, too.
    lead = _gutter(lanes) if rows > 1 else 0
    left = subnet.x + lead + (subnet.width - used - lead) / 2
    for row in range(rows):
        in_row = [node for node in subnet.nodes if node.row == row]
        highest = max(boxes.node_height(node, sizes) for node in in_row)
        for node in in_row:
            node.x, node.y = left + node.column * (sizes.card + _gutter(lanes)), y
            node.width, node.height = sizes.card, highest
        y += highest + _CARDS_APART
    return y - _CARDS_APART + PAD + (22 if subnet.more else 0) - top


def _columns(subnets: Sequence[SubnetBox], least: dict[str, float], sizes: Sizes, lanes: int
             ) -> dict[str, int]:
    """How many nodes each subnet has in a row: the tallest grow wider while there is room."""
    columns = {subnet.name: 1 for subnet in subnets}
    growing = [subnet for subnet in subnets if len(subnet.nodes) > 1]
    while growing:
        subnet = max(growing, key=lambda subnet: _rows(subnet, columns[subnet.name]))
        columns[subnet.name] += 1
        if _total([_wide(each, columns[each.name], least[each.name], sizes, lanes)
                   for each in subnets]) > _COMFORTABLE:
            columns[subnet.name] -= 1
            growing.remove(subnet)
        elif columns[subnet.name] == len(subnet.nodes):
            growing.remove(subnet)
    # No column more than the rows need.
    return {subnet.name: -(-len(subnet.nodes) // max(1, _rows(subnet, columns[subnet.name]))) or 1
            for subnet in subnets}


def _least(drawing: Drawing, subnet: SubnetBox, lanes: int) -> float:
    """The width of a subnet's words and of the places where routers' cables come in."""
    routers = max(1, sum(subnet.name in router.subnets for router in drawing.routers.values()))
    return 2 * PAD + subnet_words(subnet) + 18 + routers * (26 + lanes * LANE)


def _wide(box: SubnetBox, columns: int, least: float, sizes: Sizes, lanes: int) -> float:
    gutters = columns if _rows(box, columns) > 1 else columns - 1
    return max(least, 2 * PAD + columns * sizes.card + gutters * _gutter(lanes))


def _total(widths: list[float]) -> float:
    return sum(widths) + _BETWEEN * (len(widths) - 1)


def _rows(box: SubnetBox, columns: int) -> int:
    return -(-len(box.nodes) // columns)


def _gutter(lanes: int) -> float:
    return _CARDS_APART + lanes * LANE


# --- routers

_ROUTERS_APART = 36.0


def _place_routers(drawing: Drawing) -> None:
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


def _find_ports(drawing: Drawing) -> None:
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


def _elbows(drawing: Drawing) -> dict[str, int]:
    """Routers of the lowest tier with a cable that is not straight: each has a level of its own."""
    subnets = drawing.subnets
    bent = (name for name, router in drawing.routers.items() if router.tier == 0 and any(
        abs(x - subnets[other].entries[name]) > 1 or subnets[other].row
        for other, x in router.below.items() if other in subnets))
    return {name: level for level, name in enumerate(bent)}


def _trunk(drawing: Drawing, elbows: dict[str, int]) -> float:
    """Pixels between the lowest routers and the subnets: room for every level."""
    lowest = any(not router.tier for router in drawing.routers.values())
    return 34 + _LEVELS * len(elbows) if lowest else 0


def _cable_lines(drawing: Drawing, elbows: dict[str, int]) -> dict[tuple[str, str], list[Point]]:
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
            up = min(tops) - 6 - _ARC * arcs
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
