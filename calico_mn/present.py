"""What a namespace holds, as it is read back, and what a wanted state looks like when it is read.

A :class:`Present` comes from the kernel; it has devices, queueing disciplines and tc programs in
the form in which the kernel tells them. The functions at the end give a wanted
:class:`~calico_mn.state.Namespace` the same form, so that the two can be compared::

    Namespace --expected_link, expected_qdiscs, ...--> items <--compare--> items <-- Present

Values only, each with the line that ``ip`` or ``tc`` prints for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface
from typing import TypeVar

from calico_mn.rules import RuleItem
from calico_mn.state import (
    PROTO_KERNEL,
    VXLAN,
    Address,
    Bridge,
    Device,
    FdbEntry,
    Namespace,
    Neighbour,
    NextHop,
    Route,
    Sysctl,
    Tunnel,
    Veth,
)

#: a tunnel device's queue length, by every way to make one
TUNNEL_TXQUEUELEN = 1000


@dataclass(frozen=True, slots=True)
class Link:
    """A device in the words of ``ip link``; None and an empty ``mac`` are not compared.

    ``kind`` is rtnetlink's (``veth``, ``bridge``, ``tun``, ``ipip``, ``vxlan``). ``index`` tells a
    renamed device from a new one and is no part of the comparison. ``detail`` is what a VXLAN
    device cannot change: VNI, addresses and port.
    """

    name: str
    kind: str
    mtu: int | None = None
    up: bool = True
    txqueuelen: int | None = None
    mac: str = ""
    master: str = ""
    index: int = field(default=0, compare=False)
    detail: str = ""

    def is_like(self, other: Link) -> bool:
        """Whether one can become the other, or the device must be made again."""
        return (self.kind, self.detail) == (other.kind, other.detail)

    def __str__(self) -> str:
        words = ["link", self.name, "type", self.kind or "other"]
        if self.detail:
            words.append(self.detail)
        if self.mtu is not None:
            words += ["mtu", str(self.mtu)]
        if self.txqueuelen is not None:
            words += ["txqueuelen", str(self.txqueuelen)]
        if self.mac:
            words += ["address", self.mac]
        if self.master:
            words += ["master", self.master]
        return " ".join([*words, "up" if self.up else "down"])


@dataclass(frozen=True, slots=True)
class Qdisc:
    """One part of a device's shaping: ``tbf`` with Mbit/s or ``netem`` with ms."""

    device: str
    kind: str
    value: float

    def __str__(self) -> str:
        name, unit = ("rate", "Mbit") if self.kind == "tbf" else ("delay", "ms")
        return f"qdisc {self.kind} dev {self.device} {name} {self.value:.12g}{unit}"


@dataclass(frozen=True, slots=True)
class Program:
    """A tc program that the tunnel needs; ``direction`` is ``ingress`` or ``egress``."""

    device: str
    direction: str
    name: str

    def __str__(self) -> str:
        return f"filter dev {self.device} {self.direction} bpf {self.name} direct-action"


_OnDevice = TypeVar("_OnDevice", Address, FdbEntry, Neighbour, NextHop, Program, Qdisc, Route,
                    Sysctl)


