"""The firewall of each node: what its Felix writes, by the cluster's policies and endpoints. Pure.

In goes what all Felixes know (:class:`Firewalls`) and what one node has (:class:`NodeFirewall`);
out comes its :class:`~calico_mn.state.Firewall`. After a change of the cluster only what follows
from the change is worked out again, and a firewall that stays is the same object::

    Firewalls --after(topology, endpoints)--> Firewalls
        | of(node)                                | of(node)
        v                                         v
    Firewall                                  the same Firewall, or one that shares chains and sets

Of several host endpoints for one device that with the first name counts, as in felix
``dataplane/linux/endpoint_mgr.go`` (``resolveHostEndpoints``). Each rule carries a comment
``cali:HASH``: a digest of its own text and of all rules before it in its chain, so that the last
one of a chain proves the whole chain (``iptables/chain.go``, ``RuleHashes``).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address

from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.encapsulation import WITH_BACK_END
from calico_mn.calico.policy.active import Members, PolicyIndex
from calico_mn.calico.policy.chains import Chains, Rule
from calico_mn.calico.policy.endpoint_chains import ANY_DEVICE, BETWEEN_NODES
from calico_mn.calico.policy.node_chains import (
    APPENDED,
    HOOKS,
    HostRules,
    NodeFirewall,
    PodRules,
    tables,
)
from calico_mn.calico.policy.resolve import EGRESS, INGRESS, IPSet, ip_sets
from calico_mn.model import Pod, Topology
from calico_mn.policy import HostEndpoint, Policy, Stage
from calico_mn.rules import OuterWay, RuleChain, expected
from calico_mn.state import ALLOWED_SOURCES, Firewall, Route

#: a node's devices that lead to no pod, with their addresses
Devices = Mapping[str, Collection[IPv4Address]]
#: the IP set of those whose packets are accepted
_SENDERS = BETWEEN_NODES[WITH_BACK_END].hosts
#: where the packet is led on from cali-PREROUTING
_PASSED = {"raw": ("cali-from-host-endpoint",), "mangle": ("cali-from-host-endpoint",),
           "nat": ("cali-fip-dnat",)}


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A node's firewall with all that it follows from."""

    node: NodeFirewall
    pods: tuple[PodRules, ...]
    members: tuple[tuple[IPSet, Members], ...]
    firewall: Firewall


