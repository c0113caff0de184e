"""The routes between nodes: who writes them, Felix or BIRD, and what they are. Pure.

From a topology follows of which pools each of the two writes routes (:class:`ClusterRoutes`)::

    FelixConfiguration spec.programClusterRoutes --> felix     VXLAN is always Felix's
    BGPConfiguration   spec.programClusterRoutes --> bird

Nothing keeps the two fields from naming the same pools, or from leaving pools out; what comes of it
is said in :meth:`ClusterRoutes.warnings`. From Calico's design/cluster-route-programming/DESIGN.md,
felix/config/config_params.go and confd/pkg/backends/calico/bgp_processor.go.

The routes are worked out once for all nodes that agree (:class:`RemoteRoutes`). In go a table (each
prefix with the nodes that have it), the pools with their modes as a node sees them and the underlay
as it sees it; out comes a tuple of routes. Two nodes of a subnet differ in nothing of that, and so
they get the same tuple: of 39,800 routes of a cluster of 200 nodes in two subnets only 400 are ever
made::

    BIRD's table, which BGP brought       --> bird_route
    Felix's, of the datastore             --> felix_route
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from calico_mn import profile as profiles
from calico_mn.calico.encapsulation import (
    DEFAULT,
    ENCAPSULATIONS,
    NONE,
    PROGRAMMED,
    UPLINK,
    VXLAN,
    Encapsulation,
    Peer,
    Vtep,
    format_prefix,
)
from calico_mn.calico.pools import OUTSIDE_POOLS, PoolMode
from calico_mn.errors import ClusterError
from calico_mn.model import ClusterInformation, EncapsulationMode, IPPool, Topology
from calico_mn.profile import Profile
from calico_mn.state import PROTO_BIRD, PROTO_FELIX, NextHop, Route
from calico_mn.text import join_some

#: of two writers, or none
_REMEDY = "without the two fields one of them does"
_FELIX, _BIRD = (f"{kind} spec.programClusterRoutes" for kind in (
    "FelixConfiguration", "BGPConfiguration"))


@dataclass(frozen=True, slots=True)
class ClusterRoutes:
    """The routes of one cluster: ``felix`` and ``bird`` are the encapsulations of their pools.

    ``fields`` are the two settings in force, Felix's first; ``ignored`` names those that this
    release does not know. ``mtus`` are the configured MTUs of the tunnels, 0 for the automatic one.
    """

    profile: Profile
    felix: frozenset[Encapsulation]
    bird: frozenset[Encapsulation]
    fields: tuple[str, str]
    ignored: tuple[str, ...]
    mtus: tuple[tuple[Encapsulation, int], ...]

    @classmethod
    def of(cls, topology: Topology) -> ClusterRoutes:
        """The routes of a topology; a value that its release does not know counts as none."""
        profile = topology.profile
        given = (topology.felix.program_cluster_routes, topology.bgp.program_cluster_routes)
        felix, bird = (value if value in profile.values else default for value, default in zip(
            given, (profile.felix, profile.bird), strict=True))
        return cls(profile, frozenset((*PROGRAMMED[felix], VXLAN)), frozenset(PROGRAMMED[bird]),
                   (felix, bird), tuple(
                       f"{name} {value}" for name, value in zip((_FELIX, _BIRD), given, strict=True)
                       if value and value not in profile.values),
                   tuple((item, item.configured_mtu(topology)) for item in ENCAPSULATIONS))

    def __str__(self) -> str:
        """The release and who writes routes, as reports and ``status`` say it."""
        tunnelled, plain = (self._writers(item) for item in PROGRAMMED[profiles.ENABLED])
        who = (f"{tunnelled} programs routes between nodes" if tunnelled == plain else
               f"{tunnelled} programs routes of {DEFAULT} pools, {plain} those without"
               " encapsulation")
        return f"Calico {self.profile.releases} ({who})"

    def _writers(self, encapsulation: Encapsulation) -> str:
        return " and ".join(name for name, mine in (("Felix", self.felix), ("BIRD", self.bird))
                            if encapsulation in mine) or "neither Felix nor BIRD"

    def by_felix(self, pool: PoolMode) -> bool:
        """Whether Felix writes the routes of such a pool."""
        return pool.in_force in self.felix and pool is not OUTSIDE_POOLS

    def by_bird(self, pool: PoolMode) -> bool:
        """Whether BIRD writes the routes of such a pool (``calico_kernel_programming``)."""
        return pool.in_force in self.bird or pool is OUTSIDE_POOLS

    @property
    def contested(self) -> bool:
        """Whether both write routes of the same pools."""
        return bool(self.felix & self.bird)

    def mtu(self, encapsulation: Encapsulation, uplink_mtu: int) -> int:
        """The MTU in bytes that Felix gives to routes over the tunnel, 0 for none."""
        if encapsulation is NONE or (encapsulation is VXLAN and not self.profile.vxlan_route_mtu):
            return 0
        return encapsulation.mtu(uplink_mtu, dict(self.mtus)[encapsulation])

    def block_route(self, block: IPv4Network, pool: PoolMode) -> Route | None:
        """The blackhole that catches the unused addresses of a node's own block.

        From ``bird_aggr.cfg.template``, and felix/dataplane/linux/route_mgr.go. A block of a single
        address gets none: it would hide the pod itself. Where both write it Felix's stays: Felix
        replaces what is there, and BIRD does not.
        """
        if block.prefixlen == 32 or self.neglected(pool):
            return None
        return Route(str(block), protocol=PROTO_FELIX if self.by_felix(pool) else PROTO_BIRD,
                     kind="blackhole")

    def neglected(self, pool: PoolMode) -> str:
        """Why nothing writes routes of a pool; empty if something does."""
        if self.by_felix(pool) or self.by_bird(pool):
            return ""
        return (f"neither Felix nor BIRD writes routes of such a pool: {_FELIX} is"
                f" {self.fields[0]} and {_BIRD} is {self.fields[1]}; {_REMEDY}")

    def warnings(self, pools: Iterable[tuple[IPPool, PoolMode]]) -> tuple[str, ...]:
        """Sentences on fields without effect, and on pools with two writers or with none."""
        return (*(f"{field} has no effect: Calico {self.profile.releases} does not know it."
                  for field in self.ignored), *self.disputes(pools))

    def disputes(self, pools: Iterable[tuple[IPPool, PoolMode]]) -> tuple[str, ...]:
        """Sentences on those pools that have two writers, or none."""
        sentences, modes = [], list(pools)
        for is_both in (True, False):
            names = [pool.name for pool, mode in modes
                     if is_both == self.by_felix(mode) == self.by_bird(mode)]
            if names:
                what = ("both write its routes, each its own" if is_both else
                        "neither writes its routes, so that pods reach none on other nodes")
                what += f"; {_REMEDY}"
                sentences.append(
                    f"IPPool {join_some(names, 5)}: with {_FELIX} {self.fields[0]} and"
                    f" {_BIRD} {self.fields[1]} {what}.")
        return tuple(sentences)


def as_of(topology: Topology, name: str) -> Topology:
    """The topology under the release of a profile, itself if ``name`` is empty.

    Raises ClusterError for a name that no profile has.
    """
    if not name:
        return topology
    if name not in profiles.NAMES:
        raise ClusterError(f"there is no version profile {name!r}; profiles:"
                           f" {', '.join(profiles.NAMES)}")
    return replace(topology, information=ClusterInformation(f"{name}.0"))


#: each prefix with its equal next hops, or with the node that has it
Table = Mapping[IPv4Network, tuple[IPv4Address, ...] | Peer]
#: the pools' networks with the modes in which a node sees them
Modes = Sequence[tuple[IPv4Network, PoolMode]]


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """How a node sees the underlay.

    ``own_subnet`` is the network of its Node resource (``network_v4`` in confd), which
    CrossSubnet compares with; ``connected`` is the subnet that its uplink is really in.
    ``gateway`` is None on a node without a default route; ``mtu`` is the uplink's, in bytes.
    """

    own_subnet: IPv4Network
    connected: IPv4Network
    gateway: IPv4Address | None
    mtu: int = 1500

    def gateway_to(self, address: IPv4Address) -> IPv4Address | None:
        """The router, or ``address`` itself if it is a neighbour; None if there is no route."""
        return address if address in self.connected else self.gateway


@dataclass(frozen=True, slots=True)
class Datastore:
    """What every Felix knows of every node: its prefixes, and its VTEP by the node's name.

    From felix/calc/l3_route_resolver.go and vxlan_resolver.go.
    """

    table: Table
    vteps: Mapping[str, Vtep]

    @classmethod
    def of(cls, prefixes: Mapping[Peer, Sequence[IPv4Network]]) -> Datastore:
        """The datastore for these nodes, with what each of them has."""
        return cls(
            {prefix: peer for peer, owned in prefixes.items() for prefix in owned},
            {peer.name: vtep for peer in prefixes if (vtep := VXLAN.vtep(peer))})


NO_DATASTORE = Datastore({}, {})


def is_tunnelled(mode: EncapsulationMode, node: NodeNetwork, address: IPv4Address) -> bool:
    """Whether traffic to the node with ``address`` gets an outer header.

    CrossSubnet asks whether the *local* node's prefix contains the remote address; the remote
    prefix plays no part (felix/calc/l3_route_resolver.go does the same), so a node whose
    address is a /32 tunnels to every other node.
    """
    if mode is EncapsulationMode.CROSS_SUBNET:
        return address not in node.own_subnet
    return mode is EncapsulationMode.ALWAYS


def bird_route(prefix: str, peer: Peer, pool: PoolMode, node: NodeNetwork, metric: int = 0
               ) -> Route:
    """BIRD's route to a prefix of another node, ``prefix`` as iproute2 prints it.

    From the filter ``calico_kernel_programming`` (confd's ``bird_ipam.cfg.template``). A next hop
    that the node cannot resolve makes the prefix unreachable in every mode (bird's recursive
    gateway).
    """
    gateway = node.gateway_to(peer.address)
    if gateway is None:
        return Route(prefix, protocol=PROTO_BIRD, kind="unreachable", metric=metric)
    if is_tunnelled(pool.mode, node, peer.address):
        return Route(prefix, str(peer.address), pool.in_force.device, PROTO_BIRD, onlink=True,
                     metric=metric)
    return Route(prefix, str(gateway), UPLINK, PROTO_BIRD, metric=metric)


def felix_route(prefix: str, peer: Peer, pool: PoolMode, node: NodeNetwork, mtu: int = 0
                ) -> Route | None:
    """Felix's route to a prefix of another node; ``mtu`` is that of routes through the tunnel.

    From felix/dataplane/linux/route_mgr.go, ipip_mgr.go, vxlan_mgr.go and noencap_mgr.go. It takes
    a node in its own subnet for a neighbour. None where there is no route: the peer has no VTEP
    yet, or is in another subnet and the pool without encapsulation.
    """
    if is_tunnelled(pool.mode, node, peer.address):
        gateway = pool.in_force.gateway(peer)
        return None if gateway is None else Route(
            prefix, str(gateway), pool.in_force.device, pool.in_force.felix_protocol, onlink=True,
            mtu=mtu)
    if peer.address not in node.own_subnet:
        return None
    return Route(prefix, str(peer.address), UPLINK, PROTO_FELIX, onlink=True)


class RemoteRoutes:
    """Remembers one writer's routes of the newest table, by what else they depend on.

    An equal route of the table before is taken over, so that a route that did not change is the
    same object: what follows from it (its message, its line in a log) need not be compared or
    worked out again. With ``is_felix`` the writer is Felix, else BIRD.
    """

    def __init__(self, *, is_felix: bool = False) -> None:
        self._is_felix = is_felix
        self._table: Table = {}
        self._cluster: ClusterRoutes | None = None
        self._routes: dict[tuple[NodeNetwork, Modes, bool], tuple[Route, ...]] = {}
        self._shared: dict[Route, Route] = {}
        self._shared_before: dict[Route, Route] = {}

    def of(self, table: Table, modes: Modes, network: NodeNetwork, cluster: ClusterRoutes, *,
           has_vtep: bool = True) -> tuple[Route, ...]:
        """The routes to all prefixes of ``table``, the node's own ones among them.

        ``table`` must not change once it was passed here. ``modes`` must be hashable. A node that
        has no VTEP has no routes to prefixes of VXLAN pools.
        """
        if table is not self._table or cluster is not self._cluster:
            self._table, self._cluster, self._routes = table, cluster, {}
            self._shared_before, self._shared = self._shared, {}
        key = (network, modes, has_vtep)
        routes = self._routes.get(key)
        if routes is None:
            routes = self._routes[key] = tuple(
                self._share(route) for prefix, next_hop in table.items()
                if ((mode := mode_in(modes, prefix)).in_force is not VXLAN or has_vtep)
                and (route := self._route(prefix, next_hop, mode, network, cluster)) is not None)
        return routes

    def _share(self, route: Route) -> Route:
        return self._shared.setdefault(route, self._shared_before.get(route, route))

    def _route(self, prefix: IPv4Network, next_hops: tuple[IPv4Address, ...] | Peer,
               mode: PoolMode, network: NodeNetwork, cluster: ClusterRoutes) -> Route | None:
        if not (cluster.by_felix(mode) if self._is_felix else cluster.by_bird(mode)):
            return None
        text = format_prefix(prefix)
        peers = (next_hops,) if isinstance(next_hops, Peer) else map(Peer, next_hops)
        if self._is_felix:
            mtu = cluster.mtu(mode.in_force, network.mtu)
            return merged([felix_route(text, peer, mode, network, mtu) for peer in peers])
        return merged([bird_route(text, peer, mode, network, cluster.profile.metric)
                       for peer in peers])


def merged(routes: Iterable[Route | None]) -> Route | None:
    """One route over all next hops of several to one prefix, as BIRD's ``merge paths`` makes it.

    Next hops that are one and the same for the kernel, such as a router, count once.
    """
    ways = [route for route in dict.fromkeys(routes) if route is not None]
    if len(ways) < 2:
        return ways[0] if ways else None
    return replace(ways[0], via="", device="", onlink=False, next_hops=tuple(
        NextHop(way.via, way.device, onlink=way.onlink) for way in ways))


def mode_in(modes: Modes, prefix: IPv4Network) -> PoolMode:
    """The mode of the pool that a prefix lies in, Never outside of all pools."""
    return next((mode for cidr, mode in modes if prefix.network_address in cidr), OUTSIDE_POOLS)
