"""Rules as Felix has them: selectors become IP sets, named ports sets of addresses and ports. Pure.

In goes a rule as the API has it and the namespace of its policy; out comes a :class:`ResolvedRule`.
Of a Service that a rule names come a selector of pods, the ports to which it leads, and the
addresses that its EndpointSlices list.
Sources: libcalico-go ``lib/backend/syncersv1/updateprocessors/rules.go`` for selectors, felix
``calc/rule_scanner.go`` for the sets, ``serviceindex/service_index.go`` for Services.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv4Network

from calico_mn.policy import Action, EntityRule, Icmp, Policy, Ports, Profile, Rule, Service
from calico_mn.selector import Selector, parse_selector

NAMESPACE, SERVICE_ACCOUNT, ORCHESTRATOR = (
    f"projectcalico.org/{name}" for name in ("namespace", "serviceaccount", "orchestrator"))
INGRESS, EGRESS = "Ingress", "Egress"
#: what goes before the labels that a pod inherits (lib/backend/k8s/conversion/constants.go)
NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX = "pcns.", "pcsa."
NAME_LABEL = "projectcalico.org/name"
_MAX_SET_NAME = 31  # IPSET_MAXNAMELEN with its final 0


def unique_id(prefix: str, content: str) -> str:
    """``s:`` and a digest (libcalico-go ``lib/hash``)."""
    digest = hashlib.sha224(f"{prefix}:{content}".encode()).digest()
    return f"{prefix}:{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


@dataclass(frozen=True)
class IPSet:
    """The addresses of all endpoints and network sets that a selector matches.

    With ``port`` only endpoints with a port of that name count, each address with the port's
    number, and ``protocol`` is that of the port. With ``service`` (``namespace/name``) the set
    holds the addresses of its endpoints instead, with their ports if ``has_service_ports``.
    """

    selector: Selector
    port: str = ""
    protocol: str = ""
    service: str = ""
    has_service_ports: bool = False

    @property
    def has_ports(self) -> bool:
        """Whether its members are addresses with protocols and ports."""
        return bool(self.port) or self.has_service_ports

    @cached_property
    def name(self) -> str:
        """The set's name in the kernel."""
        identity = unique_id("s", self.selector.text)
        if self.service:
            identity = unique_id("svc" if self.has_service_ports else "svcnoport", self.service)
        elif self.port:
            identity = unique_id("n", f"{identity},{self.protocol},{self.port}")
        return f"cali40{identity}"[:_MAX_SET_NAME]

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IPSet) and self.name == other.name


@dataclass(frozen=True)
class End:
    """One end of a packet: all of it must match. Sets of ports are alternatives to ``ports``."""

    nets: tuple[IPv4Network, ...] = ()
    not_nets: tuple[IPv4Network, ...] = ()
    sets: tuple[IPSet, ...] = ()
    not_sets: tuple[IPSet, ...] = ()
    ports: tuple[Ports, ...] = ()
    not_ports: tuple[Ports, ...] = ()
    named: tuple[IPSet, ...] = ()
    not_named: tuple[IPSet, ...] = ()

    @property
    def ip_sets(self) -> tuple[IPSet, ...]:
        """All sets that it refers to."""
        return (*self.sets, *self.not_sets, *self.named, *self.not_named)


@dataclass(frozen=True)
class ResolvedRule:
    """A rule whose selectors are IP sets."""

    action: Action
    protocol: str
    not_protocol: str
    icmp: Icmp | None
    not_icmp: Icmp | None
    source: End
    destination: End


@lru_cache(maxsize=1_000)
def resolved(source: Policy | Profile, direction: str) -> tuple[ResolvedRule, ...]:
    """The rules of a policy or profile in a direction."""
    namespace = source.namespace if isinstance(source, Policy) else ""
    return tuple(resolve(rule, namespace) for rule in (
        source.ingress if direction == INGRESS else source.egress))


@lru_cache(maxsize=1_000)
def ip_sets(source: Policy | Profile, direction: str) -> tuple[IPSet, ...]:
    """The sets that the rules of a policy or profile refer to in a direction, each once."""
    return tuple(dict.fromkeys(ip_set for rule in resolved(source, direction)
                               for end in (rule.source, rule.destination)
                               for ip_set in end.ip_sets))


