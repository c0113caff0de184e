"""What one namespace is at a moment: devices, addresses, neighbours, counters. Read only.

Comes from rtnetlink dumps and /proc/net of the namespace in which the calling thread is. Nothing
here knows what the facts are wanted for. Counters are those of RFC 4293 and Linux's own
(/proc/net/snmp, /proc/net/netstat) and the devices' drops.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

from calico_mn.kernel.encode import DEVCONF, RTM_GETADDR, RTM_GETLINK
from calico_mn.kernel.netlink import NetlinkSocket, attribute, attributes

RTM_DELNEIGH, RTM_GETNEIGH = 29, 30

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_STATS64, _IFLA_AF_SPEC = 18, 23, 26
_IFF_UP, _IFF_LOWER_UP, _NUD_PERMANENT = 1, 0x10000, 0x80
_STATES = {0x01: "INCOMPLETE", 0x02: "REACHABLE", 0x04: "STALE", 0x08: "DELAY", 0x10: "PROBE",
           0x20: "FAILED", 0x80: "PERMANENT"}


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device; the last three are its sysctls in net/ipv4/conf.

    ``kind`` is rtnetlink's (``veth``, ``bridge``, ``tun``, ``ipip``), empty for lo.
    """

    name: str
    index: int
    mtu: int
    mac: str
    up: bool
    carrier: bool
    kind: str
    rp_filter: int
    forwarding: int
    proxy_arp: int


@dataclass(frozen=True, slots=True)
class NeighbourFacts:
    """A line of ``ip neigh``; ``mac`` is empty while nobody has answered."""

    device: str
    address: str
    mac: str
    state: str


@dataclass(frozen=True, slots=True)
class Facts:
    """One namespace. ``counters`` holds those that are not 0, such as ``Ip.FragFails``.

    ``rp_filter`` is that of ``conf/all``: the larger one of it and the device's counts
    (Documentation/networking/ip-sysctl).
    """

    devices: tuple[DeviceFacts, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    neighbours: tuple[NeighbourFacts, ...] = ()
    rp_filter: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    def device(self, name: str) -> DeviceFacts | None:
        """A device by its name."""
        return next((device for device in self.devices if device.name == name), None)

    def neighbour(self, device: str, address: str) -> NeighbourFacts | None:
        """The entry for an address on a device."""
        return next((n for n in self.neighbours
                     if n.device == device and n.address == address), None)

    def owns(self, address: str) -> bool:
        """Whether the address is one of the namespace's own."""
        return any(own.partition("/")[0] == address for _device, own in self.addresses)


def read() -> Facts:
    """The facts of the namespace in which this thread is."""
    with NetlinkSocket() as netlink:
        links = netlink.dump(RTM_GETLINK, bytes(16))
        addresses = netlink.dump(RTM_GETADDR, struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0))
        neighbours = netlink.dump(RTM_GETNEIGH, struct.pack("=BxxxiHBB", socket.AF_INET, 0, 0,
                                                            0, 0))
    counters = _protocol_counters()
    devices = []
    for body in links:
        device, drops = _device(body)
        devices.append(device)
        counters.update(drops)
    names = {device.index: device.name for device in devices}
    with open("/proc/sys/net/ipv4/conf/all/rp_filter", encoding="ascii") as file:
        rp_filter = int(file.read())
    return Facts(tuple(devices), tuple(_address(body, names) for body in addresses),
                 tuple(found for body in neighbours if (found := _neighbour(body, names))),
                 rp_filter, {name: value for name, value in counters.items() if value})


def forget_neighbours() -> None:
    """Remove what the namespace has learned about its neighbours, so that it must ask again.

    Permanent entries stay: they were configured, as those of a VXLAN device are.
    """
    with NetlinkSocket() as netlink:
        header = struct.Struct("=BxxxiHBB")
        known = netlink.dump(RTM_GETNEIGH, header.pack(socket.AF_INET, 0, 0, 0, 0))
        netlink.attempt([
            (RTM_DELNEIGH, 0, body[:header.size] + attribute(1, attributes(body[header.size:])[1]))
            for body in known if 1 in attributes(body[header.size:])
            and not header.unpack_from(body)[2] & _NUD_PERMANENT])


def _device(body: bytes) -> tuple[DeviceFacts, dict[str, int]]:
    index, flags = struct.unpack_from("=iI", body, 4)
    found = attributes(body[16:])
    name = found[_IFLA_IFNAME].rstrip(b"\0").decode()
    conf = attributes(attributes(found.get(_IFLA_AF_SPEC, b"")).get(socket.AF_INET, b"")).get(1)
    values = struct.unpack(f"={len(conf) // 4}i", conf) if conf else ()

    def setting(key: str) -> int:
        position = DEVCONF[key] - 1
        return values[position] if position < len(values) else 0

    kind = attributes(found.get(_IFLA_LINKINFO, b"")).get(1, b"").rstrip(b"\0").decode()
    drops = {}
    if len(found.get(_IFLA_STATS64, b"")) >= 64:
        numbers = struct.unpack_from("=8Q", found[_IFLA_STATS64])
        drops = {f"{name}.rx_dropped": numbers[6], f"{name}.tx_dropped": numbers[7],
                 f"{name}.rx_errors": numbers[4], f"{name}.tx_errors": numbers[5]}
    mtu, = struct.unpack("=I", found[_IFLA_MTU])
    return DeviceFacts(name, index, mtu, found.get(_IFLA_ADDRESS, b"").hex(":"),
                       bool(flags & _IFF_UP), bool(flags & _IFF_LOWER_UP), kind,
                       setting("rp_filter"), setting("forwarding"), setting("proxy_arp")), drops


def _address(body: bytes, names: dict[int, str]) -> tuple[str, str]:
    _family, length, _flags, _scope, index = struct.unpack_from("=BBBBI", body)
    found = attributes(body[8:])
    return names.get(index, ""), f"{socket.inet_ntoa(found.get(2) or found[1])}/{length}"


def _neighbour(body: bytes, names: dict[int, str]) -> NeighbourFacts | None:
    _family, index, state, _flags, _kind = struct.unpack_from("=BxxxiHBB", body)
    found = attributes(body[12:])
    if state not in _STATES or 1 not in found:
        return None
    return NeighbourFacts(names.get(index, ""), socket.inet_ntoa(found[1]),
                          found.get(2, b"").hex(":"), _STATES[state])


def _protocol_counters() -> dict[str, int]:
    """``Ip.InDiscards``, ``TcpExt.IPReversePathFilter`` and so on."""
    found: dict[str, int] = {}
    for name in ("snmp", "netstat"):
        with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
            lines = file.read().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=False):
            protocol, *keys = names.split()
            found.update((f"{protocol.rstrip(':')}.{key}", int(value))
                         for key, value in zip(keys, values.split()[1:], strict=False))
    return found
