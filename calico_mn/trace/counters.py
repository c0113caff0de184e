"""The kernel's counters of packets that ended: which rose while a probe was on its way. Pure.

``TcpExt.``, ``Ip.``, ``IpExt.`` and ``Icmp.`` are those of /proc/net/netstat and /proc/net/snmp.
"""

from __future__ import annotations

from calico_mn.trace.recording import Recording

#: counters that tell of packets that ended; a device's own are added by their suffix
_TELLING = (
    "TcpExt.IPReversePathFilter", "Ip.InHdrErrors", "Ip.InAddrErrors", "Ip.InUnknownProtos",
    "Ip.InDiscards", "Ip.OutDiscards", "Ip.OutNoRoutes", "Ip.FragFails", "IpExt.InNoRoutes",
    "Icmp.OutDestUnreachs", "Icmp.OutTimeExcds", "TcpExt.TCPMinTTLDrop",
)
_DEVICE_COUNTERS = (".rx_dropped", ".tx_dropped", ".rx_errors", ".tx_errors")


def risen(recording: Recording, namespace: str) -> dict[str, int]:
    """The telling counters of a namespace that rose while the probe was on its way."""
    before = recording.before[namespace].counters
    found = {}
    for name, value in recording.after[namespace].counters.items():
        if name in _TELLING or name.endswith(_DEVICE_COUNTERS):
            rise = value - before.get(name, 0)
            if rise > 0:
                found[name] = rise
    return found
