"""Encapsulation: what Calico puts around a packet between nodes, and what that asks of Linux.

An :class:`Encapsulation` is the one place that knows an encapsulation's names, device, header and
routes; captures, filters, arithmetic, traces and reports ask it. In go a pool's mode, how a node
sees the underlay, and the next hop of a prefix; out come the tunnel device and the kernel route::

    pool's mode --> is_tunnelled? --yes--> the encapsulation's route (onlink, over its device)
                          |
                          no ------------> the plain route over the uplink

IPIP's routes are what BIRD's filter ``calico_kernel_programming`` makes (confd's
``bird_ipam.cfg.template``), with the mode of the pool that the prefix lies in.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from calico_mn.model import EncapsulationMode, IPPool, Topology
from calico_mn.state import PROTO_BIRD, Drop, Route, Tunnel

UPLINK = "eth0"


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """How a node sees the underlay.

    ``own_subnet`` is the network of its Node resource (``network_v4`` in confd), which
    CrossSubnet compares with; ``connected`` is the subnet that its uplink is really in.
    ``gateway`` is None on a node without a default route.
    """

    own_subnet: IPv4Network
    connected: IPv4Network
    gateway: IPv4Address | None


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """One way to carry a pod's packet between nodes inside another packet.

    ``name`` is how reports and traces call it; ``mode_field`` is the IPPool's field with its mode
    and ``mtu_field`` FelixConfiguration's with its device's MTU. ``overhead`` is the size of the
    outer headers in bytes, from the outer IP header on; ``match`` selects the outer packets.
    ``tunnel_handle`` begins the IPAM handle of a node's tunnel address
    (node/pkg/allocateip/allocateip.go).
    """

    name: str
    mode_field: str
    mtu_field: str
    device: str
    overhead: int
    match: Drop
    tunnel_handle: str

    def __str__(self) -> str:
        return self.name

    def mode_of(self, pool: IPPool) -> EncapsulationMode:
        """When a pool's traffic is encapsulated in this way."""
        return pool.ipip_mode

    def configured_mtu(self, topology: Topology) -> int:
        """The device's MTU in bytes as FelixConfiguration sets it, 0 for the automatic choice."""
        return topology.ipip_mtu

    def mtu(self, uplink_mtu: int, configured: int = 0) -> int:
        """The device's MTU in bytes: ``configured``, or what the uplink leaves inside the header.

        As in Felix (int_dataplane.go), nothing compares ``configured`` with the uplink's MTU.
        """
        return configured or uplink_mtu - self.overhead

    def tunnel(self, uplink_mtu: int, up: bool, configured_mtu: int = 0) -> Tunnel:
        """The tunnel device of a node."""
        return Tunnel(self.device, self.mtu(uplink_mtu, configured_mtu), UPLINK, up)

    def handle_of(self, node: str) -> str:
        """The IPAM handle under which a node holds its tunnel address."""
        return f"{self.tunnel_handle}{node}"

    def tunnel_route(self, prefix: str, next_hop: IPv4Address) -> Route:
        """The route to a prefix of another node through the tunnel."""
        return Route(prefix, via=str(next_hop), device=self.device, protocol=PROTO_BIRD,
                     onlink=True)


#: RFC 2003. The outer header is an IPv4 header without options.
IPIP = Encapsulation(
    name="IPIP", mode_field="ipipMode", mtu_field="ipipMTU", device="tunl0", overhead=20,
    match=Drop.IPIP, tunnel_handle="ipip-tunnel-addr-")

ENCAPSULATIONS = (IPIP,)


def of_device(device: str) -> Encapsulation | None:
    """The encapsulation whose device has this name, or None."""
    return next((e for e in ENCAPSULATIONS if e.device == device), None)


def is_tunnelled(mode: EncapsulationMode, node: NodeNetwork, next_hop: IPv4Address) -> bool:
    """Whether traffic to ``next_hop`` gets an outer header.

    CrossSubnet asks whether the *local* node's prefix contains the remote address; the remote
    prefix plays no part (felix/calc/l3_route_resolver.go does the same), so a node whose
    address is a /32 tunnels to every other node.
    """
    if mode is EncapsulationMode.CROSS_SUBNET:
        return next_hop not in node.own_subnet
    return mode is EncapsulationMode.ALWAYS


def remote_route(prefix: str, next_hop: IPv4Address, mode: EncapsulationMode,
                 node: NodeNetwork, encapsulation: Encapsulation = IPIP) -> Route:
    """The kernel route for a prefix of another node, ``prefix`` as iproute2 prints it.

    A next hop that the node cannot resolve makes the prefix unreachable, in every mode
    (bird's recursive gateway).
    """
    if next_hop in node.connected:
        gateway: IPv4Address | None = next_hop
    else:
        gateway = node.gateway
    if gateway is None:
        return Route(prefix, protocol=PROTO_BIRD, kind="unreachable")
    if is_tunnelled(mode, node, next_hop):
        return encapsulation.tunnel_route(prefix, next_hop)
    return Route(prefix, via=str(gateway), device=UPLINK, protocol=PROTO_BIRD)


def own_block_route(block: IPv4Network) -> Route | None:
    """The blackhole that catches a block's unused addresses (``bird_aggr.cfg.template``).

    A block of a single address gets none: it would hide the pod itself.
    """
    if block.prefixlen == 32:
        return None
    return Route(str(block), protocol=PROTO_BIRD, kind="blackhole")


def format_prefix(prefix: IPv4Network) -> str:
    """A prefix as iproute2 prints it: a host route without its ``/32``."""
    return str(prefix.network_address) if prefix.prefixlen == 32 else str(prefix)
