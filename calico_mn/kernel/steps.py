"""A delta as netlink messages for one namespace: planned here, sent by the writer.

Nothing is sent and no namespace is entered, so that the next namespaces can be planned while
the kernel is busy with the ones before. Planning assigns indexes to the devices to be made.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from calico_mn.delta import Delta
from calico_mn.errors import KernelError
from calico_mn.kernel import encode, iptext
from calico_mn.kernel.netlink import Message, NetlinkError, NetlinkSocket
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.kernel.tunnel import TunnelBackend
from calico_mn.state import VXLAN, Bridge, Device, Sysctl, Tunnel, Veth

#: a message, and how to say it as a command: said only when the kernel refuses it
Step = tuple[Message, Callable[[], str]]

# What the kernel answers when there is nothing to remove: no such device, route,
# address or neighbour.
_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)

# Indexes that are asked for (tunl0, eth0) are small; the others begin above this.
_FIRST_FREE_INDEX = 9

_LOOPBACK_UP: Step = (encode.link(1, up=True), partial(str, "ip link set lo up"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send into ``namespace``.

    ``removals`` may find nothing to remove, ``addresses`` may find theirs there already.
    """

    namespace: NetworkNamespace
    change: Delta
    steps: tuple[Step, ...]
    removals: frozenset[int]
    addresses: range = range(0)

    def send(self, netlink: NetlinkSocket) -> None:
        """Send everything in one go. Raises KernelError with namespace, command and reason."""
        for error in netlink.attempt([message for message, _say in self.steps]):
            if not self._is_harmless(error):
                command = self.steps[error.index][1]()
                raise KernelError(f"{self.namespace.name}: {command}: {error.reason}") from error
        for device in self.change.devices_removed:
            self.namespace.indexes.pop(device.name, None)

    def _is_harmless(self, error: NetlinkError) -> bool:
        return ((error.index in self.removals and error.errno in _GONE)
                or (error.index in self.addresses and error.errno == errno.EEXIST))


def plan(change: Delta, namespaces: Mapping[str, NetworkNamespace], tunnel: TunnelBackend, *,
         fresh: bool = False) -> Plan:
    """The plan for ``change``, less the sysctls of the namespace as a whole.

    ``fresh``: the namespace was just made, and its loopback device is down.
    """
    namespace = namespaces[change.namespace]
    outdated = [_link_removal(device, namespace) for device in change.devices_outdated
                if device.name in namespace.indexes]
    steps = [*outdated, _LOOPBACK_UP] if fresh else outdated
    removals = set(range(len(outdated)))
    of_device: dict[str, list[Sysctl]] = {}
    for item in change.sysctls:
        if item.device not in ("", "all", "default"):
            of_device.setdefault(item.device, []).append(item)
    for device in change.devices_added:
        settings = of_device.pop(device.name, ())
        if isinstance(device, Tunnel) and device.kind != VXLAN:
            steps += _tunnel_steps(device, namespace, tunnel, settings)
        else:
            steps += _device_steps(device, namespace, namespaces, settings)
    for name, items in of_device.items():
        steps += _sysctl_steps(namespace.index(name), items)
    for device in change.tunnels_changed:
        steps += _tunnel_steps(device, namespace, tunnel, ())
    index = namespace.index
    addresses = range(len(steps), len(steps) + len(change.addresses_added))
    steps += [(encode.address(a, index(a.device)), partial(iptext.address, a))
              for a in change.addresses_added]
    steps += [(encode.neighbour(n, index(n.device)), partial(iptext.neighbour, n))
              for n in change.neighbours_replaced]
    steps += [(encode.route(r, index(r.device),
                               hop_indexes=[index(hop.device) for hop in r.next_hops]),
               partial(iptext.route, r))
              for r in change.routes_replaced]
    first = len(steps)
    steps += _removal_steps(change, namespace)
    removals.update(range(first, len(steps)))
    return Plan(namespace, change, tuple(steps), frozenset(removals), addresses)


def _link_removal(device: Device, namespace: NetworkNamespace) -> Step:
    return (encode.link_removal(namespace.index(device.name)),
            partial(iptext.link_removal, device))


def _removal_steps(change: Delta, namespace: NetworkNamespace) -> list[Step]:
    """What is on a device that somebody removed before us went with it."""
    known = {"": 0, **namespace.indexes}
    return [
        *((encode.route(r, known[r.device], remove=True),
           partial(iptext.route, r, remove=True))
          for r in change.routes_removed if r.devices <= known.keys()),
        *((encode.neighbour(n, known[n.device], remove=True),
           partial(iptext.neighbour, n, remove=True))
          for n in change.neighbours_removed if n.device in known),
        *((encode.address(a, known[a.device], remove=True),
           partial(iptext.address, a, remove=True))
          for a in change.addresses_removed if a.device in known),
        *(_link_removal(device, namespace)
          for device in change.devices_removed if device.name in known),
    ]


def _tunnel_steps(device: Tunnel, namespace: NetworkNamespace, tunnel: TunnelBackend,
                  settings: Sequence[Sysctl]) -> list[Step]:
    say = partial(_joined, iptext.tunnel_changed, device)
    messages = ([encode.link(namespace.index(device.name), up=device.up, mtu=device.mtu)]
                if device.kind == VXLAN else tunnel.configure(namespace, device))
    return [*((message, say) for message in messages),
            *_sysctl_steps(namespace.index(device.name), settings)]


def _device_steps(device: Device, namespace: NetworkNamespace,
                  namespaces: Mapping[str, NetworkNamespace], settings: Sequence[Sysctl]
                  ) -> list[Step]:
    say = partial(_joined, iptext.device_added, device)
    if isinstance(device, Bridge):
        return [(encode.bridge(device, _new_index(namespace, device.name)), say)]
    steps: list[Step] = []
    if isinstance(device, Tunnel):
        number = _new_index(namespace, device.name)
        steps.append((encode.vxlan(device, number, namespace.index(device.uplink)), say))
        return [*steps, *_sysctl_steps(number, settings, up=device.up)]
    if isinstance(device, Veth):
        peer = namespaces[device.peer.namespace]
        number = _new_index(namespace, device.name)
        peer_number = _new_index(peer, device.peer.name, device.peer.index)
        steps.append((encode.veth(device, number, peer_number, peer.descriptor,
                                     namespace.index(device.master)), say))
        shaping = device.shaping
    else:
        number = namespace.index(device.name)
        shaping = device.shaping
    steps += _sysctl_steps(number, settings, up=True)
    if shaping:
        steps += [(message, say) for message in encode.shaping(shaping, number)]
    return steps


def _sysctl_steps(index: int, items: Sequence[Sysctl], *, up: bool | None = None) -> list[Step]:
    """One link message for all settings of a device; proxy_delay has a message of its own.

    proxy_delay comes right after its device: the kernel looks for the entry from the newest one
    on, and asking late makes booting quadratic.
    """
    conf = {item.key: item.value for item in items if item.table == "conf"}
    steps: list[Step] = []
    if conf or up:
        steps.append((encode.link(index, up=up, conf=conf), partial(_settings, items)))
    steps += [(encode.proxy_delay(index, item.value), partial(iptext.sysctl, item))
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


def _joined(commands: Callable[[Any], list[str]], device: Device) -> str:
    return "; ".join(commands(device))


def _settings(items: Sequence[Sysctl]) -> str:
    return "; ".join(["ip link set up", *(iptext.sysctl(item) for item in items)])
