"""Where a packet was seen last, all that is known there, and causes between namespaces. Pure.

In go the leg that did not arrive and the recording; a :data:`Check` asks a :class:`Scene` and makes
a :class:`Finding`, of which :mod:`.conclusions` makes the reason. Here are the checks on switches,
cables, MAC addresses and unanswered ARP requests (:func:`silence`); :mod:`.causes` has the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from calico_mn.calico.encapsulation import of_device
from calico_mn.kernel.read import DeviceFacts
from calico_mn.kernel.route_get import Answer, Query
from calico_mn.text import join
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


#: gives a finding, or None where its evidence is not there
Check = Callable[[Scene], Finding | None]


# --- causes between namespaces

def _wrong_mac(s: Scene) -> Finding | None:
    """The frame's address is not the next hop's: by the neighbour entry of its sender."""
    macs = s.crossed.macs
    hop, neighbour = s.sender()
    if macs is None or macs[1] == "ff:ff:ff:ff:ff:ff":
        return None
    out = s.hop.exit if s.hop is hop else hop.exit
    far, device, end = s.far_end(hop.namespace, out.device) if out else ("", "", None)
    holders = list(s.holders(macs[1]))
    if (end is not None and end.mac == macs[1]) or (
            s.recording.kinds.get(far) == SWITCH and any(
                s.far_end(*port)[0] == far for port in holders)):
        return None
    entry = "its neighbour entry"
    if neighbour is not None:
        entry = (f"{neighbour.address} dev {neighbour.device} lladdr {macs[1]}"
                 f" {neighbour.state}").rstrip()
    right = next(iter(s.owners(neighbour.address if neighbour else "")), (
        far, device) if end and s.recording.kinds[far] != SWITCH else None)
    mac = s.recording.device(*right) if right else None
    whose = (f"that is {join([f'{at} of {name}' for name, at in holders])}, elsewhere" if holders
             else "no device has this MAC address")
    return Finding(
        WRONG_MAC, entry, f"{hop.namespace} sent the frame to {macs[1]}, as '{entry}' says;"
        f" {whose}" + (f", and {right[1]} of {right[0]} has {mac.mac}" if right and mac else ""),
        namespace=hop.namespace)


def _port_down(s: Scene) -> Finding | None:
    """The switch's port to the frame's receiver, or the receiver, is down."""
    for holder in s.holders(s.crossed.macs[1] if s.crossed.macs else ""):
        name, port, end = s.far_end(*holder)
        for at, device in ((s.namespace, end), (holder[0], s.recording.device(*holder))):
            if name == s.namespace and device is not None and not device.up:
                return Finding(DEVICE_DOWN, f"{device.name} of {at}",
                               f"{device.name} of {at} is down: the switch cannot send by {port}")
    return None


def _port_too_small(s: Scene) -> Finding | None:
    """The switch's port to the frame's receiver has a smaller MTU."""
    for holder in s.holders(s.crossed.macs[1] if s.crossed.macs else ""):
        name, port, end = s.far_end(*holder)
        if name == s.namespace and end is not None and s.too_long_for(end):
            return _too_long(s, name, port, end.mtu, "to send it on")
    return None


def _too_long(s: Scene, name: str, device: str, mtu: int, why: str) -> Finding:
    length = s.crossed.header.length
    delta = s.recording.counter_deltas(name).get(f"{device}.rx_dropped")
    return Finding(TOO_BIG, f"MTU {mtu} of {device} of {name}",
                   f"{length} bytes reached {device} of {name}, whose MTU {mtu} is too small {why}:"
                   " Ethernet tells the sender nothing", (
                       f"counter {device}.rx_dropped of {name} rose by {delta}",) if delta else ())


def _not_switched(s: Scene) -> Finding:
    """No evidence tells why the switch did not send it on."""
    return Finding(UNKNOWN, "", f"the switch {s.namespace} received the frame and sent it out of"
                   " no port that leads on", deduced="its forwarding table or a port's state")


def _far_end_down(s: Scene) -> Finding | None:
    """The other end of the cable is down, or not known."""
    name, device, end = s.far_end(s.namespace, s.crossed.device)
    if not name:
        return Finding(LOST, s.crossed.device, f"it left {s.namespace} by {s.crossed.device},"
                       " and no device is known at the other end")
    if end is None or end.up:
        return None
    return Finding(DEVICE_DOWN, f"{device} of {name}", f"{device} of {name} is down")


def _too_long_for_cable(s: Scene) -> Finding | None:
    """The device at the other end has a smaller MTU."""
    name, device, end = s.far_end(s.namespace, s.crossed.device)
    return (_too_long(s, name, device, end.mtu, "to receive it")
            if end is not None and s.too_long_for(end) else None)


def _other_pod(s: Scene) -> Finding | None:
    """It went to a pod that is neither the source nor the destination."""
    name, _device, _end = s.far_end(s.namespace, s.crossed.device)
    if not name or name in s.recording.kinds:
        return None
    return Finding(WRONG_HOST, s.answer.line, f"{s.namespace} sent it to {name}, by"
                   f" '{s.answer.line}', and not to {s.recording.destination.name or 'its host'}")


def _lost(s: Scene) -> Finding:
    """It left, and did not come in: the receiver's counter tells of a full queue."""
    name, device, _end = s.far_end(s.namespace, s.crossed.device)
    if delta := s.recording.counter_deltas(name).get(counter := f"{device}.rx_dropped"):
        return Finding(
            LOST, "net.core.netdev_max_backlog", f"{device} of {name} dropped it at reception:"
            " the queue of its CPU was full, as on a machine with much other traffic",
            (f"counter {counter} of {name} rose by {delta}",))
    return Finding(
        LOST, f"cable {s.namespace}:{s.crossed.device} - {name}:{device}",
        f"it left {s.namespace} by {s.crossed.device} and never came in by {device} of {name}",
        deduced="lost on the cable, or dropped before the capture")


