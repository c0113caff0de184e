"""What happens to a new packet, and which policy and rule decides it. Pure.

In go a :class:`~.active.PolicyIndex`, an endpoint and a packet; out comes a :class:`Decision`, and
no packet is sent. The order is that of Felix's chains (felix/rules/endpoints.go): policies in their
order, a drop where some apply and none decides, then profiles. Replies of an accepted flow never
get here.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from calico_mn.calico.policy import resolve as r
from calico_mn.calico.policy.active import Endpoint, PolicyIndex
from calico_mn.policy import PROTOCOLS, Action, Icmp, Policy, Ports, Profile, Stage
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

    ``policy`` and ``rule`` (from 0) are those that decide. Without them a profile does, or none
    of the policies ``asked``, which apply in this order, allows. ``setting`` names Felix's
    configuration where that decides. ``stage`` is where a host endpoint asks, ``of_tunnel`` whether
    about the packet around it.
    """

    endpoint: str
    direction: str
    allowed: bool
    policy: Policy | None = None
    rule: int | None = None
    profile: str = ""
    asked: tuple[Policy, ...] = ()
    setting: str = ""
    stage: Stage = Stage.NORMAL
    of_tunnel: bool = False

    @property
    def title(self) -> str:
        """What is asked: ``ingress of shop/web``, ``egress of HostEndpoint n (applyOnForward)``."""
        around = " of the tunnel packet" if self.of_tunnel else ""
        stage = f" ({self.stage.value}{around})" if self.stage.value else ""
        return f"{self.direction.lower()} of {self.endpoint}{stage}"

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
        if not self.asked:
            return "no policy and no profile allows it"
        return f"no rule of {join([policy.name for policy in self.asked], 'or')} allows it"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to a packet: the decisions on its way, of which the last one is final."""

    decisions: tuple[Decision, ...]

    @property
    def allowed(self) -> bool:
        """Whether it arrives, as far as policies go."""
        return all(decision.allowed for decision in self.decisions)


def decide(index: PolicyIndex, endpoint: Endpoint, direction: str, packet: Packet,
           stage: Stage = Stage.NORMAL) -> Decision | None:
    """What the endpoint's chain of one direction and stage does with a packet.

    None: it goes on, since no rule decides where policies need not (before NAT or tracking, and
    where the node forwards and no policy is for that).
    """
    policies = index.of(endpoint, direction, stage)
    for policy in policies:
        number, action = _first(index, policy, direction, packet)
        if action is Action.PASS:
            break
        if action is not None:
            return Decision(endpoint.key, direction, action is Action.ALLOW, policy, number,
                            asked=policies, stage=stage)
    else:
        if policies and stage in (Stage.NORMAL, Stage.FORWARD):
            return Decision(endpoint.key, direction, False, asked=policies, stage=stage)
    return _by_profile(index, endpoint, direction, packet, policies
                       ) if stage is Stage.NORMAL else None


def _first(index: PolicyIndex, source: Policy | Profile, direction: str, packet: Packet
           ) -> tuple[int, Action | None]:
    """The first rule that ends the walk through these: its number and action, None without one."""
    return next(((number, rule.action) for number, rule in enumerate(r.resolved(source, direction))
                 if rule.action is not Action.LOG and matches(index, rule, packet)), (0, None))


def _by_profile(index: PolicyIndex, endpoint: Endpoint, direction: str, packet: Packet,
                asked: tuple[Policy, ...]) -> Decision:
    for name in endpoint.profiles:
        _, action = _first(index, index.profile(name), direction, packet)
        if action in (Action.ALLOW, Action.DENY):
            return Decision(endpoint.key, direction, action is Action.ALLOW, profile=name,
                            asked=asked)
    return Decision(endpoint.key, direction, False, asked=asked)


def matches(index: PolicyIndex, rule: r.ResolvedRule, packet: Packet) -> bool:
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


def _is_at(index: PolicyIndex, end: r.End, packet: Packet, address: IPv4Address, port: int) -> bool:
    """Whether an address and a port are those of one end of a rule."""
    protocol = _WITH_PORTS.get(packet.protocol, "")

    def has_port(ports: tuple[Ports, ...], sets: tuple[r.IPSet, ...]) -> bool:
        return bool(protocol) and (
            any(item.first <= port <= item.last for item in ports)
            or any((address, protocol, port) in index.members(ip_set).ports for ip_set in sets))

    return (
        (not end.nets or any(address in net for net in end.nets))
        and not any(address in net for net in end.not_nets)
        and all((address, protocol, port) in index.members(ip_set).ports if ip_set.has_ports
                else address in index.members(ip_set) for ip_set in end.sets)
        and not any(address in index.members(ip_set) for ip_set in end.not_sets)
        and (not (end.ports or end.named) or has_port(end.ports, end.named))
        and not has_port(end.not_ports, end.not_named))
