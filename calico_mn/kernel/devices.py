"""Devices, their settings, queueing disciplines and programs as rtnetlink messages. Pure.

In go the state's devices with their indexes; out come messages for
:class:`~calico_mn.kernel.netlink.NetlinkSocket`, or steps, which also know their commands. Layouts
are those of the header files that :mod:`.rtnetlink` names. Devices are named by their index,
because a name costs the kernel a search in each message. What is on devices (addresses, routes,
neighbours) is in :mod:`.steps`.
"""

from __future__ import annotations

import errno
import functools
import socket
import struct
from collections.abc import Mapping, Sequence
from functools import partial

from calico_mn.kernel import iptext
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Step,
    attribute,
    text,
    u32,
)
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.present import Link
from calico_mn.state import Bridge, Device, Shaping, Sysctl, Tunnel, Veth

#: what the kernel answers when there is nothing to remove: no such device, route, address or
#: neighbour
GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)

# Indexes that are asked for (tunl0, eth0) are small; the others begin above this.
_FIRST_FREE_INDEX = 9

# Left to the driver, veth makes a queue per possible processor: a quarter more boot time.
_ONE_QUEUE = u32(31, 1) + u32(32, 1)

# Fixed, so that a program can be replaced without asking what is attached.
_PROGRAM_PRIORITY, _PROGRAM_HANDLE = 1, 1
_ETH_P_ALL = 3
_DIRECT_ACTION = 1  # TCA_BPF_FLAG_ACT_DIRECT


def veth(device: Veth, index: int, peer_index: int, peer_fd: int, master: int = 0) -> Message:
    """Both ends of a veth in one step, down; ``peer_fd`` is the other end's namespace.

    The kernel cannot bring an end up before its partner exists, and moving an end to another
    namespace later costs 20 ms (rcu_barrier in dev_change_net_namespace).
    """
    peer = (_link(peer_index) + text(rt.IFLA_IFNAME, device.peer.name)
            + u32(rt.IFLA_NET_NS_FD, peer_fd) + _sizes(device.peer.mtu, device.txqueuelen)
            + _mac(device.peer.mac))
    return _new_link(
        _link(index), device.name, "veth",
        _sizes(device.mtu, device.txqueuelen) + _mac(device.mac)
        + (u32(rt.IFLA_MASTER, master) if master else b""), attribute(rt.VETH_INFO_PEER, peer))


def _link(index: int, flags: int = 0, change: int = 0) -> bytes:
    """``struct ifinfomsg``: the device, and which of its flags change to what."""
    return rt.LINK_HEADER.pack(socket.AF_UNSPEC, 0, index, flags, change)


def _new_link(header: bytes, name: str, kind: str, fields: bytes = b"", data: bytes = b""
              ) -> Message:
    """A device to be made; ``data`` is what only its kind has."""
    return rt.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, (
        header + text(rt.IFLA_IFNAME, name) + fields
        + attribute(rt.IFLA_LINKINFO, text(rt.INFO_KIND, kind)
                    + (attribute(rt.INFO_DATA, data) if data else b"")))


@functools.lru_cache(maxsize=256)
def _sizes(mtu: int, txqueuelen: int) -> bytes:
    return u32(rt.IFLA_MTU, mtu) + u32(rt.IFLA_TXQLEN, txqueuelen) + _ONE_QUEUE


@functools.lru_cache(maxsize=256)
def _mac(address: str) -> bytes:
    return attribute(rt.IFLA_ADDRESS, bytes.fromhex(address.replace(":", ""))) if address else b""


def bridge(device: Bridge, index: int) -> Message:
    """A bridge that forwards at once (no spanning tree) and floods multicast, like a switch."""
    no_snooping = attribute(23, b"\0")  # IFLA_BR_MCAST_SNOOPING
    return _new_link(_link(index, rt.IFF_UP, rt.IFF_UP), device.name, "bridge",
                     u32(rt.IFLA_MTU, device.mtu), no_snooping)


def tunnel(name: str, kind: str, index: int) -> Message:
    """A tunnel device with neither local nor remote address; the kernel loads the module."""
    return _new_link(_link(index), name, kind)


def vxlan(device: Tunnel, index: int, uplink: int) -> Message:
    """A VXLAN device, down, that learns no addresses by itself (linux/if_link.h, IFLA_VXLAN_*)."""
    data = (u32(1, device.vni) + (u32(3, uplink) if uplink else b"")
            + (attribute(4, socket.inet_aton(device.local)) if device.local else b"")
            + attribute(7, b"\0") + attribute(15, struct.pack(">H", device.port)))
    return _new_link(_link(index), device.name, device.kind,
                     u32(rt.IFLA_MTU, device.mtu) + _mac(device.mac), data)