#: of a frame that a switch received and did not send on
IN_A_SWITCH: tuple[Check, ...] = (_wrong_mac, _port_down, _port_too_small, _not_switched)
#: of a packet that left by a cable and did not come in at its other end
ON_A_CABLE: tuple[Check, ...] = (_other_pod, _far_end_down, _too_long_for_cable, _wrong_mac, _lost)


# --- ARP without an answer

def silence(s: Scene, neighbour: Neighbour) -> tuple[str, str]:
    """Why no host answers an ARP request: what arp_process() in net/ipv4/arp.c asks for.

    Returns a clause that says why, and the setting, rule or route that decides, "" if none does.
    """
    address, device = neighbour.address, neighbour.device
    far, _port, end = s.far_end(s.namespace, device)
    is_switch = s.recording.kinds.get(far) == SWITCH
    mine = [(name, at) for name, at in s.owners(address)
            if (s.far_end(name, at)[0] == far if is_switch else name == far)]
    if mine:
        name, at = mine[0]
        own = s.recording.device(name, at)
        return _owner(s, neighbour, name, own) if own else (f"{name} has no {at}", "")
    if end is not None and not is_switch:
        return _proxy(s, address, far, end)
    elsewhere = s.owners(address)
    if elsewhere:
        name, at = elsewhere[0]
        return f"{name} has it, on {at}, which is not on the same link as {device}", ""
    return "no host has this address", ""


def _owner(s: Scene, neighbour: Neighbour, name: str, device: DeviceFacts) -> tuple[str, str]:
    """Why the host that has the address is silent."""
    switch, port, end = s.far_end(name, device.name)
    at = f"{device.name} of {name}"
    for place, item in ((at, device), (f"{port} of {switch}", end)):
        if item is not None and not item.up:
            return f"{place} is down", f"{place} is down"
    if not device.arp:
        return f"ARP is off on {at}", f"arp off on {at}"
    ignore = s.recording.after[name].effective("arp_ignore", device.name)
    if ignore:
        setting = f"arp_ignore={ignore} on {device.name}"
        return f"{name} has it, but {setting} keeps it silent", setting
    lookup = Query(neighbour.address, neighbour.asker, device.name)
    answer = s.ask(name, lookup)
    if neighbour.asker and answer.error:
        return (f"{name} has it, but ignores requests from {neighbour.asker}: '{lookup}' answers"
                f" {answer.error}", str(lookup))
    heard = ("heard the request, which a filter of ARP may have dropped"
             if name in neighbour.heard_by else "did not hear the request")
    return f"{name} has it on {device.name}, and {heard}", ""


def _proxy(s: Scene, address: str, name: str, device: DeviceFacts) -> tuple[str, str]:
    """Why the host at the other end does not answer for an address that is not its own."""
    for setting, value in (("proxy_arp", device.proxy_arp), ("forwarding", device.forwarding)):
        if not value:
            words = (s.recording.after[name].no_forwarding(device.name) if setting == "forwarding"
                     else f"net.ipv4.conf.{device.name}.{setting}=0")
            return (f"{name} answers for an address that is not its own only with proxy_arp and"
                    f" forwarding, and {setting} is 0 on {device.name}", words)
    query = Query(address)
    answer = s.ask(name, query)
    proxy = f"proxy ARP on {device.name} of {name} answers only for addresses to which {name} has"
    if not answer.line:
        return f"{proxy} a route, and it has none to {address}", f"'{query}' in {name}: no route"
    if answer.device == device.name:
        return (f"{proxy} a route by another device, and it has '{answer.line}'", answer.line)
    return f"{name} has '{answer.line}', and should answer", ""
