"""Policy rules (``ip rule``), and the lookup that they and the tables amount to. Pure.

In go the bodies of RTM_GETRULE's and RTM_GETROUTE's answers and a packet's addresses and device;
out come the rule and the route that decide. The kernel names neither where a lookup fails, and has
no question for the lookup that its reverse path filter makes. fib_rules_lookup() in
net/core/fib_rules.c, fib4_rule_match() in net/ipv4/fib_rules.c.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from calico_mn.kernel import decode
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import attributes
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


def rule(body: bytes) -> Rule:
    """A rule from the kernel's message; a mark is never met, as nothing here asks with one."""
    (_family, to_length, from_length, _tos, table, _r1, _r2, action,
     flags) = rt.ROUTE_HEADER.unpack_from(body)
    inside = attributes(body[rt.ROUTE_HEADER.size:])

    def number(kind: int, default: int = 0) -> int:
        return int.from_bytes(inside[kind][:4], sys.byteorder) if kind in inside else default

    def name(kind: int) -> str:
        return inside.get(kind, b"").rstrip(b"\0").decode(errors="replace")

    source = IPv4Network((inside.get(_SRC, bytes(4)), from_length))
    destination = IPv4Network((inside.get(_DST, bytes(4)), to_length))
    mark, mask, suppress = number(_MARK), number(_MASK, _NONE), number(_SUPPRESS, _NONE)
    looked_up = decode.table_name(number(_TABLE, table))
    unasked = [word for kind, word in _UNASKED.items() if kind in inside]
    words = [f"{number(_PRIORITY)}:", *(["not"] if flags & _INVERT else []),
             f"from {_words(source)}" if from_length else "from all",
             *([f"to {_words(destination)}"] if to_length else []),
             *([f"fwmark {mark:#x}/{mask:#x}"] if mark else []), *unasked,
             *([f"iif {name(_IIF)}"] if _IIF in inside else []),
             *([f"oif {name(_OIF)}"] if _OIF in inside else []),
             f"lookup {looked_up}" if action == _TO_TABLE else
             f"goto {number(_TARGET)}" if action == _GOTO else _ACTIONS.get(action, str(action)),
             *([f"suppress_prefixlength {suppress}"] if suppress != _NONE else [])]
    return Rule(number(_PRIORITY), source, destination, name(_IIF),
                bool(mark or unasked or _OIF in inside), bool(flags & _INVERT),
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
