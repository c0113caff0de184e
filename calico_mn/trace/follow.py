"""From captured frames to the path of a packet through the namespaces, and to its ARP. Pure.

    frames --> sort_frames --> forward, reply, errors --> visits --> devices crossed, in order
                           \\-> ARP --> neighbour --> how a host knew a MAC address

A switch that does not know a MAC address yet floods the frame: the copies that reach hosts to
which it is not addressed are kept apart from the path. How a host knew the MAC address of a next
hop is in its neighbour table before and after the packet, or in ARP requests and replies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.kernel import packets
from calico_mn.kernel.capture import TO_OTHERS, Frame
from calico_mn.trace.path_trace import (
    FORWARD,
    IN,
    OUT,
    REPLY,
    Crossing,
    Neighbour,
    encapsulation_of,
)
from calico_mn.trace.recording import SWITCH, Recording

#: operations of ARP
_REQUEST, _REPLY = 1, 2
#: source, destination, identification and protocol of a fragmented packet
_Fragment = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A frame that carries the probe, its reply or an error."""

    namespace: str
    frame: Frame
    packet: packets.Packet


@dataclass(frozen=True, slots=True)
class ArpSighting:
    """An ARP frame at a host; that switches pass it on tells nothing."""

    namespace: str
    frame: Frame
    arp: packets.Arp


@dataclass(slots=True)
class Visit:
    """The devices that a packet crossed in one namespace, before it left for the next one."""

    namespace: str
    crossings: list[Crossing]


@dataclass(frozen=True, slots=True)
class SortedFrames:
    """A recording's frames by what they are; each of ``errors`` is one ICMP message's frames.

    ``identifiers`` are those that the probe had, before and after NAT.
    """

    forward: tuple[Sighting, ...]
    reply: tuple[Sighting, ...]
    errors: tuple[tuple[Sighting, ...], ...]
    arp: tuple[ArpSighting, ...]
    identifiers: tuple[int, ...]


def _role(packet: packets.Packet, recording: Recording, identifiers: Collection[int]) -> str:
    """``forward`` for the probe, ``reply`` for its answer, "" for any other packet.

    ``identifiers`` are the mark's and those that NAT gave to the probe. What has the whole token,
    or TCP's sequence, is the probe under any identifier.
    """
    transport, probe, mark = packet.transport, recording.probe, recording.mark
    if transport is None or transport.protocol != packets.PROTOCOLS[probe.protocol]:
        return ""
    payload = transport.payload[:len(mark.token)]
    if transport.protocol == packets.ICMP:
        if transport.rest & 0xFFFF != mark.sequence or not mark.token.startswith(payload) or (
                payload != mark.token and _identifier(transport) not in identifiers):
            return ""
        return {packets.ECHO_REQUEST: FORWARD, packets.ECHO_REPLY: REPLY}.get(transport.kind, "")
    is_marked = (transport.sequence == mark.sequence if transport.protocol == packets.TCP else
                 payload == mark.token or (mark.token.startswith(payload)
                                           and transport.source_port in identifiers))
    if transport.destination_port == probe.port and is_marked:
        return FORWARD
    return REPLY if (transport.source_port == probe.port
                     and transport.destination_port in identifiers) else ""


def _identifier(transport: packets.Transport) -> int:
    """What tells flows apart: ICMP's identifier, or the source port."""
    return transport.rest >> 16 if transport.protocol == packets.ICMP else transport.source_port


def sort_frames(recording: Recording) -> SortedFrames:
    """Tell the probe, the reply, errors about one of them, and ARP from all other frames."""
    legs: dict[str, list[Sighting]] = {FORWARD: [], REPLY: []}
    errors: dict[tuple[object, ...], list[Sighting]] = {}
    arp: list[ArpSighting] = []
    fragments: dict[_Fragment, str] = {}
    identifiers = {recording.mark.identifier: None}
    for namespace, frame in recording.frames:
        packet = frame.packet
        if packet is None:
            continue
        if packet.arp is not None:
            if recording.kinds[namespace] != SWITCH:
                arp.append(ArpSighting(namespace, frame, packet.arp))
        elif packet.quoted is not None and packet.transport is not None:
            if _role(packet.quoted, recording, identifiers):
                error = (packet.transport.kind, packet.transport.code,
                         packet.headers[-1].source, packet.headers[-1].destination)
                errors.setdefault(error, []).append(Sighting(namespace, frame, packet))
        else:
            role = _role(packet, recording, identifiers)
            if role == FORWARD and packet.transport is not None:
                identifiers[_identifier(packet.transport)] = None
            kind = role or _fragment_role(packet, fragments)
            if kind:
                fragments |= {_fragment(header): kind for header in packet.headers
                              if header.is_fragment}
                legs[kind].append(Sighting(namespace, frame, packet))
    return SortedFrames(tuple(legs[FORWARD]), tuple(legs[REPLY]),
                        tuple(tuple(sightings) for sightings in errors.values()), tuple(arp),
                        tuple(identifiers))


