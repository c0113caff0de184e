"""A cluster as a picture: subnets, routers, nodes, pods, and the ways of packets between pods.

:func:`draw` gives the text of an SVG that needs nothing else. Pure. The steps, a module each::

    model     what is in the drawing, as words        paths     the ways of packets, and their
    boxes     how large, and places                             lines along the cables
    layout    where (with ``routing`` for routers     render    all of it as SVG
              and cables)
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from calico_mn.calico.cluster import Cluster
from calico_mn.model import Topology
from calico_mn.report import svg
from calico_mn.report.drawing import boxes, render
from calico_mn.report.drawing.layout import layout
from calico_mn.report.drawing.model import model
from calico_mn.report.drawing.paths import PodPath, pod_path, pod_paths, tracks
from calico_mn.report.svg import element, polyline

__all__ = ["PodPath", "draw", "pod_path", "pod_paths"]

_LEGEND_LINE = 22.0


def draw(subject: Topology | Cluster, paths: Sequence[PodPath] = ()) -> str:
    """The drawing of a cluster, with ``paths`` over it.

    A :class:`Cluster` has given addresses to pods and tunnels; of a :class:`Topology` only
    those that its file names are known. The same input gives the same text.
    """
    content = model(subject, {key for path in paths for key in (path.source, path.destination)})
    places = layout(content, len(paths))
    drawn = [(path, track, number) for number, (path, track) in enumerate(
        zip(paths, tracks(places, tuple(paths)), strict=True), 1) if track is not None]
    notes = [(number, path.mode, path.in_words) for path, _, number in drawn]
    width = max([places.width, *(60 + svg.width(note, boxes.FACT) for _, _, note in notes)])
    height = places.height + (len(notes) * _LEGEND_LINE + 10 if notes else 0)
    ends = {path.source: path.mode for path, _, _ in drawn}
    ends |= {path.destination: path.mode for path, _, _ in drawn}
    body = [
        element("rect", class_="paper", width=width, height=height, rx=10.0),
        *map(render.subnet, places.subnets.values()),
        *(element("path", class_="cable", d=polyline(line, 6)) for line in places.cables.values()),
        *map(render.stubs, places.subnets.values()),
        *(render.node(node, places.sizes, ends)
          for subnet in places.subnets.values() for node in subnet.nodes),
        *(render.track(path, track) for path, track, _ in drawn),
        *map(render.router, places.routers.values()),
        *(render.mark(path, track, number) for path, track, number in drawn),
        *(render.legend(places.height + n * _LEGEND_LINE + 4, *note)
          for n, note in enumerate(notes)),
    ]
    words = " ".join([content.summary, *(f"{mode}: {note}." for _, mode, note in notes)])
    return element(
        "svg", element("title", escape(f"Cluster {content.name}")),
        element("desc", escape(words)), element("style", render.CSS), *body,
        xmlns="http://www.w3.org/2000/svg", class_="cluster", role="img", width=width,
        height=height, viewBox=f"0 0 {svg.number(width)} {svg.number(height)}") + "\n"
