"""Repairs of devices as netlink messages; all else of a repair is a delta and the writer's."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from calico_mn.errors import KernelError
from calico_mn.kernel import encode, iptext
from calico_mn.kernel.netlink import Message, NetlinkSocket
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.kernel.tunnel import TunnelBackend
from calico_mn.present import Link
from calico_mn.repair import Mend

# No such device, no such qdisc: somebody was faster, or the root qdisc is the default one.
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)


def send(change: Mend, namespace: NetworkNamespace, tunnel: TunnelBackend,
         netlink: NetlinkSocket) -> None:
    """Carry out a step, less its delta, in the namespace that this thread and socket are in.

    Raises KernelError with namespace, command and reason.
    """
    index = namespace.index
    for name in change.removed:
        if name in namespace.indexes:
            _send(netlink, namespace, [encode.link_removal(index(name))],
                  f"ip link del {name}", _GONE)
            del namespace.indexes[name]
    for found, name in change.renamed:
        # Before Linux 6.2 a device that is up keeps its name (dev_change_name).
        _send(netlink, namespace,
              [encode.link(found.index, up=False), encode.link(found.index, name=name),
               encode.link(found.index, up=found.up)], f"ip link set {found.name} name {name}")
        namespace.indexes.pop(found.name, None)
        namespace.indexes[name] = found.index
    for wanted, found in change.changed:
        _send(netlink, namespace, [_link(wanted, found, namespace)],
              iptext.link_changed(wanted, found))
    for device in change.reshaped:
        _send(netlink, namespace, [encode.shaping_removal(index(device.name))],
              f"tc qdisc del dev {device.name} root", _GONE)
        if device.shaping:
            _send(netlink, namespace, encode.shaping(device.shaping, index(device.name)),
                  "; ".join(iptext.shaping(device.name, device.shaping)))
    for program in change.programs:
        _send(netlink, namespace, tunnel.attach(namespace, program),
              "; ".join(iptext.program_attached(program)))


def _link(wanted: Link, found: Link, namespace: NetworkNamespace) -> Message:
    """One message with what differs."""
    return encode.link(
        namespace.index(wanted.name), up=wanted.up if wanted.up != found.up else None,
        mtu=wanted.mtu or 0 if wanted.mtu != found.mtu else 0,
        txqueuelen=wanted.txqueuelen if wanted.txqueuelen != found.txqueuelen else None,
        mac=wanted.mac if wanted.mac != found.mac else "",
        master=namespace.index(wanted.master) if wanted.master != found.master else None)


def _send(netlink: NetlinkSocket, namespace: NetworkNamespace, messages: Sequence[Message],
          command: str, harmless: Sequence[int] = ()) -> None:
    for error in netlink.attempt(messages) if messages else ():
        if error.errno not in harmless:
            raise KernelError(f"{namespace.name}: {command}: {error.reason}") from error
