"""Subnets, routers and nodes as SVG, each from its place in a laid out drawing. Pure.

The ways of packets over them are in ``overlay``.
"""

from __future__ import annotations

from collections.abc import Mapping

from calico_mn.report import palette, svg
from calico_mn.report.drawing import cards
from calico_mn.report.drawing.cards import Sizes
from calico_mn.report.drawing.plan import Box, NodePlace, RouterPlace, SubnetPlace
from calico_mn.report.drawing.scene import PodBox
from calico_mn.report.svg import element, fitted, text


def subnet(place: SubnetPlace) -> str:
    """Its band with name and facts, and the line that stands for its switch."""
    box, left = place.box, place.box.x + cards.PAD
    inner = box.width - 2 * cards.PAD
    parts = [
        element("rect", class_="subnet", x=box.x, y=box.y, width=box.width, height=box.height,
                rx=10.0),
        text(left, box.y + 23, fitted(place.subnet.name, inner, cards.NAME, bold=True), "name",
             whole=place.subnet.name),
        text(left, box.y + 41, place.subnet.facts, "fact"),
        element("path", class_="bus", d=f"M{svg.number(left)} {svg.number(place.bus)}"
                                        f"H{svg.number(box.right - cards.PAD)}"),
    ]
    if not place.subnet.nodes:
        parts.append(text(left, place.bus + 20, "no nodes", "dim"))
    if place.subnet.more:
        parts.append(text(left, box.bottom - 12, f"and {place.subnet.more:,} more nodes", "dim"))
    return element("g", *parts)


def stubs(place: SubnetPlace) -> str:
    """From the bus to each card: from above in the first row, else along its left."""
    lines = []
    for node in place.nodes:
        if node.row == 0:
            x = node.box.middle
            lines.append(f"M{svg.number(x)} {svg.number(place.bus)}V{svg.number(node.box.y)}")
        else:
            x, y = node.box.x - 8, node.box.y + 17
            lines.append(f"M{svg.number(x)} {svg.number(place.bus)}V{svg.number(y)}"
                         f"H{svg.number(node.box.x)}")
    joins = "".join(element("circle", class_="join", cx=x, cy=place.bus, r=3.5)
                    for x in place.entries.values())
    return (element("path", class_="stub", d="".join(lines)) if lines else "") + joins


def router(place: RouterPlace) -> str:
    """Its card: whether it knows the pods' routes, and its interfaces."""
    box, found = place.box, place.router
    left = box.x + cards.PAD
    known = cards.KNOWS if found.pod_routes else cards.KNOWS_NOT
    parts = [element("rect", class_="router", x=box.x, y=box.y, width=box.width,
                     height=box.height, rx=8.0),
             element("circle", class_="knows" if found.pod_routes else "knows-not",
                     cx=left + 4, cy=box.y + 36, r=4.0),
             text(left, box.y + 20, fitted(found.name, box.width - 2 * cards.PAD, cards.NAME,
                                           bold=True), "name", whole=found.name),
             text(left + 15, box.y + 40, known, "dim")]
    column = cards.feet_column(found)
    for line, (name, address) in enumerate(found.feet):
        y = box.y + 59 + line * cards.LINE
        parts.append(text(left, y, address, "mono"))
        parts.append(text(left + column, y, fitted(name, 120, cards.FACT), "dim", whole=name))
    if found.more:
        parts.append(text(left, box.y + 59 + len(found.feet) * cards.LINE,
                          cards.more(found), "dim"))
    return element("g", *parts)


def node(place: NodePlace, sizes: Sizes, ends: Mapping[str, str]) -> str:
    """Its card with facts and pods; ``ends`` are the modes of the ways that end at a pod."""
    box, found = place.box, place.node
    left = box.x + sizes.left(found)
    parts = [element("rect", class_="node", x=box.x, y=box.y, width=box.width, height=box.height,
                     rx=8.0),
             text(left, box.y + 21, fitted(found.name, sizes.room(found), cards.NAME, bold=True),
                  "name", whole=found.name)]
    for line, (label, value) in enumerate(found.facts):
        y = box.y + cards.HEAD + 13 + line * cards.LINE
        parts.append(text(left, y, label, "dim"))
        parts.append(text(left + cards.LABEL, y, value, "mono"))
    for position, pod in enumerate(found.pods):
        pad = cards.CHIP_PAD + (4 if found.busy else 0)
        colour = palette.MODES.get(ends.get(pod.key, ""))
        parts.append(_pod(pod, place.chip(position, sizes), pad, sizes.tall, colour))
    if found.folded:
        parts.append(_folded(place, sizes))
    return element("g", *parts)


def _pod(pod: PodBox, chip: Box, pad: float, tall: bool, colour: str | None) -> str:
    """A listed pod; framed in ``colour`` where a way of a mode begins or ends."""
    room = chip.width - pad - cards.CHIP_PAD
    below = (chip.x + pad, chip.y + 32, "mono-dim", None)
    beside = (chip.x + chip.width - cards.CHIP_PAD, chip.y + 16, "mono-dim", "end")
    x, y, class_, anchor = below if tall else beside
    return (element("rect", class_="pod", x=chip.x, y=chip.y, width=chip.width,
                    height=chip.height, rx=5.0,
                    style=f"stroke:{colour};stroke-width:1.5" if colour else None)
            + text(chip.x + pad, chip.y + 16, fitted(pod.key, room, cards.POD), "pod-name",
                   whole=pod.key)
            + text(x, y, pod.address, class_, anchor=anchor))


def _folded(place: NodePlace, sizes: Sizes) -> str:
    """The pods that are not listed: their number, a dot for each, and their addresses."""
    found = place.node
    area = place.chip(len(found.pods), sizes)
    area.height = cards.folded_height(found, sizes) - cards.CHIP_GAP
    x, y = area.x + cards.CHIP_PAD, area.y + 24
    more = "more " if found.pods else ""
    count = f"{found.folded:,} {more}pod{'' if found.folded == 1 else 's'}"
    parts = [element("rect", class_="pod", x=area.x, y=area.y, width=area.width,
                     height=area.height, rx=5.0), text(x, area.y + 16, count, "pod-name")]
    if cards.dot_rows(found, sizes):
        columns = cards.dot_columns(sizes)
        dots = "".join(f"M{svg.number(x + dot % columns * cards.DOT)}"
                       f" {svg.number(y + dot // columns * cards.DOT)}h5.4v5.4h-5.4z"
                       for dot in range(found.folded))
        parts.append(element("path", class_="dots", d=dots))
    if found.span:
        parts.append(text(x, area.y + area.height - 7, found.span, "mono-dim"))
    return element("g", *parts)
