"""Rules between objects, in Calico's words: names, ranges, addresses and blocks.

In go the objects of a file with their positions, out come problems. An object that lacks a field,
or has a wrong one, takes part in the rules about its other fields; as long as objects of a kind are
incomplete, nothing is reported as unknown to that kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

from calico_mn.model import EncapsulationMode, IPPool, Node, Pod, Underlay
from calico_mn.text import join_some, plural, quote
from calico_mn.topology.calico_kinds import BLOCK_AFFINITY, FELIX_CONFIGURATION, IP_POOL, NODE
from calico_mn.topology.networks import NetworkIndex, overlapping, reserved
from calico_mn.topology.problems import Mark, Report
from calico_mn.topology.readers import MIN_MTU
from calico_mn.topology.schema import Resource, Resources
from calico_mn.topology.underlay import INTERFACES, ROUTERS, SUBNETS


class Owners(dict[Any, tuple[str, Mark]]):
    """Values that only one object may have, each with the object that came first."""

    def take(self, value: Any, owner: str, mark: Mark) -> tuple[str, Mark] | None:
        """Give ``value`` to ``owner``, unless another has it: then that one, and where."""
        if value in self:
            return self[value]
        self[value] = owner, mark
        return None


def check_all(
    report: Report, resources: Resources, underlay: Resource[Underlay],
    workloads: list[Resource[Pod]], pods: int,
) -> None:
    """Apply all rules. ``workloads`` are what becomes ``pods`` pods."""
    nodes, pools = resources.of(NODE), resources.of(IP_POOL)
    _check_names(report, (("Node", nodes), ("subnet", underlay.entries(SUBNETS)),
                          ("router", underlay.entries(ROUTERS))))
    _check_names(report, (("IPPool", pools),))
    _check_ranges(report, pools, underlay)
    _check_nodes(report, nodes, underlay, _check_routers(report, underlay))
    _check_affinities(report, resources)
    _check_vxlan(report, resources, underlay)
    _check_pod_addresses(report, pools, workloads)
    _check_room(report, pools, pods, len(nodes))


def _check_names(
    report: Report, groups: Iterable[tuple[str, Sequence[Resource[Any]]]]
) -> None:
    """Names differ. Nodes, subnets and routers all become namespaces, and so share theirs."""
    owners = Owners()
    for what, items in groups:
        for item in items:
            if not item.has("name"):
                continue
            name, mark = item.get("name"), item.at("name")
            earlier = owners.take(name, what, mark)
            if earlier and earlier[0] == what:
                report.add(f"duplicate {what} name {quote(name)}", mark,
                           f"{earlier[1].where} has it already")
            elif earlier:
                other, other_mark = earlier
                report.add(f"{what} and {other} are both named {quote(name)}", mark,
                           f"nodes, subnets and routers need different names; the {other} is in "
                           f"{other_mark.where}")


# --- the physical network

class _Range(NamedTuple):
    mark: Mark
    what: str
    cidr: IPv4Network
    hint: str


def _check_ranges(
    report: Report, pools: list[Resource[IPPool]], underlay: Resource[Underlay]
) -> None:
    """Pools and subnets are ranges for hosts, and no two of them overlap."""
    ranges = [_Range(pool.at("cidr"), "IPPool", pool.model.cidr, pool.get("cidr_hint", ""))
              for pool in pools if pool.has("cidr")]
    for subnet in underlay.entries(SUBNETS):
        if subnet.has("cidr"):
            ranges.append(_Range(subnet.at("cidr"), "subnet", subnet.model.cidr, ""))
            if subnet.model.cidr.prefixlen == 32:
                report.add(f"subnet {subnet.model.cidr} has room for one host only",
                           subnet.at("cidr"),
                           "use a /31 for a cable between two routers, a shorter prefix for nodes")
    usable = []
    for item in ranges:
        why = reserved(item.cidr)
        if why:
            report.add(f"{item.what} {item.cidr} overlaps {why}", item.mark, item.hint or
                       "use a private range, such as 10.22.0.0/16 or 192.168.57.0/24")
        else:  # What an unusable range overlaps is not a second mistake.
            usable.append((item.cidr, item))
    for pair in overlapping(usable):
        first, second = sorted(pair, key=lambda item: (item.mark.line != 0, item.mark))
        hint = first.hint or second.hint
        if not hint and first.what == second.what == "subnet" and not underlay.mark.line:
            hint = "the nodes' prefixes disagree; make them equal, or add an Underlay"
        if not hint and first.mark.line:
            hint = (f"the other one is in {first.mark.where}; an address belongs to one range "
                    "only")
        report.add(f"{second.what} {second.cidr} overlaps {first.what} {first.cidr}", second.mark,
                   hint)


def _check_routers(report: Report, underlay: Resource[Underlay]) -> Owners:
    """Each interface is in a subnet of the underlay; returns the routers' addresses."""
    subnets = underlay.entries(SUBNETS)
    cidrs = {s.model.name: s.model.cidr for s in subnets if s.has("name")}
    complete = bool(subnets) and all(s.has("name") for s in subnets)
    owners = Owners()
    for router in underlay.entries(ROUTERS):
        title = _title("router", router)
        visited = Owners()
        for interface in router.entries(INTERFACES):
            name, address = interface.model.subnet, interface.model.address
            if interface.has("subnet"):
                mark = interface.at("subnet")
                earlier = visited.take(name, title, mark)
                if name not in cidrs and complete:
                    report.add(f"{title} has an interface in unknown subnet {quote(name)}", mark,
                               report.did_you_mean(name, cidrs) or "add it to spec.subnets")
                elif earlier:
                    report.add(f"{title} has two interfaces in subnet {quote(name)}", mark,
                               f"the first is in {earlier[1].where}; keep one of them")
            if interface.has("address"):
                mark = interface.at("address")
                if cidrs.get(name):
                    _check_host(report, title, address, cidrs[name], mark)
                earlier = owners.take(address, title, mark)
                if earlier:
                    report.add(f"{title} has address {address}, which {earlier[0]} has, too", mark,
                               f"the other one is in {earlier[1].where}")
    return owners


