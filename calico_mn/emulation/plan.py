"""The states that a boot creates and that a change affects, in order of creation. Pure.

In go the cluster and the route engine; out come the states of the namespaces. What
:class:`calico_mn.CalicoNet` boots from is, as commands, what ``calico-mn plan`` prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from calico_mn.bgp.bird import BirdPool, Speaker, configuration
from calico_mn.bgp.engine import BIRD, BUILTIN, RouteEngine
from calico_mn.bgp.full_mesh import FullMesh
from calico_mn.bgp.peerings import Graph, Peering, asn, peerings
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import ENCAPSULATIONS, IPIP, Encapsulation
from calico_mn.delta import creation
from calico_mn.errors import UnsupportedError
from calico_mn.kernel import iptext
from calico_mn.model import EncapsulationMode, Topology
from calico_mn.state import PROTO_BIRD, Namespace

SWITCH, ROUTER, HOST, NODE, POD = "switch", "router", "host", "node", "pod"


@dataclass(frozen=True, slots=True)
class Step:
    """One namespace and the commands that fill it; ``kind`` is one of the constants above.

    ``bird`` is the configuration of a node's BIRD, empty with the built-in engine.
    """

    kind: str
    namespace: str
    commands: tuple[str, ...]
    bird: str = ""


def host_states(cluster: Cluster, engine: RouteEngine) -> list[Namespace]:
    """Switches, routers and nodes, once every node has announced what it has."""
    follow(engine, cluster)
    return announced_states(cluster, engine, {})


def announced_states(cluster: Cluster, engine: RouteEngine, before: Mapping[str, Namespace]
                     ) -> list[Namespace]:
    """Switches, routers and nodes; ``before`` has the states until now."""
    underlay = cluster.topology.underlay
    return [
        *(cluster.subnet_state(subnet) for subnet in underlay.subnets),
        *(cluster.router_state(router) for router in underlay.routers),
        *(cluster.fabric.host(host) for host in underlay.hosts),
        *(node_state(cluster, engine, name, before.get(name)) for name in cluster.nodes),
    ]


def follow(engine: RouteEngine, cluster: Cluster, before: Cluster | None = None) -> None:
    """Let the engine speak for a cluster's nodes, after it spoke for those of ``before``.

    Where calico-node does not start, no speaker does.
    """
    known, nodes = before.nodes if before else {}, cluster.nodes
    moved = [name for name in {**known, **nodes} if name not in known or name not in nodes
             or known[name].address.ip != nodes[name].address.ip]
    for name in moved:
        if name in known:
            engine.remove_node(name)
    for name in moved:
        if name in nodes:
            engine.add_node(name, nodes[name].address.ip)
    unstarted = cluster.admission.unstarted
    for name in unstarted:
        engine.kill(name)
    for name in before.admission.unstarted - unstarted if before else ():
        if name in nodes and name not in moved:
            engine.restart(name)
    cluster.probed = {pair: why for pair, why in cluster.probed.items()
                      if not pair.intersection(moved)}
    set_sessions(cluster, engine)
    engine.announce({name: cluster.originated(name) for name in nodes})


def set_sessions(cluster: Cluster, engine: RouteEngine) -> frozenset[str]:
    """Let the engine know where sessions cannot be; the nodes whose learned prefixes changed."""
    return engine.set_sessions(mesh=cluster.topology.mesh, unreachable=cluster.unreachable(),
                               graph=peer_graph(cluster))


def peerings_of(cluster: Cluster) -> dict[str, tuple[Peering, ...]]:
    """Each node's BGP peerings."""
    topology = cluster.topology
    return peerings(cluster.nodes.values(), mesh=topology.mesh, configuration=topology.bgp,
                    peers=topology.bgp_peers)


def peer_graph(cluster: Cluster) -> Graph | None:
    """Who peers with whom, None where all nodes do or none does."""
    nodes = cluster.nodes.values()
    if not cluster.topology.bgp_peers and not (
            cluster.topology.mesh and any(node.route_reflector for node in nodes)):
        return None
    return Graph.of(peerings_of(cluster), nodes)


def speakers(cluster: Cluster) -> dict[str, Speaker]:
    """What BIRD is configured from, on each node on which calico-node runs."""
    ends = peerings_of(cluster)
    return {name: _speaker(cluster, name, ends[name]) for name in cluster.nodes
            if name not in cluster.admission.unstarted}


