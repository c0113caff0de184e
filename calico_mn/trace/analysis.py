"""From a recording to a journey: the way, and at each step what the kernel says about it. Pure.

What the kernel has to be asked only shows while the story is told; :func:`questions` lists what
is missing, and whoever has the cluster asks (:mod:`calico_mn.trace.probe`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from calico_mn.kernel.lookup import Answer, Query
from calico_mn.kernel.packets import PORT_UNREACHABLE, UNREACHABLE, error_text
from calico_mn.trace import arp
from calico_mn.trace.drop import ending
from calico_mn.trace.follow import Sighting, Visit, sort, visits, was_quoted_outside
from calico_mn.trace.path_trace import (
    BACK,
    ERROR,
    IN,
    OUT,
    THERE,
    Crossing,
    Death,
    Encapsulation,
    Hop,
    Journey,
    Leg,
    Neighbour,
    Routing,
    Step,
)
from calico_mn.trace.recording import SWITCH, Recording

#: flags of a TCP header (RFC 9293, section 3.1)
_SYN, _RST = 0x02, 0x04


def questions(recording: Recording) -> list[tuple[str, Query]]:
    """What the kernel has not been asked yet: namespace and question."""
    told = _Story(recording)
    told.journey()
    return list(told.missing)


def journey(recording: Recording) -> Journey:
    """The journey that a recording shows."""
    return _Story(recording).journey()


class _Story:
    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.missing: dict[tuple[str, Query], None] = {}
        self.frames = sort(recording)
        every = [*self.frames.there, *self.frames.back]
        self.start = min((s.frame.time for s in every), default=0)

    def ask(self, namespace: str, query: Query) -> Answer:
        key = (namespace, query)
        if key not in self.recording.answers:
            self.missing[key] = None
        answer = self.recording.answers.get(key, Answer())
        device = self.recording.after[namespace].device(answer.device)
        if answer.learned and device is not None and answer.mtu >= device.mtu:
            # The kernel's ipip notes tunl0's own MTU with the route (tnl_update_pmtu()).
            return dataclasses.replace(answer, mtu=0, learned=False)
        return answer

    def journey(self) -> Journey:
        recording, frames = self.recording, self.frames
        there = self._there()
        errors = [self._error(group) for group in frames.errors]
        back: Leg | None = None
        if frames.back:
            back = self._leg(BACK, frames.back, _text(recording, BACK, frames.back[0]))
        elif there.arrived:
            back = self._closed_port(errors)
        died = None
        if not there.arrived:
            died = self._ending(there, errors)
        elif back is None:
            died = self._ending(self._silence(there), errors)
        elif not back.arrived:
            died = self._ending(back, errors)
        round_trip = None
        if there.arrived and back is not None and back.arrived:
            round_trip = back.hops[-1].crossings[-1].time
        return Journey(recording.source, recording.destination, recording.probe, there, back,
                       tuple(e for e in errors if back is None or e.text != back.text), died,
                       round_trip, recording.tunnel, recording.waited)

    # --- legs

    def _there(self) -> Leg:
        recording = self.recording
        text = _text(recording, THERE)
        if self.frames.there:
            return self._leg(THERE, self.frames.there, text)
        source = recording.source
        return self._unsent(THERE, text, source.name, source.address,
                            recording.destination.address)

    def _silence(self, there: Leg) -> Leg:
        """The reply that was not seen, from where it should have begun."""
        return self._unsent(BACK, _text(self.recording, BACK), there.hops[-1].namespace,
                            there.receiver, there.sender)

    def _unsent(self, kind: str, text: str, origin: str, sender: str, receiver: str) -> Leg:
        query = Query(receiver, sender if kind == BACK else "")
        steps: list[Step] = [Routing(query, self.ask(origin, query))]
        self._waiting(origin, steps)
        hop = Hop(origin, self.recording.kinds[origin], tuple(steps))
        return Leg(kind, text, sender, receiver, origin, (hop,), False)

    def _closed_port(self, errors: Sequence[Leg]) -> Leg | None:
        """To UDP, "port unreachable" from the destination itself is the answer."""
        return next((dataclasses.replace(error, kind=BACK) for error in errors
                     if "port unreachable" in error.text
                     and error.sender == self.recording.destination.address), None)

    def _error(self, group: Sequence[Sighting]) -> Leg:
        message = group[0].packet.transport
        assert message is not None
        text = f"ICMP {error_text(message)}"
        if (message.kind, message.code) == (UNREACHABLE, PORT_UNREACHABLE):
            text += f" (nobody listens on port {self.recording.probe.port})"
        about = "outer" if was_quoted_outside(group[0]) else "inner"
        return self._leg(ERROR, group, text, about)

    def _leg(self, kind: str, group: Sequence[Sighting], text: str, about: str = "") -> Leg:
        way, copies = visits(group, self.recording, self.start)
        first = group[0].packet.headers[-1]
        last = way[-1] if way else None
        arrived = bool(
            last and last.crossings[-1].direction == IN
            and len(last.crossings[-1].headers) == 1
            and self.recording.after[last.namespace].owns(first.destination))
        hops = tuple(self._hop(visit, kind, index, way, arrived)
                     for index, visit in enumerate(way))
        return Leg(kind, text, first.source, first.destination,
                   way[0].namespace if way else "", hops, arrived, about, copies)

    # --- hops

    def _hop(self, visit: Visit, kind: str, index: int, way: Sequence[Visit], arrived: bool
             ) -> Hop:
        place = self.recording.kinds[visit.namespace]
        if place == SWITCH:
            return Hop(visit.namespace, place, visit.crossings)
        steps: list[Step] = []
        before: Crossing | None = None
        for crossing in visit.crossings:
            if crossing.direction == IN:
                self._entering(visit.namespace, before, crossing, steps)
            else:
                self._leaving(visit.namespace, kind, before, crossing, steps)
            before = crossing
        if index == len(way) - 1 and not arrived:
            self._stuck(visit, steps)
        return Hop(visit.namespace, place, tuple(steps))

    def _entering(self, namespace: str, before: Crossing | None, crossing: Crossing,
                  steps: list[Step]) -> None:
        if before is not None and len(before.headers) > len(crossing.headers):
            steps.append(Encapsulation(False, before.headers[0], crossing.headers[0]))
        steps.append(crossing)
        header = crossing.headers[0]
        query = Query(header.destination, header.source, crossing.device)
        steps.append(Routing(query, self.ask(namespace, query), len(crossing.headers) > 1))

    def _leaving(self, namespace: str, kind: str, before: Crossing | None, crossing: Crossing,
                 steps: list[Step]) -> None:
        header = crossing.headers[0]
        if before is None:
            inner = crossing.headers[-1]
            query = Query(inner.destination, "" if kind == THERE else inner.source)
            steps.append(Routing(query, self.ask(namespace, query)))
        if len(crossing.headers) > (len(before.headers) if before else 1):
            steps.append(Encapsulation(True, header, crossing.headers[1]))
            query = Query(header.destination)
            steps.append(Routing(query, self.ask(namespace, query), True))
        if crossing.macs is not None:
            routing = next(step for step in reversed(steps) if isinstance(step, Routing))
            hop = routing.answer.gateway or routing.query.destination
            time = self.start + int(crossing.time * 1000) + 1
            steps.append(arp.neighbour(
                self.recording, self.frames.arp, namespace, crossing.device, hop,
                crossing.macs[1], time))
        steps.append(crossing)

    def _stuck(self, visit: Visit, steps: list[Step]) -> None:
        """What the kernel was at when the packet was seen for the last time."""
        last = visit.crossings[-1]
        if last.direction == OUT and last.macs is None:
            inner = next((step for step in reversed(steps) if isinstance(step, Routing)), None)
            if inner is not None:
                query = Query(inner.answer.gateway or last.headers[0].destination)
                steps.append(Routing(query, self.ask(visit.namespace, query), True))
        elif last.direction == OUT:
            return
        self._waiting(visit.namespace, steps)

    def _waiting(self, namespace: str, steps: list[Step]) -> None:
        """The neighbour that was asked for and did not answer, if that is so."""
        routing = next((step for step in reversed(steps) if isinstance(step, Routing)), None)
        if routing is None or not routing.answer.device or routing.answer.kind != "unicast":
            return
        found: Neighbour = arp.neighbour(
            self.recording, self.frames.arp, namespace, routing.answer.device,
            routing.answer.gateway or routing.query.destination)
        if arp.is_unresolved(self.recording, found):
            steps.append(found)

    def _ending(self, leg: Leg, errors: Sequence[Leg]) -> Death:
        return ending(leg, errors, self.recording, self.ask)


def _text(recording: Recording, kind: str, seen: Sighting | None = None) -> str:
    protocol = recording.probe.protocol
    if kind == BACK and protocol == "tcp" and seen is not None and seen.packet.transport:
        flags = seen.packet.transport.flags
        if flags & _RST:
            return f"TCP RST (nobody listens on port {recording.probe.port})"
        if flags & _SYN:
            return f"TCP SYN-ACK from port {recording.probe.port}"
    if protocol == "icmp":
        return "ICMP echo request" if kind == THERE else "ICMP echo reply"
    if protocol == "tcp":
        return (f"TCP SYN to port {recording.probe.port}" if kind == THERE
                else f"TCP answer from port {recording.probe.port}")
    return (f"UDP datagram to port {recording.probe.port}" if kind == THERE
            else f"UDP datagram from port {recording.probe.port}")
