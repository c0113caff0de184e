"""rtnetlink's answers as values of the state's vocabulary: what :mod:`.steps` writes, read.

Goes in: the bodies of the kernel's messages, and the devices' names by index. Comes out: links,
addresses, routes, neighbours, FDB entries, queueing disciplines and tc programs. The only reader
of such messages. What is printed of a route follows ``print_route()`` in iproute2's ip/iproute.c;
layouts are those of ``include/uapi/linux/{rtnetlink,if_link,if_addr,pkt_sched,pkt_cls}.h``. Pure.
"""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import attributes, string
from calico_mn.present import Link, Program, Qdisc, vxlan_detail
from calico_mn.state import VXLAN, Address, FdbEntry, Neighbour, NextHop, Route

#: RTAX_*, as ip spells them
_METRICS = {3: "window", 4: "rtt", 5: "rttvar", 6: "ssthresh", 7: "cwnd", 8: "advmss",
            9: "reordering", 10: "hoplimit", 11: "initcwnd", 12: "features", 13: "rto_min",
            14: "initrwnd", 15: "quickack", 17: "fastopen_no_cookie"}
#: RTNH_F_*, as ip spells them: a state that the kernel reports, not a part of the route
_STATES = {1: "dead", 2: "pervasive", 16: "linkdown"}
_PROTOCOL_NAMES = {number: name for name, number in rt.PROTOCOLS.items()}
_KIND_NAMES = {number: name for name, number in rt.KINDS.items()}
_SCOPE_NAMES = {number: name for name, number in rt.SCOPES.items()}
_TABLE_NAMES = {number: name for name, number in rt.TABLES.items()}
_DIRECTIONS = {parent: name for name, parent in rt.DIRECTIONS.items()}


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the kernel describes it.

    ``arp`` is false after ``ip link set arp off``. ``settings`` are its IPv4 sysctls that DEVCONF
    names; ``drops`` are ``rx_dropped``, ``tx_dropped``, ``rx_errors`` and ``tx_errors``, empty
    where statistics were not asked for.
    """

    link: Link
    carrier: bool
    settings: Mapping[str, int]
    drops: Mapping[str, int] = field(default_factory=dict)
    arp: bool = True


def names(bodies: Iterable[bytes]) -> dict[int, str]:
    """The devices' names by their indexes."""
    return {struct.unpack_from("=i", body, 4)[0]:
            string(attributes(body[rt.LINK_HEADER.size:])[rt.IFLA_IFNAME]) for body in bodies}


def devices(bodies: Iterable[bytes]) -> list[Device]:
    """All devices of a namespace."""
    parsed = [(rt.LINK_HEADER.unpack_from(body), attributes(body[rt.LINK_HEADER.size:]))
              for body in bodies]
    known = {index: string(inside[rt.IFLA_IFNAME])
             for (_family, _type, index, _flags, _change), inside in parsed}
    return [_device(index, flags, inside, known)
            for (_family, _type, index, flags, _change), inside in parsed]


def _device(index: int, flags: int, inside: Mapping[int, bytes], known: Mapping[int, str]
            ) -> Device:
    master = _u32(inside.get(rt.IFLA_MASTER))
    info = attributes(inside.get(rt.IFLA_LINKINFO, b""))
    kind = string(info.get(rt.INFO_KIND, b""))
    link = Link(known[index], kind, _u32(inside[rt.IFLA_MTU]), bool(flags & rt.IFF_UP),
                _u32(inside.get(rt.IFLA_TXQLEN)), inside.get(rt.IFLA_ADDRESS, b"").hex(":"),
                _name(known, master) if master else "", index,
                _vxlan(info.get(rt.INFO_DATA, b""), known) if kind == VXLAN else "")
    conf = attributes(attributes(inside.get(rt.IFLA_AF_SPEC, b"")).get(socket.AF_INET, b"")
                      ).get(rt.INET_CONF, b"")
    values = struct.unpack(f"={len(conf) // 4}i", conf)
    counters = inside.get(rt.IFLA_STATS64, b"")
    drops = (dict(zip(("rx_errors", "tx_errors", "rx_dropped", "tx_dropped"),
                      struct.unpack_from("=4Q", counters, 32), strict=True))
             if len(counters) >= 64 else {})
    return Device(link, bool(flags & rt.IFF_LOWER_UP),
                  {key: values[position - 1] for key, position in rt.DEVCONF.items()
                   if position <= len(values)}, drops, not flags & rt.IFF_NOARP)