def _speaker(cluster: Cluster, name: str, peerings: tuple[Peering, ...]) -> Speaker:
    node, bgp = cluster.nodes[name], cluster.topology.bgp
    pools = []
    for pool in cluster.topology.pools:
        mode = cluster.mode(name, pool)
        tunnel = mode.in_force.device if mode.is_on and cluster.has_tunnels else ""
        pools.append(BirdPool(pool.cidr, tunnel, mode.mode is EncapsulationMode.CROSS_SUBNET,
                              mode.in_force.is_felix))
    return Speaker(name, node.address, asn(node, bgp), bgp.listen_port,
                   tuple(cluster.ipam.blocks(name)), tuple(pools), peerings, node.route_reflector)


def pod_states(cluster: Cluster) -> dict[str, list[Namespace]]:
    """The pods, by node. A node makes both ends of their veths, so it is filled before them."""
    return {node: [cluster.pod_state(endpoint.key) for endpoint in cluster.pods_on(node)]
            for node in cluster.nodes}


def announced(cluster: Cluster, engine: RouteEngine, names: Iterable[str],
              before: Mapping[str, Namespace]) -> list[Namespace]:
    """The states after these nodes announced what they have: theirs, and of all that hear it.

    ``before`` has the states until now.
    """
    announcing = list(names)
    changed = set_sessions(cluster, engine) | engine.announce(
        {name: cluster.originated(name) for name in announcing})
    concerned = dict.fromkeys((*announcing, *sorted(changed), *cluster.felix_changed()))
    return [node_state(cluster, engine, name, before.get(name)) for name in concerned]


def node_state(cluster: Cluster, engine: RouteEngine, name: str, before: Namespace | None
               ) -> Namespace:
    """A node's wanted state. With its speaker dead, the routes between nodes stay.

    Those over a tunnel go when Felix takes the tunnel's address: with a device's last address the
    kernel removes the routes over it (fib_disable_ip in net/ipv4/fib_frontend.c).
    """
    state = cluster.node_state(name, engine.table(name))
    if before is None or engine.is_alive(name):
        return state
    addresses = cluster.tunnel_addresses(name)
    unaddressed = {e.device for e in ENCAPSULATIONS if e not in addresses}
    routes = (*(r for r in state.routes if r.protocol != PROTO_BIRD),
              *(r for r in before.routes if r.protocol == PROTO_BIRD
                and not r.devices & unaddressed))
    return replace(state, routes=routes)


def plan(topology: Topology, mode: EncapsulationMode | None = None, rp_filter: int = 2,
         encapsulation: Encapsulation | None = None, engine: str = BUILTIN,
         policies: bool = True) -> tuple[Step, ...]:
    """Every command of a boot, namespace by namespace.

    ``mode`` and ``encapsulation`` replace those of all pools; with None each pool keeps its own.
    With engine ``bird`` the routes of protocol bird are left to BIRD. ``policies`` False leaves
    Felix's iptables rules out.
    """
    cluster = Cluster(topology, rp_filter)
    cluster.has_firewall = policies
    cluster.set_mode(mode, encapsulation=encapsulation, at_boot=True)
    hosts = host_states(cluster, FullMesh())
    kinds = {**{subnet.name: SWITCH for subnet in topology.underlay.subnets},
             **{router.name: ROUTER for router in topology.underlay.routers},
             **{host.name: HOST for host in topology.underlay.hosts},
             **dict.fromkeys(cluster.nodes, NODE), **dict.fromkeys(cluster.endpoints, POD)}
    texts = {name: configuration(speaker) for name, speaker in speakers(cluster).items()
             } if engine == BIRD else {}
    return tuple(Step(kinds[state.name], state.name, tuple(iptext.commands(creation(
        state, PROTO_BIRD if engine == BIRD else ""))),
        texts.get(state.name, ""))
        for state in (*hosts, *chain.from_iterable(pod_states(cluster).values())))


def refuse_ipip(cluster: Cluster, mode: EncapsulationMode | None,
                encapsulation: Encapsulation | None, pool: str | None, reason: str) -> None:
    """Raise UnsupportedError where a change of modes needs IPIP, in a cluster without tunl0.

    ``pool`` names the one pool that changes, None means all of them.
    """
    for item in cluster.topology.pools:
        changed = cluster.mode_of_pool(item).changed(mode, encapsulation)
        if pool in (None, item.name) and changed.in_force is IPIP:
            raise UnsupportedError(f"no IPIP mode {changed.mode} here, since {reason}")
