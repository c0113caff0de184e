"""Nodes: those of Calico and those of Kubernetes become one list, each with an address.

In the Kubernetes datastore there is no Node of Calico's: kubectl prints ``v1`` Nodes with Calico's
annotations, and calicoctl makes its own of them (libcalico-go lib/backend/k8s/resources/node.go).
In go the nodes of both kinds, out come those that the cluster has. A node that Calico has not yet
given an address gets its InternalIP, and a prefix that is assumed and said.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Interface

from calico_mn.model import Node, Underlay
from calico_mn.text import join_some, quote
from calico_mn.topology.calico_kinds import NODE
from calico_mn.topology.kubernetes_kinds import ADDRESSES
from calico_mn.topology.kubernetes_kinds import NODE as KUBERNETES_NODE
from calico_mn.topology.problems import Report
from calico_mn.topology.schema import Resource, Resources
from calico_mn.topology.underlay import ASSUMED_PREFIX, ROUTERS, SUBNETS


def settle_nodes(
    report: Report, resources: Resources, underlay: Resource[Underlay] | None
) -> list[Resource[Node]]:
    """The nodes in file order; of two with one name Calico's counts, with both's labels."""
    of_calico = {node.get("name"): node for node in resources.of(NODE)}
    of_kubernetes = set(map(id, resources.of(KUBERNETES_NODE)))
    nodes = []
    for node in resources.of(NODE, KUBERNETES_NODE):
        twin = of_calico.get(node.get("name"))
        if twin is None or id(node) not in of_kubernetes:
            nodes.append(node)
        else:
            labels = {**dict(node.get("labels", ())), **dict(twin.get("labels", ()))}
            twin.values["labels"] = tuple(labels.items())
            twin.values |= {name: node.values[name] for name in ("taints", "unschedulable")
                            if name in node.values}
            twin.make(Node)
    resources.replace(NODE, nodes)
    _take_internal_addresses(report, nodes, of_kubernetes, underlay)
    if not underlay or not any(
            router.get("as_number") for router in underlay.entries(ROUTERS)):
        _compare_as_numbers(report, nodes)
    return nodes


def _take_internal_addresses(
    report: Report, nodes: list[Resource[Node]], of_kubernetes: set[int],
    underlay: Resource[Underlay] | None,
) -> None:
    taken: list[str] = []
    subnets = [subnet.model.cidr for subnet in underlay.entries(SUBNETS) if subnet.has("cidr")
               ] if underlay else []
    for node in nodes:
        if node.has("address") or "address" in node.wrong or not (
                id(node) in of_kubernetes or node.has("addresses")):
            continue
        internal = next((address for entry in node.entries(ADDRESSES)
                         if entry.get("type") == "InternalIP"
                         and (address := _address(entry.get("address", "")))), None)
        if internal is None:
            report.add(f"node {quote(node.get('name', ''))} has no IPv4 address", node.mark,
                       "Calico writes it into the annotation projectcalico.org/IPv4Address; "
                       "an address of type InternalIP in its status will do")
            continue
        prefix = next((cidr.prefixlen for cidr in subnets if internal in cidr), ASSUMED_PREFIX)
        node.set("address", IPv4Interface((internal, prefix)), node.mark)
        taken.append(f"{node.get('name')} {internal}/{prefix}")
        node.make(Node)
    if taken:
        report.warn(f"Calico's address is not given for {join_some(taken, 5)}: took the InternalIP,"
                    f" and {'the prefix of its subnet' if subnets else 'assumed its prefix'}.")


def _address(word: str) -> IPv4Address | None:
    try:
        return IPv4Address(word)
    except AddressValueError:
        return None


def _compare_as_numbers(report: Report, nodes: list[Resource[Node]]) -> None:
    """Between nodes of different AS numbers Calico's mesh speaks eBGP."""
    numbers = dict.fromkeys(node.get("as_number", 0) for node in nodes)
    if len(numbers) > 1:
        shown = join_some((str(number or "the default") for number in numbers), 5)
        report.warn(f"Nodes have different AS numbers ({shown}): here all of them are one AS.")
