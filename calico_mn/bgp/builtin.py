"""The built-in route engine: what BGP converges to, computed at once.

In go speakers, sessions and what each speaker originates; out come each speaker's next hops, as
BIRD would have them. A speaker keeps one list of paths for each kind of end of its sessions, and
the peers behind it read that list. Only those that hand routes on (reflectors, and speakers with
eBGP) have to be asked again when a list changes::

    announce --> lists of the speaker --> speakers that hand on --> their lists --> ... until quiet
                        \\__________________ tables: read from lists when asked

Speakers that read the same lists and hand nothing on share one table, such as all of a full mesh.

- A dead speaker keeps its table, and its lists stay as they were: those who had a session then
  keep what it told, as BIRD does for a peer that is expected back (graceful restart, RFC 4724).
- Without TCP there is no session, and live peers know nothing of each other (``unreachable``).

What this cannot show are BIRD's timers: connect delay, hold time, restart time, kernel scan
interval. All delays are 0 here, and a restart is awaited for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network

from calico_mn.bgp.engine import BgpRoute, Table, Unreachable
from calico_mn.bgp.graph import LOCAL_PREF, Graph, ReceivingEnd, SendingEnd, Session
from calico_mn.bgp.paths import Path, Received, best, is_taken, ranked, sent
from calico_mn.errors import ClusterError

_Prefixes = tuple[IPv4Network, ...]
_NO_ONE = IPv4Address("0.0.0.0")
#: the tables of live speakers, with what each originates
_Views = Mapping[str, tuple[Table, frozenset[IPv4Network]]]


@dataclass(slots=True)
class _Speaker:
    """``lists``: what it sends, by end. Of a dead one: who keeps it, and what it had then."""

    originated: _Prefixes = ()
    lists: dict[SendingEnd, tuple[Path, ...]] = field(default_factory=dict)
    is_alive: bool = True
    kept_by: frozenset[str] = frozenset()
    table: Table = field(default_factory=dict)
    received: tuple[Received, ...] = ()


class BuiltInEngine:
    """Implements :class:`calico_mn.bgp.engine.RouteEngine`."""

    name = "built-in BGP-like distributor (not BIRD)"

    def __init__(self) -> None:
        self._graph = Graph({})
        self._speakers: dict[str, _Speaker] = {}
        self._dead: set[str] = set()
        self._unreachable: Unreachable = {}
        self._cut: dict[str, set[str]] = {}
        self._mesh_of: dict[str, frozenset[str]] = {}
        #: each speaker's ends, with those behind them
        self._behind: dict[str, dict[SendingEnd, frozenset[str]]] = {}
        #: the speakers that hand on what they receive
        self._passing: frozenset[str] = frozenset()
        self._tables: dict[object, Table] = {}
        self._equal: dict[frozenset[tuple[IPv4Network, tuple[IPv4Address, ...]]], Table] = {}

    # --- what changes

    def add_node(self, node: str, address: IPv4Address) -> None:
        """Start a speaker; its sessions come with :meth:`set_sessions`."""
        self._speakers[node] = _Speaker()
        self._tables.clear()

    def remove_node(self, node: str) -> frozenset[str]:
        """Close a speaker's sessions gracefully. Returns the nodes that lost prefixes."""
        self._speaker(node)
        before = self._views()
        del self._speakers[node]
        self._dead.discard(node)
        for other in self._speakers.values():
            other.kept_by -= {node}
        self._unreachable = {pair: why for pair, why in self._unreachable.items()
                             if node not in pair}
        self._converge(self._passing)
        return self._changed(before)

    def set_sessions(self, graph: Graph, unreachable: Unreachable) -> frozenset[str]:
        """See :meth:`.engine.RouteEngine.set_sessions`: what is not unreachable is reachable."""
        unreachable = {pair: why for pair, why in unreachable.items()
                       if pair <= self._speakers.keys()}
        if (unreachable, graph) == (self._unreachable, self._graph):
            return frozenset()
        before = self._views()
        self._unreachable, self._cut = unreachable, {}
        for one, other in map(tuple, unreachable):
            self._cut.setdefault(one, set()).add(other)
            self._cut.setdefault(other, set()).add(one)
        if graph != self._graph:
            self._take(graph)
        self._converge(self._speakers)
        return self._changed(before)

    def _take(self, graph: Graph) -> None:
        self._graph = graph
        self._mesh_of = {name: members for members in graph.meshes for name in members}
        behind: dict[str, dict[SendingEnd, set[str]]] = {}
        passing = set()
        for receiver, senders in graph.sessions.items():
            for sender, (sending, receiving) in senders.items():
                behind.setdefault(sender, {}).setdefault(sending, set()).add(receiver)
                if sending.is_external or receiving.from_client:
                    passing.add(receiver)
        self._passing = frozenset(passing)
        self._behind = {name: {end: frozenset(names) for end, names in ends.items()}
                        for name, ends in behind.items()}
        for name, members in self._mesh_of.items():
            ends = self._behind.setdefault(name, {})
            end = self._mesh_end(name)
            ends[end] = ends[end] | members if end in ends else members

    def announce(self, prefixes: Mapping[str, Iterable[IPv4Network]]) -> frozenset[str]:
        """Set what these nodes announce. Returns the nodes whose learned prefixes changed."""
        updates = {node: wanted for node, items in prefixes.items()
                   if (wanted := tuple(dict.fromkeys(items))) != self._speaker(node).originated}
        if not updates:
            return frozenset()
        before = self._views()
        for node, wanted in updates.items():
            self._speakers[node].originated = wanted
        self._converge(updates)
        return self._changed(before)

    def kill(self, node: str) -> None:
        """Let a speaker die without notice: its routes stay, and its peers keep what it told."""
        speaker = self._speaker(node)
        if speaker.is_alive:
            facts = self._graph.speakers.get(node)
            speaker.received = tuple(self._received(node))
            speaker.table = best(speaker.received, facts) if facts else {}
            peers = [peer for peer in self._graph.peers(node) if peer in self._speakers]
            speaker.kept_by = frozenset(peer for peer in peers if self._is_up(node, peer))
            speaker.is_alive = False
            self._dead.add(node)
            self._tables.clear()

    def restart(self, node: str) -> frozenset[str]:
        """Restart a dead speaker. Returns the nodes whose learned prefixes changed by it.

        It learns everything again, and so nothing of peers that are dead or gone.
        """
        learned = self.learned(node)
        before = self._views()
        speaker = self._speakers[node]
        speaker.is_alive, speaker.kept_by, speaker.received = True, frozenset(), ()
        self._dead.discard(node)
        for other in self._speakers.values():
            other.kept_by -= {node}
        self._converge({node, *self._passing})
        changed = self._changed(before)
        return changed if self.learned(node) == learned else changed | {node}

    # --- what is

    def table(self, node: str) -> Table:
        """Prefix -> best next hops among all paths that the node has heard."""
        speaker = self._speaker(node)
        if not speaker.is_alive:
            return speaker.table
        if node not in self._graph.speakers:
            return {}
        facts = self._graph.speakers[node]
        heard = {sender: session for sender, session in self._graph.heard(node).items()
                 if self._is_up(sender, node)}
        is_alone = node in self._passing or any(
            name in self._passing and not self._speakers[name].is_alive for name in heard)
        deaf = frozenset(name for name in (*self._cut.get(node, ()), *self._dead)
                         if name in self._mesh_of.get(node, ()) and name != node
                         and not self._is_up(name, node))
        key = (node if is_alone else "", self._mesh_of.get(node), deaf, facts.networks,
               facts.has_gateway, frozenset(heard.items()))
        table = self._tables.get(key)
        if table is None:
            table = best(self._received(node, is_shared=not is_alone), facts)
            table = self._tables[key] = self._equal.setdefault(frozenset(table.items()), table)
        return table

    def learned(self, node: str) -> Table:
        """Prefix -> next hops, without what the node originates itself."""
        originated = frozenset(self._speaker(node).originated)
        return {prefix: hops for prefix, hops in self.table(node).items()
                if prefix not in originated}

    def is_alive(self, node: str) -> bool:
        """False after :meth:`kill`."""
        return self._speaker(node).is_alive

    def originated(self, node: str) -> _Prefixes:
        """What the node has to announce."""
        return self._speaker(node).originated

    def sessions(self, node: str) -> tuple[str, ...]:
        """All live peers that it can reach, none for a dead speaker."""
        if not self._speaker(node).is_alive:
            return ()
        return tuple(peer for peer in self._graph.peers(node) if peer in self._speakers
                     and self._speakers[peer].is_alive and peer not in self._cut.get(node, ()))

    def why_down(self, node: str, peer: str) -> str:
        """See :meth:`.engine.RouteEngine.why_down`."""
        dead = [name for name in (node, peer) if not self._speaker(name).is_alive]
        if peer not in self._graph.peers(node):
            if not (self._graph.meshes or self._graph.sessions):
                return "there is no node-to-node mesh, and no BGPPeer makes a session"
            reflecting = [name for name in (node, peer) if name in self._graph.speakers
                          and self._graph.speakers[name].cluster_id]
            return (f"{reflecting[0]} is a route reflector, not in the mesh" if reflecting
                    else "they are not peers")
        if dead:
            return f"no speaker on {' and '.join(dead)}"
        return self._unreachable.get(frozenset((node, peer)), "")

    def heard(self, node: str, peer: str) -> _Prefixes:
        """The prefixes that the node took from its session with ``peer``."""
        self._speaker(peer)
        speaker = self._speaker(node)
        received = self._from(node, peer) if speaker.is_alive else (
            item for item in speaker.received if item.peer == peer)
        return tuple(dict.fromkeys(item.path.prefix for item in received))

    def routes(self, node: str) -> Iterator[BgpRoute]:
        """See :meth:`.engine.RouteEngine.routes`."""
        speaker, facts = self._speaker(node), self._graph.speakers.get(node)
        yield from (BgpRoute(prefix, is_best=True) for prefix in speaker.originated)
        prefixes = set(speaker.originated)
        received = self._received(node) if speaker.is_alive else speaker.received
        if facts is None:
            return
        for path, _, _, (sending, _) in ranked(received, facts):
            yield BgpRoute(path.prefix, path.prefix not in prefixes, "", sending.address,
                           path.next_hop, path.as_path,
                           LOCAL_PREF if path.as_path else facts.local_pref, path.originator,
                           tuple(map(IPv4Address, path.clusters)))
            prefixes.add(path.prefix)

    # --- how it is worked out

    def _speaker(self, node: str) -> _Speaker:
        try:
            return self._speakers[node]
        except KeyError:
            raise ClusterError(f"no BGP speaker on {node}: there is no such node") from None

    def _is_up(self, sender: str, receiver: str) -> bool:
        """Whether a live receiver has what the sender's lists hold."""
        speaker = self._speakers.get(sender)
        if speaker is None or receiver not in self._speakers:
            return False
        return receiver not in self._cut.get(sender, ()) and self._speakers[
            receiver].is_alive if speaker.is_alive else receiver in speaker.kept_by

    def _mesh_end(self, name: str) -> SendingEnd:
        return SendingEnd(self._graph.speakers[name].router_id)

    def _session(self, node: str, sender: str) -> Session | None:
        if sender in self._mesh_of.get(node, ()):
            return self._mesh_end(sender), ReceivingEnd()
        return self._graph.heard(node).get(sender)

    def _from(self, node: str, sender: str, *, is_shared: bool = False) -> Iterable[Received]:
        """What a node takes from a sender; ``is_shared``: and what it told itself."""
        session = self._session(node, sender)
        if session is None or not (is_shared if sender == node else self._is_up(sender, node)):
            return
        router_id, facts = self._graph.speakers[sender].router_id, self._graph.speakers[node]
        if is_shared:
            node, facts = "", replace(facts, router_id=_NO_ONE)
        for path in self._speakers[sender].lists.get(session[0], ()):
            if is_taken(path, node, facts, session[1]):
                yield Received(path, sender, router_id, session)

    def _received(self, node: str, *, is_shared: bool = False) -> Iterable[Received]:
        heard = dict.fromkeys((*sorted(self._mesh_of.get(node, ())), *self._graph.heard(node)))
        for sender in heard:
            yield from self._from(node, sender, is_shared=is_shared)

    def _converge(self, dirty: Iterable[str]) -> None:
        """Work out the lists of these speakers, and of all that hand on what changes by it."""
        self._tables.clear()
        waiting = dict.fromkeys(dirty)
        while waiting:
            name = next(iter(waiting))
            del waiting[name]
            speaker = self._speakers.get(name)
            if speaker is None or not speaker.is_alive:
                continue
            received = list(self._received(name)) if name in self._passing else []
            lists = {}
            for end, behind in self._behind.get(name, {}).items():
                lists[end] = tuple(
                    path for path in sent(self._graph.speakers[name], end, speaker.originated,
                                          received) if behind != {path.told_by})
                # The same paths in another order are no news, or this might never end.
                if set(lists[end]) != set(speaker.lists.get(end, ())):
                    waiting.update(dict.fromkeys((behind & self._passing) - {name}))
            speaker.lists = lists

    def _views(self) -> _Views:
        return {name: (self.table(name), frozenset(speaker.originated))
                for name, speaker in self._speakers.items() if speaker.is_alive}

    def _changed(self, before: _Views) -> frozenset[str]:
        """The live nodes that learned something else than before."""
        after = self._views()
        differences: dict[tuple[int, int], frozenset[IPv4Network]] = {}
        changed = set()
        for name in before.keys() & after.keys():
            (old, old_own), (new, new_own) = before[name], after[name]
            pair = id(old), id(new)
            if pair not in differences:
                differences[pair] = frozenset() if old is new else frozenset(
                    prefix for prefix in old.keys() | new.keys()
                    if old.get(prefix) != new.get(prefix))
            if any((None if prefix in old_own else old.get(prefix))
                   != (None if prefix in new_own else new.get(prefix))
                   for group in (differences[pair], old_own ^ new_own) for prefix in group):
                changed.add(name)
        current = {id(table) for table, _ in after.values()}
        self._equal = {key: table for key, table in self._equal.items() if id(table) in current}
        return frozenset(changed)
