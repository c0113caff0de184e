"""A cluster told in other forms: as a topology, as a part of one, and as names. Pure.

::

    snapshot    Cluster  -> Topology    what a topology file would say of the running cluster now
    sample      Topology -> Topology    some nodes of each subnet, and some of their pods
    hosts_file  Cluster  -> text        by which names programs in its places reach each other

None of them changes what it is given.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.encapsulation import ENCAPSULATIONS
from calico_mn.calico.policy.active import PolicyIndex
from calico_mn.calico.policy.resolve import EGRESS, INGRESS
from calico_mn.model import IPPool, Node, Pod, Topology
from calico_mn.policy import Policy

_PODS_PER_NODE = 3
_PER_SUBNET = 2
#: the policies that select a pod, each way
_Selected = tuple[tuple[Policy, ...], ...]


def snapshot(cluster: Cluster) -> Topology:
    """The cluster's topology with all that has changed since, and with all that IPAM decided.

    A second :class:`~calico_mn.calico.cluster.Cluster` of it has the same addresses, blocks and
    routes. Left out is what no resource says: a node that alone sees other modes, dead route
    distributors, the order in which a block gives out its free addresses, and what a restart would
    bring up to date: the MTU of pods that are older than the modes in force, tunnel devices that
    nothing uses any more, and a node that goes on although a change left no address for its tunnel.
    """
    topology = cluster.topology
    declared = {pod.key: pod for pod in topology.pods}
    routers = tuple(
        replace(router, pod_routes=router.name in cluster.pod_routers,
                multipath_hash=cluster.multipath_hashes.get(router.name, router.multipath_hash))
        for router in topology.underlay.routers)
    pods = tuple(_pod(declared.get(key), endpoint) for key, endpoint in cluster.endpoints.items())
    return replace(
        topology, underlay=replace(topology.underlay, routers=routers),
        nodes=tuple(_node(cluster, node) for node in cluster.nodes.values()),
        pools=tuple(_pool(cluster, pool) for pool in topology.pools),
        affinities=cluster.ipam.affinities(),
        pods=(*pods, *(item.pod for item in cluster.admission.waiting.values())))


def _pod(pod: Pod | None, endpoint: WorkloadEndpoint) -> Pod:
    """The same object where it says all of the endpoint, so that a comparison is quick."""
    pod = pod or Pod(endpoint.namespace, endpoint.name, endpoint.node)
    is_same = (pod.node, pod.ip, pod.has_ip) == (endpoint.node, endpoint.address, True)
    return pod if is_same else replace(
        pod, node=endpoint.node, ip=endpoint.address, has_ip=True)


def _node(cluster: Cluster, node: Node) -> Node:
    for encapsulation in ENCAPSULATIONS:
        node = encapsulation.with_address(node, cluster.tunnel_address(node.name, encapsulation))
    return node


def _pool(cluster: Cluster, pool: IPPool) -> IPPool:
    mode = cluster.mode_of_pool(pool)
    return mode.encapsulation.of_pool(pool, mode.mode)


# --- a part of a large cluster

def sample(topology: Topology, wanted: int) -> Topology:
    """At least ``wanted`` nodes, or all where there are fewer, with their addresses and blocks.

    At least two nodes of each subnet stay, since packets within a subnet and between subnets go
    different ways, route reflectors first. A node keeps up to three pods, those first that other
    policies select than the pods that stay already, and one more for each set of policies that
    would select no pod otherwise. What the files say of nodes that are gone is left out.
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


# --- names

def hosts_file(cluster: Cluster) -> str:
    """The text of an /etc/hosts (hosts(5)), a line for each address, in the topology's order::

        nodes, routers, hosts of the underlay     node31
        pods                                      web-0 web-0.default default.web-0

    The first name is what an address is called in turn. A pod's short name stands alone only where
    no other pod, node, router or host has it.
    """
    underlay, pods = cluster.topology.underlay, cluster.endpoints.values()
    places = [*((node.address.ip, node.name) for node in cluster.nodes.values()),
              *((interface.address, router.name) for router in underlay.routers
                for interface in router.interfaces),
              *((host.address, host.name) for host in underlay.hosts)]
    taken = Counter([*(name for _, name in places), *(pod.name for pod in pods)])
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for address, name in places)]
    for pod in pods:
        short = f"{pod.name} " if taken[pod.name] == 1 else ""
        lines.append(f"{pod.address} {short}{pod.name}.{pod.namespace} {pod.namespace}.{pod.name}")
    return "".join(f"{line}\n" for line in lines)
