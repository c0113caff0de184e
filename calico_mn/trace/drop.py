"""Where a packet was dropped, and why: from its last sighting and from evidence. Pure.

What counts as evidence: captures, the kernel's answer to a route lookup with the packet's own
addresses and device, the namespace's counters before and after, and ICMP errors. A cause that
follows from none of them is marked as deduced, or unknown.

The last sighting decides which causes are possible; they are tried in the kernel's own order::

    a rule counted a second packet   -> filter
    in a switch, or on a cable       -> device-down, wrong-mac, lost-on-cable, unknown
    send() failed                    -> too-big, or as below
    a route that ends the path       -> no-route, blackhole, rp-filter, martian, not-forwarding ...
    a local route                    -> not-decapsulated, no-reply
    a route to the next hop          -> ttl, too-big, device-down, no-neighbour, not-encapsulated
    none of these                    -> no-reply, unknown
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from calico_mn.kernel.route_get import Answer, Query
from calico_mn.trace.path_trace import (
    OUT,
    REPLY,
    Crossing,
    DropReason,
    Leg,
    Neighbour,
    Routing,
    last_routing,
)
from calico_mn.trace.recording import SWITCH, Recording

# The causes, as a trace's JSON and docs/trace.md name them.
BLACKHOLE, UNREACHABLE, PROHIBIT, NO_ROUTE = "blackhole", "unreachable", "prohibit", "no-route"
RP_FILTER, MARTIAN, TTL, TOO_BIG = "rp-filter", "martian", "ttl", "too-big"
DEVICE_DOWN, NO_NEIGHBOUR, WRONG_MAC = "device-down", "no-neighbour", "wrong-mac"
NOT_FORWARDING, NOT_DECAPSULATED, NOT_ENCAPSULATED = (
    "not-forwarding", "not-decapsulated", "not-encapsulated")
FILTER, LOST, NO_REPLY, UNKNOWN = "filter", "lost-on-cable", "no-reply", "unknown"

#: the kinds of route that end a packet's path -> the cause
CAUSE_OF_KIND = {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT}
#: the errno of a route lookup -> the cause; EXDEV is the reverse path filter's up to Linux 6.12
_CAUSE_OF_ERROR = {"ENETUNREACH": NO_ROUTE, "EXDEV": RP_FILTER, "EINVAL": MARTIAN,
                   "EHOSTUNREACH": UNREACHABLE, "EACCES": PROHIBIT}

#: a route lookup in a namespace, given its name
Ask = Callable[[str, Query], Answer]


def drop_reason(leg: Leg, errors: Sequence[Leg], recording: Recording, ask: Ask) -> DropReason:
    """Why ``leg`` did not arrive. ``ask`` gives a namespace's answer to a route lookup."""
    return _Diagnosis(leg, errors, recording, ask).reason()


