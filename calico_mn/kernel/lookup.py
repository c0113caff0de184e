"""Asking the kernel which route a packet takes, as ``ip route get`` does. Changes nothing.

RTM_GETROUTE with RTA_IIF goes through the same code as a packet that comes in by that device,
source validation included (inet_rtm_getroute() in net/ipv4/route.c); with RTM_F_FIB_MATCH the
answer is the matched line of the table instead of its result. For what ends a packet
(blackhole, prohibit) the kernel answers with an error only, so the line is then looked up in a
dump of the tables, in the order of ``ip rule``'s default.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from calico_mn.kernel.encode import RTM_GETROUTE, device_indexes
from calico_mn.kernel.netlink import NetlinkError, NetlinkSocket, attribute, attributes, u32

_RTM_F_FIB_MATCH, _RTM_F_LOOKUP_TABLE, _RTM_F_CLONED = 0x2000, 0x1000, 0x200
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 2, 3, 4, 5, 6
_RTA_PREFSRC, _RTA_METRICS, _RTA_MULTIPATH, _RTA_TABLE, _RTAX_MTU = 7, 8, 9, 15, 2
_KINDS = {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast",
          6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
_PROTOCOLS = {1: "redirect", 2: "kernel", 4: "static", 12: "bird", 16: "dhcp", 186: "bgp"}
_SCOPES = {200: "site", 253: "link", 254: "host", 255: "nowhere"}
_TABLES = {253: "default", 254: "main", 255: "local"}
_FLAGS = {1: "dead", 2: "pervasive", 4: "onlink", 16: "linkdown"}
_HEADER = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class Query:
    """``ip route get DESTINATION [from SOURCE] [iif DEVICE]``."""

    destination: str
    source: str = ""
    device: str = ""

    def __str__(self) -> str:
        words = ["ip route get", self.destination]
        words += ["from", self.source] if self.source else []
        words += ["iif", self.device] if self.device else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel said.

    ``line`` is the matched route as ``ip route`` prints it, empty if there is none. ``kind`` is
    the route's (``unicast``, ``local``, ``blackhole``, ...). ``error`` is the errno's name, such
    as ``EXDEV`` where source validation refuses. ``mtu`` 0 means the device's; ``learned`` that
    the kernel was told it by an ICMP error (an exception of the route, RFC 1191).
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


def ask(query: Query) -> Answer:
    """The kernel's answer in the namespace in which this thread is."""
    with NetlinkSocket() as netlink:
        names = {index: name for name, index in device_indexes(netlink).items()}
        try:
            result = netlink.get(RTM_GETROUTE, _question(query, names, 0))
        except NetlinkError as refusal:
            name = errno.errorcode.get(refusal.errno, str(refusal.errno))
            kind, table, line = _longest_match(netlink, query.destination, names)
            return Answer(line, kind, table, error=name)
        try:
            match = netlink.get(RTM_GETROUTE, _question(query, names, _RTM_F_FIB_MATCH))
        except NetlinkError:
            match = result
    kind, table, line = _line(match, names)
    found = attributes(result[_HEADER.size:])
    metrics = attributes(found.get(_RTA_METRICS, b""))
    return Answer(
        line, kind, table, _address(found.get(_RTA_GATEWAY)),
        names.get(_number(found.get(_RTA_OIF)), ""), _address(found.get(_RTA_PREFSRC)),
        _number(metrics.get(_RTAX_MTU)),
        # RTA_CACHEINFO: rta_expires is set where the MTU is a learned one.
        12 in found and struct.unpack_from("=IIi", found[12])[2] != 0)


def _question(query: Query, names: dict[int, str], flags: int) -> bytes:
    body = _HEADER.pack(socket.AF_INET, 32, 32 if query.source else 0, 0, 0, 0, 0, 0,
                        flags | _RTM_F_LOOKUP_TABLE)
    body += attribute(_RTA_DST, socket.inet_aton(query.destination))
    if query.source:
        body += attribute(_RTA_SRC, socket.inet_aton(query.source))
    if query.device:
        # A device that is gone has no index; -1 makes the kernel say so.
        index = next((i for i, name in names.items() if name == query.device), 0x7FFFFFFF)
        body += u32(_RTA_IIF, index)
    return body