def _check_nodes(
    report: Report, nodes: list[Resource[Node]], underlay: Resource[Underlay], routers: Owners
) -> None:
    """Each node has an address of its own in a subnet; calico-node refuses a duplicate."""
    subnets = underlay.entries(SUBNETS)
    index = NetworkIndex((s.model.cidr, s.model.cidr) for s in subnets if s.has("cidr"))
    complete = bool(subnets) and all(s.has("cidr") for s in subnets)
    owners = Owners()
    for node in nodes:
        if not node.has("address"):
            continue
        title, mark = _title("node", node), node.at("address")
        address = IPv4Address(node.model.address.ip)
        subnet = index.find(address)
        if subnet is not None:
            _check_host(report, title, address, subnet, mark)
        elif complete:
            report.add(f"{title} has address {address}, which is in no subnet of the underlay",
                       mark, "correct the address, or add its subnet to the Underlay")
        if address in routers:
            report.add(f"{title} has address {address}, which {routers[address][0]} has, too",
                       mark, "a router's address is its nodes' gateway; give the node another")
        earlier = owners.take(address, title, mark)
        if earlier:
            report.add(f"{title} has address {address}, which {earlier[0]} has, too", mark,
                       f"the other one is in {earlier[1].where}; calico-node refuses to start "
                       "with the address of another node")


def _check_host(
    report: Report, title: str, address: IPv4Address, subnet: IPv4Network, mark: Mark
) -> None:
    if address not in subnet:
        report.add(f"{title} has address {address}, which is outside its subnet {subnet}", mark,
                   f"choose one of {subnet}" if subnet.prefixlen < 32 else "")
    elif subnet.prefixlen < 31:
        special = {subnet.network_address: "network", subnet.broadcast_address: "broadcast"}
        if address in special:
            report.add(f"{title} has address {address}, the {special[address]} address of {subnet}",
                       mark, f"choose one from {subnet[1]} to {subnet[-2]}")


def _title(what: str, item: Resource[Any]) -> str:
    return f"{what} {quote(item.get('name'))}" if item.has("name") else what


def _check_vxlan(report: Report, resources: Resources, underlay: Resource[Underlay]) -> None:
    """VTEPs have MACs of their own, and VXLAN's headers leave room for IPv4."""
    owners = Owners()
    for node in resources.of(NODE):
        if node.has("vxlan_mac"):
            mark = node.at("vxlan_mac")
            earlier = owners.take(node.model.vxlan_mac, _title("node", node), mark)
            if earlier:
                report.add(f"{_title('node', node)} has the VXLAN MAC address "
                           f"{node.model.vxlan_mac}, which {earlier[0]} has, too", mark,
                           f"the other one is in {earlier[1].where}")
    used = any(pool.vxlan_mode is not EncapsulationMode.NEVER
               for pool in _enabled(resources.of(IP_POOL)))
    felix = resources.single(FELIX_CONFIGURATION)
    enabled = felix.get("vxlan_enabled", used) if felix else used
    if enabled != used:
        report.warn(f"FelixConfiguration spec.vxlanEnabled {str(enabled).lower()} has no effect: "
                    "VXLAN is on where an IPPool says so, which is Calico's automatic choice.")
    if not used or (felix and felix.get("vxlan_mtu")):
        return
    for subnet in underlay.entries(SUBNETS):
        if subnet.model.mtu < MIN_MTU + 50:
            report.add(f"{_title('subnet', subnet)} has MTU {subnet.model.mtu}, and with VXLAN's "
                       f"headers IPv4 needs {MIN_MTU + 50}", subnet.at("mtu"),
                       "use a larger mtu, or an IPPool without vxlanMode")


