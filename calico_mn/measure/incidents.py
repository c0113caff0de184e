"""What happens to a cluster, so that its routes have to follow: changes, restarts, pulled cables.

In go a running cluster and the name of an event; out comes how long its routes took to follow, by a
:class:`~.convergence.RouteWatch`, and what pods lost meanwhile. A :class:`Course` lets one event
follow the other; each leaves two of the nodes' pods untouched, between which packets flow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from itertools import combinations
from typing import TYPE_CHECKING

from calico_mn.bgp.timers import Timers
from calico_mn.calico.encapsulation import DEFAULT
from calico_mn.errors import ClusterError, ToolError
from calico_mn.measure import flows, paths
from calico_mn.measure.convergence import RouteWatch
from calico_mn.measure.paths import Pair
from calico_mn.measure.programs import run
from calico_mn.measure.readings import Measurement, Value
from calico_mn.model import EncapsulationMode
from calico_mn.state import Namespace

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

EVENTS = (BOOT, NEW_BLOCK, MODE_CHANGE, RESTART, REMOVED, KILLED, REFLECTOR, CUT) = (
    "boot", "new-block", "mode-change", "daemon-restart", "node-removed", "node-killed",
    "reflector-lost", "link-cut")
#: those that a session's peer does not announce: only a timer ends them
SILENT = (KILLED, REFLECTOR, CUT)
#: instruments
ROUTES, STREAM = "routes", "stream"
#: the events of a cluster in their order, one of two
COURSES = {"one": EVENTS[:-1], "two": (BOOT, CUT)}
#: nodes that a course needs, by name: node1, node2, node3, ...
FEWEST_NODES = 6
#: a longer hold time, in seconds, is not waited for
LONGEST_HOLD_S = 30

#: seconds that streams run before an event; that a program has to end; of a cluster besides events
_BEFORE_S, _TIMEOUT_S, _CLUSTER_S = 0.2, 10.0, 1.5


def events_of(course: str, asked: Collection[str], timers: Timers | None, *, reflectors: bool
              ) -> list[str]:
    """Those of a course that are asked for and come to an end; ``timers`` are None without BIRD.

    There are none where the second course has only a boot, which the first has too.
    """
    chosen = [event for event in COURSES[course] if event in asked
              and (event not in SILENT or not is_endless(timers))
              and (event != REFLECTOR or reflectors)]
    return [] if chosen == [BOOT] and course == "two" else chosen


def is_endless(timers: Timers | None) -> bool:
    """Whether a loss in silence takes too long to be waited for."""
    return timers is not None and timers.silence[1] > LONGEST_HOLD_S


def hold_of(event: str, timers: Timers | None, *, reflectors: bool) -> int:
    """The hold time in s that ends an event which is not waited for; 0 for what is."""
    return timers.hold if timers and is_endless(timers) and event in SILENT and (
        event != REFLECTOR or reflectors) else 0


def seconds_of(events: Iterable[str], timers: Timers | None) -> float:
    """How long a cluster with these events is expected to take."""
    each = {BOOT: 1.0, RESTART: 1.5}
    if timers is not None:
        each = {BOOT: timers.connect_delay, RESTART: 1.0 + timers.connect_delay,
                **dict.fromkeys(SILENT, timers.silence[1])}
    return _CLUSTER_S + sum(each.get(event, 0.0) + 1.0 for event in events)


def pull(net: CalicoNet, place: str, switch: str) -> None:
    """Pull the cable between a place and a subnet's switch, at the switch: both lose the carrier.

    Raises ClusterError where there is none, ToolError where the kernel refuses.
    """
    port = next((end for link in net.links for end, other in (
        (link.intf1, link.intf2), (link.intf2, link.intf1))
        if (end.node.name, other.node.name) == (switch, place)), None)
    if port is None:
        raise ClusterError(f"there is no cable between {place} and {switch}")
    finished = run(port.node, ["ip", "link", "set", "dev", port.name, "down"], _TIMEOUT_S)
    if finished.status:
        raise ToolError(f"{switch}: {port.name} does not go down: {finished.err.strip()}")


def without_sessions(net: CalicoNet, are_apart: Callable[[str, str], bool], why: str
                     ) -> list[Namespace]:
    """Let sessions between nodes that are apart count as ended; the states that follow.

    Nothing is written.
    """
    net.cluster.probed = {**net.cluster.probed, **{
        frozenset(pair): why for pair in combinations(net.cluster.nodes, 2) if are_apart(*pair)}}
    return net.concerned(())


def unclaimed_address(net: CalicoNet) -> str:
    """The first address of the last block of the first pool that does not exist yet.

    Raises ToolError where all do.
    """
    pool = net.topology.pools[0]
    taken = {block.cidr for block in net.cluster.ipam.blocks_of(pool)}
    for number in reversed(range(1 << pool.block_size - pool.cidr.prefixlen)):
        address = pool.cidr[number << 32 - pool.block_size]
        if IPv4Network((address, pool.block_size)) not in taken:
            return str(address)
    raise ToolError(f"every block of {pool.cidr} has a node")


#: boots a cluster for the time of a ``with``; it calls its argument when the namespaces are there
Boot = Callable[[Callable[["CalicoNet"], object]], AbstractContextManager["CalicoNet"]]
#: is told the instrument, the factors of the reading besides the cluster's, and what was read
Seen = Callable[[str, Mapping[str, Value], Measurement], object]


def live(boot: Boot, events: Iterable[str], seen: Seen, *, is_told: bool, rate: float,
         quiet: float, patience: float) -> None:
    """A cluster's life: ``seen`` is told of each event how long its routes took (:data:`ROUTES`),
    and what each stream lost (:data:`STREAM`).

    The boot comes first, also where it is not among the ``events``. An event's routes have to be
    right after ``patience`` seconds; other arguments as of :class:`Course`. Raises ToolError.
    """
    with ExitStack() as stack:
        watches: list[RouteWatch] = []
        began = time.monotonic_ns()
        net = stack.enter_context(boot(
            lambda net: watches.append(stack.enter_context(RouteWatch(net, began)))))
        (watch,) = watches
        booted = watch.settle(net.states, seconds=patience, quiet=quiet)
        course = Course(net, watch, is_told, rate, quiet)
        for event in events:
            routes, losses = (booted, {}) if event == BOOT else course.live_through(event, patience)
            seen(ROUTES, {"event": event}, routes)
            for pair, lost in losses.items():
                seen(STREAM, {"event": event, **pair.factors}, lost)


@dataclass
class Course:
    """A cluster of node1, node2 ... with a pod each, on its way through events.

    With the engine ``is_told``, it detects nothing, and learns of a pulled cable from here.
    ``rate`` is that of packets, 1/s in each direction; an event is over when no route has changed
    for ``quiet`` seconds. ``gone`` are nodes that nothing is expected of any more.
    """

    net: CalicoNet
    watch: RouteWatch
    is_told: bool
    rate: float
    quiet: float
    gone: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        names = [node.name for node in self.net.nodes]
        self._last_but_one, self._last = names[-2:]
        pods = {pod.node: pod for pod in paths.endpoints(self.net)}
        #: in one subnet, and in two if there are two
        self.pairs = tuple(Pair(pods["node1"], pods[other]) for other in ("node3", "node4"))

    def live_through(self, event: str, patience: float
                     ) -> tuple[Measurement, Mapping[Pair, Measurement]]:
        """Let it happen while packets flow, and wait until all routes are right again.

        Raises ToolError where they are not after ``patience`` seconds.
        """
        net = self.net
        with flows.losses_around(net, self.pairs, rate=self.rate, before_s=_BEFORE_S,
                                 longest=2 * patience) as lost:
            self._prepare(event)
            self.watch.begin(node.name for node in net.nodes if node.name not in self.gone)
            following = self._act(event)
            routes = self.watch.settle(
                {**net.states, **{state.name: state for state in following}},
                seconds=patience, quiet=self.quiet)
        net.runtime.writer.apply(following)
        return routes, lost

    def _prepare(self, event: str) -> None:
        """What comes before the clock starts."""
        net = self.net
        if event == RESTART:
            net.kill_speaker("node4")
            net.add_pod(name="missed", node="node3", ip=unclaimed_address(net))
        elif event == CUT:
            rack = self._subnet("node2")
            for router in net.topology.underlay.routers:
                if any(interface.subnet == rack for interface in router.interfaces):
                    pull(net, router.name, rack)
        elif event in SILENT:
            node = self._last_but_one if event == KILLED else "node2"
            self.gone.add(node)
            pull(net, node, self._subnet(node))

    def _act(self, event: str) -> list[Namespace]:
        """Let it happen; the states that BIRD brings about later, which are not written yet."""
        net = self.net
        if event == NEW_BLOCK:
            net.add_pod(name="late", node="node4", ip=unclaimed_address(net))
        elif event == MODE_CHANGE:
            net.set_mode(EncapsulationMode.CROSS_SUBNET, encapsulation=DEFAULT)
        elif event == RESTART:
            net.restart_speaker("node4")
        elif event == REMOVED:
            net.delete_node(self._last)
        else:
            following = without_sessions(
                net, self._are_in_two_racks if event == CUT else
                lambda one, other: bool(self.gone & {one, other}), "the cable is pulled")
            if not self.is_told:
                return following
            net.runtime.writer.apply(following)
        return []

    def _are_in_two_racks(self, one: str, other: str) -> bool:
        """Whether one is in the rack that is cut off, and the other is not."""
        rack = self._subnet("node2")
        return (self._subnet(one) == rack) is not (self._subnet(other) == rack)

    def _subnet(self, node: str) -> str:
        return self.net.cluster.fabric.subnet_of(self.net.cluster.nodes[node]).name