class Firewalls:
    """The policies of a cluster with its endpoints, for all nodes. It does not change."""

    def __init__(self, topology: Topology, endpoints: Mapping[str, WorkloadEndpoint],
                 before: Firewalls | None = None) -> None:
        self._topology, self._endpoints = topology, dict(endpoints)
        self._pods: dict[str, Pod] = (
            before._pods if before and before._topology.pods == topology.pods
            else {pod.key: pod for pod in topology.pods})
        index = PolicyIndex(
            topology.policies, topology.network_sets,
            (*topology.namespaces, *topology.service_accounts), before.index if before else None,
            topology.host_endpoints, topology.profiles, topology.services)
        known = before._endpoints if before and index.endpoints else {}
        come = [(self._pods.get(key) or Pod(endpoint.namespace, endpoint.name, endpoint.node),
                 endpoint.address)
                for key, endpoint in endpoints.items() if known.get(key) is not endpoint
                or (before and before._pods is not self._pods)]
        gone = [key for key in known if key not in endpoints]
        self.index: PolicyIndex = index.with_pods(come, gone) if come or gone else index
        self._rendered: dict[str, _Rendered] = dict(before._rendered) if before else {}
        self._pod_rules: dict[str, PodRules] = {
            key: rules for key, rules in before._pod_rules.items()
            if self.index.endpoints.get(key) is before.index.endpoints[key]
        } if before and self.index.selects_as(before.index) else {}

    def after(self, topology: Topology, endpoints: Mapping[str, WorkloadEndpoint]) -> Firewalls:
        """Those of the cluster as it is now; itself where nothing of it has changed."""
        is_same = topology is self._topology and len(endpoints) == len(self._endpoints) and all(
            self._endpoints.get(key) is endpoint for key, endpoint in endpoints.items())
        return self if is_same else Firewalls(topology, endpoints, self)

    def host_endpoints(self, node: str, devices: Devices) -> dict[str, HostEndpoint]:
        """The host endpoints in force on a node, by their devices (:func:`.governing`)."""
        hosts = [host for host in self._topology.host_endpoints if host.node == node]
        return governing(hosts, devices) if hosts else {}

    def host_rules(self, node: str, devices: Devices) -> tuple[HostRules, ...]:
        """What the chains of the host endpoints in force on a node follow from."""
        def by_stage(host: HostEndpoint, direction: str) -> dict[Stage, tuple[Policy, ...]]:
            seen = self.index.hosts[host.name]
            return {stage: policies for stage in Stage
                    if (policies := self.index.of(seen, direction, stage))}

        return tuple(
            HostRules(device, tuple(map(self.index.profile, host.profiles)),
                      by_stage(host, INGRESS), by_stage(host, EGRESS))
            for device, host in self.host_endpoints(node, devices).items())

    def of(self, name: str, node: NodeFirewall, endpoints: Iterable[WorkloadEndpoint]) -> Firewall:
        """The firewall of a node that has these endpoints."""
        pods = tuple(map(self._rules, endpoints))
        known = self._rendered.get(name)
        if known and known.pods == pods and (known.node is node or known.node == node):
            members = tuple((ip_set, self.index.members(ip_set)) for ip_set, _ in known.members)
            if all(new is old for (_, new), (_, old) in zip(members, known.members, strict=True)):
                return known.firewall
            rendered = replace(known.firewall, sets={
                **known.firewall.sets, **{ip_set.name: item.texts for ip_set, item in members}})
        else:
            members = tuple((ip_set, self.index.members(ip_set)) for ip_set in _ip_sets(pods, node))
            rendered = firewall(tables(node, pods), {
                **node.sets, **{ip_set.name: item.texts for ip_set, item in members}},
                node.inserts)
        self._rendered[name] = _Rendered(node, pods, members, rendered)
        return rendered

    def _rules(self, endpoint: WorkloadEndpoint) -> PodRules:
        key = endpoint.key
        rules = self._pod_rules.get(key)
        if rules is None:
            seen = self.index.endpoints[key]
            rules = self._pod_rules[key] = PodRules(
                endpoint.device, seen.profiles, self.index.of(seen, INGRESS),
                self.index.of(seen, EGRESS))
        return rules


def _ip_sets(pods: Iterable[PodRules], node: NodeFirewall) -> Iterable[IPSet]:
    """The sets that policies and profiles of pods and host endpoints refer to, each once."""
    # Many pods share a tuple of policies.
    applied = {(id(policies), direction): (policies, direction) for pod in pods
               for policies, direction in ((pod.ingress, INGRESS), (pod.egress, EGRESS))}
    applied.update({
        (id(policies), direction): (policies, direction) for host in node.host_endpoints
        for by_stage, direction in ((host.ingress, INGRESS), (host.egress, EGRESS))
        for policies in by_stage.values()})
    of_policies = (ip_set for policies, direction in applied.values()
                   for policy in policies for ip_set in ip_sets(policy, direction))
    of_profiles = (ip_set for host in node.host_endpoints for profile in host.profiles
                   for direction in (INGRESS, EGRESS) for ip_set in ip_sets(profile, direction))
    return dict.fromkeys((*of_policies, *of_profiles))


