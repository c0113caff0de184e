"""Who peers with whom: the mesh and the BGPPeers of a cluster, as confd works them out. Pure.

In go nodes, the mesh, the BGPConfiguration, BGPPeers and the underlay's routers; out come the
peerings of each node and router, both ends of a session each with its own::

    mesh                    every two nodes without a routeReflectorClusterID    Mesh_a_b_c_d
    BGPPeer, no node        every node with the peer                             Global_a_b_c_d
    BGPPeer, node(Selector) these nodes with the peer                            Node_a_b_c_d
    the reverse             a peer that is a node or router, with all of those   Node_a_b_c_d
    routers                 every two with BGP that share a subnet               Router_a_b_c_d

The reverse is confd's second pass (``updatePeersV1`` in ``confd/pkg/backends/calico/client.go``);
the names and the rest are ``bird.cfg.template``'s. A router answers each node that is configured to
peer with it, as a top-of-rack router does with a range of neighbours, and reflects to all peers of
its own AS: nodes of its rack as well as routers, which seldom have a session each with each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address

from calico_mn.bgp_resources import BGPConfiguration, BGPPeer, SessionOptions
from calico_mn.model import Node, Router
from calico_mn.selector import parse_selector

#: the TCP port of BGP (RFC 4271 §8)
BGP_PORT = 179

_DEFAULTS = SessionOptions()


class PeerType(str, Enum):
    """Why two speakers peer, as ``calicoctl node status`` prints it; ROUTER is ours."""

    MESH = "node-to-node mesh"
    GLOBAL = "global"
    NODE = "node specific"
    ROUTER = "router"

    def __str__(self) -> str:
        return self.value


_PREFIXES = {PeerType.MESH: "Mesh", PeerType.GLOBAL: "Global", PeerType.NODE: "Node",
             PeerType.ROUTER: "Router"}


@dataclass(frozen=True, slots=True)
class Peering:
    """One end of a session.

    ``peer`` is the node or router that has the address, empty where none has it. ``port`` 0 is
    BGP's own. ``is_passive``: the peer connects. ``is_client``: routes are reflected to the peer.
    ``local`` is a router's own address in the session, None for a node, which has only one.
    ``options`` are those of the BGPPeer that makes it.
    """

    kind: PeerType
    peer: str
    address: IPv4Address
    as_number: int
    port: int = 0
    is_passive: bool = False
    is_client: bool = False
    local: IPv4Address | None = None
    options: SessionOptions = _DEFAULTS

    @property
    def name(self) -> str:
        """BIRD's name of the protocol, such as ``Mesh_192_168_57_32``."""
        prefix = _PREFIXES[self.kind]
        port = f"_port_{self.port}" if self.port and self.kind is not PeerType.MESH else ""
        return f"{prefix}_{str(self.address).replace('.', '_')}{port}"


def asn(node: Node, configuration: BGPConfiguration) -> int:
    """A node's AS number."""
    return node.as_number or configuration.as_number


def peerings(nodes: Iterable[Node], *, mesh: bool, configuration: BGPConfiguration,
             peers: Iterable[BGPPeer], routers: Iterable[Router] = ()
             ) -> dict[str, tuple[Peering, ...]]:
    """The peerings of each node and of each router with BGP, by name.

    They are in the order of bird.cfg: mesh, global ones, those of nodes, those among routers.
    Callers share the result, which must not be changed.
    """
    return _peerings(tuple(nodes), mesh, configuration, tuple(peers), tuple(routers))


@lru_cache(maxsize=4)
def _peerings(nodes: tuple[Node, ...], mesh: bool, configuration: BGPConfiguration,
              peers: tuple[BGPPeer, ...], routers: tuple[Router, ...]
              ) -> dict[str, tuple[Peering, ...]]:
    return _Confd(nodes, configuration, routers).peerings(mesh, peers)


