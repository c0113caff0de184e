"""A delta as netlink messages for one namespace: planned here, sent by the writer.

In go a :class:`~calico_mn.delta.Delta` and the indexes of the namespace's devices; out comes a
:class:`Plan`, the same for a boot, a change and a repair. Nothing is sent and no namespace is
entered, so that the next namespaces can be planned while the kernel is busy with the ones before.
Planning assigns indexes to the devices to be made.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from calico_mn.delta import Delta
from calico_mn.errors import KernelError
from calico_mn.kernel import encode, iptext
from calico_mn.kernel.ebpf.program import TUNL0_INDEX
from calico_mn.kernel.netlink import Message, NetlinkSocket
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.kernel.tunnel import TunnelBackend
from calico_mn.present import Link
from calico_mn.state import Bridge, Device, Route, Sysctl, Tunnel, Veth

# What the kernel answers when there is nothing to remove: no such device, route, address or
# neighbour; and for a device's shaping: no such qdisc, or the root qdisc is the default one.
_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)
_NO_SHAPING = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
_EXISTS = (errno.EEXIST,)

# Indexes that are asked for (tunl0, eth0) are small; the others begin above this.
_FIRST_FREE_INDEX = 9


class Step(NamedTuple):
    """A message, the commands that it amounts to, and the errors that are none.

    The commands are only worked out when the kernel refuses the message.
    """

    message: Message
    commands: Callable[[], str | Iterable[str]]
    harmless: tuple[int, ...] = ()

    def command(self) -> str:
        """The commands in one line."""
        commands = self.commands()
        return commands if isinstance(commands, str) else "; ".join(commands)


_LOOPBACK_UP = Step(encode.link(1, up=True), partial(str, "ip link set lo up"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send into ``namespace``."""

    namespace: NetworkNamespace
    change: Delta
    steps: Sequence[Step]

    def send(self, netlink: NetlinkSocket) -> None:
        """Send everything in one go. Raises KernelError with namespace, command and reason."""
        for error in netlink.attempt([step.message for step in self.steps]):
            step = self.steps[error.index]
            if error.errno not in step.harmless:
                raise KernelError(
                    f"{self.namespace.name}: {step.command()}: {error.reason}") from error
        indexes = self.namespace.indexes
        added = {device.name for device in self.change.devices_added}
        for device in (*self.change.devices_outdated, *self.change.devices_removed):
            if device.name not in added:
                indexes.pop(device.name, None)
        for link, name in self.change.devices_renamed:
            indexes.pop(link.name, None)
            indexes[name] = link.index


class Planner:
    """Plans deltas of many namespaces.

    Routes that are the same object in several of them, over devices of the same index, are
    encoded once. They are told apart by their ids: a planner lives no longer than its deltas.
    """

    def __init__(self, namespaces: Mapping[str, NetworkNamespace], tunnel: TunnelBackend) -> None:
        self._namespaces = namespaces
        self._tunnel = tunnel
        self._routes: dict[tuple[int, int], Step] = {}

    def plan(self, change: Delta, *, fresh: bool = False) -> Plan:
        """The plan for ``change``, less the sysctls of the namespace as a whole.

        ``fresh``: the namespace was just made, and its loopback device is down.
        """
        namespace = self._namespaces[change.namespace]
        index = namespace.index
        steps = [_link_removal(device, namespace) for device in change.devices_outdated
                 if device.name in namespace.indexes]
        for link, name in change.devices_renamed:
            steps += _renaming(link, name)
        if fresh:
            steps.append(_LOOPBACK_UP)
        of_device = change.device_sysctls()
        for device in change.devices_added:
            steps += self._creation(device, namespace, of_device.pop(device.name, ()))
        steps += [_link_change(wanted, present, namespace)
                  for wanted, present in change.links_changed]
        for end in change.devices_reshaped:
            steps.append(Step(encode.qdisc_removal(index(end.name)),
                              partial(str, f"tc qdisc del dev {end.name} root"), _NO_SHAPING))
            if end.shaping:
                steps += [Step(message, partial(iptext.shaping, end.name, end.shaping))
                          for message in encode.shaping(end.shaping, index(end.name))]
        for program in change.programs:
            steps += [Step(message, partial(iptext.program_attached, program))
                      for message in self._tunnel.attach(namespace, program)]
        for name, items in of_device.items():
            steps += _sysctls(index(name), items)
        for tunnel in change.tunnels_changed:
            steps += self._tunnel_settings(tunnel, namespace)
        steps += [Step(encode.address(a, index(a.device)), partial(iptext.address, a), _EXISTS)
                  for a in change.addresses_added]
        steps += [Step(encode.neighbour(n, index(n.device)), partial(iptext.neighbour, n))
                  for n in change.neighbours_replaced]
        steps += self._route_steps(change.routes_replaced, namespace)
        steps += _removals(change, namespace)
        return Plan(namespace, change, steps)

    def _route_steps(self, routes: Sequence[Route], namespace: NetworkNamespace
                     ) -> Iterator[Step]:
        indexes = {"": 0, **namespace.indexes}
        known = self._routes
        for route in routes:
            number = indexes.get(route.device)
            if number is None:
                number = namespace.index(route.device)
            step = known.get((id(route), number))
            if step is None:
                hops = [namespace.index(hop.device) for hop in route.next_hops]
                step = Step(encode.route(route, number, hop_indexes=hops),
                            partial(iptext.route, route))
                if not hops:
                    known[id(route), number] = step
            yield step

    def _creation(self, device: Device, namespace: NetworkNamespace, settings: Sequence[Sysctl]
                  ) -> list[Step]:
        if isinstance(device, Tunnel) and device.has_back_end:
            if device.name not in namespace.indexes:
                _new_index(namespace, device.name, TUNL0_INDEX)
            return self._tunnel_settings(device, namespace, settings, is_new=True)
        say = partial(iptext.device_added, device)
        if isinstance(device, Tunnel):
            number = _new_index(namespace, device.name)
            return [Step(encode.vxlan(device, number, namespace.index(device.uplink)), say),
                    *_sysctls(number, settings, up=device.up)]
        if isinstance(device, Bridge):
            return [Step(encode.bridge(device, _new_index(namespace, device.name)), say)]
        steps: list[Step] = []
        if isinstance(device, Veth):
            peer = self._namespaces[device.peer.namespace]
            number = _new_index(namespace, device.name)
            peer_number = _new_index(peer, device.peer.name, device.peer.index)
            steps.append(Step(encode.veth(device, number, peer_number, peer.descriptor,
                                          namespace.index(device.master)), say))
        else:
            number = namespace.index(device.name)
        steps += _sysctls(number, settings, up=True)
        if device.shaping:
            steps += [Step(message, say) for message in encode.shaping(device.shaping, number)]
        return steps

    def _tunnel_settings(self, device: Tunnel, namespace: NetworkNamespace,
                         settings: Sequence[Sysctl] = (), *, is_new: bool = False) -> list[Step]:
        say = partial(iptext.tunnel_changed, device)
        number = namespace.index(device.name)
        messages = (self._tunnel.configure(namespace, device, is_new=is_new)
                    if device.has_back_end
                    else [encode.link(number, up=device.up, mtu=device.mtu)])
        return [*(Step(message, say) for message in messages), *_sysctls(number, settings)]


