"""Always, CrossSubnet, Never: the route that a mode makes of a prefix learned by BGP.

What BIRD's filter ``calico_kernel_programming`` does (confd's ``bird_ipam.cfg.template``), with
the mode of the pool that the prefix lies in.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from calico_mn.model import EncapsulationMode
from calico_mn.state import PROTO_BIRD, Route

TUNNEL = "tunl0"
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


def is_tunnelled(mode: EncapsulationMode, node: NodeNetwork, next_hop: IPv4Address) -> bool:
    """Whether traffic to ``next_hop`` gets an outer header.

    CrossSubnet asks whether the *local* node's prefix contains the remote address; the remote
    prefix plays no part (felix/calc/l3_route_resolver.go does the same), so a node whose
    address is a /32 tunnels to everybody.
    """
    if mode is EncapsulationMode.CROSS_SUBNET:
        return next_hop not in node.own_subnet
    return mode is EncapsulationMode.ALWAYS


def remote_route(prefix: str, next_hop: IPv4Address, mode: EncapsulationMode,
                 node: NodeNetwork) -> Route:
    """The kernel route for a prefix of another node, ``prefix`` as iproute2 spells it.

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
        return Route(prefix, via=str(next_hop), device=TUNNEL, protocol=PROTO_BIRD, onlink=True)
    return Route(prefix, via=str(gateway), device=UPLINK, protocol=PROTO_BIRD)


def own_block_route(block: IPv4Network) -> Route | None:
    """The blackhole that catches a block's unused addresses (``bird_aggr.cfg.template``).

    A block of a single address gets none: it would hide the pod itself.
    """
    if block.prefixlen == 32:
        return None
    return Route(str(block), protocol=PROTO_BIRD, kind="blackhole")


def spelled(prefix: IPv4Network) -> str:
    """A prefix as iproute2 prints it: a host route without its ``/32``."""
    return str(prefix.network_address) if prefix.prefixlen == 32 else str(prefix)