class _Confd:
    """What confd knows when it works out the peerings."""

    def __init__(self, nodes: Sequence[Node], configuration: BGPConfiguration,
                 routers: Sequence[Router]) -> None:
        self._nodes, self._configuration = nodes, configuration
        self._speaking = [router for router in routers if router.as_number]
        self._by_address = {node.address.ip: node for node in nodes}
        self._routers = {interface.address: router for router in routers
                         for interface in router.interfaces}
        # A node's own port is in the key of a peering only where one is configured.
        port = configuration.listen_port
        self._port = port if port != BGP_PORT else 0

    def peerings(self, mesh: bool, peers: Sequence[BGPPeer]) -> dict[str, tuple[Peering, ...]]:
        ends: dict[str, dict[str, Peering]] = {name: {} for name in (
            *(node.name for node in self._nodes), *(router.name for router in self._speaking))}

        def add(speaker: Node | Router, peering: Peering) -> None:
            own = ends[speaker.name]
            if peering.peer != speaker.name and (
                    peering.kind is not PeerType.NODE
                    or replace(peering, kind=PeerType.GLOBAL).name not in own):
                own.setdefault(peering.name, peering)

        if mesh:
            members = [node for node in self._nodes if not node.route_reflector]
            options = replace(_DEFAULTS, restart_time=self._configuration.restart_time)
            for node in members:
                for peer in members:
                    add(node, self._with_node(PeerType.MESH, node, peer, options))
        for kind in (PeerType.GLOBAL, PeerType.NODE):
            for item in peers:
                if kind is (PeerType.NODE if item.node or item.node_selector else PeerType.GLOBAL):
                    for node in self._of(item):
                        for peering in self._peers(kind, node, item):
                            add(node, peering)
        for item in peers:
            for peer in self._of(item):
                if item.is_reversed:
                    for node in self._peer_nodes(item):
                        add(node, self._with_node(PeerType.NODE, node, peer, _of_nodes(item)))
                router = self._routers.get(item.peer_ip) if item.peer_ip else None
                if item.peer_ip and router and router.as_number:
                    add(router, self._of_router(router, item, peer))
        for router in self._speaking:
            for peering in self._with_routers(router):
                add(router, peering)
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
            return [self._with_node(kind, node, peer, _of_nodes(item))
                    for peer in self._selected(item.peer_selector)]
        if item.peer_ip in self._by_address:
            return [self._with_node(kind, node, self._by_address[item.peer_ip], item.options, item)]
        number = item.as_number or self._configuration.as_number
        router = self._routers.get(item.peer_ip)
        return [Peering(kind, router.name if router else "", item.peer_ip, number, item.peer_port,
                        is_client=bool(node.route_reflector)
                        and number == asn(node, self._configuration), options=item.options)]

    def _of_router(self, router: Router, item: BGPPeer, node: Node) -> Peering:
        """The node connects, so that there is one connection; the router knows its ttlSecurity."""
        number = asn(node, self._configuration)
        return Peering(PeerType.NODE, node.name, node.address.ip, number, self._port,
                       is_passive=True, is_client=number == router.as_number,
                       local=item.peer_ip,
                       options=SessionOptions(ttl_security=item.options.ttl_security))

    def _with_routers(self, router: Router) -> Iterable[Peering]:
        """One peering for each subnet that two routers share."""
        for own in router.interfaces:
            for peer in self._speaking:
                for interface in peer.interfaces:
                    if interface.subnet == own.subnet:
                        yield Peering(PeerType.ROUTER, peer.name, interface.address,
                                      peer.as_number, 0, str(interface.address) > str(own.address),
                                      peer.as_number == router.as_number, own.address)

    def _peer_nodes(self, item: BGPPeer) -> list[Node]:
        """The nodes that are an item's peer; one that the item describes wrongly is none."""
        if item.peer_ip is None:
            return self._selected(item.peer_selector)
        node = self._by_address.get(item.peer_ip)
        return [node] if node and asn(node, self._configuration) == (
            item.as_number or self._configuration.as_number) and (
            item.peer_port in (0, self._configuration.listen_port)) else []

    def _with_node(self, kind: PeerType, node: Node, peer: Node, options: SessionOptions,
                   item: BGPPeer | None = None) -> Peering:
        """The side whose address is lower as text waits, so that there is one connection."""
        number = asn(peer, self._configuration)
        if item is not None:
            number = item.as_number or self._configuration.as_number
        return Peering(
            kind, peer.name, peer.address.ip, number, item.peer_port or self._port if item else (
                self._port), str(peer.address.ip) > str(node.address.ip),
            bool(node.route_reflector) and peer.route_reflector != node.route_reflector
            and number == asn(node, self._configuration), options=options)


def next_hop_option(options: SessionOptions, is_external: bool) -> str:
    """What follows ``next hop`` in BIRD's configuration of a node's session; empty for nothing."""
    if options.next_hop_mode == "Self":
        return "self"
    return "keep" if options.next_hop_mode == "Keep" or (
        options.keeps_next_hop and is_external) else ""


def _of_nodes(item: BGPPeer) -> SessionOptions:
    """The options that a session has whose peer is not named by its address."""
    return replace(item.options, keeps_next_hop=False, allowed_local_as=0)
