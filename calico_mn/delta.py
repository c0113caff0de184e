"""Wanted state minus present state: the changes that bring one namespace from one to the other.

Every change in the kernel is a :class:`Delta`, wherever it comes from::

    a boot      creation(wanted)         wanted minus nothing
    a change    delta(before, wanted)    wanted minus what was written before
    a repair    repair.next_deltas()     wanted minus what was read

Pure. What is in neither state is left alone: routes and addresses that were added by hand are
neither seen nor removed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Interface
from typing import TypeVar

from calico_mn.present import Link, Program, expected_link
from calico_mn.rules import FirewallChange
from calico_mn.state import (
    Address,
    Bridge,
    Device,
    Namespace,
    Neighbour,
    NeighbourEntry,
    Route,
    Sysctl,
    Tunnel,
    Veth,
    VethEnd,
)

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes for one namespace, in the order in which a packet in flight survives them.

    New devices, sysctls and addresses come before the routes that use them; what became
    superfluous goes after the routes that used it. Only what is in the way of a new device goes
    first (``devices_outdated``). ``routes_replaced`` holds new routes and routes whose destination
    exists with other attributes: the kernel swaps those in one step.

    ``links_changed``: each device as it should be, and as it is. ``devices_reshaped`` get their
    queueing disciplines again. Repairs alone have ``devices_renamed``, each device as it is called
    now, with its name, and ``programs``, which are attached again.

    ``firewall`` comes last: iptables has a look of its own at what is there.
    """

    namespace: str
    devices_outdated: tuple[Device | Link, ...] = ()
    devices_renamed: tuple[tuple[Link, str], ...] = ()
    devices_added: tuple[Device, ...] = ()
    links_changed: tuple[tuple[Link, Link], ...] = ()
    devices_reshaped: tuple[Veth | VethEnd, ...] = ()
    programs: tuple[Program, ...] = ()
    tunnels_changed: tuple[Tunnel, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    addresses_added: tuple[Address, ...] = ()
    neighbours_replaced: tuple[NeighbourEntry, ...] = ()
    routes_replaced: tuple[Route, ...] = ()
    routes_removed: tuple[Route, ...] = ()
    neighbours_removed: tuple[NeighbourEntry, ...] = ()
    addresses_removed: tuple[Address, ...] = ()
    devices_removed: tuple[Device, ...] = ()
    firewall: FirewallChange | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in _CHANGES)

    @property
    def touches_devices(self) -> bool:
        """Whether devices or sysctls must be seen to before the rest can be planned."""
        return bool(self.devices_outdated or self.devices_added or self.devices_removed
                    or self.devices_renamed or self.sysctls)

    @property
    def tunnels_added(self) -> tuple[Tunnel, ...]:
        """Those of the devices to be made that a tunnel back end makes."""
        return tuple(device for device in self.devices_added
                     if isinstance(device, Tunnel) and device.has_back_end)

    @property
    def main_routes_replaced(self) -> tuple[Route, ...]:
        """The new and changed routes by which packets go: those of the main table."""
        return tuple(route for route in self.routes_replaced if route.table == "main")

    def device_sysctls(self) -> dict[str, list[Sysctl]]:
        """The sysctls of single devices, by device."""
        of_device: dict[str, list[Sysctl]] = {}
        for item in self.sysctls:
            if item.is_of_device:
                of_device.setdefault(item.device, []).append(item)
        return of_device


_CHANGES = tuple(field.name for field in fields(Delta) if field.name != "namespace")


def without_routes(state: Namespace, protocol: str) -> Namespace:
    """A state without the routes of a protocol, which another program writes; "" is none."""
    return replace(state, routes=tuple(
        r for r in state.routes if r.protocol != protocol)) if protocol else state


def creation(wanted: Namespace, foreign_protocol: str = "") -> Delta:
    """The delta against an empty namespace."""
    return delta(Namespace(wanted.name), wanted, foreign_protocol)


