"""The one writer: carries deltas out in the kernel, each namespace's changes in one go.

It takes :class:`calico_mn.delta.Delta` and knows nothing of what the changes are for. The same
changes as text are in :mod:`calico_mn.kernel.iptext`.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from calico_mn.delta import Delta, creation
from calico_mn.errors import KernelError, UnsupportedError
from calico_mn.kernel import iptext, rtnetlink
from calico_mn.kernel.netlink import Message, NetlinkError, NetlinkSocket
from calico_mn.kernel.netns import NamespaceThread, NetworkNamespace
from calico_mn.kernel.tunnel import TunnelBackend
from calico_mn.state import (
    Bridge,
    Device,
    Namespace,
    Shaping,
    Sysctl,
    Tunnel,
    Veth,
    VethEnd,
)

#: called after each change with the namespace's name and the commands that it amounts to
Journal = Callable[[str, Sequence[str]], None]

# What the kernel answers when there is nothing to remove: no such device, route or address.
_GONE = (errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL)

# Indexes that are asked for (tunl0, eth0) are small; the others begin above this.
_FIRST_FREE_INDEX = 9

#: a message, and how to say it as a command: said only when the kernel refuses it
Step = tuple[Message, Callable[[], str]]


class KernelWriter:
    """Owns a cluster's namespaces and brings them to the states that it is told."""

    def __init__(self, thread: NamespaceThread, tunnel: TunnelBackend, journal: Journal) -> None:
        self._thread = thread
        self._tunnel = tunnel
        self._journal = journal
        self._inherited: dict[str, int] = {}
        self._fresh: NetworkNamespace | None = None
        self._ipv6 = Path("/proc/sys/net/ipv6").exists()
        self.namespaces: dict[str, NetworkNamespace] = {}

    def create(self, states: Sequence[Namespace]) -> None:
        """Make the namespaces of ``states``: with sysctls and tunnels (down), without the rest."""
        self._allow_descriptors(len(self.namespaces) + len(states))
        self._thread.call(self._create, states)

    def fill(self, states: Sequence[Namespace]) -> None:
        """Put into namespaces that were just created all that their states say, in order.

        A veth is made by the namespace whose state holds :class:`Veth`, so that one comes
        before the namespace that holds the :class:`VethEnd`.
        """
        self._thread.call(self._fill, states)

    def apply(self, deltas: Iterable[Delta]) -> None:
        """Carry out changes in namespaces that exist."""
        self._thread.call(self._apply, [change for change in deltas if change])

    def discard(self, names: Iterable[str]) -> None:
        """Let go of namespaces; what is in them ends with them."""
        for name in names:
            namespace = self.namespaces.pop(name, None)
            if namespace is not None:
                self._thread.call(self._thread.discard, namespace)

    def close(self) -> None:
        """Let go of all namespaces."""
        self.discard(list(self.namespaces))
        if self._fresh is not None:
            self._thread.call(self._thread.discard, self._fresh)
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

    def _create(self, states: Sequence[Namespace]) -> None:
        if self._fresh is None:
            self._fresh = self._thread.create("fresh")
            with NetlinkSocket() as netlink:
                self._fresh.indexes = rtnetlink.device_indexes(netlink)
        self._refuse_unknown_shaping(states)
        for state in states:
            namespace = self._thread.create(state.name)
            namespace.indexes.update(self._fresh.indexes)
            self.namespaces[state.name] = namespace
            # Before any device arrives: devices copy their settings from "default".
            self._write_sysctls(state.sysctls, namespace, fresh=True)
            for device in state.devices:
                if isinstance(device, Tunnel):
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
                netlink.request(rtnetlink.shaping(Shaping(delay=1), 1))
        except NetlinkError as error:
            if error.errno == errno.EEXIST:
                return
            raise UnsupportedError(
                "this kernel has no netem, which the underlay's link delay needs (module"
                f" sch_netem): {error.reason}; take 'delay' out of the topology, or use a kernel"
                " that has it") from error

    def _fill(self, states: Sequence[Namespace]) -> None:
        for state in states:
            change = creation(state)
            namespace = self.namespaces[state.name]
            self._thread.enter(namespace)
            self._send(change, namespace, [
                (rtnetlink.link(1, up=True), partial(str, "ip link set lo up"))])

    def _apply(self, changes: Sequence[Delta]) -> None:
        for change in changes:
            namespace = self.namespaces[change.namespace]
            self._thread.enter(namespace)
            if change.devices_outdated or change.devices_added or change.devices_removed:
                # Somebody may have made or removed devices by hand in the meantime.
                with NetlinkSocket() as netlink:
                    namespace.indexes = rtnetlink.device_indexes(netlink)
            self._write_sysctls(change.sysctls, namespace, fresh=False)
            self._send(change, namespace, [])

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

    def _inherited_value(self, item: Sysctl, namespace: NetworkNamespace) -> int:
        """What a new namespace has: IPv4 settings are copied from the machine's own one."""
        if item.path not in self._inherited:
            assert self._fresh is not None
            self._thread.enter(self._fresh)
            with open(f"/proc/sys/{item.path}", encoding="ascii") as file:
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
                f"{namespace.name}: {iptext.sysctl(item)}: {error.strerror}") from error

    def _send(self, change: Delta, namespace: NetworkNamespace, steps: list[Step]) -> None:
        """Everything of ``change`` but the namespace's own sysctls, by one netlink socket."""
        outdated = [self._link_removal(device, namespace) for device in change.devices_outdated
                    if device.name in namespace.indexes]
        of_device: dict[str, list[Sysctl]] = {}
        for item in change.sysctls:
            if item.device not in ("", "all", "default"):
                of_device.setdefault(item.device, []).append(item)
        for device in change.devices_added:
            steps += self._device_steps(device, namespace, of_device.pop(device.name, ()))
        for name, items in of_device.items():
            steps += self._sysctl_steps(namespace.index(name), items)
        for tunnel in change.tunnels_changed:
            steps += [(m, partial(_joined, iptext.tunnel_changed, tunnel))
                      for m in self._tunnel.configure(namespace, tunnel)]
        steps += self._addition_steps(change, namespace)
        removals = self._removal_steps(change, namespace)
        every = [*outdated, *steps, *removals]
        wanted = range(len(outdated), len(outdated) + len(steps))
        with NetlinkSocket() as netlink:
            failures = netlink.attempt([message for message, _say in every])
        for error in failures:
            if error.index in wanted or error.errno not in _GONE:
                command = every[error.index][1]()
                raise KernelError(f"{namespace.name}: {command}: {error.reason}") from error
        for device in change.devices_removed:
            namespace.indexes.pop(device.name, None)
        self._journal(namespace.name, iptext.commands(change))

    @staticmethod
    def _addition_steps(change: Delta, namespace: NetworkNamespace) -> list[Step]:
        index = namespace.index
        return [
            *((rtnetlink.address(a, index(a.device)), partial(iptext.address, a))
              for a in change.addresses_added),
            *((rtnetlink.route(r, index(r.device)), partial(iptext.route, r))
              for r in change.routes_replaced),
        ]

    @staticmethod
    def _link_removal(device: Device, namespace: NetworkNamespace) -> Step:
        return (rtnetlink.link_removal(namespace.index(device.name)),
                partial(iptext.link_removal, device))

    def _removal_steps(self, change: Delta, namespace: NetworkNamespace) -> list[Step]:
        """What is on a device that somebody removed before us went with it."""
        known = {"": 0, **namespace.indexes}
        return [
            *((rtnetlink.route(r, known[r.device], remove=True),
               partial(iptext.route, r, remove=True))
              for r in change.routes_removed if r.device in known),
            *((rtnetlink.address(a, known[a.device], remove=True),
               partial(iptext.address, a, remove=True))
              for a in change.addresses_removed if a.device in known),
            *(self._link_removal(device, namespace)
              for device in change.devices_removed if device.name in known),
        ]

    def _device_steps(self, device: Device, namespace: NetworkNamespace,
                      sysctls: Sequence[Sysctl]) -> list[Step]:
        say = partial(_joined, iptext.device_added, device)
        if isinstance(device, Bridge):
            number = self._new_index(namespace, device.name)
            return [(rtnetlink.bridge(device, number), say)]
        if isinstance(device, Tunnel):
            steps: list[Step] = [(m, say) for m in self._tunnel.configure(namespace, device)]
            return steps + self._sysctl_steps(namespace.index(device.name), sysctls)
        steps = []
        if isinstance(device, Veth):
            peer = self.namespaces[device.peer.namespace]
            number = self._new_index(namespace, device.name)
            peer_number = self._new_index(peer, device.peer.name, device.peer.index)
            steps.append((rtnetlink.veth(device, number, peer_number, peer.descriptor,
                                         namespace.index(device.master)), say))
        else:
            number = namespace.index(device.name)
        steps += self._sysctl_steps(number, sysctls, up=True)
        if device.shaping:
            steps += [(m, say) for m in rtnetlink.shaping(device.shaping, number)]
        return steps

    @staticmethod
    def _sysctl_steps(index: int, items: Sequence[Sysctl], *, up: bool | None = None
                      ) -> list[Step]:
        """One link message for all settings of a device; proxy_delay has a message of its own.

        proxy_delay comes right after its device: the kernel looks for the entry from the newest
        one on, and asking late makes booting quadratic.
        """
        conf = {item.key: item.value for item in items if item.table == "conf"}
        steps: list[Step] = []
        if conf or up:
            steps.append((rtnetlink.link(index, up=up, conf=conf), partial(_settings, items)))
        steps += [(rtnetlink.proxy_delay(index, item.value), partial(iptext.sysctl, item))
                  for item in items if item.table == "neigh"]
        return steps

    @staticmethod
    def _new_index(namespace: NetworkNamespace, name: str, wanted: int = 0) -> int:
        """``wanted`` if it is free in ``namespace``, else the next one; remembered for ``name``.

        Both ends of a veth never get the same index: the kernel takes such a device for one
        without a partner and reports its state up to a second late (linkwatch_urgent_event).
        """
        used = namespace.indexes
        number = wanted
        if not number or number in used.values():
            number = max(_FIRST_FREE_INDEX, *used.values()) + 1
        used[name] = number
        return number


def _joined(commands: Callable[[Any], list[str]], device: Device) -> str:
    return "; ".join(commands(device))


def _settings(items: Sequence[Sysctl]) -> str:
    return "; ".join(["ip link set up", *(iptext.sysctl(item) for item in items)])
