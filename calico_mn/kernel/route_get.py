"""Asking the kernel which route a packet takes, as ``ip route get`` does. Changes nothing.

RTM_GETROUTE with RTA_IIF goes through the same code as a packet that comes in by that device,
source validation included (inet_rtm_getroute() in net/ipv4/route.c); with RTM_F_FIB_MATCH the
answer is the matched line of the table instead of its result. For what ends a packet
(blackhole, prohibit) the kernel answers with an error only, it names no policy rule (``ip rule``),
and it has no question for the lookup that its reverse path filter makes. So :func:`lookup` does
what fib_rules_lookup() in net/core/fib_rules.c and fib4_rule_match() in net/ipv4/fib_rules.c do:
the rules and the tables' routes go in, the rule and the route that decide come out.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from calico_mn.kernel import decode
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import (
    NetlinkError,
    NetlinkSocket,
    attribute,
    attributes,
    string,
    u32,
)
from calico_mn.state import Route

_TO_TABLE, _GOTO, _NOP = 1, 2, 3
#: FR_ACT_*, as ip spells them
_ACTIONS = {_NOP: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_INVERT = 2
_DST, _SRC, _IIF, _TARGET, _PRIORITY, _MARK, _SUPPRESS, _TABLE, _MASK, _OIF = (
    1, 2, 3, 4, 6, 10, 14, 15, 16, 17)
#: selectors that no packet meets here, where none of these is asked for: tun_id, uid, protocol ...
_UNASKED = {12: "tun_id", 20: "uidrange", 22: "ipproto", 23: "sport", 24: "dport", 25: "dscp"}
_NONE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Query:
    """``ip route get DESTINATION [from SOURCE] [iif DEVICE]``.

    ``unchecked`` is by rules and tables alone, without validation of the source: so looks the
    reverse path filter, with a packet's two addresses exchanged and the device by which the packet
    would leave, lo for this host itself (__fib_validate_source() in net/ipv4/fib_frontend.c).
    """

    destination: str
    source: str = ""
    device: str = ""
    unchecked: bool = False

    def __str__(self) -> str:
        command = ["ip route get", self.destination]
        command += ["from", self.source] if self.source else []
        command += ["iif", self.device] if self.device else []
        return " ".join(command)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel said.

    ``line`` is the matched route as ``ip route`` prints it, empty if there is none. ``kind`` is
    the route's (``unicast``, ``local``, ``blackhole``, ...). ``error`` is the errno's name, such
    as ``EXDEV`` where source validation refuses. ``mtu`` 0 means the device's; ``learned`` that
    the kernel was told it by an ICMP error (an exception of the route, RFC 1191). ``rule`` is the
    line of ``ip rule`` that led to it, empty for those that every namespace has; ``skipped`` the
    first one before it that asks for a mark, protocol or port, which no query has.
    """

    line: str = ""
    kind: str = ""
    table: str = ""
    gateway: str = ""
    device: str = ""
    source: str = ""
    mtu: int = 0
    learned: bool = False
    error: str = ""
    rule: str = ""
    skipped: str = ""

    def leads_to(self, device: str) -> bool:
        """Whether the route has a next hop on ``device``."""
        return f" dev {device} " in f"{self.line} "


def route_get(query: Query) -> Answer:
    """The kernel's answer in the namespace in which this thread is."""
    with NetlinkSocket() as netlink:
        names = decode.names(netlink.dump(*rt.DUMP_LINKS))
        rules = [rule_of(body) for body in netlink.dump(*rt.DUMP_RULES)]
        default = all(rule.is_default for rule in rules)
        error = result = None
        if not query.unchecked:
            try:
                result = netlink.get(rt.RTM_GETROUTE, _question(query, names, 0))
            except NetlinkError as refusal:
                error = errno.errorcode.get(refusal.errno, str(refusal.errno))
        rule, route = (None, None) if result is not None and default else lookup(
            rules, netlink.dump(*rt.DUMP_ROUTES), names, query.destination, query.source,
            query.device)
        line = rule.text if rule is not None and not rule.is_default else ""
        skipped = next((other.text for other in rules if other.never and (
            rule is None or other.priority <= rule.priority)), "") if not default else ""
        if result is None:
            if route is None:
                return Answer(kind=rule.action if rule else "", error=error or "", rule=line,
                              skipped=skipped)
            return Answer(str(route), route.kind, route.table, route.via, route.device,
                          error=error or "", rule=line, skipped=skipped)
        try:
            match = netlink.get(rt.RTM_GETROUTE, _question(query, names, rt.RTM_F_FIB_MATCH))
        except NetlinkError:
            match = result
    matched = decode.route(match, names, with_state=True)
    taken = decode.route(result, names)
    cache = attributes(result[rt.ROUTE_HEADER.size:]).get(rt.RTA_CACHEINFO)
    return Answer(
        str(matched), matched.kind, matched.table, taken.via, taken.device, taken.source,
        taken.mtu,
        # rta_expires is set where the MTU is a learned one.
        cache is not None and struct.unpack_from("=IIi", cache)[2] != 0, rule=line, skipped=skipped)


def flush_learned_routes() -> None:
    """Forget every learned path MTU and redirect of the namespace (``ip route flush cache``)."""
    with open("/proc/sys/net/ipv4/route/flush", "w", encoding="ascii") as file:
        file.write("-1")


