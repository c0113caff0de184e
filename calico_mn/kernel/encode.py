"""State objects as rtnetlink messages. Pure: bytes out, nothing is sent here.

Layouts are those of ``include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour,pkt_sched}.h``.
Devices are named by their index, because a name costs the kernel a search in each message.
"""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Mapping, Sequence

from calico_mn.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    NetlinkSocket,
    attribute,
    attributes,
    text,
    u32,
)
from calico_mn.state import (
    Address,
    Bridge,
    Neighbour,
    NeighbourEntry,
    NextHop,
    Route,
    Shaping,
    Tunnel,
    Veth,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC, RTM_GETTFILTER = 36, 37, 38, 46
RTM_SETNEIGHTBL = 67

IFF_UP = 1
#: packets that netem may hold; its own default, 1000, would drop at a gigabit and 20 ms
NETEM_LIMIT = 100_000

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_TXQLEN = 1, 3, 4, 10, 13
_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 18, 26, 28
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INET_CONF = 1

# Left to the driver, veth makes a queue per possible processor: a quarter more boot time.
_ONE_QUEUE = u32(31, 1) + u32(32, 1)
_VETH_KIND = text(_INFO_KIND, "veth")

#: sysctl name -> IPV4_DEVCONF_* (include/uapi/linux/ip.h), for those that a link message can set
DEVCONF = {"forwarding": 1, "proxy_arp": 3, "send_redirects": 6, "rp_filter": 8,
           "accept_local": 23, "route_localnet": 26}

#: names as in iproute2's rt_protos; others are numbers there too, and as text here
PROTOCOLS = {"redirect": 1, "kernel": 2, "boot": 3, "static": 4, "ra": 9, "zebra": 11, "bird": 12,
             "dhcp": 16, "bgp": 186}
KINDS = {"unicast": 1, "local": 2, "broadcast": 3, "multicast": 5, "blackhole": 6,
         "unreachable": 7, "prohibit": 8, "throw": 9}
SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
_RT_TABLE_MAIN, _RTNH_F_ONLINK = 254, 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_METRICS, _RTAX_MTU = 1, 4, 5, 8, 2
_RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH = 6, 7, 9

_link_header = struct.Struct("=BxHiII").pack
_address_header = struct.Struct("=BBBBI").pack
_route_header = struct.Struct("=BBBBBBBBI").pack
_next_hop_header = struct.Struct("=HBBi").pack
_neighbour_header = struct.Struct("=BxxxiHBB").pack
_AF_BRIDGE = 7
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT, _NTF_SELF = 1, 2, 0x80, 0x02
_tc_header = struct.Struct("=BxxxiIII").pack


def veth(device: Veth, index: int, peer_index: int, peer_fd: int, master: int = 0) -> Message:
    """Both ends of a veth in one step, down; ``peer_fd`` is the other end's namespace.

    The kernel cannot bring an end up before its partner exists, and moving an end to another
    namespace later costs 20 ms (rcu_barrier in dev_change_net_namespace).
    """
    peer = (_link_header(0, 0, peer_index, 0, 0) + text(_IFLA_IFNAME, device.peer.name)
            + u32(_IFLA_NET_NS_FD, peer_fd) + _sizes(device.peer.mtu, device.txqueuelen)
            + _mac(device.peer.mac))
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, (
        _link_header(0, 0, index, 0, 0) + text(_IFLA_IFNAME, device.name)
        + _sizes(device.mtu, device.txqueuelen) + _mac(device.mac)
        + (u32(_IFLA_MASTER, master) if master else b"")
        + attribute(_IFLA_LINKINFO, _VETH_KIND + attribute(
            _INFO_DATA, attribute(_VETH_INFO_PEER, peer))))


@functools.lru_cache(maxsize=256)
def _sizes(mtu: int, txqueuelen: int) -> bytes:
    return u32(_IFLA_MTU, mtu) + u32(_IFLA_TXQLEN, txqueuelen) + _ONE_QUEUE


@functools.lru_cache(maxsize=256)
def _mac(address: str) -> bytes:
    return attribute(_IFLA_ADDRESS, bytes.fromhex(address.replace(":", ""))) if address else b""


def bridge(device: Bridge, index: int) -> Message:
    """A bridge that forwards at once (no spanning tree) and floods multicast, like a switch."""
    no_snooping = attribute(23, b"\0")  # IFLA_BR_MCAST_SNOOPING
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, (
        _link_header(0, 0, index, IFF_UP, IFF_UP) + text(_IFLA_IFNAME, device.name)
        + u32(_IFLA_MTU, device.mtu)
        + attribute(_IFLA_LINKINFO, text(_INFO_KIND, "bridge")
                    + attribute(_INFO_DATA, no_snooping)))


def ipip(name: str) -> Message:
    """An IPIP device with neither local nor remote address; the kernel loads the module."""
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, (
        _link_header(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name)
        + attribute(_IFLA_LINKINFO, text(_INFO_KIND, "ipip")))


def vxlan(device: Tunnel, index: int, uplink: int) -> Message:
    """A VXLAN device, down, that learns no addresses by itself (linux/if_link.h, IFLA_VXLAN_*)."""
    data = (u32(1, device.vni) + (u32(3, uplink) if uplink else b"")
            + (attribute(4, socket.inet_aton(device.local)) if device.local else b"")
            + attribute(7, b"\0") + attribute(15, struct.pack(">H", device.port)))
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, (
        _link_header(0, 0, index, 0, 0) + text(_IFLA_IFNAME, device.name)
        + u32(_IFLA_MTU, device.mtu) + _mac(device.mac)
        + attribute(_IFLA_LINKINFO, text(_INFO_KIND, device.kind) + attribute(_INFO_DATA, data)))


def link(index: int, *, up: bool | None = None, mtu: int = 0, txqueuelen: int | None = None,
         conf: Mapping[str, int] | None = None, name: str = "", mac: str = "",
         master: int | None = None) -> Message:
    """Change a device. ``conf`` holds per-device IPv4 sysctls whose names are in DEVCONF.

    ``master`` 0 takes the device out of its bridge.
    In the message that creates a device ``conf`` fails with ENOTCONN: the device has no IPv4
    state yet (inet_validate_link_af).
    """
    flags = IFF_UP if up else 0
    body = _link_header(0, 0, index, flags, 0 if up is None else IFF_UP) + _mac(mac)
    if name:
        body += text(_IFLA_IFNAME, name)
    if master is not None:
        body += u32(_IFLA_MASTER, master)
    if mtu:
        body += u32(_IFLA_MTU, mtu)
    if txqueuelen is not None:
        body += u32(_IFLA_TXQLEN, txqueuelen)
    if conf:
        body += _conf(tuple(conf.items()))
    return RTM_NEWLINK, 0, body


@functools.lru_cache(maxsize=256)
def _conf(settings: tuple[tuple[str, int], ...]) -> bytes:
    """Per-device IPv4 sysctls; thousands of devices have the same ones."""
    values = b"".join(u32(DEVCONF[key], value) for key, value in settings)
    return attribute(_IFLA_AF_SPEC, attribute(
        socket.AF_INET, attribute(_IFLA_INET_CONF, values)))


def link_removal(index: int) -> Message:
    """Delete a device; a veth takes its other end along."""
    return RTM_DELLINK, 0, _link_header(0, 0, index, 0, 0)


def proxy_delay(index: int, milliseconds: int) -> Message:
    """``neigh/DEVICE/proxy_delay``: the kernel's 0.8 s would show as a slow first packet."""
    return RTM_SETNEIGHTBL, NLM_F_REPLACE, (
        b"\x02\0\0\0" + text(1, "arp_cache")
        + attribute(6, u32(1, index) + attribute(13, struct.pack("=Q", milliseconds))))


def address(item: Address, index: int, *, remove: bool = False) -> Message:
    """An IPv4 address, scope global."""
    host, _, prefix = item.address.partition("/")
    packed = socket.inet_aton(host)
    return (RTM_DELADDR if remove else RTM_NEWADDR,
            0 if remove else NLM_F_CREATE | NLM_F_EXCL,
            _address_header(socket.AF_INET, int(prefix), 0, 0, index)
            + attribute(2, packed) + attribute(1, packed))


def neighbour(item: NeighbourEntry, index: int, *, remove: bool = False) -> Message:
    """A permanent neighbour, or a VXLAN device's own entry for a MAC (rtnl_fdb_add)."""
    family, flags, destination = (
        (int(socket.AF_INET), 0, item.address) if isinstance(item, Neighbour)
        else (_AF_BRIDGE, _NTF_SELF, item.destination))
    return (RTM_DELNEIGH if remove else RTM_NEWNEIGH,
            0 if remove else NLM_F_CREATE | NLM_F_REPLACE,
            _neighbour_header(family, index, _NUD_PERMANENT, flags, 0)
            + attribute(_NDA_DST, socket.inet_aton(destination))
            + attribute(_NDA_LLADDR, bytes.fromhex(item.mac.replace(":", ""))))


@functools.lru_cache(maxsize=65536)
def _destination(prefix: str) -> tuple[int, bytes]:
    """Prefix length and RTA_DST of a destination as iproute2 spells it."""
    if prefix == "default":
        return 0, b""
    network, _, length = prefix.partition("/")
    return int(length or 32), attribute(_RTA_DST, socket.inet_aton(network))


def route(item: Route, index: int, *, hop_indexes: Sequence[int] = (), remove: bool = False
          ) -> Message:
    """A route of the main table, made or replaced in one step (or removed).

    ``index`` is that of the route's device, 0 for none; ``hop_indexes`` are those of its next
    hops. A removal does not name the next hops: the kernel then takes the destination alone
    (fib_nh_match), so that a route whose ways were changed by hand goes as well.
    """
    length, body = _destination(item.destination)
    if item.via:
        body += attribute(_RTA_GATEWAY, socket.inet_aton(item.via))
    if index:
        body += u32(_RTA_OIF, index)
    if item.next_hops and not remove:
        body += attribute(_RTA_MULTIPATH, b"".join(
            _next_hop(hop, number, item.onlink)
            for hop, number in zip(item.next_hops, hop_indexes, strict=True)))
    if item.metric:
        body += u32(_RTA_PRIORITY, item.metric)
    if item.source:
        body += attribute(_RTA_PREFSRC, socket.inet_aton(item.source))
    if item.mtu:
        body += attribute(_RTA_METRICS, u32(_RTAX_MTU, item.mtu))
    return (RTM_DELROUTE if remove else RTM_NEWROUTE,
            0 if remove else NLM_F_CREATE | NLM_F_REPLACE,
            _route_header(socket.AF_INET, length, 0, 0, _RT_TABLE_MAIN,
                          _number(PROTOCOLS, item.protocol), _number(SCOPES, item.scope),
                          _number(KINDS, item.kind),
                          _RTNH_F_ONLINK if item.onlink else 0) + body)


def _number(names: Mapping[str, int], name: str) -> int:
    """A name's number; what has no name is a number as text."""
    return names[name] if name in names else int(name)


def _next_hop(hop: NextHop, index: int, onlink: bool) -> bytes:
    """``struct rtnexthop`` with its gateway; its third number is the weight less one."""
    gateway = attribute(_RTA_GATEWAY, socket.inet_aton(hop.via)) if hop.via else b""
    flags = _RTNH_F_ONLINK if onlink else 0
    return _next_hop_header(8 + len(gateway), flags, hop.weight - 1, index) + gateway


def bytes_per_second(rate: float) -> int:
    """A rate in Mbit/s as tbf counts it."""
    return round(rate * 125_000)


def bucket(rate: float) -> tuple[int, int]:
    """tbf's burst and limit in bytes for a rate in Mbit/s.

    The bucket holds 10 ms of the rate, at least 16 kB, so that one GSO packet fits a slow link
    as well; the queue holds 50 ms more.
    """
    speed = bytes_per_second(rate)
    burst = max(16_384, speed // 100)
    return burst, min(burst + max(65_536, speed // 20), 0xFFFFFFFF)


def shaping(item: Shaping, index: int) -> list[Message]:
    """tbf for the rate, netem for the delay; with both, netem inside tbf."""
    messages: list[Message] = []
    parent, handle = 0xFFFFFFFF, 0x00010000
    if item.rate:
        speed = bytes_per_second(item.rate)
        burst, limit = bucket(item.rate)
        ethernet = 1  # TC_LINKLAYER_ETHERNET: no rate table needed
        rate = struct.pack("=BBHhHI", 0, ethernet, 0, 0, 0,
                           min(speed, 0xFFFFFFFF))
        buffer_ticks = int(burst / speed * 1e9) >> 6  # PSCHED_SHIFT
        parameters = rate + bytes(12) + struct.pack("=III", limit, buffer_ticks, 0)
        options = (attribute(1, parameters) + attribute(4, struct.pack(
            "=Q", speed)) + u32(6, burst))
        messages.append(_qdisc(index, parent, handle, "tbf", options))
        parent, handle = 0x00010001, 0x00020000
    if item.delay:
        ticks = min(int(item.delay * 1e6) >> 6, 0xFFFFFFFF)
        options = struct.pack("=IIIIII", ticks, NETEM_LIMIT, 0, 0, 0, 0) + attribute(
            10, struct.pack("=q", int(item.delay * 1e6)))  # TCA_NETEM_LATENCY64
        messages.append(_qdisc(index, parent, handle, "netem", options))
    return messages


def _qdisc(index: int, parent: int, handle: int, kind: str, options: bytes) -> Message:
    return RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, (
        _tc_header(0, index, handle, parent, 0) + text(1, kind) + attribute(2, options))


def shaping_removal(index: int) -> Message:
    """``tc qdisc del dev DEVICE root``, with all that is inside it."""
    return RTM_DELQDISC, 0, _tc_header(0, index, 0, 0xFFFFFFFF, 0)


def device_indexes(netlink: NetlinkSocket) -> dict[str, int]:
    """Name -> index of all devices in the socket's namespace."""
    found: dict[str, int] = {}
    for body in netlink.dump(RTM_GETLINK, _link_header(0, 0, 0, 0, 0)):
        name = attributes(body[16:])[_IFLA_IFNAME].rstrip(b"\0").decode()
        found[name] = struct.unpack_from("=i", body, 4)[0]
    return found
