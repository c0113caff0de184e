"""Wanted state minus present state: the changes that bring one namespace from one to the other.

Pure. What is in neither state is nobody's business here: routes and addresses that somebody
added by hand are neither seen nor removed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, fields
from typing import TypeVar

from calico_mn.state import (
    Address,
    Device,
    Namespace,
    Neighbour,
    NeighbourEntry,
    Route,
    Sysctl,
    Tunnel,
)

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes for one namespace, in the order in which a packet in flight survives them.

    New devices, sysctls and addresses come before the routes that use them; what became
    superfluous goes after the routes that used it. Only a device that is made anew under its old
    name goes first (``devices_outdated``). ``routes_replaced`` holds new routes and
    routes whose destination exists with other attributes: the kernel swaps those in one step.
    """

    namespace: str
    devices_outdated: tuple[Device, ...] = ()
    devices_added: tuple[Device, ...] = ()
    tunnels_changed: tuple[Tunnel, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    addresses_added: tuple[Address, ...] = ()
    neighbours_replaced: tuple[NeighbourEntry, ...] = ()
    routes_replaced: tuple[Route, ...] = ()
    routes_removed: tuple[Route, ...] = ()
    neighbours_removed: tuple[NeighbourEntry, ...] = ()
    addresses_removed: tuple[Address, ...] = ()
    devices_removed: tuple[Device, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in _CHANGES)


_CHANGES = tuple(field.name for field in fields(Delta) if field.name != "namespace")


def creation(wanted: Namespace) -> Delta:
    """The delta against an empty namespace."""
    return Delta(
        wanted.name,
        devices_added=wanted.devices,
        sysctls=wanted.sysctls,
        addresses_added=wanted.addresses,
        neighbours_replaced=wanted.neighbour_entries,
        routes_replaced=wanted.routes,
    )


def delta(present: Namespace, wanted: Namespace) -> Delta:
    """What brings a namespace from ``present`` to ``wanted``.

    A tunnel keeps its identity when its MTU or its administrative state changes. Every other
    device that differs is removed and made anew, and so are the addresses and routes on it.
    """
    old_devices = {device.name: device for device in present.devices}
    new_devices = {device.name: device for device in wanted.devices}
    tunnels = tuple(
        device for name, device in new_devices.items()
        if isinstance(device, Tunnel) and isinstance(old := old_devices.get(name), Tunnel)
        and device != old and device.identity == old.identity)
    kept = {tunnel.name for tunnel in tunnels}
    added = tuple(device for name, device in new_devices.items()
                  if name not in kept and device != old_devices.get(name))
    removed = tuple(device for name, device in old_devices.items()
                    if name not in kept and device != new_devices.get(name))
    gone = {device.name for device in removed}

    routes = {route.destination: route for route in wanted.routes}
    old_routes = {route.destination: route for route in present.routes
                  if not route.devices & gone}
    return Delta(
        wanted.name,
        devices_outdated=tuple(device for device in removed if device.name in new_devices),
        devices_added=added,
        tunnels_changed=tunnels,
        sysctls=_missing(wanted.sysctls, (s for s in present.sysctls if s.device not in gone)),
        addresses_added=_missing(
            wanted.addresses, (a for a in present.addresses if a.device not in gone)),
        neighbours_replaced=_missing(
            wanted.neighbour_entries,
            (n for n in present.neighbour_entries if n.device not in gone)),
        routes_replaced=tuple(
            route for route in wanted.routes if old_routes.get(route.destination) != route),
        routes_removed=tuple(
            route for destination, route in old_routes.items() if destination not in routes),
        neighbours_removed=tuple(n for n in outdated(
            present.neighbour_entries, wanted.neighbour_entries)
            if n.device not in gone),
        addresses_removed=tuple(
            a for a in _missing(present.addresses, wanted.addresses) if a.device not in gone),
        devices_removed=tuple(device for device in removed if device.name not in new_devices),
    )


def anew(change: Delta, wanted: Namespace, missed: Iterable[Delta]) -> Delta:
    """``change``, and besides all that a namespace in which changes failed should hold anyway.

    What is there already is written once more, which does no harm, but devices are not made
    anew. ``missed`` are the changes that failed: what they should have removed is removed.
    """
    changes = (*missed, change)
    routes = {route.destination for route in wanted.routes}
    devices = {device.name for device in wanted.devices}
    return Delta(
        wanted.name,
        devices_outdated=change.devices_outdated,
        devices_added=change.devices_added,
        tunnels_changed=tuple(d for d in wanted.devices if isinstance(d, Tunnel)),
        sysctls=wanted.sysctls,
        addresses_added=wanted.addresses,
        neighbours_replaced=wanted.neighbour_entries,
        routes_replaced=wanted.routes,
        routes_removed=tuple({r.destination: r for one in changes for r in one.routes_removed
                              if r.destination not in routes}.values()),
        neighbours_removed=outdated(
            dict.fromkeys(n for one in changes for n in one.neighbours_removed),
            wanted.neighbour_entries),
        addresses_removed=tuple(dict.fromkeys(
            a for one in changes for a in one.addresses_removed if a not in wanted.addresses)),
        devices_removed=tuple({d.name: d for one in changes for d in one.devices_removed
                               if d.name not in devices}.values()),
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


def _missing(items: Iterable[Item], others: Iterable[Item]) -> tuple[Item, ...]:
    """Those of ``items`` that are not among ``others``, in their order."""
    have = frozenset(others)
    return tuple(item for item in items if item not in have)
