"""What a route engine offers to the cluster, whether computed here or run as processes.

An engine takes what each node originates, and returns what each node has learned. What a node
makes of a learned prefix (tunnel or not) is :mod:`calico_mn.calico.encapsulation`'s business::

    announce({node: prefixes}) ---+--> engine --> names of the nodes whose tables changed
    set_sessions(peers, no TCP) --+       |
                                          +-----> table(node): {prefix: next hops}

A speaker is a node, or a router of the underlay that speaks BGP: the methods for nodes serve both.
What it knows are :class:`Session` and :class:`BgpRoute`: the built-in engine fills them in from its
tables and BIRD from what ``birdc`` prints (:mod:`.birdc`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from calico_mn.bgp.graph import Graph
from calico_mn.bgp.peerings import PeerType

#: what hands prefixes on between nodes: computed here, or a BIRD in each node
BUILTIN, BIRD = ENGINES = ("builtin", "bird")
#: each prefix with its next hops, ordered by address; several are equally good
Table = Mapping[IPv4Network, tuple[IPv4Address, ...]]
#: two nodes between which TCP port 179 does not work -> why
Unreachable = Mapping[frozenset[str], str]
#: the state of a session over which routes are exchanged (RFC 4271)
ESTABLISHED = "Established"


@dataclass(frozen=True, slots=True)
class Session:
    """One end of a session, as ``calicoctl node status`` has it on ``node``.

    ``peer`` is the name behind ``address``, empty where the cluster knows none. ``state`` is the
    protocol's: up, start or down. ``bgp_state`` is that of RFC 4271 §8.2.2, or BIRD's Passive.
    ``since`` is BIRD's time of the last change of ``state``, empty with the built-in engine.
    ``imported`` and ``exported`` count prefixes. ``error`` is BIRD's last one, such as
    ``Socket: Connection refused``; ``reason`` says why the session is down, empty if it is up.
    """

    node: str
    peer: str
    address: IPv4Address
    kind: PeerType
    state: str
    bgp_state: str = ""
    since: str = ""
    imported: int = 0
    exported: int = 0
    error: str = ""
    reason: str = ""

    @property
    def is_up(self) -> bool:
        """Whether routes are exchanged."""
        return self.bgp_state == ESTABLISHED


@dataclass(frozen=True, slots=True)
class BgpRoute:
    """A path to a prefix that a speaker knows, with BGP's attributes (RFC 4271 §5, RFC 4456 §8).

    ``sender`` is the neighbour's address, None for what the node announces itself. ``protocol`` is
    BIRD's name of the protocol that brought it and ``since`` its time, both empty with the built-in
    engine.
    """

    prefix: IPv4Network
    is_best: bool
    protocol: str = ""
    sender: IPv4Address | None = None
    next_hop: IPv4Address | None = None
    as_path: tuple[int, ...] = ()
    local_pref: int | None = None
    originator: IPv4Address | None = None
    cluster_list: tuple[IPv4Address, ...] = ()
    communities: tuple[str, ...] = ()
    since: str = ""

    @property
    def is_own(self) -> bool:
        """Whether the node announces it itself."""
        return self.sender is None and self.next_hop is None


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
        """The node's best next hops for each prefix that others announce and it does not."""

    def is_alive(self, node: str) -> bool:
        """Whether the node's speaker runs; a dead one leaves the kernel's routes in place."""

    def kill(self, node: str) -> None:
        """Let a speaker die without notice: its routes stay, at its peers too."""

    def restart(self, node: str) -> frozenset[str]:
        """Restart a dead speaker. Returns the nodes whose learned prefixes changed by it."""

    def originated(self, node: str) -> tuple[IPv4Network, ...]:
        """What the node announces, or would announce if its speaker were alive."""

    def set_sessions(self, graph: Graph, unreachable: Unreachable) -> frozenset[str]:
        """Who peers with whom, and where TCP cannot work between them.

        Returns the nodes whose learned prefixes changed.
        """

    def sessions(self, node: str) -> tuple[str, ...]:
        """The nodes with which a session is up."""

    def why_down(self, node: str, peer: str) -> str:
        """Why there is no session between two nodes, in a few words; empty when it is up."""

    def heard(self, node: str, peer: str) -> tuple[IPv4Network, ...]:
        """The prefixes that ``node`` knows to be announced by ``peer``."""

    def routes(self, node: str) -> Iterator[BgpRoute]:
        """What the node originates, then each path that it has heard, the best of a prefix first.
        """
