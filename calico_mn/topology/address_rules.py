"""Rules about blocks and addresses: what Calico refuses, and states that a living cluster may have.

In go the resources of a file; problems and warnings are reported. Pools, blocks and pods change
over time, and so a running cluster has blocks of gone nodes and pools, and pods in disabled pools:
those are warnings, and behave as in Calico.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from calico_mn.model import TUNNEL, WORKLOAD, BlockAffinity, EncapsulationMode, IPPool, Node, Pod
from calico_mn.selector import parse_selector
from calico_mn.text import join_some, plural, quote
from calico_mn.topology import calico_kinds as kinds
from calico_mn.topology.networks import NetworkIndex
from calico_mn.topology.problems import Report
from calico_mn.topology.rules import Owners
from calico_mn.topology.schema import Resource, Resources
from calico_mn.topology.workload_kinds import POD


def take_witnesses(report: Report, resources: Resources) -> None:
    """Addresses that other resources tell of: status.podIP, endpoints, and blocks themselves."""
    index = NetworkIndex((pool.model.cidr, True) for pool in resources.of(kinds.IP_POOL)
                         if pool.has("cidr"))
    pods = {f"{pod.model.namespace}/{pod.model.name}": pod for pod in resources.of(POD)
            if pod.has("name")}
    for endpoint in resources.of(kinds.WORKLOAD_ENDPOINT):
        namespace = endpoint.get("namespace", "default")
        key = f"{namespace}/{endpoint.get('pod')}"
        if key not in pods:
            pod: Resource[Pod] = Resource(endpoint.mark, {
                "namespace": namespace, "kind": "Pod"})
            pod.set("name", endpoint.get("pod"), endpoint.at("pod"))
            pod.set("node", endpoint.get("node"), endpoint.at("node"))
            pods[key] = pod.make(Pod)
            resources.add(report, POD, pod)
        address = next((network.network_address for network in endpoint.get("networks", ())), None)
        _keep_address(pods[key], address)
    for pod in pods.values():
        address = pod.get("status_ip")
        if address is not None and index.find(address):
            _keep_address(pod, address)
    known = {(affinity.model.node, affinity.model.cidr)
             for affinity in resources.of(kinds.BLOCK_AFFINITY) if affinity.has("node", "cidr")}
    for block in resources.of(kinds.IPAM_BLOCK):
        if (block.model.node, block.model.cidr) not in known:
            resources.add(report, kinds.BLOCK_AFFINITY, block)


def _keep_address(pod: Resource[Pod], address: IPv4Address | None) -> None:
    if address is not None and not pod.has("ip") and not pod.get("left_out"):
        pod.set("ip", address, pod.at("name"))
        pod.values["has_ip"] = True
        pod.make(Pod)


def check_addresses(
    report: Report, resources: Resources, workloads: list[Resource[Pod]],
    placed: list[tuple[Pod, Resource[Pod]]],
) -> None:
    """Apply all rules. ``placed`` are the pods with the ``workloads`` that make them."""
    pools = resources.of(kinds.IP_POOL)
    nodes = resources.of(kinds.NODE)
    _check_affinities(report, resources)
    _check_tunnel_addresses(report, resources)
    _check_pod_addresses(report, pools, workloads)
    _check_requested_pools(report, pools, workloads)
    if _is_complete(pools):
        _check_room(report, pools, sum(not pod.has_ip for pod, _ in placed), len(nodes))
        if not report.failed:
            _check_pools_of_nodes(report, pools, nodes, placed)


def _check_affinities(report: Report, resources: Resources) -> None:
    """A block is a part of a pool, of its size, and belongs to one node."""
    nodes, pools = resources.of(kinds.NODE), resources.of(kinds.IP_POOL)
    names = [node.model.name for node in nodes if node.has("name")]
    known = set(names)
    nodes_complete = bool(nodes) and len(names) == len(nodes)
    index = NetworkIndex((pool.model.cidr, pool.model) for pool in pools if pool.has("cidr"))
    owners: dict[IPv4Network, BlockAffinity] = {}
    gone: list[str] = []
    outside: list[str] = []
    odd: list[str] = []
    twice: list[str] = []
    for affinity in resources.of(kinds.BLOCK_AFFINITY):
        node, block = affinity.model.node, affinity.model.cidr
        if affinity.has("node") and node not in known and nodes_complete:
            meant = report.suggest(node, names)
            gone.append(f"{block} of {quote(node)}" + (f" (or is {quote(meant)} meant?)"
                                                       if meant else ""))
        if affinity.has("cidr") and not 20 <= block.prefixlen <= 32:
            report.add(f"block {block} is larger than any block", affinity.at("cidr"),
                       "blocks are from /20 to /32")
            continue
        if not affinity.has("cidr", "node"):
            continue
        pool = index.find(block.network_address)
        if pool is None and _is_complete(pools):
            outside.append(str(block))
        elif pool is not None and block.prefixlen != pool.block_size:
            odd.append(f"{block} in {pool.cidr}, whose blocks are /{pool.block_size}")
        earlier = owners.setdefault(block, affinity.model)
        if earlier is not affinity.model and earlier.node != node:
            twice.append(f"{block} of {earlier.node} and {node}")
    for listed, sentence in (
        (gone, "Blocks of nodes that are not in the file: {}. No node announces them, and new pods "
               "get their addresses only by borrowing."),
        (outside, "Blocks in no IPPool: {}. Their nodes announce them, without encapsulation, and "
                  "no new pod gets an address of them."),
        (odd, "Blocks of another size than their pool's: {}. They stay in use, and no new block "
              "overlaps them."),
        (twice, "Blocks that two nodes have an affinity to: {}. Both announce it, and the first "
                "gives out its addresses."),
    ):
        if listed:
            report.warn(sentence.format(join_some(listed, 5)))


def _check_tunnel_addresses(report: Report, resources: Resources) -> None:
    owners: dict[IPv4Address, str] = {}
    for node in resources.of(kinds.NODE):
        for name in ("ipip_address", "vxlan_address"):
            address = node.get(name)
            if address is None:
                continue
            earlier = owners.setdefault(address, node.get("name", ""))
            if earlier != node.get("name", ""):
                report.warn(f"Nodes {earlier} and {node.get('name')} both have the tunnel address "
                            f"{address}: here {node.get('name')} gets another one.")


def _check_pod_addresses(
    report: Report, pools: list[Resource[IPPool]], workloads: list[Resource[Pod]]
) -> None:
    """An address that is asked for is in an enabled pool, and there is one pod for it."""
    index = NetworkIndex((pool.model.cidr, pool) for pool in pools if pool.has("cidr"))
    is_default = any(not pool.mark.line for pool in pools)
    owners = Owners()
    kept: dict[str, list[str]] = {}
    for pod in workloads:
        replicas = pod.get("replicas")
        address = pod.model.ip
        if not pod.has("ip") or address is None or replicas == 0:
            continue
        title = f"{pod.model.namespace}/{pod.model.name}"
        mark, pool = pod.at("ip"), index.find(address)
        usable = pool is not None and not pool.model.disabled
        if not usable and _is_complete(pools):
            if not pod.get("has_ip") or (is_default and pool is None):
                _report_address(report, pools, pod, is_default)
            else:
                where = f"the disabled IPPool {pool.get('name')}" if pool else "no IPPool"
                kept.setdefault(where, []).append(f"{title} {address}")
        earlier = owners.take(address, title, mark)
        if replicas and replicas > 1:
            report.add(f"{pod.get('kind')} {title} asks for one address {address} for {replicas} "
                       "pods", mark, "a fixed address goes with replicas: 1")
        elif earlier:
            report.add(f"pod {title} asks for {address}, which pod {earlier[0]} has asked for",
                       mark, f"the other one is in {earlier[1].where}")
    for where, pods in kept.items():
        report.warn(f"Pods with an address in {where} keep it: {join_some(pods, 5)}.")


def _report_address(
    report: Report, pools: list[Resource[IPPool]], pod: Resource[Pod], is_default: bool
) -> None:
    verb = "has" if pod.get("has_ip") else "asks for"
    enabled = [str(pool.model.cidr) for pool in pools if not pool.model.disabled]
    hint = f"the pools are {join_some(enabled, 5)}" if enabled else "add an IPPool"
    if is_default:
        hint = (f"the file has no IPPool, so it is Calico's default, {join_some(enabled, 5)}: add "
                "yours; calicoctl get ippool -o yaml prints it")
    report.add(f"pod {pod.model.key} {verb} {pod.model.ip}, which is in no enabled IPPool",
               pod.at("ip"), hint)


def _check_requested_pools(
    report: Report, pools: list[Resource[IPPool]], workloads: list[Resource[Pod]]
) -> None:
    """The CNI plug-in fails when a pool that a pod asks for does not exist, or is disabled."""
    known = {name: pool for pool in pools if pool.has("name", "cidr")
             for name in (pool.model.name, str(pool.model.cidr))}
    for pod in workloads:
        for name in pod.get("pools", ()) if not pod.has("ip") and _is_complete(pools) else ():
            pool = known.get(name)
            if pool is None:
                report.add(f"pod {pod.model.key} asks for IPPool {quote(name)}, which is not there",
                           pod.at("pools"), report.did_you_mean(name, known)
                           or f"there is {join_some(known, 6)}")
            elif pool.model.disabled or WORKLOAD not in pool.model.allowed_uses:
                report.add(f"pod {pod.model.key} asks for IPPool {quote(name)}, which gives pods "
                           "no address", pod.at("pools"), "see its disabled and allowedUses")


def _check_pools_of_nodes(
    report: Report, pools: list[Resource[IPPool]], nodes: list[Resource[Node]],
    placed: list[tuple[Pod, Resource[Pod]]],
) -> None:
    """On each node some pool gives pods an address, or those of it stay without one."""
    giving = [parse_selector(pool.model.node_selector) for pool in pools
              if not pool.model.disabled and pool.model.is_automatic
              and WORKLOAD in pool.model.allowed_uses]
    without = {node.model.name for node in nodes
               if not any(selects(dict(node.model.labels)) for selects in giving)}
    reported: set[tuple[int, str]] = set()
    for pod, workload in placed:
        if pod.ip is None and not pod.pools and pod.node in without and (
                id(workload), pod.node) not in reported:
            reported.add((id(workload), pod.node))
            report.add(f"no IPPool gives pods on {pod.node} an address, so pod {pod.key} has none",
                       workload.at("name"), "see the pools' nodeSelector, assignmentMode and "
                       "disabled, and the labels of the Node")


def _check_room(report: Report, pools: list[Resource[IPPool]], pods: int, nodes: int) -> None:
    """The pools have room for all pods and tunnels.

    The count is a necessary condition only: which node gets which block is decided by IPAM.
    """
    never = EncapsulationMode.NEVER
    enabled = [pool.model for pool in pools if not pool.model.disabled]
    giving = [pool for pool in enabled if {WORKLOAD, TUNNEL} & set(pool.allowed_uses)]
    tunnels = nodes * (any(pool.ipip_mode is not never for pool in enabled)
                       + any(pool.vxlan_mode is not never for pool in enabled))
    if enabled and not giving and pods:
        report.add("no IPPool gives pods an address", pools[0].at("cidr"),
                   "see the pools' allowedUses, and add one that has Workload")
        return
    room = sum(pool.cidr.num_addresses for pool in giving)
    if not pods or pods + tunnels <= room:
        return
    wanted = plural(pods, "pod") + (f" and {plural(tunnels, 'tunnel')}" if tunnels else "")
    what = (f"no room for {wanted} ({plural(pods + tunnels, 'address')}): the enabled IPPools have "
            f"{plural(room, 'address')}")
    if enabled:
        first = next(pool for pool in pools if not pool.model.disabled)
        report.add(what, first.at("cidr"), "use a larger pool, or fewer pods")
    else:
        report.add_for_file(what, "add an IPPool that is not disabled")


def _is_complete(pools: list[Resource[IPPool]]) -> bool:
    return all(pool.has("cidr") for pool in pools)