def _longest_match(netlink: NetlinkSocket, destination: str, names: dict[int, str]
                   ) -> tuple[str, str, str]:
    """Kind, table and line of the route in the first table that has one for the address."""
    address = IPv4Address(destination)
    best: tuple[tuple[int, int, int], bytes] | None = None
    for body in netlink.dump(RTM_GETROUTE, _HEADER.pack(socket.AF_INET, *(0,) * 8)):
        _family, length, _source, _tos, table, *_rest, flags = _HEADER.unpack_from(body)
        found = attributes(body[_HEADER.size:])
        table = _number(found.get(_RTA_TABLE)) or table
        if flags & _RTM_F_CLONED or table not in _TABLES:
            continue
        network = IPv4Network((found.get(_RTA_DST, bytes(4)), length))
        rank = (table, length, -_number(found.get(_RTA_PRIORITY)))
        if address in network and (best is None or rank > best[0]):
            best = (rank, body)
    return _line(best[1], names) if best else ("", "", "")


def _line(body: bytes, names: dict[int, str]) -> tuple[str, str, str]:
    """Kind, table, and the line as iproute2 prints it (print_route() in ip/iproute.c)."""
    (_family, length, _source, _tos, table, protocol, scope, kind,
     flags) = _HEADER.unpack_from(body)
    found = attributes(body[_HEADER.size:])
    network = socket.inet_ntoa(found.get(_RTA_DST, bytes(4)))
    prefix = ("default" if length == 0 else network if length == 32 else f"{network}/{length}")
    words = [prefix] if kind == 1 else [_KINDS.get(kind, str(kind)), prefix]
    if _RTA_GATEWAY in found:
        words += ["via", _address(found[_RTA_GATEWAY])]
    if _RTA_OIF in found:
        words += ["dev", names.get(_number(found[_RTA_OIF]), "?")]
    number = _number(found.get(_RTA_TABLE)) or table
    name = _TABLES.get(number, str(number))
    if name != "main":
        words += ["table", name]
    if protocol > 3 or protocol in (1, 2):
        words += ["proto", _PROTOCOLS.get(protocol, str(protocol))]
    if scope:
        words += ["scope", _SCOPES.get(scope, str(scope))]
    if _RTA_PREFSRC in found:
        words += ["src", _address(found[_RTA_PREFSRC])]
    if _RTA_PRIORITY in found:
        words += ["metric", str(_number(found[_RTA_PRIORITY]))]
    words += [text for bit, text in _FLAGS.items() if flags & bit]
    mtu = _number(attributes(found.get(_RTA_METRICS, b"")).get(_RTAX_MTU))
    if mtu:
        words += ["mtu", str(mtu)]
    words += _next_hops(found.get(_RTA_MULTIPATH, b""), names)
    return _KINDS.get(kind, str(kind)), name, " ".join(words)


def _next_hops(data: bytes, names: dict[int, str]) -> list[str]:
    """The hops of a multipath route."""
    words: list[str] = []
    offset = 0
    while offset + 8 <= len(data):
        length, _flags, weight, index = struct.unpack_from("=HBBi", data, offset)
        if length < 8:
            break
        inside = attributes(data[offset + 8:offset + length])
        words.append("nexthop")
        if _RTA_GATEWAY in inside:
            words += ["via", _address(inside[_RTA_GATEWAY])]
        words += ["dev", names.get(index, "?"), "weight", str(weight + 1)]
        offset += (length + 3) & ~3
    return words


def _address(data: bytes | None) -> str:
    return socket.inet_ntoa(data) if data else ""


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, "little") if data else 0
