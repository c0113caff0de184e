"""What a journey is: steps in namespaces, on the way there and back, and where it ended.

Frozen dataclasses, in the order in which things happened. What a capture showed (crossings, ARP,
headers, errors) and what the kernel answered when asked afterwards (routes) are different steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn.kernel.lookup import Answer, Query
from calico_mn.kernel.packets import Header
from calico_mn.trace.recording import Endpoint, Probe

IN, OUT = "in", "out"

THERE, BACK, ERROR = "there", "back", "error"


@dataclass(frozen=True, slots=True)
class Crossing:
    """The packet at a device, seen by a capture.

    ``headers`` are the IPv4 headers, the outer one first; ``macs`` sender and receiver, None on
    tunl0; ``mtu`` the device's in bytes; ``time`` in us since the packet was first seen;
    ``fragments`` how many pieces it was in.
    """

    device: str
    direction: str
    headers: tuple[Header, ...]
    macs: tuple[str, str] | None
    mtu: int
    time: float
    fragments: int = 1

    @property
    def ttl(self) -> int:
        """The outermost header's."""
        return self.headers[0].ttl


@dataclass(frozen=True, slots=True)
class Routing:
    """The kernel's answer on one header, asked in the namespace right after the packet.

    ``outer`` tells that the header is IPIP's.
    """

    query: Query
    answer: Answer
    outer: bool = False


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """An outer header was put on (``on``) or taken off."""

    on: bool
    outer: Header
    inner: Header


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Whose MAC address the frame was sent to, and how it was known.

    ``address`` is the next hop. ``asked`` counts ARP requests that this packet caused: 0 means
    that the entry was there (``state`` as ``ip neigh`` shows it). ``answered_by`` is the
    namespace and device that replied, ``proxy`` that the address is not its own: proxy ARP.
    ``heard_by`` are the others who got the question.
    """

    device: str
    address: str
    mac: str
    state: str
    asked: int = 0
    asker: str = ""
    answered_by: tuple[str, str] | None = None
    proxy: bool = False
    heard_by: tuple[str, ...] = ()


Step = Crossing | Routing | Encapsulation | Neighbour


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
    def encapsulations(self) -> tuple[Encapsulation, ...]:
        """Outer headers put on or taken off here."""
        return tuple(step for step in self.steps if isinstance(step, Encapsulation))

    @property
    def routings(self) -> tuple[Routing, ...]:
        """The routes, in order."""
        return tuple(step for step in self.steps if isinstance(step, Routing))


@dataclass(frozen=True, slots=True)
class Death:
    """Where a packet ended and why.

    ``cause`` is one of the names in :mod:`calico_mn.trace.drop_reasons`; ``place`` the namespace,
    ``device`` the last one at which the packet was seen there; ``by`` the route, rule or setting
    in the system's own words; ``reason`` a sentence. ``evidence`` are observations (captures,
    counters, the kernel's answers); ``deduced`` says what is concluded from them without having
    been seen, empty if nothing is.
    """

    leg: str
    cause: str
    place: str
    device: str
    by: str
    reason: str
    evidence: tuple[str, ...] = ()
    deduced: str = ""


@dataclass(frozen=True, slots=True)
class Leg:
    """A packet's way: ``there``, ``back``, or that of an ICMP ``error``.

    ``text`` says what the packet is. ``sender`` and ``receiver`` are addresses; ``origin`` is the
    namespace that made it. ``about`` tells of an error whether it is about the ``outer`` or the
    ``inner`` header.
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
    def encapsulated(self) -> bool:
        """Whether it was inside IPIP on any stretch."""
        return any(len(crossing.headers) > 1 for hop in self.hops for crossing in hop.crossings)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces on the way."""
        return tuple(hop.namespace for hop in self.hops)


@dataclass(frozen=True, slots=True)
class Journey:
    """A probe's whole story. ``back`` is None where no reply was seen.

    ``errors`` are ICMP messages about the probe or its reply. ``round_trip`` in us, None without
    an answer. ``tunnel`` is the back end, ``kernel`` or ``ebpf``.
    """

    source: Endpoint
    destination: Endpoint
    probe: Probe
    there: Leg
    back: Leg | None
    errors: tuple[Leg, ...]
    death: Death | None
    round_trip: float | None
    tunnel: str
    waited: float

    @property
    def answered(self) -> bool:
        """The reply came back."""
        return self.round_trip is not None
