"""A running cluster becomes another one: what stays keeps all that it has. Pure.

In go a :class:`~calico_mn.calico.cluster.Cluster` and the topology that it is to have; out comes a
second cluster, and the first is untouched, so that an error changes nothing. Pods keep their
addresses and MTUs, nodes their blocks and tunnel addresses, blocks the order in which they give
their addresses, and a node that sees other modes than the cluster goes on to see those of the
pools that do not change. The steps are in the order in which Calico's controllers could take them::

    pods and nodes that go -> pools, settings -> nodes that change -> blocks -> tunnel addresses
      -> nodes that come -> pods that come
"""

from __future__ import annotations

import copy
from collections import deque
from typing import Any, TypeVar

from calico_mn.calico.admission import Admission
from calico_mn.calico.allocateip import TunnelAddresses
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.ipam import IPAM, Block
from calico_mn.errors import ClusterError
from calico_mn.model import Topology
from calico_mn.text import join_some

Item = TypeVar("Item")

#: what a fork has of its own, by exact types; all else is shared
_COPIED = frozenset({dict, list, set, deque, Cluster, IPAM, TunnelAddresses, Admission, Block})


def evolved(cluster: Cluster, wanted: Topology) -> Cluster:
    """The cluster as ``wanted`` describes it, completely: :func:`.snapshot.snapshot`, and changes.

    Raises ClusterError for what a running cluster cannot change, IPAMError for a block that is in
    use. A pod that gets no address waits.
    """
    pods = {pod.key: pod for pod in wanted.pods}
    nodes = {node.name for node in wanted.nodes}
    after = fork(cluster)
    for key, endpoint in cluster.endpoints.items():
        if key not in pods:
            after.delete_pod(key)
        elif pods[key].node != endpoint.node or pods[key].ip not in (endpoint.address, None):
            raise ClusterError(f"pod {key} runs on {endpoint.node} with {endpoint.address}, and a"
                               " running pod keeps both: delete it first")
    for name in cluster.nodes:
        if name not in nodes:
            after.delete_node(name)
    _refuse_pools(after, wanted)
    after.adopt(wanted)
    after.pod_routers = {router.name for router in wanted.underlay.routers if router.pod_routes}
    after.multipath_hashes = {}
    coming = [node for node in wanted.nodes if node.name not in after.nodes]
    after.change_nodes(node for node in wanted.nodes if node.name in after.nodes)
    present = dict.fromkeys(after.ipam.affinities())
    for affinity in wanted.affinities:
        if affinity not in present:
            after.ipam.claim(affinity.cidr, affinity.node)
    after.settle_tunnels(coming)
    kept = set(wanted.affinities)
    for affinity in present:
        if affinity.node and affinity not in kept:
            after.ipam.release_block(affinity.node, affinity.cidr)
    for node in coming:
        after.add_node(node)
    after.admission.waiting = {}
    # A pod that asks for an address gets it before the others take it.
    after.admit(sorted((pod for pod in wanted.pods if pod.key not in after.endpoints),
                       key=lambda pod: pod.ip is None))
    after.retry()
    return after


def _refuse_pools(cluster: Cluster, wanted: Topology) -> None:
    """What libcalico-go's lib/clientv3/ippool.go refuses, and pools that pods still need."""
    pools = {pool.name: pool for pool in wanted.pools}
    for pool in cluster.topology.pools:
        after = pools.get(pool.name)
        if after is None:
            users = [key for key, endpoint in cluster.endpoints.items()
                     if endpoint.address in pool.cidr]
            if users:
                raise ClusterError(f"IPPool {pool.name} gives {join_some(users, 5)} their"
                                   " addresses: delete those first, or set disabled: true")
        elif (after.cidr, after.block_size) != (pool.cidr, pool.block_size):
            raise ClusterError(f"IPPool {pool.name} has cidr {pool.cidr} and blockSize"
                               f" {pool.block_size}, which cannot be modified: add another pool")


def fork(cluster: Cluster) -> Cluster:
    """The same cluster with books of its own, sharing only what never changes."""
    return _forked(cluster, {})


def _forked(value: Item, memo: dict[int, Any]) -> Item:
    """A copy of containers and books, each once; all else is shared."""
    if type(value) not in _COPIED:
        return value
    known = memo.get(id(value))
    if known is not None:
        return known  # type: ignore[no-any-return]
    new: Any = value
    if isinstance(value, dict):
        new = value | {key: _forked(item, memo) for key, item in value.items()
                       if type(item) in _COPIED}
    elif isinstance(value, list):
        new = [_forked(item, memo) for item in value]
    elif isinstance(value, (set, deque)):
        new = value.copy()
    else:
        new = memo[id(value)] = copy.copy(value)
        for name in Block.__slots__ if isinstance(value, Block) else vars(value):
            setattr(new, name, _forked(getattr(value, name), memo))
    memo[id(value)] = new
    return new  # type: ignore[no-any-return]
