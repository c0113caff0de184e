"""The vocabulary of the kernel: what one network namespace should hold, as values.

States can be compared, printed as ``ip`` commands, written by rtnetlink and read back. Nothing
here knows about Calico, and nothing does I/O. Addresses and prefixes are strings in the form
that iproute2 prints (``10.22.151.0/26``, a host route without its ``/32``), because a state is
compared with, and printed next to, what ``ip`` shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Route protocols, as in iproute2's rt_protos: who put the route there, and so who may remove it.
PROTO_KERNEL = "kernel"
PROTO_BOOT = "boot"
PROTO_STATIC = "static"
PROTO_BIRD = "bird"
#: felix/dataplane/linux: DeviceRouteProtocol unless that is boot, then this number
PROTO_FELIX = "80"

#: the table of the sources whose IPIP packets the firewall accepts, as blackholes: the eBPF tunnel
#: looks there (ALLOWED_SOURCES in ipip.bpf.c)
ALLOWED_SOURCES = "4040"


@dataclass(frozen=True, slots=True)
class VethPeer:
    """The other end of a veth, created in ``namespace`` in the same kernel call.

    ``index`` 0 lets the kernel choose; ``mac`` empty means a random one.
    """

    namespace: str
    name: str
    mtu: int
    index: int = 0
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Shaping:
    """Egress shaping of a device: ``rate`` in Mbit/s (tbf), ``delay`` and ``jitter`` in ms,
    ``loss`` and ``reorder`` in percent of the packets. All but the rate are netem's.
    """

    rate: float | None = None
    delay: float | None = None
    loss: float | None = None
    jitter: float | None = None
    reorder: float | None = None

    @property
    def has_netem(self) -> bool:
        """Whether it takes a netem."""
        return bool(self.delay or self.loss or self.jitter or self.reorder)


@dataclass(frozen=True, slots=True)
class Veth:
    """A veth, from the side of the namespace that creates both ends.

    With ``up`` False the other end, which is up, has no carrier, as with its cable pulled.
    """

    name: str
    mtu: int
    peer: VethPeer
    mac: str = ""
    master: str = ""
    txqueuelen: int = 1000
    shaping: Shaping | None = None
    up: bool = True

    @property
    def identity(self) -> tuple[str, int, VethPeer, str, str, int]:
        """What a change makes the device again for; the rest is set on the one that is there."""
        return self.name, self.mtu, self.peer, self.mac, self.master, self.txqueuelen


@dataclass(frozen=True, slots=True)
class VethEnd:
    """A veth's other side, in the namespace where :class:`VethPeer` put it. Is brought up."""

    name: str
    mtu: int
    shaping: Shaping | None = None

    @property
    def identity(self) -> tuple[str, int]:
        """As that of :class:`Veth`."""
        return self.name, self.mtu


@dataclass(frozen=True, slots=True)
class Bridge:
    """A Linux bridge without spanning tree and without an address of its own."""

    name: str
    mtu: int


#: kinds of tunnel devices, as rtnetlink names them
IPIP, VXLAN = "ipip", "vxlan"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel device; ``up`` False: it exists, down. ``uplink`` carries the outer packets.

    ``kind`` is IPIP (``tunl0``, made by a tunnel back end) or VXLAN (made by the kernel's vxlan
    module once the uplink exists, without learning). Only VXLAN has the other fields: ``vni``,
    the UDP ``port``, ``local`` as the outer source address, and the device's own ``mac``.
    """

    name: str
    mtu: int
    uplink: str
    up: bool = True
    kind: str = IPIP
    vni: int = 0
    port: int = 0
    local: str = ""
    mac: str = ""

    @property
    def has_back_end(self) -> bool:
        """Whether a tunnel back end makes the device: not every kernel has ipip."""
        return self.kind == IPIP

    @property
    def identity(self) -> tuple[str, str, str, int, int, str, str]:
        """What a device keeps for life; MTU and administrative state can be changed."""
        return self.name, self.kind, self.uplink, self.vni, self.port, self.local, self.mac


Device = Veth | VethEnd | Bridge | Tunnel


@dataclass(frozen=True, slots=True)
class Address:
    """``ip address add ADDRESS dev DEVICE``; ``address`` with its prefix length."""

    device: str
    address: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent entry of ``ip neigh``: ``address`` is reached at ``mac`` on ``device``."""

    device: str
    address: str
    mac: str

    def __str__(self) -> str:
        """The line as ``ip neigh`` prints it."""
        return f"{self.address} dev {self.device} lladdr {self.mac} PERMANENT"


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """A permanent entry of a VXLAN device's forwarding database (``bridge fdb``).

    Frames to ``mac`` leave ``device`` in a packet to the outer address ``destination``.
    """

    device: str
    mac: str
    destination: str

    def __str__(self) -> str:
        """The line as ``bridge fdb`` prints it."""
        return f"{self.mac} dev {self.device} dst {self.destination} self permanent"