def link(index: int, *, up: bool | None = None, mtu: int = 0, txqueuelen: int | None = None,
         conf: Mapping[str, int] | None = None, name: str = "", mac: str = "",
         master: int | None = None) -> Message:
    """Change a device. ``conf`` holds per-device IPv4 sysctls whose names are in DEVCONF.

    ``master`` 0 takes the device out of its bridge.
    In the message that creates a device ``conf`` fails with ENOTCONN: the device has no IPv4
    state yet (inet_validate_link_af).
    """
    flags = rt.IFF_UP if up else 0
    body = _link(index, flags, 0 if up is None else rt.IFF_UP) + _mac(mac)
    if name:
        body += text(rt.IFLA_IFNAME, name)
    if master is not None:
        body += u32(rt.IFLA_MASTER, master)
    if mtu:
        body += u32(rt.IFLA_MTU, mtu)
    if txqueuelen is not None:
        body += u32(rt.IFLA_TXQLEN, txqueuelen)
    if conf:
        body += _conf(tuple(conf.items()))
    return rt.RTM_NEWLINK, 0, body


@functools.lru_cache(maxsize=256)
def _conf(settings: tuple[tuple[str, int], ...]) -> bytes:
    """Per-device IPv4 sysctls; thousands of devices have the same ones."""
    values = b"".join(u32(rt.DEVCONF[key], value) for key, value in settings)
    return attribute(rt.IFLA_AF_SPEC, attribute(
        socket.AF_INET, attribute(rt.INET_CONF, values)))


def without_multicast(index: int, txqueuelen: int) -> Message:
    """``ip link set DEVICE multicast off``: the kernel's tunl0 does not carry that flag.

    ``txqueuelen`` is set while the device is down: on one that is up the kernel exchanges the
    queue, and waits for an RCU grace period (dev_qdisc_change_tx_queue_len).
    """
    return rt.RTM_NEWLINK, 0, (_link(index, 0, rt.IFF_MULTICAST)
                               + u32(rt.IFLA_TXQLEN, txqueuelen))


def link_removal(index: int) -> Message:
    """Delete a device; a veth takes its other end along."""
    return rt.RTM_DELLINK, 0, _link(index)


def proxy_delay(index: int, milliseconds: int) -> Message:
    """``neigh/DEVICE/proxy_delay``: the kernel's 0.8 s would show as a slow first packet."""
    return rt.RTM_SETNEIGHTBL, NLM_F_REPLACE, (
        b"\x02\0\0\0" + text(1, "arp_cache")
        + attribute(6, u32(1, index) + attribute(13, struct.pack("=Q", milliseconds))))


def shaping(item: Shaping, index: int) -> list[Message]:
    """tbf for the rate, netem for delay and loss; with both, netem inside tbf."""
    messages: list[Message] = []
    parent, handle = rt.ROOT, 0x00010000
    if item.rate:
        speed = rt.bytes_per_second(item.rate)
        burst, limit = rt.bucket(item.rate)
        ethernet = 1  # TC_LINKLAYER_ETHERNET: no rate table needed
        rate = struct.pack("=BBHhHI", 0, ethernet, 0, 0, 0,
                           min(speed, 0xFFFFFFFF))
        buffer_ticks = int(burst / speed * 1e9) >> 6  # PSCHED_SHIFT
        parameters = rate + bytes(12) + struct.pack("=III", limit, buffer_ticks, 0)
        options = (attribute(1, parameters) + attribute(4, struct.pack(
            "=Q", speed)) + u32(6, burst))
        messages.append(_qdisc(index, parent, handle, "tbf", options))
        parent, handle = 0x00010001, 0x00020000
    if item.has_netem:
        delay = int((item.delay or 0) * 1e6)
        jitter = int((item.jitter or 0) * 1e6)
        lost, overtaking = (int((percent or 0) / 100 * 0xFFFFFFFF)  # of 2^32 - 1
                            for percent in (item.loss, item.reorder))
        gap = 1 if overtaking else 0  # without a gap nothing is reordered (netem_enqueue)
        options = (struct.pack("=IIIIII", min(delay >> 6, 0xFFFFFFFF), rt.NETEM_LIMIT, lost, gap,
                               0, min(jitter >> 6, 0xFFFFFFFF))
                   + attribute(10, struct.pack("=q", delay))  # TCA_NETEM_LATENCY64
                   + (attribute(11, struct.pack("=q", jitter)) if jitter else b"")  # JITTER64
                   + (attribute(3, struct.pack("=II", overtaking, 0))  # TCA_NETEM_REORDER
                      if overtaking else b""))
        messages.append(_qdisc(index, parent, handle, "netem", options))
    return messages


def noqueue(index: int) -> Message:
    """``tc qdisc add dev DEVICE root noqueue``, as on the kernel's tunl0; TUN has a queue."""
    return _qdisc(index, rt.ROOT, 0, "noqueue")


