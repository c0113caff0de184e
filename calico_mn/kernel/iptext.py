"""States and deltas as the commands that a person would type: for logs, plans and errors.

In goes what :mod:`.steps` turns into messages; out come the commands of iproute2 and sysctl that
amount to the same, a line each. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_mn.delta import Delta
from calico_mn.kernel import firewall, rtnetlink
from calico_mn.kernel.ebpf import OBJECT
from calico_mn.present import Link, Program
from calico_mn.state import (
    VXLAN,
    Address,
    Bridge,
    Device,
    Neighbour,
    NeighbourEntry,
    Route,
    Shaping,
    Sysctl,
    Tunnel,
    Veth,
    VethEnd,
)


def device_added(device: Device) -> list[str]:
    """The commands that make ``device`` and bring it up."""
    if isinstance(device, Veth):
        peer = device.peer
        command = (f"ip link add {device.name}{_mac(device.mac)} mtu {device.mtu}"
                   f" txqueuelen {device.txqueuelen} type veth peer name {peer.name}"
                   f"{_mac(peer.mac)} mtu {peer.mtu} txqueuelen {device.txqueuelen}"
                   f" netns {peer.namespace}")
        commands = [command]
        if device.master:
            commands.append(f"ip link set {device.name} master {device.master}")
        return [*commands, f"ip link set {device.name} {'up' if device.up else 'down'}",
                *shaping(device.name, device.shaping)]
    if isinstance(device, VethEnd):
        return [f"ip link set {device.name} up", *shaping(device.name, device.shaping)]
    if isinstance(device, Bridge):
        return [f"ip link add {device.name} mtu {device.mtu} type bridge mcast_snooping 0",
                f"ip link set {device.name} up"]
    if device.kind == VXLAN:
        local = f" local {device.local}" if device.local else ""
        uplink = f" dev {device.uplink}" if device.uplink else ""
        return [f"ip link add {device.name}{_mac(device.mac)} mtu {device.mtu} type vxlan"
                f" id {device.vni}{local}{uplink} dstport {device.port} nolearning",
                f"ip link set {device.name} {'up' if device.up else 'down'}"]
    return [f"ip link add {device.name} type {device.kind}", *tunnel_changed(device)]


def _mac(address: str) -> str:
    return f" address {address}" if address else ""


def shaping(device: str, item: Shaping | None) -> Iterator[str]:
    """The ``tc`` commands for a device's rate, delay and loss."""
    parent = "root"
    if item and item.rate:
        burst, limit = rtnetlink.bucket(item.rate)
        yield (f"tc qdisc add dev {device} root handle 1: tbf rate"
               f" {rtnetlink.bytes_per_second(item.rate) * 8}bit burst {burst} limit {limit}")
        parent = "parent 1:1"
    if item and item.has_netem:
        yield (f"tc qdisc add dev {device} {parent} netem limit {rtnetlink.NETEM_LIMIT}"
               + (f" delay {round((item.delay or 0) * 1000)}us" if item.delay or item.jitter
                  else "")
               + (f" {round(item.jitter * 1000)}us" if item.jitter else "")
               + (f" loss {item.loss:g}%" if item.loss else "")
               + (f" reorder {item.reorder:g}%" if item.reorder else ""))


def reshaped(end: Veth | VethEnd) -> list[str]:
    """The commands that give a device another shaping, or none."""
    lines = [f"tc qdisc del dev {end.name} root", *shaping(end.name, end.shaping)]
    if end.shaping and isinstance(end, Veth) and not end.txqueuelen:
        lines.append(f"ip link set {end.name} txqueuelen 0")
    return lines


def tunnel_changed(device: Tunnel) -> list[str]:
    """The command that gives a tunnel its MTU and administrative state."""
    state = "up" if device.up else "down"
    return [f"ip link set {device.name} mtu {device.mtu} txqueuelen 1000 {state}"]


def sysctl(item: Sysctl) -> str:
    """``sysctl -w``, in its form with slashes, which a dot in a device's name cannot confuse."""
    return f"sysctl -w {item.path}={item.value}"


def address(item: Address, *, remove: bool = False) -> str:
    """``ip address add`` or ``del``."""
    return f"ip address {'del' if remove else 'add'} {item.address} dev {item.device}"


def neighbour(item: NeighbourEntry, *, remove: bool = False) -> str:
    """``ip neigh`` or ``bridge fdb``, ``replace`` or ``del``."""
    verb = "del" if remove else "replace"
    if isinstance(item, Neighbour):
        permanent = "" if remove else " nud permanent"
        return f"ip neigh {verb} {item.address} lladdr {item.mac} dev {item.device}{permanent}"
    permanent = "" if remove else " permanent"
    return (f"bridge fdb {verb} {item.mac} dev {item.device} dst {item.destination} self"
            f"{permanent}")


def route(item: Route, *, remove: bool = False) -> str:
    """``ip route replace`` or ``del``."""
    return f"ip route {'del' if remove else 'replace'} {item.line or item}"


def link_removal(device: Device | Link) -> str:
    """``ip link del``."""
    return f"ip link del {device.name}"


def commands(change: Delta) -> list[str]:
    """All commands of a delta, in the order in which the writer carries them out."""
    of_device = change.device_sysctls()
    lines = [sysctl(item) for item in change.sysctls if not item.is_of_device]
    lines += [link_removal(device) for device in change.devices_outdated]
    for link, name in change.devices_renamed:
        lines += [f"ip link set {link.name} down", f"ip link set {link.name} name {name}"]
        if link.up:
            lines.append(f"ip link set {name} up")
    for device in change.devices_added:
        lines += device_added(device)
        lines += [sysctl(item) for item in of_device.pop(device.name, ())]
    lines += [link_changed(wanted, present) for wanted, present in change.links_changed]
    for end in change.devices_reshaped:
        lines += reshaped(end)
    for program in change.programs:
        lines += program_attached(program)
    for items in of_device.values():
        lines += [sysctl(item) for item in items]
    for tunnel in change.tunnels_changed:
        lines += tunnel_changed(tunnel)
    lines += [address(item) for item in change.addresses_added]
    lines += [neighbour(item) for item in change.neighbours_replaced]
    lines += [f"ip route replace {item.line or item}" for item in change.routes_replaced]
    lines += [f"ip route del {item.line or item}" for item in change.routes_removed]
    lines += [neighbour(item, remove=True) for item in change.neighbours_removed]
    lines += [address(item, remove=True) for item in change.addresses_removed]
    lines += [link_removal(device) for device in change.devices_removed]
    return lines + firewall.commands(change.firewall) if change.firewall else lines


def link_changed(wanted: Link, present: Link) -> str:
    """``ip link set`` with what differs."""
    words = {"mtu": f"mtu {wanted.mtu}", "txqueuelen": f"txqueuelen {wanted.txqueuelen}",
             "mac": f"address {wanted.mac}",
             "master": f"master {wanted.master}" if wanted.master else "nomaster",
             "up": "up" if wanted.up else "down"}
    return " ".join(["ip link set", wanted.name, *(
        word for name, word in words.items() if getattr(wanted, name) != getattr(present, name))])


def program_attached(item: Program) -> list[str]:
    """``tc`` for a program of the tunnel; the object file is this package's."""
    return [f"tc qdisc replace dev {item.device} clsact",
            f"tc filter replace dev {item.device} {item.direction} prio 1 handle 1 bpf"
            f" direct-action object-file {OBJECT.name} section {item.name}"]
