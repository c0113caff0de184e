"""The article: its story, read from story.yaml, how its lines are compared, and its cluster.

Each rule of the story names one thing that cannot be equal on two machines, and nothing else is
forgiven. A topology is the article's cluster if it has the article's addresses; nodes and pods play
their parts by these. Some chapters need it changed.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from calico_mn.calico.cluster import Cluster
from calico_mn.errors import ClusterError
from calico_mn.model import (
    BlockAffinity,
    EncapsulationMode,
    Node,
    Pod,
    RouterInterface,
    Subnet,
    Topology,
    Underlay,
)
from calico_mn.walkthrough import step
from calico_mn.walkthrough.step import Chapter, Rule, Text

# --- the story

def _build(kind: Any, value: Any) -> Any:
    """A value of YAML as an object of ``kind``: the types that fields of step.py have."""
    if value is None or kind in (str, bool):
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{name: _build(hints[name], inner) for name, inner in value.items()})
    arguments = get_args(kind)
    if get_origin(kind) is types.UnionType:
        return _build(arguments[0], value)
    if get_origin(kind) is tuple:
        inner = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return tuple(_build(each, item) for each, item in zip(inner, value, strict=True))
    return {name: _build(arguments[1], item) for name, item in value.items()}


_story = yaml.safe_load(Path(__file__).with_name("story.yaml").read_text(encoding="utf-8"))

#: what the article's terminals show, by name
LINES: Mapping[str, str] = _story["lines"]
#: what may differ from them
RULES: tuple[Rule, ...] = _build(tuple[Rule, ...], _story["rules"])
#: in their order
CHAPTERS: tuple[Chapter, ...] = _build(tuple[Chapter, ...], _story["chapters"])
#: the renderer's own words
WORDS: Mapping[str, Text] = _build(Mapping[str, Text], _story["words"])


# --- its lines against real ones

def compare(quotes: Sequence[step.Quote], real: str, *, tunnel: str = "kernel",
            more: Sequence[Rule] = ()) -> step.Comparison:
    """Each line of the quotes with the real line that it is, in order.

    ``more`` are rules of this step alone; they go before the common ones. A line that is not
    there is shown beside the one that looks most like it.
    """
    rules = of_backend((*more, *RULES), tunnel)
    printed = [line.rstrip() for line in real.replace("\r", "").splitlines() if line.strip()]
    applied = [apply(rules, line) for line in printed]
    lines: list[step.Line] = []
    taken: set[int] = set()
    start = 0
    for quote in quotes:
        for text in filter(None, map(str.rstrip, quote.text.splitlines())):
            wanted = apply(rules, text)
            at = next((n for n in range(start, len(applied)) if applied[n] == wanted), None)
            if at is not None:
                start = at + 1
                taken.add(at)
                needed = _needed(rules, text, printed[at])
                lines.append(step.Line(
                    text, printed[at], step.NAMED if needed else step.AGREES, needed))
            elif tunnel in quote.absent:
                lines.append(step.Line(text, None, step.ABSENT, reason=quote.absent[tunnel]))
            else:
                near = get_close_matches(text, [line for n, line in enumerate(printed)
                                                if n not in taken], 1)
                lines.append(step.Line(text, near[0] if near else None, step.DIFFERS))
    others = tuple(line for n, line in enumerate(printed) if n not in taken)
    return step.Comparison(tuple(lines), others)


def of_backend(rules: Sequence[Rule], tunnel: str) -> tuple[Rule, ...]:
    """The rules that hold for a tunnel back end."""
    return tuple(rule for rule in rules if rule.backend in ("", tunnel))


def apply(rules: Sequence[Rule], line: str) -> str:
    """The line as all rules leave it."""
    for rule in rules:
        line = rule.apply(line)
    return line


def _needed(rules: Sequence[Rule], article: str, real: str) -> tuple[Rule, ...]:
    """The rules without which the two lines would not be equal."""
    if article == real:
        return ()
    needed = list(rules)
    for rule in rules:
        rest = [r for r in needed if r is not rule]
        if apply(rest, article) == apply(rest, real):
            needed = rest
    return tuple(needed)


# --- the cluster

BACKEND = "sit/sit-web-backend-58f48df4c9-b2q28"
BACKEND_IP = "10.22.151.11"

_NODES = {step.NODE31: "192.168.57.31/24", step.NODE32: "192.168.57.32/24",
          step.NODE33: "192.168.58.33/24"}
_PODS = {step.BACKEND: BACKEND_IP, step.FRONTEND: "10.22.138.1",
         step.ELSEWHERE: "10.22.152.1"}
_TUNNELS = {step.NODE31: "10.22.138.0", step.NODE32: "10.22.151.0"}
_GATEWAY = "192.168.57.1"
_VETH_MTU = 1500


def roles(cluster: Cluster) -> dict[str, str]:
    """Part -> name of the node or pod that plays it; what is not in the cluster is left out."""
    names = {str(node.address): node.name for node in cluster.nodes.values()}
    parts = {part: names[address] for part, address in _NODES.items() if address in names}
    for router in cluster.topology.underlay.routers:
        if _GATEWAY in (str(interface.address) for interface in router.interfaces):
            parts[step.ROUTER] = router.name
    pods = {str(endpoint.address): endpoint.key for endpoint in cluster.endpoints.values()}
    return parts | {part: pods[address] for part, address in _PODS.items() if address in pods}


def clusters(topology: Topology) -> dict[str, Topology]:
    """The clusters that chapters name, made of the article's.

    Raises ClusterError that says what another topology lacks to be the article's.
    """
    lacking = list(_lacking(topology))
    if lacking:
        raise ClusterError(
            f"{topology.source or 'this topology'} is not the article's cluster, and its story"
            " cannot be told on another one; use topologies/article.yaml. What is missing:\n"
            + "\n".join(f"  - {what}" for what in lacking))
    return {step.AS_IT_IS: topology, step.AUTOMATIC_MTU: replace(topology, veth_mtu=0),
            step.TWO_SUBNETS: _grown(topology)}


def _lacking(topology: Topology) -> Iterator[str]:
    cluster = Cluster(topology, 2)
    parts = roles(cluster)
    for part, address in _TUNNELS.items():
        if part not in parts:
            yield f"a node with the address {_NODES[part]}"
        elif str(cluster.tunnel_address(parts[part])) != address:
            yield f"the tunnel address {address} on {parts[part]}"
    if parts.get(step.BACKEND) != BACKEND:
        yield f"the pod {BACKEND} with the address {BACKEND_IP}"
    if step.FRONTEND not in parts:
        yield f"a pod with the address {_PODS[step.FRONTEND]}"
    for pod, node in ((step.BACKEND, step.NODE32), (step.FRONTEND, step.NODE31)):
        if pod in parts and cluster.endpoints[parts[pod]].node != parts.get(node):
            yield f"{parts[pod]} on the node with the address {_NODES[node]}"
    if any(pool.ipip_mode != EncapsulationMode.ALWAYS for pool in topology.pools):
        yield "ipipMode: Always in every pool"
    if topology.veth_mtu != _VETH_MTU:
        yield f'veth_mtu: "{_VETH_MTU}" in the ConfigMap calico-config'
    gateway = topology.underlay.routers[0].name if topology.underlay.routers else ""
    if len(topology.underlay.subnets) != 1 or parts.get(step.ROUTER) != gateway:
        yield f"one subnet, with a router whose address is {_GATEWAY}"


def _grown(topology: Topology) -> Topology:
    """The article's cluster with a third node behind the router, in mode CrossSubnet.

        node31 .31   node32 .32                      a third node .33
            |            |                               |
        ----+------------+---- .1 (the gateway) .1 ------+----
             192.168.57.0/24                      192.168.58.0/24
    """
    gateway, *others = topology.underlay.routers
    interface = RouterInterface("elsewhere", IPv4Address("192.168.58.1"))
    return replace(
        topology,
        underlay=Underlay(
            (*topology.underlay.subnets, Subnet("elsewhere", IPv4Network("192.168.58.0/24"))),
            (replace(gateway, interfaces=(*gateway.interfaces, interface)), *others),
            topology.underlay.name),
        nodes=(*topology.nodes, Node("node33", IPv4Interface(_NODES[step.NODE33]))),
        pools=tuple(replace(pool, ipip_mode=EncapsulationMode.CROSS_SUBNET)
                    for pool in topology.pools),
        pods=(*topology.pods,
              Pod("sit", "elsewhere", "node33", IPv4Address(_PODS[step.ELSEWHERE]))),
        affinities=(*topology.affinities,
                    BlockAffinity("node33", IPv4Network("10.22.152.0/26"))))
