"""The running cluster as a model again: what a topology file would say of it now. Pure.

In go Calico's books, out comes a :class:`~calico_mn.model.Topology` of which a second
:class:`~calico_mn.calico.cluster.Cluster` has the same addresses, blocks and routes. Left out is
what no resource says: a node that alone sees other modes, dead route distributors, the order in
which a block gives out its free addresses, and what a restart would bring up to date: the MTU of
pods that are older than the modes in force, tunnel devices that nothing uses any more, and a node
that goes on although a change left no address for its tunnel.
"""

from __future__ import annotations

from dataclasses import replace

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.encapsulation import ENCAPSULATIONS
from calico_mn.model import IPPool, Node, Pod, Topology


def snapshot(cluster: Cluster) -> Topology:
    """The cluster's topology with all that has changed since, and with all that IPAM decided."""
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