def _link_removal(device: Device | Link, namespace: NetworkNamespace) -> Step:
    return Step(encode.link_removal(namespace.index(device.name)),
                partial(iptext.link_removal, device), _GONE)


def _renaming(link: Link, name: str) -> list[Step]:
    """Before Linux 6.2 a device that is up keeps its name (dev_change_name)."""
    say = partial(str, f"ip link set {link.name} name {name}")
    return [Step(encode.link(link.index, up=False), say),
            Step(encode.link(link.index, name=name), say),
            Step(encode.link(link.index, up=link.up), say)]


def _link_change(wanted: Link, present: Link, namespace: NetworkNamespace) -> Step:
    """One message with what differs."""
    message = encode.link(
        namespace.index(wanted.name), up=wanted.up if wanted.up != present.up else None,
        mtu=wanted.mtu or 0 if wanted.mtu != present.mtu else 0,
        txqueuelen=wanted.txqueuelen if wanted.txqueuelen != present.txqueuelen else None,
        mac=wanted.mac if wanted.mac != present.mac else "",
        master=namespace.index(wanted.master) if wanted.master != present.master else None)
    return Step(message, partial(iptext.link_changed, wanted, present))


def _removals(change: Delta, namespace: NetworkNamespace) -> Iterator[Step]:
    """What is on a device that was removed by hand went with it."""
    known = {"": 0, **namespace.indexes}
    for route in change.routes_removed:
        if route.devices <= known.keys():
            yield Step(encode.route(route, known[route.device], remove=True),
                       partial(iptext.route, route, remove=True), _GONE)
    for entry in change.neighbours_removed:
        if entry.device in known:
            yield Step(encode.neighbour(entry, known[entry.device], remove=True),
                       partial(iptext.neighbour, entry, remove=True), _GONE)
    for address in change.addresses_removed:
        if address.device in known:
            yield Step(encode.address(address, known[address.device], remove=True),
                       partial(iptext.address, address, remove=True), _GONE)
    for device in change.devices_removed:
        if device.name in known:
            yield _link_removal(device, namespace)


def _sysctls(index: int, items: Sequence[Sysctl], *, up: bool | None = None) -> list[Step]:
    """One link message for all settings of a device; proxy_delay has a message of its own.

    proxy_delay comes right after its device: the kernel looks for the entry from the newest one
    on, and asking late makes booting quadratic.
    """
    conf = {item.key: item.value for item in items if item.table == "conf"}
    steps: list[Step] = []
    if conf or up:
        steps.append(Step(encode.link(index, up=up, conf=conf), partial(_settings, items)))
    steps += [Step(encode.proxy_delay(index, item.value), partial(iptext.sysctl, item))
              for item in items if item.table == "neigh"]
    return steps


def _new_index(namespace: NetworkNamespace, name: str, wanted: int = 0) -> int:
    """``wanted`` if it is free in ``namespace``, else the next one; remembered for ``name``.

    Both ends of a veth never get the same index: the kernel takes such a device for one without
    a partner and reports its state up to a second late (linkwatch_urgent_event).
    """
    used = namespace.indexes
    number = wanted
    if not number or number in used.values():
        number = max(_FIRST_FREE_INDEX, *used.values()) + 1
    used[name] = number
    return number


def _settings(items: Sequence[Sysctl]) -> list[str]:
    return ["ip link set up", *map(iptext.sysctl, items)]