@dataclass(frozen=True, slots=True)
class Present:
    """What one namespace holds. ``failure``: why it could not be read; then all else is empty.

    ``sysctls`` maps the paths that were asked for to their values; what this kernel does not
    have is missing there. ``routes`` are those of the main table, and of ALLOWED_SOURCES;
    ``neighbours`` and ``fdb`` the permanent ones, read only where the wanted state has a VXLAN
    device, and ``rules`` only where it has a firewall.
    """

    name: str
    links: tuple[Link, ...] = ()
    qdiscs: tuple[Qdisc, ...] = ()
    addresses: tuple[Address, ...] = ()
    sysctls: Mapping[str, int] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    programs: frozenset[Program] = frozenset()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()
    rules: tuple[RuleItem, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Owned:
    """What belongs to us in a namespace besides what is wanted: found there, it is a stray.

    Devices whose names begin with one of ``device_prefixes``, and routes over them; routes over
    ``devices``, and addresses, permanent neighbours and FDB entries on these; routes of
    ``protocols`` and in ``tables``; blackholes inside ``pools``.
    """

    device_prefixes: tuple[str, ...] = ()
    devices: frozenset[str] = frozenset()
    protocols: frozenset[str] = frozenset()
    pools: tuple[str, ...] = ()
    tables: frozenset[str] = frozenset()


def on_devices(items: Iterable[_OnDevice], name: Callable[[str], str]) -> tuple[_OnDevice, ...]:
    """The items on the devices that ``name`` gives for theirs."""
    return tuple(replace(item, device=name(item.device), next_hops=on_devices(item.next_hops, name))
                 if isinstance(item, Route) else replace(item, device=name(item.device))
                 for item in items)


# --- what a state asks for, as items

def vxlan_detail(vni: int, local: str, uplink: str, port: int, learning: bool = False) -> str:
    """What ``ip -d link`` prints of a VXLAN device, less what is always the same."""
    return (f"id {vni} local {local or 'any'} dev {uplink or 'none'} dstport {port}"
            f"{'' if learning else ' nolearning'}")


def expected_link(device: Device, tunnel_kind: str = "") -> Link:
    """The device as it is read when all is well.

    ``tunnel_kind`` is the kind of the device that a tunnel back end makes, empty for the kernel's.
    """
    if isinstance(device, Veth):
        return Link(device.name, "veth", device.mtu, device.up, device.txqueuelen, device.mac,
                    device.master)
    if isinstance(device, Bridge):
        return Link(device.name, "bridge", device.mtu)
    if isinstance(device, Tunnel) and device.kind == VXLAN:
        return Link(device.name, VXLAN, device.mtu, device.up, TUNNEL_TXQUEUELEN, device.mac,
                    detail=vxlan_detail(device.vni, device.local, device.uplink, device.port))
    if isinstance(device, Tunnel):
        return Link(device.name, tunnel_kind or device.kind, device.mtu, device.up,
                    TUNNEL_TXQUEUELEN)
    return Link(device.name, "veth", device.mtu)


def expected_qdiscs(device: Device) -> tuple[Qdisc, ...]:
    """A device's shaping, in the kernel's units: whole bytes a second, whole nanoseconds."""
    shaping = None if isinstance(device, (Bridge, Tunnel)) else device.shaping
    expected = []
    if shaping and shaping.rate:
        expected.append(Qdisc(device.name, "tbf", round(shaping.rate * 125_000) / 125_000))
    if shaping and shaping.has_netem:
        expected.append(Qdisc(device.name, "netem", int((shaping.delay or 0) * 1e6) / 1e6))
    return tuple(expected)


def expected_sysctls(state: Namespace) -> tuple[Sysctl, ...]:
    """What a state says, and what follows for its devices, which copy it when they are made.

    ``ip_forward`` sets ``forwarding`` of every device; ``default`` is every new device's, but
    not tunl0's: the kernel makes it with the namespace, before ``default`` can be set.
    """
    named = {item.path for item in state.sysctls}
    derived = []
    for item in state.sysctls:
        if item.family != "ipv4":
            continue
        key = "forwarding" if item.key == "ip_forward" else item.key
        if not ((item.key == "ip_forward" and not item.table)
                or (item.device == "default" and key == "rp_filter")):
            continue
        derived += [copy for device in state.devices
                    if not (isinstance(device, Tunnel) and device.has_back_end
                            and key == "rp_filter")
                    and (copy := Sysctl(key, item.value, "conf", device.name)).path not in named]
    return (*state.sysctls, *derived)


def connected_route(address: Address) -> Route | None:
    """The route to a device's own network, which the kernel makes with the address."""
    host, _, length = address.address.partition("/")
    if length == "32":
        return None
    network = IPv4Interface(address.address).network
    return Route(str(network), device=address.device, protocol=PROTO_KERNEL, scope="link",
                 source=host)
