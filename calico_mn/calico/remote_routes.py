"""The routes that nodes make of what they learned, worked out once for all nodes that agree.

In go a table (each prefix with its best next hop), the pools with their modes as a node sees them
and the underlay as it sees it; out comes a tuple of routes. Two nodes of a subnet differ in nothing
of that, and so they get the same tuple: of 39,800 routes of a cluster of 200 nodes in two subnets
only 400 are ever made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico.encapsulation import NodeNetwork, format_prefix, remote_route
from calico_mn.model import EncapsulationMode
from calico_mn.state import Route

#: each prefix with its best next hop
Table = Mapping[IPv4Network, IPv4Address]
#: the pools' networks with the modes in which a node sees them
Modes = Sequence[tuple[IPv4Network, EncapsulationMode]]


class RemoteRoutes:
    """Remembers the routes of the newest table, by what else they depend on.

    An equal route of the table before is taken over, so that a route that did not change is the
    same object: what follows from it (its message, its line in a log) need not be compared or
    worked out again.
    """

    def __init__(self) -> None:
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
                self._share(_route(prefix, next_hop, modes, network))
                for prefix, next_hop in table.items())
        return routes

    def _share(self, route: Route) -> Route:
        return self._shared.setdefault(route, self._shared_before.get(route, route))


def _route(prefix: IPv4Network, next_hop: IPv4Address, modes: Modes, network: NodeNetwork
           ) -> Route:
    mode = next((mode for cidr, mode in modes if prefix.network_address in cidr),
                EncapsulationMode.NEVER)
    return remote_route(format_prefix(prefix), next_hop, mode, network)
