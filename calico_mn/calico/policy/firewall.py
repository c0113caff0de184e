"""The firewall of each node: what its Felix writes, by the cluster's policies and endpoints. Pure.

In goes what all Felixes know (:class:`Firewalls`) and what one node has (:class:`NodeFirewall`);
out comes its :class:`~calico_mn.state.Firewall`. A cluster without policies has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.policy.active import EGRESS, INGRESS, PolicyIndex, member
from calico_mn.calico.policy.node_chains import (
    ALL_HOSTS,
    ALL_POOLS,
    MASQUERADED_POOLS,
    VXLAN_HOSTS,
    NodeFirewall,
    PodRules,
    tables,
)
from calico_mn.calico.policy.resolve import IPSet, resolve
from calico_mn.calico.policy.restore import firewall
from calico_mn.model import Pod, Topology
from calico_mn.policy import Policy
from calico_mn.state import Firewall


class Firewalls:
    """The policies of a cluster with its endpoints, for all nodes."""

    def __init__(self, topology: Topology, endpoints: Mapping[str, WorkloadEndpoint]) -> None:
        pods = {pod.key: pod for pod in topology.pods}
        self.index = PolicyIndex(topology.policies, topology.network_sets,
                                 (*topology.namespaces, *topology.service_accounts))
        for key, endpoint in endpoints.items():
            self.index.add(pods.get(key) or Pod(endpoint.namespace, endpoint.name, endpoint.node),
                           endpoint.address)

    def of(self, node: NodeFirewall, endpoints: Iterable[WorkloadEndpoint]) -> Firewall:
        """The firewall of a node that has these endpoints."""
        pods = []
        for endpoint in endpoints:
            seen = self.index.endpoints[endpoint.key]
            pods.append(PodRules(endpoint.device, seen.profiles, self.index.of(seen, INGRESS),
                                 self.index.of(seen, EGRESS)))
        node = replace(node, pods=tuple(pods))
        sets: dict[str, Iterable[str]] = {ALL_POOLS: map(member, node.pools),
                                          MASQUERADED_POOLS: map(member, node.masqueraded)}
        if node.ipip:
            sets[ALL_HOSTS] = map(str, node.hosts)
        if node.vxlan:
            sets[VXLAN_HOSTS] = map(str, node.hosts)
        applied = {(policy.id, direction): policy for pod in pods
                   for policies, direction in ((pod.ingress, INGRESS), (pod.egress, EGRESS))
                   for policy in policies}
        for (_, direction), policy in applied.items():
            for ip_set in _sets(policy, direction):
                sets[ip_set.name] = self.index.members(ip_set).texts
        return firewall(tables(node), sets)


@lru_cache(maxsize=1_000)
def _sets(policy: Policy, direction: str) -> tuple[IPSet, ...]:
    ends = (end for rule in (policy.ingress if direction == INGRESS else policy.egress)
            for resolved in (resolve(rule, policy.namespace),)
            for end in (resolved.source, resolved.destination))
    return tuple(ip_set for end in ends for ip_set in end.ip_sets)
