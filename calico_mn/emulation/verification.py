"""Compares a running cluster with its wanted state, repairs it, and watches it.

The net has one :class:`Verifier` as ``net.verifier``. A :class:`Watch` reports differences from
the wanted state as they appear and disappear. Notifications say where to look; a periodic
comparison of everything finds what the kernel does not notify of (some sysctls), and namespaces
that came or went.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from calico_mn.calico import felix
from calico_mn.difference import Difference
from calico_mn.ebpf_differences import Seen, only_with_ebpf
from calico_mn.emulation.base import Places
from calico_mn.emulation.membership import ClusterMininet
from calico_mn.errors import ClusterError, KernelError
from calico_mn.kernel import nftables
from calico_mn.kernel.ebpf import handover
from calico_mn.kernel.notifications import Notifications
from calico_mn.present import Owned
from calico_mn.repair import Repair

#: how many things of a place are named in a sentence
_CLAUSES = 3
#: seconds in which BIRD has seen what is wrong with its routes
BIRD_MENDS_S = 8.0
#: seconds without notifications before a comparison, and how long to wait for them at most
_QUIET_S, _PATIENCE_S = 0.05, 0.3


class Verifier:
    """Compares the kernel with the wanted state; knows what in a node's namespace is Calico's."""

    def __init__(self, net: ClusterMininet) -> None:
        self._net = net

    def verify(self, places: Places | None = None) -> tuple[Difference, ...]:
        """What differs between the wanted state and the kernel's, in these places or in all.

        Empty when all is well. Raises ClusterError for an unknown place.
        """
        return self._net.runtime.reconciler.differences(self._chosen(places), self._owned())

    def repair(self, places: Places | None = None) -> Repair:
        """Bring these places, or all, back to the wanted state; what that took.

        A veth has two ends: where one was lost, the place at the other end is repaired as well.
        What cannot be repaired does not stop the rest: see ``remaining`` and ``failures``.
        """
        chosen, owned = self._chosen(places), self._owned()
        done = self._net.runtime.reconciler.repair(chosen, owned)
        if done.done:
            self._net.impairments.repaired()
        if self._net.birds is None:
            return done
        # BIRD scans the kernel's routes every two seconds, and mends its own.
        self._net.birds.late = self._net.birds.converge(BIRD_MENDS_S)
        if not done.remaining:
            return done
        return replace(done, remaining=self._net.runtime.reconciler.differences(chosen, owned))

    def remarks(self, places: Places | None = None) -> tuple[str, ...]:
        """What is as it should be, and still fares differently because eBPF makes the tunnel.

        ``node31: ...``, of nodes with rules of nftables (iptables-nft's included) that see less
        than with the kernel's module.
        """
        if self._net.tunnel != "ebpf":
            return ()
        remarks: list[str] = []
        nodes, hooks = {node.name for node in self._net.nodes}, handover.OUTPUT_HOOKS
        for name in self._chosen(places):
            if name in nodes and self._net.runtime.inside(name, handover.hooks) & hooks.keys():
                rules = self._net.filters.nft(name, nftables.LIST_RULES)
                seen = Seen(*nftables.looks_at(rules, "ipencap", hooks.values()))
                remarks += (f"{name}: {text}" for text in only_with_ebpf("ebpf", seen))
        return tuple(remarks)

    def changed_by_hand(self) -> tuple[str, ...]:
        """What differs from the wanted state, by place: ``node31: eth0 is down``.

        At most three things of a place, and of those the causes: routes go with their device.
        """
        by_place: dict[str, list[str]] = {}
        for difference in self.verify():
            by_place.setdefault(difference.namespace, []).append(difference.clause)
        diagnose = self._net.runtime.writer.diagnose
        return tuple(f"{place}: {', '.join((diagnose(place) or clauses)[:_CLAUSES])}"
                     for place, clauses in by_place.items())

    def watch(self, interval: float = 5, portion: int = 0) -> Watch:
        """Begin to follow the kernel's notifications; see :class:`.verification.Watch`."""
        runtime = self._net.runtime
        return Watch(lambda: list(self._net.states), runtime.inside, self.verify, interval, portion)

    def _chosen(self, places: Places | None) -> list[str]:
        return (list(self._net.states) if places is None
                else self._net.names_of(places))

    def _owned(self) -> dict[str, Owned]:
        owned = felix.owned_on_node(self._net.topology.pools)
        return {**dict.fromkeys((node.name for node in self._net.nodes), owned),
                **dict.fromkeys((router.name for router in self._net.topology.underlay.routers
                                 if router.as_number), felix.OWNED_ON_ROUTER)}


@dataclass(frozen=True, slots=True)
class Change:
    """What differs since the last look, and what no longer does; ``places`` are all looked at."""

    appeared: tuple[Difference, ...] = ()
    disappeared: tuple[Difference, ...] = ()
    places: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.appeared or self.disappeared)


