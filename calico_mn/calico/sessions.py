"""Between which nodes BGP's TCP cannot work, by the way the underlay is built. Pure.

In go the fabric and the nodes; out come the pairs of nodes of which one has no route to the other's
address, or asks by ARP for an address that is not in its subnet. What was done to the running
underlay (filters, links that are down) is found out by :mod:`calico_mn.emulation.sessions`.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

from calico_mn.calico.underlay import Fabric
from calico_mn.model import Node

#: two nodes -> why TCP does not work between them
Unreachable = dict[frozenset[str], str]


def unreachable(fabric: Fabric, nodes: Collection[Node]) -> Unreachable:
    """The pairs without TCP.

    Nodes of one subnet with one prefix are alike, so that a large cluster is a few questions.
    """
    alike: dict[object, list[Node]] = {}
    for node in nodes:
        alike.setdefault((fabric.subnet_of(node).name, fabric.nic(node).network), []).append(node)
    pairs: Unreachable = {}
    for (key, group), (other_key, others) in combinations(alike.items(), 2):
        del key, other_key
        overlap = fabric.nic(group[0]).network.overlaps(fabric.nic(others[0]).network)
        if overlap or _obstacle(fabric, group[0], others[0]):
            pairs.update((frozenset((node.name, peer.name)), why) for node in group
                         for peer in others if (why := _obstacle(fabric, node, peer)))
    return pairs


def _obstacle(fabric: Fabric, node: Node, peer: Node) -> str:
    return fabric.obstacle(node, peer) or fabric.obstacle(peer, node)
