"""The tunnel back end for kernels without ipip: puts the pieces of this package together.

Implements :class:`calico_mn.kernel.tunnel.TunnelBackend`.
"""

from __future__ import annotations

import os

from calico_mn.kernel import rtnetlink
from calico_mn.kernel.ebpf import attach, program, tun
from calico_mn.kernel.netlink import Message
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.state import Tunnel

reason = program.probe


class EbpfTunnel:
    """tunl0 as a TUN device with two programs; they are loaded once for all namespaces."""

    name = "ebpf"

    def __init__(self) -> None:
        self._egress = program.load(program.EGRESS)
        self._ingress = program.load(program.INGRESS)
        self._drop = program.load_drop_filter()

    def create(self, namespace: NetworkNamespace, device: Tunnel) -> None:
        """Make the device; its descriptor is held with the namespace, or it would end."""
        namespace.held.append(tun.create_tunl0(device.name, program.TUNL0_INDEX, self._drop))
        namespace.indexes[device.name] = program.TUNL0_INDEX

    def configure(self, namespace: NetworkNamespace, device: Tunnel) -> list[Message]:
        """MTU and state; the first time also the programs, on the device and on the uplink."""
        index = namespace.index(device.name)
        change = rtnetlink.link(index, up=device.up, mtu=device.mtu, txqueuelen=1000)
        if namespace.tunnel_hooked:
            return [change]
        namespace.tunnel_hooked = True
        uplink = namespace.index(device.uplink)
        return [
            attach.without_multicast(index),
            attach.noqueue(index),
            attach.clsact(index),
            attach.egress(index, self._egress, program.EGRESS),
            attach.clsact(uplink),
            attach.ingress(uplink, self._ingress, program.INGRESS),
            change,
        ]

    def close(self) -> None:
        """Let go of the programs; those that are attached live on with their devices."""
        for descriptor in (self._egress, self._ingress, self._drop):
            os.close(descriptor)