class Watch:
    """Notifications of all namespaces of a cluster.

    :meth:`wait` and :meth:`look` are two, so that a caller who locks the cluster against changes
    needs the lock for the look alone. ``interval``: seconds between looks at all. ``portion``: look
    at so many places instead, the next ones each time, so that a look at a large cluster is short;
    the first round has no intervals.
    """

    def __init__(self, names: Callable[[], list[str]], inside: Callable[..., Any],
                 verify: Callable[[list[str]], Sequence[Difference]], interval: float = 5,
                 portion: int = 0) -> None:
        self._names = names
        self._inside = inside
        self._verify = verify
        self._interval = interval
        self._portion = portion
        self._turn, self._is_first_round = 0, True
        self._poll = select.epoll()
        self._sockets: dict[str, Notifications] = {}
        self._of: dict[int, str] = {}
        self._dirty: set[str] = set()
        self._known: dict[str, tuple[Difference, ...]] = {}
        self._due = 0.0
        self._follow()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._poll.close()

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds`` for a reason to look; whether there is one.

        When something happens, it waits a little longer, until it is over.
        """
        deadline = time.monotonic() + seconds
        if not self._dirty:
            self._listen(max(0.0, min(deadline, self._due) - time.monotonic()))
        patience = time.monotonic() + _PATIENCE_S
        while self._dirty and time.monotonic() < patience:
            if not self._listen(_QUIET_S):
                break
        return bool(self._dirty) or time.monotonic() >= self._due

    def look(self) -> Change:
        """Verify where something happened, or everywhere when it is time; what is new."""
        if time.monotonic() >= self._due:
            self._follow()
            self._dirty.update(self._next_places())
            self._due = 0 if self._is_first_round else time.monotonic() + self._interval
        dirty, self._dirty = self._dirty & set(self._names()), set()
        differences: dict[str, list[Difference]] = {name: [] for name in dirty}
        for item in self._verify(list(dirty)):
            differences[item.namespace].append(item)
        appeared: list[Difference] = []
        disappeared: list[Difference] = []
        for name, items in differences.items():
            before = self._known.get(name, ())
            appeared += (item for item in items if item not in before)
            disappeared += (item for item in before if item not in items)
            self._known[name] = tuple(items)
        return Change(tuple(appeared), tuple(disappeared), frozenset(dirty))

    def follow(self, on_change: Callable[[Change], None], stop: Callable[[], bool]) -> None:
        """Call ``on_change`` with each change until ``stop`` says so, which is asked every 0.2 s.

        Ends too when the cluster is stopped.
        """
        with suppress(ClusterError):
            while not stop():
                if self.wait(0.2) and (change := self.look()):
                    on_change(change)

    def _next_places(self) -> list[str]:
        """The places whose turn it is."""
        names = list(self._sockets)
        portion = self._portion or len(names)
        chosen = names[self._turn:self._turn + portion]
        self._turn += portion
        if self._turn >= len(names):
            self._turn, self._is_first_round = 0, False
        return chosen

    def _listen(self, seconds: float) -> bool:
        """Wait for notifications; whether any came. Their namespaces are to be looked at."""
        any_came = False
        for descriptor, _events in self._poll.poll(seconds):
            name = self._of[descriptor]
            with suppress(KernelError):
                self._sockets[name].drain()
            self._dirty.add(name)
            any_came = True
        return any_came

    def _follow(self) -> None:
        """Listen in namespaces that are new, and no more in those that are gone."""
        names = self._names()
        for name in set(self._sockets) - set(names):
            sock = self._sockets.pop(name)
            self._of.pop(sock.fileno(), None)
            self._poll.unregister(sock.fileno())
            sock.close()
            self._known.pop(name, None)
        for name in names:
            if name not in self._sockets:
                try:
                    sock = self._inside(name, Notifications)
                except (ClusterError, KernelError, OSError):
                    continue
                self._sockets[name] = sock
                self._of[sock.fileno()] = name
                self._poll.register(sock.fileno(), select.EPOLLIN)
