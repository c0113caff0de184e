"""A cluster as a picture: subnets, routers, nodes, pods, and the ways of packets between pods.

:func:`draw` gives the text of an SVG that needs nothing else; :func:`graph` that, or the cluster in
Graphviz's dot or in Mermaid. Pure. The steps of a drawing, a module each::

    describe  what is in it, as words           paths     the ways of packets, and their
    layout    where: ``boxes`` says how                   lines along the cables
              large words make things           render    all of it as SVG
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.errors import ClusterError
from calico_mn.model import EncapsulationMode
from calico_mn.report import graphics
from calico_mn.report.drawing import render
from calico_mn.report.drawing.boxes import FACT
from calico_mn.report.drawing.describe import describe
from calico_mn.report.drawing.layout import layout
from calico_mn.report.drawing.paths import PodPath, pod_path, pod_paths, tracks
from calico_mn.report.graphics import element, polyline

__all__ = ["DOT", "FORMS", "SVG", "PodPath", "draw", "graph", "pod_path", "pod_paths"]

#: languages of :func:`graph`
SVG, DOT = "svg", "dot"
FORMS = (SVG, DOT, "mermaid")

_LEGEND_LINE = 22.0


def draw(cluster: Cluster, paths: Sequence[PodPath] = ()) -> str:
    """The drawing of a cluster, with ``paths`` over it. The same input gives the same text."""
    drawing = describe(cluster, {key for path in paths for key in (path.source, path.destination)})
    sizes = layout(drawing, len(paths))
    drawn = [(path, track, number) for number, (path, track) in enumerate(
        zip(paths, tracks(drawing, sizes, tuple(paths)), strict=True), 1) if track is not None]
    notes = [(number, path.mode, path.in_words) for path, _, number in drawn]
    width = max([drawing.width, *(60 + graphics.width(note, FACT) for _, _, note in notes)])
    height = drawing.height + (len(notes) * _LEGEND_LINE + 10 if notes else 0)
    ends = {path.source: path.mode for path, _, _ in drawn}
    ends |= {path.destination: path.mode for path, _, _ in drawn}
    body = [
        element("rect", class_="paper", width=width, height=height, rx=10.0),
        *map(render.subnet, drawing.subnets.values()),
        *(element("path", class_="cable", d=polyline(line, 6)) for line in drawing.cables.values()),
        *map(render.stubs, drawing.subnets.values()),
        *(render.node(node, sizes, ends)
          for subnet in drawing.subnets.values() for node in subnet.nodes),
        *(render.track(path, track) for path, track, _ in drawn),
        *map(render.router, drawing.routers.values()),
        *(render.mark(path, track, number) for path, track, number in drawn),
        *(render.legend(drawing.height + n * _LEGEND_LINE + 4, *note)
          for n, note in enumerate(notes)),
    ]
    words = " ".join([drawing.summary, *(f"{mode}: {note}." for _, mode, note in notes)])
    return element(
        "svg", element("title", escape(f"Cluster {drawing.name}")),
        element("desc", escape(words)), element("style", render.CSS), *body,
        xmlns="http://www.w3.org/2000/svg", class_="cluster", role="img", width=width,
        height=height, viewBox=f"0 0 {graphics.number(width)} {graphics.number(height)}") + "\n"


# --- graphs

@dataclass(frozen=True, slots=True)
class _Vertex:
    """``kind`` is subnet, router, node or pod; ``facts`` are lines below the name."""

    kind: str
    name: str
    facts: tuple[str, ...]


def check_form(form: str) -> None:
    """Raise ClusterError for a language that is not one of :data:`FORMS`."""
    if form not in FORMS:
        raise ClusterError(f"a picture is {', '.join(FORMS)}, not {form!r}")


def graph(cluster: Cluster, form: str, mode: EncapsulationMode | None = None,
          encapsulation: Encapsulation | None = None) -> str:
    """The cluster in the language ``form``: one of :data:`FORMS`.

    ``mode``, ``encapsulation`` or both draw the ways that packets then take (SVG only). Raises
    ClusterError for another language.
    """
    check_form(form)
    if form == SVG:
        return draw(cluster, pod_paths(cluster, mode, encapsulation)
                    if mode or encapsulation else ())
    vertices, edges = list(_vertices(cluster)), list(_edges(cluster))
    return _dot(cluster, vertices, edges) if form == DOT else _mermaid(vertices, edges)


def _vertices(cluster: Cluster) -> Iterator[_Vertex]:
    for subnet in cluster.topology.underlay.subnets:
        yield _Vertex("subnet", subnet.name, (str(subnet.cidr),))
    for router in cluster.topology.underlay.routers:
        yield _Vertex("router", router.name, tuple(str(each.address) for each in router.interfaces))
    for host in cluster.topology.underlay.hosts:
        yield _Vertex("host", host.name, (str(host.address),))
    for name, node in cluster.nodes.items():
        yield _Vertex("node", name, (
            str(node.address), *(f"{tunnel.device} {address}" for tunnel, address
                                 in cluster.tunnel_addresses(name).items()),
            *(f"block {block}" for block in cluster.ipam.blocks(name))))
    for key, pod in cluster.endpoints.items():
        yield _Vertex("pod", key, (str(pod.address),))


def _edges(cluster: Cluster) -> Iterator[tuple[str, str]]:
    for router in cluster.topology.underlay.routers:
        for interface in router.interfaces:
            yield interface.subnet, router.name
    for host in cluster.topology.underlay.hosts:
        yield cluster.fabric.subnet_at(host.address).name, host.name
    for name, node in cluster.nodes.items():
        yield cluster.fabric.subnet_of(node).name, name
    for key, pod in cluster.endpoints.items():
        yield pod.node, key


_DOT_SHAPES = {"subnet": "shape=box, style=rounded", "router": "shape=diamond",
               "host": "shape=box, style=dashed", "node": "shape=box", "pod": "shape=ellipse"}


def _dot(cluster: Cluster, vertices: list[_Vertex], edges: list[tuple[str, str]]) -> str:
    # Names are those of Kubernetes and subnets: letters, digits, '-', '.' and '/' only.
    lines = [f'graph "{cluster.topology.underlay.name}" {{',
             '  node [fontname="sans-serif", fontsize=11]']
    for vertex in vertices:
        label = "\\n".join((vertex.name, *vertex.facts))
        lines.append(f'  "{vertex.name}" [label="{label}", {_DOT_SHAPES[vertex.kind]}]')
    lines += [f'  "{source}" -- "{target}"' for source, target in edges]
    return "\n".join([*lines, "}"]) + "\n"


_MERMAID_SHAPES = {"subnet": ("([", "])"), "router": ("{{", "}}"), "host": ("[/", "/]"),
                   "node": ("[", "]"), "pod": ("(", ")")}


def _mermaid(vertices: list[_Vertex], edges: list[tuple[str, str]]) -> str:
    identities = {vertex.name: f"n{number}" for number, vertex in enumerate(vertices)}
    lines = ["graph TD"]
    for vertex in vertices:
        opening, closing = _MERMAID_SHAPES[vertex.kind]
        label = "<br/>".join((vertex.name, *vertex.facts))
        lines.append(f'  {identities[vertex.name]}{opening}"{label}"{closing}')
    lines += [f"  {identities[source]} --- {identities[target]}" for source, target in edges]
    return "\n".join(lines) + "\n"
