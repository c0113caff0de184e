"""tunl0 by the kernel's own ipip module, and what every tunnel back end must offer.

The other back end is :mod:`calico_mn.kernel.ebpf`. Both make the same device: named tunl0, no
local and no remote address, the outer destination being the gateway of the matched route
(ip_tunnel_xmit in net/ipv4/ip_tunnel.c). Where neither can be had, a cluster without IPIP does
without, as on hosts where ipip was never loaded (felix/dataplane/linux/ipip_mgr.go makes tunl0
only when IPIP is on).
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from calico_mn.errors import UnsupportedError
from calico_mn.kernel import encode, read, runtime_dir
from calico_mn.kernel.netlink import Message, NetlinkSocket
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.present import Program
from calico_mn.state import Tunnel


class TunnelBackend(Protocol):
    """Makes tunl0 in namespaces. Every method runs in the thread that is inside the namespace."""

    @property
    def name(self) -> str:
        """``kernel``, ``ebpf`` or ``none``, as results and tables say it."""

    @property
    def kind(self) -> str:
        """The device's kind as ``ip -d link`` tells it."""

    def create(self, namespace: NetworkNamespace, device: Tunnel) -> None:
        """Make the device, down, and record its index in ``namespace.indexes``."""

    def configure(self, namespace: NetworkNamespace, device: Tunnel) -> list[Message]:
        """The messages that give the device its MTU and state, sent once the uplink exists."""

    def programs(self, device: Tunnel) -> tuple[Program, ...]:
        """The programs that must be attached for the device to work."""

    def attach(self, namespace: NetworkNamespace, program: Program) -> list[Message]:
        """The messages that attach one of these programs (again)."""

    def close(self) -> None:
        """Give back what the back end holds for all namespaces."""


class KernelTunnel:
    """The ipip module. Where it is loaded, every new namespace starts with a tunl0, down."""

    name = "kernel"
    kind = "ipip"

    def create(self, namespace: NetworkNamespace, device: Tunnel) -> None:
        """Take the namespace's fallback device, or make one where fallbacks are switched off."""
        path = Path("/proc/thread-self/net/dev")
        if f"{device.name}:" not in path.read_text(encoding="ascii"):
            with NetlinkSocket() as netlink:
                netlink.request([encode.ipip(device.name)])
        with NetlinkSocket() as netlink:
            namespace.indexes.update(read.device_indexes(netlink))

    def configure(self, namespace: NetworkNamespace, device: Tunnel) -> list[Message]:
        """One message: MTU, queue length, up or down."""
        return [encode.link(namespace.index(device.name), up=device.up, mtu=device.mtu,
                               txqueuelen=1000)]

    def programs(self, device: Tunnel) -> tuple[Program, ...]:
        """None: the module does all."""
        return ()

    def attach(self, namespace: NetworkNamespace, program: Program) -> list[Message]:
        """Nothing is attached."""
        return []

    def close(self) -> None:
        """Nothing is held."""


class NoTunnel:
    """No tunl0, for clusters whose nodes have none; ``reason`` says why, and what would help."""

    name = "none"
    kind = ""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def create(self, namespace: NetworkNamespace, device: Tunnel) -> None:
        """Refused."""
        raise UnsupportedError(f"{namespace.name}: {self.reason}")

    def configure(self, namespace: NetworkNamespace, device: Tunnel) -> list[Message]:
        """Refused."""
        raise UnsupportedError(f"{namespace.name}: {self.reason}")

    def programs(self, device: Tunnel) -> tuple[Program, ...]:
        """None."""
        return ()

    def attach(self, namespace: NetworkNamespace, program: Program) -> list[Message]:
        """Nothing is attached."""
        return []

    def close(self) -> None:
        """Nothing is held."""


def kernel_reason() -> str | None:
    """Why the kernel back end cannot be used, in one sentence; None when it can.

    Loading the module would put a tunl0 into the machine's own namespace, so this package never
    does it: that is for the machine's owner to do.
    """
    if Path("/sys/module/ipip").exists() or Path("/proc/sys/net/ipv4/conf/tunl0").exists():
        return None
    return ("the ipip module is not loaded; where the kernel has it, 'sudo modprobe ipip' loads"
            " it (which also puts a tunl0, down, into this machine's own namespace)")


def choose(wanted: str, *, is_needed: bool = True) -> TunnelBackend:
    """The back end for ``auto``, ``kernel`` or ``ebpf``; ``auto`` prefers the kernel's own.

    Raises UnsupportedError with the reason when this machine does not have it; but ``auto`` is
    none at all then where no tunnel is needed.
    """
    from calico_mn.kernel.ebpf.tunnel import EbpfTunnel, probe

    no_kernel = kernel_reason() if wanted in ("auto", "kernel") else ""
    if no_kernel is None:
        return KernelTunnel()
    if wanted == "kernel":
        raise UnsupportedError(f"no tunl0 by the kernel: {no_kernel}")
    if wanted not in ("auto", "ebpf"):
        raise UnsupportedError(f"unknown tunnel back end {wanted!r}: say auto, kernel or ebpf")
    no_ebpf = probe()
    if no_ebpf is None:
        return EbpfTunnel()
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
