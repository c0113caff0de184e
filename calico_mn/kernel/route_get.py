"""Asking the kernel which route a packet takes, as ``ip route get`` does. Changes nothing.

RTM_GETROUTE with RTA_IIF goes through the same code as a packet that comes in by that device,
source validation included (inet_rtm_getroute() in net/ipv4/route.c); with RTM_F_FIB_MATCH the
answer is the matched line of the table instead of its result. For what ends a packet
(blackhole, prohibit) the kernel answers with an error only, and it tells no policy rule: these are
then looked up as :mod:`.policy` does.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass

from calico_mn.kernel import decode, policy
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import NetlinkError, NetlinkSocket, attribute, attributes, u32


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
        rules = [policy.rule(body) for body in netlink.dump(*rt.DUMP_RULES)]
        default = all(rule.is_default for rule in rules)
        error = result = None
        if not query.unchecked:
            try:
                result = netlink.get(rt.RTM_GETROUTE, _question(query, names, 0))
            except NetlinkError as refusal:
                error = errno.errorcode.get(refusal.errno, str(refusal.errno))
        rule, route = (None, None) if result is not None and default else policy.lookup(
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
