"""The BGP speakers of a cluster: nodes, and routers with BGP. Pure.

In go the cluster and its resources; out come who peers with whom, what each speaker announces and
is configured with, what the route engine has to know of it, and the states that follow::

    Cluster --> peerings_of --> peer_graph --> follow, announced --> RouteEngine
                     |                                                   |
                     |                       node_state, router_states <-+  tables
                     +--> speakers --> BIRD's configuration (bgp/bird.py)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from calico_mn.bgp import graph
from calico_mn.bgp.bird import BirdPool, RouterSpeaker, Speaker
from calico_mn.bgp.engine import RouteEngine
from calico_mn.bgp.peerings import Peering, asn, peerings
from calico_mn.bgp.timers import CALICO, Timers
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import ENCAPSULATIONS, UPLINK, Encapsulation
from calico_mn.calico.remote_routes import is_tunnelled, mode_in
from calico_mn.calico.underlay import Unreachable, with_links
from calico_mn.model import EncapsulationMode
from calico_mn.state import PROTO_BIRD, Namespace
from calico_mn.text import join, join_some

#: of what BIRD sends in a multihop session without ttlSecurity (bgp_open() in its proto/bgp/bgp.c)
_TTL = 64


def follow(engine: RouteEngine, cluster: Cluster, before: Cluster | None = None) -> None:
    """Let the engine speak for a cluster's nodes and routers, after it spoke for ``before``.

    Where calico-node does not start, no speaker does.
    """
    old = speaker_addresses(before) if before else {}
    new = speaker_addresses(cluster)
    moved = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    for name in moved:
        if name in old:
            engine.remove_node(name)
    for name in moved:
        if name in new:
            engine.add_node(name, new[name])
    unstarted = cluster.admission.unstarted
    for name in unstarted:
        engine.kill(name)
    for name in before.admission.unstarted - unstarted if before else ():
        if name in new and name not in moved:
            engine.restart(name)
    cluster.probed = {pair: why for pair, why in cluster.probed.items()
                      if not pair.intersection(moved)}
    set_sessions(cluster, engine)
    engine.announce({name: exported(cluster, name) for name in cluster.nodes})


def forget_changed_peers(cluster: Cluster, before: Cluster) -> None:
    """Forget why sessions were down whose BGPPeers are others than in the cluster ``before``.

    BIRDs say that of a session as it is configured; what connections tell holds for any.
    """
    if cluster.probed:
        old, new = ({(name, end) for name, ends in peerings_of(each, with_mesh=False).items()
                     for end in ends} for each in (before, cluster))
        changed = {frozenset((name, end.peer)) for name, end in old ^ new}
        cluster.probed = {pair: why for pair, why in cluster.probed.items()
                          if pair not in changed}


def set_sessions(cluster: Cluster, engine: RouteEngine) -> frozenset[str]:
    """Let the engine know where sessions cannot be; the nodes whose learned prefixes changed."""
    return engine.set_sessions(peer_graph(cluster), unreachable(cluster))


def announced(cluster: Cluster, engine: RouteEngine, names: Iterable[str],
              before: Mapping[str, Namespace]) -> list[Namespace]:
    """The states after these nodes announced what they have: theirs, and of all that hear it.

    ``before`` has the states until now.
    """
    announcing = list(names)
    changed = set_sessions(cluster, engine) | engine.announce(
        {name: exported(cluster, name) for name in announcing})
    concerned = dict.fromkeys((*announcing, *sorted(changed & cluster.nodes.keys()),
                               *cluster.felix_changed()))
    return [node_state(cluster, engine, name, before.get(name)) for name in concerned]


def node_state(cluster: Cluster, engine: RouteEngine, name: str, before: Namespace | None
               ) -> Namespace:
    """A node's wanted state. With its speaker dead, the routes between nodes stay.

    Those over a tunnel go when Felix takes the tunnel's address: with a device's last address the
    kernel removes the routes over it (fib_disable_ip in net/ipv4/fib_frontend.c).
    """
    state = with_links(cluster.node_state(name, engine.table(name)), cluster.links)
    if before is None or engine.is_alive(name):
        return state
    addresses = cluster.tunnel_addresses(name)
    unaddressed = {e.device for e in ENCAPSULATIONS if e not in addresses}
    routes = (*(r for r in state.routes if r.protocol != PROTO_BIRD),
              *(r for r in before.routes if r.protocol == PROTO_BIRD
                and not r.devices & unaddressed))
    return replace(state, routes=routes)


def router_states(cluster: Cluster, engine: RouteEngine) -> list[Namespace]:
    """The routers' states; those with BGP have the routes that they learned."""
    return [with_links(cluster.router_state(
        router, engine.table(router.name) if router.as_number else {}), cluster.links)
            for router in cluster.topology.underlay.routers]