def _fragment(header: packets.Header) -> _Fragment:
    """What the fragments of one packet have in common (RFC 791, section 3.2)."""
    return header.source, header.destination, header.identification, header.protocol


def _fragment_role(packet: packets.Packet, known: Mapping[_Fragment, str]) -> str:
    """The role of a later fragment, which has no ports: that of the first one."""
    if not any(header.offset for header in packet.headers):
        return ""
    return next((known[key] for key in map(_fragment, packet.headers) if key in known), "")


def visits(sightings: Sequence[Sighting], recording: Recording, start: int
           ) -> tuple[list[Visit], tuple[str, ...]]:
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
            path[-1].crossings.append(crossing)
        else:
            path.append(Visit(namespace, [crossing]))
    return path, tuple(copies)


def _crossing(sighting: Sighting, recording: Recording, start: int) -> Crossing:
    frame, packet = sighting.frame, sighting.packet
    device = recording.device(sighting.namespace, frame.device)
    return Crossing(frame.device, OUT if frame.outgoing else IN, packet.layers,
                    device.mtu if device else 0, (frame.time - start) / 1000)


def _is_back(visit: Visit, crossing: Crossing) -> bool:
    """The packet is back in a namespace that it had left: a loop."""
    return crossing.direction == IN and crossing.tunnel is None and any(
        earlier.direction == OUT and earlier.tunnel is None for earlier in visit.crossings)


def _is_on_path(sighting: Sighting, sightings: Iterable[Sighting], recording: Recording) -> bool:
    """Not the bridge itself, and of several ports the one at whose far end it was received."""
    frame = sighting.frame
    device = recording.device(sighting.namespace, frame.device)
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
    for visit in reversed(path):
        for index, crossing in enumerate(visit.crossings):
            if visit.namespace == sighting.namespace and (
                    crossing.device, crossing.direction) == port:
                visit.crossings[index] = dataclasses.replace(
                    crossing, fragments=crossing.fragments + 1)
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


# --- ARP (RFC 826)

def neighbour(recording: Recording, arp: Sequence[ArpSighting], namespace: str, device: str,
              address: str, frame_mac: str = "", sent: int | None = None) -> Neighbour:
    """How ``namespace`` knew, or did not know, the MAC address of ``address`` on ``device``.

    ``frame_mac`` is the MAC address that the frame carried, ``sent`` its time in ns: a request
    after that was not made for this frame.
    """
    requests = _requests(arp, namespace, device, address, sent)
    after = recording.after[namespace].neighbour(device, address)
    before = recording.before[namespace].neighbour(device, address)
    entry = after if requests else before or after
    mac = frame_mac or (entry.mac if entry else "")
    state = entry.state if entry else ""
    if not requests:
        return Neighbour(device, address, mac, state)
    request = requests[0]
    reply = _reply(arp, request)
    answered_by = (reply.namespace, reply.frame.device) if reply else None
    return Neighbour(
        device, address, mac, state, len(requests), request.arp.sender, answered_by,
        proxy=reply is not None and not recording.after[reply.namespace].owns(address),
        heard_by=_listeners(arp, request, reply.namespace if reply else ""))


def _requests(arp: Sequence[ArpSighting], namespace: str, device: str, address: str,
              sent: int | None) -> list[ArpSighting]:
    """The requests for an address that a host sent out of a device, up to the time ``sent``."""
    return [sighting for sighting in arp
            if sighting.arp.operation == _REQUEST and sighting.arp.target == address
            and (sighting.namespace, sighting.frame.device) == (namespace, device)
            and sighting.frame.outgoing and (sent is None or sighting.frame.time <= sent)]


def _reply(arp: Sequence[ArpSighting], request: ArpSighting) -> ArpSighting | None:
    """The first reply to a request, where the answering host sent it."""
    return next((sighting for sighting in arp
                 if sighting.arp.operation == _REPLY and sighting.frame.outgoing
                 and sighting.arp.sender == request.arp.target
                 and sighting.arp.target == request.arp.sender
                 and sighting.frame.time >= request.frame.time), None)


def _listeners(arp: Sequence[ArpSighting], request: ArpSighting, answering: str
               ) -> tuple[str, ...]:
    """The hosts, besides the asking and the answering one, that received a request."""
    return tuple(dict.fromkeys(
        sighting.namespace for sighting in arp
        if sighting.arp == request.arp and not sighting.frame.outgoing
        and sighting.namespace not in (request.namespace, answering)
        and sighting.frame.kind != TO_OTHERS))


def is_waiting(arp: Sequence[ArpSighting]) -> bool:
    """Whether a host still waits for an ARP reply."""
    requests = {(sighting.arp.sender, sighting.arp.target) for sighting in arp
                if sighting.arp.operation == _REQUEST and sighting.frame.outgoing}
    replies = {(sighting.arp.target, sighting.arp.sender) for sighting in arp
               if sighting.arp.operation == _REPLY}
    return bool(requests - replies)
