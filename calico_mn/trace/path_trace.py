"""The path of a probe as data: legs of hops, hops of steps, and where the packet was dropped.

    PathTrace --> Leg (forward, reply, ICMP errors) --> Hop (a namespace) --> Step

Steps are in the order in which they happened. What a capture showed (crossings, ARP, headers,
errors) and what the kernel answered when it was asked afterwards (routes) are different steps.
Frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calico_mn.calico.encapsulation import ENCAPSULATIONS, Encapsulation, of_device
from calico_mn.kernel.packets import Header, Layer
from calico_mn.kernel.route_get import Answer, Query
from calico_mn.trace.recording import Endpoint, Probe

IN, OUT = "in", "out"
FORWARD, REPLY, ERROR = "forward", "reply", "error"


@dataclass(frozen=True, slots=True)
class Crossing:
    """The packet at a device, seen by a capture.

    ``layers`` are the IPv4 headers, the outer one first, with what stood before each; ``mtu`` is
    the device's in bytes; ``time`` is in us since the packet was first seen; ``fragments`` is how
    many pieces it was in.
    """

    device: str
    direction: str
    layers: tuple[Layer, ...]
    mtu: int
    time: float
    fragments: int = 1

    @property
    def macs(self) -> tuple[str, str] | None:
        """The frame's sender and receiver, None on a device without Ethernet headers."""
        return self.layers[0].macs

    @property
    def header(self) -> Header:
        """The outermost one."""
        return self.layers[0].header

    @property
    def ttl(self) -> int:
        """The outermost header's."""
        return self.header.ttl

    @property
    def encapsulation(self) -> Encapsulation | None:
        """Whose outer header the packet has at this device, None without one."""
        return encapsulation_of(self.header) if len(self.layers) > 1 else None

    @property
    def tunnel(self) -> Encapsulation | None:
        """The encapsulation whose tunnel device this is; None for the end of a cable."""
        return of_device(self.device)


def encapsulation_of(outer: Header, port: int | None = None) -> Encapsulation | None:
    """The encapsulation that made an outer header; ``port`` is UDP's, where it has to match."""
    return next((e for e in ENCAPSULATIONS if e.match.protocol == outer.protocol
                 and (port is None or e.match.port in (None, port))), None)


@dataclass(frozen=True, slots=True)
class Routing:
    """The kernel's answer on one header, asked in the namespace right after the packet.

    ``outer`` says that the header is the outer one.
    """

    query: Query
    answer: Answer
    outer: bool = False

    @property
    def next_hop(self) -> str:
        """The address to which the device sends it."""
        return self.answer.gateway or self.query.destination


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """An outer header was added (``added``) or removed; ``inner`` has the VNI, if there is one."""

    added: bool
    outer: Header
    inner: Layer

    @property
    def encapsulation(self) -> Encapsulation | None:
        """Whose header it is."""
        return encapsulation_of(self.outer)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The MAC address to which the frame was sent, and how it was known.

    ``address`` is the next hop. ``requests`` counts ARP requests that this packet caused: 0 means
    that the entry was there (``state`` as ``ip neigh`` shows it). ``answered_by`` is the
    namespace and device that replied, ``proxy`` says that the address is not its own: proxy ARP.
    ``heard_by`` are the other hosts that received the request.
    """

    device: str
    address: str
    mac: str
    state: str
    requests: int = 0
    asker: str = ""
    answered_by: tuple[str, str] | None = None
    proxy: bool = False
    heard_by: tuple[str, ...] = ()

    @property
    def is_unresolved(self) -> bool:
        """There was no reply, or the entry shows that none came in time."""
        return self.answered_by is None and (
            self.state in ("INCOMPLETE", "FAILED") or (self.requests > 0 and not self.mac))


@dataclass(frozen=True, slots=True)
class Translation:
    """NAT: the innermost header's addresses changed inside a namespace."""

    before: Header
    after: Header

    def __str__(self) -> str:
        old, new = self.before, self.after
        return ", ".join(f"{end} {was} -> {now}" for end, was, now in (
            ("source", old.source, new.source),
            ("destination", old.destination, new.destination)) if was != now)


