"""How a host knew the MAC address of a next hop: from its neighbour table, or by ARP. Pure.

A capture shows the requests and replies (RFC 826); the neighbour table shows what was known
before the packet and afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calico_mn.kernel.capture import TO_OTHERS
from calico_mn.trace.follow import ArpSighting
from calico_mn.trace.path_trace import Neighbour
from calico_mn.trace.recording import SWITCH, Recording

_REQUEST, _REPLY = 1, 2


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
    reply = _reply(recording, arp, request)
    answered_by = (reply.namespace, reply.frame.device) if reply else None
    return Neighbour(
        device, address, mac, state, len(requests), request.arp.sender, answered_by,
        proxy=reply is not None and not recording.after[reply.namespace].owns(address),
        heard_by=_listeners(recording, arp, request, reply.namespace if reply else ""))


def _requests(arp: Sequence[ArpSighting], namespace: str, device: str, address: str,
              sent: int | None) -> list[ArpSighting]:
    """The requests for an address that a host sent out of a device, up to the time ``sent``."""
    return [sighting for sighting in arp
            if sighting.arp.operation == _REQUEST and sighting.arp.target == address
            and (sighting.namespace, sighting.frame.device) == (namespace, device)
            and sighting.frame.outgoing and (sent is None or sighting.frame.time <= sent)]


def _reply(recording: Recording, arp: Sequence[ArpSighting], request: ArpSighting
           ) -> ArpSighting | None:
    """The first reply to a request, where the answering host sent it."""
    return next((sighting for sighting in arp
                 if sighting.arp.operation == _REPLY and sighting.frame.outgoing
                 and sighting.arp.sender == request.arp.target
                 and sighting.arp.target == request.arp.sender
                 and sighting.frame.time >= request.frame.time
                 and recording.kinds[sighting.namespace] != SWITCH), None)


def _listeners(recording: Recording, arp: Sequence[ArpSighting], request: ArpSighting,
               answering: str) -> tuple[str, ...]:
    """The hosts, besides the asking and the answering one, that received a request."""
    return tuple(dict.fromkeys(
        sighting.namespace for sighting in arp
        if sighting.arp == request.arp and not sighting.frame.outgoing
        and sighting.namespace not in (request.namespace, answering)
        and sighting.frame.kind != TO_OTHERS and recording.kinds[sighting.namespace] != SWITCH))


def is_unresolved(neighbour: Neighbour) -> bool:
    """There was no reply, or the entry shows that none came in time."""
    return neighbour.answered_by is None and (
        neighbour.state in ("INCOMPLETE", "FAILED")
        or (neighbour.requests > 0 and not neighbour.mac))


def is_waiting(arp: Sequence[ArpSighting], kinds: Mapping[str, str]) -> bool:
    """Whether a host still waits for an ARP reply."""
    requests = {(sighting.arp.sender, sighting.arp.target) for sighting in arp
                if sighting.arp.operation == _REQUEST and sighting.frame.outgoing
                and kinds[sighting.namespace] != SWITCH}
    replies = {(sighting.arp.target, sighting.arp.sender) for sighting in arp
               if sighting.arp.operation == _REPLY}
    return bool(requests - replies)
