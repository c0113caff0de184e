"""What differs between a namespace's wanted state and what it holds: the items, and their lines.

In go a wanted :class:`~calico_mn.state.Namespace` and the :class:`~calico_mn.present.Present` that
was read; out come :class:`Difference` objects, strays included. What is not wanted counts only
where it is ours (:class:`~calico_mn.present.Owned`): what users add for themselves is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import TypeVar

from calico_mn import rules
from calico_mn.present import (
    Link,
    Owned,
    Present,
    Program,
    Qdisc,
    connected_route,
    expected_link,
    expected_qdiscs,
    expected_sysctls,
    on_devices,
)
from calico_mn.rules import RuleChain, RuleItem, SetMembers
from calico_mn.state import PROTO_KERNEL, Address, FdbEntry, Namespace, Neighbour, Route, Sysctl

Item = Link | Qdisc | Address | Neighbour | FdbEntry | Sysctl | Route | Program | RuleItem


def line(item: Item) -> str:
    """An item as the tool that shows it would print it."""
    if isinstance(item, Address):
        return f"inet {item.address} dev {item.device}"
    if isinstance(item, Sysctl):
        return f"{item.path} = {item.value}"
    return str(item)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as wanted: ``wanted`` alone is missing, ``present`` alone a stray.

    ``failure`` says why a namespace could not be read at all.
    """

    namespace: str
    wanted: Item | None = None
    present: Item | None = None
    failure: str = ""

    @property
    def kind(self) -> str:
        """``missing``, ``changed``, ``stray`` or ``unreadable``."""
        if self.failure:
            return "unreadable"
        if self.wanted is None:
            return "stray"
        return "missing" if self.present is None else "changed"

    @property
    def subject(self) -> str:
        """``device``, ``qdisc``, ``address``, ``neighbour``, ``fdb``, ``sysctl``, ``route``,
        ``program``, ``rules``, ``ipset`` or ``namespace``.
        """
        item = self.wanted or self.present
        return _SUBJECTS[type(item)] if item is not None else "namespace"

    @property
    def clause(self) -> str:
        """For a sentence: ``link eth0 type veth mtu 1500 up is missing``."""
        if self.failure:
            return self.failure
        if self.wanted is None or self.present is None:
            what = "was added" if self.wanted is None else "is missing"
            item = self.present or self.wanted
            assert item is not None
            return f"{line(item)} {what}"
        return f"{line(self.wanted)} is now {line(self.present)}"

    @property
    def lines(self) -> tuple[str, ...]:
        """``- `` what should be there, ``+ `` what is there instead."""
        if self.failure:
            return (f"! {self.failure}",)
        missing = [f"- {line(self.wanted)}"] if self.wanted is not None else []
        return ((*missing, f"+ {line(self.present)}") if self.present is not None
                else tuple(missing))


_SUBJECTS: Mapping[type, str] = {Link: "device", Qdisc: "qdisc", Address: "address",
                                 Neighbour: "neighbour", FdbEntry: "fdb", Sysctl: "sysctl",
                                 Route: "route", Program: "program", RuleChain: "rules",
                                 SetMembers: "ipset"}


def diff(differences: tuple[Difference, ...]) -> list[str]:
    """All lines, under the name of the namespace that they are about."""
    lines: list[str] = []
    before = ""
    for item in differences:
        if item.namespace != before:
            lines.append(f"{item.namespace}:")
            before = item.namespace
        lines += (f"  {text}" for text in item.lines)
    return lines


def compare(state: Namespace, present: Present, owned: Owned, *, tunnel_kind: str = "",
            programs: Sequence[Program] = (), indexes: Mapping[str, int] | None = None
            ) -> Iterator[Difference]:
    """What differs, devices first.

    ``tunnel_kind`` is as in :func:`.present.expected_link`. ``programs`` are those that the tunnel
    needs. ``indexes`` are those that our devices got: a device with the index of one that is
    missing is the same one under another name.
    """
    name = state.name
    if present.failure:
        yield Difference(name, failure=present.failure)
        return
    names = _renamed(state, present, tunnel_kind, indexes or {})
    present = _under_their_names(present, names)
    yield from _links(state, present, owned, tunnel_kind, {new: old for old, new in names.items()})
    have = {(q.device, q.kind): q for q in present.qdiscs}
    for device in state.devices:
        for wanted in expected_qdiscs(device):
            actual = have.get((wanted.device, wanted.kind))
            if actual is None or _units(actual) != _units(wanted):
                yield Difference(name, wanted, actual)
    for program in programs:
        if program not in present.programs:
            yield Difference(name, program)
    yield from _on_devices(name, state.addresses, present.addresses, owned)
    yield from _on_devices(name, state.neighbours, present.neighbours, owned)
    yield from _on_devices(name, state.fdb, present.fdb, owned)
    for setting in expected_sysctls(state):
        value = present.sysctls.get(setting.path)
        if value is not None and value != setting.value:
            yield Difference(name, setting, replace(setting, value=value))
    yield from _routes(state, present, owned)
    if state.firewall is not None:
        yield from (Difference(name, due, actual)
                    for due, actual in rules.differences(state.firewall, present.rules))


