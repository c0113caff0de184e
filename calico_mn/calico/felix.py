"""Felix: a node's own state besides its pods and routes: tunl0, MTUs, sysctls.

Follows ``felix/dataplane/linux/int_dataplane.go`` (MTUs) and ``ipip_mgr.go`` (tunl0).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from calico_mn.calico.encapsulation import TUNNEL, UPLINK
from calico_mn.model import EncapsulationMode
from calico_mn.state import Address, Sysctl, Tunnel

IPIP_OVERHEAD = 20


def tunnel_mtu(uplink_mtu: int, configured: int = 0) -> int:
    """tunl0's MTU in bytes; ``configured`` is ``ipipMTU``, 0 for the automatic choice.

    As in Felix, nothing compares what is configured with what the uplink can carry.
    """
    return configured or uplink_mtu - IPIP_OVERHEAD


def pod_mtu(uplink_mtu: int, modes: Iterable[EncapsulationMode], configured: int = 0,
            ipip_mtu: int = 0) -> int:
    """The MTU of a new pod's veth in bytes; ``configured`` 0 means automatic: that of tunl0.

    Any pool with IPIP makes room for the outer header, also one with CrossSubnet, whose
    traffic is partly not encapsulated.
    """
    if configured:
        return configured
    ipip = any(mode is not EncapsulationMode.NEVER for mode in modes)
    return tunnel_mtu(uplink_mtu, ipip_mtu) if ipip else uplink_mtu


def tunnel_device(uplink_mtu: int, up: bool, configured_mtu: int = 0) -> Tunnel:
    """tunl0. Felix brings it up when IPIP is on and does not take it down again."""
    return Tunnel(TUNNEL, tunnel_mtu(uplink_mtu, configured_mtu), UPLINK, up)


def tunnel_address(address: IPv4Address) -> Address:
    """The node's tunnel address, a /32."""
    return Address(TUNNEL, f"{address}/32")


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
