"""Which policies apply to which endpoint, in which order, and what its labels are. Pure.

In go the policies, network sets, namespaces and endpoints of a cluster; out come each endpoint's
policies, in the order in which Felix asks them (felix/calc/policy_sorter.go), and the members of IP
sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico.policy.resolve import (
    NAME_LABEL,
    NAMESPACE,
    NAMESPACE_PREFIX,
    ORCHESTRATOR,
    SERVICE_ACCOUNT,
    SERVICE_ACCOUNT_PREFIX,
    IPSet,
    namespaces,
)
from calico_mn.model import Pod
from calico_mn.policy import Labelled, NetworkSet, Policy
from calico_mn.selector import Labels, parse_selector

INGRESS, EGRESS = "Ingress", "Egress"


#: what an IP set of networks cannot hold, in two halves (extractCIDRsFromNetworkSet in
#: felix/labelindex/named_port_index.go)
_ALL = IPv4Network("0.0.0.0/0")
_HALVES = tuple(_ALL.subnets())


def member(network: IPv4Network) -> str:
    """A network as ipset(8) lists it: without the prefix length of an address."""
    return str(network).removesuffix("/32")


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
        return frozenset((*map(str, self.addresses), *map(member, self.networks), *(
            f"{address},{protocol}:{port}" for address, protocol, port in self.ports)))


@dataclass(frozen=True)
class Endpoint:
    """A pod as policies see it; ``labels`` are its own and those that it inherits.

    ``ports`` are (name, protocol, number) of its containers' ports.
    """

    key: str
    namespace: str
    service_account: str
    address: IPv4Address
    labels: Labels = field(hash=False)
    ports: tuple[tuple[str, str, int], ...] = ()

    @property
    def profiles(self) -> tuple[str, ...]:
        """Its profiles: that of the namespace allows all, that of the service account nothing."""
        return (f"kns.{self.namespace}", f"ksa.{self.namespace}.{self.service_account}")


class PolicyIndex:
    """The policies of a cluster, and all that their selectors look at."""

    def __init__(self, policies: Iterable[Policy], sets: Iterable[NetworkSet] = (),
                 owners: Iterable[Labelled] = ()) -> None:
        self.policies = tuple(sorted(policies, key=lambda policy: (policy.order, policy.id)))
        # Those for host endpoints alone concern no pod.
        self._selectors = [(policy, parse_selector(policy_selector(policy)))
                           for policy in self.policies
                           if not policy.is_untracked and not policy.is_pre_dnat]
        self._applied: dict[tuple[object, ...], tuple[Policy, ...]] = {}
        self._owners = {(owner.namespace, owner.name): dict(owner.labels) for owner in owners}
        self._networks: list[tuple[Labels, tuple[IPv4Network, ...]]] = []
        for item in sets:
            inherited = self._of_namespace(item.namespace) if item.namespace else {}
            own = {**dict(item.labels), **({NAMESPACE: item.namespace} if item.namespace else {})}
            nets = (half for net in item.nets for half in (_HALVES if net == _ALL else (net,)))
            self._networks.append(({**inherited, **own}, tuple(nets)))
        self.endpoints: dict[str, Endpoint] = {}
        self._members: dict[IPSet, Members] = {}

    def add(self, pod: Pod, address: IPv4Address) -> Endpoint:
        """Take a pod in."""
        account = self._owners.get((pod.namespace, pod.service_account), {})
        inherited = {**self._of_namespace(pod.namespace), **_prefixed(
            SERVICE_ACCOUNT_PREFIX, {**account, NAME_LABEL: pod.service_account})}
        labels = {**inherited, **dict(pod.labels), NAMESPACE: pod.namespace, ORCHESTRATOR: "k8s",
                  SERVICE_ACCOUNT: pod.service_account}
        endpoint = self.endpoints[pod.key] = Endpoint(
            pod.key, pod.namespace, pod.service_account, address, labels, pod.ports)
        self._members.clear()
        return endpoint

    def _of_namespace(self, name: str) -> dict[str, str]:
        # The second label is Kubernetes' own, of every namespace since 1.21.
        labels = {"kubernetes.io/metadata.name": name, **self._owners.get(("", name), {}),
                  NAME_LABEL: name}
        return _prefixed(NAMESPACE_PREFIX, labels)

    def of(self, endpoint: Endpoint, direction: str) -> tuple[Policy, ...]:
        """The policies that apply to an endpoint in a direction, the first asked first."""
        key = (direction, *sorted(endpoint.labels.items()))
        if key not in self._applied:
            self._applied[key] = tuple(
                policy for policy, selector in self._selectors if direction in policy.types
                and selector(endpoint.labels))
        return self._applied[key]

    def members(self, ip_set: IPSet) -> Members:
        """What is in an IP set now."""
        if ip_set not in self._members:
            matching = [endpoint for endpoint in self.endpoints.values()
                        if ip_set.selector(endpoint.labels)]
            if ip_set.port:
                self._members[ip_set] = Members(ports=frozenset(
                    (endpoint.address, protocol, number) for endpoint in matching
                    for name, protocol, number in endpoint.ports
                    if (name, protocol) == (ip_set.port, ip_set.protocol)))
            else:
                self._members[ip_set] = Members(
                    frozenset(endpoint.address for endpoint in matching),
                    frozenset(net for labels, nets in self._networks if ip_set.selector(labels)
                              for net in nets))
        return self._members[ip_set]


def _prefixed(prefix: str, labels: Mapping[str, str]) -> dict[str, str]:
    return {prefix + name: value for name, value in labels.items()}


def policy_selector(policy: Policy) -> str:
    """All that a policy says about the endpoints that it applies to, as one selector."""
    parts = [policy.selector]
    if policy.namespace:
        parts.append(f"{NAMESPACE} == '{policy.namespace}'")
    if policy.namespace_selector:
        parts.append(namespaces(policy.namespace_selector))
    if policy.service_account_selector:
        parts.append(parse_selector(policy.service_account_selector, SERVICE_ACCOUNT_PREFIX).text)
    return " && ".join(f"({part})" for part in parts if part)
