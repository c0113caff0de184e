"""A cluster, written as resources, read and built again; and what of it must be the same then."""

from __future__ import annotations

from typing import Any

import yaml

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.snapshot import snapshot
from calico_mn.emulation import plan
from calico_mn.topology import parse_topology
from calico_mn.topology.emit import documents


def facts(cluster: Cluster) -> dict[str, Any]:
    """Addresses, blocks, modes and every route: all that packets go by."""
    topology = snapshot(cluster)
    return {
        "pods": {pod.key: pod for pod in topology.pods},
        "affinities": cluster.ipam.affinities(),
        "borrowed": {node: set(cluster.ipam.borrowed(node)) for node in cluster.nodes},
        "tunnels": {node: cluster.tunnel_addresses(node) for node in cluster.nodes},
        "modes": {pool.name: cluster.mode_of_pool(pool).fields for pool in topology.pools},
        "nodes": {name: (node.address, node.vxlan_mac, node.labels)
                  for name, node in cluster.nodes.items()},
        "namespaces": {state.name: (set(state.routes), set(state.addresses),
                                    set(state.neighbours), set(state.fdb))
                       for state in plan.host_states(cluster, BuiltInEngine())},
        "underlay": (topology.underlay.subnets, [router.name for router in cluster.fabric.routers],
                     topology.underlay.hosts),
        "rest": (topology.ipam, topology.felix, topology.veth_mtu, topology.reservations),
        "bgp": (topology.mesh, topology.bgp, topology.bgp_peers, topology.bgp_filters),
        "policies": (topology.policies, topology.network_sets, topology.service_accounts,
                     topology.host_endpoints, topology.profiles, topology.services),
    }


def written(cluster: Cluster) -> str:
    """As ``calico-mn get -o yaml`` prints it."""
    return yaml.safe_dump({"apiVersion": "v1", "kind": "List",
                           "items": documents(snapshot(cluster))}, sort_keys=False)


def again(cluster: Cluster) -> Cluster:
    """The cluster that boots from what another one is written as."""
    return Cluster(parse_topology(written(cluster)), cluster.rp_filter)


def assert_survives(cluster: Cluster) -> None:
    """The same cluster boots; and what that one is written as says the same."""
    text = written(cluster)
    second = Cluster(parse_topology(text), cluster.rp_filter)
    assert facts(second) == facts(cluster)
    assert yaml.safe_load(written(second)) == yaml.safe_load(text)
