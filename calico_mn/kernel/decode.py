"""rtnetlink's answers to dumps as values: the other direction of :mod:`.encode`. Pure.

Layouts are those of ``include/uapi/linux/{rtnetlink,if_link,if_addr,pkt_sched,pkt_cls}.h``; what
is printed of a route follows ``print_route()`` in iproute2's ip/iproute.c.
"""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Iterable, Mapping

from calico_mn.kernel.encode import DEVCONF, KINDS, PROTOCOLS, SCOPES
from calico_mn.kernel.netlink import attributes
from calico_mn.present import Link, Program, Qdisc, vxlan_detail
from calico_mn.state import VXLAN, Address, FdbEntry, Neighbour, NextHop, Route

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_TXQLEN = 1, 3, 4, 10, 13
_IFLA_LINKINFO, _IFLA_AF_SPEC = 18, 26
_IFF_UP = 1
_RT_TABLE_MAIN, _RTM_F_CLONED, _ONLINK, _PERVASIVE = 254, 0x200, 4, 2
(_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS, _RTA_MULTIPATH,
 _RTA_TABLE, _RTA_VIA, _RTA_ENCAP_TYPE, _RTA_NH_ID) = 1, 4, 5, 6, 7, 8, 9, 15, 18, 21, 30
#: RTAX_*, as ip spells them
_METRICS = {3: "window", 4: "rtt", 5: "rttvar", 6: "ssthresh", 7: "cwnd", 8: "advmss",
            9: "reordering", 10: "hoplimit", 11: "initcwnd", 12: "features", 13: "rto_min",
            14: "initrwnd", 15: "quickack", 17: "fastopen_no_cookie"}
_LOCK, _MTU = 1, 2
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
_KIND_NAMES = {number: name for name, number in KINDS.items()}
_SCOPE_NAMES = {number: name for name, number in SCOPES.items()}
_NUD_PERMANENT, _NTF_SELF = 0x80, 0x02
_DIRECTIONS = {0xFFFFFFF2: "ingress", 0xFFFFFFF3: "egress"}

_route_header = struct.Struct("=BBBBBBBBI")
_TCM_SIZE = 20


def links(bodies: Iterable[bytes]) -> tuple[list[Link], dict[str, int]]:
    """Devices, and their IPv4 sysctls by path: those that DEVCONF names."""
    devices = [(struct.unpack_from("=iI", body, 4), attributes(body[16:])) for body in bodies]
    names = {index: _text(inside[_IFLA_IFNAME]) for (index, _flags), inside in devices}
    decoded: list[Link] = []
    settings: dict[str, int] = {}
    for (index, flags), inside in devices:
        name, master = names[index], _u32(inside.get(_IFLA_MASTER))
        info = attributes(inside.get(_IFLA_LINKINFO, b""))
        kind = _text(info.get(1, b""))
        decoded.append(Link(
            name, kind, _u32(inside[_IFLA_MTU]), bool(flags & _IFF_UP),
            _u32(inside.get(_IFLA_TXQLEN)), inside.get(_IFLA_ADDRESS, b"").hex(":"),
            names.get(master, f"if{master}") if master else "", index,
            _vxlan(info.get(2, b""), names) if kind == VXLAN else ""))
        conf = attributes(attributes(inside.get(_IFLA_AF_SPEC, b"")).get(socket.AF_INET, b"")
                          ).get(1, b"")
        values = struct.unpack(f"={len(conf) // 4}i", conf)
        settings.update((f"net/ipv4/conf/{name}/{key}", values[position - 1])
                        for key, position in DEVCONF.items() if position <= len(values))
    return decoded, settings


def _vxlan(data: bytes, names: Mapping[int, str]) -> str:
    """What a VXLAN device keeps for life, from IFLA_INFO_DATA (IFLA_VXLAN_*, linux/if_link.h)."""
    inside = attributes(data)
    uplink = _u32(inside.get(3))
    return vxlan_detail(_u32(inside.get(1)), _inet(inside.get(4)),
                        names.get(uplink, f"if{uplink}") if uplink else "",
                        int.from_bytes(inside.get(15, b""), "big"), inside.get(7) != b"\0")


def address(body: bytes, names: Mapping[int, str]) -> Address:
    """An IPv4 address; IFA_LOCAL, or IFA_ADDRESS where that is all there is."""
    _family, length, _flags, _scope, index = struct.unpack_from("=BBBBI", body)
    inside = attributes(body[8:])
    return Address(names.get(index, f"if{index}"),
                   f"{socket.inet_ntoa(inside.get(2) or inside[1])}/{length}")


def neighbour(body: bytes, names: Mapping[int, str]) -> Neighbour | None:
    """A permanent IPv4 neighbour; None for all others."""
    _family, index, state, _flags, _kind = struct.unpack_from("=BxxxiHBB", body)
    inside = attributes(body[12:])
    if not state & _NUD_PERMANENT or 1 not in inside or 2 not in inside:
        return None
    return Neighbour(names.get(index, f"if{index}"), socket.inet_ntoa(inside[1]),
                     inside[2].hex(":"))


