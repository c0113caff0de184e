"""Felix's chains for policies and profiles: iptables rules as text. Pure.

In go policies and profiles; out come chains, each a list of :class:`Rule`. The text of every rule
is Felix v3.25's, since its digest is part of what ``iptables-save`` shows (:mod:`~.restore`).
Sources: felix ``rules/policy.go``, ``iptables/match_builder.go``, ``iptables/actions.go``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from calico_mn.calico.policy.resolve import (
    EGRESS,
    INGRESS,
    End,
    IPSet,
    ResolvedRule,
    resolved,
)
from calico_mn.policy import PROTOCOLS, Action, Icmp, Policy, Ports, Profile

#: marks of v3.25: the lowest bits of IptablesMarkMask 0xffff0000 (felix/rules/rule_defs.go)
ACCEPT, PASS, SCRATCH_0, SCRATCH_1 = 0x10000, 0x20000, 0x40000, 0x80000
_MAX_CHAIN_NAME = 28
_MULTIPORT_SLOTS = 15  # XT_MULTI_PORTS; a range takes two


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of iptables: what it matches, what it does, and its comments."""

    match: str = ""
    action: str = ""
    comments: tuple[str, ...] = ()
    _text: str = field(default="", init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """As Felix hands it to iptables-restore, without the chain.

        Many chains share a rule, and so its text is made once.
        """
        if not self._text:
            words = [f'-m comment --comment "{comment}"' for comment in self.comments]
            object.__setattr__(self, "_text", " ".join(filter(None, (
                *words, self.match, self.action))))
        return self._text


Chains = dict[str, Sequence[Rule]]


@lru_cache(maxsize=10_000)
def limited(prefix: str, name: str) -> str:
    """A chain's name; a long one ends in a digest (libcalico-go ``lib/hash``)."""
    length = len(prefix) + len(name)
    if length < _MAX_CHAIN_NAME or (length == _MAX_CHAIN_NAME and not name.startswith("_")):
        return prefix + name
    digest = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode().rstrip("=")
    return f"{prefix}_{digest[:_MAX_CHAIN_NAME - 1 - len(prefix)]}"


# --- the words of rules

def jump(target: str) -> str:
    """The action that goes to a chain and comes back, or a final target."""
    return f"--jump {target}"


def set_mark(bits: int) -> str:
    """The action that sets bits of the packet's mark."""
    return f"--jump MARK --set-mark {bits:#x}/{bits:#x}"


def clear_mark(bits: int) -> str:
    """The action that clears bits of the packet's mark."""
    return f"--jump MARK --set-mark 0/{bits:#x}"


def is_marked(bit: int) -> str:
    """The match of a packet with this bit."""
    return f"-m mark --mark {bit:#x}/{bit:#x}"


def is_clear(bit: int) -> str:
    """The match of a packet without this bit."""
    return f"-m mark --mark 0/{bit:#x}"


# --- policies and profiles

INBOUND, OUTBOUND = "cali-pi-", "cali-po-"
PROFILE = {INBOUND: "cali-pri-", OUTBOUND: "cali-pro-"}
_DIRECTIONS = {INBOUND: INGRESS, OUTBOUND: EGRESS}


@lru_cache(maxsize=1_000)
def policy_chains(policy: Policy) -> Chains:
    """The chains of a policy; one without rules in a direction has a chain that does nothing."""
    return {limited(prefix, policy.id): _rules(policy, direction, f"Policy {policy.id}")
            for prefix, direction in _DIRECTIONS.items()}


@lru_cache(maxsize=1_000)
def profile_chains(profile: Profile) -> Chains:
    """The chains of a profile."""
    return {limited(PROFILE[prefix], profile.name): _rules(
                profile, direction, f"Profile {profile.name}")
            for prefix, direction in _DIRECTIONS.items()}


def _rules(source: Policy | Profile, direction: str, title: str) -> list[Rule]:
    """The first one has a comment with the chain's title."""
    lines = [line for rule in resolved(source, direction) for line in rule_lines(rule)]
    first = lines[0] if lines else Rule()
    comment = f"{title} {direction.lower()}"
    return [Rule(first.match, first.action, (*first.comments, comment)), *lines[1:]]


def rule_lines(rule: ResolvedRule) -> list[Rule]:
    """What iptables needs for one rule.

    A rule of iptables takes one network and one list of up to 15 ports of each end. What does not
    fit is matched before, in blocks of rules that leave their result in a bit of the mark. What
    matches nothing is left out: a rule for no network at all, which iptables-nft refuses, as later
    versions of Felix know (filterNets in felix/rules/policy.go), or for no protocol. Of a protocol
    and another that it is not, the first is enough: iptables takes one.
    """
    wanted, unwanted = (str(PROTOCOLS.get(name, name))
                        for name in (rule.protocol, rule.not_protocol))
    if (wanted and wanted == unwanted) or any(
            not net.prefixlen for end in (rule.source, rule.destination) for net in end.not_nets):
        return []
    blocks = _Blocks(_protocol(rule.protocol))
    ends = [(rule.source, _SOURCE), (rule.destination, _DESTINATION)]
    for match in (blocks.ports, blocks.nets, blocks.not_nets):
        ends = [(match(end, side), side) for end, side in ends]
    parts = [_protocol(rule.protocol), *(word for end in ends for word in _positive(*end)),
             _icmp(rule.icmp, ""),
             rule.not_protocol and not rule.protocol and f"! -p {rule.not_protocol}",
             *(word for end in ends for word in _negative(*end)), _icmp(rule.not_icmp, "! "),
             blocks.lines and is_marked(SCRATCH_0)]
    return [*blocks.lines, *_actions(rule.action, " ".join(part for part in parts if part))]


def _actions(action: Action, match: str) -> list[Rule]:
    if action is Action.LOG:
        return [Rule(match, '--jump LOG --log-prefix "calico-packet: " --log-level 5')]
    if action is Action.DENY:
        return [Rule(match, jump("DROP"))]
    bit = ACCEPT if action is Action.ALLOW else PASS
    return [Rule(match, set_mark(bit)), Rule(is_marked(bit), jump("RETURN"))]


# --- one end of a packet


@dataclass(frozen=True, slots=True)
class _Side:
    """The words of iptables for one end of a packet."""

    address: str
    ports: str
    sets: str


_SOURCE = _Side("--source", "--source-ports", "src")
_DESTINATION = _Side("--destination", "--destination-ports", "dst")


def _protocol(protocol: str) -> str:
    return f"-p {protocol}" if protocol else ""


def _icmp(icmp: Icmp | None, negation: str) -> str:
    if icmp is None:
        return ""
    code = "" if icmp.code is None else f"/{icmp.code}"
    return f"-m icmp {negation}--icmp-type {icmp.type}{code}"


def _positive(end: End, side: _Side) -> list[str]:
    return [*(f"{side.address} {net}" for net in end.nets),
            *(_in_set(ip_set, side) for ip_set in end.sets),
            *(_multiport(ports, side) for ports in _split(end.ports)),
            *(_in_set(ip_set, side) for ip_set in end.named)]


def _negative(end: End, side: _Side) -> list[str]:
    return [*(f"! {side.address} {net}" for net in end.not_nets),
            *(_in_set(ip_set, side, "! ") for ip_set in end.not_sets),
            *(_multiport(ports, side, "! ") for ports in _split(end.not_ports)),
            *(_in_set(ip_set, side, "! ") for ip_set in end.not_named)]


def _multiport(ports: Sequence[Ports], side: _Side, negation: str = "") -> str:
    words = ",".join(str(item.first) if item.first == item.last else f"{item.first}:{item.last}"
                     for item in ports)
    return f"-m multiport {negation}{side.ports} {words}"


def _in_set(ip_set: IPSet, side: _Side, negation: str = "") -> str:
    fields = f"{side.sets},{side.sets}" if ip_set.has_ports else side.sets
    return f"-m set {negation}--match-set {ip_set.name} {fields}"


def _split(ports: Iterable[Ports]) -> list[list[Ports]]:
    """Lists of ports that one multiport match takes each."""
    lists: list[list[Ports]] = []
    free = 0
    for item in ports:
        slots = 1 if item.first == item.last else 2
        if slots > free:
            lists.append([])
            free = _MULTIPORT_SLOTS
        lists[-1].append(item)
        free -= slots
    return lists


class _Blocks:
    """The rules before the last one of a rule; they leave in SCRATCH_0 whether all match.

    The first block of alternatives sets that bit itself; a later one sets SCRATCH_1, without which
    SCRATCH_0 is cleared again. What must not match clears SCRATCH_0 at once. ``protocol`` is the
    match of the rule's protocol, which a match of ports needs.
    """

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self.lines: list[Rule] = []
        self._has_alternatives = False

    def _begin(self, bits: int) -> None:
        if not self.lines:
            both = SCRATCH_0 | SCRATCH_1
            self.lines.append(Rule("", f"--jump MARK --set-mark {bits:#x}/{both:#x}"))

    def _alternatives(self, matches: Iterable[str]) -> None:
        self._begin(0)
        bit = SCRATCH_1 if self._has_alternatives else SCRATCH_0
        self.lines += [Rule(match, set_mark(bit)) for match in matches]
        if self._has_alternatives:
            self.lines.append(Rule(is_clear(SCRATCH_1), clear_mark(SCRATCH_0)))
        self._has_alternatives = True

    def ports(self, end: End, side: _Side) -> End:
        """Match the ports here if one rule does not hold them; what is left of the end."""
        lists = _split(end.ports)
        if len(lists) + len(end.named) < 2:
            return end
        self._alternatives([
            *(f"{self._protocol} {_multiport(ports, side)}" for ports in lists),
            *(_in_set(ip_set, side) for ip_set in end.named)])
        return replace(end, ports=(), named=())

    def nets(self, end: End, side: _Side) -> End:
        """Match the networks here if there are several; what is left of the end."""
        if len(end.nets) < 2:
            return end
        self._alternatives(f"{side.address} {net}" for net in end.nets)
        return replace(end, nets=())

    def not_nets(self, end: End, side: _Side) -> End:
        """Match the excluded networks here unless one rule holds them; what is left of the end."""
        if len(end.nets) + len(end.not_nets) < 2:
            return end
        self._begin(SCRATCH_0)
        self.lines += [Rule(f"{side.address} {net}", clear_mark(SCRATCH_0))
                       for net in end.not_nets]
        return replace(end, not_nets=())
