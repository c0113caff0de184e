"""What a route engine offers to the cluster, whether computed here or run as processes.

An engine takes what each node originates, and returns what each node has learned. What a node
makes of a learned prefix (tunnel or not) is :mod:`calico_mn.calico.encapsulation`'s business::

    announce({node: prefixes}) ---+--> engine --> names of the nodes whose tables changed
    set_sessions(peers, no TCP) --+       |
                                          +-----> table(node): {prefix: next hop}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from calico_mn.bgp.peerings import Graph

#: what hands prefixes on between nodes: computed here, or a BIRD in each node
BUILTIN, BIRD = ENGINES = ("builtin", "bird")
#: each prefix with its best next hop
Table = Mapping[IPv4Network, IPv4Address]
#: two nodes between which TCP port 179 does not work -> why
Unreachable = Mapping[frozenset[str], str]


class RouteEngine(Protocol):
    """Exchanges prefixes between nodes, which are identified by name.

    Every method raises ClusterError for a node that it does not know.
    """

    @property
    def name(self) -> str:
        """What results and tables call the engine."""

    def add_node(self, node: str, address: IPv4Address) -> None:
        """Start a speaker that peers with all the others."""

    def remove_node(self, node: str) -> frozenset[str]:
        """End a node's speaker gracefully. Returns the nodes that lost prefixes by it."""

    def announce(self, prefixes: Mapping[str, Iterable[IPv4Network]]) -> frozenset[str]:
        """Set what the nodes announce. Returns the nodes whose learned prefixes changed."""

    def table(self, node: str) -> Table:
        """What all announce, as ``node`` sees it; its own prefixes may be in it.

        It never changes once it is given out, and nodes that see the same share one object, so
        that what follows from it is worked out once for all of them.
        """

    def learned(self, node: str) -> Table:
        """The node's best next hop for each prefix that others announce and it does not."""

    def is_alive(self, node: str) -> bool:
        """Whether the node's speaker runs; a dead one leaves the kernel's routes in place."""

    def kill(self, node: str) -> None:
        """Let a speaker die without notice: its routes stay, at its peers too."""

    def restart(self, node: str) -> frozenset[str]:
        """Restart a dead speaker. Returns the nodes whose learned prefixes changed by it."""

    def originated(self, node: str) -> tuple[IPv4Network, ...]:
        """What the node announces, or would announce if its speaker were alive."""

    def set_sessions(self, *, mesh: bool, unreachable: Unreachable, graph: Graph | None = None
                     ) -> frozenset[str]:
        """Which sessions can be up. Returns the nodes whose learned prefixes changed.

        ``mesh``: nodes peer with each other (``nodeToNodeMeshEnabled``); ``graph`` says it node by
        node instead, where there are BGPPeers or route reflectors.
        """

    def sessions(self, node: str) -> tuple[str, ...]:
        """The nodes with which a session is up."""

    def why_down(self, node: str, peer: str) -> str:
        """Why there is no session between two nodes, in a few words; empty when it is up."""

    def heard(self, node: str, peer: str) -> tuple[IPv4Network, ...]:
        """The prefixes that ``node`` knows to be announced by ``peer``."""