def _vxlan(data: bytes, known: Mapping[int, str]) -> str:
    """What a VXLAN device keeps for life, from IFLA_INFO_DATA (IFLA_VXLAN_*, linux/if_link.h)."""
    inside = attributes(data)
    uplink = _u32(inside.get(3))
    return vxlan_detail(_u32(inside.get(1)), _inet(inside.get(4)),
                        _name(known, uplink) if uplink else "",
                        int.from_bytes(inside.get(15, b""), "big"), inside.get(7) != b"\0")


def address(body: bytes, known: Mapping[int, str]) -> Address:
    """An IPv4 address; IFA_LOCAL, or IFA_ADDRESS where that is all there is."""
    _family, length, _flags, _scope, index = rt.ADDRESS_HEADER.unpack_from(body)
    inside = attributes(body[rt.ADDRESS_HEADER.size:])
    return Address(_name(known, index),
                   f"{_inet(inside.get(rt.IFA_LOCAL) or inside[rt.IFA_ADDRESS])}/{length}")


def neighbour(body: bytes, known: Mapping[int, str]) -> tuple[Neighbour, str] | None:
    """An IPv4 neighbour and its state, such as ``REACHABLE``; None for NOARP and unused ones.

    The MAC address is empty while there is no answer.
    """
    _family, index, state, _flags, _kind = rt.NEIGHBOUR_HEADER.unpack_from(body)
    inside = attributes(body[rt.NEIGHBOUR_HEADER.size:])
    if state not in rt.NEIGHBOUR_STATES or rt.NDA_DST not in inside:
        return None
    return Neighbour(_name(known, index), _inet(inside[rt.NDA_DST]),
                     inside.get(rt.NDA_LLADDR, b"").hex(":")), rt.NEIGHBOUR_STATES[state]


def fdb_entry(body: bytes, known: Mapping[int, str]) -> FdbEntry | None:
    """A VXLAN device's permanent entry; None for those that lead to no IPv4 address."""
    _family, index, state, flags, _kind = rt.NEIGHBOUR_HEADER.unpack_from(body)
    inside = attributes(body[rt.NEIGHBOUR_HEADER.size:])
    if not (state & rt.NUD_PERMANENT and flags & rt.NTF_SELF and rt.NDA_LLADDR in inside
            and len(inside.get(rt.NDA_DST, b"")) == 4):
        return None
    return FdbEntry(_name(known, index), inside[rt.NDA_LLADDR].hex(":"),
                    _inet(inside[rt.NDA_DST]))


def routes(bodies: Iterable[bytes], known: Mapping[int, str], *, tables: Collection[str] = ("main",)
           ) -> tuple[Route, ...]:
    """The routes of these tables among all that were dumped, without cached ones."""
    decoded = (route(body, known) for body in bodies
               if not rt.ROUTE_HEADER.unpack_from(body)[-1] & rt.RTM_F_CLONED)
    return tuple(item for item in decoded if item.table in tables)


def route(body: bytes, known: Mapping[int, str], *, with_state: bool = False) -> Route:
    """A route of any table. ``with_state`` notes in ``extra`` when it is dead or its link down."""
    (_family, length, _source, tos, table, protocol, scope, kind,
     flags) = rt.ROUTE_HEADER.unpack_from(body)
    inside = attributes(body[rt.ROUTE_HEADER.size:])
    table = _u32(inside.get(rt.RTA_TABLE)) or table
    hops = _next_hops(inside.get(rt.RTA_MULTIPATH, b""), known)
    index = _u32(inside.get(rt.RTA_OIF))
    mtu, extra = _metrics(inside.get(rt.RTA_METRICS, b""))
    if tos:
        extra.append(f"tos {tos:#04x}")
    if rt.RTA_VIA in inside:
        extra.append("via inet6")
    if rt.RTA_ENCAP_TYPE in inside:
        extra.append("encap")
    if rt.RTA_NH_ID in inside:
        extra.append(f"nhid {_u32(inside[rt.RTA_NH_ID])}")
    if with_state:
        extra += [state for bit, state in _STATES.items() if flags & bit]
    return Route(
        _prefix(inside.get(rt.RTA_DST, bytes(4)), length), _inet(inside.get(rt.RTA_GATEWAY)),
        _name(known, index) if index and not hops else "",
        _PROTOCOL_NAMES.get(protocol, str(protocol)), _KIND_NAMES.get(kind, str(kind)),
        _SCOPE_NAMES.get(scope, str(scope)),
        bool(flags & rt.RTNH_F_ONLINK), mtu, hops,
        _u32(inside.get(rt.RTA_PRIORITY)), _inet(inside.get(rt.RTA_PREFSRC)), " ".join(extra),
        table_name(table))


