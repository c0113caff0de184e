"""What brings a namespace back to its wanted state: deltas from differences, one kind at a time.

In go the differences that were read (:mod:`calico_mn.difference`), out come deltas, which the
writer carries out as it does those of a boot or a change::

    1. remove    strays, devices of another kind, the other ends of lost veths; names given back
    2. create    devices that are missing
    3. correct   devices that are there, their sizes and shaping
    4. populate  programs, sysctls, addresses, neighbours, routes

Each kind changes what the next one sees (a device takes its routes along), so that the namespace
is read again after every step. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from calico_mn import rules
from calico_mn.delta import Delta, outdated
from calico_mn.difference import Difference, Item
from calico_mn.present import Link, Program, Qdisc
from calico_mn.rules import RuleItem
from calico_mn.state import (
    Address,
    Device,
    FdbEntry,
    Namespace,
    Neighbour,
    Route,
    Sysctl,
    Veth,
    VethEnd,
)

#: a device of a namespace
_End = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Done:
    """What was done in one namespace, as commands."""

    namespace: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """What was found, what was done about it, and what is left with the reasons for it."""

    found: tuple[Difference, ...] = ()
    done: tuple[Done, ...] = ()
    remaining: tuple[Difference, ...] = ()
    failures: tuple[str, ...] = ()


def veth_ends(states: Mapping[str, Namespace]) -> dict[_End, _End]:
    """Both ends of each veth, either way round."""
    ends: dict[_End, _End] = {}
    for name, state in states.items():
        for device in state.devices:
            if isinstance(device, Veth) and device.peer.namespace in states:
                end, other = (name, device.name), (device.peer.namespace, device.peer.name)
                ends[end], ends[other] = other, end
    return ends


def lost_devices(differences: Iterable[Difference]) -> set[_End]:
    """The wanted devices that are not there, or are others under the same name."""
    return {(item.namespace, item.wanted.name) for item in differences
            if isinstance(item.wanted, Link)
            and (not isinstance(item.present, Link) or not item.wanted.is_like(item.present))}


def next_deltas(states: Mapping[str, Namespace], differences: Sequence[Difference],
                ends: Mapping[_End, _End], given_up: Collection[str] = ()) -> list[Delta]:
    """The next changes, in their order; none when nothing more can be done.

    ``differences`` must be complete for the namespaces at both ends of each veth that is lost.
    """
    unreadable = {item.namespace for item in differences if item.kind == "unreadable"}
    closed = unreadable | set(given_up)
    usable = [item for item in differences if item.namespace not in closed]
    missing = lost_devices(item for item in usable if item.present is None)
    for step in (_remove(usable, missing, ends), _create(states, missing, ends, closed),
                 _correct(states, usable), _populate(states, usable)):
        deltas = [delta for delta in step if delta and delta.namespace not in closed]
        if deltas:
            return deltas
    return []


def _by_namespace(differences: Sequence[Difference]) -> dict[str, list[Difference]]:
    grouped: dict[str, list[Difference]] = {}
    for item in differences:
        grouped.setdefault(item.namespace, []).append(item)
    return grouped


def _remove(differences: Sequence[Difference], missing: Collection[_End],
            ends: Mapping[_End, _End]) -> Iterator[Delta]:
    removed: dict[str, list[Link]] = {}
    renamed: dict[str, list[tuple[Link, str]]] = {}
    for end in missing:
        other = ends.get(end)
        if other and other not in missing:
            removed.setdefault(other[0], []).append(Link(other[1], "veth"))
    for item in differences:
        wanted, present = item.wanted, item.present
        if not isinstance(present, Link):
            continue
        if not isinstance(wanted, Link) or not wanted.is_like(present):
            removed.setdefault(item.namespace, []).append(present)
        elif wanted.name != present.name:
            renamed.setdefault(item.namespace, []).append((present, wanted.name))
    for name in {**removed, **renamed}:
        yield Delta(name, devices_outdated=tuple(removed.get(name, ())),
                    devices_renamed=tuple(renamed.get(name, ())))


def _create(states: Mapping[str, Namespace], missing: Collection[_End], ends: Mapping[_End, _End],
            closed: Collection[str]) -> Iterator[Delta]:
    """A namespace that makes both ends of a veth comes before the one with the other end."""
    added: dict[str, list[Device]] = {}
    for name in {name for name, _device in missing}:
        for device in states[name].devices:
            other = ends.get((name, device.name))
            possible = (other is not None and other in missing and other[0] not in closed
                        if isinstance(device, (Veth, VethEnd)) else True)
            if (name, device.name) in missing and possible:
                added.setdefault(name, []).append(device)
    order = {name: position for position, name in enumerate(states)}
    for name in sorted(added, key=lambda name: (
            not any(isinstance(device, Veth) and device.master for device in added[name]),
            not any(isinstance(device, Veth) for device in added[name]), order[name])):
        yield Delta(name, devices_added=tuple(added[name]))


def _correct(states: Mapping[str, Namespace], differences: Sequence[Difference]
             ) -> Iterator[Delta]:
    for name, items in _by_namespace(differences).items():
        shaped = {item.wanted.device for item in items if isinstance(item.wanted, Qdisc)}
        yield Delta(
            name,
            links_changed=tuple((item.wanted, item.present) for item in items
                                if isinstance(item.wanted, Link)
                                and isinstance(item.present, Link)),
            devices_reshaped=tuple(device for device in states[name].devices
                                   if device.name in shaped
                                   and isinstance(device, (Veth, VethEnd))))


def _populate(states: Mapping[str, Namespace], differences: Sequence[Difference]
              ) -> Iterator[Delta]:
    for name, items in _by_namespace(differences).items():
        lost = {item.wanted.name for item in items if isinstance(item.wanted, Link)}
        usable = {device.name for device in states[name].devices} - lost
        wanted = [item.wanted for item in items if item.wanted and _devices(item.wanted) <= usable]
        strays = [item.present for item in items if item.kind == "stray"]
        neighbours = tuple(w for w in wanted if isinstance(w, (Neighbour, FdbEntry)))
        firewall = states[name].firewall
        yield Delta(
            name,
            programs=tuple(w for w in wanted if isinstance(w, Program)),
            sysctls=tuple(w for w in wanted if isinstance(w, Sysctl)),
            addresses_added=tuple(w for w in wanted if isinstance(w, Address)),
            neighbours_replaced=neighbours,
            routes_replaced=tuple(w for w in wanted if isinstance(w, Route)),
            routes_removed=tuple(s for s in strays if isinstance(s, Route)),
            neighbours_removed=outdated(
                (s for s in strays if isinstance(s, (Neighbour, FdbEntry))), neighbours),
            addresses_removed=tuple(s for s in strays if isinstance(s, Address)),
            firewall=rules.repair(firewall, (
                (item.wanted, item.present) for item in items  # type: ignore[misc]
                if isinstance(item.wanted or item.present, RuleItem))) if firewall else None)


def _devices(item: Item) -> frozenset[str]:
    """The devices that must be there before the item can be written; a sysctl is tried anyway."""
    if isinstance(item, Route):
        return item.devices
    return frozenset() if isinstance(item, (Link, Sysctl, RuleItem)) else frozenset({item.device})