@lru_cache(maxsize=10_000)
def resolve(rule: Rule, namespace: str) -> ResolvedRule:
    """A rule of a policy of ``namespace``, which is empty for a global one."""
    return ResolvedRule(rule.action, rule.protocol, rule.not_protocol, rule.icmp, rule.not_icmp,
                        _end(rule.source, namespace, rule.protocol),
                        _end(rule.destination, namespace, rule.protocol, is_destination=True))


def _end(entity: EntityRule, namespace: str, protocol: str, *, is_destination: bool = False
         ) -> End:
    if entity.service:
        # A destination is an endpoint with its port, a source an endpoint.
        service = f"{entity.service_namespace or namespace}/{entity.service}"
        return End(sets=(IPSet(parse_selector(""), service=service,
                               has_service_ports=is_destination),),
                   ports=entity.ports, not_ports=entity.not_ports)
    positive, negative = entity_selector(entity, namespace), entity.not_selector
    if positive and negative:
        positive, negative = f"({positive}) && (!({negative}))", ""
    selector = parse_selector(positive)
    ports, named = _split(entity.ports, selector, protocol)
    not_ports, not_named = _split(entity.not_ports, selector, protocol)
    # A set of named ports has the selector's endpoints only: a second match says no more.
    sets = (IPSet(selector),) if positive and (ports or not named) else ()
    return End(entity.nets, entity.not_nets, sets,
               (IPSet(parse_selector(negative)),) if negative else (),
               ports, not_ports, named, not_named)


def _split(ports: tuple[Ports, ...], selector: Selector, protocol: str
           ) -> tuple[tuple[Ports, ...], tuple[IPSet, ...]]:
    return (tuple(port for port in ports if not port.name),
            tuple(IPSet(selector, port.name, protocol or "tcp") for port in ports if port.name))


def entity_selector(entity: EntityRule, namespace: str) -> str:
    """All that an entity says about endpoints as one selector, empty where it says nothing.

    In a policy of a namespace any of it confines the entity to that namespace, unless it has a
    namespaceSelector (``getEndpointSelector``).
    """
    parts = [part for part in (_accounts(entity), entity.selector) if part]
    selector = parts[0] if len(parts) == 1 else f"({') && ('.join(parts)})" if parts else ""
    if entity.namespace_selector:
        where = namespaces(entity.namespace_selector)
    elif namespace and (selector or entity.not_selector):
        where = f"{NAMESPACE} == '{namespace}'"
    else:
        return selector
    return f"({where}) && ({selector})" if selector else where


def namespaces(selector: str) -> str:
    """A selector of namespaces as one of endpoints: ``global()`` is for those in none."""
    text = parse_selector(selector, NAMESPACE_PREFIX).text
    return text.replace("all()", f"has({NAMESPACE})").replace("global()", f"!has({NAMESPACE})")


def _accounts(entity: EntityRule) -> str:
    selector = entity.service_account_selector
    if selector:
        selector = parse_selector(selector, SERVICE_ACCOUNT_PREFIX).text
    if not entity.service_account_names:
        return selector
    names = "', '".join(entity.service_account_names)
    named = parse_selector(f"{SERVICE_ACCOUNT} in {{ '{names}' }}").text
    return f"({selector}) && ({named})" if selector else named


def service_selector(service: Service | None) -> Selector:
    """What selects the pods of a Service; one without a selector has none by itself."""
    if service is None or not service.selector:
        return Selector("", lambda labels: False)
    wanted = {**dict(service.selector), NAMESPACE: service.namespace, ORCHESTRATOR: "k8s"}
    return Selector("", lambda labels: all(
        labels.get(name) == value for name, value in wanted.items()))


def target_ports(service: Service, ports: Iterable[tuple[str, str, int]]
                 ) -> Iterator[tuple[str, int]]:
    """Where a pod with these named ports answers for a Service: (protocol, number)."""
    for port in service.ports:
        if isinstance(port.target, int):
            yield port.protocol, port.target
        else:
            yield from ((protocol, number) for name, protocol, number in ports
                        if (name, protocol) == (port.target, port.protocol))


def listed(service: Service) -> tuple[frozenset[IPv4Address],
                                      frozenset[tuple[IPv4Address, str, int]]]:
    """The addresses that its EndpointSlices list, and these with protocols and ports."""
    return (frozenset(address for address, _ in service.addresses),
            frozenset((address, protocol, port) for address, ports in service.addresses
                      for protocol, port in ports))