def delta(present: Namespace, wanted: Namespace, foreign_protocol: str = "") -> Delta:
    """What brings a namespace from ``present`` to ``wanted``.

    Another program writes the routes of ``foreign_protocol``. A tunnel is the same device with
    another MTU or administrative state, a veth with another shaping or administrative state. Every
    other device that differs is removed and made again, and so are the addresses and routes on it.
    """
    firewall = None if present.firewall == wanted.firewall else FirewallChange(
        present.firewall, wanted.firewall)
    if present == replace(wanted, firewall=present.firewall):
        return Delta(wanted.name, firewall=firewall)
    present, wanted = (without_routes(state, foreign_protocol) for state in (present, wanted))
    old_devices = {device.name: device for device in present.devices}
    new_devices = {device.name: device for device in wanted.devices}
    changed = {name: (device, old) for name, device in new_devices.items()
               if not isinstance(device, Bridge) and type(old := old_devices.get(name))
               is type(device) and device != old and device.identity == old.identity}
    lasting = changed.keys()
    added = tuple(device for name, device in new_devices.items()
                  if name not in lasting and device != old_devices.get(name))
    removed = tuple(device for name, device in old_devices.items()
                    if name not in lasting and device != new_devices.get(name))
    gone = {device.name for device in removed}
    replaced, outdated_routes = _routes(
        [route for route in present.routes if not route.devices & gone] if gone
        else present.routes, wanted.routes)
    addresses_removed = tuple(
        a for a in _missing(present.addresses, wanted.addresses) if a.device not in gone)
    return Delta(
        wanted.name,
        devices_outdated=tuple(device for device in removed if device.name in new_devices),
        devices_added=added,
        links_changed=tuple((expected_link(device, ""), expected_link(old, ""))
                            for device, old in changed.values()
                            if isinstance(device, Veth) and isinstance(old, Veth)
                            and device.up != old.up),
        devices_reshaped=tuple(device for device, old in changed.values()
                               if not isinstance(device, Tunnel) and not isinstance(old, Tunnel)
                               and device.shaping != old.shaping),
        tunnels_changed=tuple(device for device, _ in changed.values()
                              if isinstance(device, Tunnel)),
        sysctls=(*_missing(wanted.sysctls, [s for s in present.sysctls if s.device not in gone]
                           if gone else present.sysctls),
                 *_promotions(addresses_removed, wanted)),
        addresses_added=_missing(
            wanted.addresses, (a for a in present.addresses if a.device not in gone)),
        neighbours_replaced=_missing(
            wanted.neighbour_entries,
            (n for n in present.neighbour_entries if n.device not in gone)),
        routes_replaced=replaced,
        routes_removed=outdated_routes,
        neighbours_removed=tuple(
            n for n in outdated(present.neighbour_entries, wanted.neighbour_entries)
            if n.device not in gone),
        addresses_removed=addresses_removed,
        devices_removed=tuple(device for device in removed if device.name not in new_devices),
        firewall=firewall,
    )


def _promotions(removed: Iterable[Address], wanted: Namespace) -> tuple[Sysctl, ...]:
    """Let a device's other addresses outlive one of their network (__inet_del_ifa in devinet.c)."""
    if not removed:
        return ()
    networks = {(a.device, IPv4Interface(a.address).network) for a in wanted.addresses}
    return tuple(dict.fromkeys(
        Sysctl("promote_secondaries", 1, "conf", a.device) for a in removed
        if (a.device, IPv4Interface(a.address).network) in networks))


def full_delta(change: Delta, wanted: Namespace, unapplied: Iterable[Delta]) -> Delta:
    """``change``, and besides all that a namespace in which changes failed should hold anyway.

    What is there already is written once more, which does no harm, but devices are not made
    again. ``unapplied`` are the changes that failed: what they should have removed is removed.
    """
    changes = (*unapplied, change)
    routes = {route.place for route in wanted.routes}
    devices = {device.name for device in wanted.devices}
    return Delta(
        wanted.name,
        devices_outdated=change.devices_outdated,
        devices_added=change.devices_added,
        links_changed=change.links_changed,
        devices_reshaped=tuple(d for d in wanted.devices if isinstance(d, (Veth, VethEnd))
                               and d in change.devices_reshaped),
        tunnels_changed=tuple(d for d in wanted.devices if isinstance(d, Tunnel)),
        sysctls=wanted.sysctls,
        addresses_added=wanted.addresses,
        neighbours_replaced=wanted.neighbour_entries,
        routes_replaced=wanted.routes,
        routes_removed=tuple({route.place: route for item in changes
                              for route in item.routes_removed
                              if route.place not in routes}.values()),
        neighbours_removed=outdated(
            dict.fromkeys(n for item in changes for n in item.neighbours_removed),
            wanted.neighbour_entries),
        addresses_removed=tuple(dict.fromkeys(
            a for item in changes for a in item.addresses_removed if a not in wanted.addresses)),
        devices_removed=tuple({d.name: d for item in changes for d in item.devices_removed
                               if d.name not in devices}.values()),
        firewall=change.firewall,
    )


def outdated(items: Iterable[NeighbourEntry], wanted: Iterable[NeighbourEntry]
             ) -> tuple[NeighbourEntry, ...]:
    """Those of ``items`` that no entry of ``wanted`` replaces.

    A device has one entry for an address, and one for a MAC.
    """
    keys = {_key(item) for item in wanted}
    return tuple(item for item in items if _key(item) not in keys)


def _key(item: NeighbourEntry) -> tuple[str, str]:
    return item.device, item.address if isinstance(item, Neighbour) else item.mac


def _routes(present: Iterable[Route], wanted: Iterable[Route]
            ) -> tuple[tuple[Route, ...], tuple[Route, ...]]:
    """The routes to write and those to remove. Most are the same object in both states."""
    old = {route.place: route for route in present}
    if not old:
        return tuple(wanted), ()
    replaced = []
    for route in wanted:
        before = old.pop(route.place, None)
        # Devices are compared first: of what a change of mode replaces nothing else need be.
        if before is not route and (before is None or before.device != route.device
                                    or before != route):
            replaced.append(route)
    return tuple(replaced), tuple(old.values())


def _missing(items: Iterable[Item], others: Iterable[Item]) -> tuple[Item, ...]:
    """Those of ``items`` that are not among ``others``, in their order."""
    if items == others:  # Many items are the same objects, compared at once.
        return ()
    have = frozenset(others)
    # At a boot there is nothing yet, and hashing thousands of items would be in vain.
    return tuple(item for item in items if item not in have) if have else tuple(items)
