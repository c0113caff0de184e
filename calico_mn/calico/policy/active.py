"""Which policies apply to which endpoint, in which order, and what its labels are. Pure.

In go the policies, network sets, namespaces and endpoints of a cluster; out come each endpoint's
policies, in the order in which Felix asks them (felix/calc/policy_sorter.go), and the members of IP
sets.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network

from calico_mn import policy as api
from calico_mn.calico.encapsulation import format_prefix
from calico_mn.calico.policy import resolve as r
from calico_mn.model import Pod
from calico_mn.selector import Labels, parse_selector

#: what the labels of a pod follow from: its namespace, service account and own labels; of a host
#: endpoint its name, and all its labels
Kind = tuple[str, str, tuple[tuple[str, str], ...]]


#: what an IP set of networks cannot hold, in two halves (extractCIDRsFromNetworkSet in
#: felix/labelindex/named_port_index.go)
_ALL = IPv4Network("0.0.0.0/0")
_HALVES = tuple(_ALL.subnets())
_DENY = (api.Rule(api.Action.DENY),)


@dataclass(frozen=True)
class Members:
    """The members of an IP set: addresses and networks, or (address, protocol, port)."""

    addresses: frozenset[IPv4Address] = frozenset()
    networks: frozenset[IPv4Network] = frozenset()
    ports: frozenset[tuple[IPv4Address, str, int]] = frozenset()

    def __contains__(self, address: IPv4Address) -> bool:
        return address in self.addresses or any(address in net for net in self.networks)

    @cached_property
    def texts(self) -> frozenset[str]:
        """As ipset(8) lists them."""
        return self._network_texts.union(map(str, self.addresses), (
            f"{address},{protocol}:{port}" for address, protocol, port in self.ports))

    @cached_property
    def _network_texts(self) -> frozenset[str]:
        return frozenset(map(format_prefix, self.networks))

    def changed(self, gone: Members, come: Members) -> Members:
        """Without the addresses and ports of ``gone``, with those of ``come``; itself if equal."""
        if gone == come:
            return self
        new = Members((self.addresses - gone.addresses) | come.addresses, self.networks,
                      (self.ports - gone.ports) | come.ports)
        vars(new).update(
            _network_texts=self._network_texts,
            texts=(self.texts - gone.texts).union(come.texts, self._network_texts))
        return new


@dataclass(frozen=True)
class Endpoint:
    """A pod or a host endpoint as policies see it, with its own labels and those it inherits.

    ``profiles`` are their names in their order, ``ports`` are (name, protocol, number); those of
    one ``kind`` have the same labels.
    """

    key: str
    addresses: tuple[IPv4Address, ...]
    profiles: tuple[str, ...]
    labels: Labels = field(hash=False)
    ports: tuple[tuple[str, str, int], ...] = ()
    kind: Kind = ("", "", ())

    @property
    def namespace(self) -> str:
        """A pod's namespace; a host endpoint has none."""
        return self.labels.get(r.NAMESPACE, "")

    @property
    def address(self) -> IPv4Address:
        """A pod's address."""
        return self.addresses[0]


