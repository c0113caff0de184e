"""Rules between objects, in Calico's words: names, ranges, addresses and blocks.

In go the objects of a file with their positions, out come problems. An object that lacks a field,
or has a wrong one, takes part in the rules about its other fields; as long as objects of a kind are
incomplete, nothing is reported as unknown to that kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

from calico_mn.model import EncapsulationMode, IPPool, Node, Underlay
from calico_mn.text import quote
from calico_mn.topology.address_rules import NetworkIndex, overlapping, reserved
from calico_mn.topology.bgp_kinds import BGP_FILTER, BGP_PEER
from calico_mn.topology.calico_kinds import FELIX_CONFIGURATION, IP_POOL, NODE
from calico_mn.topology.problems import Mark, Report
from calico_mn.topology.readers import MIN_MTU
from calico_mn.topology.schema import Resource, Resources
from calico_mn.topology.underlay import HOSTS, INTERFACES, ROUTERS, SUBNETS


class Owners(dict[Any, tuple[str, Mark]]):
    """Values that only one object may have, each with the object that came first."""

    def take(self, value: Any, owner: str, mark: Mark) -> tuple[str, Mark] | None:
        """Give ``value`` to ``owner``, unless another has it: then that one, and where."""
        if value in self:
            return self[value]
        self[value] = owner, mark
        return None

    def claim(self, report: Report, value: Any, owner: str, mark: Mark, what: str,
              remark: str = "") -> None:
        """As :meth:`take`; that another has the value is reported, and is called ``what``."""
        earlier = self.take(value, owner, mark)
        if earlier:
            report.add(f"{owner} has {what}, which {earlier[0]} has, too", mark,
                       f"the other one is in {earlier[1].where}{remark}")


def check_all(report: Report, resources: Resources, underlay: Resource[Underlay]) -> None:
    """Apply the rules about names, networks and nodes."""
    nodes, pools = resources.of(NODE), resources.of(IP_POOL)
    _check_names(report, (("Node", nodes), ("subnet", underlay.entries(SUBNETS)),
                          ("router", underlay.entries(ROUTERS)),
                          ("host", underlay.entries(HOSTS))))
    for kind in (IP_POOL, BGP_PEER, BGP_FILTER):
        _check_names(report, ((kind.name, resources.of(kind)),))
    _check_ranges(report, pools, underlay)
    owners = _check_routers(report, underlay)
    _check_hosts(report, underlay, owners)
    _check_nodes(report, nodes, underlay, owners)
    _check_vxlan(report, resources, underlay)
    _check_enabled(report, resources)


def _check_names(
    report: Report, groups: Iterable[tuple[str, Sequence[Resource[Any]]]]
) -> None:
    """Names differ. Nodes, subnets, routers and hosts all become namespaces, and share theirs."""
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
                report.add(f"{what} and {earlier[0]} are both named {quote(name)}", mark,
                           "nodes, subnets, routers and hosts need different names; the"
                           f" {earlier[0]} is in {earlier[1].where}")


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
        if first.what != second.what:
            of_pool, of_nodes = sorted(pair, key=lambda item: item.what)
            report.warn(f"IPPool {of_pool.cidr} overlaps the nodes' network {of_nodes.cidr}: "
                        "Calico takes it, and what is sent to such an address may reach a node or "
                        "a pod.")
            continue
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
                _check_host(report, title, address, cidrs.get(name), mark)
                owners.claim(report, address, title, mark, f"address {address}")
    return owners


def _check_hosts(report: Report, underlay: Resource[Underlay], owners: Owners) -> None:
    """Each external host has an address of its own in a subnet, and so has its gateway there."""
    subnets = underlay.entries(SUBNETS)
    cidrs = {s.model.name: s.model.cidr for s in subnets if s.has("name") and s.has("cidr")}
    complete = bool(subnets) and all(s.has("name") and s.has("cidr") for s in subnets)
    for host in underlay.entries(HOSTS):
        title, name = _title("host", host), host.get("subnet")
        if name is not None and name not in cidrs and complete:
            report.add(f"{title} is in unknown subnet {quote(name)}", host.at("subnet"),
                       report.did_you_mean(name, cidrs) or "add it to spec.subnets")
        if not host.has("address"):
            continue
        address, mark = host.model.address, host.at("address")
        subnet = cidrs.get(name) if name is not None else next(
            (cidr for cidr in cidrs.values() if address in cidr), None)
        _check_host(report, title, address, subnet, mark, complete and name is None)
        if host.model.gateway is not None:
            _check_host(report, f"the gateway of {title}", host.model.gateway, subnet,
                        host.at("gateway"))
        owners.claim(report, address, title, mark, f"address {address}")


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
        _check_host(report, title, address, index.find(address), mark, complete)
        if address in routers:
            report.add(f"{title} has address {address}, which {routers[address][0]} has, too",
                       mark, "a router's address is its nodes' gateway; give the node another"
                       if routers[address][0].startswith("router") else "give the node another")
        owners.claim(report, address, title, mark, f"address {address}",
                     "; calico-node refuses to start with the address of another node")


def _check_host(
    report: Report, title: str, address: IPv4Address, subnet: IPv4Network | None, mark: Mark,
    is_needed: bool = False,
) -> None:
    """An address of a host in its subnet; that there is none is reported where one is needed."""
    if subnet is None:
        if is_needed:
            report.add(f"{title} has address {address}, which is in no subnet of the underlay",
                       mark, "correct the address, or add its subnet to the Underlay")
    elif address not in subnet:
        report.add(f"{title} has address {address}, which is outside its subnet {subnet}", mark,
                   f"choose one of {subnet}" if subnet.prefixlen < 32 else "")
    elif subnet.prefixlen < 31:
        special = {subnet.network_address: "network", subnet.broadcast_address: "broadcast"}
        if address in special:
            report.add(f"{title} has address {address}, the {special[address]} address of {subnet}",
                       mark, f"choose one from {subnet[1]} to {subnet[-2]}")


def _title(what: str, item: Resource[Any]) -> str:
    return f"{what} {quote(item.get('name'))}" if item.has("name") else what


def _check_enabled(report: Report, resources: Resources) -> None:
    """``ipipEnabled`` and ``vxlanEnabled`` where they are not Felix's automatic choice."""
    felix = resources.single(FELIX_CONFIGURATION)
    for name, mode, device in (("ipip", "ipip_mode", "tunl0"),
                               ("vxlan", "vxlan_mode", "vxlan.calico")):
        used = _is_used(resources, mode)
        enabled = felix.get(f"{name}_enabled", used) if felix else used
        if enabled != used:
            report.warn(f"FelixConfiguration spec.{name}Enabled {str(enabled).lower()} concerns"
                        f" Felix's rules only: {device} is there as the IPPools need it.")


def _is_used(resources: Resources, mode: str) -> bool:
    return any(getattr(pool.model, mode) is not EncapsulationMode.NEVER and not pool.model.disabled
               for pool in resources.of(IP_POOL) if pool.has("cidr"))


def _check_vxlan(report: Report, resources: Resources, underlay: Resource[Underlay]) -> None:
    """VTEPs have MACs of their own, and VXLAN's headers leave room for IPv4."""
    owners = Owners()
    for node in resources.of(NODE):
        if node.has("vxlan_mac"):
            mac = node.model.vxlan_mac
            owners.claim(report, mac, _title("node", node), node.at("vxlan_mac"),
                         f"the VXLAN MAC address {mac}")
    used = _is_used(resources, "vxlan_mode")
    felix = resources.single(FELIX_CONFIGURATION)
    if not used or (felix and felix.get("vxlan_mtu")):
        return
    for subnet in underlay.entries(SUBNETS):
        if subnet.model.mtu < MIN_MTU + 50:
            report.add(f"{_title('subnet', subnet)} has MTU {subnet.model.mtu}, and with VXLAN's "
                       f"headers IPv4 needs {MIN_MTU + 50}", subnet.at("mtu"),
                       "use a larger mtu, or an IPPool without vxlanMode")
