"""A cluster as a picture: subnets, routers, nodes, pods, and the ways of packets between pods.

:func:`draw` gives the text of an SVG that needs nothing else: it can be a file of its own, or
stand in a page. Pure. What is in it: ``scene``; how large: ``cards``; where: ``layout`` and
``tracks``; how it looks: ``style``.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from calico_mn.calico.cluster import Cluster
from calico_mn.model import Topology
from calico_mn.report import svg
from calico_mn.report.document import Figure
from calico_mn.report.drawing import cards, style
from calico_mn.report.drawing.layout import (
    NodePlace,
    Plan,
    RouterPlace,
    SubnetPlace,
    layout,
)
from calico_mn.report.drawing.scene import Scene, scene
from calico_mn.report.drawing.tracks import Track, tracks
from calico_mn.report.drawing.ways import Way, way, ways
from calico_mn.report.svg import element, fitted, polyline, text

__all__ = ["Way", "draw", "picture", "way", "ways"]

_LEGEND_LINE = 22.0


def draw(subject: Topology | Cluster, paths: Sequence[Way] = ()) -> str:
    """The drawing of a cluster, with ``paths`` over it.

    A :class:`Cluster` has given addresses to pods and tunnels; of a :class:`Topology` only
    those that its file names are known. The same input gives the same text.
    """
    shown = {key for found in paths for key in (found.source, found.destination)}
    content = scene(subject, shown)
    plan = layout(content, len(paths))
    found = tracks(plan, tuple(paths))
    mine = [(one, track, number) for number, (one, track)
            in enumerate(zip(paths, found, strict=True), 1) if track is not None]
    notes = [(number, one.mode, _note(one)) for one, _, number in mine]
    wide = max([plan.width, *(60 + svg.width(note, cards.FACT) for _, _, note in notes)])
    high = plan.height + (len(notes) * _LEGEND_LINE + 10 if notes else 0)
    ends = {one.source: one.mode for one, _, _ in mine}
    ends |= {one.destination: one.mode for one, _, _ in mine}
    body = [
        element("rect", class_="paper", width=wide, height=high, rx=10.0),
        *(_subnet(place) for place in plan.subnets.values()),
        *(element("path", class_="cable", d=polyline(line, 6)) for line in plan.cables.values()),
        *(_stubs(place) for place in plan.subnets.values()),
        *(_node(place, plan, ends) for subnet in plan.subnets.values() for place in subnet.nodes),
        *(_line(one, track) for one, track, _ in mine),
        *(_router(place) for place in plan.routers.values()),
        *(_mark(one, track, number) for one, track, number in mine),
        *(_legend(plan.height + place * _LEGEND_LINE + 4, *note)
          for place, note in enumerate(notes)),
    ]
    title = f"Cluster {content.name}"
    return element(
        "svg", element("title", escape(title)), element("desc", escape(_words(content, notes))),
        element("style", style.CSS), *body, xmlns="http://www.w3.org/2000/svg", class_="cluster",
        role="img", width=wide, height=high,
        viewBox=f"0 0 {svg.number(wide)} {svg.number(high)}") + "\n"


def picture(subject: Topology | Cluster, paths: Sequence[Way] = (), name: str = "topology"
            ) -> Figure:
    """The drawing as a report's figure, for :attr:`Document.topology` or among the others."""
    content = scene(subject)
    alt = _words(content, [(0, one.mode, _note(one)) for one in paths])
    return Figure(name, f"The cluster {content.name}", draw(subject, paths), alt,
                  content.summary.partition(". ")[0] + ".")


def _words(content: Scene, notes: Sequence[tuple[int, str, str]]) -> str:
    return " ".join([content.summary, *(f"{mode}: {note}." for _, mode, note in notes)])


def _note(one: Way) -> str:
    what = f"{one.source} to {one.destination}, {one.path}: "
    if one.path == "same-node":
        return what + "inside the node"
    how = "in an IPIP tunnel" if one.tunnelled else "directly, with the pods' own addresses"
    if not one.lost_at:
        return what + how
    return what + f"{how}; lost at {one.lost_at}, which has no route"


def _subnet(place: SubnetPlace) -> str:
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


def _stubs(place: SubnetPlace) -> str:
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
    joins = [element("circle", class_="join", cx=x, cy=place.bus, r=3.5)
             for x in place.entries.values()]
    return element("path", class_="stub", d="".join(lines)) + "".join(joins) if lines else \
        "".join(joins)


def _router(place: RouterPlace) -> str:
    box, router = place.box, place.router
    left = box.x + cards.PAD
    known = cards.KNOWS if router.pod_routes else cards.KNOWS_NOT
    parts = [element("rect", class_="router", x=box.x, y=box.y, width=box.width,
                     height=box.height, rx=8.0),
             element("circle", class_="knows" if router.pod_routes else "knows-not",
                     cx=left + 4, cy=box.y + 36, r=4.0),
             text(left, box.y + 20, fitted(router.name, box.width - 2 * cards.PAD, cards.NAME,
                                           bold=True), "name", whole=router.name),
             text(left + 15, box.y + 40, known, "dim")]
    column = cards.feet_column(router)
    for line, (subnet, address) in enumerate(router.feet):
        y = box.y + 59 + line * cards.LINE
        parts.append(text(left, y, address, "mono"))
        parts.append(text(left + column, y, fitted(subnet, 120, cards.FACT), "dim", whole=subnet))
    if router.more:
        parts.append(text(left, box.y + 59 + len(router.feet) * cards.LINE,
                          cards.more(router), "dim"))
    return element("g", *parts)


