"""How many neighbour entries BGP's sessions take; nodes are those of the drawing in clusters.py."""

from dataclasses import replace

import pytest

from calico_mn.calico.cluster import Cluster
from calico_mn.emulation.speakers import neighbour_entries
from calico_mn.model import BGPPeer
from calico_mn.topology import load_topology

from .clusters import NODE31, NODE32, NODE33, topology

REFLECTOR = (replace(NODE31, route_reflector="244.0.0.1", labels=(("rr", "true"),)),
             NODE32, NODE33)
CASES = {
    # Two know each other; each of three has its gateway as a neighbour, which has it.
    "mesh": ((NODE31, NODE32, NODE33), (), True, 2 + 3 * 2),
    "one subnet": ((NODE31, NODE32), (), True, 2),
    "no sessions": ((NODE31, NODE32, NODE33), (), False, 0),
    # node32 reaches its only peer without a gateway.
    "reflector": (REFLECTOR, (BGPPeer("clients", node_selector="!has(rr)",
                                      peer_selector="has(rr)"),), False, 2 + 2 * 2),
}


@pytest.mark.parametrize("case", CASES)
def test_entries_of_sessions(case):
    nodes, peers, mesh, entries = CASES[case]
    cluster = Cluster(replace(topology(), nodes=nodes, bgp_peers=peers, mesh=mesh), 2)
    assert neighbour_entries(cluster) == entries


def test_entries_of_sessions_of_routers():
    """In top-of-rack.yaml each node and its router know each other, and so do two routers."""
    cluster = Cluster(load_topology("topologies/top-of-rack.yaml"), 2)
    assert neighbour_entries(cluster) == 2 * (3 + 2)
