"""What the kernel says of a namespace and of the machine: devices, routes, counters, CPU time.

In go rtnetlink dumps, /proc/sys and statistics (proc(5)), of the namespace in which the calling
thread is. Out come :class:`~calico_mn.present.Present`, what a wanted state is compared with;
:class:`Facts`, what a trace needs to explain a packet's way; and counters. Nothing is changed but
by :func:`forget_neighbours`, and nothing here knows what the answers are wanted for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from calico_mn.errors import KernelError, ToolError
from calico_mn.kernel import decode
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.firewall import FirewallWriter
from calico_mn.kernel.netlink import NetlinkError, NetlinkSocket, attribute, attributes, u32
from calico_mn.kernel.netns import NamespaceThread, NetworkNamespace
from calico_mn.present import Present, Program, expected_qdiscs, expected_sysctls
from calico_mn.state import ALLOWED_SOURCES, VXLAN, FdbEntry, Namespace, Route, Sysctl, Tunnel

#: seconds of a tick of CPU time: 0.01 on every Linux architecture of today
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

# Counters are half of the answer, and unused.
_LINKS = rt.DUMP_LINKS[1] + u32(rt.IFLA_EXT_MASK, rt.RTEXT_FILTER_SKIP_STATS)

#: how often a new entry was refused, all namespaces together (/proc/net/stat/arp_cache)
NEIGHBOURS_FULL = "arp_cache.table_fulls"
#: what Facts has of net/ipv4
SETTINGS = ("conf/all/rp_filter", "conf/all/arp_ignore", "conf/all/forwarding",
            "icmp_echo_ignore_all")


def device_indexes(netlink: NetlinkSocket) -> dict[str, int]:
    """Name -> index of all devices in the socket's namespace."""
    return {name: index
            for index, name in decode.names(netlink.dump(rt.RTM_GETLINK, _LINKS)).items()}


def main_table() -> tuple[Route, ...]:
    """The routes of the main table in the namespace in which this thread is."""
    with NetlinkSocket() as netlink:
        names = decode.names(netlink.dump(rt.RTM_GETLINK, _LINKS))
        return decode.routes(netlink.dump(*rt.DUMP_ROUTES), names)


def devices_down() -> frozenset[str]:
    """The devices of the namespace in which this thread is that are down or have no carrier."""
    with NetlinkSocket() as netlink:
        return frozenset(device.link.name
                         for device in decode.devices(netlink.dump(*rt.DUMP_LINKS))
                         if not (device.link.up and device.carrier))


def present(thread: NamespaceThread, namespace: NetworkNamespace, wanted: Namespace,
            programs: Sequence[Program], firewalls: FirewallWriter) -> Present:
    """What ``namespace`` holds, as far as ``wanted`` speaks of it. Runs in ``thread``.

    A namespace that cannot be entered or read any more is told by ``failure``.
    """
    if namespace.descriptor < 0:
        return Present(wanted.name, failure="the namespace is gone")
    try:
        thread.enter(namespace)
        held = _read(wanted, programs, namespace.indexes)
        return held if wanted.firewall is None else replace(
            held, rules=firewalls.read(namespace))
    except (KernelError, ToolError) as error:
        return Present(wanted.name, failure=f"the namespace cannot be read: {error}")
    except OSError as error:
        return Present(wanted.name, failure=f"the namespace cannot be read: {error.strerror}")


def _read(wanted: Namespace, programs: Sequence[Program], recorded: Mapping[str, int]
          ) -> Present:
    with NetlinkSocket() as netlink:
        devices = decode.devices(netlink.dump(rt.RTM_GETLINK, _LINKS))
        links = tuple(device.link for device in devices)
        names = {link.index: link.name for link in links}
        # A device that was renamed still has its programs, under its index.
        indexes = {**recorded, **{link.name: link.index for link in links}}
        shaped = any(expected_qdiscs(device) for device in wanted.devices)
        qdiscs = [decode.qdisc(body, names)
                  for body in (netlink.dump(*rt.DUMP_QDISCS) if shaped else ())]
        has_vxlan = any(isinstance(d, Tunnel) and d.kind == VXLAN for d in wanted.devices)
        neighbours = [decode.neighbour(body, names)
                      for body in (netlink.dump(*rt.DUMP_NEIGHBOURS) if has_vxlan else ())]
        fdb = netlink.dump(*rt.DUMP_FDB) if has_vxlan else ()
        settings = {f"net/ipv4/conf/{device.link.name}/{key}": value
                    for device in devices for key, value in device.settings.items()}
        return Present(
            wanted.name, links, tuple(q for q in qdiscs if q),
            tuple(decode.address(body, names) for body in netlink.dump(*rt.DUMP_ADDRESSES)),
            _sysctls(expected_sysctls(wanted), settings),
            decode.routes(netlink.dump(*rt.DUMP_ROUTES), names, tables=("main", ALLOWED_SOURCES)),
            frozenset(attached for program in programs if program.device in indexes
                      for attached in _programs(netlink, program, indexes, names)),
            tuple(n[0] for n in neighbours if n and n[0].mac and n[1] == "PERMANENT"),
            tuple(e for body in fdb if (e := decode.fdb_entry(body, names))))


