"""What one namespace is at a moment: devices, addresses, neighbours, counters. Read only.

Comes from rtnetlink dumps and /proc/net of the namespace in which the calling thread is. Nothing
here knows what the facts are wanted for. Counters are those of RFC 4293 and Linux's own
(/proc/net/snmp, /proc/net/netstat) and the devices' drops.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from calico_mn.kernel import decode
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import NetlinkSocket, attribute, attributes
from calico_mn.kernel.proc import protocol_counters
from calico_mn.state import VXLAN, FdbEntry


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
    """A line of ``ip neigh``; ``mac`` is empty while there is no answer."""

    device: str
    address: str
    mac: str
    state: str


@dataclass(frozen=True, slots=True)
class Facts:
    """One namespace. ``counters`` holds those that are not 0, such as ``Ip.FragFails``.

    ``rp_filter`` is that of ``conf/all``: the larger one of it and the device's counts
    (Documentation/networking/ip-sysctl). ``fdb`` are the forwarding entries of VXLAN devices.
    """

    devices: tuple[DeviceFacts, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    neighbours: tuple[NeighbourFacts, ...] = ()
    rp_filter: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    fdb: tuple[FdbEntry, ...] = ()

    def device(self, name: str) -> DeviceFacts | None:
        """A device by its name."""
        return next((device for device in self.devices if device.name == name), None)

    def neighbour(self, device: str, address: str) -> NeighbourFacts | None:
        """The entry for an address on a device."""
        return next((n for n in self.neighbours
                     if n.device == device and n.address == address), None)

    def tunnel_destination(self, device: str, mac: str) -> str:
        """The outer address of frames that a VXLAN device sends to ``mac``; "" without an entry."""
        return next((entry.destination for entry in self.fdb
                     if (entry.device, entry.mac) == (device, mac)), "")

    def owns(self, address: str) -> bool:
        """Whether the address is one of the namespace's own."""
        return any(own.partition("/")[0] == address for _device, own in self.addresses)


def read() -> Facts:
    """The facts of the namespace in which this thread is."""
    with NetlinkSocket() as netlink:
        devices = decode.devices(netlink.dump(*rt.DUMP_LINKS))
        addresses = netlink.dump(*rt.DUMP_ADDRESSES)
        neighbours = netlink.dump(*rt.DUMP_NEIGHBOURS)
        has_vxlan = any(device.link.kind == VXLAN for device in devices)
        fdb = netlink.dump(*rt.DUMP_FDB) if has_vxlan else ()
    names = {device.link.index: device.link.name for device in devices}
    counters = {**protocol_counters(), **{
        f"{device.link.name}.{name}": value
        for device in devices for name, value in device.drops.items()}}
    with open("/proc/sys/net/ipv4/conf/all/rp_filter", encoding="ascii") as file:
        rp_filter = int(file.read())
    return Facts(
        tuple(map(_device, devices)),
        tuple((address.device, address.address)
              for address in (decode.address(body, names) for body in addresses)),
        tuple(NeighbourFacts(known[0].device, known[0].address, known[0].mac, known[1])
              for known in (decode.neighbour(body, names) for body in neighbours) if known),
        rp_filter, {name: value for name, value in counters.items() if value},
        tuple(entry for body in fdb if (entry := decode.fdb_entry(body, names))))


def _device(device: decode.Device) -> DeviceFacts:
    link = device.link
    return DeviceFacts(link.name, link.index, link.mtu or 0, link.mac, link.up, device.carrier,
                       link.kind, *(device.settings.get(key, 0)
                                    for key in ("rp_filter", "forwarding", "proxy_arp")))


def forget_neighbours() -> None:
    """Remove what the namespace has learned about its neighbours, so that it must ask again.

    Permanent entries stay: they were configured, as those of a VXLAN device are.
    """
    size = rt.NEIGHBOUR_HEADER.size
    with NetlinkSocket() as netlink:
        known = [(body[:size], attributes(body[size:]))
                 for body in netlink.dump(*rt.DUMP_NEIGHBOURS)
                 if not rt.NEIGHBOUR_HEADER.unpack_from(body)[2] & rt.NUD_PERMANENT]
        netlink.attempt([
            (rt.RTM_DELNEIGH, 0, header + attribute(rt.NDA_DST, inside[rt.NDA_DST]))
            for header, inside in known if rt.NDA_DST in inside])
