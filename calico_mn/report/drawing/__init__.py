"""A cluster as a picture: subnets, routers, nodes, pods, and the ways of packets between pods.

:func:`draw` gives the text of an SVG that needs nothing else: it can be a file of its own, or
stand in a page. Pure. What is in it: ``scene`` and ``ways``; how large: ``cards``; where:
``layout`` (which makes a ``plan`` of ``columns``, ``tiers`` and ``cables``) and ``tracks``; as
SVG: ``shapes`` and ``overlay``, looking as ``style`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from calico_mn.calico.cluster import Cluster
from calico_mn.model import Topology
from calico_mn.report import svg
from calico_mn.report.document import Figure
from calico_mn.report.drawing import cards, overlay, shapes, style
from calico_mn.report.drawing.layout import layout
from calico_mn.report.drawing.scene import Scene, scene
from calico_mn.report.drawing.tracks import tracks
from calico_mn.report.drawing.ways import Way, way, ways
from calico_mn.report.svg import element, polyline

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
        *(shapes.subnet(place) for place in plan.subnets.values()),
        *(element("path", class_="cable", d=polyline(line, 6)) for line in plan.cables.values()),
        *(shapes.stubs(place) for place in plan.subnets.values()),
        *(shapes.node(place, plan.sizes, ends)
          for subnet in plan.subnets.values() for place in subnet.nodes),
        *(overlay.line(one, track) for one, track, _ in mine),
        *(shapes.router(place) for place in plan.routers.values()),
        *(overlay.mark(one, track, number) for one, track, number in mine),
        *(overlay.legend(plan.height + place * _LEGEND_LINE + 4, *note)
          for place, note in enumerate(notes)),
    ]
    title = f"Cluster {content.name}"
    return element(
        "svg", element("title", escape(title)), element("desc", escape(_words(content, notes))),
        element("style", style.CSS), *body, xmlns="http://www.w3.org/2000/svg", class_="cluster",
        role="img", width=wide, height=high,
        viewBox=f"0 0 {svg.number(wide)} {svg.number(high)}") + "\n"


def picture(subject: Topology | Cluster, paths: Sequence[Way] = ()) -> Figure:
    """The drawing as a report's figure, for :attr:`Document.topology` or among the others."""
    content = scene(subject)
    alt = _words(content, [(0, one.mode, _note(one)) for one in paths])
    return Figure("topology", f"The cluster {content.name}", draw(subject, paths), alt,
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