def clsact(index: int, *, replace: bool = False) -> Message:
    """``tc qdisc add dev DEVICE clsact``: where programs are attached.

    Without ``replace`` it fails if the device has one; with it, that one stays as it is.
    """
    return _qdisc(index, rt.CLSACT, rt.CLSACT_HANDLE, "clsact", replace=replace)


def _qdisc(index: int, parent: int, handle: int, kind: str, options: bytes = b"", *,
           replace: bool = False) -> Message:
    return rt.RTM_NEWQDISC, NLM_F_CREATE | (0 if replace else NLM_F_EXCL), (
        rt.TC_HEADER.pack(0, index, handle, parent, 0) + text(rt.TCA_KIND, kind)
        + (attribute(rt.TCA_OPTIONS, options) if options else b""))


def qdisc_removal(index: int, parent: int = rt.ROOT) -> Message:
    """``tc qdisc del dev DEVICE root``, or ``clsact`` for CLSACT, with all that is inside it."""
    handle = rt.CLSACT_HANDLE if parent == rt.CLSACT else 0
    return rt.RTM_DELQDISC, 0, rt.TC_HEADER.pack(0, index, handle, parent, 0)


def program(index: int, direction: str, descriptor: int, name: str, *, replace: bool = False
            ) -> Message:
    """Attach a program to a device that has :func:`clsact`.

    ``direction`` is ``ingress``, where packets come in from the device, or ``egress``, where they
    leave through it; ``name`` is what ``tc filter show`` prints. Without ``replace`` it fails if a
    program is attached there already; with it, the old one hands over between two packets.
    """
    # tcm_info: the priority above, the protocol in network byte order below.
    info = _PROGRAM_PRIORITY << 16 | socket.htons(_ETH_P_ALL)
    options = (u32(rt.TCA_BPF_FD, descriptor) + text(rt.TCA_BPF_NAME, name)
               + u32(rt.TCA_BPF_FLAGS, _DIRECT_ACTION))
    return rt.RTM_NEWTFILTER, NLM_F_CREATE | (0 if replace else NLM_F_EXCL), (
        rt.TC_HEADER.pack(0, index, _PROGRAM_HANDLE, rt.DIRECTIONS[direction], info)
        + text(rt.TCA_KIND, "bpf") + attribute(rt.TCA_OPTIONS, options))


def removal(device: Device | Link, namespace: NetworkNamespace) -> Step:
    """Delete a device that may be gone already."""
    return Step(link_removal(namespace.index(device.name)),
                partial(iptext.link_removal, device), GONE)


def renaming(device: Link, name: str) -> list[Step]:
    """Before Linux 6.2 a device that is up keeps its name (dev_change_name)."""
    say = partial(str, f"ip link set {device.name} name {name}")
    return [Step(link(device.index, up=False), say), Step(link(device.index, name=name), say),
            Step(link(device.index, up=device.up), say)]


def change(wanted: Link, present: Link, namespace: NetworkNamespace) -> Step:
    """One message with what differs."""
    message = link(
        namespace.index(wanted.name), up=wanted.up if wanted.up != present.up else None,
        mtu=wanted.mtu or 0 if wanted.mtu != present.mtu else 0,
        txqueuelen=wanted.txqueuelen if wanted.txqueuelen != present.txqueuelen else None,
        mac=wanted.mac if wanted.mac != present.mac else "",
        master=namespace.index(wanted.master) if wanted.master != present.master else None)
    return Step(message, partial(iptext.link_changed, wanted, present))


def sysctls(index: int, items: Sequence[Sysctl], *, up: bool | None = None) -> list[Step]:
    """One link message for all settings of a device; proxy_delay has a message of its own.

    proxy_delay comes right after its device: the kernel looks for the entry from the newest one
    on, and asking late makes booting quadratic.
    """
    conf = {item.key: item.value for item in items if item.table == "conf"}
    steps: list[Step] = []
    if conf or up:
        steps.append(Step(link(index, up=up, conf=conf), partial(_settings, items)))
    steps += [Step(proxy_delay(index, item.value), partial(iptext.sysctl, item))
              for item in items if item.table == "neigh"]
    return steps


def new_index(namespace: NetworkNamespace, name: str, wanted: int = 0) -> int:
    """``wanted`` if it is free in ``namespace``, else the next one; remembered for ``name``.

    Both ends of a veth never get the same index: the kernel takes such a device for one without
    a partner and reports its state up to a second late (linkwatch_urgent_event).
    """
    used = namespace.indexes
    number = wanted
    if not number or number in used.values():
        number = max(_FIRST_FREE_INDEX, *used.values()) + 1
    used[name] = number
    return number


def _settings(items: Sequence[Sysctl]) -> list[str]:
    return ["ip link set up", *map(iptext.sysctl, items)]
