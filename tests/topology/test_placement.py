from ipaddress import IPv4Network
from pathlib import Path

import pytest

from calico_mn import load_topology
from calico_mn.calico.cluster import Cluster
from calico_mn.errors import CalicoMnError
from calico_mn.topology.scaled import scaled

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


@pytest.mark.parametrize(("file", "nodes", "pods"), [
    ("scale.yaml", 300, 2), ("two-subnets.yaml", 7, 3), ("racks.yaml", 4, 1)])
def test_nodes_and_pods_are_as_many_as_asked_for(file, nodes, pods):
    base = load_topology(TOPOLOGIES / file)
    made = scaled(base, nodes, pods)
    assert (len(made.nodes), len(made.pods)) == (nodes, nodes * pods)
    assert (made.underlay, made.pools) == (base.underlay, base.pools)
    assert len({pod.key for pod in made.pods}) == nodes * pods
    addresses = {node.address.ip for node in made.nodes}
    routers = {interface.address for router in base.underlay.routers
               for interface in router.interfaces}
    assert len(addresses) == nodes
    assert not addresses & routers
    assert len(Cluster(made, 2).endpoints) == nodes * pods, "Calico's own checks take it"


def test_subnets_with_nodes_get_theirs_in_turn():
    base = load_topology(TOPOLOGIES / "two-paths.yaml")
    made = scaled(base, 6, 1)
    assert [made.subnet_of(node.address.ip).name for node in made.nodes] == ["rack-a",
                                                                             "rack-b"] * 3
    assert made.nodes[0].address.network == IPv4Network("192.168.57.0/24")


def test_a_subnet_that_is_too_small_is_named():
    base = load_topology(TOPOLOGIES / "two-paths.yaml")
    assert len(scaled(base, 505, 1).nodes) == 505
    with pytest.raises(CalicoMnError, match=r"rack-[ab] \(192\.168\.5[78]\.0/24\) has no address"):
        scaled(base, 506, 1)
