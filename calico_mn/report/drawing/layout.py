"""Where everything in a drawing of a cluster goes. Pure arithmetic, always the same.

First from left to right: subnets beside each other, and in rows of one column width when they are
too many, with the nodes inside each; routers in tiers above. Then where cables end (``routing``),
and only then the heights, since cables that run beside each other need room between routers and
subnets.
"""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn.report.drawing import boxes, routing
from calico_mn.report.drawing.boxes import LANE, PAD, Content, Sizes, SubnetBox
from calico_mn.report.drawing.routing import ARC, Box, NodePlace, Point, RouterPlace, SubnetPlace

#: pixels, around everything
MARGIN = 20.0
_ROWS_APART, _TIERS_APART = 40.0, 62.0


@dataclass(slots=True)
class Layout:
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


def layout(content: Content, lanes: int) -> Layout:
    """Place everything, leaving room for so many ways beside each other."""
    sizes = boxes.sizes(content, lanes)
    subnets = _place_subnets(content, sizes, lanes)
    routers = routing.place_routers(content, subnets)
    placed = [place.box for place in subnets.values()]
    placed += [place.box for place in routers.values()]
    width = max((box.right for box in placed), default=0.0)
    left = min((box.x for box in placed), default=0.0)
    for box in placed:
        box.x += MARGIN - left
    routing.find_ports(content, subnets, routers)
    elbows = routing.elbows(subnets, routers)
    # Lines between two routers of one tier run above them, each at a height of its own.
    arcs = sum(routers[left].tier == routers[right].tier for _, left, right in content.cables)
    top = _stack_routers(routers, arcs, routing.trunk(routers, elbows))
    bottom = top
    for row in sorted({place.row for place in subnets.values()}):
        beside = [place for place in subnets.values() if place.row == row]
        heights = [_fill(place, top, sizes, lanes) for place in beside]
        for place, height in zip(beside, heights, strict=True):
            place.box.height = max(heights) if place.nodes else height
        bottom = top + max(heights)
        top = bottom + _ROWS_APART
    return Layout(sizes, width - left + 2 * MARGIN, bottom + MARGIN, subnets, routers,
                  routing.cable_lines(content, subnets, routers, elbows))


def _stack_routers(routers: dict[str, RouterPlace], arcs: int, trunk: float) -> float:
    """Tiers from the top downwards, ``trunk`` below the last; returns where subnets begin."""
    y = MARGIN + ARC * arcs
    for tier in sorted({place.tier for place in routers.values()}, reverse=True):
        in_tier = [place for place in routers.values() if place.tier == tier]
        highest = max(place.box.height for place in in_tier)
        for place in in_tier:
            place.box.y = y + highest - place.box.height
        y += highest + (_TIERS_APART + ARC * arcs if tier else trunk)
    return y


# --- subnets and their nodes

#: pixels; nodes are put beside each other up to the first, subnets up to the second
_COMFORTABLE, _WIDEST = 1120.0, 1500.0
_BETWEEN, _CARDS_APART = 22.0, 16.0


def _place_subnets(content: Content, sizes: Sizes, lanes: int) -> dict[str, SubnetPlace]:
    """Subnets by name: their x, width and row, and each node's column and row in its subnet."""
    least = {box.name: _least(content, box, lanes) for box in content.subnets}
    columns = _columns(content, least, sizes, lanes)
    widths = [_wide(box, columns[box.name], least[box.name], sizes, lanes)
              for box in content.subnets]
    gap, across = _BETWEEN, len(widths)
    if _total(widths) > _WIDEST and across > 1:
        gap += 8 * (across // 4)
        most = max(1, int((_WIDEST + gap) / (max(widths) + gap)))
        # As many in each row, so that the last does not hold a single one.
        across = -(-across // -(-across // most))
        widths = [max(widths)] * len(widths)
    places, x = {}, 0.0
    for number, (box, wide) in enumerate(zip(content.subnets, widths, strict=True)):
        row, column = divmod(number, across)
        x = x if column else 0.0
        places[box.name] = SubnetPlace(box, Box(x, 0, wide, 0), row,
                                       _cards(box, columns[box.name]))
        x += wide + gap
    return places


def _fill(place: SubnetPlace, top: float, sizes: Sizes, lanes: int) -> float:
    """Put a subnet and its nodes at a height; returns how high it has to be."""
    place.box.y = top
    y = place.bus + 20 + lanes * LANE
    if not place.nodes:
        return y + 14 - top
    rows = 1 + max(node.row for node in place.nodes)
    columns = 1 + max(node.column for node in place.nodes)
    used = columns * sizes.card + (columns - 1) * _gutter(lanes)
    # The stubs of lower rows run down left of the first column, too.
    lead = _gutter(lanes) if rows > 1 else 0
    left = place.box.x + lead + (place.box.width - used - lead) / 2
    for row in range(rows):
        in_row = [node for node in place.nodes if node.row == row]
        highest = max(boxes.node_height(node.node, sizes) for node in in_row)
        for node in in_row:
            x = left + node.column * (sizes.card + _gutter(lanes))
            node.box = Box(x, y, sizes.card, highest)
        y += highest + _CARDS_APART
    return y - _CARDS_APART + PAD + (22 if place.subnet.more else 0) - top


def _columns(content: Content, least: dict[str, float], sizes: Sizes, lanes: int) -> dict[str, int]:
    """How many nodes each subnet has in a row: the tallest grow wider while there is room."""
    columns = {box.name: 1 for box in content.subnets}
    growing = [box for box in content.subnets if len(box.nodes) > 1]
    while growing:
        box = max(growing, key=lambda box: _rows(box, columns[box.name]))
        columns[box.name] += 1
        if _total([_wide(box, columns[box.name], least[box.name], sizes, lanes)
                   for box in content.subnets]) > _COMFORTABLE:
            columns[box.name] -= 1
            growing.remove(box)
        elif columns[box.name] == len(box.nodes):
            growing.remove(box)
    # No column more than the rows need.
    return {box.name: -(-len(box.nodes) // max(1, _rows(box, columns[box.name]))) or 1
            for box in content.subnets}


def _least(content: Content, box: SubnetBox, lanes: int) -> float:
    """The width of a subnet's words and of the places where routers' cables come in."""
    routers = max(1, sum(box.name in router.subnets for router in content.routers))
    return 2 * PAD + boxes.subnet_words(box) + 18 + routers * (26 + lanes * LANE)


def _wide(box: SubnetBox, columns: int, least: float, sizes: Sizes, lanes: int) -> float:
    gutters = columns if _rows(box, columns) > 1 else columns - 1
    return max(least, 2 * PAD + columns * sizes.card + gutters * _gutter(lanes))


def _total(widths: list[float]) -> float:
    return sum(widths) + _BETWEEN * (len(widths) - 1)


def _rows(box: SubnetBox, columns: int) -> int:
    return -(-len(box.nodes) // columns)


def _gutter(lanes: int) -> float:
    return _CARDS_APART + lanes * LANE


def _cards(box: SubnetBox, columns: int) -> list[NodePlace]:
    """Nodes in reading order; :func:`_fill` gives them their boxes."""
    return [NodePlace(node, Box(0, 0, 0, 0), number // columns, number % columns)
            for number, node in enumerate(box.nodes)]