def unreachable(cluster: Cluster) -> Unreachable:
    """The pairs of speakers without a session, with why: no TCP, or ttlSecurity drops its packets.

    With ttlSecurity BIRD sends with TTL 255, without it with 64. It asks the kernel to drop
    what comes from farther than so many hops (RFC 5082; IP_MINTTL in its sysdep/linux/sysio.h).
    """
    pairs = cluster.unreachable()
    if any(peer.options.ttl_security for peer in cluster.topology.bgp_peers):
        mesh, ends = peer_graph(cluster), peerings_of(cluster, with_mesh=False)
        for name, end in ((name, end) for name, own in ends.items() for end in own):
            allowed = end.options.ttl_security
            back = next((back for back in ends.get(end.peer, ()) if back.peer == name), None)
            if not allowed or back is None or end.peer in mesh.mesh_of(name):
                continue
            hops = _hops(cluster, name, end)
            if hops > allowed:
                pairs[frozenset((name, end.peer))] = (
                    f"ttlSecurity {allowed} drops what comes from {hops} hops away: set the"
                    f" BGPPeer's ttlSecurity to {hops}")
            elif not back.options.ttl_security and hops + 255 - _TTL > allowed:
                pairs[frozenset((name, end.peer))] = (
                    f"{name} has ttlSecurity {allowed}, and drops what {end.peer}, without"
                    f" ttlSecurity, sends with TTL {_TTL}: give both ends' BGPPeers the same")
    return pairs


def neighbour_entries(cluster: Cluster) -> int:
    """The neighbour entries that BGP's sessions take on nodes and routers.

    One for each peer in a speaker's subnet; with others one for its gateway, which has one for it.
    """
    fabric, entries = cluster.fabric, set[tuple[str, IPv4Address]]()
    routers = {interface.address: router.name for router in fabric.routers
               for interface in router.interfaces}
    for name, own in peerings_of(cluster).items():
        for end in own:
            local = end.local or cluster.nodes[name].address.ip
            subnet = fabric.subnet_at(local)
            if end.address in subnet.cidr:
                entries.add((name, end.address))
            elif gateway := fabric.gateway(subnet):
                entries |= {(name, gateway), (routers[gateway], local)}
    return len(entries)


def _hops(cluster: Cluster, name: str, end: Peering) -> int:
    """How many subnets the packets of a session cross; a router is as near as its interfaces."""
    fabric = cluster.fabric
    own, other = (
        [cluster.nodes[place].address.ip] if place in cluster.nodes else [
            interface.address for interface in fabric.speaking[place].interfaces]
        for place in (name, end.peer))
    return min(len(fabric.crossed(fabric.subnet_at(source), fabric.subnet_at(destination)))
               for source in own for destination in other)


def speaker_addresses(cluster: Cluster) -> dict[str, IPv4Address]:
    """The speakers, each with its router id: a node's address, a router's first one."""
    return {**{name: node.address.ip for name, node in cluster.nodes.items()},
            **{name: router.interfaces[0].address
               for name, router in cluster.fabric.speaking.items()}}


def exported(cluster: Cluster, name: str) -> tuple[IPv4Network, ...]:
    """What a node announces: what it has, without pools that are not exported."""
    withheld = [pool.cidr for pool in cluster.topology.pools if not pool.is_exported]
    return tuple(prefix for prefix in cluster.originated(name)
                 if not any(prefix.subnet_of(cidr) for cidr in withheld))


def peerings_of(cluster: Cluster, *, with_mesh: bool = True) -> dict[str, tuple[Peering, ...]]:
    """The BGP peerings of each node and of each router with BGP."""
    topology = cluster.topology
    return peerings(cluster.nodes.values(), mesh=topology.mesh and with_mesh,
                    configuration=topology.bgp, peers=topology.bgp_peers,
                    routers=topology.underlay.routers)


def peer_graph(cluster: Cluster) -> graph.Graph:
    """Who peers with whom, and what each end of a session does."""
    topology, nodes = cluster.topology, cluster.nodes.values()
    pools = tuple(pool.cidr for pool in topology.pools if pool.is_exported)
    metric = cluster.routes.profile.metric
    local_pref = graph.HIGHEST_PREF - metric if metric else graph.LOCAL_PREF
    speaking = {}
    for node in nodes:
        network = cluster.fabric.node_network(node)
        speaking[node.name] = graph.Speaker(
            node.address.ip, asn(node, topology.bgp), node.route_reflector, (network.connected,),
            network.gateway is not None, pools,
            _local(cluster, node.name) if topology.bgp_filters else (), local_pref)
    for name, router in cluster.fabric.speaking.items():
        identity = router.interfaces[0].address
        speaking[name] = graph.Speaker(identity, router.as_number, str(identity),
                                       cluster.fabric.networks(router), local_pref=local_pref)
    return graph.Graph.of(
        speaking, peerings_of(cluster, with_mesh=False),
        [node.name for node in nodes if topology.mesh and not node.route_reflector],
        {item.name: item for item in topology.bgp_filters})


