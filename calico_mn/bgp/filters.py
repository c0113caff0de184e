"""BGPFilters: which routes pass to and from a peer, as a predicate and as BIRD's functions. Pure.

In go the rules of BGPFilters; out come, from the same rules, the verdict on one route and the text
that confd renders (``confd/pkg/resource/template/template_funcs.go``, BGPFilterBIRDFuncs)::

    {action: Reject, matchOperator: In, cidr: C}  --->  SessionFilter: is the prefix in C? False
                                                  --->  functions(): if ((net ~ C)) then { reject; }
    no rule fits                                  --->  None; the function returns

A peer's filters are asked in the order of their names in the BGPPeer, each one's rules from the
first to the last; the first rule that fits decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Network

from calico_mn.bgp_resources import BGPFilter, BGPFilterRule

EXPORT, IMPORT = "export", "import"
# The longest name that BIRD takes, without what stands around a filter's.
_MAX_NAME = 64 - len("bgp__importFilterV4")
_OPERATORS = {"Equal": "=", "NotEqual": "!=", "In": "~", "NotIn": "!~"}


def rules_of(names: Iterable[str], filters: Mapping[str, BGPFilter], direction: str
             ) -> tuple[BGPFilterRule, ...]:
    """The rules of these filters, one after the other; names that are not there have none."""
    return tuple(rule for name in names if name in filters
                 for rule in _rules(filters[name], direction))


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """The rules of one direction of a session, for the built-in engine.

    ``is_external``: the session is with another AS. A verdict is what the first rule that fits
    says, True to accept, and None where no rule fits. Equal filters say the same, so that a graph
    that did not change is recognised.
    """

    rules: tuple[BGPFilterRule, ...]
    is_external: bool

    def local(self, prefix: IPv4Network, interface: str = "") -> bool | None:
        """The verdict on what the speaker has itself.

        ``interface`` is the device of its route, empty for a blackhole.
        """
        return self._verdict(prefix, interface, is_learned=False)

    def learned(self, prefix: IPv4Network) -> bool | None:
        """The verdict on what a peer told: a node has it by its uplink, eth0."""
        return self._verdict(prefix, "eth0", is_learned=True)

    def _verdict(self, prefix: IPv4Network, interface: str, *, is_learned: bool) -> bool | None:
        peer_type = "eBGP" if self.is_external else "iBGP"
        return next((rule.accepts for rule in self.rules if (
            _fits_prefix(rule, prefix) and (is_learned or not rule.is_remote)
            and fnmatchcase(interface, rule.interface or "*")
            and rule.peer_type in ("", peer_type))), None)


def _rules(item: BGPFilter, direction: str) -> Sequence[BGPFilterRule]:
    return item.exports if direction == EXPORT else item.imports


def _fits_prefix(rule: BGPFilterRule, prefix: IPv4Network) -> bool:
    if rule.cidr is None:
        return True
    is_inside = prefix.subnet_of(rule.cidr)
    if rule.lengths is not None:
        is_inside = is_inside and rule.lengths[0] <= prefix.prefixlen <= rule.lengths[1]
    if rule.operator in ("Equal", "NotEqual"):
        # To BIRD, a prefix never equals a set of prefixes, which lengths make (filter/data.c).
        is_inside = prefix == rule.cidr and rule.lengths is None
    return is_inside is (rule.operator in ("Equal", "In"))


def functions(filters: Iterable[BGPFilter]) -> Iterator[str]:
    """Lines of BIRD's configuration that define each filter's functions."""
    for item in sorted(filters, key=lambda item: item.name):
        yield f"# v4 BGPFilter {item.name}"
        for direction in (IMPORT, EXPORT):
            rules = _rules(item, direction)
            if rules:
                parameter = "bool is_same_as" if _has_peer_type(rules) else ""
                yield f"function {_function(item.name, direction)}({parameter})\n{{"
                yield from (f"  {_statement(rule)}" for rule in rules)
                yield "}"


def calls(names: Iterable[str], filters: Mapping[str, BGPFilter], direction: str, *,
          is_external: bool) -> tuple[str, ...]:
    """The calls of these filters' functions, in their order; none for those without rules."""
    return tuple(
        f"{_function(name, direction)}({_argument(filters[name], direction, is_external)});"
        for name in names if name in filters and _rules(filters[name], direction))


def _argument(item: BGPFilter, direction: str, is_external: bool) -> str:
    return str(not is_external).lower() if _has_peer_type(_rules(item, direction)) else ""


def _has_peer_type(rules: Iterable[BGPFilterRule]) -> bool:
    return any(rule.peer_type for rule in rules)


def _function(name: str, direction: str) -> str:
    """The function's quoted name; a filter's long one is shortened, with a digest at its end."""
    if len(name) > _MAX_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        name = f"{name[:_MAX_NAME - 13]}_{digest}"
    return f"'bgp_{name}_{direction}FilterV4'"


def _statement(rule: BGPFilterRule) -> str:
    conditions = []
    if rule.cidr is not None:
        network = str(rule.cidr) if rule.lengths is None else (
            f"[ {rule.cidr}{{{rule.lengths[0]},{rule.lengths[1]}}} ]")
        conditions.append(f"(net {_OPERATORS[rule.operator]} {network})")
    if rule.is_remote:
        conditions.append("((defined(source))&&(source ~ [ RTS_BGP ]))")
    if rule.interface:
        conditions.append(f'((defined(ifname))&&(ifname ~ "{rule.interface}"))')
    action = "accept;" if rule.accepts else "reject;"
    statement = f"if ({'&&'.join(conditions)}) then {{ {action} }}" if conditions else action
    if rule.peer_type:
        sign = "" if rule.peer_type == "iBGP" else "!"
        return f"if ({sign}is_same_as) then {{ {statement} }}"
    return statement
