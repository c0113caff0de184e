"""The CNI plug-in: how one pod is wired to its node.

Follows ``cni-plugin/pkg/dataplane/linux/dataplane_linux.go``: a veth whose side on the node has
a well-known MAC and no IPv4 address, proxy ARP for a gateway that no device has, and a /32 on
either side.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address

from calico_mn.profile import DEFAULT
from calico_mn.state import Address, Namespace, Route, Sysctl, Veth, VethEnd, VethPeer

GATEWAY = "169.254.1.1"
HOST_MAC = "ee:ee:ee:ee:ee:ee"
POD_DEVICE = "eth0"


@functools.lru_cache(maxsize=65_536)
def host_device(namespace: str, name: str) -> str:
    """The veth's name on the node: ``cali`` and 11 hex digits of SHA-1("namespace.name").

    From ``libcalico-go/lib/backend/k8s/conversion/workload_endpoint_default.go``.
    """
    digest = hashlib.sha1(f"{namespace}.{name}".encode(), usedforsecurity=False).hexdigest()
    return f"cali{digest[:11]}"


@dataclass(frozen=True, slots=True)
class WorkloadEndpoint:
    """A pod that has an address.

    It keeps for life what the CNI plug-in of that day gave its veth: ``mtu`` in bytes, the
    ``queue`` length of both ends, and the ``index`` of eth0 in the pod (:mod:`calico_mn.profile`).
    """

    namespace: str
    name: str
    node: str
    address: IPv4Address
    mtu: int
    queue: int = DEFAULT.veth_queue
    index: int = DEFAULT.pod_index

    def __hash__(self) -> int:
        # The name tells pods apart. All fields would take ten times as long, for each pod of a node
        # whenever the node's state is worked out.
        return hash((self.namespace, self.name))

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def device(self) -> str:
        """The device on the node."""
        return host_device(self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class HostSide:
    """What a pod adds to its node's namespace."""

    device: Veth
    route: Route
    sysctls: tuple[Sysctl, ...]


@lru_cache(maxsize=10_000)
def host_side(endpoint: WorkloadEndpoint, rp_filter: int, metric: int = 0) -> HostSide:
    """The node's half: veth, sysctls (``configureSysctls``) and the pod's route.

    ``rp_filter`` is the node's default, which Felix writes to each workload's device
    (felix/dataplane/linux/endpoint_mgr.go). ``metric`` is that of Felix's route to the pod, which
    takes the place of the plug-in's own (same file).
    """
    name = endpoint.device
    return HostSide(
        Veth(name, endpoint.mtu, VethPeer(endpoint.key, POD_DEVICE, endpoint.mtu,
                                          index=endpoint.index),
             mac=HOST_MAC, txqueuelen=endpoint.queue),
        Route(str(endpoint.address), device=name, scope="link", metric=metric),
        (Sysctl("route_localnet", 1, "conf", name), Sysctl("proxy_arp", 1, "conf", name),
         Sysctl("forwarding", 1, "conf", name), Sysctl("rp_filter", rp_filter, "conf", name),
         Sysctl("proxy_delay", 0, "neigh", name)),
    )


_POD_ROUTES = (
    Route(GATEWAY, device=POD_DEVICE, scope="link"),
    Route("default", via=GATEWAY, device=POD_DEVICE),
)
# ip_forward is the plug-in's; the others make a pod independent of the machine's own settings,
# which new namespaces copy.
_POD_SYSCTLS = (
    Sysctl("ip_forward", 0),
    Sysctl("rp_filter", 0, "conf", "all"),
    Sysctl("rp_filter", 0, "conf", "default"),
)


def pod_side(endpoint: WorkloadEndpoint) -> Namespace:
    """The pod's own namespace."""
    return Namespace(
        endpoint.key,
        devices=(VethEnd(POD_DEVICE, endpoint.mtu),),
        addresses=(Address(POD_DEVICE, f"{endpoint.address}/32"),),
        routes=_POD_ROUTES,
        sysctls=_POD_SYSCTLS,
    )
