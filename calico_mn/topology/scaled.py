"""Topologies and policies of any size, for experiments with many sizes. Pure.

In go a topology and numbers of nodes and pods; out comes one whose nodes and pods fill its subnets
and pools. In go numbers of policies, rules and members; out come policies with their sets.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from calico_mn.errors import CalicoMnError
from calico_mn.model import Node, Pod, Subnet, Topology
from calico_mn.policy import EntityRule, NetworkSet, Policy, Rule

#: for benchmarks (RFC 2544): no address of a cluster
MEMBERS = IPv4Network("198.18.0.0/15")


def scaled(topology: Topology, nodes: int, pods: int) -> Topology:
    """``nodes`` nodes instead of the topology's, ``pods`` pods on each of them.

    Subnets that have nodes get their share in turn. Raises CalicoMnError when their addresses do
    not suffice for one node more: an experiment may want to add one.
    """
    addresses = free_addresses(topology, nodes + 1)[:nodes]
    made = tuple(Node(f"node{n}", address) for n, address in enumerate(addresses, 1))
    return replace(topology, nodes=made, affinities=(), lines={}, pods=tuple(
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


def policies(count: int, *, rules: int = 1, members: int = 10
             ) -> tuple[list[Policy], list[NetworkSet]]:
    """Policies for what comes to any pod, and the sets of their rules: the worst case of a packet.

    Each rule looks the source up in a set of its own, with so many ``members``, none of them a pod.
    The last policy has one rule more, which allows everything. Raises CalicoMnError for more
    members than there are.
    """
    if count * rules * members > MEMBERS.num_addresses:
        raise CalicoMnError(f"{count} policies with {rules} rules of {members:,} members need more"
                            f" addresses than {MEMBERS} has: ask for fewer")
    made: list[Policy] = []
    sets: list[NetworkSet] = []
    for order in range(1, count + 1):
        asked = []
        for _ in range(rules):
            number = str(len(sets))
            first = int(MEMBERS.network_address) + len(sets) * members
            sets.append(NetworkSet(f"set-{number}", labels=(("set", number),), nets=tuple(
                IPv4Network(first + member) for member in range(members))))
            asked.append(Rule(source=EntityRule(selector=f"set == '{number}'")))
        made.append(Policy("GlobalNetworkPolicy", f"policy-{order}", f"default.policy-{order}",
                           order=order, selector="all()",
                           ingress=(*asked, *([Rule()] if order == count else []))))
    return made, sets
