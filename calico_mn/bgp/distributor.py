"""The built-in route engine: a full mesh of BGP-like speakers inside this process.

It converges at once. What it cannot show are BIRD's timers: connect delay, hold time, kernel
scan interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from calico_mn.bgp.speaker import Speaker
from calico_mn.errors import ClusterError


class Distributor:
    """Implements :class:`calico_mn.bgp.engine.RouteEngine`."""

    name = "built-in BGP-like distributor (full mesh, not BIRD)"

    def __init__(self) -> None:
        self._speakers: dict[str, Speaker] = {}

    def add_node(self, node: str, address: IPv4Address) -> None:
        """Start a speaker and its sessions with all that are alive."""
        speaker = self._speakers[node] = Speaker(node, address)
        self._mesh(speaker)

    def remove_node(self, node: str) -> frozenset[str]:
        """Take a speaker's sessions down with notice; the nodes that lost prefixes.

        Those who kept the routes of a dead speaker forget them, too: it is expected no more.
        """
        speaker = self.speaker(node)
        del self._speakers[node]
        changed = speaker.disconnect(withdraw=True)
        return changed | {peer.node for peer in self._speakers.values() if peer.forget(speaker)}

    def originate(self, node: str, prefixes: Iterable[IPv4Network]) -> frozenset[str]:
        """What ``node`` announces from now on; the nodes whose learned prefixes changed."""
        return self.speaker(node).originate(prefixes)

    def learned(self, node: str) -> Mapping[IPv4Network, IPv4Address]:
        """Prefix -> next hop."""
        return self.speaker(node).learned

    def is_alive(self, node: str) -> bool:
        """False after :meth:`kill`."""
        return self.speaker(node).alive

    def kill(self, node: str) -> None:
        """Let a speaker die without notice: its routes and its peers' routes stay."""
        speaker = self.speaker(node)
        speaker.disconnect(withdraw=False)
        speaker.alive = False

    def restart(self, node: str) -> frozenset[str]:
        """Bring a dead speaker back; the nodes whose learned prefixes changed by it.

        It learns everything anew, and so nothing of peers that are dead or gone.
        """
        speaker = self.speaker(node)
        before = speaker.learned
        speaker.revive()
        changed = self._mesh(speaker) - {node}
        return changed if speaker.learned == before else changed | {node}

    def speaker(self, node: str) -> Speaker:
        """The speaker of a node. Raises ClusterError if the node is unknown."""
        try:
            return self._speakers[node]
        except KeyError:
            raise ClusterError(f"no BGP speaker on {node}: there is no such node") from None

    def _mesh(self, speaker: Speaker) -> frozenset[str]:
        changed: frozenset[str] = frozenset()
        for peer in self._speakers.values():
            if peer is not speaker and peer.alive:
                changed |= speaker.connect(peer)
        return changed
