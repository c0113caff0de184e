"""Where everything in a drawing of a cluster goes. Pure arithmetic, always the same.

First from left to right: subnets beside each other, and in rows of one column width when they are
too many, with the nodes inside each; routers in tiers above. Then where cables end (``routing``),
and only then the heights, since cables that run beside each other need room between routers and
subnets.
"""

from __future__ import annotations

from collections.abc import Sequence

from calico_mn.report.drawing import boxes, routing
from calico_mn.report.drawing.boxes import LANE, PAD, Box, Drawing, Sizes, SubnetBox
from calico_mn.report.drawing.routing import ARC

#: pixels, around everything
MARGIN = 20.0
_ROWS_APART, _TIERS_APART = 40.0, 62.0


def layout(drawing: Drawing, lanes: int) -> Sizes:
    """Place everything, leaving room for so many ways beside each other; what cards share."""
    sizes = boxes.sizes(drawing, lanes)
    _place_subnets(drawing, sizes, lanes)
    routing.place_routers(drawing)
    placed: list[Box] = [*drawing.subnets.values(), *drawing.routers.values()]
    right = max((box.right for box in placed), default=0.0)
    left = min((box.x for box in placed), default=0.0)
    for box in placed:
        box.x += MARGIN - left
    routing.find_ports(drawing)
    elbows = routing.elbows(drawing)
    bottom = top = _stack_routers(drawing, routing.trunk(drawing, elbows))
    for row in sorted({subnet.row for subnet in drawing.subnets.values()}):
        beside = [subnet for subnet in drawing.subnets.values() if subnet.row == row]
        heights = [_fill(subnet, top, sizes, lanes) for subnet in beside]
        for subnet, height in zip(beside, heights, strict=True):
            subnet.height = max(heights) if subnet.nodes else height
        bottom = top + max(heights)
        top = bottom + _ROWS_APART
    drawing.width, drawing.height = right - left + 2 * MARGIN, bottom + MARGIN
    drawing.cables = routing.cable_lines(drawing, elbows)
    return sizes


def _stack_routers(drawing: Drawing, trunk: float) -> float:
    """Tiers from the top downwards, ``trunk`` below the last; returns where subnets begin."""
    routers = drawing.routers
    # Lines between two routers of one tier run above them, each at a height of its own.
    arcs = sum(routers[left].tier == routers[right].tier for _, left, right in drawing.transit)
    y = MARGIN + ARC * arcs
    for tier in sorted({router.tier for router in routers.values()}, reverse=True):
        in_tier = [router for router in routers.values() if router.tier == tier]
        highest = max(router.height for router in in_tier)
        for router in in_tier:
            router.y = y + highest - router.height
        y += highest + (_TIERS_APART + ARC * arcs if tier else trunk)
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
    return 2 * PAD + boxes.subnet_words(subnet) + 18 + routers * (26 + lanes * LANE)


def _wide(box: SubnetBox, columns: int, least: float, sizes: Sizes, lanes: int) -> float:
    gutters = columns if _rows(box, columns) > 1 else columns - 1
    return max(least, 2 * PAD + columns * sizes.card + gutters * _gutter(lanes))


def _total(widths: list[float]) -> float:
    return sum(widths) + _BETWEEN * (len(widths) - 1)


def _rows(box: SubnetBox, columns: int) -> int:
    return -(-len(box.nodes) // columns)


def _gutter(lanes: int) -> float:
    return _CARDS_APART + lanes * LANE
