"""The one writer: brings namespaces to wanted states, each namespace's changes in one go.

In go wanted states (:class:`~calico_mn.state.Namespace`), those of a boot, a change or a repair
alike. What they need besides what was written before is a :class:`~calico_mn.delta.Delta`; what
comes out is the kernel's new state, and each change as commands for the log::

    wanted state --delta--> Delta --steps--> Plan (messages) --netlink--> kernel
                              +----iptext---> commands --------journal--> log of the node
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from calico_mn.delta import Delta, creation, delta, full_delta, without_routes
from calico_mn.errors import KernelError
from calico_mn.kernel import iptext, read
from calico_mn.kernel.firewall import FirewallWriter
from calico_mn.kernel.namespaces import Namespaces
from calico_mn.kernel.netlink import NetlinkSocket
from calico_mn.kernel.netns import NamespaceThread, NetworkNamespace
from calico_mn.kernel.steps import Plan, Planner
from calico_mn.kernel.tunnel import TunnelBackend
from calico_mn.rules import FirewallChange
from calico_mn.state import Namespace, Veth

# Namespaces that are planned and handed over at a time while the kernel works on those before.
_CHUNK, _CHUNKS_AHEAD = 32, 2

#: what became of a plan: sent, refused, or sent with its firewall still being written
Outcome = KernelError | Future[None] | None


class Journal(Protocol):
    """Where changes are told as commands, by namespace."""

    def note(self, name: str, commands: Sequence[str]) -> None:
        """Remember what was done in a namespace just now."""

    def flush(self) -> None:
        """Write down what was noted."""


class KernelWriter:
    """Owns a cluster's namespaces. ``states`` is what they should hold, in order of creation.

    ``changing`` is held from a change in the kernel until the states say so too: a comparison in
    another thread meanwhile would find a difference that is none.
    """

    def __init__(self, thread: NamespaceThread, tunnel: TunnelBackend, journal: Journal,
                 firewalls: FirewallWriter, run: Path | None = None) -> None:
        self._thread, self._tunnel = thread, tunnel
        self.journal = journal
        self.firewalls = firewalls
        self._owner = Namespaces(thread, run)
        self._filtering: dict[str, Future[None]] = {}
        self.namespaces: Mapping[str, NetworkNamespace] = self._owner.by_name
        self.changing = threading.RLock()
        self.states: dict[str, Namespace] = {}
        #: routes of this protocol are wanted, and another program writes them
        self.foreign_protocol = ""
        #: has that program take away what these states have a route of ours for
        self.make_way: Callable[[Sequence[Namespace]], None] = lambda states: None
        #: the changes that failed in namespaces that are out of sync, oldest first
        self.unapplied: dict[str, tuple[Delta, ...]] = {}

    def create(self, states: Sequence[Namespace], logs: Mapping[str, Path]) -> None:
        """Begin to make empty namespaces; see :meth:`.namespaces.Namespaces.create`.

        Their firewalls, which need no devices, are written as soon as a namespace is there.
        """
        self._owner.create(states, logs)
        for state in states:
            if state.firewall is not None:
                self._filtering[state.name] = self.firewalls.begin(
                    self._owner.awaited(state.name), FirewallChange(None, state.firewall))

    def fill(self, states: Sequence[Namespace]) -> None:
        """Put into namespaces that were just created all that their states say, in order.

        A veth is made by the namespace whose state holds :class:`Veth`, so that one comes
        before the namespace that holds the :class:`VethEnd`.
        """
        with self.changing:
            try:
                for _change, error in self._pipeline(self._creations(states)):
                    if error is not None:
                        raise error
                for state in states:
                    if filtering := self._filtering.pop(state.name, None):
                        filtering.result()
            finally:
                self.journal.flush()
            filled = {state.name: state for state in states}
            self.states.update((name, filled[name]) for name in self.namespaces if name in filled)

    def change(self, states: Iterable[Namespace]) -> tuple[Delta, ...]:
        """Bring filled namespaces to new states, all or none; the changes that it took.

        Raises KernelError, and then all is as before as far as the kernel lets us.
        """
        if not (wanted := list(states)):
            return ()
        self.make_way(wanted)
        with self.changing:
            self._owner.settle()
            changes = tuple(change for state in wanted
                            if (change := delta(self.states[state.name], state,
                                                self.foreign_protocol)))
            try:
                self.write(changes)
            except BaseException:
                for state in wanted:
                    with suppress(KernelError):
                        self.write([delta(state, self.states[state.name], self.foreign_protocol)])
                raise
            finally:
                self.journal.flush()
            self.states.update((state.name, state) for state in wanted)
        return changes

    def apply(self, states: Iterable[Namespace]) -> tuple[Delta, ...]:
        """As :meth:`change`, but one that fails does not stop the others: it is out of sync then.

        What comes back has the routes of :attr:`foreign_protocol`, too. The states count as wanted
        everywhere. A namespace that is out of sync is written as a whole at its next change here.
        Raises KernelError at the end, for all that failed.
        """
        wanted = {state.name: state for state in states}
        self.make_way(list(wanted.values()))
        with self.changing:
            self._owner.settle()
            out_of_sync = self.unapplied.keys() & wanted.keys()
            changes = {name: change for name, state in wanted.items() if (change := delta(
                self.states[name], state, self.foreign_protocol)) or name in out_of_sync}
            due = {name: change if name not in out_of_sync
                   else full_delta(change, without_routes(wanted[name], self.foreign_protocol),
                                   self.unapplied[name])
                   for name, change in changes.items()}
            try:
                failures = self._write_each(list(due.values()), out_of_sync)
            finally:
                self.journal.flush()
            others = {name: change for name, state in wanted.items()
                      if (change := delta(self.states[name], state))
                      } if self.foreign_protocol else {}
            self.states.update(wanted)
            for name in due:
                unapplied = self.unapplied.pop(name, ())
                if name in failures:
                    self.unapplied[name] = (*unapplied, changes[name])
        if failures:
            raise KernelError(self._explain(failures))
        return tuple({**due, **others}.values())

    def write(self, deltas: Iterable[Delta]) -> None:
        """Carry out changes in namespaces that exist. Raises KernelError at the first failure."""
        self._owner.settle()
        for error in self._write_in_turn([change for change in deltas if change]).values():
            raise error

    def abandon(self) -> None:
        """Make no more of the namespaces that :meth:`create` was asked for."""
        self._owner.abandon()
        for filtering in self._filtering.values():
            filtering.cancel()

    def diagnose(self, name: str) -> list[str]:
        """What was broken in a namespace by hand, each in a clause such as "eth0 is down".

        Only what commonly lies behind a refused change: devices gone or down, addresses gone.
        """
        return self._thread.inside(self.namespaces[name], read.facts).broken(self.states[name])

    def discard(self, names: Sequence[str]) -> None:
        """Let go of namespaces; what is in them ends with them."""
        with self.changing:
            for name in names:
                self.states.pop(name, None)
                self.unapplied.pop(name, None)
        self._await_firewalls(names)
        self._owner.discard(names)

    def close(self) -> None:
        """Let go of all namespaces."""
        self.firewalls.close()
        self._owner.close()

    def _await_firewalls(self, names: Sequence[str]) -> None:
        """Begin no more firewalls in namespaces that end, and wait for those that were begun."""
        for name in names:
            filtering = self._filtering.pop(name, None)
            if filtering is not None and not filtering.cancel():
                filtering.exception()

    def _creations(self, states: Iterable[Namespace]) -> Iterator[Plan]:
        """Plans as soon as the namespace is made, and those that its veths lead to."""
        planner, changes = Planner(self.namespaces, self._tunnel), []
        for state in states:
            self._owner.settle(state.name, *(
                device.peer.namespace for device in state.devices if isinstance(device, Veth)))
            changes.append(creation(state, self.foreign_protocol))
            yield planner.plan(changes[-1], fresh=True)
        yield from planner.attachments(changes)

    def _write_each(self, changes: Sequence[Delta], out_of_sync: Collection[str]
                    ) -> dict[str, KernelError]:
        """Go on after a change that fails; what failed, by namespace."""
        failures: dict[str, KernelError] = {}
        if out_of_sync or any(change.touches_devices for change in changes):
            # To remove a device takes the kernel some 30 ms (unregister_netdevice waits for RCU),
            # and until a node has changed it sends to the tunnel devices of the others: so all
            # routes come before the first removal.
            later = [Delta(change.namespace, devices_removed=change.devices_removed)
                     for change in changes if change.devices_removed]
            now = [replace(change, devices_removed=()) for change in changes]
            failures = self._write_in_turn(now, out_of_sync, goes_on=True)
            later = [change for change in later if change.namespace not in failures]
            return failures | self._write_in_turn(later, goes_on=True)
        planner = Planner(self.namespaces, self._tunnel)

        def plans() -> Iterator[Plan]:
            for change in changes:
                try:
                    yield planner.plan(change)
                except KernelError as error:
                    failures[change.namespace] = error

        failures.update((change.namespace, error) for change, error in self._pipeline(plans())
                        if error is not None)
        return failures

    def _write_in_turn(self, changes: Sequence[Delta], out_of_sync: Collection[str] = (), *,
                       goes_on: bool = False) -> dict[str, KernelError]:
        """Plan each change when its turn comes, and stop at a failure or not; what failed."""
        sending = self._thread.submit(self._plan_and_send, changes, out_of_sync, goes_on)
        return {change.namespace: error for change, error in self._finish(changes, sending)
                if error is not None}

    def _pipeline(self, plans: Iterator[Plan]) -> Iterator[tuple[Delta, KernelError | None]]:
        """Have plans sent while the next ones are made; each with what went wrong, if anything."""
        sent: deque[tuple[list[Delta], Future[list[Outcome]]]] = deque()
        while chunk := list(islice(plans, _CHUNK)):
            sent.append(([plan.change for plan in chunk], self._thread.submit(self._send, chunk)))
            if len(sent) > _CHUNKS_AHEAD:
                yield from self._finish(*sent.popleft())
        while sent:
            yield from self._finish(*sent.popleft())

    def _finish(self, changes: Sequence[Delta], sending: Future[list[Outcome]]
                ) -> Iterator[tuple[Delta, KernelError | None]]:
        """Wait, also for the firewalls, and log what was done; none for what was not tried."""
        for change, outcome in zip(changes, sending.result(), strict=False):
            error = outcome.exception() if isinstance(outcome, Future) else outcome
            if error is None:
                self._note(change)
            elif not isinstance(error, KernelError):
                raise error
            yield change, error

    def _note(self, change: Delta) -> None:
        """Log a change as commands, with what makes a tunnel in place of the ipip module."""
        lines = iptext.commands(change)
        for device in change.tunnels_added:
            if self._tunnel.kind != device.kind:
                command, *_ = iptext.device_added(device)
                lines[lines.index(command)] += f"  # {self._tunnel.description}"
        self.journal.note(change.namespace, lines)

    def _explain(self, failures: Mapping[str, KernelError]) -> str:
        """What happened where, what is broken there, and what to do."""
        lines = []
        for name, error in failures.items():
            broken = self.diagnose(name)
            lines.append(f"{error}" + (f" ({', '.join(broken)})" if broken else ""))
        lines.append(f"Everything else is up to date. To mend {', '.join(failures)}: calico-mn"
                     " verify --repair (net.repair() in Python); or mend it by hand and ask for the"
                     " same again.")
        return "\n".join(lines)

    def _send(self, plans: Sequence[Plan]) -> list[Outcome]:
        """As all that follows, in the namespace thread."""
        outcomes: list[Outcome] = []
        for plan in plans:
            try:
                if plan.steps:
                    self._thread.enter(plan.namespace)
                    with NetlinkSocket() as netlink:
                        self._deliver(plan, netlink)
                outcomes.append(self._begin_firewall(plan))
            except KernelError as error:
                outcomes.append(error)
        return outcomes

    def _begin_firewall(self, plan: Plan) -> Future[None] | None:
        """The rules come last, and several namespaces get theirs at a time."""
        change = plan.change.firewall
        return None if change is None or plan.namespace.name in self._filtering else (
            self.firewalls.begin(lambda: plan.namespace, change))

    def _deliver(self, plan: Plan, netlink: NetlinkSocket) -> None:
        """With the uplink here already: source addresses are looked for in order of registration.

        So a packet to the node's own pod has the node's address (inet_select_addr in
        net/ipv4/devinet.c), and not that of tunl0.
        """
        for device in plan.change.tunnels_added:
            self._tunnel.create(plan.namespace, device)
        plan.send(netlink)

    def _plan_and_send(self, changes: Sequence[Delta], out_of_sync: Collection[str],
                       goes_on: bool) -> list[Outcome]:
        planner = Planner(self.namespaces, self._tunnel)
        outcomes: list[Outcome] = []
        for change in changes:
            try:
                outcomes.append(self._write(change, planner, change.namespace in out_of_sync))
            except KernelError as error:
                outcomes.append(error)
                if not goes_on:
                    break
        return outcomes

    def _write(self, change: Delta, planner: Planner, is_out_of_sync: bool) -> Outcome:
        """Where a namespace is out of sync, its devices may be others than we made."""
        namespace = self.namespaces[change.namespace]
        self._thread.enter(namespace)
        with NetlinkSocket() as netlink:
            if is_out_of_sync:
                namespace.indexes = read.device_indexes(netlink)
            self._owner.write_sysctls(change.sysctls, namespace)
            if change.devices_outdated or change.devices_added or change.devices_removed:
                # By hand, devices were made or removed, or renamed: then our name is known, too.
                present = read.device_indexes(netlink)
                namespace.indexes = {
                    **{name: index for name, index in namespace.indexes.items()
                       if index in present.values()}, **present}
            plan = planner.plan(change)
            self._deliver(plan, netlink)
        return self._begin_firewall(plan)
