"""The routes of nodes to each other's prefixes, worked out once for all nodes that agree.

In go a table (each prefix with the node that has it), the pools with their modes as a node sees
them and the underlay as it sees it; out comes a tuple of routes. Two nodes of a subnet differ in
nothing of that, and so they get the same tuple: of 39,800 routes of a cluster of 200 nodes in two
subnets only 400 are ever made.

BIRD's table is what BGP brought; Felix's is the datastore's (:class:`Datastore`), and it programs
the prefixes of VXLAN pools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico.encapsulation import (
    OUTSIDE_POOLS,
    VXLAN,
    NodeNetwork,
    Peer,
    PoolMode,
    format_prefix,
    remote_route,
)
from calico_mn.state import FdbEntry, Neighbour, Route

#: each prefix with its best next hop, or with the node that has it
Table = Mapping[IPv4Network, IPv4Address | Peer]
#: the pools' networks with the modes in which a node sees them
Modes = Sequence[tuple[IPv4Network, PoolMode]]


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
    return next((mode for cidr, mode in modes if prefix.network_address in cidr), OUTSIDE_POOLS)
