"""Rules between resources, in Calico's words, and drafts -> model when all of them hold."""

from __future__ import annotations

from ipaddress import IPv4Network

from calico_mn.model import (
    BlockAffinity,
    IPAMConfiguration,
    IPPool,
    Link,
    Node,
    Router,
    RouterInterface,
    Subnet,
    Topology,
    Underlay,
)
from calico_mn.topology import drafts as d
from calico_mn.topology.networks import NetworkIndex
from calico_mn.topology.placement import check_addresses, place_pods
from calico_mn.topology.problems import Mark, Report, quote
from calico_mn.topology.underlay import derive_underlay
from calico_mn.topology.validate_underlay import (
    check_names,
    check_nodes,
    check_ranges,
    check_routers,
)

# Each is a namespace, and each node has a route to every other one's blocks.
MAX_HOSTS = 2_000


def build_topology(report: Report, drafts: d.Drafts) -> Topology:
    """Check everything, then convert; raises :class:`TopologyError` with all problems."""
    if not drafts.nodes and not report.failed:
        report.add_for_file(
            "there is no Node",
            "add at least one of apiVersion projectcalico.org/v3; calicoctl get node -o yaml "
            "prints them",
        )
    hosts = len(drafts.nodes)
    if drafts.underlay:
        hosts += len(drafts.underlay.subnets) + len(drafts.underlay.routers)
    if hosts > MAX_HOSTS:
        report.add_for_file(f"{hosts} nodes, subnets and routers are more than the {MAX_HOSTS} "
                            "that one machine can hold", "use fewer of them")
        raise report.error()
    underlay = drafts.underlay or derive_underlay(report, drafts.nodes)
    check_names(report, drafts, underlay)
    check_ranges(report, drafts, underlay)
    check_nodes(report, drafts, underlay, check_routers(report, underlay))
    _check_pool_names(report, drafts)
    _check_affinities(report, drafts)
    pods = place_pods(report, drafts)
    check_addresses(report, drafts, len(pods))
    if report.failed:
        raise report.error()
    return Topology(
        underlay=_underlay(underlay),
        nodes=tuple(Node(n.name.value, n.address.value) for n in drafts.nodes
                    if n.name and n.address),
        pools=tuple(
            IPPool(p.name.value, p.cidr.value, p.block_size, p.ipip_mode, p.nat_outgoing,
                   p.disabled)
            for p in drafts.pools if p.name
        ),
        pods=tuple(pods),
        affinities=tuple(
            BlockAffinity(a.node.value, a.cidr.value) for a in drafts.affinities
            if a.node and a.cidr
        ),
        ipam=drafts.ipam.value if drafts.ipam else IPAMConfiguration(),
        veth_mtu=drafts.veth_mtu.value if drafts.veth_mtu else 0,
        ipip_mtu=drafts.ipip_mtu.value if drafts.ipip_mtu else 0,
        warnings=report.warnings(),
        source=report.file,
    )


def _check_pool_names(report: Report, drafts: d.Drafts) -> None:
    seen: dict[str, Mark] = {}
    for pool in drafts.pools:
        if pool.name is None:
            continue
        first = seen.setdefault(pool.name.value, pool.name.mark)
        if first != pool.name.mark:
            report.add(f"duplicate IPPool name {quote(pool.name.value)}", pool.name.mark,
                       f"line {first.line} has it already")


def _check_affinities(report: Report, drafts: d.Drafts) -> None:
    nodes = [node.name.value for node in drafts.nodes if node.name]
    known_nodes = set(nodes)
    nodes_complete = bool(nodes) and len(nodes) == len(drafts.nodes)
    pools_complete = drafts.pools_given in (0, len(drafts.pools))
    pools = NetworkIndex((pool.cidr.value, pool) for pool in drafts.pools)
    claimed: dict[IPv4Network, Mark] = {}
    for affinity in drafts.affinities:
        node, block = affinity.node, affinity.cidr
        if node and node.value not in known_nodes and nodes_complete:
            report.add(f"BlockAffinity is for unknown node {quote(node.value)}", node.mark,
                       report.guess(node.value, nodes) or "add the Node, or correct the name")
        if block is None:
            continue
        pool = pools.find(block.value.network_address)
        if pool is None:
            if pools_complete:
                report.add(f"block {block.value} is in no IPPool", block.mark,
                           "a block is a part of a pool; correct it, or add its pool")
        elif block.value.prefixlen != pool.block_size:
            report.add(f"block {block.value} is not of its pool's block size /{pool.block_size}",
                       block.mark, f"IPPool {pool.cidr.value} is divided into /{pool.block_size} "
                       "blocks; see its blockSize")
        first = claimed.setdefault(block.value, block.mark)
        if first != block.mark:
            report.add(f"block {block.value} is claimed twice", block.mark,
                       f"line {first.line} claims it already, and a block has one node")


def _underlay(draft: d.UnderlayDraft) -> Underlay:
    return Underlay(
        subnets=tuple(
            Subnet(s.name.value, s.cidr.value, s.mtu, Link(s.rate, s.delay))
            for s in draft.subnets if s.name and s.cidr
        ),
        routers=tuple(
            Router(
                r.name.value,
                tuple(RouterInterface(f.subnet.value, f.address.value) for f in r.interfaces
                      if f.subnet and f.address),
                r.pod_routes,
                r.multipath_hash,
            )
            for r in draft.routers if r.name
        ),
        name=draft.name,
    )
