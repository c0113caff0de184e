"""Topologies and policies of any size: for experiments with many sizes, and to begin with. Pure.

In go a topology and numbers of nodes and pods; out comes one whose nodes and pods fill its subnets
and pools. In go numbers of policies, rules and members; out come policies with their sets. In go
numbers of nodes, racks and pods, a mode and an encapsulation; out comes a topology file with
comments for the person who goes on writing it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from calico_mn.bgp_resources import BGPPeer
from calico_mn.errors import CalicoMnError, ClusterError
from calico_mn.model import Node, Pod, Subnet, Topology
from calico_mn.policy import EntityRule, NetworkSet, Policy, Rule

#: for benchmarks (RFC 2544): no address of a cluster
MEMBERS = IPv4Network("198.18.0.0/15")
#: what the addresses of a starter have room for
MOST_RACKS, MOST_IN_RACK, MOST_PODS = 250, 240, 15_000


def scaled(topology: Topology, nodes: int, pods: int) -> Topology:
    """``nodes`` nodes instead of the topology's, ``pods`` pods on each of them.

    Subnets that have nodes get their share in turn. Raises CalicoMnError as :func:`check_room`.
    """
    check_room(topology, nodes, pods)
    addresses = free_addresses(topology, nodes)
    made = tuple(Node(f"node{n}", address) for n, address in enumerate(addresses, 1))
    return replace(topology, nodes=made, affinities=(), lines={}, pods=tuple(
        Pod("default", f"p{pod}-{node.name}", node.name)
        for pod in range(1, pods + 1) for node in made))


def blocks_of_node(topology: Topology, pods: int) -> int:
    """How many blocks of the first pool a node has, so that ``pods`` and its tunnel have addresses.
    """
    return math.ceil((pods + 1) / (1 << 32 - topology.pools[0].block_size))


def check_room(topology: Topology, nodes: int, pods: int) -> None:
    """Raise CalicoMnError when subnets or the first pool do not suffice for one node more than
    asked for: an experiment may want to add one.
    """
    free_addresses(topology, nodes + 1)
    pool = topology.pools[0]
    blocks, room = blocks_of_node(topology, pods) * nodes + 1, 1 << (
        pool.block_size - pool.cidr.prefixlen)
    if blocks > room:
        raise CalicoMnError(f"{nodes} nodes with {pods} pods need {blocks:,} blocks, and"
                            f" {pool.cidr} has {room:,}: ask for fewer, or give the pool a shorter"
                            " prefix")


def in_two_subnets(topology: Topology) -> Topology:
    """The topology with the nodes of the first two subnets alone that have some."""
    subnet_of = {node.name: topology.subnet_of(node.address.ip) for node in topology.nodes}
    chosen = list(dict.fromkeys(subnet_of.values()))[:2]
    return replace(topology, nodes=tuple(
        node for node in topology.nodes if subnet_of[node.name] in chosen))


def with_reflectors(topology: Topology, count: int) -> Topology:
    """The first ``count`` nodes reflect the routes of all others, in place of the mesh."""
    selector = "has(route-reflector)"
    return replace(
        topology, mesh=False, nodes=tuple(
            replace(node, labels=(*node.labels, ("route-reflector", "true")),
                    route_reflector="244.0.0.1") if number < count else node
            for number, node in enumerate(topology.nodes)),
        bgp_peers=(BGPPeer("clients", node_selector=f"!{selector}", peer_selector=selector),
                   BGPPeer("reflectors", node_selector=selector, peer_selector=selector)))


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


_POOL = """\
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {{name: default-ipv4-ippool}}
spec:
  cidr: 10.22.0.0/16
  {field}: {mode}    # Always, CrossSubnet or Never
  natOutgoing: true
---
# Pods web-0, web-1, ... of the namespace default, on the nodes in turn.
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec: {{replicas: {pods}}}
"""


def starter(nodes: int, racks: int, pods: int, mode: str, field: str) -> str:
    """The text of a topology file: a router, a subnet for each rack, nodes in the racks in turn.

    ``field`` is the field of the file's IPPool that has the mode. Raises ClusterError for numbers
    for which the addresses do not suffice.
    """
    if not (1 <= racks <= min(nodes, MOST_RACKS) and nodes <= racks * MOST_IN_RACK
            and 0 <= pods <= MOST_PODS):
        raise ClusterError(
            f"a starter has 1 to {MOST_RACKS} racks, 1 to {MOST_IN_RACK} nodes in each of them, and"
            f" 0 to {MOST_PODS:,} pods: {nodes} nodes, {racks} racks and {pods} pods do not fit")
    subnets = "".join(f"    - {{name: rack-{rack}, cidr: 10.1.{rack}.0/24}}\n"
                      for rack in range(1, racks + 1))
    interfaces = "".join(f"        - {{subnet: rack-{rack}, address: 10.1.{rack}.1}}\n"
                         for rack in range(1, racks + 1))
    members = "".join(
        "---\napiVersion: projectcalico.org/v3\nkind: Node\n"
        f"metadata: {{name: node{number + 1}}}\n"
        f"spec: {{bgp: {{ipv4Address: 10.1.{number % racks + 1}.{number // racks + 11}/24}}}}\n"
        for number in range(nodes))
    return (
        "# Boot it with 'calico-mn up FILE'. What else can be written: docs/topology-files.md.\n"
        "apiVersion: calico-mn/v1\nkind: Underlay\nmetadata: {name: underlay}\nspec:\n"
        f"  subnets:    # 'mtu: 9000' or 'link: {{rate: 1Gbit, delay: 1ms}}' change the cables\n"
        f"{subnets}  routers:\n    - name: r1\n"
        "      podRoutes: false    # true: the router knows the ways to the pods' blocks\n"
        f"      interfaces:\n{interfaces}{members}"
        f"{_POOL.format(field=field, mode=mode, pods=pods)}")
