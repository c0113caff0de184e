"""tunl0 for a kernel without the ipip module: a TUN device and two programs of :mod:`.program`.

In go the namespaces and their tunnels; out come devices that look and work like the kernel's own
tunl0, and, asked by :func:`probe`, why there can be none here. What rtnetlink can set (MTU, queue
length, state) is sent as for every device; what only ioctls on /dev/net/tun can is done by
:func:`create_tunl0`. Their numbers are those of ``include/uapi/linux/if_tun.h``, their effects in
``drivers/net/tun.c``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import platform
import socket
import struct
import threading
from contextlib import closing

from calico_mn.errors import CalicoMnError, KernelError, UnsupportedError
from calico_mn.kernel import encode, processes
from calico_mn.kernel.ebpf import program
from calico_mn.kernel.netlink import Message, NetlinkError, NetlinkSocket
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.present import Program
from calico_mn.state import Tunnel

_CLONE_NEWNET = 0x40000000
_DEVICE = "/dev/net/tun"

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETLINK = 0x400454CD
_TUNSETOFFLOAD = 0x400454D0
_TUNSETIFINDEX = 0x400454DA
_TUNSETFILTEREBPF = 0x800454E1

_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_IFNAMSIZ = 16
# ip prints link/ipip, captures see bare IP packets, and IPv6 makes no link-local address.
_ARPHRD_TUNNEL = 768
# CSUM, TSO4, TSO6, TSO_ECN: without them the stack would cut super-packets before the program.
_OFFLOADS = 0x01 | 0x02 | 0x04 | 0x08
_USO4, _USO6 = 0x20, 0x40  # the same for UDP, since Linux 6.2

_libc = ctypes.CDLL(None, use_errno=True)


class EbpfTunnel:
    """tunl0 as a TUN device with two programs; they are loaded once for all namespaces."""

    name = "ebpf"
    kind = "tun"

    def __init__(self) -> None:
        self._held: list[int] = []
        try:
            self._held.append(program.load(program.EGRESS))
            self._held.append(program.load(program.INGRESS))
            self._held.append(program.load_drop_filter())
        except BaseException:
            self.close()
            raise
        self._egress, self._ingress, self._drop = self._held

    def create(self, namespace: NetworkNamespace, device: Tunnel) -> None:
        """Make the device; its descriptor is held with the namespace, or it would end.

        A device that was there before is gone, and so is the use of its descriptor.
        """
        while namespace.held:
            os.close(namespace.held.pop())
        namespace.tunnel_hooked = False
        namespace.held.append(create_tunl0(device.name, program.TUNL0_INDEX, self._drop))
        namespace.indexes[device.name] = program.TUNL0_INDEX

    def configure(self, namespace: NetworkNamespace, device: Tunnel) -> list[Message]:
        """MTU and state; the first time also the programs, on the device and on the uplink."""
        index = namespace.index(device.name)
        change = encode.link(index, up=device.up, mtu=device.mtu, txqueuelen=1000)
        if namespace.tunnel_hooked:
            return [change]
        namespace.tunnel_hooked = True
        hooks = [message for item in self.programs(device)
                 for message in self.attach(namespace, item)]
        return [encode.without_multicast(index), encode.noqueue(index), *hooks, change]

    def programs(self, device: Tunnel) -> tuple[Program, ...]:
        """One where packets leave through the device, one where they arrive at the uplink."""
        return (Program(device.name, "egress", program.EGRESS),
                Program(device.uplink, "ingress", program.INGRESS))

    def attach(self, namespace: NetworkNamespace, item: Program) -> list[Message]:
        """The program in its place, also where a part of it was there before."""
        index = namespace.index(item.device)
        descriptor = self._egress if item.direction == "egress" else self._ingress
        return [encode.clsact(index, replace=True),
                encode.program(index, item.direction, descriptor, item.name, replace=True)]

    def close(self) -> None:
        """Let go of the programs; those that are attached live on with their devices."""
        for descriptor in self._held:
            os.close(descriptor)


def create_tunl0(name: str, ifindex: int, filter_fd: int) -> int:
    """Make the device in the calling thread's network namespace, down; a descriptor.

    The descriptor must be held open: without it the device has no carrier. ``filter_fd`` is the
    program of :func:`.program.load_drop_filter`. Raises UnsupportedError when the machine has no
    usable /dev/net/tun, and KernelError when ``name`` or ``ifindex`` is taken in the namespace.
    """
    try:
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise UnsupportedError(
            f"{_DEVICE} cannot be opened: {error.strerror}; the kernel needs CONFIG_TUN, and a"
            f" container needs the device (--device {_DEVICE}, or --privileged)") from error
    step = ""
    try:
        # All of it while the device is down: the index before there is a device at all, and
        # the type must not change later.
        step = f"index {ifindex}"
        fcntl.ioctl(descriptor, _TUNSETIFINDEX, struct.pack("=I", ifindex))
        step = f"create (is {name}, or a device with index {ifindex}, there already?)"
        fcntl.ioctl(descriptor, _TUNSETIFF,
                    struct.pack("=16sH22x", _interface_name(name), _IFF_TUN | _IFF_NO_PI))
        step = "type"
        fcntl.ioctl(descriptor, _TUNSETLINK, _ARPHRD_TUNNEL)
        step = "offloads"
        _set_offloads(descriptor)
        step = "filter"
        fcntl.ioctl(descriptor, _TUNSETFILTEREBPF, struct.pack("=i", filter_fd))
        # So that it ends with its namespace: ending it with the descriptor takes 20 ms each.
        step = "persistence"
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EPERM:
            raise UnsupportedError(f"making a TUN device is not permitted: {name} needs root"
                                   " (CAP_NET_ADMIN)") from error
        raise KernelError(f"{name}: {step}: {error.strerror}") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _interface_name(name: str) -> bytes:
    encoded = name.encode()
    # The kernel would silently cut a longer one, and read % as "the next free number".
    if not 0 < len(encoded) < _IFNAMSIZ or "%" in name:
        raise KernelError(f"{name!r} is no name for a device")
    return encoded


def _set_offloads(descriptor: int) -> None:
    try:
        fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _OFFLOADS | _USO4 | _USO6)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _OFFLOADS)


@functools.cache
def probe() -> str | None:
    """Why tunl0 cannot be made by eBPF here, in one sentence; None when it can.

    Tries everything once, in a namespace of its own which ends with the attempt. The answer is
    kept, so later calls cost nothing.
    """
    reasons: list[str | None] = []
    thread = threading.Thread(target=lambda: reasons.append(_reason()), name="ebpf-probe")
    thread.start()
    thread.join()
    return reasons[0] if reasons else "the attempt ended with an internal error"


def _reason() -> str | None:
    """The body of :func:`probe`, in a thread that can be spared."""
    if _libc.unshare(_CLONE_NEWNET):
        return ("making a network namespace is not permitted"
                f" ({os.strerror(ctypes.get_errno())}): run it as root")
    # The only device that can have both programs.
    device = Tunnel("tunl0", 1480, uplink="tunl0")
    namespace = NetworkNamespace("probe", -1, 0)
    try:
        if not program.tells_source_addresses():
            return (f"Linux {platform.release()} is too old: its bpf_fib_lookup() cannot tell"
                    " source addresses (Linux can from 6.7 on, and in late releases of 6.1)")
        reason = _name_or_index_taken()
        if reason is not None:
            return reason
        with closing(EbpfTunnel()) as backend, NetlinkSocket() as netlink:
            backend.create(namespace, device)
            netlink.request(backend.configure(namespace, device))
    except NetlinkError as error:
        return (f"the kernel cannot attach eBPF programs to a device ({error.reason}): it needs"
                " CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF, built in or as modules that"
                " this machine can load")
    except OSError as error:
        return f"the eBPF programs cannot be tried: {processes.explain(error.errno)}"
    except CalicoMnError as error:
        return str(error)
    finally:
        for descriptor in namespace.held:
            os.close(descriptor)
    return None


def _name_or_index_taken() -> str | None:
    """Tunnel modules put a device into every new namespace, which may be in our way."""
    for index, name in socket.if_nameindex():
        if name == "tunl0":
            return ("the ipip module gives every new namespace a tunl0 of the kernel's own: that"
                    " is the one to use")
        if index == program.TUNL0_INDEX:
            return (f"every new namespace begins with a device {name}, whose index tunl0 needs;"
                    " 'sudo sysctl net.core.fb_tunnels_only_for_init_net=1' ends that")
    return None