class PolicyIndex:
    """The policies of a cluster, and all that their selectors look at.

    An index does not change. :meth:`with_pods` gives the next one, and so does a new one with
    ``before``: what is equal in both is the same object, so that what follows from it need not be
    worked out again. felix/labelindex does so by updates.
    """

    def __init__(self, policies: Iterable[api.Policy], sets: Iterable[api.NetworkSet] = (),
                 owners: Iterable[api.Labelled] = (), before: PolicyIndex | None = None,
                 hosts: Iterable[api.HostEndpoint] = (), profiles: Iterable[api.Profile] = (),
                 services: Iterable[api.Service] = ()) -> None:
        applied = {policy.id: policy for policy in before.policies} if before else {}
        self.policies: tuple[api.Policy, ...] = tuple(sorted(
            (applied[policy.id] if applied.get(policy.id) == policy else policy
             for policy in policies), key=lambda policy: (policy.order, policy.id)))
        self._sets = tuple(sets)
        self._profiles = {profile.name: profile for profile in profiles}
        self._services = {service.key: service for service in services}
        self._owners = {(owner.namespace, owner.name): dict(owner.labels)
                        for owner in owners if owner.labels}
        # A set that stays keeps its networks: their hashes cost more than all else.
        networks = {(item.namespace, item.name): (item, labelled) for item, labelled in zip(
            before._sets, before._networks, strict=True)
        } if before and self._owners == before._owners else {}
        self._networks: list[tuple[Labels, frozenset[IPv4Network]]] = [
            known[1] if (known := networks.get((item.namespace, item.name))) and known[0] == item
            else self._labelled(item) for item in self._sets]
        #: pods by their keys, host endpoints by their names
        self.endpoints: dict[str, Endpoint] = {}
        self.hosts = {host.name: self._host(host) for host in hosts}
        self._members: dict[r.IPSet, Members] = {}
        self._members_before = before._members if before else {}
        #: by the kind of pods
        self._labels: dict[Kind, Labels] = {}
        self._applied: dict[tuple[str, api.Stage, Kind], tuple[api.Policy, ...]] = {}
        self._distinct: dict[tuple[object, ...], tuple[api.Policy, ...]] = {}
        if before and self._owners == before._owners:
            self.endpoints, self._labels = before.endpoints, before._labels
            if self.policies == before.policies:
                self._applied, self._distinct = before._applied, before._distinct
            if (self.hosts, self._services) == (before.hosts, before._services):
                # A set holds what it held unless its selector matches a network set that changed.
                old, new = ({id(item): item for item in index._networks}
                            for index in (before, self))
                changed = [(old | new)[key][0] for key in old.keys() ^ new.keys()]
                self._members = {ip_set: before._members[ip_set] for policy in self.policies
                                 for direction in (r.INGRESS, r.EGRESS)
                                 for ip_set in r.ip_sets(policy, direction)
                                 if ip_set in before._members
                                 and not any(map(ip_set.selector, changed))}

    @cached_property
    def _selectors(self) -> list[tuple[api.Policy, Callable[[Labels], bool]]]:
        return [(policy, parse_selector(policy_selector(policy)).matches)
                for policy in self.policies]

    def with_pods(self, come: Iterable[tuple[Pod, IPv4Address]], gone: Iterable[str] = ()
                  ) -> PolicyIndex:
        """The index with these pods, new or as they are now, and without others, by their keys."""
        new = copy.copy(self)
        new.endpoints = dict(self.endpoints)
        old = [new.endpoints.pop(key) for key in gone]
        fresh = []
        for pod, address in come:
            endpoint, known = self._endpoint(pod, address), new.endpoints.get(pod.key)
            if endpoint != known:
                old += [known] if known else ()
                fresh.append(endpoint)
                new.endpoints[pod.key] = endpoint
        new._members = {ip_set: members.changed(self._contributed(ip_set, old),
                                                self._contributed(ip_set, fresh))
                        for ip_set, members in self._members.items()}
        return new

    def _endpoint(self, pod: Pod, address: IPv4Address) -> Endpoint:
        kind = (pod.namespace, pod.service_account, pod.labels)
        labels = self._labels.get(kind)
        if labels is None:
            labels = self._labels[kind] = self._labels_of(pod)
        return Endpoint(pod.key, (address,), _profiles_of(pod), labels, pod.ports, kind)

    def _labels_of(self, pod: Pod) -> Labels:
        return {**self._inherited(_profiles_of(pod)), **dict(pod.labels),
                r.NAMESPACE: pod.namespace, r.ORCHESTRATOR: "k8s",
                r.SERVICE_ACCOUNT: pod.service_account}

    def _host(self, host: api.HostEndpoint) -> Endpoint:
        labels = {**self._inherited(host.profiles), **dict(host.labels)}
        return Endpoint(f"HostEndpoint {host.name}", host.addresses, host.profiles, labels,
                        host.ports, ("", host.name, tuple(sorted(labels.items()))))

    def profile(self, name: str) -> api.Profile:
        """A profile by its name.

        A missing one denies all (felix/calc/active_rules_calculator.go, ``DummyDropRules``).
        """
        return api.builtin_profile(name) or self._profiles.get(name) or api.Profile(
            name, ingress=_DENY, egress=_DENY)

    def _inherited(self, profiles: Iterable[str]) -> dict[str, str]:
        """The labels that an endpoint has by its profiles."""
        labels: dict[str, str] = {}
        for name in profiles:
            kind, _, rest = name.partition(".")
            if kind == "kns":
                labels |= self._of_namespace(rest)
            elif kind == "ksa":
                namespace, _, account = rest.partition(".")
                labels |= _prefixed(r.SERVICE_ACCOUNT_PREFIX, {
                    **self._owners.get((namespace, account), {}), r.NAME_LABEL: account})
            elif name in self._profiles:
                labels |= self._profiles[name].labels
        return labels

    def _labelled(self, item: api.NetworkSet) -> tuple[Labels, frozenset[IPv4Network]]:
        inherited = self._of_namespace(item.namespace) if item.namespace else {}
        own = {r.NAMESPACE: item.namespace} if item.namespace else {}
        nets = frozenset(item.nets)
        if _ALL in nets:
            nets = (nets - {_ALL}).union(_HALVES)
        return {**inherited, **dict(item.labels), **own}, nets

    def _of_namespace(self, name: str) -> dict[str, str]:
        # The second label is Kubernetes' own, of every namespace since 1.21.
        labels = {"kubernetes.io/metadata.name": name, **self._owners.get(("", name), {}),
                  r.NAME_LABEL: name}
        return _prefixed(r.NAMESPACE_PREFIX, labels)

    def of(self, endpoint: Endpoint, direction: str, stage: api.Stage = api.Stage.NORMAL
           ) -> tuple[api.Policy, ...]:
        """The policies that apply to an endpoint in a direction, the first asked first."""
        key = (direction, stage, endpoint.kind)
        policies = self._applied.get(key)
        if policies is None:
            policies = tuple([policy for policy, matches in self._selectors
                              if direction in policy.types and stage in policy.stages
                              and matches(endpoint.labels)])
            # Kinds with the same policies share a tuple, and what follows from it.
            policies = self._applied[key] = self._distinct.setdefault(
                (direction, *map(id, policies)), policies)
        return policies

    def selects_as(self, other: PolicyIndex) -> bool:
        """Whether the same policies apply to equal pods."""
        return self._applied is other._applied

    def members(self, ip_set: r.IPSet) -> Members:
        """What is in an IP set now."""
        members = self._members.get(ip_set)
        if members is None:
            members = self._contributed(ip_set, (*self.endpoints.values(), *self.hosts.values()))
            if ip_set.service in self._services:
                addresses, ports = r.listed(self._services[ip_set.service])
                members = Members(ports=members.ports | ports) if ip_set.has_ports else Members(
                    members.addresses | addresses)
            elif not ip_set.service and not ip_set.port:
                members = replace(members, networks=frozenset().union(*(
                    nets for labels, nets in self._networks if ip_set.selector(labels))))
            before = self._members_before.get(ip_set)
            members = self._members[ip_set] = before if before == members else members
        return members

    def _contributed(self, ip_set: r.IPSet, endpoints: Iterable[Endpoint]) -> Members:
        """What endpoints are of an IP set. Many have the same labels, asked about once."""
        service = self._services.get(ip_set.service)
        selector = r.service_selector(service) if ip_set.service else ip_set.selector
        answers: dict[int, bool] = {}
        matching = []
        for endpoint in endpoints:
            labels = id(endpoint.labels)
            if labels not in answers:
                answers[labels] = selector(endpoint.labels)
            if answers[labels]:
                matching.append(endpoint)
        if not ip_set.has_ports:
            return Members(frozenset(
                address for endpoint in matching for address in endpoint.addresses))
        return Members(ports=frozenset(
            (address, protocol, number) for endpoint in matching
            for protocol, number in (r.target_ports(service, endpoint.ports) if service else (
                (protocol, number) for name, protocol, number in endpoint.ports
                if (name, protocol) == (ip_set.port, ip_set.protocol)))
            for address in endpoint.addresses))


def _profiles_of(pod: Pod) -> tuple[str, ...]:
    return (f"kns.{pod.namespace}", f"ksa.{pod.namespace}.{pod.service_account}")


def _prefixed(prefix: str, labels: Mapping[str, str]) -> dict[str, str]:
    return {prefix + name: value for name, value in labels.items()}


def policy_selector(policy: api.Policy) -> str:
    """All that a policy says about the endpoints that it applies to, as one selector."""
    parts = [policy.selector]
    if policy.namespace:
        parts.append(f"{r.NAMESPACE} == '{policy.namespace}'")
    if policy.namespace_selector:
        parts.append(r.namespaces(policy.namespace_selector))
    if policy.service_account_selector:
        parts.append(parse_selector(policy.service_account_selector, r.SERVICE_ACCOUNT_PREFIX).text)
    return " && ".join(f"({part})" for part in parts if part)
