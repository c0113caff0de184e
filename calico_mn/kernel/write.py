"""The one writer: carries deltas out in the kernel, each namespace's changes in one go.

In go :class:`~calico_mn.delta.Delta` objects, those of a boot, a change or a repair alike; what
comes out is the kernel's new state, and each change as commands for the log::

    Delta --steps--> Plan (messages) --netlink--> kernel
      +----iptext---> commands --------journal--> log of the node
"""

from __future__ import annotations

import errno
import resource
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from calico_mn.delta import Delta, creation
from calico_mn.errors import KernelError, UnsupportedError
from calico_mn.kernel import encode, iptext, limits, read
from calico_mn.kernel.netlink import NetlinkError, NetlinkSocket
from calico_mn.kernel.netns import NamespaceThread, NetworkNamespace
from calico_mn.kernel.steps import Plan, Planner
from calico_mn.kernel.tunnel import TunnelBackend
from calico_mn.state import IPIP, Namespace, Shaping, Sysctl, Tunnel, Veth, VethEnd

#: called after each change with the namespace's name and the commands that it amounts to
Journal = Callable[[str, Sequence[str]], None]

# Namespaces that are planned and handed over at a time while the kernel works on those before.
_CHUNK = 32
_CHUNKS_AHEAD = 2


class KernelWriter:
    """Owns a cluster's namespaces and brings them to the states that it is told."""

    def __init__(self, thread: NamespaceThread, tunnel: TunnelBackend, journal: Journal) -> None:
        self._thread = thread
        self._tunnel = tunnel
        self._journal = journal
        self._inherited: dict[str, int | None] = {}
        self._fresh: NetworkNamespace | None = None
        self._ipv6 = Path("/proc/sys/net/ipv6").exists()
        self._creating: list[Future[None]] = []
        self.namespaces: dict[str, NetworkNamespace] = {}

    def create(self, states: Sequence[Namespace], logs: Mapping[str, Path]) -> None:
        """Begin to make the namespaces of ``states``: with sysctls and tunnels (down) only.

        ``logs`` holds for each the directory that its programs see as the CNI plug-in's log
        directory. Returns at once; what fails is raised by the next call.
        """
        self._allow_descriptors(len(self.namespaces) + len(states))
        self._creating.append(self._thread.submit(self._create, states, logs))

    def fill(self, states: Sequence[Namespace]) -> None:
        """Put into namespaces that were just created all that their states say, in order.

        A veth is made by the namespace whose state holds :class:`Veth`, so that one comes
        before the namespace that holds the :class:`VethEnd`.
        """
        self._settle()
        planner = Planner(self.namespaces, self._tunnel)
        sent: deque[tuple[list[Plan], Future[None]]] = deque()
        for start in range(0, len(states), _CHUNK):
            plans = [planner.plan(creation(state), fresh=True)
                     for state in states[start:start + _CHUNK]]
            sent.append((plans, self._thread.submit(self._send, plans)))
            if len(sent) > _CHUNKS_AHEAD:
                self._finish(*sent.popleft())
        while sent:
            self._finish(*sent.popleft())

    def _finish(self, plans: Sequence[Plan], sending: Future[None]) -> None:
        sending.result()
        for item in plans:
            self._journal(item.change.namespace, iptext.commands(item.change))

    def apply(self, deltas: Iterable[Delta]) -> None:
        """Carry out changes in namespaces that exist. Raises KernelError at the first failure."""
        self._settle()
        self._thread.call(self._apply, [change for change in deltas if change])

    def apply_best_effort(self, deltas: Iterable[Delta], out_of_sync: Collection[str] = ()
                          ) -> dict[str, KernelError]:
        """As :meth:`apply`, but goes on after a change that fails; what failed, by namespace.

        In namespaces that are ``out_of_sync`` the devices may be others than we made.
        """
        self._settle()
        return self._thread.call(self._apply_best_effort, [change for change in deltas if change],
                                 out_of_sync)

    def _settle(self) -> None:
        """Wait for the namespaces that are being made. Raises what went wrong."""
        while self._creating:
            self._creating.pop(0).result()

    def discard(self, names: Iterable[str]) -> None:
        """Let go of namespaces; what is in them ends with them."""
        for future in self._creating:
            future.exception()
        found = [self.namespaces.pop(name) for name in names if name in self.namespaces]
        self._thread.call(self._discard, found)

    def close(self) -> None:
        """Let go of all namespaces."""
        self.discard([])
        self.discard(list(self.namespaces))
        if self._fresh is not None:
            self._thread.call(self._discard, [self._fresh])
            self._fresh = None

    @staticmethod
    def _allow_descriptors(namespaces: int) -> None:
        """A namespace is a descriptor, a running shell two more: raise our own soft limit."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 4 * namespaces + 512
        if soft < wanted:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))

    # What follows runs in the namespace thread.

    def _discard(self, namespaces: Sequence[NetworkNamespace]) -> None:
        for namespace in namespaces:
            self._thread.discard(namespace)

    def _create(self, states: Sequence[Namespace], logs: Mapping[str, Path]) -> None:
        if self._fresh is None:
            self._fresh = self._thread.create("fresh")
            with NetlinkSocket() as netlink:
                self._fresh.indexes = read.device_indexes(netlink)
        self._refuse_unknown_shaping(states)
        for state in states:
            namespace = self._thread.create(state.name)
            namespace.indexes.update(self._fresh.indexes)
            namespace.logs = logs[state.name]
            self.namespaces[state.name] = namespace
            # Before any device arrives: devices copy their settings from "default".
            self._write_sysctls(state.sysctls, namespace, fresh=True)
            for device in state.devices:
                if isinstance(device, Tunnel) and device.kind == IPIP:
                    # First of all devices: the kernel looks for a source address in the order
                    # in which devices were registered, and a Calico host has its tunl0 early.
                    self._tunnel.create(namespace, device)

    def _refuse_unknown_shaping(self, states: Sequence[Namespace]) -> None:
        """Try a delay on the loopback device of a namespace that nobody uses."""
        assert self._fresh is not None
        delays = (device.name for state in states for device in state.devices
                  if isinstance(device, (Veth, VethEnd)) and device.shaping
                  and device.shaping.delay)
        if next(delays, None) is None:
            return
        self._thread.enter(self._fresh)
        try:
            with NetlinkSocket() as netlink:
                netlink.request(encode.shaping(Shaping(delay=1), 1))
        except NetlinkError as error:
            if error.errno == errno.EEXIST:
                return
            raise UnsupportedError(
                "this kernel has no netem, which the underlay's link delay needs (module"
                f" sch_netem): {error.reason}; take 'delay' out of the topology, or use a kernel"
                " that has it") from error

    def _send(self, plans: Sequence[Plan]) -> None:
        for item in plans:
            self._thread.enter(item.namespace)
            with NetlinkSocket() as netlink:
                item.send(netlink)

    def _apply(self, changes: Iterable[Delta], planner: Planner | None = None) -> None:
        planner = planner or Planner(self.namespaces, self._tunnel)
        for change in changes:
            namespace = self.namespaces[change.namespace]
            self._thread.enter(namespace)
            self._write_sysctls(change.sysctls, namespace, fresh=False)
            with NetlinkSocket() as netlink:
                if change.devices_outdated or change.devices_added or change.devices_removed:
                    # Devices may have been made or removed by hand in the meantime.
                    # One that was renamed is still known by our name for it, too.
                    present = read.device_indexes(netlink)
                    namespace.indexes = {
                        **{name: index for name, index in namespace.indexes.items()
                           if index in present.values()}, **present}
                for device in change.devices_added:
                    if isinstance(device, Tunnel) and device.kind == IPIP:
                        self._tunnel.create(namespace, device)
                planner.plan(change).send(netlink)
            self._journal(change.namespace, iptext.commands(change))

    def _apply_best_effort(self, changes: Sequence[Delta], out_of_sync: Collection[str]
                           ) -> dict[str, KernelError]:
        planner = Planner(self.namespaces, self._tunnel)
        failures: dict[str, KernelError] = {}
        for change in changes:
            try:
                if change.namespace in out_of_sync:
                    self._look_for_devices(self.namespaces[change.namespace])
                self._apply([change], planner)
            except KernelError as error:
                failures[change.namespace] = error
        return failures

    def _look_for_devices(self, namespace: NetworkNamespace) -> None:
        self._thread.enter(namespace)
        with NetlinkSocket() as netlink:
            namespace.indexes = read.device_indexes(netlink)

    def _write_sysctls(self, items: Iterable[Sysctl], namespace: NetworkNamespace, *,
                       fresh: bool) -> None:
        """Those that no link message can set; in a fresh namespace only where it matters.

        On a kernel without IPv6 its settings are nobody's.
        """
        for item in items:
            if item.device not in ("", "all", "default"):
                continue
            if item.family == "ipv6" and not self._ipv6:
                continue
            if fresh and self._inherited_value(item, namespace) == item.value:
                continue
            self._write_sysctl(item, namespace)

    def _inherited_value(self, item: Sysctl, namespace: NetworkNamespace) -> int | None:
        """What a new namespace has: IPv4 settings are copied from the machine's own one.

        None for a setting that this kernel does not have: the attempt to write it will say so.
        """
        if item.path not in self._inherited:
            assert self._fresh is not None
            self._thread.enter(self._fresh)
            self._inherited[item.path] = None
            with suppress(FileNotFoundError), open(f"/proc/sys/{item.path}",
                                                   encoding="ascii") as file:
                self._inherited[item.path] = int(file.read())
            self._thread.enter(namespace)
        return self._inherited[item.path]

    @staticmethod
    def _write_sysctl(item: Sysctl, namespace: NetworkNamespace) -> None:
        try:
            with open(f"/proc/sys/{item.path}", "w", encoding="ascii") as file:
                file.write(str(item.value))
        except OSError as error:
            raise KernelError(
                f"{namespace.name}: {iptext.sysctl(item)}:"
                f" {limits.explained(error.errno)}") from error