#: what maps an address to a MAC, or a MAC to an outer address
NeighbourEntry = Neighbour | FdbEntry


@dataclass(frozen=True, slots=True)
class NextHop:
    """One of several ways of a route; ours are all of the same weight."""

    via: str
    device: str
    weight: int = 1
    onlink: bool = False

    def __str__(self) -> str:
        """As iproute2 prints it, without tab and trailing blank."""
        via = f" via {self.via}" if self.via else ""
        return f"nexthop{via} dev {self.device} weight {self.weight}" + " onlink" * self.onlink


@dataclass(frozen=True, slots=True)
class Route:
    """A line of ``ip route``.

    ``destination`` is ``default``, a prefix, or a host address without ``/32``.
    ``kind`` is ``unicast``, ``blackhole`` or ``unreachable``; ``scope`` ``global`` or ``link``.
    ``next_hops`` are two or more equal ways, which then have what is empty in the route: ``via``,
    ``device`` and ``onlink``.
    ``mtu`` 0 means none set. ``place`` is what the kernel knows it by: destination, with table and
    metric unless main and 0.
    ``source`` is the address that the kernel notes with a device's own network. ``extra`` holds
    what else ``ip route`` would print of a route that was read: nothing wanted ever has it.
    ``line`` is what ``str()`` has given, empty before.
    """

    destination: str
    via: str = ""
    device: str = ""
    protocol: str = PROTO_BOOT
    kind: str = "unicast"
    scope: str = "global"
    onlink: bool = False
    mtu: int = 0
    next_hops: tuple[NextHop, ...] = ()
    metric: int = 0
    source: str = ""
    extra: str = ""
    table: str = "main"
    line: str = field(default="", init=False, repr=False, compare=False)
    place: str | tuple[str, str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", self.destination if (
            self.table == "main" and not self.metric) else (
                self.table, self.destination, self.metric))

    @property
    def devices(self) -> frozenset[str]:
        """The devices that the route leaves by; with any of them it ends."""
        return frozenset((self.device,) if self.device else (hop.device for hop in self.next_hops))

    def __str__(self) -> str:
        """The line as iproute2 prints it, without the trailing blank.

        Of several next hops each is a line of its own there; here they follow, as ``ip route
        replace`` takes them. Many nodes share a route, and so its line is made once.
        """
        if not self.line:
            object.__setattr__(self, "line", self._format())
        return self.line

    def _format(self) -> str:
        words = [self.destination] if self.kind == "unicast" else [self.kind, self.destination]
        if self.via:
            words += ["via", self.via]
        if self.device:
            words += ["dev", self.device]
        if self.table != "main":
            words += ["table", self.table]
        if self.protocol != PROTO_BOOT:
            words += ["proto", self.protocol]
        if self.scope != "global":
            words += ["scope", self.scope]
        if self.source:
            words += ["src", self.source]
        if self.metric:
            words += ["metric", str(self.metric)]
        if self.onlink:
            words.append("onlink")
        if self.mtu:
            words += ["mtu", str(self.mtu)]
        if self.extra:
            words.append(self.extra)
        words += map(str, self.next_hops)
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Sysctl:
    """``net/FAMILY/TABLE/DEVICE/KEY = VALUE``; without table and device ``net/FAMILY/KEY``.

    ``table`` is ``conf`` or ``neigh``; ``device`` may be ``all`` or ``default``.
    """

    key: str
    value: int
    table: str = ""
    device: str = ""
    family: str = "ipv4"

    @property
    def path(self) -> str:
        """The file below /proc/sys, which is also sysctl's name in its slash form."""
        middle = f"{self.table}/{self.device}/" if self.table else ""
        return f"net/{self.family}/{middle}{self.key}"

    @property
    def is_of_device(self) -> bool:
        """Whether it is one device's, not the whole namespace's or what new devices copy."""
        return self.device not in ("", "all", "default")


@dataclass(frozen=True, slots=True)
class Firewall:
    """Chains of iptables and IP sets that are ours; those of others beside them are left alone.

    ``chains`` are (table, chain) -> its rules as iptables-restore takes them, ``hooks`` table ->
    the rules that lead there from the kernel's chains, ``sets`` are name -> members.
    """

    chains: Mapping[tuple[str, str], tuple[str, ...]]
    hooks: Mapping[str, tuple[str, ...]]
    sets: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Namespace:
    """Everything that one network namespace should hold, each tuple in order of creation."""

    name: str
    devices: tuple[Device, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()
    firewall: Firewall | None = None

    @property
    def tunnel(self) -> Tunnel | None:
        """The device that a tunnel back end makes, None without one."""
        return next((device for device in self.devices
                     if isinstance(device, Tunnel) and device.has_back_end), None)

    @property
    def neighbour_entries(self) -> tuple[NeighbourEntry, ...]:
        """Neighbours and FDB entries."""
        return (*self.neighbours, *self.fdb)
