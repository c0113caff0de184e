"""Felix on one node: the pods' MTU, the node's sysctls, and what is Calico's to remove there.

In go MTUs, a setting and the IPPools; out come values and what a node's namespace owns, even where
another program put it there. From ``felix/dataplane/linux/int_dataplane.go``.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_mn.calico.encapsulation import DELETED_WHEN_OFF, ENCAPSULATIONS
from calico_mn.model import IPPool
from calico_mn.present import Owned
from calico_mn.state import ALLOWED_SOURCES, PROTO_BIRD, PROTO_FELIX, Sysctl

#: FELIX_INTERFACEPREFIX
_WORKLOAD_PREFIX = "cali"
#: a router's routes of protocol bird are its BIRD's
OWNED_ON_ROUTER = Owned((), frozenset(), frozenset({PROTO_BIRD}), (), frozenset())


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


def owned_on_node(pools: Iterable[IPPool]) -> Owned:
    """Routes on workload devices (felix/routetable/route_table.go), tunl0's addresses but one.

    The latter is felix/dataplane/linux/ipip_mgr.go; routes of BIRD's protocol number belong to
    its kernel protocol, those of number 80 to Felix, and so does what is inside the pools as a
    blackhole. Devices with the workloads' prefix are the CNI plug-in's, which removes one that
    is in its way; vxlan.calico and all that is on it is Felix's (vxlan_mgr.go), which deletes it
    when VXLAN is off. The table of allowed sources is the eBPF tunnel's.
    """
    return Owned((_WORKLOAD_PREFIX, *(encapsulation.device for encapsulation in DELETED_WHEN_OFF)),
                 frozenset(encapsulation.device for encapsulation in ENCAPSULATIONS),
                 frozenset({PROTO_BIRD, PROTO_FELIX}), tuple(str(pool.cidr) for pool in pools),
                 frozenset({ALLOWED_SOURCES}))
