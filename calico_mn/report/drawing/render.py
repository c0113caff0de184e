"""A laid out drawing as SVG: style, subnets, routers, nodes, ways of packets over them. Pure.

The style sheet is for light and dark paper; the colours of modes are those of plots. A page finds a
place's box by its ``data-place``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from calico_mn.report import graphics
from calico_mn.report.drawing import boxes
from calico_mn.report.drawing.boxes import Box, NodeBox, PodBox, RouterBox, Sizes, SubnetBox
from calico_mn.report.drawing.paths import PodPath, Track
from calico_mn.report.graphics import element, fitted, polyline, text


def style(name: str) -> str:
    """A file of templates/, with the colour itself before each from a variable: librsvg and others
    know no variables and would paint everything black."""
    rules = (Path(__file__).parents[1] / "templates" / name).read_text(encoding="ascii")
    light = dict(re.findall(r"--(\w+):(#\w+)", rules.partition("\n")[0]))
    return "\n" + re.sub(r"(fill|stroke):var\(--(\w+)\)",
                         lambda match: f"{match[1]}:{light[match[2]]};{match[0]}", rules)


CSS = style("cluster.css")


# --- subnets, routers, nodes

def subnet(box: SubnetBox) -> str:
    """Its band with name and facts, and the line that stands for its switch."""
    left = box.x + boxes.PAD
    inner = box.width - 2 * boxes.PAD
    parts = [
        element("rect", class_="subnet", x=box.x, y=box.y, width=box.width, height=box.height,
                rx=10.0, data_place=box.name),
        text(left, box.y + 23, fitted(box.name, inner, boxes.NAME, bold=True), "name",
             whole=box.name),
        text(left, box.y + 41, box.facts, "fact"),
        element("path", class_="bus", d=f"M{graphics.number(left)} {graphics.number(box.bus)}"
                                        f"H{graphics.number(box.right - boxes.PAD)}"),
    ]
    if not box.nodes:
        parts.append(text(left, box.bus + 20, "no nodes", "dim"))
    if box.more:
        parts.append(text(left, box.bottom - 12, f"and {box.more:,} more nodes", "dim"))
    return element("g", *parts)


def stubs(subnet: SubnetBox) -> str:
    """From the bus to each card: from above in the first row, else along its left."""
    lines = []
    for node in subnet.nodes:
        if node.row == 0:
            x = node.middle
            lines.append(f"M{graphics.number(x)} {graphics.number(subnet.bus)}"
                         f"V{graphics.number(node.y)}")
        else:
            x, y = node.x - 8, node.y + 17
            lines.append(f"M{graphics.number(x)} {graphics.number(subnet.bus)}V{graphics.number(y)}"
                         f"H{graphics.number(node.x)}")
    joins = "".join(element("circle", class_="join", cx=x, cy=subnet.bus, r=3.5)
                    for x in subnet.entries.values())
    return (element("path", class_="stub", d="".join(lines)) if lines else "") + joins


def router(box: RouterBox) -> str:
    """Its card: whether it knows the pods' routes, and its interfaces."""
    left = box.x + boxes.PAD
    known = boxes.KNOWS if box.pod_routes else boxes.KNOWS_NOT
    parts = [element("rect", class_="router", x=box.x, y=box.y, width=box.width,
                     height=box.height, rx=8.0, data_place=box.name),
             element("circle", class_="knows" if box.pod_routes else "knows-not",
                     cx=left + 4, cy=box.y + 36, r=4.0),
             text(left, box.y + 20, fitted(box.name, box.width - 2 * boxes.PAD, boxes.NAME,
                                           bold=True), "name", whole=box.name),
             text(left + 15, box.y + 40, known, "dim")]
    column = boxes.interface_column(box)
    for line, (name, address) in enumerate(box.interfaces):
        y = box.y + 59 + line * boxes.LINE
        parts.append(text(left, y, address, "mono"))
        parts.append(text(left + column, y, fitted(name, 120, boxes.FACT), "dim", whole=name))
    if box.more:
        parts.append(text(left, box.y + 59 + len(box.interfaces) * boxes.LINE,
                          boxes.more(box), "dim"))
    return element("g", *parts)


