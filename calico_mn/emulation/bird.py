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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from calico_mn.bgp.bird import Speaker, configuration
from calico_mn.bgp.engine import BIRD, ENGINES
from calico_mn.bgp.full_mesh import FullMesh
from calico_mn.calico import sessions
from calico_mn.emulation.membership import ClusterMininet
from calico_mn.emulation.plan import peerings_of, speakers
from calico_mn.errors import ClusterError, KernelError
from calico_mn.kernel import bird as kernel
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


def birds_for(net: ClusterMininet, engine: str) -> Birds | None:
    """The BIRDs of a net with this engine, None for the built-in one.

    Raises ClusterError for an unknown engine, UnsupportedError without a BIRD that can be used.
    """
    if engine not in ENGINES:
        raise ClusterError(f"there is no route engine {engine!r}; engines: {', '.join(ENGINES)}")
    return Birds(net, kernel.program()) if engine == BIRD else None


class Birds:
    """The BIRDs of a net's nodes."""

    def __init__(self, net: ClusterMininet, program: str) -> None:
        self._net, self._program = net, program
        #: computes what the BIRDs should learn from each other
        self.expected = FullMesh()
        self.expected.name = f"{kernel.version(program)}, one in each node"
        self._birds: dict[str, kernel.Bird] = {}
        self._speakers: dict[str, Speaker] = {}
        self._dead: set[str] = set()
        #: the nodes whose routes were not as they should be when waiting ended
        self.late: tuple[str, ...] = ()

    def follow(self, *, is_boot: bool = False) -> None:
        """Let the BIRDs follow the cluster, and wait until the kernel's routes do.

        Raises KernelError when BIRD refuses a configuration or does not run.
        """
        runtime = self._net.runtime
        directory = runtime.directory.path / "bird"
        directory.mkdir(exist_ok=True)
        wanted = speakers(self._net.cluster)
        self.end(self._birds.keys() - wanted.keys())
        self._revive()
        started = []
        for name, speaker in wanted.items():
            if name not in self._birds:
                bird = self._birds[name] = kernel.Bird(
                    name, self._program, directory, runtime.directory.logs, runtime.spawn)
                bird.start(configuration(speaker))
                self._speakers[name] = speaker
                started.append(bird)
            else:
                self._configure(speaker)
        for bird in started:
            bird.await_answer()
        patience = _PATIENCE_S if is_boot else _PATIENCE_LATER_S
        self._await_sessions({bird.node for bird in started}, patience)
        self.late = self.converge(patience)

    def _configure(self, speaker: Speaker) -> None:
        name = speaker.node
        if name not in self._dead and self._speakers[name] != speaker:
            self._birds[name].configure(configuration(speaker))
            self._speakers[name] = speaker

    def _revive(self) -> None:
        """Start again what ended by itself, as runit does in calico-node."""
        ended = [name for name, bird in self._birds.items()
                 if name not in self._dead and not bird.is_running]
        for name in ended:
            self._dead.add(name)
            self.restart(name)

    def attach(self, writer: KernelWriter) -> None:
        """Have the writer leave BIRD's routes to BIRD."""
        writer.foreign_protocol, writer.make_way = PROTO_BIRD, self.make_way

    def make_way(self, states: Sequence[Namespace]) -> None:
        """Let BIRD remove its routes to what others write routes to from now on, as Felix does.

        It would remove theirs otherwise: a route's protocol plays no part when BIRD removes one.
        """
        before = self._net.states
        in_the_way = {
            state.name: gone for state in states if state.name in self._birds
            and state.name not in self._dead
            and (gone := _destinations(before[state.name]) & {
                route.destination for route in state.routes if route.protocol != PROTO_BIRD})}
        if not in_the_way:
            return
        wanted = speakers(self._net.cluster)
        for name in in_the_way.keys() & wanted.keys():
            self._configure(wanted[name])
        deadline = time.monotonic() + _PATIENCE_LATER_S
        for name, gone in in_the_way.items():
            while time.monotonic() < deadline and any(
                    route.destination in gone for route in _of_bird(self._net.kernel_routes(name))):
                time.sleep(_LOOK_S)

    def _await_sessions(self, nodes: Collection[str], seconds: float) -> None:
        """Wait until these nodes' sessions are up, but for those that cannot be."""
        cluster, waiting = self._net.cluster, set(nodes)
        ends = peerings_of(cluster)
        peers = {name: {end.peer for end in own} for name, own in ends.items()}
        cannot = sessions.unreachable(cluster.fabric, cluster.nodes.values())
        needed = {name: {end.name for end in ends[name] if end.peer in self._birds
                         and end.peer not in self._dead and name in peers[end.peer]
                         and frozenset((name, end.peer)) not in cannot} for name in waiting}
        begun = time.monotonic()
        while waiting and time.monotonic() < begun + seconds:
            looked = time.monotonic()
            for name in tuple(waiting):
                with suppress(KernelError, OSError):
                    states = self._birds[name].sessions()
                    if all(states.get(session) == "Established" for session in needed[name]):
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

    def converge(self, seconds: float) -> tuple[str, ...]:
        """Wait until every node has the routes of protocol bird that it should have.

        Returns the nodes that have not after ``seconds``.
        """
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
                        self._birds[name].reload()
            time.sleep(max(_LOOK_S, time.monotonic() - looked))

    def _differs(self, name: str) -> bool:
        """Of several equal next hops, which BIRD merges, the wanted one is enough."""
        present = {hop for route in _of_bird(self._net.kernel_routes(name))
                   for hop in _ways(route)}
        wanted = {way for route in _of_bird(self._net.states[name].routes) for way in _ways(route)}
        return not wanted <= present or {way[0] for way in present} != {way[0] for way in wanted}

    def down(self) -> Mapping[frozenset[str], str]:
        """The pairs of live nodes that peer, with why the session is down; empty if it is up."""
        self._revive()
        ends = peerings_of(self._net.cluster)
        states: dict[str, dict[str, str]] = {}
        for name, bird in self._birds.items():
            if name not in self._dead:
                try:
                    states[name] = bird.sessions()
                except (KernelError, OSError) as error:
                    states[name] = {"": f"BIRD does not answer: {error}"}
        seen: dict[frozenset[str], list[tuple[bool, bool, str]]] = {}
        for name, own in ends.items():
            for end in own:
                if end.peer in states and name in states:
                    state = states[name].get(end.name, states[name].get("", "no such protocol"))
                    seen.setdefault(frozenset((name, end.peer)), []).append(
                        (state != "Established", end.is_passive, f"BIRD on {name}: {state}"))
        # One protocol that is up is enough; the side that connects knows more than the other.
        return {pair: reason if is_down else "" for pair, (is_down, _, reason) in (
            (pair, min(items)) for pair, items in seen.items())}

    def warning(self) -> str:
        """A sentence about nodes that had to be waited for too long, if there are any."""
        return (f"BIRD has not yet written all routes on {', '.join(self.late)}: see"
                " 'calico-mn bgp' and 'calico-mn verify'") if self.late else ""

    def kill(self, node: str) -> None:
        """Let a node's BIRD die without notice."""
        self._bird(node).kill()
        self._dead.add(node)

    def restart(self, node: str) -> None:
        """Run a BIRD again that was killed; the kernel's routes stay meanwhile."""
        bird = self._bird(node)
        if node in self._dead:
            self._speakers[node] = speakers(self._net.cluster)[node]
            bird.start(configuration(self._speakers[node]), is_restart=True)
            bird.await_answer()
            self._dead.discard(node)
            self._await_sessions({node}, _PATIENCE_LATER_S)

    def _bird(self, node: str) -> kernel.Bird:
        try:
            return self._birds[node]
        except KeyError:
            raise ClusterError(f"no BIRD runs on {node}") from None


def _destinations(state: Namespace) -> set[str]:
    return {route.destination for route in _of_bird(state.routes)}


def _ways(route: Route) -> Iterator[tuple[str, ...]]:
    for hop in route.next_hops or (route,):
        yield route.destination, route.kind, hop.via, hop.device


def _of_bird(routes: Iterable[Route]) -> set[Route]:
    return {route for route in routes if route.protocol == PROTO_BIRD}