def table_name(number: int) -> str:
    """A routing table's name, its number where it has none."""
    return _TABLE_NAMES.get(number, str(number))


def _metrics(data: bytes) -> tuple[int, list[str]]:
    """The MTU, and all other metrics as ip prints them."""
    inside = attributes(data)
    others = [f"{name} {_u32(inside[number])}" for number, name in _METRICS.items()
             if number in inside]
    if _u32(inside.get(rt.RTAX_LOCK)) & 1 << rt.RTAX_MTU:
        others.append("mtu lock")
    return _u32(inside.get(rt.RTAX_MTU)), others


def _next_hops(data: bytes, known: Mapping[int, str]) -> tuple[NextHop, ...]:
    """The hops of a multipath route."""
    hops = []
    offset = 0
    header = rt.NEXT_HOP_HEADER.size
    while offset + header <= len(data):
        length, flags, weight, index = rt.NEXT_HOP_HEADER.unpack_from(data, offset)
        if length < header:
            break
        inside = attributes(data[offset + header:offset + length])
        hops.append(NextHop(_inet(inside.get(rt.RTA_GATEWAY)), _name(known, index), weight + 1,
                            bool(flags & rt.RTNH_F_ONLINK)))
        offset += (length + 3) & ~3
    return tuple(hops)


def qdisc(body: bytes, known: Mapping[int, str]) -> Qdisc | None:
    """A tbf or netem; None for all others. With IEC 64-bit values where they are given."""
    index = struct.unpack_from("=i", body, 4)[0]
    inside = attributes(body[rt.TC_HEADER.size:])
    kind, options = string(inside[rt.TCA_KIND]), inside.get(rt.TCA_OPTIONS, b"")
    if kind == "tbf":
        parameters = attributes(options)
        # TCA_TBF_RATE64, only given above 4 GB/s; else rate.rate of TCA_TBF_PARMS.
        speed = (struct.unpack("=Q", parameters[4])[0] if 4 in parameters
                 else struct.unpack_from("=I", parameters[1], 8)[0])
        return Qdisc(known.get(index, ""), kind, speed / 125_000)
    if kind == "netem":
        parameters = attributes(options[24:])
        # TCA_NETEM_LATENCY64 in ns; before Linux 4.15 only ticks of 64 ns.
        latency = (struct.unpack("=q", parameters[10])[0] if 10 in parameters
                   else struct.unpack_from("=I", options)[0] << 6)
        return Qdisc(known.get(index, ""), kind, latency / 1e6)
    return None


def program(body: bytes, known: Mapping[int, str]) -> Program | None:
    """An eBPF classifier on clsact; None for other filters."""
    index, _handle, parent, _info = struct.unpack_from("=iIII", body, 4)
    inside = attributes(body[rt.TC_HEADER.size:])
    if string(inside.get(rt.TCA_KIND, b"")) != "bpf" or parent not in _DIRECTIONS:
        return None
    name = attributes(inside.get(rt.TCA_OPTIONS, b"")).get(rt.TCA_BPF_NAME)
    return Program(known.get(index, ""), _DIRECTIONS[parent], string(name)) if name else None


@functools.lru_cache(maxsize=65536)
def _prefix(network: bytes, length: int) -> str:
    if length == 0:
        return "default"
    return socket.inet_ntoa(network) + (f"/{length}" if length < 32 else "")


@functools.lru_cache(maxsize=65536)
def _inet(data: bytes | None) -> str:
    return socket.inet_ntoa(data) if data else ""


def _name(known: Mapping[int, str], index: int) -> str:
    return known.get(index) or f"if{index}"


def _u32(data: bytes | None) -> int:
    return int(struct.unpack("=I", data)[0]) if data else 0
