"""What mends differences: one kind of step at a time, because each changes what the next sees.

First what is in the way goes and what was renamed gets its name back, then missing devices are
made, then devices are set right, and last come programs, sysctls, addresses and routes. After
every step the caller looks again. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from calico_mn.delta import Delta, outdated
from calico_mn.difference import Difference
from calico_mn.present import Link, Program, Qdisc
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
class Mend:
    """One step in one namespace, carried out in the order of its fields.

    ``renamed`` holds the device as it is called now, and its name. ``changed`` holds each device
    as it should be and as it is. ``reshaped`` get their queueing disciplines anew.
    """

    namespace: str
    removed: tuple[str, ...] = ()
    renamed: tuple[tuple[Link, str], ...] = ()
    changed: tuple[tuple[Link, Link], ...] = ()
    reshaped: tuple[Veth | VethEnd, ...] = ()
    programs: tuple[Program, ...] = ()
    delta: Delta | None = None

    def __bool__(self) -> bool:
        return bool(self.removed or self.renamed or self.changed or self.reshaped
                    or self.programs or self.delta)


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


def partners(states: Mapping[str, Namespace]) -> dict[_End, _End]:
    """Both ends of each veth, either way round."""
    found: dict[_End, _End] = {}
    for name, state in states.items():
        for device in state.devices:
            if isinstance(device, Veth) and device.peer.namespace in states:
                one, other = (name, device.name), (device.peer.namespace, device.peer.name)
                found[one], found[other] = other, one
    return found


def lost(found: Iterable[Difference]) -> set[_End]:
    """The wanted devices that are not there, or are others under the same name."""
    return {(item.namespace, item.wanted.name) for item in found if isinstance(item.wanted, Link)
            and (not isinstance(item.present, Link) or not item.wanted.is_like(item.present))}


def next_step(states: Mapping[str, Namespace], found: Sequence[Difference],
              pairs: Mapping[_End, _End], given_up: Collection[str] = ()) -> list[Mend]:
    """The next changes, in their order; none when nothing more can be done.

    ``found`` must be complete for the namespaces at both ends of each :func:`lost` veth.
    """
    unreadable = {item.namespace for item in found if item.kind == "unreadable"}
    closed = unreadable | set(given_up)
    usable = [item for item in found if item.namespace not in closed]
    missing = lost(item for item in usable if item.present is None)
    for step in (_cleared(usable, missing, pairs), _made(states, missing, pairs, closed),
                 _set_right(states, usable), _filled(states, usable)):
        mends = [mend for mend in step if mend and mend.namespace not in closed]
        if mends:
            return mends
    return []


def _by_namespace(found: Sequence[Difference]) -> dict[str, list[Difference]]:
    grouped: dict[str, list[Difference]] = {}
    for item in found:
        grouped.setdefault(item.namespace, []).append(item)
    return grouped


def _cleared(found: Sequence[Difference], missing: Collection[_End], pairs: Mapping[_End, _End]
             ) -> Iterator[Mend]:
    """Strays, devices of another kind, other ends of lost ones: away. Names given back."""
    removed: dict[str, list[str]] = {}
    renamed: dict[str, list[tuple[Link, str]]] = {}
    for end in missing:
        other = pairs.get(end)
        if other and other not in missing:
            removed.setdefault(other[0], []).append(other[1])
    for item in found:
        wanted, present = item.wanted, item.present
        if not isinstance(present, Link):
            continue
        if not isinstance(wanted, Link) or not wanted.is_like(present):
            removed.setdefault(item.namespace, []).append(present.name)
        elif wanted.name != present.name:
            renamed.setdefault(item.namespace, []).append((present, wanted.name))
    for name in {**removed, **renamed}:
        yield Mend(name, tuple(removed.get(name, ())), tuple(renamed.get(name, ())))


def _made(states: Mapping[str, Namespace], missing: Collection[_End], pairs: Mapping[_End, _End],
          closed: Collection[str]) -> Iterator[Mend]:
    """Lost devices made anew; whoever makes both ends of a veth comes before the other."""
    added: dict[str, list[Device]] = {}
    for name in {name for name, _device in missing}:
        for device in states[name].devices:
            other = pairs.get((name, device.name))
            possible = (other is not None and other in missing and other[0] not in closed
                        if isinstance(device, (Veth, VethEnd)) else True)
            if (name, device.name) in missing and possible:
                added.setdefault(name, []).append(device)
    order = {name: position for position, name in enumerate(states)}
    for name in sorted(added, key=lambda name: (
            not any(isinstance(device, Veth) and device.master for device in added[name]),
            not any(isinstance(device, Veth) for device in added[name]), order[name])):
        yield Mend(name, delta=Delta(name, devices_added=tuple(added[name])))


def _set_right(states: Mapping[str, Namespace], found: Sequence[Difference]) -> Iterator[Mend]:
    for name, items in _by_namespace(found).items():
        shaped = {item.wanted.device for item in items if isinstance(item.wanted, Qdisc)}
        yield Mend(
            name,
            changed=tuple((item.wanted, item.present) for item in items
                          if isinstance(item.wanted, Link) and isinstance(item.present, Link)),
            reshaped=tuple(device for device in states[name].devices
                           if device.name in shaped and isinstance(device, (Veth, VethEnd))))


def _filled(states: Mapping[str, Namespace], found: Sequence[Difference]) -> Iterator[Mend]:
    for name, items in _by_namespace(found).items():
        wanted = [item.wanted for item in items]
        strays = [item.present for item in items if item.kind == "stray"]
        here = {device.name for device in states[name].devices} - {
            item.wanted.name for item in items if isinstance(item.wanted, Link)}
        neighbours = tuple(w for w in wanted
                           if isinstance(w, (Neighbour, FdbEntry)) and w.device in here)
        yield Mend(
            name, programs=tuple(w for w in wanted if isinstance(w, Program) and w.device in here),
            delta=Delta(
                name,
                sysctls=tuple(w for w in wanted if isinstance(w, Sysctl)),
                addresses_added=tuple(w for w in wanted
                                      if isinstance(w, Address) and w.device in here),
                routes_replaced=tuple(w for w in wanted
                                      if isinstance(w, Route) and w.devices <= here),
                routes_removed=tuple(s for s in strays if isinstance(s, Route)),
                addresses_removed=tuple(s for s in strays if isinstance(s, Address)),
                neighbours_replaced=neighbours,
                neighbours_removed=outdated(
                    (s for s in strays if isinstance(s, (Neighbour, FdbEntry))), neighbours)))
