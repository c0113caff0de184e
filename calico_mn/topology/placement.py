"""Pods on nodes: Deployments become pods, and a topology is made over for other numbers of them.

:func:`place_pods` is what the file asks for; :func:`scaled` puts any number of nodes and pods into
a topology's subnets and pools, for experiments with clusters of many sizes. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from calico_mn.errors import CalicoMnError
from calico_mn.model import Node, Pod, Subnet, Topology
from calico_mn.text import join_some, quote
from calico_mn.topology.problems import Report
from calico_mn.topology.rules import Owners
from calico_mn.topology.schema import Resource

MAX_PODS = 20_000
_MAX_NAME = 253


def place_pods(
    report: Report, workloads: list[Resource[Pod]], nodes: list[Resource[Node]]
) -> list[Pod]:
    """The pods in file order; pods of a Deployment without nodeName go to the nodes in turn."""
    total = sum(workload.get("replicas", 1) for workload in workloads)
    if total > MAX_PODS:
        largest = max(workloads, key=lambda workload: int(workload.get("replicas", 1)))
        report.add(f"{total} pods are more than the {MAX_PODS} that one machine can hold",
                   largest.at("replicas", "name"), "use fewer replicas")
        return []
    names = [node.model.name for node in nodes if node.has("name")]
    known_names = set(names)
    complete = bool(names) and len(names) == len(nodes)
    owners = Owners()
    pods = []
    for workload in workloads:
        template, replicas = workload.model, workload.get("replicas")
        title = f"{'Pod' if replicas is None else 'Deployment'} {template.key}"
        if workload.has("node") and template.node not in known_names and complete:
            report.add(f"{title} is on unknown node {quote(template.node)}", workload.at("node"),
                       report.did_you_mean(template.node, names)
                       or f"the file has {join_some(names, 5)}")
        for number in range(1 if replicas is None else replicas):
            name = template.name if replicas is None else f"{template.name}-{number}"
            node = template.node or (names[number % len(names)] if names else "")
            pod = Pod(template.namespace, name, node, template.ip)
            if len(name) > _MAX_NAME:
                report.add(f"{title} makes a pod name of {len(name)} characters",
                           workload.at("name"), f"a name has at most {_MAX_NAME}; shorten it")
                break
            earlier = owners.take(pod.key, title, workload.at("name"))
            if earlier:
                report.add(f"duplicate pod {pod.key}", workload.at("name"),
                           f"{earlier[1].where} has it already")
                break
            pods.append(pod)
    return pods


def scaled(topology: Topology, nodes: int, pods: int) -> Topology:
    """``nodes`` nodes instead of the topology's, ``pods`` pods on each of them.

    Subnets that have nodes get their share in turn. Raises CalicoMnError when their addresses do
    not suffice for one node more: an experiment may want to add one.
    """
    addresses = free_addresses(topology, nodes + 1)[:nodes]
    made = tuple(Node(f"node{n}", address) for n, address in enumerate(addresses, 1))
    return replace(topology, nodes=made, affinities=(), pods=tuple(
        Pod("default", f"p{pod}-{node.name}", node.name)
        for pod in range(1, pods + 1) for node in made))


def free_addresses(topology: Topology, count: int) -> list[IPv4Interface]:
    """Addresses for nodes in the subnets that have some, in turn, beside the routers'."""
    taken = {interface.address for router in topology.underlay.routers
             for interface in router.interfaces}
    subnets = list(dict.fromkeys(subnet for node in topology.nodes
                                 if (subnet := topology.subnet_of(node.address.ip))))
    return [_address(subnets[n % len(subnets)], n // len(subnets), taken) for n in range(count)]


def _address(subnet: Subnet, number: int, taken: set[IPv4Address]) -> IPv4Interface:
    occupied = sorted(int(address) - int(subnet.cidr.network_address) for address in taken
                      if address in subnet.cidr)
    offset = number + 1
    for position in occupied:
        offset += position <= offset
    if offset >= subnet.cidr.num_addresses - 1:
        raise CalicoMnError(f"{subnet.name} ({subnet.cidr}) has no address for a node number"
                            f" {number + 1}: give the subnet a shorter prefix, or ask for fewer"
                            " nodes")
    return IPv4Interface(f"{subnet.cidr[offset]}/{subnet.cidr.prefixlen}")
