"""A cluster as a graph in one of three languages: SVG, Graphviz's dot, Mermaid. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.model import EncapsulationMode
from calico_mn.report import drawing

SVG, DOT = "svg", "dot"
FORMS = (SVG, DOT, "mermaid")


@dataclass(frozen=True, slots=True)
class _Vertex:
    """``kind`` is subnet, router, node or pod; ``facts`` are lines below the name."""

    kind: str
    name: str
    facts: tuple[str, ...]


def graph(cluster: Cluster, form: str, mode: EncapsulationMode | None = None,
          encapsulation: Encapsulation | None = None) -> str:
    """The cluster in the language ``form``: one of :data:`FORMS`.

    ``mode``, ``encapsulation`` or both draw the ways that packets then take (SVG only).
    """
    if form == SVG:
        paths = drawing.pod_paths(cluster, mode, encapsulation) if mode or encapsulation else ()
        return drawing.draw(cluster, paths)
    vertices, edges = list(_vertices(cluster)), list(_edges(cluster))
    return _dot(cluster, vertices, edges) if form == DOT else _mermaid(vertices, edges)


def _vertices(cluster: Cluster) -> Iterator[_Vertex]:
    for subnet in cluster.topology.underlay.subnets:
        yield _Vertex("subnet", subnet.name, (str(subnet.cidr),))
    for router in cluster.topology.underlay.routers:
        yield _Vertex("router", router.name, tuple(str(each.address) for each in router.interfaces))
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
    for name, node in cluster.nodes.items():
        yield cluster.fabric.subnet_of(node).name, name
    for key, pod in cluster.endpoints.items():
        yield pod.node, key


_DOT_SHAPES = {"subnet": "shape=box, style=rounded", "router": "shape=diamond",
               "node": "shape=box", "pod": "shape=ellipse"}


def _dot(cluster: Cluster, vertices: list[_Vertex], edges: list[tuple[str, str]]) -> str:
    # Names are those of Kubernetes and subnets: letters, digits, '-', '.' and '/' only.
    lines = [f'graph "{cluster.topology.underlay.name}" {{',
             '  node [fontname="sans-serif", fontsize=11]']
    for vertex in vertices:
        label = "\\n".join((vertex.name, *vertex.facts))
        lines.append(f'  "{vertex.name}" [label="{label}", {_DOT_SHAPES[vertex.kind]}]')
    lines += [f'  "{one}" -- "{other}"' for one, other in edges]
    return "\n".join([*lines, "}"]) + "\n"


_MERMAID_SHAPES = {"subnet": ("([", "])"), "router": ("{{", "}}"), "node": ("[", "]"),
                   "pod": ("(", ")")}


def _mermaid(vertices: list[_Vertex], edges: list[tuple[str, str]]) -> str:
    identities = {vertex.name: f"n{number}" for number, vertex in enumerate(vertices)}
    lines = ["graph TD"]
    for vertex in vertices:
        opening, closing = _MERMAID_SHAPES[vertex.kind]
        label = "<br/>".join((vertex.name, *vertex.facts))
        lines.append(f'  {identities[vertex.name]}{opening}"{label}"{closing}')
    lines += [f"  {identities[one]} --- {identities[other]}" for one, other in edges]
    return "\n".join(lines) + "\n"
