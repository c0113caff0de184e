"""One node's speaker: what it originates, its sessions, and the updates that it exchanges.

BGP-like: the same roles and rules as iBGP in a full mesh, as direct calls instead of TCP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from calico_mn.bgp.rib import Rib


@dataclass(frozen=True, slots=True)
class Update:
    """What one speaker tells another (RFC 4271 §4.3)."""

    announced: tuple[IPv4Network, ...] = ()
    withdrawn: tuple[IPv4Network, ...] = ()


class Speaker:
    """A BGP-like speaker. Learned prefixes are never passed on: iBGP peers form a full mesh."""

    def __init__(self, node: str, address: IPv4Address) -> None:
        self.node = node
        self.address = address
        self.alive = True
        self._rib = Rib()
        self._sessions: dict[str, Speaker] = {}
        self._originated: tuple[IPv4Network, ...] = ()

    @property
    def learned(self) -> Mapping[IPv4Network, IPv4Address]:
        """Best next hop of each prefix from others, without what this node originates itself."""
        own = frozenset(self._originated)
        return {prefix: hop for prefix, hop in self._rib.best.items() if prefix not in own}

    @property
    def originated(self) -> tuple[IPv4Network, ...]:
        """What this node announces."""
        return self._originated

    @property
    def sessions(self) -> tuple[str, ...]:
        """The nodes with which a session is up."""
        return tuple(self._sessions)

    def learned_from(self, peer: IPv4Address) -> tuple[IPv4Network, ...]:
        """What the peer of that address announces here."""
        return self._rib.from_peer(peer)

    def connect(self, peer: Speaker) -> frozenset[str]:
        """Bring a session up and exchange everything; the nodes whose learned prefixes changed."""
        changed = set()
        for here, there in ((self, peer), (peer, self)):
            here._sessions[there.node] = there
        for here, there in ((self, peer), (peer, self)):
            stale = set(there._rib.from_peer(here.address)) - set(here._originated)
            if there.receive(here, Update(here._originated, tuple(stale))):
                changed.add(there.node)
        return frozenset(changed)

    def disconnect(self, *, withdraw: bool) -> frozenset[str]:
        """Take all sessions down; with ``withdraw`` the peers forget what they learned here.

        Without it the peers keep the prefixes, as BIRD does for a peer that vanished and is
        expected back (graceful restart, RFC 4724).
        """
        changed = set()
        for peer in self._sessions.values():
            del peer._sessions[self.node]
            if withdraw and peer.receive(self, Update(withdrawn=self._originated)):
                changed.add(peer.node)
        self._sessions.clear()
        return frozenset(changed)

    def originate(self, prefixes: Iterable[IPv4Network]) -> frozenset[str]:
        """Announce and withdraw until ``prefixes`` are what the peers know of this node."""
        wanted = tuple(dict.fromkeys(prefixes))
        before = self._originated
        self._originated = wanted
        known, kept = frozenset(before), frozenset(wanted)
        update = Update(tuple(p for p in wanted if p not in known),
                        tuple(p for p in before if p not in kept))
        if not self.alive or update == Update():
            return frozenset()
        changed = {peer.node for peer in self._sessions.values() if peer.receive(self, update)}
        if self._rib.best.keys() & (known ^ kept):
            changed.add(self.node)
        return frozenset(changed)

    def forget(self, peer: Speaker) -> bool:
        """Drop what ``peer`` announced; whether any best next hop changed."""
        return self.receive(peer, Update(withdrawn=self._rib.from_peer(peer.address)))

    def revive(self) -> None:
        """Start a dead speaker again: a new process, with an empty RIB and no sessions yet."""
        self.alive = True
        self._rib = Rib()

    def receive(self, sender: Speaker, update: Update) -> bool:
        """Take in an update; whether any best next hop changed. A dead speaker hears nothing."""
        if not self.alive:
            return False
        changed = False
        for prefix in update.withdrawn:
            changed |= self._rib.withdraw(sender.address, prefix)
        for prefix in update.announced:
            changed |= self._rib.offer(sender.address, prefix, sender.address)
        return changed
