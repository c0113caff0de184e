"""Felix: the pods' MTU and a node's sysctls.

Follows ``felix/dataplane/linux/int_dataplane.go``.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_mn.state import Sysctl


def pod_mtu(uplink_mtu: int, tunnel_mtus: Iterable[int], configured: int = 0) -> int:
    """The MTU of a new pod's veth in bytes; ``configured`` 0 means automatic.

    Then it is the smallest MTU of the tunnel devices in use (``determinePodMTU``): any pool with
    an encapsulation makes room for its header, also one with CrossSubnet, whose traffic is partly
    not encapsulated. Without a tunnel it is the uplink's.
    """
    return configured or min(tunnel_mtus, default=uplink_mtu)


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