def _programs(netlink: NetlinkSocket, wanted: Program, indexes: Mapping[str, int],
              names: Mapping[int, str]) -> list[Program]:
    """All programs where ``wanted`` should be; none where there is no clsact qdisc."""
    request = rt.TC_HEADER.pack(0, indexes[wanted.device], 0, rt.DIRECTIONS[wanted.direction], 0)
    try:
        bodies = netlink.dump(rt.RTM_GETTFILTER, request)
    except NetlinkError:
        return []
    return [attached for body in bodies if (attached := decode.program(body, names))]


def _sysctls(wanted: Iterable[Sysctl], known: dict[str, int]) -> dict[str, int]:
    """The values that were asked for; without those that this kernel does not have."""
    values = {}
    for item in wanted:
        if item.path in known:
            values[item.path] = known[item.path]
            continue
        with suppress(FileNotFoundError):
            values[item.path] = int(_text(f"/proc/sys/{item.path}").split()[0])
    return values


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device; those from ``rp_filter`` on are its sysctls in net/ipv4/conf.

    ``kind`` is rtnetlink's (``veth``, ``bridge``, ``tun``, ``ipip``), empty for lo; ``arp`` is
    false after ``ip link set arp off``.
    """

    name: str
    index: int
    mtu: int
    mac: str
    up: bool
    carrier: bool
    kind: str
    arp: bool
    rp_filter: int
    forwarding: int
    proxy_arp: int
    arp_ignore: int
    accept_local: int


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

    ``settings`` are sysctls of net/ipv4, those of SETTINGS: of ``conf/all`` and the device the
    larger one counts (Documentation/networking/ip-sysctl). ``fdb`` are the forwarding entries of
    VXLAN devices.
    """

    devices: tuple[DeviceFacts, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    neighbours: tuple[NeighbourFacts, ...] = ()
    settings: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    fdb: tuple[FdbEntry, ...] = ()

    def device(self, name: str) -> DeviceFacts | None:
        """A device by its name."""
        return next((device for device in self.devices if device.name == name), None)

    def broken(self, wanted: Namespace) -> list[str]:
        """The wanted devices that are gone or down and addresses that are gone, in clauses."""
        clauses, gone = [], set()
        for device in wanted.devices:
            present = self.device(device.name)
            if present is None:
                gone.add(device.name)
                clauses.append(f"there is no device {device.name} any more")
            elif not present.up and getattr(device, "up", True):
                clauses.append(f"{device.name} is down")
        clauses += [f"{address.device} has lost its address {address.address}"
                    for address in wanted.addresses if address.device not in gone
                    and (address.device, address.address) not in self.addresses]
        return clauses

    def neighbour(self, device: str, address: str) -> NeighbourFacts | None:
        """The entry for an address on a device."""
        return next((n for n in self.neighbours
                     if n.device == device and n.address == address), None)

    def effective(self, setting: str, device: str) -> int:
        """What counts of a sysctl: the larger one of the device's and that of all."""
        return max(self.settings.get(f"conf/all/{setting}", 0),
                   getattr(self.device(device), setting, 0))

    def no_forwarding(self, device: str) -> str:
        """The sysctl that stops what comes in by a device: its own, or ip_forward for all."""
        name = f"conf.{device}.forwarding" if self.settings.get("conf/all/forwarding", 1) else (
            "ip_forward")  # the same as conf.all.forwarding (devinet_sysctl_forward)
        return f"net.ipv4.{name}=0"

    def tunnel_destination(self, device: str, mac: str) -> str:
        """The outer address of frames that a VXLAN device sends to ``mac``; "" without an entry."""
        return next((entry.destination for entry in self.fdb
                     if (entry.device, entry.mac) == (device, mac)), "")

    def owns(self, address: str) -> bool:
        """Whether the address is one of the namespace's own."""
        return any(own.partition("/")[0] == address for _device, own in self.addresses)


def facts() -> Facts:
    """The facts of the namespace in which this thread is."""
    with NetlinkSocket() as netlink:
        devices = decode.devices(netlink.dump(*rt.DUMP_LINKS))
        addresses = netlink.dump(*rt.DUMP_ADDRESSES)
        neighbours = netlink.dump(*rt.DUMP_NEIGHBOURS)
        has_vxlan = any(device.link.kind == VXLAN for device in devices)
        fdb = netlink.dump(*rt.DUMP_FDB) if has_vxlan else ()
    names = {device.link.index: device.link.name for device in devices}
    counters = {**protocol_counters(), NEIGHBOURS_FULL: _neighbours_full(), **{
        f"{device.link.name}.{name}": value
        for device in devices for name, value in device.drops.items()}}
    return Facts(
        tuple(map(_device, devices)),
        tuple((address.device, address.address)
              for address in (decode.address(body, names) for body in addresses)),
        tuple(NeighbourFacts(known[0].device, known[0].address, known[0].mac, known[1])
              for known in (decode.neighbour(body, names) for body in neighbours) if known),
        {name: int(_text(f"/proc/sys/net/ipv4/{name}")) for name in SETTINGS},
        {name: value for name, value in counters.items() if value},
        tuple(entry for body in fdb if (entry := decode.fdb_entry(body, names))))


def _device(device: decode.Device) -> DeviceFacts:
    link = device.link
    return DeviceFacts(link.name, link.index, link.mtu or 0, link.mac, link.up, device.carrier,
                       link.kind, device.arp, *(device.settings.get(key, 0) for key in (
                           "rp_filter", "forwarding", "proxy_arp", "arp_ignore", "accept_local")))


def _neighbours_full() -> int:
    """The sum over all CPUs: a line of names, and one of hexadecimal numbers for each.

    Only the machine's own namespace has the file, where this process's first thread is.
    """
    try:
        names, *lines = _text("/proc/self/net/stat/arp_cache").splitlines()
    except OSError:
        return 0
    place = names.split().index("table_fulls")
    return sum(int(line.split()[place], 16) for line in lines)


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


@dataclass(frozen=True, slots=True)
class CpuTicks:
    """Where the time of all CPUs went since boot, in the kernel's ticks."""

    user: int
    nice: int
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int

    @property
    def wanted(self) -> int:
        """All but idle time: what was worked, and what a hypervisor gave to others meanwhile."""
        return self.user + self.nice + self.system + self.irq + self.softirq + self.steal


def cpu_ticks() -> CpuTicks | None:
    """The line "cpu" of /proc/stat; None where the kernel does not tell."""
    try:
        return parse_cpu_ticks(_text("/proc/stat"))
    except (OSError, ValueError):
        return None


def parse_cpu_ticks(stat: str) -> CpuTicks | None:
    """The sums from /proc/stat; None where they are not all there."""
    for line in stat.splitlines():
        name, *fields = line.split()
        if name == "cpu" and len(fields) >= 8:
            # From the ninth on, times are counted twice: guests in user and nice.
            return CpuTicks(*map(int, fields[:8]))
    return None


def protocol_counters() -> dict[str, int]:
    """The counters of the namespace in which this thread is, since the namespace was made.

    ``Ip.InDiscards``, ``TcpExt.IPReversePathFilter`` and so on: those of RFC 4293 and Linux' own.
    """
    return {name: value for file in ("snmp", "netstat")
            for name, value in parse_counters(_text(f"/proc/thread-self/net/{file}")).items()}


def parse_counters(text: str) -> dict[str, int]:
    """The counters in /proc/net/snmp or netstat: a line of names and one of numbers a group."""
    lines = text.splitlines()
    counters: dict[str, int] = {}
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        group, *keys = names.split()
        counters.update((f"{group.rstrip(':')}.{key}", int(number))
                        for key, number in zip(keys, numbers.split()[1:], strict=False))
    return counters


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()