def node(box: NodeBox, sizes: Sizes, ends: Mapping[str, str]) -> str:
    """Its card with facts and pods; ``ends`` are the modes of the ways that end at a pod."""
    left = box.x + sizes.left(box)
    parts = [element("rect", class_="node", x=box.x, y=box.y, width=box.width, height=box.height,
                     rx=8.0, data_place=box.name),
             text(left, box.y + 21, whole=box.name, class_="name", words=fitted(
                 box.name, sizes.room(box), boxes.NAME, bold=True))]
    for line, (label, value) in enumerate(box.facts):
        y = box.y + boxes.HEAD + 13 + line * boxes.LINE
        parts.append(text(left, y, label, "dim"))
        parts.append(text(left + boxes.LABEL, y, value, "mono"))
    for position, pod in enumerate(box.pods):
        pad = boxes.CHIP_PAD + (4 if box.busy else 0)
        colour = graphics.MODES.get(ends.get(pod.key, ""))
        parts.append(_pod(pod, box.chip(position, sizes), pad, sizes.tall, colour))
    if box.folded:
        parts.append(_folded(box, sizes))
    return element("g", *parts)


def _pod(pod: PodBox, chip: Box, pad: float, tall: bool, colour: str | None) -> str:
    """A listed pod; framed in ``colour`` where a way of a mode begins or ends."""
    room = chip.width - pad - boxes.CHIP_PAD
    below = (chip.x + pad, chip.y + 32, "mono-dim", None)
    beside = (chip.x + chip.width - boxes.CHIP_PAD, chip.y + 16, "mono-dim", "end")
    x, y, class_, anchor = below if tall else beside
    return (element("rect", class_="pod", x=chip.x, y=chip.y, width=chip.width,
                    height=chip.height, rx=5.0, data_place=pod.key,
                    style=f"stroke:{colour};stroke-width:1.5" if colour else None)
            + text(chip.x + pad, chip.y + 16, fitted(pod.key, room, boxes.POD), "pod-name",
                   whole=pod.key)
            + text(x, y, pod.address, class_, anchor=anchor))


def _folded(node: NodeBox, sizes: Sizes) -> str:
    """The pods that are not listed: their number, a dot for each, and their addresses."""
    area = node.chip(len(node.pods), sizes)
    area.height = boxes.folded_height(node, sizes) - boxes.CHIP_GAP
    x, y = area.x + boxes.CHIP_PAD, area.y + 24
    count = f"{node.folded:,} {'more ' if node.pods else ''}{'pod' if node.folded == 1 else 'pods'}"
    parts = [element("rect", class_="pod", x=area.x, y=area.y, width=area.width,
                     height=area.height, rx=5.0), text(x, area.y + 16, count, "pod-name")]
    if boxes.dot_rows(node, sizes):
        columns = boxes.dot_columns(sizes)
        dots = "".join(f"M{graphics.number(x + dot % columns * boxes.DOT)}"
                       f" {graphics.number(y + dot // columns * boxes.DOT)}h5.4v5.4h-5.4z"
                       for dot in range(node.folded))
        parts.append(element("path", class_="dots", d=dots))
    if node.span:
        parts.append(text(x, area.y + area.height - 7, node.span, "mono-dim"))
    return element("g", *parts)


# --- ways of packets

#: for what is none of the three modes
_OTHER = "#767676"


def track(path: PodPath, line: Track) -> str:
    """A way, in a tube where a tunnel surrounds it."""
    colour = _colour(path.mode)
    parts = [element("path", class_="way", stroke=colour, d=polyline(list(part), 5))
             for part in (line.head, line.tail) if part]
    if line.middle:
        middle = polyline(list(line.middle), 5)
        if path.tunnel:
            parts += [element("path", class_="tube", stroke=colour, d=middle),
                      element("path", class_="bore", d=middle)]
        parts.append(element("path", class_="way", stroke=colour, d=middle))
    start = line.head[0]
    parts.append(element("circle", fill=colour, cx=start[0], cy=start[1], r=3.0))
    return element("g", *parts)


def mark(path: PodPath, track: Track, number: int) -> str:
    """Its number where it ends, beside a cross where the packets are lost."""
    colour = _colour(path.mode)
    x, y = track.end
    if path.lost_at:
        return _cross(x, y) + _badge(x + 18, y, number, colour)
    return _badge(x, y, number, colour)


def _colour(mode: str) -> str:
    return graphics.MODES.get(mode, _OTHER)


def _cross(x: float, y: float) -> str:
    d = "".join(f"M{graphics.number(x - 5 * side)} {graphics.number(y - 5)}"
                f"L{graphics.number(x + 5 * side)} {graphics.number(y + 5)}" for side in (1, -1))
    return element("circle", class_="paper", cx=x, cy=y, r=8.0) + element("path", class_="lost",
                                                                         d=d)


def _badge(x: float, y: float, number: int, colour: str) -> str:
    return (element("circle", fill=colour, cx=x, cy=y, r=8.0)
            + element("text", str(number), class_="badge", x=x, y=y + 4, text_anchor="middle"))


def legend(y: float, number: int, mode: str, note: str) -> str:
    """A line below the drawing that says what the way of this number is."""
    colour = _colour(mode)
    return _badge(28, y, number, colour) + text(44, y + 4, note, "fact")
