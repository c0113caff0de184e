"""Felix: the pods' MTU and a node's sysctls.

Follows ``felix/dataplane/linux/int_dataplane.go``.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_mn.calico.encapsulation import IPIP
from calico_mn.model import EncapsulationMode
from calico_mn.state import Sysctl


def pod_mtu(uplink_mtu: int, modes: Iterable[EncapsulationMode], configured: int = 0,
            ipip_mtu: int = 0) -> int:
    """The MTU of a new pod's veth in bytes; ``configured`` 0 means automatic: that of tunl0.

    Any pool with IPIP makes room for the outer header, also one with CrossSubnet, whose
    traffic is partly not encapsulated.
    """
    if configured:
        return configured
    ipip = any(mode is not EncapsulationMode.NEVER for mode in modes)
    return IPIP.mtu(uplink_mtu, ipip_mtu) if ipip else uplink_mtu


def node_sysctls(rp_filter: int) -> tuple[Sysctl, ...]:
    """Forwarding, and settings that would otherwise be copied from the machine.

    Felix leaves rp_filter to the distribution; the effective value is the larger one of ``all``
    and the device's. ``accept_dad`` is what the CNI plug-in sets on the node's side of pods.
    """
    return (
        Sysctl("ip_forward", 1),
        Sysctl("rp_filter", 0, "conf", "all"),
        Sysctl("rp_filter", rp_filter, "conf", "default"),
        Sysctl("accept_dad", 0, "conf", "default", "ipv6"),
        Sysctl("accept_ra", 0, "conf", "default", "ipv6"),
    )
