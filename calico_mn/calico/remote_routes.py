"""The routes of nodes to each other's prefixes, worked out once for all nodes that agree.

In go a table (each prefix with the node that has it), the pools with their modes as a node sees
them and the underlay as it sees it; out comes a tuple of routes. Two nodes of a subnet differ in
nothing of that, and so they get the same tuple: of 39,800 routes of a cluster of 200 nodes in two
subnets only 400 are ever made::

    pool's mode --> is_tunnelled? --yes--> encapsulation.tunnel_route (onlink, over its device)
                          |
                          no ------------> encapsulation.direct_route (over the uplink)

BIRD's table is what BGP brought; Felix's is the datastore's (:class:`Datastore`), and it programs
the prefixes of VXLAN pools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico.encapsulation import DEFAULT, NONE, VXLAN, Peer, PoolMode, format_prefix
from calico_mn.model import EncapsulationMode
from calico_mn.state import FdbEntry, Neighbour, Route

#: each prefix with its best next hop, or with the node that has it
Table = Mapping[IPv4Network, IPv4Address | Peer]
#: the pools' networks with the modes in which a node sees them
Modes = Sequence[tuple[IPv4Network, PoolMode]]

_OUTSIDE_POOLS = PoolMode(DEFAULT, EncapsulationMode.NEVER)


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

    def gateway_to(self, address: IPv4Address) -> IPv4Address | None:
        """The router, or ``address`` itself if it is a neighbour; None if there is no route."""
        return address if address in self.connected else self.gateway


@dataclass(frozen=True, slots=True)
class Datastore:
    """What every Felix knows of every node: its prefixes and its VTEP, by node.

    From felix/calc/l3_route_resolver.go and vxlan_resolver.go.
    """

    table: Table
    neighbours: Mapping[str, Neighbour]
    fdb: Mapping[str, FdbEntry]

    @classmethod
    def of(cls, prefixes: Mapping[Peer, Sequence[IPv4Network]]) -> Datastore:
        """The datastore for these nodes, with what each of them has."""
        return cls(
            {prefix: peer for peer, owned in prefixes.items() for prefix in owned},
            {peer.name: entry for peer in prefixes for entry in VXLAN.neighbours([peer])},
            {peer.name: entry for peer in prefixes for entry in VXLAN.fdb([peer])})


NO_DATASTORE = Datastore({}, {}, {})


def is_tunnelled(mode: EncapsulationMode, node: NodeNetwork, address: IPv4Address) -> bool:
    """Whether traffic to the node with ``address`` gets an outer header.

    CrossSubnet asks whether the *local* node's prefix contains the remote address; the remote
    prefix plays no part (felix/calc/l3_route_resolver.go does the same), so a node whose
    address is a /32 tunnels to every other node.
    """
    if mode is EncapsulationMode.CROSS_SUBNET:
        return address not in node.own_subnet
    return mode is EncapsulationMode.ALWAYS


def remote_route(prefix: str, peer: Peer, pool: PoolMode, node: NodeNetwork) -> Route | None:
    """The kernel route to a prefix of another node, ``prefix`` as iproute2 prints it.

    None where there is no route, because the peer has no VTEP yet.
    """
    gateway = node.gateway_to(peer.address)
    encapsulation = pool.in_force
    if gateway is None and not encapsulation.is_felix:
        return NONE.direct_route(prefix, peer, None)
    if is_tunnelled(pool.mode, node, peer.address):
        return encapsulation.tunnel_route(prefix, peer)
    return encapsulation.direct_route(prefix, peer, gateway)


class RemoteRoutes:
    """Remembers the routes of the newest table, by what else they depend on.

    An equal route of the table before is taken over, so that a route that did not change is the
    same object: what follows from it (its message, its line in a log) need not be compared or
    worked out again. With ``is_felix`` they are the prefixes that Felix programs, else those that
    are left to BIRD.
    """

    def __init__(self, *, is_felix: bool = False) -> None:
        self._is_felix = is_felix
        self._table: Table = {}
        self._routes: dict[tuple[NodeNetwork, Modes], tuple[Route, ...]] = {}
        self._shared: dict[Route, Route] = {}
        self._shared_before: dict[Route, Route] = {}

    def of(self, table: Table, modes: Modes, network: NodeNetwork) -> tuple[Route, ...]:
        """The routes to all prefixes of ``table``, the node's own ones among them.

        ``table`` must not change once it was passed here. ``modes`` must be hashable.
        """
        if table is not self._table:
            self._table, self._routes = table, {}
            self._shared_before, self._shared = self._shared, {}
        key = (network, modes)
        routes = self._routes.get(key)
        if routes is None:
            routes = self._routes[key] = tuple(
                self._share(route) for prefix, next_hop in table.items()
                if (route := self._route(prefix, next_hop, modes, network)) is not None)
        return routes

    def _share(self, route: Route) -> Route:
        return self._shared.setdefault(route, self._shared_before.get(route, route))

    def _route(self, prefix: IPv4Network, next_hop: IPv4Address | Peer, modes: Modes,
               network: NodeNetwork) -> Route | None:
        mode = mode_in(modes, prefix)
        if mode.in_force.is_felix != self._is_felix:
            return None
        peer = next_hop if isinstance(next_hop, Peer) else Peer(next_hop)
        return remote_route(format_prefix(prefix), peer, mode, network)


def mode_in(modes: Modes, prefix: IPv4Network) -> PoolMode:
    """The mode of the pool that a prefix lies in, Never outside of all pools."""
    return next((mode for cidr, mode in modes if prefix.network_address in cidr), _OUTSIDE_POOLS)
