"""A real node's outputs against what the model predicts for it. Pure.

In go a topology, a node's name and its :class:`~calico_mn.node_outputs.Outputs`; out come the
differences, and the version profile that explains the node best.
"""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn import node_outputs, profile
from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.calico.encapsulation import UPLINK
from calico_mn.calico.felix import owned_on_node
from calico_mn.difference import Difference, compare
from calico_mn.emulation import plan
from calico_mn.emulation.speakers import follow, node_state
from calico_mn.errors import NotFoundError
from calico_mn.model import Topology
from calico_mn.node_outputs import Outputs
from calico_mn.text import join_some


@dataclass(frozen=True, slots=True)
class NodeCheck:
    """The differences with the profile that leaves the fewest.

    Of equal ones the topology's own counts, then the first. ``counts`` are how many things of
    each kind are predicted and were compared.
    """

    profile: profile.Profile
    differences: tuple[Difference, ...]
    counts: dict[str, int]


def check(topology: Topology, name: str, outputs: Outputs, wanted: str = "") -> NodeCheck:
    """Compare a node. ``wanted`` names the profile, empty to find out.

    Raises NotFoundError for an unknown node, and what a boot of the topology raises.
    """
    names = [node.name for node in topology.nodes]
    if name not in names:
        raise NotFoundError(f"the topology has no node {name!r}; it has {join_some(names, 10)}")
    own = topology.profile.name
    checks = [_check(topology, name, outputs, candidate)
              for candidate in ([wanted] if wanted else sorted(profile.NAMES, key=own.__ne__))]
    return min(checks, key=lambda item: len(item.differences))


def _check(topology: Topology, name: str, outputs: Outputs, candidate: str) -> NodeCheck:
    # Felix writes the default to each workload's device (felix/dataplane/linux/endpoint_mgr.go).
    rp_filter = (outputs.sysctls or {}).get("net.ipv4.conf.default.rp_filter", 0)
    cluster = plan.booted(topology, rp_filter=rp_filter, policies=outputs.rules is not None,
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
