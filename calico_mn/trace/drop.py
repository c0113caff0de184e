"""Where a packet ended, and why: from the last place where it was seen, and from evidence. Pure.

What counts as evidence: captures, the kernel's answer to a route lookup with the packet's own
addresses and device, the difference of the namespace's counters before and after, and ICMP
errors. A cause that follows from none of them is said to be deduced, or not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from calico_mn.kernel.lookup import Answer, Query
from calico_mn.trace.counters import risen
from calico_mn.trace.drop_reasons import (
    BLACKHOLE,
    BY_ERROR,
    BY_KIND,
    DEVICE_DOWN,
    FILTER,
    LOST,
    MARTIAN,
    NO_NEIGHBOUR,
    NO_REPLY,
    NO_ROUTE,
    NOT_DECAPSULATED,
    NOT_ENCAPSULATED,
    NOT_FORWARDING,
    PROHIBIT,
    RP_FILTER,
    TOO_BIG,
    TTL,
    UNKNOWN,
    UNREACHABLE,
    WORDS,
    WRONG_MAC,
)
from calico_mn.trace.path_trace import (
    BACK,
    OUT,
    Crossing,
    Death,
    Hop,
    Leg,
    Neighbour,
    Routing,
)
from calico_mn.trace.recording import SWITCH, Recording

Ask = Callable[[str, Query], Answer]


def ending(leg: Leg, errors: Sequence[Leg], recording: Recording, ask: Ask) -> Death:
    """Why ``leg`` did not arrive."""
    return _Ending(leg, errors, recording, ask).found()


class _Ending:
    def __init__(self, leg: Leg, errors: Sequence[Leg], recording: Recording, ask: Ask) -> None:
        self.leg, self.errors, self.recording, self.ask = leg, errors, recording, ask
        self.hop: Hop = leg.hops[-1]
        self.place = self.hop.namespace
        self.facts = recording.after[self.place]
        self.crossing = self.hop.crossings[-1] if self.hop.crossings else None
        routings = self.hop.routings
        self.routing: Routing | None = routings[-1] if routings else None
        self.evidence: list[str] = []

    def found(self) -> Death:
        if self.crossing is None:
            at_home = self.leg.kind == BACK and self.facts.owns(self.leg.sender)
            self.evidence.append(
                f"captures saw the request arrive at {self.place}, and no answer leave"
                if at_home else "no capture saw it on any device")
        else:
            verb = "leave by" if self.crossing.direction == OUT else "come in by"
            self.evidence.append(f"captures saw it {verb} {self.crossing.device} of "
                                 f"{self.place}, and nowhere after that")
        return self._cause()

    def _die(self, cause: str, by: str, reason: str, deduced: str = "") -> Death:
        evidence = list(self.evidence)
        evidence += [f"{error.text}, sent by {error.sender} ({error.origin})"
                     for error in self.errors if error.origin == self.place]
        evidence += [f"counter {name} of {self.place} rose by {rise}"
                     for name, rise in risen(self.recording, self.place).items()]
        device = self.crossing.device if self.crossing else ""
        return Death(self.leg.kind, cause, self.place, device, by, reason, tuple(evidence),
                     deduced)

    def _cause(self) -> Death:
        if self.recording.filters:
            return self._filtered("")
        if self.hop.kind == SWITCH:
            return self._at_switch()
        if self.crossing is not None and self.crossing.direction == OUT and self.crossing.macs:
            return self._on_cable(self.crossing)
        if self.crossing is None and self.leg.kind != BACK and self.recording.refused:
            return self._refused()
        assert self.routing is not None
        answer = self.routing.answer
        if answer.error or answer.kind in BY_KIND:
            return self._by_route(self.routing)
        if answer.kind == "local":
            return self._at_home()
        return self._forwarding(self.routing)

    # --- places

    def _at_switch(self) -> Death:
        assert self.crossing is not None
        if self.crossing.direction == OUT:
            return self._on_cable(self.crossing)
        return self._die(UNKNOWN, "", f"the switch {self.place} took the frame in and let it"
                         " out of no port that leads on",
                         "no port that leads to the frame's MAC address was up")

    def _on_cable(self, last: Crossing) -> Death:
        far = self.recording.cables.get((self.place, last.device))
        if far is None:
            return self._die(LOST, last.device, f"it left {self.place} by {last.device}, and"
                             " nothing is known to be at its other end")
        name, device = far
        end = self.recording.after[name].device(device) if name in self.recording.after else None
        if end is not None and not end.up:
            return self._die(DEVICE_DOWN, f"{device} of {name}", f"{device} of {name} is down")
        if name in self.leg.copies and last.macs is not None:
            return self._die(
                WRONG_MAC, f"frame to {last.macs[1]}", f"it reached {name}, but with a MAC address"
                f" ({last.macs[1]}) that is not {device}'s ({end.mac if end else '?'})")
        return self._die(LOST, f"cable {self.place}:{last.device} - {name}:{device}",
                         f"it left {self.place} by {last.device} and never came in by {device}"
                         f" of {name}", "lost on the cable, or dropped before the capture")

    def _refused(self) -> Death:
        """send() failed: the source's own kernel had the reason."""
        error = self.recording.refused
        self.evidence.append(f"send() in {self.place} failed with {error}")
        answer = self.routing.answer if self.routing else Answer()
        if error == "EMSGSIZE":
            device = self.facts.device(answer.device)
            mtu = answer.mtu or (device.mtu if device else 0)
            by = (f"path MTU {mtu}, learned from an ICMP error" if answer.learned
                  else f"MTU {mtu} of {answer.device}")
            return self._die(TOO_BIG, by, f"{self.recording.probe.size} bytes with DF do not fit"
                             f" {by}; {self.place}'s own kernel refused them")
        if self.routing is not None and (answer.error or answer.kind in BY_KIND):
            return self._by_route(self.routing)
        if error == "EPERM":
            return self._filtered("its own packet filter refused it")
        return self._die(UNKNOWN, error, f"{self.place}'s own kernel refused to send it: {error}")

    # --- reasons

    def _by_route(self, routing: Routing) -> Death:
        answer, query = routing.answer, routing.query
        what = "the outer header's destination" if routing.outer else "the destination"
        if answer.error:
            words = WORDS.get(answer.error, answer.error)
            self.evidence.append(f"'{query}' in {self.place} answers: {words}")
        cause = BY_KIND.get(answer.kind) or BY_ERROR.get(answer.error, UNKNOWN)
        if query.device and (answer.error == "EXDEV" or cause == MARTIAN):
            return self._source_validation(query, answer)
        device = self.facts.device(query.device) if query.device else None
        if (cause == UNREACHABLE and not answer.kind) or (
                device is not None and not device.forwarding and cause != BLACKHOLE):
            return self._die(NOT_FORWARDING, "net.ipv4.ip_forward", f"{self.place} got a packet"
                             f" for {query.destination}, which is not its own, and does not"
                             " forward")
        if cause == NO_ROUTE:
            mute = ""
            if query.source and not self.ask(self.place, Query(query.source)).line:
                mute = f", and none back to {query.source} to tell it so"
            return self._die(NO_ROUTE, "no route", f"{self.place} has no route to {what},"
                             f" {query.destination}{mute}")
        if cause == BLACKHOLE:
            return self._die(BLACKHOLE, answer.line, f"{self.place} drops it silently: nothing"
                             f" more specific than '{answer.line}' matches {query.destination}")
        if cause in (UNREACHABLE, PROHIBIT):
            return self._die(cause, answer.line, f"{self.place} refuses it by '{answer.line}'")
        return self._die(cause, answer.line or answer.error,
                         f"{self.place} does not send to {query.destination}: {answer.error}")

    def _source_validation(self, query: Query, answer: Answer) -> Death:
        """fib_validate_source(): EXDEV from the reverse path filter, EINVAL for any bad source.

        Newer kernels (6.13 on) answer EINVAL for both, so the filter itself is looked at.
        """
        back = Query(query.source)
        reverse = self.ask(self.place, back)
        device = self.facts.device(query.device)
        mode = max(self.facts.rp_filter, device.rp_filter if device else 0)
        counted = "TcpExt.IPReversePathFilter" in risen(self.recording, self.place)
        if answer.error != "EXDEV" and not (mode and (counted or reverse.device != query.device)):
            return self._die(MARTIAN, answer.line, f"{self.place} takes {query.source} for an"
                             f" impossible source on {query.device}")
        setting = f"rp_filter={mode} on {query.device}"
        way = (f"to {query.source} it would send by {reverse.device} ('{reverse.line}')"
               if reverse.line else f"it has no route to {query.source}")
        self.evidence.append(f"'{back}' in {self.place}: {reverse.line or 'no route'}")
        return self._die(RP_FILTER, setting, f"{self.place} drops it because of its source:"
                         f" {query.source} came in by {query.device}, but {way}; {setting}")

    def _at_home(self) -> Death:
        """The outermost header is for this host, and the packet went no further."""
        if self.crossing is not None and len(self.crossing.headers) > 1:
            tunnel = self.facts.device("tunl0")
            state = ("has no tunl0" if tunnel is None else "its tunl0 is down"
                     if not tunnel.up else "its tunl0 took it in, but nothing came out")
            return self._die(NOT_DECAPSULATED, "tunl0", f"the outer header is for {self.place},"
                             f" and {state}")
        return self._filtered("it was delivered, and no answer was seen")

    def _forwarding(self, routing: Routing) -> Death:
        answer = routing.answer
        device = self.facts.device(answer.device)
        header = self.crossing.headers[0] if self.crossing else None
        coming_in = self.crossing is not None and self.crossing.direction != OUT
        if coming_in and header is not None and header.ttl <= 1:
            return self._die(TTL, f"TTL {header.ttl}", f"its TTL was {header.ttl} when it reached"
                             f" {self.place}, which would have had to forward it")
        mtu = answer.mtu or (device.mtu if device else 0)
        if header is not None and header.dont_fragment and 0 < mtu < header.length:
            # Where the packet waits in tunl0, it is the outer packet that has to fit.
            return self._die(TOO_BIG, f"MTU {mtu} of {answer.device}",
                             f"{header.length} bytes with DF do not fit MTU {mtu} of"
                             f" {answer.device} on {self.place}")
        if device is None:
            return self._die(DEVICE_DOWN, answer.line, f"the route of {self.place} leads to no"
                             " device")
        if not device.up or not device.carrier:
            far = self.recording.cables.get((self.place, device.name))
            other = f"; at its other end {far[1]} of {far[0]} is down" if far and device.up else ""
            state = "has no carrier" if device.up else "is down"
            return self._die(DEVICE_DOWN, answer.line,
                             f"{device.name} of {self.place} {state}{other}")
        waiting = self.hop.steps[-1] if self.hop.steps else None
        if isinstance(waiting, Neighbour) and not waiting.mac:
            asked = (f"{waiting.asked} ARP requests on {waiting.device}" if waiting.asked
                     else f"the neighbour entry is {waiting.state}")
            self.evidence.append(f"ARP for {waiting.address} on {waiting.device}: asked"
                                 f" {waiting.asked} times, no answer; the entry is"
                                 f" {waiting.state or 'gone'}")
            return self._die(NO_NEIGHBOUR, answer.line, f"nobody answers for the next hop"
                             f" {waiting.address}: {asked}{self._why_no_proxy(waiting)}")
        if self.crossing is not None and not coming_in:
            return self._die(NOT_ENCAPSULATED, answer.line, f"tunl0 of {self.place} took it, and"
                             " no packet with an outer header came out",
                             "dropped inside the tunnel device")
        return self._filtered(f"by '{answer.line}' it had a way on", answer)

    def _why_no_proxy(self, waiting: Neighbour) -> str:
        """Linux answers for another's address only if it has a route to it (arp_process())."""
        name, device = self.recording.cables.get((self.place, waiting.device), ("", ""))
        facts = self.recording.after.get(name)
        end = facts.device(device) if facts else None
        if end is None or not end.proxy_arp:
            return ""
        if self.ask(name, Query(waiting.address)).line:
            return ""
        self.evidence.append(f"'{Query(waiting.address)}' in {name}: no route")
        return (f"; proxy ARP on {device} of {name} answers only for addresses to which {name}"
                f" has a route, and it has none to {waiting.address}")

    def _filtered(self, so_far: str, answer: Answer | None = None) -> Death:
        """Everything else has been ruled out; a rule that counted is the proof, if there is one."""
        rules = [rule for rule in self.recording.filters
                 if rule.namespace == self.place and rule.packets > 0]
        if rules:
            self.evidence += [f"'{rule.rule}' counted {rule.packets} when the packet was sent a"
                              " second time" for rule in rules]
            return self._die(FILTER, rules[0].rule,
                             f"a rule of {self.place}'s packet filter drops it: '{rules[0].rule}'")
        cause = NO_REPLY if self.leg.kind == BACK else UNKNOWN
        return self._die(cause, answer.line if answer else "", f"{self.place}: {so_far}, and it"
                         " went no further",
                         "a packet filter without a counter, or a setting that was not looked at")
