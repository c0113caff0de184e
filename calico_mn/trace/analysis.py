"""From a recording to a path trace: the path, and at each step what the kernel says of it. Pure.

Which routes the kernel has to be asked about only shows during the analysis, so
:mod:`calico_mn.trace.probe`, which has the cluster, gives it a function that asks. The answers stay
in the recording, and with them the analysis can be repeated without a cluster.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from calico_mn.calico.encapsulation import of_device
from calico_mn.kernel.packets import PORT_UNREACHABLE, UNREACHABLE, error_text
from calico_mn.kernel.route_get import Answer, Query
from calico_mn.trace import follow
from calico_mn.trace.conclusions import drop_reason, notes
from calico_mn.trace.follow import Sighting, Visit
from calico_mn.trace.path_trace import (
    ERROR,
    FORWARD,
    IN,
    OUT,
    REPLY,
    Crossing,
    DropReason,
    HeaderChange,
    Hop,
    Leg,
    PathTrace,
    Routing,
    Step,
    Translation,
    last_routing,
)
from calico_mn.trace.recording import SWITCH, Recording
from calico_mn.trace.scene import Ask

#: flags of a TCP header (RFC 9293, section 3.1)
_SYN, _RST = 0x02, 0x04


def path_trace(recording: Recording, ask: Ask | None = None) -> PathTrace:
    """The path that a recording shows.

    ``ask`` makes a route lookup in a namespace; it is called for each that the recording does not
    answer, and the answer is added to the recording. Without ``ask`` such an answer is empty.
    """
    return _Analysis(recording, ask).path_trace()


class _Analysis:
    def __init__(self, recording: Recording, kernel: Ask | None) -> None:
        self.recording = recording
        self.kernel = kernel
        self.frames = follow.sort_frames(recording)
        self.start = min((sighting.frame.time for sighting in
                          (*self.frames.forward, *self.frames.reply)), default=0)

    def ask(self, namespace: str, query: Query) -> Answer:
        answers, key = self.recording.answers, (namespace, query)
        if self.kernel is not None and key not in answers:
            answers[key] = self.kernel(namespace, query)
        answer = answers.get(key, Answer())
        device = self.recording.device(namespace, answer.device)
        if answer.learned and device is not None and answer.mtu >= device.mtu:
            # The kernel's ipip notes tunl0's own MTU with the route (tnl_update_pmtu()).
            return dataclasses.replace(answer, mtu=0, learned=False)
        return answer

    def path_trace(self) -> PathTrace:
        recording, frames = self.recording, self.frames
        forward = self._forward()
        errors = [self._error(sightings) for sightings in frames.errors]
        reply: Leg | None = None
        if frames.reply:
            reply = self._leg(REPLY, frames.reply, _text(recording, REPLY, frames.reply[0]))
            if reply.origin == forward.hops[-1].namespace and not self._is_wrong_host(forward):
                # NAT to an address of the host itself leaves no other trace.
                forward = dataclasses.replace(forward, arrived=True)
        elif forward.arrived:
            reply = self._closed_port(errors)
            refused = any(item.incoming for item in recording.filters)
            forward = dataclasses.replace(forward, arrived=reply is not None or not refused)
        round_trip = None
        if forward.arrived and reply is not None and reply.arrived:
            round_trip = reply.hops[-1].crossings[-1].time
        path = PathTrace(recording.source, recording.destination, recording.probe, forward, reply,
                         tuple(e for e in errors if reply is None or e.text != reply.text),
                         self._drop(forward, reply, errors), round_trip, recording.tunnel)
        return dataclasses.replace(path, notes=notes(path, recording))

    def _drop(self, forward: Leg, reply: Leg | None, errors: Sequence[Leg]) -> DropReason | None:
        """Why the first leg that did not arrive was dropped."""
        lost = forward
        if forward.arrived:
            # A reply that was not seen should have begun where the probe arrived.
            last = forward.hops[-1]
            ends = (forward.sender, forward.receiver)
            if last.crossings:  # after NAT
                header = last.crossings[-1].layers[-1].header
                ends = header.source, header.destination
            lost = reply or self._unseen(REPLY, last.namespace, ends[1], ends[0])
        legs = (forward,) if lost is forward else (forward, lost)
        return None if lost.arrived else drop_reason(legs, errors, self.recording, self.ask)

    def _is_wrong_host(self, forward: Leg) -> bool:
        """It came to another host than the one named, which has the same address: a duplicate."""
        wanted, last = self.recording.destination, forward.hops[-1]
        return bool(wanted.name and last.namespace != wanted.name and last.crossings
                    and last.crossings[-1].header.destination == wanted.address)

    # --- legs

    def _forward(self) -> Leg:
        recording = self.recording
        if self.frames.forward:
            return self._leg(FORWARD, self.frames.forward, _text(recording, FORWARD))
        source = recording.source
        return self._unseen(FORWARD, source.name, source.address, recording.destination.address)

    def _unseen(self, kind: str, origin: str, sender: str, receiver: str) -> Leg:
        """A packet that no capture saw, at what should have been its origin."""
        query = Query(receiver, sender if kind == REPLY else "")
        steps: list[Step] = [Routing(query, self.ask(origin, query))]
        self._add_outer(origin, None, steps)
        self._add_unresolved(origin, steps)
        hop = Hop(origin, self.recording.kinds[origin], tuple(steps))
        return Leg(kind, _text(self.recording, kind), sender, receiver, origin, (hop,), False)

    def _closed_port(self, errors: Sequence[Leg]) -> Leg | None:
        """To UDP, "port unreachable" from the destination itself is the answer."""
        return next((dataclasses.replace(error, kind=REPLY) for error in errors
                     if "port unreachable" in error.text and error.about == "inner"
                     and error.sender == self.recording.destination.address), None)

    def _error(self, sightings: Sequence[Sighting]) -> Leg:
        message = sightings[0].packet.transport
        assert message is not None
        outer = follow.quoted_encapsulation(sightings[0])
        text = f"ICMP {error_text(message)}"
        if (message.kind, message.code) == (UNREACHABLE, PORT_UNREACHABLE):
            port = outer.match.port if outer else self.recording.probe.port
            text += f" (port {port} is closed)"
        return self._leg(ERROR, sightings, text, "outer" if outer else "inner")

    def _leg(self, kind: str, sightings: Sequence[Sighting], text: str, about: str = "") -> Leg:
        path, copies = follow.visits(sightings, self.recording, self.start)
        header = sightings[0].packet.headers[-1]
        last = path[-1] if path else None
        arrived = last is not None and self._is_accepted(last)
        hops = tuple(self._hop(visit, kind, dropped=visit is last and not arrived)
                     for visit in path)
        leg = Leg(kind, text, header.source, header.destination,
                  path[0].namespace if path else "", hops, arrived, about, copies)
        wrong = arrived and kind == FORWARD and self._is_wrong_host(leg)
        return dataclasses.replace(leg, arrived=False) if wrong else leg

    def _is_accepted(self, visit: Visit) -> bool:
        """Whether the last host owns the destination, and its kernel takes the packet in.

        A capture sees a packet before the kernel looks at it: a source that is not valid on the
        device is refused after that (fib_validate_source()). What a host sends to itself by lo
        keeps the route of its output, and is not looked up again (ip_rcv_finish_core()).
        """
        crossing, host = visit.crossings[-1], visit.namespace
        header = crossing.header
        return (crossing.direction == IN and len(crossing.layers) == 1
                and self.recording.after[host].owns(header.destination)
                and (crossing.device == "lo" or not self.ask(host, _incoming(crossing)).error))

    # --- hops

    def _hop(self, visit: Visit, kind: str, *, dropped: bool) -> Hop:
        host = self.recording.kinds[visit.namespace]
        if host == SWITCH:
            return Hop(visit.namespace, host, tuple(visit.crossings))
        steps: list[Step] = []
        before: Crossing | None = None
        for crossing in visit.crossings:
            self._add_translation(visit.namespace, before, crossing, steps)
            if crossing.direction == IN:
                self._enter(visit.namespace, before, crossing, steps)
            else:
                self._leave(visit.namespace, kind, before, crossing, steps)
            before = crossing
        if dropped:
            self._stop(visit, steps)
        return Hop(visit.namespace, host, tuple(steps))

    def _add_translation(self, namespace: str, before: Crossing | None, crossing: Crossing,
                         steps: list[Step]) -> None:
        """NAT since the last device, and where the destination is another one now, its route."""
        if before is None:
            return
        old, new = before.layers[-1].header, crossing.layers[-1].header
        if (old.source, old.destination) != (new.source, new.destination):
            steps.append(Translation(old, new))
            if old.destination != new.destination:
                query = Query(new.destination, old.source,
                              before.device if before.direction == IN else "")
                self._add_routing(namespace, query, steps)

    def _enter(self, namespace: str, before: Crossing | None, crossing: Crossing,
               steps: list[Step]) -> None:
        if before is not None and len(before.layers) > len(crossing.layers):
            steps.append(HeaderChange(False, before.header, before.layers[1]))
        steps.append(crossing)
        if crossing.device != "lo":  # there it keeps the route of its output
            self._add_routing(namespace, _incoming(crossing), steps,
                              outer=len(crossing.layers) > 1)

    def _leave(self, namespace: str, kind: str, before: Crossing | None, crossing: Crossing,
               steps: list[Step]) -> None:
        header = crossing.header
        if before is None:
            inner = crossing.layers[-1].header
            source = "" if kind == FORWARD else inner.source
            self._add_routing(namespace, Query(inner.destination, source), steps)
        if len(crossing.layers) > (len(before.layers) if before else 1):
            steps.append(HeaderChange(True, header, crossing.layers[1]))
            self._add_routing(namespace, Query(header.destination), steps, outer=True)
        routing = last_routing(steps)
        if crossing.macs is not None and routing is not None:
            sent = self.start + int(crossing.time * 1000) + 1
            steps.append(follow.neighbour(
                self.recording, self.frames.arp, namespace, crossing.device, routing.next_hop,
                crossing.macs[1], sent))
        steps.append(crossing)

    def _stop(self, visit: Visit, steps: list[Step]) -> None:
        """What the kernel was doing when the packet was seen for the last time."""
        last = visit.crossings[-1]
        if last.direction == IN or last.tunnel is not None:
            self._add_nat(visit.namespace, last, steps)
            self._add_outer(visit.namespace, last, steps)
            self._add_unresolved(visit.namespace, steps)

    def _add_nat(self, namespace: str, last: Crossing, steps: list[Step]) -> None:
        """NAT of a packet that did not leave, as nftables saw it with the second one."""
        old, seen = last.header, self.recording.addresses
        if not seen or seen[0] != (old.source, old.destination) or seen[-1] == seen[0]:
            return
        new = dataclasses.replace(old, source=seen[-1][0], destination=seen[-1][1])
        steps.append(Translation(old, new))
        if old.destination != new.destination:
            self._add_routing(namespace, Query(new.destination, old.source, last.device), steps)

    def _add_outer(self, namespace: str, last: Crossing | None, steps: list[Step]) -> None:
        """Where the route leads into a tunnel device, the one of the outer header.

        Its destination is of tunl0 the next hop, of a VXLAN device what its FDB has.
        """
        inner = last_routing(steps)
        if inner is None or inner.outer or inner.answer.error or not of_device(
                inner.answer.device):
            return
        outer = inner.next_hop
        if last is not None and last.direction == OUT and last.macs is not None:
            outer = self.recording.after[namespace].tunnel_destination(last.device, last.macs[1])
        if outer:
            self._add_routing(namespace, Query(outer), steps, outer=True)

    def _add_routing(self, namespace: str, query: Query, steps: list[Step], *,
                     outer: bool = False) -> None:
        steps.append(Routing(query, self.ask(namespace, query), outer))

    def _add_unresolved(self, namespace: str, steps: list[Step]) -> None:
        """The next hop whose MAC address the packet waits for, if that is so."""
        routing = last_routing(steps)
        if routing is None or not routing.answer.device or routing.answer.kind != "unicast":
            return
        neighbour = follow.neighbour(self.recording, self.frames.arp, namespace,
                                     routing.answer.device, routing.next_hop)
        if neighbour.is_unresolved:
            steps.append(neighbour)


def _incoming(crossing: Crossing) -> Query:
    """What the kernel looks up of a packet that comes in by a device."""
    return Query(crossing.header.destination, crossing.header.source, crossing.device)


def _text(recording: Recording, kind: str, sighting: Sighting | None = None) -> str:
    """What a packet of the probe or its reply is."""
    protocol, port = recording.probe.protocol, recording.probe.port
    if protocol == "icmp":
        return "ICMP echo request" if kind == FORWARD else "ICMP echo reply"
    if protocol == "udp":
        return f"UDP datagram {'to' if kind == FORWARD else 'from'} port {port}"
    if kind == FORWARD:
        return f"TCP SYN to port {port}"
    transport = sighting.packet.transport if sighting else None
    if transport is not None and transport.flags & _RST:
        return f"TCP RST (port {port} is closed)"
    if transport is not None and transport.flags & _SYN:
        return f"TCP SYN-ACK from port {port}"
    return f"TCP answer from port {port}"
