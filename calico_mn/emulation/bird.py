"""Engine ``bird``: a BIRD in each node writes the routes between nodes, and we look.

In go the cluster and what changed of it; out come configurations, and routes that BIRD wrote. What
they should be is computed as for the built-in engine, and compared, never written::

    cluster --> bgp.bird.configuration --> BIRD of each node ==BGP==> BIRD of the others
       |                                       |
       +--> RouteEngine --> wanted routes      +--> the kernel's routes of protocol bird
                                 \\______ compared: converge(), verify ______/

The net has one :class:`Birds` as ``net.birds``, None with the built-in engine.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from calico_mn.bgp import birdc
from calico_mn.bgp.bird import RouterSpeaker, Speaker, configuration
from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.bgp.engine import BIRD, ENGINES, BgpRoute
from calico_mn.bgp.timers import CALICO, Timers
from calico_mn.calico.cluster import Cluster
from calico_mn.delta import Delta
from calico_mn.emulation import speakers
from calico_mn.emulation.membership import ClusterMininet
from calico_mn.errors import ClusterError, KernelError, UnsupportedError
from calico_mn.kernel import bird as kernel
from calico_mn.kernel import neighbour_quota
from calico_mn.kernel.write import KernelWriter
from calico_mn.state import PROTO_BIRD, Namespace, Route

#: seconds until BIRD's routes must be there; connect delay and retry are 2 s and 5 s
_PATIENCE_S = 60.0
#: the same after a change, of which a node behind a filter may not hear
_PATIENCE_LATER_S = 20.0
#: the same for nodes that were late at the change before, such as damaged ones
_LATE_AGAIN_S = 3.0
#: seconds between looks, and until what BIRD could not write is written again: at first, and later
_LOOK_S, _RELOAD_S = 0.02, (0.3, 3.0)


def birds_for(net: ClusterMininet, engine: str, timers: Timers | None = None) -> Birds | None:
    """The BIRDs of a net with this engine, None for the built-in one.

    Raises ClusterError for an unknown engine and for timers of the built-in one, UnsupportedError
    without a BIRD that can be used.
    """
    if engine not in ENGINES:
        raise ClusterError(f"there is no route engine {engine!r}; engines: {', '.join(ENGINES)}")
    if engine == BIRD:
        return Birds(net, kernel.program(), timers or CALICO)
    if timers not in (None, CALICO):
        raise ClusterError("timers are BIRD's, and the built-in engine has none: choose engine"
                           " bird as well (--engine bird)")
    return None


class Birds:
    """The BIRDs of a net's nodes."""

    def __init__(self, net: ClusterMininet, program: str, timers: Timers = CALICO) -> None:
        self._net, self._program = net, program
        #: what every BIRD is configured with
        self.timers = timers
        #: computes what the BIRDs should learn from each other
        self.expected = BuiltInEngine()
        self.expected.name = f"{kernel.version(program)}, one in each node" + (
            f" (timers {timers})" if str(timers) else "")
        self._birds: dict[str, kernel.Bird] = {}
        self._speakers: dict[str, Speaker | RouterSpeaker] = {}
        self._dead: set[str] = set()
        #: how BIRDs ended, the last time for each node
        self.endings: dict[str, kernel.Ending] = {}
        #: the nodes whose BIRD did not take its configuration, and runs with the one before
        self._refusals: dict[str, KernelError] = {}
        #: the nodes whose routes were not as they should be when waiting ended
        self.late: tuple[str, ...] = ()

    def follow(self, *, is_boot: bool = False) -> None:
        """Let the BIRDs follow the cluster, and wait until the kernel's routes do.

        Raises KernelError when BIRD refuses a configuration or does not run, UnsupportedError at
        a boot whose sessions the machine cannot bear.
        """
        if is_boot:
            self.refuse_too_many(self._net.cluster)
        runtime = self._net.runtime
        directory = runtime.directory.path
        wanted = self._wanted()
        self.end(self._birds.keys() - wanted.keys())
        self._revive()
        started = []
        for name, speaker in wanted.items():
            if name not in self._birds:
                bird = kernel.Bird(name, self._program, directory, runtime.directory.logs,
                                   runtime.spawn)
                bird.check(configuration(speaker))
                started.append(bird)
            else:
                with suppress(KernelError):  # raised below, once the others have theirs
                    self._configure(speaker)
        # All start at once: a peer that is not there yet costs a BIRD another connect delay.
        for bird in started:
            self._birds[bird.node], self._speakers[bird.node] = bird, wanted[bird.node]
            bird.start()
        for bird in started:
            bird.await_answer()
        if self._refusals:
            raise next(iter(self._refusals.values()))
        patience = _PATIENCE_S if is_boot else _PATIENCE_LATER_S
        self._await_sessions({bird.node for bird in started}, patience)
        self.late = self.converge(patience)

    def refuse_too_many(self, cluster: Cluster, before: Cluster | None = None) -> None:
        """Refuse sessions whose neighbours do not fit into the kernel's table: some stay down.

        What takes no more than the cluster ``before`` is not refused. Raises UnsupportedError.
        """
        allowed = neighbour_quota.limit()
        needed = speakers.neighbour_entries(cluster)
        if allowed is not None and needed > allowed and (
                before is None or needed > speakers.neighbour_entries(before)):
            raise UnsupportedError(
                f"BIRD's sessions need {needed:,} neighbour entries, and the machine allows"
                f" {allowed:,} in all namespaces together: take route reflectors in the place of"
                f" the mesh, or boot with {neighbour_quota.OPTION}")

    def _wanted(self) -> dict[str, Speaker | RouterSpeaker]:
        return speakers.speakers(self._net.cluster, self.timers)

    def _configure(self, speaker: Speaker | RouterSpeaker) -> None:
        name = speaker.node
        self._refusals.pop(name, None)
        if name not in self._dead and self._speakers[name] != speaker:
            try:
                self._birds[name].configure(configuration(speaker))
            except KernelError as error:
                self._refusals[name] = error
                raise
            self._speakers[name] = speaker

    def _revive(self) -> None:
        """Start again what ended by itself, as runit does in calico-node."""
        ended = [name for name, bird in self._birds.items()
                 if name not in self._dead and not bird.is_running]
        for name in ended:
            ending = self._birds[name].ending()
            self._dead.add(name)
            try:
                self.restart(name)
            finally:
                self.endings[name] = ending

    def attach(self, writer: KernelWriter) -> None:
        """Have the writer leave BIRD's routes to BIRD; before namespaces are made."""
        kernel.prepare(self._net.runtime.directory.path)
        writer.foreign_protocol, writer.make_way = PROTO_BIRD, self.make_way

    def make_way(self, states: Sequence[Namespace]) -> None:
        """Let BIRD remove its routes to what others write routes to from now on, as Felix does.

        It would remove theirs otherwise: a route's protocol plays no part when BIRD removes one.
        Where both are to write, BIRD has nothing to remove.
        """
        before = self._net.states
        if self._net.cluster.routes.contested:
            return
        in_the_way = {
            state.name: gone for state in states if state.name in self._birds
            and state.name not in self._dead
            and (gone := {route.place for route in _of_bird(before[state.name].routes)} & {
                route.place for route in state.routes if route.protocol != PROTO_BIRD})}
        if not in_the_way:
            return
        wanted = self._wanted()
        for name in in_the_way.keys() & wanted.keys():
            self._configure(wanted[name])
        deadline = time.monotonic() + _PATIENCE_LATER_S
        for name, gone in in_the_way.items():
            while time.monotonic() < deadline and any(
                    route.place in gone for route in _of_bird(self._net.kernel_routes(name))):
                time.sleep(_LOOK_S)

    def _await_sessions(self, nodes: Collection[str], seconds: float) -> None:
        """Wait until these nodes' sessions are up, but for those that cannot be."""
        cluster, waiting = self._net.cluster, set(nodes)
        ends, graph = speakers.peerings_of(cluster), speakers.peer_graph(cluster)
        cannot = speakers.unreachable(cluster)
        needed = {name: {peer for peer in graph.peers(name) if peer in self._birds
                         and peer not in self._dead
                         and frozenset((name, peer)) not in cannot} for name in waiting}
        begun = time.monotonic()
        while waiting and time.monotonic() < begun + seconds:
            looked = time.monotonic()
            for name in tuple(waiting):
                with suppress(KernelError, OSError):
                    protocols = self.protocols(name)
                    up = {end.peer for end in ends[name] if end.name in protocols
                          and protocols[end.name].is_up}
                    if needed[name] <= up:
                        waiting.discard(name)
            # BIRD needs the processors, too.
            time.sleep(max(_LOOK_S, time.monotonic() - looked))

    def end(self, nodes: Iterable[str]) -> None:
        """Close the sessions of nodes that go, and end their BIRDs."""
        for name in nodes:
            if name in self._birds:
                self._birds.pop(name).end()
                del self._speakers[name]
            self._dead.discard(name)
            self.endings.pop(name, None)
            self._refusals.pop(name, None)

    def converge(self, seconds: float) -> tuple[str, ...]:
        """Wait until every node has the routes of protocol bird that it should have.

        Returns the nodes that have not after ``seconds``. Where Felix writes the same routes, too,
        nothing is waited for.
        """
        if self._net.cluster.routes.contested:
            return ()
        begun = time.monotonic()
        reload = begun + _RELOAD_S[0]
        late = list(self._birds)
        while True:
            looked = time.monotonic()
            late = [name for name in late if name not in self._dead and self._differs(name)]
            now = time.monotonic()
            if not late or now - begun > (
                    _LATE_AGAIN_S if set(late) <= set(self.late) else seconds):
                return tuple(late)
            if now > reload:
                reload = now + _RELOAD_S[1]
                for name in late:
                    with suppress(KernelError, OSError):
                        self._remove_other_metrics(name)
                        self._birds[name].reload()
            time.sleep(max(_LOOK_S, time.monotonic() - looked))

    def _remove_other_metrics(self, name: str) -> None:
        """Remove what BIRD wrote with the metric that it had before; it takes no notice of it."""
        speaker = self._speakers[name]
        if isinstance(speaker, RouterSpeaker):
            return
        outdated = tuple(route for route in _of_bird(self._net.kernel_routes(name))
                         if route.kind != "blackhole" and route.metric != speaker.metric)
        self._net.runtime.writer.write([Delta(name, routes_removed=outdated)])

    def _differs(self, name: str) -> bool:
        present, wanted = self._net.kernel_routes(name), self._net.states[name].routes
        return _ways(present) != _ways(wanted)

    def protocols(self, node: str, *, counted: bool = False) -> dict[str, birdc.BirdProtocol]:
        """A node's BGP protocols by name, as its BIRD tells; ``counted``: with numbers of routes.

        Raises KernelError or OSError where it does not answer.
        """
        return birdc.protocols(self._bird(node).ask(f"show protocols{' all' * counted}"))

    def routes(self, node: str) -> tuple[BgpRoute, ...]:
        """All that is in the table of a node's BIRD; raises as :meth:`protocols`."""
        return birdc.routes(self._bird(node).ask("show route all"))

    def log_lines(self, node: str) -> list[str]:
        """The end of what a node's BIRDs have said."""
        return self._bird(node).log_lines()

    def alive(self) -> list[str]:
        """The nodes whose BIRD runs; one that ended by itself is started again first."""
        self._revive()
        return [name for name in self._birds if name not in self._dead]

    def remarks(self) -> dict[str, str]:
        """The nodes whose BIRD has ended, with how and whether it runs again, or took no change."""
        refused = {name: f"{str(error).removeprefix(f'{name}: ')}; it goes on as it was configured"
                         " before" for name, error in self._refusals.items()}
        return refused | {name: f"its BIRD ended: {ending}" + (
            "" if name in self._dead else f"; it runs again, see {self._birds[name].log}")
            for name, ending in self.endings.items()}

    def warning(self) -> str:
        """A sentence about nodes that had to be waited for too long, if there are any."""
        return (f"BIRD has not yet written all routes on {', '.join(self.late)}: see"
                " 'calico-mn bgp' and 'calico-mn verify'") if self.late else ""

    def pids(self) -> dict[str, int]:
        """The ids of the BIRDs that should run, by node."""
        return {name: bird.pid for name, bird in self._birds.items() if name not in self._dead}

    def kill(self, node: str) -> None:
        """Let a node's BIRD die without notice."""
        self._bird(node).kill()
        self._dead.add(node)
        self.endings[node] = self._bird(node).ending()

    def restart(self, node: str) -> None:
        """Run a BIRD again that was killed; the kernel's routes stay meanwhile."""
        bird = self._bird(node)
        if node in self._dead:
            self._speakers[node] = self._wanted()[node]
            bird.check(configuration(self._speakers[node]))
            bird.start(is_restart=True)
            self._refusals.pop(node, None)
            bird.await_answer()
            self._dead.discard(node)
            self.endings.pop(node, None)
            self._await_sessions({node}, _PATIENCE_LATER_S)

    def _bird(self, node: str) -> kernel.Bird:
        try:
            return self._birds[node]
        except KeyError:
            raise ClusterError(f"no BIRD runs on {node}") from None


def _ways(routes: Iterable[Route]) -> set[tuple[str, ...]]:
    """Where BIRD's routes lead, without what the kernel adds to a route."""
    return {(route.destination, str(route.metric), route.kind, hop.via, hop.device)
            for route in _of_bird(routes) for hop in route.next_hops or (route,)}


def _of_bird(routes: Iterable[Route]) -> set[Route]:
    return {route for route in routes if route.protocol == PROTO_BIRD}
