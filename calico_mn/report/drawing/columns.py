"""Subnets from left to right and in rows, and the nodes inside each. Pure arithmetic.

Subnets stand beside each other, and in rows of one column width when they are too many. How far
down a row begins depends on the routers above, which ``layout`` knows.
"""

from __future__ import annotations

from calico_mn.report.drawing import cards
from calico_mn.report.drawing.cards import LANE, PAD, Sizes
from calico_mn.report.drawing.plan import Box, NodePlace, SubnetPlace
from calico_mn.report.drawing.scene import Scene, SubnetBox

#: pixels; nodes are put beside each other up to the first, subnets up to the second
_COMFORTABLE, _WIDEST = 1120.0, 1500.0
_BETWEEN, _CARDS_APART = 22.0, 16.0


def place(scene: Scene, sizes: Sizes, lanes: int) -> dict[str, SubnetPlace]:
    """Subnets by name: their x, width and row, and each node's column and row in its subnet."""
    least = {box.name: _least(scene, box, lanes) for box in scene.subnets}
    columns = _columns(scene, least, sizes, lanes)
    widths = [_wide(box, columns[box.name], least[box.name], sizes, lanes)
              for box in scene.subnets]
    if _total(widths) <= _WIDEST or len(widths) < 2:
        places, x = {}, 0.0
        for box, wide in zip(scene.subnets, widths, strict=True):
            places[box.name] = SubnetPlace(box, Box(x, 0, wide, 0), 0,
                                           _cards(box, columns[box.name]))
            x += wide + _BETWEEN
        return places
    each = max(widths)
    gap = _BETWEEN + 8 * (len(widths) // 4)
    across = max(1, int((_WIDEST + gap) / (each + gap)))
    # As many in each row, so that the last does not hold a single one.
    across = -(-len(widths) // -(-len(widths) // across))
    return {box.name: SubnetPlace(box, Box(number % across * (each + gap), 0, each, 0),
                                  number // across, _cards(box, columns[box.name]))
            for number, box in enumerate(scene.subnets)}


def fill(found: SubnetPlace, top: float, sizes: Sizes, lanes: int) -> float:
    """Put a subnet and its nodes at a height; returns how high it has to be."""
    found.box.y = top
    y = found.bus + 20 + lanes * LANE
    if not found.nodes:
        return y + 14 - top
    rows = 1 + max(node.row for node in found.nodes)
    columns = 1 + max(node.column for node in found.nodes)
    used = columns * sizes.card + (columns - 1) * _gutter(lanes)
    # The stubs of lower rows run down left of the first column, too.
    lead = _gutter(lanes) if rows > 1 else 0
    left = found.box.x + lead + (found.box.width - used - lead) / 2
    for row in range(rows):
        mine = [node for node in found.nodes if node.row == row]
        highest = max(cards.node_height(node.node, sizes) for node in mine)
        for node in mine:
            x = left + node.column * (sizes.card + _gutter(lanes))
            node.box = Box(x, y, sizes.card, highest)
        y += highest + _CARDS_APART
    return y - _CARDS_APART + PAD + (22 if found.subnet.more else 0) - top


def _columns(scene: Scene, least: dict[str, float], sizes: Sizes, lanes: int) -> dict[str, int]:
    """How many nodes each subnet has in a row: the tallest grow wider while there is room."""
    columns = {box.name: 1 for box in scene.subnets}
    growing = [box for box in scene.subnets if len(box.nodes) > 1]
    while growing:
        box = max(growing, key=lambda box: _rows(box, columns[box.name]))
        columns[box.name] += 1
        if _total([_wide(box, columns[box.name], least[box.name], sizes, lanes)
                   for box in scene.subnets]) > _COMFORTABLE:
            columns[box.name] -= 1
            growing.remove(box)
        elif columns[box.name] == len(box.nodes):
            growing.remove(box)
    # No column more than the rows need.
    return {box.name: -(-len(box.nodes) // max(1, _rows(box, columns[box.name]))) or 1
            for box in scene.subnets}


def _least(scene: Scene, box: SubnetBox, lanes: int) -> float:
    """The width of a subnet's words and of the places where routers' cables come in."""
    routers = max(1, sum(box.name in router.subnets for router in scene.routers))
    return 2 * PAD + cards.subnet_words(box) + 18 + routers * (26 + lanes * LANE)


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
    """Nodes in reading order; :func:`fill` gives them their boxes."""
    return [NodePlace(node, Box(0, 0, 0, 0), number // columns, number % columns)
            for number, node in enumerate(box.nodes)]