class _Diagnosis:
    def __init__(self, leg: Leg, errors: Sequence[Leg], recording: Recording, ask: Ask) -> None:
        self.leg, self.errors, self.recording, self.ask = leg, errors, recording, ask
        self.hop = leg.hops[-1]
        self.namespace = self.hop.namespace
        self.facts = recording.after[self.namespace]
        self.crossing = self.hop.crossings[-1] if self.hop.crossings else None
        self.leaving = self.crossing is not None and self.crossing.direction == OUT
        self.routing = last_routing(self.hop.steps)
        self.evidence: list[str] = []

    def reason(self) -> DropReason:
        self.evidence.append(self._last_sighting())
        crossing, routing = self.crossing, self.routing
        if self.recording.filters:
            return self._filtered()
        if self.hop.kind == SWITCH and not self.leaving:
            return self._in_switch()
        if crossing is not None and self.leaving and crossing.tunnel is None:
            return self._on_cable(crossing)
        if crossing is None and self.leg.kind != REPLY and self.recording.refused:
            return self._refused()
        assert routing is not None
        if routing.answer.error or routing.answer.kind in CAUSE_OF_KIND:
            return self._by_route(routing)
        if routing.answer.kind == "local":
            return self._delivered()
        return self._forwarded(routing.answer)

    def _last_sighting(self) -> str:
        if self.crossing is not None:
            verb = "leave by" if self.leaving else "come in by"
            return (f"captures saw it {verb} {self.crossing.device} of {self.namespace}, and at no"
                    " device after that")
        if self.leg.kind == REPLY and self.facts.owns(self.leg.sender):
            return f"captures saw the request arrive at {self.namespace}, and no answer leave"
        return "no capture saw it on any device"

    def _drop(self, cause: str, by: str, reason: str, deduced: str = "") -> DropReason:
        """The result, with the evidence that every cause can have: ICMP errors and counters."""
        evidence = list(self.evidence)
        evidence += [f"{error.text}, sent by {error.sender} ({error.origin})"
                     for error in self.errors if error.origin == self.namespace]
        evidence += [f"counter {name} of {self.namespace} rose by {delta}" for name, delta
                     in self.recording.counter_deltas(self.namespace).items()]
        return DropReason(self.leg.kind, cause, self.namespace,
                          self.crossing.device if self.crossing else "", by, reason,
                          tuple(evidence), deduced)

    def _filtered(self) -> DropReason:
        """A rule of the packet filter that counted a second packet is the proof."""
        rules = self.recording.filters
        self.evidence += [f"'{rule}' counted {packets} when the packet was sent a second time"
                          for rule, packets in rules.items()]
        rule = next(iter(rules))
        return self._drop(FILTER, rule,
                          f"a rule of {self.namespace}'s packet filter drops it: '{rule}'")

    # --- between namespaces, and in the source's own kernel

    def _in_switch(self) -> DropReason:
        return self._drop(UNKNOWN, "", f"the switch {self.namespace} received the frame"
                          " and sent it out of no port that leads on",
                          "no port that leads to the frame's MAC address was up")

    def _on_cable(self, last: Crossing) -> DropReason:
        far = self.recording.cables.get((self.namespace, last.device))
        if far is None:
            return self._drop(LOST, last.device, f"it left {self.namespace} by"
                              f" {last.device}, and no device is known at the other end")
        name, device = far
        end = self.recording.device(name, device)
        if end is not None and not end.up:
            return self._drop(DEVICE_DOWN, f"{device} of {name}",
                              f"{device} of {name} is down")
        if name in self.leg.copies and last.macs is not None:
            return self._drop(
                WRONG_MAC, f"frame to {last.macs[1]}", f"it reached {name}, but with a MAC"
                f" address ({last.macs[1]}) that is not {device}'s ({end.mac if end else '?'})")
        length = last.header.length
        if 0 < last.mtu < length and last.fragments == 1:
            # As tunl0 by eBPF does where its MTU is too large; is_skb_forwardable().
            return self._drop(
                TOO_BIG, f"MTU {last.mtu} of {last.device}",
                f"{length} bytes left {self.namespace} by {last.device}, more than its MTU"
                f" {last.mtu}", f"{device} of {name} refused them")
        return self._drop(
            LOST, f"cable {self.namespace}:{last.device} - {name}:{device}",
            f"it left {self.namespace} by {last.device} and never came in by {device} of {name}",
            "lost on the cable, or dropped before the capture")

    def _refused(self) -> DropReason:
        """send() failed: the source's own kernel had the reason."""
        error = self.recording.refused
        self.evidence.append(f"send() in {self.namespace} failed with {error}")
        answer = self.routing.answer if self.routing else Answer()
        if error == "EMSGSIZE":
            mtu = self._mtu(answer)
            by = (f"path MTU {mtu}, learned from an ICMP error" if answer.learned
                  else f"MTU {mtu} of {answer.device}")
            return self._drop(TOO_BIG, by, f"{self.recording.probe.size} bytes with DF do"
                              f" not fit {by}; {self.namespace}'s own kernel refused them")
        if self.routing is not None and (answer.error or answer.kind in CAUSE_OF_KIND):
            return self._by_route(self.routing)
        if error == "EPERM":
            return self._unexplained("its own packet filter refused it")
        return self._drop(UNKNOWN, error,
                          f"{self.namespace}'s own kernel refused to send it: {error}")

    def _mtu(self, answer: Answer) -> int:
        """The MTU that a route's packets have to fit, 0 if it is not known."""
        device = self.facts.device(answer.device)
        return answer.mtu or (device.mtu if device else 0)

    # --- a route that ends the path

    def _by_route(self, routing: Routing) -> DropReason:
        answer, query = routing.answer, routing.query
        if answer.error:
            number = vars(errno).get(answer.error)
            self.evidence.append(f"'{query}' in {self.namespace} answers:"
                                 f" {os.strerror(number) if number else answer.error}")
        cause = CAUSE_OF_KIND.get(answer.kind) or _CAUSE_OF_ERROR.get(answer.error, UNKNOWN)
        if query.device and (answer.error == "EXDEV" or cause == MARTIAN):
            return self._invalid_source(query, answer)
        device = self.facts.device(query.device) if query.device else None
        if (cause == UNREACHABLE and not answer.kind) or (
                device is not None and not device.forwarding and cause != BLACKHOLE):
            return self._drop(NOT_FORWARDING, "net.ipv4.ip_forward", f"{self.namespace}"
                              f" received a packet for {query.destination}, which is not its own,"
                              " and does not forward")
        if cause == NO_ROUTE:
            return self._no_route(routing)
        refusal = f"{self.namespace} refuses it by '{answer.line}'"
        reasons = {
            BLACKHOLE: f"{self.namespace} drops it silently: no route more specific than"
                              f" '{answer.line}' matches {query.destination}",
            UNREACHABLE: refusal, PROHIBIT: refusal}
        return self._drop(cause, answer.line or answer.error, reasons.get(
            cause, f"{self.namespace} does not send to {query.destination}: {answer.error}"))

    def _no_route(self, routing: Routing) -> DropReason:
        query = routing.query
        header = "the outer header's destination" if routing.outer else "the destination"
        no_error = ""
        if query.source and not self.ask(self.namespace, Query(query.source)).line:
            no_error = f", and none back to {query.source} for an ICMP error"
        return self._drop(NO_ROUTE, "no route", f"{self.namespace} has no route to"
                          f" {header}, {query.destination}{no_error}")

    def _invalid_source(self, query: Query, answer: Answer) -> DropReason:
        """fib_validate_source(): EXDEV from the reverse path filter, EINVAL for any bad source.

        Newer kernels (6.13 on) answer EINVAL for both, so the filter itself is looked at.
        """
        lookup = Query(query.source)
        reverse = self.ask(self.namespace, lookup)
        device = self.facts.device(query.device)
        mode = max(self.facts.rp_filter, device.rp_filter if device else 0)
        counted = "TcpExt.IPReversePathFilter" in self.recording.counter_deltas(self.namespace)
        if answer.error != "EXDEV" and not (mode and (counted or reverse.device != query.device)):
            return self._drop(MARTIAN, answer.line, f"{query.source} is an impossible"
                              f" source on {query.device} of {self.namespace}")
        setting = f"rp_filter={mode} on {query.device}"
        path = (f"to {query.source} it would send by {reverse.device} ('{reverse.line}')"
                if reverse.line else f"it has no route to {query.source}")
        self.evidence.append(f"'{lookup}' in {self.namespace}: {reverse.line or 'no route'}")
        return self._drop(RP_FILTER, setting, f"{self.namespace} drops it because of its"
                          f" source: {query.source} came in by {query.device}, but {path};"
                          f" {setting}")

    # --- a route that leads on

    def _delivered(self) -> DropReason:
        """The outermost header is for this host, and the packet went no further."""
        encapsulation = self.crossing.encapsulation if self.crossing else None
        if encapsulation is None:
            return self._unexplained("it was delivered, but no answer was seen")
        tunnel = self.facts.device(encapsulation.device)
        state = (f"has no {encapsulation.device}" if tunnel is None
                 else f"its {tunnel.name} is down" if not tunnel.up
                 else f"its {tunnel.name} accepted it, but nothing came out")
        return self._drop(NOT_DECAPSULATED, encapsulation.device,
                          f"the outer header is for {self.namespace}, and {state}")

    def _forwarded(self, answer: Answer) -> DropReason:
        """What ip_forward() and ip_output() check of a packet that has a route, in their order."""
        for check in (self._ttl_expired, self._too_big, self._device_down, self._no_neighbour,
                      self._not_encapsulated):
            reason = check(answer)
            if reason is not None:
                return reason
        return self._unexplained(f"the route '{answer.line}' leads on, but no capture saw it leave",
                                 answer.line)

    def _ttl_expired(self, answer: Answer) -> DropReason | None:
        if self.crossing is None or self.leaving or self.crossing.ttl > 1:
            return None
        ttl = self.crossing.ttl
        return self._drop(TTL, f"TTL {ttl}", f"its TTL was {ttl} when it reached"
                          f" {self.namespace}, which would have had to forward it")

    def _too_big(self, answer: Answer) -> DropReason | None:
        crossing = self.crossing
        # VXLAN's outer header has no DF: what does not fit is fragmented.
        if crossing is None or (self.leaving and crossing.macs is not None):
            return None
        header, mtu = crossing.header, self._mtu(answer)
        # Where the packet is in the tunnel device, it is the outer packet that has to fit.
        length = header.length + (crossing.tunnel.overhead
                                  if self.leaving and crossing.tunnel else 0)
        if not header.dont_fragment or not 0 < mtu < length:
            return None
        return self._drop(TOO_BIG, f"MTU {mtu} of {answer.device}",
                          f"{length} bytes with DF do not fit MTU {mtu} of {answer.device} on"
                          f" {self.namespace}")

    def _device_down(self, answer: Answer) -> DropReason | None:
        device = self.facts.device(answer.device)
        if device is None:
            return self._drop(DEVICE_DOWN, answer.line,
                              f"the route of {self.namespace} leads to no device")
        if device.up and device.carrier:
            return None
        far = self.recording.cables.get((self.namespace, device.name))
        other = f"; at its other end {far[1]} of {far[0]} is down" if far and device.up else ""
        state = "has no carrier" if device.up else "is down"
        return self._drop(DEVICE_DOWN, answer.line,
                          f"{device.name} of {self.namespace} {state}{other}")

    def _no_neighbour(self, answer: Answer) -> DropReason | None:
        neighbour = self.hop.steps[-1] if self.hop.steps else None
        if not isinstance(neighbour, Neighbour) or neighbour.mac:
            return None
        requests = (f"{neighbour.requests} ARP requests on {neighbour.device}"
                    if neighbour.requests else f"the neighbour entry is {neighbour.state}")
        self.evidence.append(f"ARP for {neighbour.address} on {neighbour.device}: asked"
                             f" {neighbour.requests} times, no answer; the entry is"
                             f" {neighbour.state or 'gone'}")
        return self._drop(NO_NEIGHBOUR, answer.line, "no host answers for the next hop"
                          f" {neighbour.address}: {requests}{self._no_proxy(neighbour)}")

    def _no_proxy(self, neighbour: Neighbour) -> str:
        """Linux answers for another's address only if it has a route to it (arp_process())."""
        name, device = self.recording.cables.get((self.namespace, neighbour.device), ("", ""))
        end = self.recording.device(name, device)
        query = Query(neighbour.address)
        if end is None or not end.proxy_arp or self.ask(name, query).line:
            return ""
        self.evidence.append(f"'{query}' in {name}: no route")
        return (f"; proxy ARP on {device} of {name} answers only for addresses to which {name}"
                f" has a route, and it has none to {neighbour.address}")

    def _not_encapsulated(self, answer: Answer) -> DropReason | None:
        if self.crossing is None or not self.leaving:
            return None
        device, macs = self.crossing.device, self.crossing.macs
        if macs is not None and not self.facts.tunnel_destination(device, macs[1]):
            return self._drop(NOT_ENCAPSULATED, f"bridge fdb: none for {macs[1]}",
                              f"{device} of {self.namespace} has no forwarding entry for {macs[1]},"
                              " and so no outer destination")
        return self._drop(NOT_ENCAPSULATED, answer.line, f"{device} of"
                          f" {self.namespace} accepted it, and no packet with an outer header came"
                          " out", "dropped inside the tunnel device")

    def _unexplained(self, last_known: str, by: str = "") -> DropReason:
        """All that can be looked at is ruled out."""
        cause = NO_REPLY if self.leg.kind == REPLY else UNKNOWN
        return self._drop(cause, by, f"{self.namespace}: {last_known}",
                          "a packet filter without a counter, or a setting that was not looked at")
