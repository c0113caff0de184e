"""The built-in route engine: what a full mesh of iBGP speakers converges to, computed at once.

In go the prefixes that each node originates and which speakers were killed or restarted; out come
each node's best next hops. iBGP peers pass nothing on, so that a table follows from the
announcements alone, and all nodes that heard the same announcements share one table. What differs
from that is kept for the few nodes that it concerns:

- a dead speaker keeps what it had heard when it was killed (``frozen``), and its peers keep what
  it had announced, as BIRD does for a peer that is expected back (graceful restart, RFC 4724);
- a speaker that came while another one was dead has never heard of that one's prefixes
  (``unheard``).

What this cannot show are BIRD's timers: connect delay, hold time, kernel scan interval.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from calico_mn.bgp.engine import Table
from calico_mn.errors import ClusterError

_Prefixes = tuple[IPv4Network, ...]


@dataclass(slots=True)
class _Speaker:
    """``announced``: what its peers last heard; ``frozen``: what a dead one had heard, by peer."""

    address: IPv4Address
    originated: _Prefixes = ()
    announced: _Prefixes = ()
    unheard: frozenset[str] = frozenset()
    frozen: Mapping[str, _Prefixes] | None = None
    frozen_table: Table = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        return self.frozen is None


class FullMesh:
    """Implements :class:`calico_mn.bgp.engine.RouteEngine`."""

    name = "built-in BGP-like distributor (full mesh, not BIRD)"

    def __init__(self) -> None:
        self._speakers: dict[str, _Speaker] = {}
        #: prefix -> the nodes that announce it
        self._announcers: dict[IPv4Network, frozenset[str]] = {}
        self._shared_table: Table | None = None

    def add_node(self, node: str, address: IPv4Address) -> None:
        """Start a speaker and its sessions with all that are alive."""
        self._speakers[node] = _Speaker(address, unheard=self._dead())

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
        for other in self._speakers.values():
            other.unheard -= {node}
        return changed - {node}

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
        if speaker.unheard:
            return self._best(self._heard(speaker))
        if self._shared_table is None:
            self._shared_table = self._best(self._heard(speaker))
        return self._shared_table

    def learned(self, node: str) -> Table:
        """Prefix -> next hop, without what the node originates itself."""
        originated = frozenset(self._speaker(node).originated)
        return {prefix: hop for prefix, hop in self.table(node).items()
                if prefix not in originated}

    def is_alive(self, node: str) -> bool:
        """False after :meth:`kill`."""
        return self._speaker(node).is_alive

    def kill(self, node: str) -> None:
        """Let a speaker die without notice: its routes and its peers' routes stay."""
        speaker = self._speaker(node)
        heard = {peer: prefixes for peer, prefixes in self._heard(speaker).items() if peer != node}
        if speaker.is_alive:
            speaker.frozen_table = self._best(heard)
        speaker.frozen = heard

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
        """All live peers, none for a dead speaker."""
        if not self._speaker(node).is_alive:
            return ()
        return tuple(peer for peer, other in self._speakers.items()
                     if peer != node and other.is_alive)

    def heard(self, node: str, peer: str) -> _Prefixes:
        """What the node last heard ``peer`` announce."""
        return self._heard(self._speaker(node)).get(peer, ())

    def _speaker(self, node: str) -> _Speaker:
        try:
            return self._speakers[node]
        except KeyError:
            raise ClusterError(f"no BGP speaker on {node}: there is no such node") from None

    def _dead(self) -> frozenset[str]:
        return frozenset(node for node, speaker in self._speakers.items() if not speaker.is_alive)

    def _heard(self, speaker: _Speaker) -> Mapping[str, _Prefixes]:
        """What a speaker has heard, by the node that announces it, itself included."""
        if speaker.frozen is not None:
            return speaker.frozen
        return {node: other.announced for node, other in self._speakers.items()
                if node not in speaker.unheard}

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
        self._shared_table = None

    def _views(self, prefixes: Iterable[IPv4Network]) -> _Views:
        return _Views(
            {prefix: self._announcers.get(prefix, frozenset()) for prefix in prefixes},
            {node: (speaker.originated, speaker.unheard)
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
        originated, unheard = views.nodes[node]
        if prefix in originated:
            return None
        return min((self._speakers[other].address for other in views.announcers[prefix]
                    if other != node and other not in unheard), default=None)


@dataclass(frozen=True, slots=True)
class _Views:
    """What decides the next hops of some prefixes: who announces them, who can hear it.

    ``nodes`` holds for each live node what it originates and which dead peers it never heard.
    """

    announcers: Mapping[IPv4Network, frozenset[str]]
    nodes: Mapping[str, tuple[_Prefixes, frozenset[str]]]
