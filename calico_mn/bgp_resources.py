"""Calico's BGP resources as data: BGPConfiguration, BGPPeer and BGPFilter.

Frozen dataclasses only, as in :mod:`calico_mn.model`, of whose Topology they are parts. Names and
defaults are those of ``api/pkg/apis/projectcalico/v3`` (``bgpconfig.go``, ``bgppeer.go``,
``bgpfilter.go``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True, slots=True)
class BGPConfiguration:
    """``projectcalico.org/v3`` BGPConfiguration ``default``: what holds for all nodes' BIRD.

    ``restart_time`` is the graceful restart time of the mesh's sessions in seconds
    (``nodeMeshMaxRestartTime``), 0 for BIRD's own. ``ignored_interfaces`` are devices, or
    patterns with ``*``, whose networks BIRD does not learn. ``program_cluster_routes`` says of
    which pools BIRD writes the routes between nodes, empty for the release's default.
    """

    as_number: int = 64512
    listen_port: int = 179
    restart_time: int = 0
    ignored_interfaces: tuple[str, ...] = ()
    program_cluster_routes: str = ""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a BGPPeer says of its sessions beside who has them.

    ``filters`` are names of BGPFilters, in the order in which they are asked. Times are in seconds,
    and 0 is BIRD's own. ``ttl_security`` is the number of
    hops to the peer, 0 without RFC 5082. ``next_hop_mode`` is Auto, Self or Keep;
    ``keeps_next_hop`` is its older form, for sessions between two ASes. ``allowed_local_as`` is how
    often the own AS may be in the path of a route.
    """

    filters: tuple[str, ...] = ()
    restart_time: int = 0
    keepalive_time: int = 0
    ttl_security: int = 0
    next_hop_mode: str = "Auto"
    keeps_next_hop: bool = False
    allowed_local_as: int = 0


@dataclass(frozen=True, slots=True)
class BGPPeer:
    """``projectcalico.org/v3`` BGPPeer: sessions of some nodes with an address, or with nodes.

    ``node`` or ``node_selector`` say whose sessions they are, neither means every node's. The peer
    is ``peer_ip``, or the nodes that ``peer_selector`` selects. ``peer_port`` 0 is the listen port
    of a node and else 179, ``as_number`` 0 that of the BGPConfiguration. Without ``is_reversed``
    a peer that is a node does not get the same session from its side.
    """

    name: str
    node: str = ""
    node_selector: str = ""
    peer_ip: IPv4Address | None = None
    peer_port: int = 0
    peer_selector: str = ""
    as_number: int = 0
    options: SessionOptions = field(default_factory=SessionOptions)
    is_reversed: bool = True


@dataclass(frozen=True, slots=True)
class BGPFilterRule:
    """One rule of a BGPFilter: what a route must be like, and whether it passes then.

    ``operator`` is Equal, NotEqual, In or NotIn, and compares the route's prefix with ``cidr``;
    without a ``cidr`` every prefix is alike. ``lengths`` are the least and the greatest prefix
    length, where given, inside ``cidr``. ``is_remote``: only routes that a peer announced
    (``source: RemotePeers``). ``interface`` is the route's device, or a pattern with ``*``;
    ``peer_type`` is eBGP or iBGP. What is empty does not count.
    """

    accepts: bool
    cidr: IPv4Network | None = None
    operator: str = ""
    lengths: tuple[int, int] | None = None
    is_remote: bool = False
    interface: str = ""
    peer_type: str = ""


@dataclass(frozen=True, slots=True)
class BGPFilter:
    """``projectcalico.org/v3`` BGPFilter: rules for the IPv4 routes to and from a peer.

    The first rule that fits decides. Where none does, what follows is asked: the next filter, and
    at last Calico's own rules, which accept every import.
    """

    name: str
    exports: tuple[BGPFilterRule, ...] = ()
    imports: tuple[BGPFilterRule, ...] = ()
