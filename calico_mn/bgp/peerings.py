"""Who peers with whom: the mesh and the BGPPeers of a cluster, as confd works them out. Pure.

In go nodes, the mesh, the BGPConfiguration and BGPPeers; out come each node's peerings, both ends
of a session each with its own::

    mesh                    every two nodes without a routeReflectorClusterID    Mesh_a_b_c_d
    BGPPeer, no node        every node with the peer                             Global_a_b_c_d
    BGPPeer, node(Selector) these nodes with the peer                            Node_a_b_c_d
    the reverse             a peer that is a node, with all of those             Node_a_b_c_d

The last line is confd's second pass (``updatePeersV1`` in ``confd/pkg/backends/calico/client.go``);
the names and the rest are ``bird.cfg.template``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address

from calico_mn.model import BGPConfiguration, BGPPeer, Node
from calico_mn.selector import parse_selector

#: the TCP port of BGP (RFC 4271 §8)
BGP_PORT = 179


class PeerType(str, Enum):
    """Why two nodes peer, as ``calicoctl node status`` prints it."""

    MESH = "node-to-node mesh"
    GLOBAL = "global"
    NODE = "node specific"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Peering:
    """One end of a session.

    ``peer`` is the node that has the address, empty where none has it. ``port`` 0 is BGP's own.
    ``is_passive``: the peer connects. ``is_client``: routes are reflected to the peer.
    """

    kind: PeerType
    peer: str
    address: IPv4Address
    as_number: int
    port: int = 0
    is_passive: bool = False
    is_client: bool = False

    @property
    def name(self) -> str:
        """BIRD's name of the protocol, such as ``Mesh_192_168_57_32``."""
        prefix = {PeerType.MESH: "Mesh", PeerType.GLOBAL: "Global"}.get(self.kind, "Node")
        port = f"_port_{self.port}" if self.port and self.kind is not PeerType.MESH else ""
        return f"{prefix}_{str(self.address).replace('.', '_')}{port}"


def asn(node: Node, configuration: BGPConfiguration) -> int:
    """A node's AS number."""
    return node.as_number or configuration.as_number


def peerings(nodes: Iterable[Node], *, mesh: bool, configuration: BGPConfiguration,
             peers: Iterable[BGPPeer]) -> dict[str, tuple[Peering, ...]]:
    """Each node's peerings, in the order of bird.cfg: mesh, global ones, those of nodes.

    Callers share the result, which must not be changed.
    """
    return _peerings(tuple(nodes), mesh, configuration, tuple(peers))


@lru_cache(maxsize=4)
def _peerings(nodes: tuple[Node, ...], mesh: bool, configuration: BGPConfiguration,
              peers: tuple[BGPPeer, ...]) -> dict[str, tuple[Peering, ...]]:
    return _Confd(nodes, configuration).peerings(mesh, peers)


