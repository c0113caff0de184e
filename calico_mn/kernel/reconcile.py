"""Reads namespaces, compares them with their wanted states, and repairs what differs.

In go the wanted states and what is ours in each namespace; out come the differences, or the
repair: what was found, done and left. Reading and writing are this room's, the comparison and the
deltas of a repair are pure (:mod:`calico_mn.difference`, :mod:`calico_mn.repair`)::

    kernel --read--> Present --compare--> differences --next_deltas--> Delta --write--> kernel
       ^                                                                                  |
       +-------------------------- read again after each step ----------------------------+
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from calico_mn.delta import Delta
from calico_mn.difference import Difference, compare
from calico_mn.errors import KernelError
from calico_mn.kernel import iptext, read
from calico_mn.kernel.netns import NamespaceThread
from calico_mn.kernel.tunnel import TunnelBackend
from calico_mn.kernel.write import KernelWriter
from calico_mn.present import Owned, Present, Program
from calico_mn.repair import Done, Repair, lost_devices, next_deltas, veth_ends
from calico_mn.state import Namespace, Tunnel

# Removing, creating, correcting, populating: a second time over for what one step brings to light.
_MOST_STEPS = 8


class Reconciler:
    """Verifies and repairs the namespaces of a writer."""

    def __init__(self, thread: NamespaceThread, writer: KernelWriter, tunnel: TunnelBackend
                 ) -> None:
        self._thread = thread
        self._writer = writer
        self._tunnel = tunnel

    def differences(self, names: Collection[str], owned: Mapping[str, Owned]
                    ) -> tuple[Difference, ...]:
        """What differs in ``names``, in the order in which the writer has its states."""
        with self._writer.changing:
            return self._compare(self._read(names), owned)

    def repair(self, names: Collection[str], owned: Mapping[str, Owned]) -> Repair:
        """Bring ``names`` back, and the namespaces that have the other end of a veth lost there.

        What cannot be repaired is left, with its reason, and does not stop the rest.
        """
        with self._writer.changing:
            try:
                repair = self._repair(names, owned)
            finally:
                self._writer.journal.flush()
            for name in {*names} - {difference.namespace for difference in repair.remaining}:
                self._writer.unapplied.pop(name, None)
            return repair

    def _repair(self, names: Collection[str], owned: Mapping[str, Owned]) -> Repair:
        states = self._writer.states
        ends = veth_ends(states)
        first = self._compare(self._read(names), owned)
        affected = {item.namespace for item in first} | {
            ends[end][0] for end in lost_devices(first) if end in ends}
        presents = self._read(affected)
        remaining = self._compare(presents, owned)
        done: list[Done] = []
        failures: list[str] = []
        given_up: set[str] = set()
        for _step in range(_MOST_STEPS):
            deltas = next_deltas(states, remaining, ends, given_up)
            if not deltas:
                break
            if not any(change.devices_renamed for change in deltas):
                # New devices get the indexes that the old ones have left.
                self._remember_indexes(presents, given_up)
            for change in deltas:
                if change.namespace not in given_up:
                    self._carry_out(change, done, failures, given_up)
            presents = self._read(affected)
            before, remaining = remaining, self._compare(presents, owned)
            if remaining == before:
                break
        self._remember_indexes(presents, given_up)
        return Repair(first, tuple(done), remaining, tuple(failures))

    def _carry_out(self, change: Delta, done: list[Done], failures: list[str],
                   given_up: set[str]) -> None:
        foreign = self._writer.foreign_protocol
        if foreign:
            replaced, removed = (
                tuple(route for route in routes if route.protocol != foreign)
                for routes in (change.routes_replaced, change.routes_removed))
            change = replace(change, routes_replaced=replaced, routes_removed=removed)
            if not change:
                return
        try:
            self._writer.write([change])
        except KernelError as error:
            failures.append(str(error))
            given_up.add(change.namespace)
            return
        done.append(Done(change.namespace, tuple(iptext.commands(change))))

    def _read(self, names: Collection[str]) -> list[Present]:
        wanted = [state for name, state in self._writer.states.items() if name in names]
        return self._thread.call(self._read_all, wanted)

    def _read_all(self, wanted: Collection[Namespace]) -> list[Present]:
        presents = []
        for state in wanted:
            namespace = self._writer.namespaces.get(state.name)
            presents.append(
                Present(state.name, failure="the namespace is gone") if namespace is None
                else read.present(self._thread, namespace, state, self._programs(state),
                                  self._writer.firewalls))
        return presents

    def _programs(self, state: Namespace) -> tuple[Program, ...]:
        return tuple(program for device in state.devices if isinstance(device, Tunnel)
                     and device.has_back_end
                     for program in self._tunnel.programs(device))

    def _compare(self, presents: Collection[Present], owned: Mapping[str, Owned]
                 ) -> tuple[Difference, ...]:
        nothing = Owned()
        return tuple(
            item for present in presents
            for state in (self._writer.states[present.name],)
            for item in compare(
                state, present, owned.get(present.name, nothing),
                tunnel_kind=self._tunnel.kind, programs=self._programs(state),
                indexes=self._indexes(present.name)))

    def _indexes(self, name: str) -> Mapping[str, int]:
        namespace = self._writer.namespaces.get(name)
        return namespace.indexes if namespace else {}

    def _remember_indexes(self, presents: Collection[Present], given_up: Collection[str]) -> None:
        for present in presents:
            if not present.failure and present.name not in given_up:
                self._writer.namespaces[present.name].indexes = {
                    link.name: link.index for link in present.links}
