"""A representative part of a large cluster: some nodes of each subnet, some of their pods. Pure.

In goes a :class:`~calico_mn.model.Topology` and how many nodes it is to have; out comes a smaller
one with the same names and addresses. At least two nodes of each subnet stay, since packets within
a subnet and between subnets go different ways, route reflectors first. Of pods those stay first
that other policies select than the pods that stay already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from calico_mn.calico.policy.active import PolicyIndex
from calico_mn.calico.policy.resolve import EGRESS, INGRESS
from calico_mn.model import Node, Pod, Topology
from calico_mn.policy import Policy

_PODS_PER_NODE = 3
_PER_SUBNET = 2
#: the policies that select a pod, each way
_Selected = tuple[tuple[Policy, ...], ...]


def sample(topology: Topology, wanted: int) -> Topology:
    """At least ``wanted`` nodes, or all where there are fewer, with their addresses and blocks.

    A node keeps up to three pods, and one more for each set of policies that would select no pod
    otherwise. What the files say of nodes that are gone is left out.
    """
    selected = _selected(topology)
    pods: dict[str, list[Pod]] = {}
    for pod in topology.pods:
        pods.setdefault(pod.node, []).append(pod)
    covered: set[_Selected] = set()
    kept_pods: list[Pod] = []
    nodes = _nodes(topology, wanted, {
        node: {selected[pod.key] for pod in items} for node, items in pods.items()})
    for node in nodes:
        chosen = 0
        for pod in _new_first(pods.get(node.name, []), selected):
            is_new = selected[pod.key] not in covered
            if chosen < _PODS_PER_NODE or (is_new and any(selected[pod.key])):
                chosen += 1
                covered.add(selected[pod.key])
                kept_pods.append(pod)
    names = {node.name for node in nodes}
    order = {pod.key: place for place, pod in enumerate(topology.pods)}
    return replace(
        topology, nodes=tuple(node for node in topology.nodes if node.name in names),
        pods=tuple(sorted(kept_pods, key=lambda pod: order[pod.key])),
        affinities=tuple(item for item in topology.affinities if item.node in names),
        host_endpoints=tuple(item for item in topology.host_endpoints if item.node in names),
        bgp_peers=tuple(item for item in topology.bgp_peers if item.node in ("", *names)),
        documents=tuple(item for item in topology.documents if _node_of(item) in (None, *names)))


def _node_of(document: dict[str, Any]) -> object:
    """The node that a HostEndpoint, BGPPeer or block is of, None for other resources."""
    spec = document.get("spec")
    return spec.get("node") if isinstance(spec, dict) else None


def _selected(topology: Topology) -> dict[str, _Selected]:
    """By the keys of pods. A policy looks at no address, so one without has any."""
    index = PolicyIndex(topology.policies, topology.network_sets,
                        (*topology.namespaces, *topology.service_accounts))
    index = index.with_pods((pod, pod.ip or next(iter(topology.pools)).cidr[0])
                            for pod in topology.pods)
    return {key: (index.of(endpoint, INGRESS), index.of(endpoint, EGRESS))
            for key, endpoint in index.endpoints.items()}


def _nodes(topology: Topology, wanted: int, selected: dict[str, set[_Selected]]) -> list[Node]:
    """From each subnet in turn the node whose pods add most to what is selected already."""
    rows: dict[str, list[Node]] = {}
    for node in topology.nodes:
        subnet = topology.subnet_of(node.address.ip)
        rows.setdefault(subnet.name if subnet else "", []).append(node)
    covered: set[_Selected] = set()
    nodes: list[Node] = []
    turn = 0
    while any(rows.values()) and (turn < _PER_SUBNET or len(nodes) < wanted):
        for row in rows.values():
            if row and (turn < _PER_SUBNET or len(nodes) < wanted):
                node = max(row, key=lambda node: (
                    bool(node.route_reflector), len(selected.get(node.name, set()) - covered),
                    node.name in selected))
                row.remove(node)
                nodes.append(node)
                covered |= selected.get(node.name, set())
        turn += 1
    return nodes


def _new_first(pods: list[Pod], selected: dict[str, _Selected]) -> list[Pod]:
    """The first pod of each set of policies, then the others."""
    first: dict[_Selected, Pod] = {}
    for pod in pods:
        first.setdefault(selected[pod.key], pod)
    keys = {pod.key for pod in first.values()}
    return [*first.values(), *(pod for pod in pods if pod.key not in keys)]
