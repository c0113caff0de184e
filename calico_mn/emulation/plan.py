"""What a boot makes, as states, in the order in which it makes them. Pure.

:class:`calico_mn.CalicoNet` boots from these very functions; as commands they are what
``calico-mn plan`` prints.
"""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn.bgp.engine import RouteEngine
from calico_mn.bgp.full_mesh import FullMesh
from calico_mn.calico.cluster import Cluster
from calico_mn.delta import creation
from calico_mn.kernel import iptext
from calico_mn.model import EncapsulationMode, Topology
from calico_mn.state import Namespace

SWITCH, ROUTER, NODE, POD = "switch", "router", "node", "pod"


@dataclass(frozen=True, slots=True)
class Step:
    """One namespace and the commands that fill it; ``kind`` is one of those above."""

    kind: str
    namespace: str
    commands: tuple[str, ...]


def host_states(cluster: Cluster, engine: RouteEngine) -> list[Namespace]:
    """Switches, routers and nodes, once every node has announced what it has."""
    for node in cluster.nodes.values():
        engine.add_node(node.name, node.address.ip)
    engine.announce({name: cluster.originated(name) for name in cluster.nodes})
    underlay = cluster.topology.underlay
    return [
        *(cluster.subnet_state(subnet) for subnet in underlay.subnets),
        *(cluster.router_state(router) for router in underlay.routers),
        *(cluster.node_state(name, engine.table(name)) for name in cluster.nodes),
    ]


def pod_states(cluster: Cluster) -> list[Namespace]:
    """The pods. A node makes both ends of their veths, so nodes are filled before them."""
    return [cluster.pod_state(key) for key in cluster.endpoints]


def plan(topology: Topology, mode: EncapsulationMode | None = None, rp_filter: int = 2
         ) -> tuple[Step, ...]:
    """Every command of a boot, namespace by namespace; ``mode`` as set before it.

    Raises TopologyError when the addresses do not suffice.
    """
    cluster = Cluster(topology, rp_filter)
    if mode is not None:
        cluster.set_mode(mode)
    hosts = host_states(cluster, FullMesh())
    kinds = {**{subnet.name: SWITCH for subnet in topology.underlay.subnets},
             **{router.name: ROUTER for router in topology.underlay.routers},
             **dict.fromkeys(cluster.nodes, NODE), **dict.fromkeys(cluster.endpoints, POD)}
    return tuple(Step(kinds[state.name], state.name, tuple(iptext.commands(creation(state))))
                 for state in (*hosts, *pod_states(cluster)))
