"""The built-in route engine: what a full mesh of iBGP speakers converges to, computed at once.

In go the prefixes that each node originates, which speakers were killed or restarted, and between
which nodes TCP does not work; out come each node's best next hops. iBGP peers pass nothing on, so
that a table follows from the announcements alone, and all nodes that heard the same announcements
share one table. What differs from that is kept for the few nodes that it concerns:

- a dead speaker keeps what it had heard when it was killed (``frozen``), and its peers keep what
  it had announced, as BIRD does for a peer that is expected back (graceful restart, RFC 4724);
- a speaker that came while another one was dead has never heard of that one's prefixes
  (``unheard``);
- without TCP there is no session, and live peers know nothing of each other (``unreachable``).

What this cannot show are BIRD's timers: connect delay, hold time, kernel scan interval. All of them
are 0 here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from calico_mn.bgp.engine import Table, Unreachable
from calico_mn.bgp.peerings import Graph
from calico_mn.errors import ClusterError

_Prefixes = tuple[IPv4Network, ...]


@dataclass(slots=True)
class _Speaker:
    """``announced``: what its peers last heard; ``frozen``: what a dead one had heard, by peer."""

    node: str
    address: IPv4Address
    originated: _Prefixes = ()
    announced: _Prefixes = ()
    unheard: frozenset[str] = frozenset()
    unreachable: frozenset[str] = frozenset()
    frozen: Mapping[str, _Prefixes] | None = None
    frozen_table: Table = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        return self.frozen is None


class FullMesh:
    """Implements :class:`calico_mn.bgp.engine.RouteEngine`."""

    name = "built-in BGP-like distributor (full mesh, not BIRD)"

    def __init__(self) -> None:
        self._graph: Graph | None = None
        #: the nodes that hear each node, as far as it was asked, where there is a graph
        self._hearing: dict[str, frozenset[str]] = {}
        self._speakers: dict[str, _Speaker] = {}
        #: prefix -> the nodes that announce it
        self._announcers: dict[IPv4Network, frozenset[str]] = {}
        self._mesh = True
        self._unreachable: Unreachable = {}
        #: by the nodes that those who share the table do not hear
        self._tables: dict[frozenset[str], Table] = {}

    def add_node(self, node: str, address: IPv4Address) -> None:
        """Start a speaker and its sessions with all that are alive."""
        self._speakers[node] = _Speaker(node, address, unheard=self._dead())
        self._forget()

    def remove_node(self, node: str) -> frozenset[str]:
        """Close a speaker's sessions gracefully. Returns the nodes that lost prefixes.

        Live peers that kept the routes of a dead speaker drop them too: it is expected no more.
        """
        speaker = self._speaker(node)
        withdrawn = speaker.announced
        before = self._views(withdrawn)
        self._replace_announcement(node, speaker, ())
        changed = self._changed(before, withdrawn)
        del self._speakers[node]
        self._forget()
        for other in self._speakers.values():
            other.unheard -= {node}
            other.unreachable -= {node}
        self._unreachable = {pair: why for pair, why in self._unreachable.items()
                             if node not in pair}
        return changed - {node}

    def set_sessions(self, *, mesh: bool, unreachable: Unreachable, graph: Graph | None = None
                     ) -> frozenset[str]:
        """See :meth:`.engine.RouteEngine.set_sessions`: what is not unreachable is reachable."""
        unreachable = {pair: why for pair, why in unreachable.items()
                       if pair <= self._speakers.keys()}
        if (mesh, unreachable, graph) == (self._mesh, self._unreachable, self._graph):
            return frozenset()
        peers: dict[str, set[str]] = {}
        for one, other in unreachable:
            peers.setdefault(one, set()).add(other)
            peers.setdefault(other, set()).add(one)
        concerned = {node: speaker for node, speaker in self._speakers.items() if speaker.is_alive
                     and (mesh != self._mesh or graph != self._graph or graph
                          or speaker.unreachable != peers.get(node, set()))}
        before = {node: self.learned(node) for node in concerned}
        self._mesh, self._unreachable, self._graph = mesh, unreachable, graph
        for node, speaker in self._speakers.items():
            speaker.unreachable = frozenset(peers.get(node, ()))
        self._forget()
        return frozenset(node for node in concerned if self.learned(node) != before[node])

    def announce(self, prefixes: Mapping[str, Iterable[IPv4Network]]) -> frozenset[str]:
        """Set what these nodes announce. Returns the nodes whose learned prefixes changed."""
        updates: dict[str, _Prefixes] = {}
        touched: dict[IPv4Network, None] = {}
        for node, items in prefixes.items():
            wanted = tuple(dict.fromkeys(items))
            if wanted != self._speaker(node).originated:
                updates[node] = wanted
                touched.update(dict.fromkeys(
                    set(wanted).symmetric_difference(self._speaker(node).originated)))
        if not updates:
            return frozenset()
        before = self._views(touched)
        for node, wanted in updates.items():
            speaker = self._speakers[node]
            speaker.originated = wanted
            if speaker.is_alive:
                self._replace_announcement(node, speaker, wanted)
        return self._changed(before, touched)

    def table(self, node: str) -> Table:
        """Prefix -> best next hop among all announcements that the node has heard."""
        speaker = self._speaker(node)
        if not speaker.is_alive:
            return speaker.frozen_table
        deaf = self._deaf(speaker)
        table = self._tables.get(deaf)
        if table is None:
            table = self._tables[deaf] = self._best(self._heard(speaker))
        return table

    def learned(self, node: str) -> Table:
        """Prefix -> next hop, without what the node originates itself."""
        originated = frozenset(self._speaker(node).originated)
        return {prefix: hop for prefix, hop in self.table(node).items()
                if prefix not in originated}

    def is_alive(self, node: str) -> bool:
        """False after :meth:`kill`."""
        return self._speaker(node).is_alive

    def kill(self, node: str) -> None:
        """Let a speaker die without notice: its routes and its peers' routes stay.

        Raises ClusterError for a route reflector with sessions: what its clients keep, and for how
        long, are BIRD's timers to decide.
        """
        speaker = self._speaker(node)
        if self._graph and node in self._graph.reflectors and speaker.announced and (
                self.sessions(node)):
            raise ClusterError(f"{node} is a route reflector: the built-in route engine cannot let"
                               " its speaker die")
        heard = {peer: prefixes for peer, prefixes in self._heard(speaker).items() if peer != node}
        if speaker.is_alive:
            speaker.frozen_table = self._best(heard)
            for peer in self._not_hearing(node, speaker):
                self._speakers[peer].unheard |= {node}
        speaker.frozen = heard
        self._hearing.clear()

    def restart(self, node: str) -> frozenset[str]:
        """Restart a dead speaker. Returns the nodes whose learned prefixes changed by it.

        It learns everything again, and so nothing of peers that are dead or gone.
        """
        speaker = self._speaker(node)
        learned_before = self.learned(node)
        touched = dict.fromkeys((*speaker.announced, *speaker.originated))
        before = self._views(touched)
        speaker.frozen, speaker.frozen_table = None, {}
        speaker.unheard = self._dead()
        self._hearing.clear()
        for other in self._speakers.values():
            if other.is_alive:
                other.unheard -= {node}
        self._replace_announcement(node, speaker, speaker.originated)
        changed = self._changed(before, touched) - {node}
        return changed if self.learned(node) == learned_before else changed | {node}

    def originated(self, node: str) -> _Prefixes:
        """What the node has to announce."""
        return self._speaker(node).originated

    def sessions(self, node: str) -> tuple[str, ...]:
        """All live peers that it can reach, none for a dead speaker."""
        speaker = self._speaker(node)
        if not speaker.is_alive:
            return ()
        return tuple(peer for peer in self._peers(node) if self._speakers[peer].is_alive
                     and peer not in speaker.unreachable)

    def why_down(self, node: str, peer: str) -> str:
        """See :meth:`.engine.RouteEngine.why_down`."""
        self._speaker(peer)
        if peer not in self._peers(node):
            if self._graph is None:
                return "there is no node-to-node mesh"
            reflecting = [name for name in (node, peer) if name in self._graph.reflectors]
            return (f"{reflecting[0]} is a route reflector, not in the mesh" if reflecting
                    else "they are not peers")
        dead = [name for name in (node, peer) if not self._speaker(name).is_alive]
        if dead:
            return f"no speaker on {' and '.join(dead)}"
        return self._unreachable.get(frozenset((node, peer)), "")

    def heard(self, node: str, peer: str) -> _Prefixes:
        """What the node last heard ``peer`` announce."""
        return self._heard(self._speaker(node)).get(peer, ())

    def _speaker(self, node: str) -> _Speaker:
        try:
            return self._speakers[node]
        except KeyError:
            raise ClusterError(f"no BGP speaker on {node}: there is no such node") from None

    def _forget(self) -> None:
        self._tables.clear()
        self._hearing.clear()

    def _peers(self, node: str) -> Collection[str]:
        if self._graph is not None:
            return [peer for peer in self._graph.peers.get(node, ()) if peer in self._speakers]
        return [peer for peer in self._speakers if peer != node] if self._mesh else ()

    def _hear(self, node: str) -> frozenset[str]:
        """The nodes that hear a node, where there is a graph; a dead one's prefixes stay there."""
        known = self._hearing.get(node)
        if known is None and self._graph is not None:
            known = self._hearing[node] = self._graph.hearing(node, self._is_up)
        return known or frozenset()

    def _is_up(self, node: str, peer: str) -> bool:
        """Whether ``peer`` hears ``node``; what a dead origin announced is known to its peers."""
        return peer in self._speakers and self._speakers[peer].is_alive and (
            peer not in self._speakers[node].unreachable)

    def _not_hearing(self, node: str, speaker: _Speaker) -> Iterable[str]:
        if self._graph is not None:
            return self._speakers.keys() - self._hear(node)
        return speaker.unreachable if self._mesh else self._speakers

    def _dead(self) -> frozenset[str]:
        return frozenset(node for node, speaker in self._speakers.items() if not speaker.is_alive)

    def _deaf(self, speaker: _Speaker) -> frozenset[str]:
        """The nodes of which a live speaker knows nothing."""
        if self._graph is not None:
            return speaker.unheard.union(
                node for node in self._speakers
                if node != speaker.node and speaker.node not in self._hear(node))
        if not self._mesh:
            return frozenset(self._speakers)
        return speaker.unheard.union(
            peer for peer in speaker.unreachable if self._speakers[peer].is_alive)

    def _heard(self, speaker: _Speaker) -> Mapping[str, _Prefixes]:
        """What a speaker has heard, by the node that announces it, itself included."""
        if speaker.frozen is not None:
            return speaker.frozen
        deaf = self._deaf(speaker)
        return {node: other.announced for node, other in self._speakers.items()
                if node not in deaf}

    def _best(self, heard: Mapping[str, _Prefixes]) -> Table:
        """All paths are alike inside one AS, so the lowest router id wins (RFC 4271 §9.1.2.2)."""
        best: dict[IPv4Network, IPv4Address] = {}
        for node, prefixes in heard.items():
            address = self._speakers[node].address
            for prefix in prefixes:
                if best.setdefault(prefix, address) > address:
                    best[prefix] = address
        return best

    def _replace_announcement(self, node: str, speaker: _Speaker, wanted: _Prefixes) -> None:
        for prefix in speaker.announced:
            self._announcers[prefix] -= {node}
            if not self._announcers[prefix]:
                del self._announcers[prefix]
        for prefix in wanted:
            self._announcers[prefix] = self._announcers.get(prefix, frozenset()) | {node}
        speaker.announced = wanted
        self._tables.clear()

    def _views(self, prefixes: Iterable[IPv4Network]) -> _Views:
        return _Views(
            {prefix: self._announcers.get(prefix, frozenset()) for prefix in prefixes},
            {node: (speaker.originated, self._deaf(speaker))
             for node, speaker in self._speakers.items() if speaker.is_alive})

    def _changed(self, before: _Views, prefixes: Collection[IPv4Network]) -> frozenset[str]:
        """The live nodes that see another best next hop for any of these prefixes than before."""
        if not prefixes:
            return frozenset()
        after = self._views(prefixes)
        return frozenset(
            node for node in after.nodes.keys() & before.nodes.keys()
            if any(self._winner(before, node, prefix) != self._winner(after, node, prefix)
                   for prefix in prefixes))

    def _winner(self, views: _Views, node: str, prefix: IPv4Network) -> IPv4Address | None:
        originated, deaf = views.nodes[node]
        if prefix in originated:
            return None
        return min((self._speakers[other].address for other in views.announcers[prefix]
                    if other != node and other not in deaf), default=None)


@dataclass(frozen=True, slots=True)
class _Views:
    """What decides the next hops of some prefixes: who announces them, who can hear it.

    ``nodes`` holds for each live node what it originates and which nodes it does not hear.
    """

    announcers: Mapping[IPv4Network, frozenset[str]]
    nodes: Mapping[str, tuple[_Prefixes, frozenset[str]]]
