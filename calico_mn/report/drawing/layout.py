"""Where everything in a drawing of a cluster goes. Pure arithmetic, always the same.

First from left to right (``columns``, ``tiers``), then where cables end (``cables``), and only
then the heights, since cables that run beside each other need room between routers and subnets.
"""

from __future__ import annotations

from calico_mn.report.drawing import cables, cards, columns, tiers
from calico_mn.report.drawing.plan import ARC, MARGIN, Plan, RouterPlace, SubnetPlace
from calico_mn.report.drawing.scene import Scene

_ROWS_APART, _TIERS_APART = 40.0, 62.0


def layout(scene: Scene, lanes: int) -> Plan:
    """Place everything, leaving room for so many ways beside each other."""
    sizes = cards.sizes(scene, lanes)
    subnets = columns.place(scene, sizes, lanes)
    routers = tiers.place(scene, subnets)
    boxes = [place.box for place in subnets.values()] + [place.box for place in routers.values()]
    wide = max((box.right for box in boxes), default=0.0)
    left = min((box.x for box in boxes), default=0.0)
    for box in boxes:
        box.x += MARGIN - left
    cables.find_ports(scene, subnets, routers)
    elbows = cables.elbows(subnets, routers)
    # Lines between two routers of one tier run above them, each at a height of its own.
    arcs = sum(routers[one].tier == routers[two].tier for _, one, two in scene.cables)
    top = _stack_routers(routers, arcs, cables.trunk(routers, elbows))
    bottom = top
    for row in sorted({place.row for place in subnets.values()}):
        mine = [place for place in subnets.values() if place.row == row]
        bottom = _align(mine, top, [columns.fill(place, top, sizes, lanes) for place in mine])
        top = bottom + _ROWS_APART
    return Plan(sizes, wide - left + 2 * MARGIN, bottom + MARGIN, subnets, routers,
                cables.lines(scene, subnets, routers, elbows))


def _stack_routers(routers: dict[str, RouterPlace], arcs: int, trunk: float) -> float:
    """Tiers from the top downwards, ``trunk`` below the last; returns where subnets begin."""
    y = MARGIN + ARC * arcs
    for tier in sorted({place.tier for place in routers.values()}, reverse=True):
        mine = [place for place in routers.values() if place.tier == tier]
        highest = max(place.box.height for place in mine)
        for place in mine:
            place.box.y = y + highest - place.box.height
        y += highest + (_TIERS_APART + ARC * arcs if tier else trunk)
    return y


def _align(row: list[SubnetPlace], top: float, heights: list[float]) -> float:
    """Subnets with nodes in one row are equally high; returns the row's lower edge."""
    for place, height in zip(row, heights, strict=True):
        place.box.height = max(heights) if place.nodes else height
    return top + max(heights)