Step = Crossing | Routing | HeaderChange | Translation | Neighbour


def last_routing(steps: Sequence[Step]) -> Routing | None:
    """The last route lookup of some steps."""
    return next((step for step in reversed(steps) if isinstance(step, Routing)), None)


@dataclass(frozen=True, slots=True)
class Hop:
    """A stay in one namespace. ``kind`` is ``pod``, ``node``, ``switch`` or ``router``."""

    namespace: str
    kind: str
    steps: tuple[Step, ...]

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        """The devices, in order."""
        return tuple(step for step in self.steps if isinstance(step, Crossing))

    @property
    def header_changes(self) -> tuple[HeaderChange, ...]:
        """Outer headers that were added or removed here."""
        return tuple(step for step in self.steps if isinstance(step, HeaderChange))

    @property
    def tunnel(self) -> Encapsulation | None:
        """The encapsulation through whose tunnel device the packet went here."""
        return next((tunnel for tunnel in (
            *(crossing.tunnel for crossing in self.crossings),
            *(change.encapsulation for change in self.header_changes)) if tunnel), None)

    @property
    def entry(self) -> Crossing | None:
        """The device by which the packet came in; None where the packet was made here."""
        first = self.crossings[0] if self.crossings else None
        return first if first is not None and first.direction == IN else None

    @property
    def exit(self) -> Crossing | None:
        """The end of the cable by which the packet left; None where it did not leave."""
        last = next((c for c in reversed(self.crossings) if c.direction == OUT), None)
        return last if last is not None and last.tunnel is None else None


@dataclass(frozen=True, slots=True)
class Leg:
    """The path of one packet: ``forward``, ``reply``, or that of an ICMP ``error``.

    ``text`` says what the packet is. ``sender`` and ``receiver`` are addresses; ``origin`` is the
    namespace that made it. ``about`` says of an error whether it is about the ``outer`` or the
    ``inner`` header. ``copies`` are the hosts that got one from a flooding switch.
    """

    kind: str
    text: str
    sender: str
    receiver: str
    origin: str
    hops: tuple[Hop, ...]
    arrived: bool
    about: str = ""
    copies: tuple[str, ...] = ()

    @property
    def encapsulation(self) -> Encapsulation | None:
        """What the packet was inside of on any stretch; None if it never had an outer header."""
        return next((crossing.encapsulation for hop in self.hops for crossing in hop.crossings
                     if crossing.encapsulation), None)


@dataclass(frozen=True, slots=True)
class DropReason:
    """Where a packet was dropped, and why.

    ``cause`` is one of the names in :mod:`calico_mn.trace.scene`; ``device`` is the last
    one at which the packet was seen in ``namespace``; ``by`` is the route, rule or setting in
    the system's own words; ``reason`` is a sentence. ``evidence`` are observations (captures,
    counters, the kernel's answers); ``deduced`` says what is concluded from them without having
    been seen, empty if nothing is.
    """

    leg: str
    cause: str
    namespace: str
    device: str
    by: str
    reason: str
    evidence: tuple[str, ...] = ()
    deduced: str = ""


@dataclass(frozen=True, slots=True)
class PathTrace:
    """All that is known of a probe. ``reply`` is None where no reply was seen.

    ``errors`` are ICMP messages about the probe or its reply. ``round_trip`` is in us, None
    without an answer. ``tunnel`` is tunl0's back end, ``kernel`` or ``ebpf``. ``notes`` are
    sentences about what is so only because of that back end.
    """

    source: Endpoint
    destination: Endpoint
    probe: Probe
    forward: Leg
    reply: Leg | None
    errors: tuple[Leg, ...]
    drop: DropReason | None
    round_trip: float | None
    tunnel: str
    notes: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        """The reply came back."""
        return self.round_trip is not None
