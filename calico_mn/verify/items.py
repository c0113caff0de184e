"""What can differ: devices, queueing disciplines, addresses, sysctls, routes, tc programs.

Values only, each with the line that ``ip``, ``tc`` or ``sysctl`` would have for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from calico_mn.state import (
    PROTO_KERNEL,
    Address,
    Bridge,
    Device,
    Namespace,
    Route,
    Sysctl,
    Tunnel,
    Veth,
)

#: tunl0's queue length, whichever back end makes it
TUNNEL_TXQUEUELEN = 1000


@dataclass(frozen=True, slots=True)
class Link:
    """A device in the words of ``ip link``; None and an empty ``mac``: nobody cares.

    ``kind`` is rtnetlink's (``veth``, ``bridge``, ``tun``, ``ipip``). ``index`` tells a renamed
    device from a new one and is no part of the comparison.
    """

    name: str
    kind: str
    mtu: int | None = None
    up: bool = True
    txqueuelen: int | None = None
    mac: str = ""
    master: str = ""
    index: int = field(default=0, compare=False)

    def __str__(self) -> str:
        words = ["link", self.name, "type", self.kind or "other"]
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


Item = Link | Qdisc | Address | Sysctl | Route | Program


def line(item: Item) -> str:
    """An item as the tool that shows it would print it."""
    if isinstance(item, Address):
        return f"inet {item.address} dev {item.device}"
    if isinstance(item, Sysctl):
        return f"{item.path} = {item.value}"
    return str(item)


@dataclass(frozen=True, slots=True)
class Present:
    """What one namespace holds. ``failure``: why it could not be read; then all else is empty.

    ``sysctls`` maps the paths that were asked for to their values; what this kernel does not
    have is missing there. ``routes`` are those of the main table.
    """

    name: str
    links: tuple[Link, ...] = ()
    qdiscs: tuple[Qdisc, ...] = ()
    addresses: tuple[Address, ...] = ()
    sysctls: Mapping[str, int] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    programs: frozenset[Program] = frozenset()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Owned:
    """What belongs to us in a namespace besides what is wanted: found there, it is a stray.

    Devices whose names begin with one of ``device_prefixes``, and routes over them; routes over
    ``devices``, and addresses on these; routes of ``protocols``; blackholes inside ``pools``.
    """

    device_prefixes: tuple[str, ...] = ()
    devices: frozenset[str] = frozenset()
    protocols: frozenset[str] = frozenset()
    pools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as wanted: ``wanted`` alone is missing, ``present`` alone a stray.

    ``failure`` says why a namespace could not be read at all.
    """

    namespace: str
    wanted: Item | None = None
    present: Item | None = None
    failure: str = ""

    @property
    def kind(self) -> str:
        """``missing``, ``changed``, ``stray`` or ``unreadable``."""
        if self.failure:
            return "unreadable"
        if self.wanted is None:
            return "stray"
        return "missing" if self.present is None else "changed"

    @property
    def subject(self) -> str:
        """``device``, ``qdisc``, ``address``, ``sysctl``, ``route``, ``program``, ``namespace``."""
        item = self.wanted or self.present
        return _SUBJECTS[type(item)] if item is not None else "namespace"

    @property
    def clause(self) -> str:
        """For a sentence: ``link eth0 type veth mtu 1500 up is missing``."""
        if self.failure:
            return self.failure
        if self.wanted is None or self.present is None:
            what = "was added" if self.wanted is None else "is missing"
            item = self.present or self.wanted
            assert item is not None
            return f"{line(item)} {what}"
        return f"{line(self.wanted)} is now {line(self.present)}"

    @property
    def lines(self) -> tuple[str, ...]:
        """``- `` what should be there, ``+ `` what is there instead."""
        if self.failure:
            return (f"! {self.failure}",)
        found = [f"- {line(self.wanted)}"] if self.wanted is not None else []
        return (*found, f"+ {line(self.present)}") if self.present is not None else tuple(found)


_SUBJECTS: Mapping[type, str] = {Link: "device", Qdisc: "qdisc", Address: "address",
                                 Sysctl: "sysctl", Route: "route", Program: "program"}


def diff(differences: tuple[Difference, ...]) -> list[str]:
    """All lines, under the name of the namespace that they are about."""
    found: list[str] = []
    before = ""
    for item in differences:
        if item.namespace != before:
            found.append(f"{item.namespace}:")
            before = item.namespace
        found += (f"  {text}" for text in item.lines)
    return found


# --- what a state asks for, as items

def link(device: Device, tunnel_kind: str) -> Link:
    """The device as it should be seen; ``tunnel_kind`` is what kind of device tunl0 is."""
    if isinstance(device, Veth):
        return Link(device.name, "veth", device.mtu, True, device.txqueuelen, device.mac,
                    device.master)
    if isinstance(device, Bridge):
        return Link(device.name, "bridge", device.mtu)
    if isinstance(device, Tunnel):
        return Link(device.name, tunnel_kind, device.mtu, device.up, TUNNEL_TXQUEUELEN)
    return Link(device.name, "veth", device.mtu)


def qdiscs(device: Device) -> tuple[Qdisc, ...]:
    """A device's shaping, in the kernel's units: whole bytes a second, whole nanoseconds."""
    shaping = None if isinstance(device, (Bridge, Tunnel)) else device.shaping
    found = []
    if shaping and shaping.rate:
        found.append(Qdisc(device.name, "tbf", round(shaping.rate * 125_000) / 125_000))
    if shaping and shaping.delay:
        found.append(Qdisc(device.name, "netem", int(shaping.delay * 1e6) / 1e6))
    return tuple(found)


def sysctls(state: Namespace) -> tuple[Sysctl, ...]:
    """What a state says, and what follows for its devices, which copy it when they are made.

    ``ip_forward`` sets ``forwarding`` of every device; ``default`` is every new device's, but
    not tunl0's: the kernel makes it before anybody can say anything about the namespace.
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
                    if not (isinstance(device, Tunnel) and key == "rp_filter")
                    and (copy := Sysctl(key, item.value, "conf", device.name)).path not in named]
    return (*state.sysctls, *derived)


def connected(address: Address) -> Route | None:
    """The route to a device's own network, which the kernel makes with the address."""
    host, _, length = address.address.partition("/")
    if int(length) == 32:
        return None
    mask = (0xFFFFFFFF << (32 - int(length))) & 0xFFFFFFFF
    number = 0
    for octet in host.split("."):
        number = number << 8 | int(octet)
    number &= mask
    network = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    return Route(f"{network}/{length}", device=address.device, protocol=PROTO_KERNEL, scope="link",
                 source=host)
