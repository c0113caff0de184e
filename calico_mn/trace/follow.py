"""From captured frames to the path of a packet through the namespaces. Pure.

    frames --> sort_frames --> forward, reply, errors, ARP --> visits --> devices crossed, in order

A switch that does not know a MAC address yet floods the frame: the copies that reach hosts to
which it is not addressed are kept apart from the path.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.kernel.capture import TO_OTHERS, Frame
from calico_mn.kernel.facts import DeviceFacts
from calico_mn.kernel.packets import (
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP,
    PROTOCOLS,
    TCP,
    Arp,
    Packet,
    Transport,
)
from calico_mn.trace.path_trace import FORWARD, IN, OUT, REPLY, Crossing, encapsulation_of
from calico_mn.trace.recording import SWITCH, Mark, Probe, Recording


@dataclass(frozen=True, slots=True)
class Sighting:
    """A frame that carries the probe, its reply or an error."""

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
class SortedFrames:
    """A recording's frames by what they are; each of ``errors`` is one ICMP message's frames."""

    forward: tuple[Sighting, ...]
    reply: tuple[Sighting, ...]
    errors: tuple[tuple[Sighting, ...], ...]
    arp: tuple[ArpSighting, ...]


def role(packet: Packet | Transport | None, probe: Probe, mark: Mark) -> str:
    """``forward`` for the probe, ``reply`` for its answer, "" for any other packet."""
    transport = packet.transport if isinstance(packet, Packet) else packet
    if transport is None or transport.protocol != PROTOCOLS[probe.protocol]:
        return ""
    has_token = mark.token.startswith(transport.payload[:len(mark.token)])
    if transport.protocol == ICMP:
        if transport.rest != mark.identifier << 16 | mark.sequence or not has_token:
            return ""
        return {ECHO_REQUEST: FORWARD, ECHO_REPLY: REPLY}.get(transport.kind, "")
    if (transport.source_port, transport.destination_port) == (mark.identifier, probe.port):
        marked = (transport.sequence == mark.sequence if transport.protocol == TCP else has_token)
        return FORWARD if marked else ""
    if (transport.destination_port, transport.source_port) == (mark.identifier, probe.port):
        return REPLY
    return ""


def sort_frames(recording: Recording) -> SortedFrames:
    """Tell the probe, the reply, errors about one of them, and ARP from all other frames."""
    legs: dict[str, list[Sighting]] = {FORWARD: [], REPLY: []}
    errors: dict[tuple[object, ...], list[Sighting]] = {}
    arp: list[ArpSighting] = []
    # Later fragments have no ports: they are known by the addresses and number of the first one.
    fragments: dict[tuple[str, str, int, int], str] = {}
    for namespace, frame in recording.frames:
        packet = frame.packet
        if packet is None:
            continue
        if packet.arp is not None:
            arp.append(ArpSighting(namespace, frame, packet.arp))
            continue
        sighting = Sighting(namespace, frame, packet)
        if packet.quoted is not None and packet.transport is not None:
            if role(packet.quoted, recording.probe, recording.mark):
                last, message = packet.headers[-1], packet.transport
                error = (message.kind, message.code, last.source, last.destination)
                errors.setdefault(error, []).append(sighting)
            continue
        keys = [(h.source, h.destination, h.identification, h.protocol) for h in packet.headers]
        kind = role(packet, recording.probe, recording.mark)
        if not kind and any(header.offset for header in packet.headers):
            kind = next((fragments[key] for key in keys if key in fragments), "")
        if kind:
            fragments.update((key, kind) for key, header in zip(keys, packet.headers, strict=True)
                             if header.is_fragment)
            legs[kind].append(sighting)
    return SortedFrames(tuple(legs[FORWARD]), tuple(legs[REPLY]),
                        tuple(tuple(sightings) for sightings in errors.values()), tuple(arp))


def visits(sightings: Sequence[Sighting], recording: Recording, start: int
           ) -> tuple[tuple[Visit, ...], tuple[str, ...]]:
    """The path through the namespaces, and the hosts that got a copy from a flooding switch.

    ``start`` is when the packet was first seen, ns.
    """
    path: list[Visit] = []
    copies: dict[str, None] = {}
    for sighting in sightings:
        namespace = sighting.namespace
        is_switch = recording.kinds[namespace] == SWITCH
        if not is_switch and sighting.frame.kind == TO_OTHERS:
            copies[namespace] = None
            continue
        if is_switch and not _is_on_path(sighting, sightings, recording):
            continue
        if any(header.offset for header in sighting.packet.headers):
            _count_fragment(path, sighting)
            continue
        crossing = _crossing(sighting, recording, start)
        if path and path[-1].namespace == namespace and not _is_back(path[-1], crossing):
            path[-1] = Visit(namespace, (*path[-1].crossings, crossing))
        else:
            path.append(Visit(namespace, (crossing,)))
    return tuple(path), tuple(copies)


def _crossing(sighting: Sighting, recording: Recording, start: int) -> Crossing:
    frame, packet = sighting.frame, sighting.packet
    device = _device(sighting, recording)
    return Crossing(frame.device, OUT if frame.outgoing else IN, packet.layers,
                    device.mtu if device else 0, (frame.time - start) / 1000)


def _device(sighting: Sighting, recording: Recording) -> DeviceFacts | None:
    facts = recording.after.get(sighting.namespace)
    return facts.device(sighting.frame.device) if facts else None


def _is_back(visit: Visit, crossing: Crossing) -> bool:
    """The packet is back in a namespace that it had left: a loop."""
    return crossing.direction == IN and crossing.tunnel is None and any(
        earlier.direction == OUT and earlier.tunnel is None for earlier in visit.crossings)


def _is_on_path(sighting: Sighting, sightings: Iterable[Sighting], recording: Recording) -> bool:
    """Not the bridge itself, and of several ports the one at whose far end it was received."""
    frame = sighting.frame
    device = _device(sighting, recording)
    if device is not None and device.kind == "bridge":
        return False
    if not frame.outgoing:
        return True
    far_end = recording.cables.get((sighting.namespace, frame.device))
    if any((other.namespace, other.frame.device) == far_end and not other.frame.outgoing
           and other.frame.kind != TO_OTHERS for other in sightings):
        return True
    ports = {other.frame.device for other in sightings
             if other.namespace == sighting.namespace and other.frame.outgoing}
    return len(ports) == 1


def _count_fragment(path: list[Visit], sighting: Sighting) -> None:
    """Add a later fragment to the crossing of the first one: it takes the same path."""
    port = (sighting.frame.device, OUT if sighting.frame.outgoing else IN)
    for position in range(len(path) - 1, -1, -1):
        if path[position].namespace != sighting.namespace:
            continue
        crossings = list(path[position].crossings)
        for index, crossing in enumerate(crossings):
            if (crossing.device, crossing.direction) == port:
                crossings[index] = dataclasses.replace(crossing, fragments=crossing.fragments + 1)
                path[position] = Visit(sighting.namespace, tuple(crossings))
                return


def quoted_encapsulation(sighting: Sighting) -> Encapsulation | None:
    """Whose outer header an ICMP error is about, also where only that header is quoted."""
    quoted = sighting.packet.quoted
    if quoted is None:
        return None
    if quoted.encapsulated:
        return encapsulation_of(quoted.headers[0])
    port = quoted.transport.destination_port if quoted.transport else 0
    return encapsulation_of(quoted.headers[0], port)
