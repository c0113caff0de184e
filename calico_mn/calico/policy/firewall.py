"""The firewall of each node: what its Felix writes, by the cluster's policies and endpoints. Pure.

In goes what all Felixes know (:class:`Firewalls`) and what one node has (:class:`NodeFirewall`);
out comes its :class:`~calico_mn.state.Firewall`. A cluster without policies has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.policy.active import EGRESS, INGRESS, PolicyIndex
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
        sets: dict[str, Iterable[str]] = {ALL_POOLS: map(str, node.pools),
                                          MASQUERADED_POOLS: map(str, node.masqueraded)}
        if node.ipip:
            sets[ALL_HOSTS] = map(str, node.hosts)
        if node.vxlan:
            sets[VXLAN_HOSTS] = map(str, node.hosts)
        for pod in pods:
            for policies, direction in ((pod.ingress, INGRESS), (pod.egress, EGRESS)):
                for ip_set in _sets(policies, direction):
                    if ip_set.name not in sets:
                        sets[ip_set.name] = self.index.members(ip_set).texts
        return firewall(tables(node), sets)


def _sets(policies: Iterable[Policy], direction: str) -> Iterable[IPSet]:
    for policy in policies:
        for rule in policy.ingress if direction == INGRESS else policy.egress:
            resolved = resolve(rule, policy.namespace)
            yield from (*resolved.source.ip_sets, *resolved.destination.ip_sets)
