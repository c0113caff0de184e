"""A topology made over for other numbers of nodes and pods, for experiments with many sizes. Pure.

In go a topology and the numbers; out comes one whose nodes and pods fill its subnets and pools.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from calico_mn.errors import CalicoMnError
from calico_mn.model import Node, Pod, Subnet, Topology


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
