"""The causes for which packets are dropped, and what in Linux points to each of them. Pure.

``cause`` names stand in a trace's JSON and in ``docs/trace.md``. A route's kind or the errno of a
route lookup gives the cause directly; the counters only support one that was found otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn.trace.recording import Recording

BLACKHOLE, UNREACHABLE, PROHIBIT, NO_ROUTE = "blackhole", "unreachable", "prohibit", "no-route"
RP_FILTER, MARTIAN, TTL, TOO_BIG = "rp-filter", "martian", "ttl", "too-big"
DEVICE_DOWN, NO_NEIGHBOUR, WRONG_MAC = "device-down", "no-neighbour", "wrong-mac"
NOT_FORWARDING, NOT_DECAPSULATED, NOT_ENCAPSULATED = (
    "not-forwarding", "not-decapsulated", "not-encapsulated")
FILTER, LOST, NO_REPLY, UNKNOWN = "filter", "lost-on-cable", "no-reply", "unknown"

#: the kinds of route that end a packet's path -> the cause
CAUSE_OF_KIND = {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT}


@dataclass(frozen=True, slots=True)
class RouteLookupError:
    """The meaning of a route lookup's errno: the cause, strerror(3)'s text, and a short form."""

    cause: str
    message: str
    summary: str


#: errno -> its meaning. EXDEV is the reverse path filter's up to Linux 6.12.
LOOKUP_ERRORS = {
    "ENETUNREACH": RouteLookupError(NO_ROUTE, "Network is unreachable", "no route"),
    "EXDEV": RouteLookupError(RP_FILTER, "Invalid cross-device link", "source refused"),
    "EINVAL": RouteLookupError(MARTIAN, "Invalid argument", "source refused"),
    "EHOSTUNREACH": RouteLookupError(UNREACHABLE, "No route to host", "unreachable"),
    "EACCES": RouteLookupError(PROHIBIT, "Permission denied", "prohibited"),
}

#: counters of dropped packets in /proc/net/netstat and /proc/net/snmp; a device's own by suffix
_DROP_COUNTERS = frozenset((
    "TcpExt.IPReversePathFilter", "Ip.InHdrErrors", "Ip.InAddrErrors", "Ip.InUnknownProtos",
    "Ip.InDiscards", "Ip.OutDiscards", "Ip.OutNoRoutes", "Ip.FragFails", "IpExt.InNoRoutes",
    "Icmp.OutDestUnreachs", "Icmp.OutTimeExcds", "TcpExt.TCPMinTTLDrop",
))
_DEVICE_COUNTERS = (".rx_dropped", ".tx_dropped", ".rx_errors", ".tx_errors")


def counter_deltas(recording: Recording, namespace: str) -> dict[str, int]:
    """By how much a namespace's drop counters rose during the probe, only those that did."""
    before = recording.before[namespace].counters
    deltas = {name: value - before.get(name, 0)
              for name, value in recording.after[namespace].counters.items()
              if name in _DROP_COUNTERS or name.endswith(_DEVICE_COUNTERS)}
    return {name: delta for name, delta in deltas.items() if delta > 0}
