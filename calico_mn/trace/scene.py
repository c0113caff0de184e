"""Where a packet was seen last, with all that is known there: what a cause is concluded from. Pure.

In go the leg that did not arrive and the recording; :mod:`.causes` asks a :class:`Scene` and makes
a :class:`Finding`, of which :mod:`.drop` makes the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from calico_mn.calico.encapsulation import of_device
from calico_mn.kernel.read import DeviceFacts
from calico_mn.kernel.route_get import Answer, Query
from calico_mn.trace.path_trace import OUT, Crossing, Hop, Leg, Neighbour, Routing, last_routing
from calico_mn.trace.recording import SWITCH, Port, Recording

# The causes, as a trace's JSON and docs/trace.md name them.
BLACKHOLE, UNREACHABLE, PROHIBIT, NO_ROUTE = "blackhole", "unreachable", "prohibit", "no-route"
RP_FILTER, MARTIAN, TTL, TOO_BIG = "rp-filter", "martian", "ttl", "too-big"
DEVICE_DOWN, NO_NEIGHBOUR, WRONG_MAC = "device-down", "no-neighbour", "wrong-mac"
NOT_FORWARDING, NOT_DECAPSULATED, NOT_ENCAPSULATED = (
    "not-forwarding", "not-decapsulated", "not-encapsulated")
FILTER, WRONG_HOST, LOST, NO_REPLY, UNKNOWN = (
    "filter", "wrong-host", "lost-on-cable", "no-reply", "unknown")
#: the kinds of route that end a packet's path -> the cause
CAUSE_OF_KIND = {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT}

#: what a frame may have above the receiving device's MTU: a VLAN tag (__is_skb_forwardable())
VLAN_BYTES = 4

#: a route lookup in a namespace, given its name
Ask = Callable[[str, Query], Answer]


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause; fields as of a DropReason. ``namespace`` is the last sighting's where empty."""

    cause: str
    by: str
    reason: str
    evidence: tuple[str, ...] = ()
    deduced: str = ""
    namespace: str = ""


class Scene:
    """The last sighting of a packet that did not arrive.

    ``crossing`` is the last device, None where no capture saw the packet; ``leaving`` says that it
    was seen to leave by it; ``routing`` is the last route lookup. ``tunnel`` is the encapsulation
    into whose device it went, where no outer packet came out, and ``inner`` the answer that led it
    there.
    """

    def __init__(self, leg: Leg, errors: Sequence[Leg], recording: Recording, ask: Ask) -> None:
        self.leg, self.errors, self.recording, self.ask = leg, errors, recording, ask
        self.hop = leg.hops[-1]
        self.namespace = self.hop.namespace
        self.facts = recording.after[self.namespace]
        self.crossing = self.hop.crossings[-1] if self.hop.crossings else None
        self.leaving = self.crossing is not None and self.crossing.direction == OUT
        self.routing = last_routing(self.hop.steps)
        inner = next((step for step in reversed(self.hop.steps)
                      if isinstance(step, Routing) and not step.outer), None)
        self.inner = inner.answer if inner else Answer()
        encapsulated = self.crossing is not None and self.crossing.encapsulation is not None
        entered = inner is not None and self.routing is not None and self.routing.outer
        self.tunnel = self.crossing.tunnel if self.crossing and self.leaving else (
            of_device(self.inner.device) if entered and not encapsulated else None)
        self.counters = recording.counter_deltas(self.namespace)

    @property
    def answer(self) -> Answer:
        """The last route lookup's answer."""
        return self.routing.answer if self.routing else Answer()

    @property
    def crossed(self) -> Crossing:
        """The last device, where one is known."""
        assert self.crossing is not None
        return self.crossing

    def mtu(self, answer: Answer) -> int:
        """The MTU that a route's packets have to fit, 0 if it is not known."""
        device = self.facts.device(answer.device)
        return answer.mtu or (device.mtu if device else 0)

    def far_end(self, namespace: str, device: str) -> tuple[str, str, DeviceFacts | None]:
        """The other end of a cable: namespace, device, and its facts where they are known."""
        port = self.recording.cables.get((namespace, device), ("", ""))
        return *port, self.recording.device(*port)

    def sender(self) -> tuple[Hop, Neighbour | None]:
        """The host that made the last frame, and how it knew the MAC address."""
        hop = next((hop for hop in reversed(self.leg.hops) if hop.kind != SWITCH), self.hop)
        return hop, next((step for step in reversed(hop.steps) if isinstance(step, Neighbour)),
                         None)

    def holders(self, mac: str) -> Iterator[Port]:
        """The hosts' devices that have a MAC address."""
        return ((name, device.name) for name, facts in self.recording.after.items()
                if self.recording.kinds[name] != SWITCH
                for device in facts.devices if device.mac == mac)

    def owners(self, address: str) -> list[Port]:
        """The devices that have an IP address."""
        return [(name, device) for name, facts in self.recording.after.items()
                for device, own in facts.addresses if own.partition("/")[0] == address]

    def too_long_for(self, device: DeviceFacts | None) -> bool:
        """Whether the last frame is refused by a device that is to receive it or send it on."""
        return device is not None and self.crossed.fragments == 1 and (
            0 < device.mtu + VLAN_BYTES < self.crossed.header.length)
