"""How long routes take to follow an event: until the last node has those that it should have.

In go a running cluster and what its nodes should have in the end; out come times, taken from the
kernel's route notifications (:mod:`calico_mn.kernel.notifications`), not by looking again and
again. What is wanted is the program's own desired state after the event. Only the routes of
Calico's own components count, those of BIRD and Felix::

    begin() ...the event... settle(wanted)
                  |
    kernel: changes of routes with times --> Progress of each node --> right since when?
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from calico_mn.errors import ToolError
from calico_mn.kernel.notifications import RouteChange, RouteNotifications
from calico_mn.measure.cluster import CONVERGENCE
from calico_mn.measure.readings import Measurement, metric
from calico_mn.state import PROTO_BIRD, PROTO_FELIX, Namespace, Route
from calico_mn.text import join_some, plural

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

NODES_CHANGED = metric("nodes_changed", "nodes", "nodes whose routes changed")
ROUTE_CHANGES = metric("route_changes", "changes", "changes of routes that the kernel reported")
#: the series of the nodes' own times, in ms, shortest first
NODE_TIMES = "node_ms"

#: seconds after which a thread that computes makes way for the one that notes the times
_SWITCH_S = 0.0005

#: kind, next hop and device of each way of a route
Ways = frozenset[tuple[str, str, str]]

_OURS = (PROTO_BIRD, PROTO_FELIX)


# --- a node's routes on their way, by the changes alone

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


# --- all nodes of a cluster

class RouteWatch:
    """Watches the routes of a cluster's nodes, from when it is made to the end of the ``with``.

    ``began`` is the CLOCK_MONOTONIC time in ns of the event, if it has begun already.
    """

    def __init__(self, net: CalicoNet, began: int = 0) -> None:
        self._net = net
        names = [node.name for node in net.nodes]
        self._notifications: RouteNotifications = net.inside(names[0], RouteNotifications)
        self._notifications.start()
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        self._routes: dict[str, tuple[Route, ...]] = {
            name: net.inside(name, self._notifications.attend, name) for name in names}
        self.began = began or time.monotonic_ns()

    def __enter__(self) -> RouteWatch:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        sys.setswitchinterval(self._interval)
        self._notifications.close()

    def begin(self, nodes: Iterable[str]) -> None:
        """The next event, which concerns these nodes, begins now."""
        self._notifications.take()
        self._routes = {name: self._net.kernel_routes(name) for name in nodes}
        self.began = time.monotonic_ns()

    def settle(self, wanted: Mapping[str, Namespace], *, seconds: float, quiet: float
               ) -> Measurement:
        """Wait until these nodes have the routes of their states, and have had them for a while.

        That is ``quiet`` seconds without a change. Raises ToolError after ``seconds``, and when
        a table is not as the kernel's notifications say.
        """
        progress = {name: Progress(self._routes[name], state.routes)
                    for name, state in wanted.items() if name in self._routes}
        begun = last = time.monotonic()
        while True:
            for name, change in self._notifications.take():
                if name in progress:
                    progress[name].apply(change)
                    last = time.monotonic()
            late = [name for name, node in progress.items() if node.wrong]
            now = time.monotonic()
            if not late and now > last + quiet:
                break
            if now > begun + seconds:
                raise ToolError(
                    f"{plural(len(late), 'node')} without the right routes after {seconds:g} s: "
                    + join_some([f"{name} (to {', '.join(sorted(progress[name].wrong))})"
                                 for name in late], 3))
            self._notifications.wait(quiet)
        for name, node in progress.items():
            if not node.agrees_with(self._net.kernel_routes(name)):
                raise ToolError(f"{name}: the routes in the kernel are not those of its"
                                " notifications")
        return self._measured(progress.values())

    def _measured(self, progress: Iterable[Progress]) -> Measurement:
        nodes = list(progress)
        times = sorted(round((node.right_since - self.began) / 1e6, 3)
                       for node in nodes if node.right_since)
        return Measurement(
            {CONVERGENCE: times[-1] if times else 0.0, NODES_CHANGED: len(times),
             ROUTE_CHANGES: sum(node.changes for node in nodes)}, {NODE_TIMES: times})
