"""From frames to a way: which of them are the probe, its reply or an error about them, and in
which order they crossed devices. Pure.

A switch that does not know a MAC address yet floods the frame: the copies that reach hosts to
whom it is not addressed are kept apart from the way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calico_mn.kernel.packets import (
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP,
    IPIP,
    PROTOCOLS,
    TCP,
    Arp,
    Packet,
    Transport,
    decode,
)
from calico_mn.kernel.sniffer import TO_OTHERS, Frame
from calico_mn.trace.path_trace import BACK, IN, OUT, THERE, Crossing
from calico_mn.trace.recording import SWITCH, Mark, Probe, Recording


@dataclass(frozen=True, slots=True)
class Sighting:
    """A frame that is part of the story."""

    namespace: str
    frame: Frame
    packet: Packet


@dataclass(frozen=True, slots=True)
class ArpSighting:
    """An ARP frame."""

    namespace: str
    frame: Frame
    arp: Arp


@dataclass(frozen=True, slots=True)
class Visit:
    """The devices that a packet crossed in one namespace, before it left for the next one."""

    namespace: str
    crossings: tuple[Crossing, ...]


@dataclass(frozen=True, slots=True)
class Sorted:
    """A recording's frames by what they are. Errors by (type and code, sender, receiver)."""

    there: tuple[Sighting, ...]
    back: tuple[Sighting, ...]
    errors: tuple[tuple[Sighting, ...], ...]
    arp: tuple[ArpSighting, ...]


def role(packet: Packet | Transport | None, probe: Probe, mark: Mark) -> str:
    """``there``, ``back`` or nothing: what a packet is to the probe."""
    found = packet.transport if isinstance(packet, Packet) else packet
    if found is None or found.protocol != PROTOCOLS[probe.protocol]:
        return ""
    if found.protocol == ICMP:
        ours = found.rest == mark.identifier << 16 | mark.sequence
        if not ours or not mark.token.startswith(found.payload[:len(mark.token)]):
            return ""
        return {ECHO_REQUEST: THERE, ECHO_REPLY: BACK}.get(found.kind, "")
    if (found.source_port, found.destination_port) == (mark.identifier, probe.port):
        ours = found.sequence == mark.sequence if found.protocol == TCP else (
            mark.token.startswith(found.payload[:len(mark.token)]))
        return THERE if ours else ""
    if (found.destination_port, found.source_port) == (mark.identifier, probe.port):
        return BACK
    return ""


def sort(recording: Recording) -> Sorted:
    """Tell what is the probe, the reply, an error about one of them, or ARP."""
    legs: dict[str, list[Sighting]] = {THERE: [], BACK: []}
    errors: dict[tuple[object, ...], list[Sighting]] = {}
    arp: list[ArpSighting] = []
    # The later pieces of a fragmented packet have no ports; the first one's numbers tell.
    pieces: dict[tuple[str, str, int, int], str] = {}
    for namespace, frame in recording.frames:
        packet = decode(frame.data, frame.ethernet)
        if packet is None:
            continue
        if packet.arp is not None:
            arp.append(ArpSighting(namespace, frame, packet.arp))
            continue
        sighting = Sighting(namespace, frame, packet)
        if packet.quoted is not None and packet.transport is not None:
            if role(packet.quoted, recording.probe, recording.mark):
                last, message = packet.headers[-1], packet.transport
                key = (message.kind, message.code, last.source, last.destination)
                errors.setdefault(key, []).append(sighting)
            continue
        keys = [(h.source, h.destination, h.identification, h.protocol) for h in packet.headers]
        found = role(packet, recording.probe, recording.mark)
        if not found and any(header.offset for header in packet.headers):
            found = next((pieces[key] for key in keys if key in pieces), "")
        if found:
            pieces.update((key, found) for key, header in zip(keys, packet.headers, strict=True)
                          if header.is_fragment)
            legs[found].append(sighting)
    return Sorted(tuple(legs[THERE]), tuple(legs[BACK]),
                  tuple(tuple(group) for group in errors.values()), tuple(arp))


def visits(sightings: Sequence[Sighting], recording: Recording, start: int
           ) -> tuple[tuple[Visit, ...], tuple[str, ...]]:
    """The way through the namespaces, and those that only got a copy from a flooding switch.

    ``start`` is when the journey began, ns.
    """
    way: list[Visit] = []
    copies: dict[str, None] = {}
    for sighting in sightings:
        namespace, frame = sighting.namespace, sighting.frame
        is_switch = recording.kinds[namespace] == SWITCH
        if not is_switch and frame.kind == TO_OTHERS:
            copies[namespace] = None
            continue
        if is_switch and not _on_the_way(sighting, sightings, recording):
            continue
        if any(header.offset for header in sighting.packet.headers):
            _count_piece(way, sighting)
            continue
        crossing = _crossing(sighting, recording, start)
        if way and way[-1].namespace == namespace and not _begins_anew(way[-1], crossing):
            way[-1] = Visit(namespace, (*way[-1].crossings, crossing))
        else:
            way.append(Visit(namespace, (crossing,)))
    return tuple(way), tuple(copies)


def _crossing(sighting: Sighting, recording: Recording, start: int) -> Crossing:
    frame, packet = sighting.frame, sighting.packet
    facts = recording.after.get(sighting.namespace)
    device = facts.device(frame.device) if facts else None
    return Crossing(frame.device, OUT if frame.outgoing else IN, packet.headers, packet.macs,
                    device.mtu if device else 0, (frame.time - start) / 1000)


def _begins_anew(visit: Visit, crossing: Crossing) -> bool:
    """The packet is back in a namespace that it had left: a loop."""
    return crossing.direction == IN and crossing.macs is not None and any(
        before.direction == OUT and before.macs is not None for before in visit.crossings)


def _on_the_way(sighting: Sighting, all_of_them: Iterable[Sighting], recording: Recording
                ) -> bool:
    """Not the bridge itself, and of several ports that one behind which it was received."""
    frame = sighting.frame
    facts = recording.after.get(sighting.namespace)
    device = facts.device(frame.device) if facts else None
    if device is not None and device.kind == "bridge":
        return False
    if not frame.outgoing:
        return True
    far_end = recording.cables.get((sighting.namespace, frame.device))
    if any((other.namespace, other.frame.device) == far_end and not other.frame.outgoing
           and other.frame.kind != TO_OTHERS for other in all_of_them):
        return True
    ports = {other.frame.device for other in all_of_them
             if other.namespace == sighting.namespace and other.frame.outgoing}
    return len(ports) == 1


def _count_piece(way: list[Visit], sighting: Sighting) -> None:
    """A fragment after the first one: it goes where that went."""
    direction = OUT if sighting.frame.outgoing else IN
    for position in range(len(way) - 1, -1, -1):
        if way[position].namespace != sighting.namespace:
            continue
        crossings = list(way[position].crossings)
        for index, crossing in enumerate(crossings):
            if (crossing.device, crossing.direction) == (sighting.frame.device, direction):
                crossings[index] = dataclasses.replace(
                    crossing, fragments=crossing.fragments + 1)
                way[position] = Visit(sighting.namespace, tuple(crossings))
                return


def was_quoted_outside(sighting: Sighting) -> bool:
    """Whether an error is about IPIP's outer header."""
    quoted = sighting.packet.quoted
    return quoted is not None and quoted.headers[0].protocol == IPIP