def _node(place: NodePlace, plan: Plan, ends: dict[str, str]) -> str:
    box, node, found = place.box, place.node, plan.sizes
    left = box.x + found.left(node)
    parts = [element("rect", class_="node", x=box.x, y=box.y, width=box.width, height=box.height,
                     rx=8.0),
             text(left, box.y + 21, fitted(node.name, found.room(node), cards.NAME, bold=True),
                  "name", whole=node.name)]
    for line, (label, value) in enumerate(node.facts):
        y = box.y + cards.HEAD + 13 + line * cards.LINE
        parts.append(text(left, y, label, "dim"))
        parts.append(text(left + cards.LABEL, y, value, "mono"))
    for position, pod in enumerate(node.pods):
        chip = place.chip(position, found)
        pad = cards.CHIP_PAD + (4 if node.busy else 0)
        colour = style.COLOURS.get(ends[pod.key]) if pod.key in ends else None
        parts.append(element("rect", class_="pod", x=chip.x, y=chip.y, width=chip.width,
                             height=chip.height, rx=5.0,
                             style=f"stroke:{colour};stroke-width:1.5" if colour else None))
        room = chip.width - pad - cards.CHIP_PAD
        parts.append(text(chip.x + pad, chip.y + 16, fitted(pod.key, room, cards.POD), "pod-name",
                          whole=pod.key))
        below = (chip.x + pad, chip.y + 32, "mono-dim", None)
        beside = (chip.x + chip.width - cards.CHIP_PAD, chip.y + 16, "mono-dim", "end")
        x, y, class_, anchor = below if found.tall else beside
        parts.append(text(x, y, pod.address, class_, anchor=anchor))
    if node.folded:
        parts.append(_folded(place, plan))
    return element("g", *parts)


def _folded(place: NodePlace, plan: Plan) -> str:
    """The pods that are not listed: their number, a dot for each, and their addresses."""
    node, found = place.node, plan.sizes
    area = place.chip(len(node.pods), found)
    area.height = cards.folded_height(node, found) - cards.CHIP_GAP
    x, y = area.x + cards.CHIP_PAD, area.y + 24
    count = f"{node.folded:,} {'more ' if node.pods else ''}pod{'' if node.folded == 1 else 's'}"
    parts = [element("rect", class_="pod", x=area.x, y=area.y, width=area.width,
                     height=area.height, rx=5.0), text(x, area.y + 16, count, "pod-name")]
    rows = cards.dot_rows(node, found)
    if rows:
        columns = cards.dot_columns(found)
        dots = "".join(f"M{svg.number(x + place % columns * cards.DOT)}"
                       f" {svg.number(y + place // columns * cards.DOT)}h5.4v5.4h-5.4z"
                       for place in range(node.folded))
        parts.append(element("path", class_="dots", d=dots))
    if node.span:
        parts.append(text(x, area.y + area.height - 7, node.span, "mono-dim"))
    return element("g", *parts)


def _line(one: Way, track: Track) -> str:
    colour = style.COLOURS.get(one.mode, style.OTHER)
    parts = [element("path", class_="way", stroke=colour, d=polyline(list(line), 5))
             for line in (track.head, track.tail) if line]
    if track.middle:
        middle = polyline(list(track.middle), 5)
        if one.tunnelled:
            parts += [element("path", class_="tube", stroke=colour, d=middle),
                      element("path", class_="bore", d=middle)]
        parts.append(element("path", class_="way", stroke=colour, d=middle))
    start = track.head[0]
    parts.append(element("circle", fill=colour, cx=start[0], cy=start[1], r=3.0))
    return element("g", *parts)


def _mark(one: Way, track: Track, number: int) -> str:
    colour = style.COLOURS.get(one.mode, style.OTHER)
    x, y = track.end
    lost = ""
    if one.lost_at:
        lost = _cross(x, y)
        x += 18
    return lost + _badge(x, y, number, colour)


def _cross(x: float, y: float) -> str:
    d = "".join(f"M{svg.number(x - 5 * side)} {svg.number(y - 5)}"
                f"L{svg.number(x + 5 * side)} {svg.number(y + 5)}" for side in (1, -1))
    return element("circle", class_="paper", cx=x, cy=y, r=8.0) + element("path", class_="lost",
                                                                         d=d)


def _badge(x: float, y: float, number: int, colour: str) -> str:
    return (element("circle", fill=colour, cx=x, cy=y, r=8.0)
            + element("text", str(number), class_="badge", x=x, y=y + 4, text_anchor="middle"))


def _legend(y: float, number: int, mode: str, note: str) -> str:
    colour = style.COLOURS.get(mode, style.OTHER)
    return _badge(28, y, number, colour) + text(44, y + 4, note, "fact")


