"""A speaker's routing information base: who offers which prefix, and which offer wins.

Pure data. One Adj-RIB-In per peer, and the Loc-RIB that follows from them (RFC 4271 §3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network


class Rib:
    """Prefixes learned from peers. A peer is known by its address, which is its router id."""

    def __init__(self) -> None:
        self._offers: dict[IPv4Network, dict[IPv4Address, IPv4Address]] = {}
        self._best: dict[IPv4Network, IPv4Address] = {}

    @property
    def best(self) -> Mapping[IPv4Network, IPv4Address]:
        """Prefix -> next hop of the winning offer."""
        return self._best

    def offer(self, peer: IPv4Address, prefix: IPv4Network, next_hop: IPv4Address) -> bool:
        """Note a peer's announcement; whether the best next hop changed."""
        self._offers.setdefault(prefix, {})[peer] = next_hop
        return self._decide(prefix)

    def withdraw(self, peer: IPv4Address, prefix: IPv4Network) -> bool:
        """Forget a peer's announcement; whether the best next hop changed."""
        offers = self._offers.get(prefix, {})
        if peer not in offers:
            return False
        del offers[peer]
        return self._decide(prefix)

    def from_peer(self, peer: IPv4Address) -> tuple[IPv4Network, ...]:
        """The prefixes that a peer announces."""
        return tuple(prefix for prefix, offers in self._offers.items() if peer in offers)

    def _decide(self, prefix: IPv4Network) -> bool:
        """All paths are alike inside one AS, so the lowest router id wins (RFC 4271 §9.1.2.2)."""
        before = self._best.get(prefix)
        offers = self._offers[prefix]
        if not offers:
            del self._offers[prefix]
            self._best.pop(prefix, None)
            return before is not None
        self._best[prefix] = offers[min(offers)]
        return before != self._best[prefix]
