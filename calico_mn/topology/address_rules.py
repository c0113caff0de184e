"""Networks and addresses: which overlap, what Calico refuses, and what a living cluster may have.

In go the resources of a file; problems and warnings are reported. Pools, blocks and pods change
over time, and so a running cluster has blocks of gone nodes and pools, and pods in disabled pools:
those are warnings, and behave as in Calico. Networks are looked up and compared without comparing
all with all.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Generic, TypeVar

from calico_mn.model import BlockAffinity, IPPool, Pod
from calico_mn.text import join_some, quote
from calico_mn.topology import calico_kinds as kinds
from calico_mn.topology.kubernetes_kinds import POD
from calico_mn.topology.problems import Report
from calico_mn.topology.schema import Resource, Resources

T = TypeVar("T")

# Never the address of a host or a pod, or not beyond one link (RFC 6890); Calico itself refuses
# only 169.254.0.0/16, where its pods' gateway lives.
RESERVED = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local, where Calico's gateway 169.254.1.1 is",
    IPv4Network("224.0.0.0/3"): "multicast and reserved",
}


def reserved(network: IPv4Network) -> str:
    """Why ``network`` cannot be used for hosts, or an empty string."""
    return next(
        (f"{block} ({why})" for block, why in RESERVED.items() if network.overlaps(block)), ""
    )


def overlapping(items: Iterable[tuple[IPv4Network, T]]) -> list[tuple[T, T]]:
    """For each network that overlaps others, a pair of it and one other; n log n.

    Two prefixes overlap only when one holds the other, so a stack of open ones is enough.
    """
    pairs = []
    stack: list[tuple[IPv4Network, T]] = []
    for network, item in sorted(items, key=lambda entry: (entry[0].network_address, entry[0])):
        while stack and not network.subnet_of(stack[-1][0]):
            stack.pop()
        if stack:
            pairs.append((stack[-1][1], item))
        if not stack or network != stack[-1][0]:
            stack.append((network, item))
    return pairs


class NetworkIndex(Generic[T]):
    """Values by network; looks an address up with one probe per prefix length in use."""

    def __init__(self, items: Iterable[tuple[IPv4Network, T]] = ()) -> None:
        self._by_length: dict[int, dict[int, T]] = {}
        for network, value in items:
            slots = self._by_length.setdefault(network.prefixlen, {})
            slots.setdefault(int(network.network_address), value)

    def find(self, address: IPv4Address) -> T | None:
        """The value of the smallest network that holds ``address``, or None."""
        number = int(address)
        for length in sorted(self._by_length, reverse=True):
            value = self._by_length[length].get(number >> (32 - length) << (32 - length))
            if value is not None:
                return value
        return None


# --- addresses and blocks

def take_witnesses(report: Report, resources: Resources) -> None:
    """Addresses that other resources tell of: status.podIP, endpoints, and blocks themselves."""
    index = _by_network(resources.of(kinds.IP_POOL))
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
    report: Report, resources: Resources, workloads: list[Resource[Pod]]
) -> None:
    """Apply all rules; ``workloads`` make the pods."""
    _check_affinities(report, resources)
    _check_tunnel_addresses(report, resources)
    _check_pod_addresses(report, resources.of(kinds.IP_POOL), workloads)


def _check_affinities(report: Report, resources: Resources) -> None:
    """A block is a part of a pool, of its size, and belongs to one node."""
    nodes, pools = resources.of(kinds.NODE), resources.of(kinds.IP_POOL)
    names = [node.model.name for node in nodes if node.has("name")]
    known = set(names)
    nodes_complete = bool(nodes) and len(names) == len(nodes)
    index = _by_network(pools)
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
        elif pool is not None and block.prefixlen != pool.model.block_size:
            odd.append(f"{block} in {pool.model.cidr}, whose blocks are /{pool.model.block_size}")
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
    """calico-node replaces a tunnel address that is in no pool (``node/pkg/allocateip``)."""
    pools = resources.of(kinds.IP_POOL)
    index = _by_network(pools)
    outside: list[str] = []
    owners: dict[IPv4Address, str] = {}
    for node in resources.of(kinds.NODE):
        for name in ("ipip_address", "vxlan_address"):
            address = node.get(name)
            if address is None:
                continue
            if not index.find(address) and _is_complete(pools):
                outside.append(f"{node.get('name')} {address}")
            earlier = owners.setdefault(address, node.get("name", ""))
            if earlier != node.get("name", ""):
                report.warn(f"Nodes {earlier} and {node.get('name')} both have the tunnel address "
                            f"{address}, as cloned nodes do: each takes packets for it as its own, "
                            "until calico-node gives one of them another address, which it does "
                            "when it restarts or an IPPool changes.")
    if outside:
        report.warn(f"Tunnel addresses in no IPPool, so not used: {join_some(outside, 5)}. Is an "
                    "IPPool missing? 'kubectl get ippools -o yaml' prints a cluster's own.")


def _check_pod_addresses(
    report: Report, pools: list[Resource[IPPool]], workloads: list[Resource[Pod]]
) -> None:
    """Pods keep the addresses that they have, also where the pool has since gone.

    An address that is asked for, and cannot be had, is for IPAM to refuse.
    """
    index = _by_network(pools)
    is_default = any(not pool.mark.line for pool in pools)
    kept: dict[str, list[str]] = {}
    for pod in workloads if _is_complete(pools) else ():
        address, title = pod.model.ip, pod.model.key
        if address is None or not pod.get("has_ip") or pod.get("replicas") == 0:
            continue
        pool = index.find(address)
        if pool is None and is_default:
            report.add(f"pod {title} has {address}, which is in no enabled IPPool", pod.at("ip"),
                       "the file has no IPPool, so it is Calico's default, "
                       f"{join_some((str(pool.model.cidr) for pool in pools), 5)}: add yours; "
                       "calicoctl get ippool -o yaml prints it")
        elif pool is None or pool.model.disabled:
            where = f"the disabled IPPool {pool.get('name')}" if pool else "no IPPool"
            kept.setdefault(where, []).append(f"{title} {address}")
    for where, pods in kept.items():
        report.warn(f"Pods with an address in {where} keep it: {join_some(pods, 5)}.")


def _by_network(pools: list[Resource[IPPool]]) -> NetworkIndex[Resource[IPPool]]:
    return NetworkIndex((pool.model.cidr, pool) for pool in pools if pool.has("cidr"))


def _is_complete(pools: list[Resource[IPPool]]) -> bool:
    return all(pool.has("cidr") for pool in pools)