def governing(hosts: Iterable[HostEndpoint], devices: Devices) -> dict[str, HostEndpoint]:
    """The host endpoint of each device of one node, and that of ANY_DEVICE for ``*``.

    A device whose HostEndpoint has a name is not looked for by address.
    """
    in_force: dict[str, HostEndpoint] = {}
    for host in sorted(hosts, key=lambda host: host.name):
        if host.interface == "*":
            in_force.setdefault(ANY_DEVICE, host)
        for device, addresses in devices.items():
            if host.interface == device or (
                    not host.interface and any(item in addresses for item in host.addresses)):
                in_force.setdefault(device, host)
    return dict(sorted(in_force.items()))


def hashes(chain: str, texts: Iterable[str]) -> list[str]:
    """The 16 characters of the comment of each rule with these texts."""
    digest = hashlib.sha224(chain.encode()).digest()
    start, digests = f"-A {chain} HASH", []
    for text in texts:
        line = f"{start} {text}" if text else start
        digest = hashlib.sha224(digest + line.encode()).digest()
        digests.append(digest[:12])
    # Twelve bytes are sixteen characters, so that all of them are encoded at once.
    encoded = base64.urlsafe_b64encode(b"".join(digests)).decode()
    return [encoded[first:first + 16] for first in range(0, len(encoded), 16)]


# A chain that stays is the same object, and so is one that several nodes have.
@lru_cache(maxsize=10_000)
def _lines(option: str, chain: str, texts: tuple[str, ...], hashed_as: str = "") -> tuple[str, ...]:
    start = f'{option} {chain} -m comment --comment "cali:'
    return tuple([f'{start}{digest}" {text}' if text else f'{start}{digest}"'
                  for digest, text in zip(hashes(hashed_as or chain, texts), texts, strict=True)])


def _texts(rules: Iterable[Rule]) -> tuple[str, ...]:
    return tuple([rule.text for rule in rules])


def firewall(tables: Mapping[str, Chains], sets: Mapping[str, frozenset[str]],
             inserts: bool = True) -> Firewall:
    """The chains and sets of a node as the kernel is to have them.

    ``inserts`` False is FelixConfiguration's chainInsertMode ``Append``.
    """
    option = "-I" if inserts else "-A"
    hooks = {table: tuple(line for chain, rule in HOOKS[table].items()
                          for line in _lines(option, chain, (rule.text,))) for table in tables}
    hooks["filter"] += _lines("-A", "FORWARD", _texts(APPENDED), "FORWARD*appends*")
    # The chains of many pods have the same rules.
    distinct = {id(rules): rules for chains in tables.values() for rules in chains.values()}
    texts = {key: _texts(rules) for key, rules in distinct.items()}
    return Firewall({(table, chain): _lines("-A", chain, texts[id(rules)])
                     for table, chains in tables.items() for chain, rules in chains.items()},
                    hooks, sets)


# --- the way of an outer packet, for a tunnel that need not ask the rules

def outer_way() -> OuterWay:
    """The way in nodes without policies of host endpoints for untracked packets or before DNAT.

    Those go into cali-from-host-endpoint of raw and mangle.
    """
    node = NodeFirewall(enabled=(WITH_BACK_END,))
    digests = {item.key: item.digests for item in expected(firewall(tables(node), {}))
               if isinstance(item, RuleChain)}
    return OuterWay(
        {(table, chain): digests[table, chain] for table, chains in _PASSED.items()
         for chain in ("PREROUTING", "cali-PREROUTING", *chains)},
        {("filter", chain): digests["filter", chain][0] for chain in ("INPUT", "cali-INPUT")},
        _SENDERS)


def allowed_sources(node: Firewall | None) -> tuple[Route, ...]:
    """The senders that the rule accepts as routes; the same ones for nodes with the same set."""
    return _blackholes(node.sets.get(_SENDERS, frozenset())) if node else ()


@lru_cache(maxsize=100)
def _blackholes(members: frozenset[str]) -> tuple[Route, ...]:
    return tuple(Route(member, kind="blackhole", table=ALLOWED_SOURCES)
                 for member in sorted(members))