# --- blocks and addresses of pods

def _check_affinities(report: Report, resources: Resources) -> None:
    """A block is a part of a pool, of its size, and belongs to one node."""
    nodes, pools = resources.of(NODE), resources.of(IP_POOL)
    names = [node.model.name for node in nodes if node.has("name")]
    known_names = set(names)
    nodes_complete = bool(nodes) and len(names) == len(nodes)
    index = NetworkIndex((pool.model.cidr, pool.model) for pool in pools if pool.has("cidr"))
    owners = Owners()
    for affinity in resources.of(BLOCK_AFFINITY):
        node, block = affinity.model.node, affinity.model.cidr
        if affinity.has("node") and node not in known_names and nodes_complete:
            report.add(f"BlockAffinity is for unknown node {quote(node)}", affinity.at("node"),
                       report.did_you_mean(node, names) or "add the Node, or correct the name")
        if not affinity.has("cidr"):
            continue
        mark = affinity.at("cidr")
        pool = index.find(block.network_address)
        if pool is None:
            if _is_complete(pools):
                report.add(f"block {block} is in no IPPool", mark,
                           "a block is a part of a pool; correct it, or add its pool")
        elif block.prefixlen != pool.block_size:
            report.add(f"block {block} is not of its pool's block size /{pool.block_size}", mark,
                       f"IPPool {pool.cidr} is divided into /{pool.block_size} blocks; see its "
                       "blockSize")
        earlier = owners.take(block, "", mark)
        if earlier:
            report.add(f"block {block} is claimed twice", mark,
                       f"{earlier[1].where} claims it already, and a block belongs to one node")


def _check_pod_addresses(
    report: Report, pools: list[Resource[IPPool]], workloads: list[Resource[Pod]]
) -> None:
    """An address that is asked for is in an enabled pool, and asked for once."""
    enabled = _enabled(pools)
    index = NetworkIndex((pool.cidr, pool) for pool in enabled)
    owners = Owners()
    for pod in workloads:
        replicas = pod.get("replicas")
        if not pod.has("ip") or replicas == 0:
            continue
        title = f"{pod.model.namespace}/{pod.model.name}"
        address, mark = pod.model.ip, pod.at("ip")
        if address and index.find(address) is None and _is_complete(pools):
            report.add(f"pod {title} asks for {address}, which is in no enabled IPPool", mark,
                       f"the pools are {join_some((str(p.cidr) for p in enabled), 5)}"
                       if enabled else "add an IPPool")
        earlier = owners.take(address, title, mark)
        if replicas and replicas > 1:
            report.add(f"{pod.get('kind')} {title} asks for one address {address} for {replicas} "
                       "pods", mark, "a fixed address goes with replicas: 1")
        elif earlier:
            report.add(f"pod {title} asks for {address}, which pod {earlier[0]} has asked for",
                       mark, f"the other one is in {earlier[1].where}")


def _check_room(report: Report, pools: list[Resource[IPPool]], pods: int, nodes: int) -> None:
    """The pools have room for all pods and tunnels.

    The count is a necessary condition only: which node gets which block is decided by IPAM.
    """
    enabled = _enabled(pools)
    never = EncapsulationMode.NEVER
    tunnels = nodes * (any(pool.ipip_mode is not never for pool in enabled)
                       + any(pool.vxlan_mode is not never for pool in enabled))
    room = sum(pool.cidr.num_addresses for pool in enabled)
    if not pods or not _is_complete(pools) or pods + tunnels <= room:
        return
    wanted = plural(pods, "pod") + (f" and {plural(tunnels, 'tunnel')}" if tunnels else "")
    what = (f"no room for {wanted} ({plural(pods + tunnels, 'address')}): the enabled IPPools have "
            f"{plural(room, 'address')}")
    if enabled:
        first = next(pool for pool in pools if pool.has("cidr") and not pool.model.disabled)
        report.add(what, first.at("cidr"), "use a larger pool, or fewer pods")
    else:
        report.add_for_file(what, "add an IPPool that is not disabled")


def _enabled(pools: list[Resource[IPPool]]) -> list[IPPool]:
    return [pool.model for pool in pools if pool.has("cidr") and not pool.model.disabled]


def _is_complete(pools: list[Resource[IPPool]]) -> bool:
    return all(pool.has("cidr") for pool in pools)
