"""The states of all namespaces, in order of creation. Pure.

In go the cluster and the route engine; out come the states of the namespaces, those of nodes and
routers by :mod:`.speakers`. What :class:`calico_mn.CalicoNet` boots from is, as commands, what
``calico-mn plan`` prints, and what ``check-node`` compares a real node's outputs with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from calico_mn import node_outputs
from calico_mn import profile as profiles
from calico_mn.bgp.bird import configuration
from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.bgp.engine import BIRD, BUILTIN, RouteEngine
from calico_mn.bgp.timers import CALICO, Timers
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import UPLINK, Encapsulation
from calico_mn.calico.felix import owned_on_node
from calico_mn.calico.remote_routes import as_of
from calico_mn.calico.underlay import with_links
from calico_mn.delta import creation
from calico_mn.difference import Difference, compare
from calico_mn.emulation.speakers import follow, node_state, router_states, speakers
from calico_mn.errors import NotFoundError
from calico_mn.kernel import iptext
from calico_mn.model import EncapsulationMode, Topology
from calico_mn.node_outputs import Outputs
from calico_mn.state import PROTO_BIRD, Namespace
from calico_mn.text import join_some

SWITCH, ROUTER, HOST, NODE, POD = "switch", "router", "host", "node", "pod"


@dataclass(frozen=True, slots=True)
class Step:
    """One namespace and the commands that fill it; ``kind`` is one of the constants above.

    ``tunnel`` is the device that a tunnel back end makes in it, empty without one;
    ``bird`` is the configuration of a node's BIRD, empty with the built-in engine.
    """

    kind: str
    namespace: str
    commands: tuple[str, ...]
    tunnel: str = ""
    bird: str = ""


def host_states(cluster: Cluster, engine: RouteEngine) -> list[Namespace]:
    """Switches, routers and nodes, once every node has announced what it has."""
    follow(engine, cluster)
    return announced_states(cluster, engine, {})


def announced_states(cluster: Cluster, engine: RouteEngine, before: Mapping[str, Namespace]
                     ) -> list[Namespace]:
    """Switches, routers and nodes; ``before`` has the states until now."""
    underlay, links = cluster.topology.underlay, cluster.links
    return [
        *(with_links(cluster.subnet_state(subnet), links) for subnet in underlay.subnets),
        *router_states(cluster, engine),
        *(with_links(cluster.fabric.host(host), links) for host in underlay.hosts),
        *(node_state(cluster, engine, name, before.get(name)) for name in cluster.nodes),
    ]


def pod_states(cluster: Cluster) -> dict[str, list[Namespace]]:
    """The pods, by node. A node makes both ends of their veths, so it is filled before them."""
    return {node: [cluster.pod_state(endpoint.key) for endpoint in cluster.pods_on(node)]
            for node in cluster.nodes}


def boot_states(cluster: Cluster) -> Iterator[tuple[str, Namespace]]:
    """Every namespace of a boot with its kind, in order of creation."""
    underlay = cluster.topology.underlay
    kinds = {**{subnet.name: SWITCH for subnet in underlay.subnets},
             **{router.name: ROUTER for router in underlay.routers},
             **{host.name: HOST for host in underlay.hosts},
             **dict.fromkeys(cluster.nodes, NODE), **dict.fromkeys(cluster.endpoints, POD)}
    hosts = host_states(cluster, BuiltInEngine())
    for state in (*hosts, *chain.from_iterable(pod_states(cluster).values())):
        yield kinds[state.name], state


def booted(topology: Topology, mode: EncapsulationMode | None = None, rp_filter: int = 2,
           encapsulation: Encapsulation | None = None, policies: bool = True, profile: str = ""
           ) -> Cluster:
    """The cluster as a boot makes it, with the arguments of :func:`plan`. Raises ClusterError."""
    cluster = Cluster(as_of(topology, profile), rp_filter)
    cluster.has_firewall = policies
    cluster.set_mode(mode, encapsulation=encapsulation, at_boot=True)
    return cluster


def plan(topology: Topology, mode: EncapsulationMode | None = None, rp_filter: int = 2,
         encapsulation: Encapsulation | None = None, engine: str = BUILTIN,
         policies: bool = True, timers: Timers = CALICO, profile: str = "") -> tuple[Step, ...]:
    """Every command of a boot, namespace by namespace.

    ``mode`` and ``encapsulation`` replace those of all pools; with None each pool keeps its own.
    With engine ``bird`` the routes of protocol bird are left to BIRD, which has ``timers``.
    ``policies`` False leaves Felix's iptables rules out. ``profile`` names a version profile.
    Raises ClusterError.
    """
    cluster = booted(topology, mode, rp_filter, encapsulation, policies, profile)
    states = list(boot_states(cluster))
    texts = {name: configuration(speaker) for name, speaker in speakers(
                 cluster, timers).items()} if engine == BIRD else {}
    foreign = PROTO_BIRD if engine == BIRD else ""
    return tuple(Step(kind, state.name, tuple(iptext.commands(creation(state, foreign))),
                      state.tunnel.name if state.tunnel else "", texts.get(state.name, ""))
                 for kind, state in states)


# --- a real node against its plan


@dataclass(frozen=True, slots=True)
class NodeCheck:
    """The differences with the profile that leaves the fewest.

    Of equal ones the topology's own counts, then the first. ``counts`` are how many things of
    each kind are predicted and were compared.
    """

    profile: profiles.Profile
    differences: tuple[Difference, ...]
    counts: dict[str, int]


def check_node(topology: Topology, name: str, outputs: Outputs, wanted: str = "") -> NodeCheck:
    """Compare a node. ``wanted`` names the profile, empty to find out.

    Raises NotFoundError for an unknown node, and what a boot of the topology raises.
    """
    names = [node.name for node in topology.nodes]
    if name not in names:
        raise NotFoundError(f"the topology has no node {name!r}; it has {join_some(names, 10)}")
    own = topology.profile.name
    checks = [_check(topology, name, outputs, candidate)
              for candidate in ([wanted] if wanted else sorted(profiles.NAMES, key=own.__ne__))]
    return min(checks, key=lambda item: len(item.differences))


def _check(topology: Topology, name: str, outputs: Outputs, candidate: str) -> NodeCheck:
    # Felix writes the default to each workload's device (felix/dataplane/linux/endpoint_mgr.go).
    rp_filter = (outputs.sysctls or {}).get("net.ipv4.conf.default.rp_filter", 0)
    cluster = booted(topology, rp_filter=rp_filter, policies=outputs.rules is not None,
                          profile=candidate)
    engine = BuiltInEngine()
    follow(engine, cluster)
    state, present = node_outputs.comparable(
        node_state(cluster, engine, name, None), outputs, UPLINK)
    counts = {"devices": len(state.devices), "addresses": len(state.addresses),
              "routes": len(state.routes), "sysctls": len(present.sysctls),
              "chains": len(state.firewall.chains) if state.firewall else 0,
              "IP sets": len(state.firewall.sets) if state.firewall else 0}
    return NodeCheck(
        cluster.routes.profile,
        tuple(compare(state, present, owned_on_node(topology.pools))),
        counts)
