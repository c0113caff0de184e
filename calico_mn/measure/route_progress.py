"""When a node's routes became what they should be, from the changes that the kernel reported. Pure.

In go the routes at the beginning, the changes since, and what is wanted; out comes the moment from
which on they agree. Only the routes of Calico's own components count, those of BIRD and Felix.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_mn.kernel.route_notifications import RouteChange
from calico_mn.state import PROTO_BIRD, PROTO_FELIX, Route

#: kind, next hop and device of each way of a route
Ways = frozenset[tuple[str, str, str]]

_OURS = (PROTO_BIRD, PROTO_FELIX)


def ways(routes: Iterable[Route]) -> Ways:
    """All ways of these routes together."""
    return frozenset((route.kind, hop.via, hop.device)
                     for route in routes for hop in route.next_hops or (route,))


def by_destination(routes: Iterable[Route]) -> dict[str, list[Route]]:
    """The routes of Calico's components among these."""
    table: dict[str, list[Route]] = {}
    for route in routes:
        if route.protocol in _OURS:
            table.setdefault(route.destination, []).append(route)
    return table


class Progress:
    """A node's table on its way from ``routes`` to ``wanted``.

    ``right_since`` is the time of the change that made it right, 0 if it has been so all the
    time, and None while it is not. ``wrong`` are the destinations that differ, ``changes`` counts.
    """

    def __init__(self, routes: Iterable[Route], wanted: Iterable[Route]) -> None:
        self._table, self._wanted = by_destination(routes), by_destination(wanted)
        self.changes = 0
        self.wrong = {destination for destination in (*self._table, *self._wanted)
                      if self._differs(destination)}
        self.right_since: int | None = None if self.wrong else 0

    def apply(self, change: RouteChange) -> None:
        """Follow one change; one that has been seen before changes nothing."""
        route = change.route
        if route.protocol not in _OURS:
            return
        self.changes += 1
        routes = self._table.setdefault(route.destination, [])
        same = [other for other in routes if other.metric == route.metric and (
            change.replaces or ways([other]) == ways([route]))]
        for other in same[:1]:
            routes.remove(other)
        if not change.is_removed:
            routes.append(route)
        was_right = not self.wrong
        if self._differs(route.destination):
            self.wrong.add(route.destination)
            self.right_since = None
        else:
            self.wrong.discard(route.destination)
            if not self.wrong and not was_right:
                self.right_since = change.when

    def agrees_with(self, routes: Iterable[Route]) -> bool:
        """Whether a table that was read has the same ways."""
        table = by_destination(routes)
        return all(ways(table.get(destination, ())) == ways(self._table.get(destination, ()))
                   for destination in (*table, *self._table))

    def _differs(self, destination: str) -> bool:
        return ways(self._table.get(destination, ())) != ways(self._wanted.get(destination, ()))