class _Confd:
    """What confd knows when it works out the peerings."""

    def __init__(self, nodes: Sequence[Node], configuration: BGPConfiguration) -> None:
        self._nodes, self._configuration = nodes, configuration
        self._by_address = {node.address.ip: node for node in nodes}
        # A node's own port is in the key of a peering only where one is configured.
        port = configuration.listen_port
        self._port = port if port != BGP_PORT else 0

    def peerings(self, mesh: bool, peers: Sequence[BGPPeer]) -> dict[str, tuple[Peering, ...]]:
        ends: dict[str, dict[str, Peering]] = {node.name: {} for node in self._nodes}

        def add(node: Node, peering: Peering) -> None:
            if peering.peer != node.name:
                ends[node.name].setdefault(peering.name, peering)

        if mesh:
            members = [node for node in self._nodes if not node.route_reflector]
            for node in members:
                for peer in members:
                    add(node, self._with_node(PeerType.MESH, node, peer))
        for item in peers:
            kind = PeerType.NODE if item.node or item.node_selector else PeerType.GLOBAL
            for node in self._of(item):
                for peering in self._peers(kind, node, item):
                    add(node, peering)
        for item in peers:
            for peer in self._of(item):
                for node in self._peer_nodes(item):
                    add(node, self._with_node(PeerType.NODE, node, peer))
        order = list(PeerType)
        return {name: tuple(sorted(own.values(), key=lambda end: order.index(end.kind)))
                for name, own in ends.items()}

    def _of(self, item: BGPPeer) -> list[Node]:
        if item.node:
            return [node for node in self._nodes if node.name == item.node]
        return self._selected(item.node_selector)

    def _selected(self, selector: str) -> list[Node]:
        matches = parse_selector(selector)
        return [node for node in self._nodes if matches(dict(node.labels))]

    def _peers(self, kind: PeerType, node: Node, item: BGPPeer) -> Iterable[Peering]:
        if item.peer_ip is None:
            return [self._with_node(kind, node, peer)
                    for peer in self._selected(item.peer_selector)]
        if item.peer_ip in self._by_address:
            return [self._with_node(kind, node, self._by_address[item.peer_ip], item)]
        number = item.as_number or self._configuration.as_number
        return [Peering(kind, "", item.peer_ip, number, item.peer_port)]

    def _peer_nodes(self, item: BGPPeer) -> list[Node]:
        """The nodes that are an item's peer; one that the item describes wrongly is none."""
        if item.peer_ip is None:
            return self._selected(item.peer_selector)
        node = self._by_address.get(item.peer_ip)
        return [node] if node and asn(node, self._configuration) == (
            item.as_number or self._configuration.as_number) and (
            item.peer_port in (0, self._configuration.listen_port)) else []

    def _with_node(self, kind: PeerType, node: Node, peer: Node, item: BGPPeer | None = None
                   ) -> Peering:
        """The side whose address is lower as text waits, so that there is one connection."""
        number = asn(peer, self._configuration)
        if item is not None:
            number = item.as_number or self._configuration.as_number
        return Peering(
            kind, peer.name, peer.address.ip, number, item.peer_port or self._port if item else (
                self._port), str(peer.address.ip) > str(node.address.ip),
            bool(node.route_reflector) and peer.route_reflector != node.route_reflector
            and number == asn(node, self._configuration))


@dataclass(frozen=True, slots=True)
class Graph:
    """Along which sessions prefixes travel: each node's peers, and whether it reflects to them.

    ``reflectors`` are the nodes with a cluster id, which the mesh leaves out.
    """

    peers: Mapping[str, Mapping[str, bool]]
    reflectors: frozenset[str] = frozenset()

    @classmethod
    def of(cls, ends: Mapping[str, Sequence[Peering]], nodes: Iterable[Node]) -> Graph:
        """The sessions that both ends have."""
        clients: dict[str, dict[str, bool]] = {name: {} for name in ends}
        for name, own in ends.items():
            for end in own:
                if end.peer:
                    clients[name][end.peer] = clients[name].get(end.peer, False) or end.is_client
        return cls({name: {peer: is_client for peer, is_client in own.items()
                           if name in clients.get(peer, ())} for name, own in clients.items()},
                   frozenset(node.name for node in nodes if node.route_reflector))

    def hearing(self, origin: str, is_up: Callable[[str, str], bool]) -> frozenset[str]:
        """The nodes that hear what ``origin`` announces; ``is_up`` tells whether a session is.

        A reflector passes on to its clients what it hears, and to all peers what it hears of a
        client (RFC 4456 §6); others pass on nothing inside an AS.
        """
        heard: set[str] = set()
        passing: set[tuple[str, bool]] = set()
        waiting = [(origin, True)]
        while waiting:
            node, to_all = waiting.pop()
            for peer, is_client in self.peers.get(node, {}).items():
                if peer == origin or not (to_all or is_client) or not is_up(node, peer):
                    continue
                heard.add(peer)
                step = (peer, self.peers[peer][node])
                if peer in self.reflectors and step not in passing:
                    passing.add(step)
                    waiting.append(step)
        return frozenset(heard)