def _local(cluster: Cluster, name: str) -> tuple[tuple[IPv4Network, str], ...]:
    """What a node has: addresses with their devices, and what it would announce of any pool."""
    return (*((IPv4Network(address), encapsulation.device)
              for encapsulation, address in cluster.tunnel_addresses(name).items()),
            *((IPv4Network(pod.address), pod.device) for pod in cluster.pods_on(name)),
            *((block, "") for block in cluster.ipam.blocks(name) if block.prefixlen < 32))


def speakers(cluster: Cluster, timers: Timers = CALICO
             ) -> dict[str, Speaker | RouterSpeaker]:
    """What BIRD is configured from, on nodes on which calico-node runs and routers with BGP."""
    ends = peerings_of(cluster)
    return {**{name: _speaker(cluster, name, ends[name], timers) for name in cluster.nodes
               if name not in cluster.admission.unstarted},
            **{name: RouterSpeaker(name, router.interfaces[0].address, router.as_number,
                                   cluster.fabric.networks(router), ends[name], timers)
               for name, router in cluster.fabric.speaking.items()}}


def _speaker(cluster: Cluster, name: str, peerings: tuple[Peering, ...], timers: Timers
             ) -> Speaker:
    node, bgp = cluster.nodes[name], cluster.topology.bgp
    pools = []
    for pool in cluster.topology.pools:
        mode = cluster.mode(name, pool)
        tunnel = mode.in_force.device if mode.is_on and cluster.has_tunnels else ""
        pools.append(BirdPool(pool.cidr, tunnel, mode.mode is EncapsulationMode.CROSS_SUBNET,
                              not cluster.routes.by_bird(mode), pool.is_exported))
    named = {filter_ for peering in peerings for filter_ in peering.options.filters}
    return Speaker(name, node.address, asn(node, bgp), bgp.listen_port,
                   tuple(cluster.ipam.blocks(name)), tuple(pools), peerings, node.route_reflector,
                   timers,
                   tuple(item for item in cluster.topology.bgp_filters if item.name in named),
                   bgp.ignored_interfaces, cluster.routes.profile.metric,
                   tuple(e.device for e in ENCAPSULATIONS if e not in cluster.routes.bird))


def tunnels_to_routers(cluster: Cluster, engine: RouteEngine) -> str:
    """A sentence on nodes that tunnel to a router, which takes no header off; empty without such.

    A next hop is a router where routes pass another AS (next hop self), and then only Never works,
    or CrossSubnet where the router is in the node's own subnet.
    """
    topology = cluster.topology
    routers = {interface.address: name for name, router in cluster.fabric.speaking.items()
               for interface in router.interfaces}
    reached: dict[str, Encapsulation] = {}
    for name, node in cluster.nodes.items() if routers else ():
        network = cluster.fabric.node_network(node)
        modes = [(pool.cidr, cluster.mode(name, pool)) for pool in topology.pools]
        for prefix, hops in engine.table(name).items():
            mode = mode_in(modes, prefix)
            if mode.is_on and cluster.routes.by_bird(mode):
                reached.update((routers[hop], mode.in_force) for hop in hops if hop in routers
                               and is_tunnelled(mode.mode, network, hop))
    used = set(reached.values())
    return (f"{join([str(item) for item in used])} sends packets for other racks to"
            f" {join(list(reached))}, the next hop that BGP names, and a router has no tunnel: set"
            f" {join([item.mode_field for item in used])} Never") if reached else ""


def underlay_announced(cluster: Cluster) -> str:
    """A sentence on nodes whose BIRDs announce routes of the underlay; empty without such.

    A peer's BIRD prefers a route of BGP to one that it found in the kernel.
    """
    peers = peer_graph(cluster)
    names = {sender for senders in peers.sessions.values()
             for sender, (end, _) in senders.items()
             if end.filter and any(end.filter.local(prefix, UPLINK) for prefix in (
                 IPv4Network("0.0.0.0/0"), *peers.speakers[sender].networks))}
    return (f"BGPFilters let {join_some(sorted(names), 3)} announce routes of the underlay, which"
            " their peers prefer to their own routes: give the rule that accepts the cidr of a"
            " pool") if names else ""