def fdb_entry(body: bytes, names: Mapping[int, str]) -> FdbEntry | None:
    """A VXLAN device's permanent entry; None for those that lead to no IPv4 address."""
    _family, index, state, flags, _kind = struct.unpack_from("=BxxxiHBB", body)
    inside = attributes(body[12:])
    if not (state & _NUD_PERMANENT and flags & _NTF_SELF and 2 in inside
            and len(inside.get(1, b"")) == 4):
        return None
    return FdbEntry(names.get(index, f"if{index}"), inside[2].hex(":"),
                    socket.inet_ntoa(inside[1]))


def route(body: bytes, names: Mapping[int, str]) -> Route | None:
    """A route of the main table; None for those of others, and for cached ones."""
    (_family, length, _source, tos, table, protocol, scope, kind,
     flags) = _route_header.unpack_from(body)
    inside = attributes(body[_route_header.size:])
    if (_u32(inside.get(_RTA_TABLE)) or table) != _RT_TABLE_MAIN or flags & _RTM_F_CLONED:
        return None
    hops, all_onlink = _next_hops(inside.get(_RTA_MULTIPATH, b""), names)
    index = _u32(inside.get(_RTA_OIF))
    mtu, extra = _metrics(inside.get(_RTA_METRICS, b""))
    if tos:
        extra.append(f"tos {tos:#04x}")
    if _RTA_VIA in inside:
        extra.append("via inet6")
    if _RTA_ENCAP_TYPE in inside:
        extra.append("encap")
    if _RTA_NH_ID in inside:
        extra.append(f"nhid {_u32(inside[_RTA_NH_ID])}")
    return Route(
        _prefix(inside.get(_RTA_DST, bytes(4)), length), _inet(inside.get(_RTA_GATEWAY)),
        names.get(index, f"if{index}") if index and not hops else "",
        _PROTOCOL_NAMES.get(protocol, str(protocol)), _KIND_NAMES.get(kind, str(kind)),
        _SCOPE_NAMES.get(scope, str(scope)), all_onlink if hops else bool(flags & _ONLINK), mtu,
        hops, _u32(inside.get(_RTA_PRIORITY)), _inet(inside.get(_RTA_PREFSRC)), " ".join(extra))


def _metrics(data: bytes) -> tuple[int, list[str]]:
    """The MTU, and all others as words."""
    inside = attributes(data)
    locked = _u32(inside.get(_LOCK))
    words = [f"{name} {_u32(inside[number])}" for number, name in _METRICS.items()
             if number in inside]
    if locked & 1 << _MTU:
        words.append("mtu lock")
    return _u32(inside.get(_MTU)), words


def _next_hops(data: bytes, names: Mapping[int, str]) -> tuple[tuple[NextHop, ...], bool]:
    """The hops of a multipath route, and whether all of them are onlink."""
    found = []
    onlink = True
    offset = 0
    while offset + 8 <= len(data):
        length, flags, weight, index = struct.unpack_from("=HBBi", data, offset)
        if length < 8:
            break
        inside = attributes(data[offset + 8:offset + length])
        found.append(NextHop(_inet(inside.get(_RTA_GATEWAY)), names.get(index, f"if{index}"),
                             weight + 1))
        onlink = onlink and bool(flags & _ONLINK)
        offset += (length + 3) & ~3
    return tuple(found), onlink


def qdisc(body: bytes, names: Mapping[int, str]) -> Qdisc | None:
    """A tbf or netem; None for all others. With IEC 64-bit values where they are given."""
    index = struct.unpack_from("=i", body, 4)[0]
    inside = attributes(body[_TCM_SIZE:])
    kind, options = _text(inside[1]), inside.get(2, b"")
    if kind == "tbf":
        own = attributes(options)
        # TCA_TBF_RATE64, only given above 4 GB/s; else rate.rate of TCA_TBF_PARMS.
        speed = (struct.unpack("=Q", own[4])[0] if 4 in own
                 else struct.unpack_from("=I", own[1], 8)[0])
        return Qdisc(names.get(index, ""), kind, speed / 125_000)
    if kind == "netem":
        own = attributes(options[24:])
        # TCA_NETEM_LATENCY64 in ns; before Linux 4.15 only ticks of 64 ns.
        latency = (struct.unpack("=q", own[10])[0] if 10 in own
                   else struct.unpack_from("=I", options)[0] << 6)
        return Qdisc(names.get(index, ""), kind, latency / 1e6)
    return None


def program(body: bytes, names: Mapping[int, str]) -> Program | None:
    """An eBPF classifier on clsact; None for other filters."""
    index, _handle, parent, _info = struct.unpack_from("=iIII", body, 4)
    inside = attributes(body[_TCM_SIZE:])
    if _text(inside.get(1, b"")) != "bpf" or parent not in _DIRECTIONS:
        return None
    name = attributes(inside.get(2, b"")).get(7)  # TCA_BPF_NAME
    return Program(names.get(index, ""), _DIRECTIONS[parent], _text(name)) if name else None


@functools.lru_cache(maxsize=65536)
def _prefix(network: bytes, length: int) -> str:
    if length == 0:
        return "default"
    return socket.inet_ntoa(network) + (f"/{length}" if length < 32 else "")


@functools.lru_cache(maxsize=65536)
def _inet(data: bytes | None) -> str:
    return socket.inet_ntoa(data) if data else ""


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _u32(data: bytes | None) -> int:
    return int(struct.unpack("=I", data)[0]) if data else 0
