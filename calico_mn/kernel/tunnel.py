"""tunl0 by the kernel's own ipip module, by eBPF, or not at all: the tunnel back ends.

In go the namespaces and their tunnels; out comes the same device from either back end: named tunl0,
no local and no remote address, the outer destination being the gateway of the matched route
(ip_tunnel_xmit in net/ipv4/ip_tunnel.c). :func:`choose` says which one this machine has, and why
not the other. Where neither can be had, a cluster without IPIP does without, as on hosts where ipip
was never loaded (felix/dataplane/linux/ipip_mgr.go makes tunl0 only when IPIP is on).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from calico_mn.errors import CalicoMnError, UnsupportedError
from calico_mn.kernel import devices, processes, runtime_dir
from calico_mn.kernel.ebpf import handover, program, tun
from calico_mn.kernel.ebpf.attendant import Attendant
from calico_mn.kernel.ebpf.seal import Seals
from calico_mn.kernel.netlink import Message, NetlinkError, NetlinkSocket
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.present import TUNNEL_TXQUEUELEN, Program
from calico_mn.rules import OuterWay
from calico_mn.state import Tunnel

#: what the back ends make, as ip_tunnel_init_net() in the kernel and Felix call it
DEVICE = "tunl0"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class TunnelBackend(ABC):
    """Makes tunl0 in namespaces; methods run in the thread that is inside the namespace.

    ``name`` is ``kernel``, ``ebpf`` or ``none``, as results and tables say it; ``kind`` is the
    device's as ``ip -d link`` tells it; ``description`` says what makes the device.
    """

    name: str
    kind: str
    description: str
    #: the device's in every namespace
    index = program.TUNL0_INDEX
    #: descriptors
    _held: Sequence[int] = ()

    @abstractmethod
    def create(self, namespace: NetworkNamespace, device: Tunnel) -> None:
        """Make the device, down, with the index that ``namespace.indexes`` has for it."""

    def configure(self, namespace: NetworkNamespace, device: Tunnel, *, is_new: bool
                  ) -> list[Message]:
        """The messages that give the device its MTU and state; a new one gets all it needs."""
        return [devices.link(namespace.index(device.name), up=device.up, mtu=device.mtu,
                            txqueuelen=TUNNEL_TXQUEUELEN)]

    def programs(self, device: Tunnel) -> tuple[Program, ...]:
        """The programs that must be attached for the device to work."""
        return ()

    def attach(self, namespace: NetworkNamespace, item: Program) -> list[Message]:
        """The messages that attach one of these programs (again)."""
        return []

    def close(self) -> None:
        """Let go of what is held for all namespaces; what is attached lives on with its device."""
        for descriptor in self._held:
            os.close(descriptor)


class KernelTunnel(TunnelBackend):
    """The ipip module. Where it is loaded, every new namespace starts with a tunl0, down."""

    name = "kernel"
    kind = "ipip"
    description = "the kernel's ipip module"

    def create(self, namespace: NetworkNamespace, device: Tunnel) -> None:
        """Take the namespace's fallback device, or make one where fallbacks are switched off."""
        with NetlinkSocket() as netlink:
            for error in netlink.attempt([devices.tunnel(
                    device.name, self.kind, namespace.index(device.name))]):
                if error.errno != errno.EEXIST:
                    raise error


class EbpfTunnel(TunnelBackend):
    """tunl0 as a TUN device with three programs; they are loaded once for all namespaces.

    ``way`` says what our own rules are to the packets that arrive.
    """

    name = "ebpf"
    kind = "tun"
    description = "an eBPF device in place of the ipip module"

    def __init__(self, way: OuterWay | None = None) -> None:
        self._held = held = list[int]()
        self._attendant: Attendant | None = None
        self._seals: Seals | None = None
        sections = program.EGRESS, program.LO, program.INGRESS, program.REASSEMBLED
        try:
            self._seals = Seals(way)
            for section in sections:
                held.append(program.load(section, self._seals.descriptor))
            held.append(program.load_drop_filter())
        except BaseException:
            self.close()
            raise
        self._loaded = dict(zip(sections, held, strict=False))
        self._attendant = Attendant(self._loaded[program.REASSEMBLED], self._seals)

    def create(self, namespace: NetworkNamespace, device: Tunnel) -> None:
        """Make the device; its descriptor is held with the namespace, or it would end.

        A device that was there before is gone, and so is the use of its descriptor.
        """
        while namespace.held:
            os.close(namespace.held.pop())
        namespace.held.append(tun.create_tunl0(device.name, self.index, self._held[-1]))
        with suppress(UnsupportedError):  # then only eth0 brings packets, before INPUT's rules
            namespace.held.append(handover.install())
        assert self._attendant is not None
        namespace.held += self._attendant.attend(namespace.held[0])
        namespace.indexes[device.name] = self.index

    def configure(self, namespace: NetworkNamespace, device: Tunnel, *, is_new: bool
                  ) -> list[Message]:
        """MTU and state; a new device becomes what the kernel's tunl0 is, while it is down."""
        change = super().configure(namespace, device, is_new=is_new)
        if not is_new:
            return change
        index = namespace.index(device.name)
        return [devices.without_multicast(index, TUNNEL_TXQUEUELEN), devices.noqueue(index),
                *change]

    def close(self) -> None:
        """As of every back end; and end the attendant's thread."""
        super().close()
        if self._attendant is not None:
            self._attendant.close()
        if self._seals is not None:
            self._seals.close()

    def programs(self, device: Tunnel) -> tuple[Program, ...]:
        """Where packets leave through the device, come from INPUT, and arrive at the uplink."""
        return (Program(device.name, "egress", program.EGRESS),
                Program("lo", "egress", program.LO),
                Program(device.uplink, "ingress", program.INGRESS))

    def attach(self, namespace: NetworkNamespace, item: Program) -> list[Message]:
        """The program in its place, also where a part of it was there before."""
        index = namespace.index(item.device)
        return [devices.clsact(index, replace=True), devices.program(
            index, item.direction, self._loaded[item.name], item.name, replace=True)]