def _question(query: Query, names: dict[int, str], flags: int) -> bytes:
    body = rt.ROUTE_HEADER.pack(socket.AF_INET, 32, 32 if query.source else 0, 0, 0, 0, 0, 0,
                                flags | rt.RTM_F_LOOKUP_TABLE)
    body += attribute(rt.RTA_DST, socket.inet_aton(query.destination))
    if query.source:
        body += attribute(rt.RTA_SRC, socket.inet_aton(query.source))
    if query.device:
        # A device that is gone has no index; -1 makes the kernel say so.
        index = next((i for i, name in names.items() if name == query.device), 0x7FFFFFFF)
        body += u32(rt.RTA_IIF, index)
    return body


# --- policy rules and tables


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``action`` is "" for a lookup in ``table``; ``text`` is the line of ``ip rule``."""

    priority: int
    source: IPv4Network
    destination: IPv4Network
    device: str
    never: bool
    inverted: bool
    action: str
    table: str
    target: int
    suppress: int
    text: str

    @property
    def is_default(self) -> bool:
        """One of the three that every namespace starts with (fib_default_rules_init())."""
        return (self.priority, self.table) in ((0, "local"), (32766, "main"), (32767, "default"))

    def matches(self, source: str, destination: str, device: str) -> bool:
        """Whether the rule is about a packet; ``device`` is lo for the host's own."""
        met = (not self.never and IPv4Address(source or 0) in self.source
               and IPv4Address(destination) in self.destination
               and self.device in ("", device))
        return met != self.inverted


def rule_of(body: bytes) -> Rule:
    """A rule from the kernel's message; a mark is never met, as nothing here asks with one."""
    (_family, to_length, from_length, _tos, table, _r1, _r2, action,
     flags) = rt.ROUTE_HEADER.unpack_from(body)
    inside = attributes(body[rt.ROUTE_HEADER.size:])

    def number(kind: int, default: int = 0) -> int:
        return int.from_bytes(inside[kind][:4], sys.byteorder) if kind in inside else default

    incoming, outgoing = (string(inside.get(kind, b"")) for kind in (_IIF, _OIF))
    source = IPv4Network((inside.get(_SRC, bytes(4)), from_length))
    destination = IPv4Network((inside.get(_DST, bytes(4)), to_length))
    mark, mask, suppress = number(_MARK), number(_MASK, _NONE), number(_SUPPRESS, _NONE)
    looked_up = decode.table_name(number(_TABLE, table))
    unasked = [word for kind, word in _UNASKED.items() if kind in inside]
    words = [f"{number(_PRIORITY)}:", *(["not"] if flags & _INVERT else []),
             f"from {_words(source)}" if from_length else "from all",
             *([f"to {_words(destination)}"] if to_length else []),
             *([f"fwmark {mark:#x}/{mask:#x}"] if mark else []), *unasked,
             *([f"iif {incoming}"] if incoming else []),
             *([f"oif {outgoing}"] if outgoing else []),
             f"lookup {looked_up}" if action == _TO_TABLE else
             f"goto {number(_TARGET)}" if action == _GOTO else _ACTIONS.get(action, str(action)),
             *([f"suppress_prefixlength {suppress}"] if suppress != _NONE else [])]
    return Rule(number(_PRIORITY), source, destination, incoming,
                bool(mark or unasked or outgoing), bool(flags & _INVERT),
                "" if action == _TO_TABLE else _ACTIONS.get(action, ""), looked_up,
                number(_TARGET) if action == _GOTO else -1,
                -1 if suppress == _NONE else suppress, " ".join(words))


def _words(network: IPv4Network) -> str:
    return str(network).removesuffix("/32")


def lookup(rules: Sequence[Rule], routes: Iterable[bytes], names: Mapping[int, str],
           destination: str, source: str = "", device: str = ""
           ) -> tuple[Rule | None, Route | None]:
    """The rule that decides, and the route, None where a rule itself ends the packet."""
    tables = _matching(routes, names, IPv4Address(destination))
    least = 0
    for item in rules:
        if item.priority < least or not item.matches(source, destination, device or "lo"):
            continue
        if item.target >= 0:
            least = item.target
        elif item.action == "nop":
            continue
        elif item.action:
            return item, None
        else:
            length, _metric, route = max(tables.get(item.table, ()), default=(-1, 0, None),
                                         key=lambda ranked: ranked[:2])
            if route is not None and route.kind != "throw" and length > item.suppress:
                return item, route
    return None, None


def _matching(bodies: Iterable[bytes], names: Mapping[int, str], address: IPv4Address
              ) -> dict[str, list[tuple[int, int, Route]]]:
    """By table, the routes that cover an address: prefix length, metric below 0, route."""
    tables: dict[str, list[tuple[int, int, Route]]] = {}
    for body in bodies:
        _family, length, *_rest, flags = rt.ROUTE_HEADER.unpack_from(body)
        prefix = attributes(body[rt.ROUTE_HEADER.size:]).get(rt.RTA_DST, bytes(4))
        if not flags & rt.RTM_F_CLONED and address in IPv4Network((prefix, length)):
            route = decode.route(body, names, with_state=True)
            if "dead" not in route.extra.split():
                tables.setdefault(route.table, []).append((length, -route.metric, route))
    return tables
