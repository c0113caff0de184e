"""What happens to a new packet, and which policy and rule decides it. Pure.

In go a :class:`~.active.PolicyIndex`, two ends and a packet; out comes a :class:`Verdict`, and no
packet is sent. The order is that of Felix's chains (felix/rules/endpoints.go): policies in their
order, a drop where some apply and none decides, then profiles. Replies of an accepted flow never
get here.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from calico_mn.calico.policy.active import Endpoint, PolicyIndex
from calico_mn.calico.policy.resolve import (
    EGRESS,
    INGRESS,
    End,
    IPSet,
    ResolvedRule,
    resolved,
)
from calico_mn.policy import PROTOCOLS, Action, Icmp, Policy, Ports
from calico_mn.text import join

# The protocols that have ports, by number.
_WITH_PORTS = {PROTOCOLS[name]: name for name in ("tcp", "udp", "sctp", "udplite")}


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow. ``protocol`` is a number; ports are 0 where it has none."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    source_port: int = 0
    port: int = 0
    icmp: Icmp | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What one endpoint's chain does in one direction, and why.

    ``policy`` and ``rule`` (from 0) are those that decide. Without them a profile allows, or none
    of the policies ``asked``, which apply in this order, does. ``setting`` names Felix's
    configuration where that decides.
    """

    endpoint: str
    direction: str
    allowed: bool
    policy: Policy | None = None
    rule: int | None = None
    profile: str = ""
    asked: tuple[Policy, ...] = ()
    setting: str = ""

    @property
    def reason(self) -> str:
        """Who decides, in a few words."""
        if self.setting:
            return self.setting
        verb = "allows" if self.allowed else "denies"
        if self.policy is not None:
            rule = f"{self.direction.lower()} rule {(self.rule or 0) + 1}"
            return f"{self.policy.kind} {self.policy.name}, {rule}, {verb} it"
        if self.profile:
            return f"profile {self.profile} {verb} it"
        return f"no rule of {join([policy.name for policy in self.asked], 'or')} allows it"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to a packet: the decisions on its way, of which the last one is final."""

    decisions: tuple[Decision, ...]

    @property
    def allowed(self) -> bool:
        """Whether it arrives, as far as policies go."""
        return all(decision.allowed for decision in self.decisions)


def verdict(index: PolicyIndex, source: Endpoint | None, destination: Endpoint | None,
            packet: Packet) -> Verdict:
    """The verdict on a packet between pods; None stands for an end that is no pod.

    The sender's egress comes first, wherever the other one is. A node reaches its own pods without
    being asked: that is for the caller to know (``cali-OUTPUT`` returns, felix/rules/static.go).
    """
    decisions: list[Decision] = []
    for endpoint, direction in ((source, EGRESS), (destination, INGRESS)):
        if endpoint is not None:
            decisions.append(decide(index, endpoint, direction, packet))
            if not decisions[-1].allowed:
                break
    return Verdict(tuple(decisions))


def decide(index: PolicyIndex, endpoint: Endpoint, direction: str, packet: Packet) -> Decision:
    """What the endpoint's chain of one direction does with a packet."""
    policies = index.of(endpoint, direction)
    for policy in policies:
        for number, rule in enumerate(resolved(policy, direction)):
            if rule.action is Action.LOG or not matches(index, rule, packet):
                continue
            if rule.action is Action.PASS:
                return _by_profile(endpoint, direction, policies)
            return Decision(endpoint.key, direction, rule.action is Action.ALLOW, policy,
                            number, asked=policies)
    if policies:
        return Decision(endpoint.key, direction, False, asked=policies)
    return _by_profile(endpoint, direction, ())


def _by_profile(endpoint: Endpoint, direction: str, asked: tuple[Policy, ...]) -> Decision:
    # A namespace's profile allows everything (lib/backend/k8s/conversion, NamespaceToProfile).
    return Decision(endpoint.key, direction, True, profile=endpoint.profiles[0], asked=asked)


def matches(index: PolicyIndex, rule: ResolvedRule, packet: Packet) -> bool:
    """Whether a rule matches a packet."""
    return (
        (not rule.protocol or packet.protocol == number_of(rule.protocol))
        and not (rule.not_protocol and packet.protocol == number_of(rule.not_protocol))
        and (rule.icmp is None or _has_icmp(rule.icmp, packet))
        and (rule.not_icmp is None or not _has_icmp(rule.not_icmp, packet))
        and _is_at(index, rule.source, packet, packet.source, packet.source_port)
        and _is_at(index, rule.destination, packet, packet.destination, packet.port))


def number_of(protocol: str) -> int:
    """The number of a protocol, given by its name or number."""
    return PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def _has_icmp(icmp: Icmp, packet: Packet) -> bool:
    return packet.icmp is not None and packet.icmp.type == icmp.type and (
        icmp.code is None or packet.icmp.code == icmp.code)


def _is_at(index: PolicyIndex, end: End, packet: Packet, address: IPv4Address, port: int) -> bool:
    """Whether an address and a port are those of one end of a rule."""
    protocol = _WITH_PORTS.get(packet.protocol, "")

    def has_port(ports: tuple[Ports, ...], sets: tuple[IPSet, ...]) -> bool:
        return bool(protocol) and (
            any(item.first <= port <= item.last for item in ports)
            or any((address, protocol, port) in index.members(ip_set).ports for ip_set in sets))

    return (
        (not end.nets or any(address in net for net in end.nets))
        and not any(address in net for net in end.not_nets)
        and all(address in index.members(ip_set) for ip_set in end.sets)
        and not any(address in index.members(ip_set) for ip_set in end.not_sets)
        and (not (end.ports or end.named) or has_port(end.ports, end.named))
        and not has_port(end.not_ports, end.not_named))