class NoTunnel(TunnelBackend):
    """No tunl0, for clusters whose nodes have none; ``reason`` says why, and what would help."""

    name = "none"
    kind = ""
    description = "mode Never needs none"

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def create(self, namespace: NetworkNamespace, device: Tunnel) -> None:
        """Refused."""
        raise UnsupportedError(f"{namespace.name}: {self.reason}")


def describe_backend(name: str) -> str:
    """What makes the tunnel device where the back end is called ``name``."""
    return next(backend.description for backend in (KernelTunnel, EbpfTunnel, NoTunnel)
                if backend.name == name)


def choose(wanted: str, *, is_needed: bool = True, way: OuterWay | None = None) -> TunnelBackend:
    """The back end for ``auto``, ``kernel`` or ``ebpf``; ``auto`` prefers the kernel's own.

    ``way`` is EbpfTunnel's.

    Raises UnsupportedError with the reason when this machine does not have it; but ``auto`` is
    none at all then where no tunnel is needed.
    """
    no_kernel = kernel_reason() if wanted in ("auto", "kernel") else ""
    if no_kernel is None:
        return KernelTunnel()
    if wanted == "kernel":
        raise UnsupportedError(f"no tunl0 by the kernel: {no_kernel}")
    if wanted not in ("auto", "ebpf"):
        raise UnsupportedError(f"unknown tunnel back end {wanted!r}: say auto, kernel or ebpf")
    no_ebpf = ebpf_reason()
    if no_ebpf is None:
        return EbpfTunnel(way)
    if wanted == "ebpf":
        raise UnsupportedError(f"no tunl0 by eBPF: {no_ebpf}")
    neither = _neither(no_kernel, no_ebpf)
    if is_needed:
        raise UnsupportedError(f"{neither}; without it only IPIP mode Never is possible")
    return NoTunnel(neither)


def _neither(no_kernel: str, no_ebpf: str) -> str:
    if runtime_dir.is_user_namespace():
        return ("this user namespace can make no tunl0: the ipip module is not loaded ('sudo"
                " modprobe ipip' on the machine, where its kernel has it), and eBPF needs CAP_BPF"
                " on the machine itself (so run it with sudo, in no user namespace)")
    return f"this machine can make no tunl0. By the kernel: {no_kernel}. By eBPF: {no_ebpf}"


def kernel_reason() -> str | None:
    """Why the kernel back end cannot be used, in one sentence; None when it can.

    Loading the module would put a tunl0 into the machine's own namespace, so this package never
    does it: that is for the machine's owner to do.
    """
    if Path("/sys/module/ipip").exists() or Path("/proc/sys/net/ipv4/conf/tunl0").exists():
        return None
    return ("the ipip module is not loaded; where the kernel has it, 'sudo modprobe ipip' loads"
            " it (which also puts a tunl0, down, into this machine's own namespace)")


@functools.cache
def ebpf_reason() -> str | None:
    """Why tunl0 cannot be made by eBPF here, in one sentence; None when it can.

    Tries everything once, in a namespace of its own which ends with the attempt. The answer is
    kept, so later calls cost nothing.
    """
    reasons: list[str | None] = []
    thread = threading.Thread(target=lambda: reasons.append(_try_ebpf()), name="ebpf-probe")
    thread.start()
    thread.join()
    return reasons[0] if reasons else "the attempt ended with an internal error"


def _try_ebpf() -> str | None:
    """The body of :func:`ebpf_reason`, in a thread that can be spared."""
    if _libc.unshare(_CLONE_NEWNET):
        return ("making a network namespace is not permitted"
                f" ({os.strerror(ctypes.get_errno())}): run it as root")
    # The only device that can have both programs.
    device = Tunnel(DEVICE, 1480, uplink=DEVICE)
    namespace = NetworkNamespace("probe", -1, 0, indexes={"lo": 1})
    try:
        if not program.tells_source_addresses():
            return (f"Linux {platform.release()} is too old: its bpf_fib_lookup() cannot tell"
                    " source addresses (Linux can from 6.7 on, and in late releases of 6.1)")
        reason = _name_or_index_taken()
        if reason is not None:
            return reason
        with closing(EbpfTunnel()) as backend, NetlinkSocket() as netlink:
            backend.create(namespace, device)
            netlink.request([*backend.configure(namespace, device, is_new=True), *(
                message for item in backend.programs(device)
                for message in backend.attach(namespace, item))])
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
        if name == DEVICE:
            return ("the ipip module gives every new namespace a tunl0 of the kernel's own: that"
                    " is the one to use")
        if index == TunnelBackend.index:
            return (f"every new namespace begins with a device {name}, whose index tunl0 needs;"
                    " 'sudo sysctl net.core.fb_tunnels_only_for_init_net=1' ends that")
    return None