def _units(item: Qdisc) -> int:
    """Bytes a second or nanoseconds: what the kernel keeps."""
    return round(item.value * (125_000 if item.kind == "tbf" else 1e6))


def _renamed(state: Namespace, present: Present, tunnel_kind: str, indexes: Mapping[str, int]
             ) -> dict[str, str]:
    """What our devices are called now -> what they should be called."""
    have = {link.name for link in present.links}
    strangers = {link.index: link for link in present.links
                 if link.name not in {device.name for device in state.devices}}
    renamed = {}
    for device in state.devices:
        other = strangers.get(indexes.get(device.name, -1))
        if (other is not None and device.name not in have
                and other.is_like(expected_link(device, tunnel_kind))):
            renamed[other.name] = device.name
    return renamed


def _under_their_names(present: Present, names: Mapping[str, str]) -> Present:
    """What hangs on renamed devices as if these had their names: it stays there all the time."""
    if not names:
        return present

    def name(now: str) -> str:
        return names.get(now, now)

    return replace(
        present,
        links=tuple(replace(item, master=name(item.master)) for item in present.links),
        qdiscs=on_devices(present.qdiscs, name), addresses=on_devices(present.addresses, name),
        neighbours=on_devices(present.neighbours, name), fdb=on_devices(present.fdb, name),
        routes=on_devices(present.routes, name),
        programs=frozenset(on_devices(present.programs, name)))


def _links(state: Namespace, present: Present, owned: Owned, tunnel_kind: str,
           now: Mapping[str, str]) -> Iterator[Difference]:
    have = {link.name: link for link in present.links}
    for device in state.devices:
        wanted = expected_link(device, tunnel_kind)
        actual = have.get(now.get(device.name, device.name))
        if wanted.kind == "bridge" and not any(
                link.master == wanted.name for link in present.links):
            # The kernel keeps a bridge at its ports' MTU.
            wanted = replace(wanted, mtu=None)
        comparable = actual and _as_far_as_wanted(actual, wanted)
        if comparable != wanted:
            yield Difference(state.name, wanted, comparable)
    known = {*(device.name for device in state.devices), *now.values()}
    for link in present.links:
        if link.name not in known and link.name.startswith(owned.device_prefixes or ("\0",)):
            yield Difference(state.name, present=link)


def _as_far_as_wanted(actual: Link, wanted: Link) -> Link:
    """What is present, without what is not compared."""
    return replace(actual, mtu=actual.mtu if wanted.mtu is not None else None,
                   txqueuelen=actual.txqueuelen if wanted.txqueuelen is not None else None,
                   mac=actual.mac if wanted.mac else "")


_OnDevice = TypeVar("_OnDevice", Address, Neighbour, FdbEntry)


def _on_devices(name: str, wanted: Sequence[_OnDevice], present: Sequence[_OnDevice], owned: Owned
                ) -> Iterator[Difference]:
    """Addresses and neighbours: missing ones, and strays on devices that are ours alone."""
    have, due = frozenset(present), frozenset(wanted)
    yield from (Difference(name, item) for item in wanted if item not in have)
    yield from (Difference(name, present=item) for item in present
                if item.device in owned.devices and item not in due)


def _routes(state: Namespace, present: Present, owned: Owned) -> Iterator[Difference]:
    have = set(present.routes)
    instead: dict[str | tuple[str, str, int], Route] = {}
    wanted = set(state.routes)
    for actual in present.routes:
        if actual not in wanted:
            instead.setdefault(actual.place, actual)
    taken: set[Route] = set()
    for route in (*state.routes, *_connected(state, present)):
        if route not in have:
            other = instead.get(route.place)
            if other is not None:
                taken.add(other)
            yield Difference(state.name, route, other)
    pools = [IPv4Network(pool) for pool in owned.pools]
    for actual in present.routes:
        if actual not in wanted and actual not in taken and _is_ours(actual, owned, pools):
            yield Difference(state.name, present=actual)


def _connected(state: Namespace, present: Present) -> Iterator[Route]:
    """The networks of addresses that are there, on devices that are up: else they come back."""
    up = {link.name for link in present.links if link.up}
    for address in state.addresses:
        route = connected_route(address)
        if route is not None and address.device in up and address in present.addresses:
            yield route


def _is_ours(route: Route, owned: Owned, pools: Sequence[IPv4Network]) -> bool:
    if route.protocol == PROTO_KERNEL:
        return False
    if route.table in owned.tables or route.protocol in owned.protocols:
        return True
    if any(device in owned.devices or device.startswith(owned.device_prefixes or ("\0",))
           for device in route.devices):
        return True
    if route.kind != "blackhole" or route.destination == "default":
        return False
    return any(IPv4Network(route.destination).subnet_of(pool) for pool in pools)
