"""A delta as netlink messages for one namespace: planned here, sent by the writer.

In go a :class:`~calico_mn.delta.Delta` and the indexes of the namespace's devices; out comes a
:class:`Plan`, the same for a boot, a change and a repair. Nothing is sent and no namespace is
entered, so that the next namespaces can be planned while the kernel is busy with the ones before.
Planning assigns indexes to the devices to be made (:mod:`.devices`); what is on devices, addresses,
neighbours and routes, becomes bytes at the end of this module.
"""

from __future__ import annotations

import errno
import functools
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from calico_mn.delta import Delta
from calico_mn.errors import KernelError
from calico_mn.kernel import devices, iptext
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    NetlinkSocket,
    Step,
    attribute,
    u32,
)
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.kernel.tunnel import TunnelBackend
from calico_mn.present import Program
from calico_mn.state import (
    Address,
    Bridge,
    Device,
    Neighbour,
    NeighbourEntry,
    NextHop,
    Route,
    Sysctl,
    Tunnel,
    Veth,
)

# What the kernel answers when a device has no shaping to remove: no such device or qdisc, or the
# root qdisc is the default one.
_NO_SHAPING = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
_EXISTS = (errno.EEXIST,)

_LOOPBACK_UP = Step(devices.link(1, up=True), partial(str, "ip link set lo up"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send into ``namespace``."""

    namespace: NetworkNamespace
    change: Delta
    steps: Sequence[Step]

    def send(self, netlink: NetlinkSocket) -> None:
        """Send everything in one go. Raises KernelError with namespace, command and reason."""
        for error in netlink.carry_out(self.steps):
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
        #: index of the device and whether to remove -> id of the route -> its step
        self._routes: dict[tuple[int, bool], dict[int, Step]] = {}

    def plan(self, change: Delta, *, fresh: bool = False) -> Plan:
        """The plan for ``change``, less the sysctls of the namespace as a whole.

        ``fresh``: the namespace was just made, and its devices are down; the programs of its
        tunnel come later (:meth:`attachments`).
        """
        namespace = self._namespaces[change.namespace]
        index = namespace.index
        steps = [devices.removal(device, namespace) for device in change.devices_outdated
                 if device.name in namespace.indexes]
        for link, name in change.devices_renamed:
            steps += devices.renaming(link, name)
        if fresh:
            steps.append(_LOOPBACK_UP)
        programs = self._tunnel_programs(change)
        of_device = change.device_sysctls()
        for device in change.devices_added:
            steps += self._creation(device, namespace, of_device.pop(device.name, ()))
        if fresh:
            steps = [*_clsact(programs, namespace), *steps]
        else:
            steps += self._attaching(programs, namespace)
        steps += [devices.change(wanted, present, namespace)
                  for wanted, present in change.links_changed]
        for end in change.devices_reshaped:
            steps.append(Step(devices.qdisc_removal(index(end.name)),
                              partial(str, f"tc qdisc del dev {end.name} root"), _NO_SHAPING))
            if end.shaping:
                steps += [Step(message, partial(iptext.shaping, end.name, end.shaping))
                          for message in devices.shaping(end.shaping, index(end.name))]
                if isinstance(end, Veth) and not end.txqueuelen:
                    # With its first queueing discipline a device gets 1000 (qdisc_create).
                    steps.append(Step(devices.link(index(end.name), txqueuelen=0),
                                      partial(iptext.reshaped, end)))
        steps += self._attaching(change.programs, namespace)
        for name, items in of_device.items():
            steps += devices.sysctls(index(name), items)
        for tunnel in change.tunnels_changed:
            steps += self._tunnel_settings(tunnel, namespace)
        steps += [Step(address(a, index(a.device)), partial(iptext.address, a), _EXISTS)
                  for a in change.addresses_added]
        steps += [Step(neighbour(n, index(n.device)), partial(iptext.neighbour, n))
                  for n in change.neighbours_replaced]
        steps += self._route_steps(change.routes_replaced, namespace)
        steps += self._route_steps(change.routes_removed, namespace, remove=True)
        steps += _removals(change, namespace)
        return Plan(namespace, change, steps)

    def attachments(self, creations: Iterable[Delta]) -> Iterator[Plan]:
        """Plans that attach the programs of the tunnels that fresh namespaces got.

        They are for the end of a boot: between clsact and the first program on it the kernel waits
        for an RCU grace period, if none has gone by since (mini_qdisc_pair_swap).
        """
        for change in creations:
            if programs := self._tunnel_programs(change):
                namespace = self._namespaces[change.namespace]
                yield Plan(namespace, Delta(change.namespace),
                           self._attaching(programs, namespace))

    def _tunnel_programs(self, change: Delta) -> list[Program]:
        return [program for device in change.tunnels_added
                for program in self._tunnel.programs(device)]

    def _attaching(self, programs: Iterable[Program], namespace: NetworkNamespace) -> list[Step]:
        return [Step(message, partial(iptext.program_attached, program)) for program in programs
                for message in self._tunnel.attach(namespace, program)]

    def _route_steps(self, routes: Sequence[Route], namespace: NetworkNamespace, *,
                     remove: bool = False) -> Iterator[Step]:
        """Routes made or, with ``remove``, removed: less those that went with their device."""
        known = {name: self._routes.setdefault((number, remove), {}) for name, number in (
            ("", 0), *namespace.indexes.items())} if routes else {}
        for item in routes:
            steps = known.get(item.device)
            step = None if steps is None else steps.get(id(item))
            if step is None:
                if remove and not item.devices <= known.keys():
                    continue
                hops = [namespace.index(hop.device) for hop in item.next_hops]
                step = Step(route(item, namespace.index(item.device), hop_indexes=hops,
                                  remove=remove), partial(iptext.route, item, remove=remove),
                            devices.GONE if remove else ())
                if steps is not None and not hops:
                    steps[id(item)] = step
            yield step

    def _creation(self, device: Device, namespace: NetworkNamespace, settings: Sequence[Sysctl]
                  ) -> list[Step]:
        if isinstance(device, Tunnel) and device.has_back_end:
            if device.name not in namespace.indexes:
                devices.new_index(namespace, device.name, self._tunnel.index)
            return self._tunnel_settings(device, namespace, settings, is_new=True)
        say = partial(iptext.device_added, device)
        if isinstance(device, Tunnel):
            number = devices.new_index(namespace, device.name)
            return [Step(devices.vxlan(device, number, namespace.index(device.uplink)), say),
                    *devices.sysctls(number, settings, up=device.up)]
        if isinstance(device, Bridge):
            return [Step(devices.bridge(device, devices.new_index(namespace, device.name)), say)]
        steps: list[Step] = []
        if isinstance(device, Veth):
            peer = self._namespaces[device.peer.namespace]
            number = devices.new_index(namespace, device.name)
            peer_number = devices.new_index(peer, device.peer.name, device.peer.index)
            steps.append(Step(devices.veth(device, number, peer_number, peer.descriptor,
                                          namespace.index(device.master)), say))
        else:
            number = namespace.index(device.name)
        steps += devices.sysctls(number, settings, up=not isinstance(device, Veth) or device.up)
        if device.shaping:
            steps += [Step(message, say) for message in devices.shaping(device.shaping, number)]
        return steps

    def _tunnel_settings(self, device: Tunnel, namespace: NetworkNamespace,
                         settings: Sequence[Sysctl] = (), *, is_new: bool = False) -> list[Step]:
        say = partial(iptext.tunnel_changed, device)
        number = namespace.index(device.name)
        messages = (self._tunnel.configure(namespace, device, is_new=is_new)
                    if device.has_back_end
                    else [devices.link(number, up=device.up, mtu=device.mtu)])
        return [*(Step(message, say) for message in messages), *devices.sysctls(number, settings)]


def _clsact(programs: Iterable[Program], namespace: NetworkNamespace) -> list[Step]:
    """The queueing discipline of programs, for devices that are down.

    On one that is up the kernel waits for an RCU grace period (dev_deactivate_many).
    """
    return [Step(devices.clsact(namespace.index(program.device)),
                 partial(iptext.program_attached, program)) for program in programs]


def _removals(change: Delta, namespace: NetworkNamespace) -> Iterator[Step]:
    """What is on a device that was removed by hand went with it."""
    known = namespace.indexes
    for n in change.neighbours_removed:
        if n.device in known:
            yield Step(neighbour(n, known[n.device], remove=True),
                       partial(iptext.neighbour, n, remove=True), devices.GONE)
    for a in change.addresses_removed:
        if a.device in known:
            yield Step(address(a, known[a.device], remove=True),
                       partial(iptext.address, a, remove=True), devices.GONE)
    for device in change.devices_removed:
        if device.name in known:
            yield devices.removal(device, namespace)


def address(item: Address, index: int, *, remove: bool = False) -> Message:
    """An IPv4 address, scope global."""
    host, _, prefix = item.address.partition("/")
    packed = socket.inet_aton(host)
    return (rt.RTM_DELADDR if remove else rt.RTM_NEWADDR,
            0 if remove else NLM_F_CREATE | NLM_F_EXCL,
            rt.ADDRESS_HEADER.pack(socket.AF_INET, int(prefix), 0, 0, index)
            + attribute(rt.IFA_LOCAL, packed) + attribute(rt.IFA_ADDRESS, packed))


def neighbour(item: NeighbourEntry, index: int, *, remove: bool = False) -> Message:
    """A permanent neighbour, or a VXLAN device's own entry for a MAC (rtnl_fdb_add)."""
    family, flags, destination = (
        (int(socket.AF_INET), 0, item.address) if isinstance(item, Neighbour)
        else (rt.AF_BRIDGE, rt.NTF_SELF, item.destination))
    return (rt.RTM_DELNEIGH if remove else rt.RTM_NEWNEIGH,
            0 if remove else NLM_F_CREATE | NLM_F_REPLACE,
            rt.NEIGHBOUR_HEADER.pack(family, index, rt.NUD_PERMANENT, flags, 0)
            + attribute(rt.NDA_DST, socket.inet_aton(destination))
            + attribute(rt.NDA_LLADDR, bytes.fromhex(item.mac.replace(":", ""))))


@functools.lru_cache(maxsize=65536)
def _destination(prefix: str) -> tuple[int, bytes]:
    """Prefix length and RTA_DST of a destination as iproute2 spells it."""
    if prefix == "default":
        return 0, b""
    network, _, length = prefix.partition("/")
    return int(length or 32), attribute(rt.RTA_DST, socket.inet_aton(network))


def route(item: Route, index: int, *, hop_indexes: Sequence[int] = (), remove: bool = False
          ) -> Message:
    """A route, made or replaced in one step (or removed).

    ``index`` is that of the route's device, 0 for none; ``hop_indexes`` are those of its next
    hops. A removal does not name the next hops: the kernel then takes the destination alone
    (fib_nh_match), so that a route whose ways were changed by hand goes as well.
    """
    length, body = _destination(item.destination)
    if item.via:
        body += attribute(rt.RTA_GATEWAY, socket.inet_aton(item.via))
    if index:
        body += u32(rt.RTA_OIF, index)
    if item.next_hops and not remove:
        body += attribute(rt.RTA_MULTIPATH, b"".join(
            _next_hop(hop, number)
            for hop, number in zip(item.next_hops, hop_indexes, strict=True)))
    if item.metric:
        body += u32(rt.RTA_PRIORITY, item.metric)
    if item.source:
        body += attribute(rt.RTA_PREFSRC, socket.inet_aton(item.source))
    if item.mtu:
        body += attribute(rt.RTA_METRICS, u32(rt.RTAX_MTU, item.mtu))
    table = _number(rt.TABLES, item.table)
    if table > 255:
        body, table = body + u32(rt.RTA_TABLE, table), 0
    return (rt.RTM_DELROUTE if remove else rt.RTM_NEWROUTE,
            0 if remove else NLM_F_CREATE | NLM_F_REPLACE,
            rt.ROUTE_HEADER.pack(
                socket.AF_INET, length, 0, 0, table,
                _number(rt.PROTOCOLS, item.protocol), _number(rt.SCOPES, item.scope),
                _number(rt.KINDS, item.kind), rt.RTNH_F_ONLINK if item.onlink else 0) + body)


def _number(names: Mapping[str, int], name: str) -> int:
    """A name's number; what has no name is a number as text."""
    return names[name] if name in names else int(name)


def _next_hop(hop: NextHop, index: int) -> bytes:
    """``struct rtnexthop`` with its gateway; its third number is the weight less one."""
    gateway = attribute(rt.RTA_GATEWAY, socket.inet_aton(hop.via)) if hop.via else b""
    flags = rt.RTNH_F_ONLINK if hop.onlink else 0
    return rt.NEXT_HOP_HEADER.pack(8 + len(gateway), flags, hop.weight - 1, index) + gateway
