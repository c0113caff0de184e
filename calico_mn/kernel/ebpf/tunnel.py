"""The tunnel back end for kernels without ipip: puts the pieces of this package together.

Implements :class:`calico_mn.kernel.tunnel.TunnelBackend`.
"""

from __future__ import annotations

import os
from functools import partial

from calico_mn.kernel import encode
from calico_mn.kernel.ebpf import attach, program, tun
from calico_mn.kernel.netlink import Message
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.present import Program
from calico_mn.state import Tunnel

reason = program.probe


class EbpfTunnel:
    """tunl0 as a TUN device with two programs; they are loaded once for all namespaces."""

    name = "ebpf"
    kind = "tun"

    def __init__(self) -> None:
        self._held: list[int] = []
        try:
            for load in (partial(program.load, program.EGRESS),
                         partial(program.load, program.INGRESS), program.load_drop_filter):
                self._held.append(load())
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
        namespace.held.append(tun.create_tunl0(device.name, program.TUNL0_INDEX, self._drop))
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
        return [attach.without_multicast(index), attach.noqueue(index), *hooks, change]

    def programs(self, device: Tunnel) -> tuple[Program, ...]:
        """One where packets leave through the device, one where they arrive at the uplink."""
        return (Program(device.name, "egress", program.EGRESS),
                Program(device.uplink, "ingress", program.INGRESS))

    def attach(self, namespace: NetworkNamespace, item: Program) -> list[Message]:
        """The program in its place, also where a part of it was there before."""
        index = namespace.index(item.device)
        hook = (attach.egress(index, self._egress, item.name, replace=True)
                if item.direction == "egress"
                else attach.ingress(index, self._ingress, item.name, replace=True))
        return [attach.clsact(index, replace=True), hook]

    def close(self) -> None:
        """Let go of the programs; those that are attached live on with their devices."""
        for descriptor in self._held:
            os.close(descriptor)
