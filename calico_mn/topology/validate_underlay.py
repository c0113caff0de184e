"""Rules of the physical network: names, ranges, and the addresses of routers and nodes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from calico_mn.topology import drafts as d
from calico_mn.topology.fields import Located
from calico_mn.topology.networks import NetworkIndex, overlapping, reserved
from calico_mn.topology.problems import Mark, Report, quote


def check_names(report: Report, drafts: d.Drafts, underlay: d.UnderlayDraft) -> None:
    """Nodes, subnets and routers all become namespaces, and so share one set of names."""
    seen: dict[str, tuple[str, Mark]] = {}
    groups: list[tuple[str, list[Located[str] | None]]] = [
        ("Node", [node.name for node in drafts.nodes]),
        ("subnet", [subnet.name for subnet in underlay.subnets]),
        ("router", [router.name for router in underlay.routers]),
    ]
    for what, names in groups:
        for name in names:
            if name is None:
                continue
            other, mark = seen.setdefault(name.value, (what, name.mark))
            if mark == name.mark:
                continue
            if other == what:
                report.add(f"duplicate {what} name {quote(name.value)}", name.mark,
                           f"line {mark.line} has it already")
            else:
                report.add(f"{what} and {other} are both named {quote(name.value)}", name.mark,
                           f"nodes, subnets and routers need different names; the {other} is in "
                           f"line {mark.line}")


def check_ranges(report: Report, drafts: d.Drafts, underlay: d.UnderlayDraft) -> None:
    """Pools and subnets are ranges for hosts, and no two of them overlap."""
    ranges: list[tuple[IPv4Network, tuple[str, Mark, IPv4Network, str]]] = []
    for pool in drafts.pools:
        ranges.append(
            (pool.cidr.value, ("IPPool", pool.cidr.mark, pool.cidr.value, pool.cidr_hint))
        )
    for subnet in underlay.subnets:
        if subnet.cidr is None:
            continue
        cidr = subnet.cidr
        ranges.append((cidr.value, ("subnet", cidr.mark, cidr.value, "")))
        if cidr.value.prefixlen == 32:
            report.add(f"subnet {cidr.value} has room for one host only", cidr.mark,
                       "use a /31 for a cable between two routers, and less for nodes")
    unusable: set[Mark] = set()
    for network, (what, mark, _, hint) in ranges:
        why = reserved(network)
        if why:
            unusable.add(mark)
            report.add(f"{what} {network} overlaps {why}", mark,
                       hint or "use a private range, such as 10.22.0.0/16 or 192.168.57.0/24")
    # Such a range is wrong in itself; what it overlaps is not a second mistake.
    for one, two in overlapping(r for r in ranges if r[1][1] not in unusable):
        first, second = sorted((one, two), key=lambda r: (r[1].line != 0, r[1]))
        hint = first[3] or second[3]
        if not hint and first[0] == second[0] == "subnet" and not underlay.mark.line:
            hint = "the nodes' prefixes disagree; make them equal, or add an Underlay"
        if not hint and first[1].line:
            hint = f"the other one is in line {first[1].line}; each address has one place only"
        report.add(f"{second[0]} {second[2]} overlaps {first[0]} {first[2]}", second[1], hint)


def check_routers(
    report: Report, underlay: d.UnderlayDraft
) -> dict[IPv4Address, Located[str]]:
    """Every interface is in a subnet of the underlay; returns the routers' addresses."""
    cidrs = {s.name.value: s.cidr for s in underlay.subnets if s.name}
    names_known = all(s.name for s in underlay.subnets) and bool(underlay.subnets)
    taken: dict[IPv4Address, Located[str]] = {}
    for router in underlay.routers:
        title = f"router {quote(router.name.value)}" if router.name else "router"
        visited: dict[str, Mark] = {}
        for foot in router.interfaces:
            if foot.subnet is not None:
                subnet = foot.subnet
                if subnet.value not in cidrs and names_known:
                    report.add(f"{title} has an interface in unknown subnet "
                               f"{quote(subnet.value)}", subnet.mark,
                               report.guess(subnet.value, cidrs)
                               or "add it to spec.subnets")
                elif subnet.value in visited:
                    report.add(f"{title} has two interfaces in subnet {quote(subnet.value)}",
                               subnet.mark, f"the first is in line {visited[subnet.value].line}; "
                               "keep one of them")
                visited.setdefault(subnet.value, subnet.mark)
            if foot.address is None:
                continue
            cidr = cidrs.get(foot.subnet.value) if foot.subnet else None
            if cidr:
                _check_host(report, title, foot.address.value, cidr.value, foot.address.mark)
            if foot.address.value in taken:
                other = taken[foot.address.value]
                report.add(f"{title} has address {foot.address.value}, which {other.value} has, "
                           "too", foot.address.mark,
                           f"the other one is in line {other.mark.line}")
            taken.setdefault(foot.address.value, Located(title, foot.address.mark))
    return taken


def check_nodes(
    report: Report, drafts: d.Drafts, underlay: d.UnderlayDraft,
    routers: dict[IPv4Address, Located[str]],
) -> None:
    """Every node has an address of its own in a subnet; calico-node refuses a duplicate."""
    index = NetworkIndex((s.cidr.value, s.cidr.value) for s in underlay.subnets if s.cidr)
    complete = bool(underlay.subnets) and all(s.cidr for s in underlay.subnets)
    owners: dict[IPv4Address, tuple[str, Mark]] = {}
    for node in drafts.nodes:
        if node.address is None:
            continue
        title = f"node {quote(node.name.value)}" if node.name else "node"
        address, mark = IPv4Address(node.address.value.ip), node.address.mark
        subnet = index.find(address)
        if subnet is not None:
            _check_host(report, title, address, subnet, mark)
        elif complete:
            report.add(f"{title} has address {address}, which is in no subnet of the underlay",
                       mark, "correct the address, or add its subnet to the Underlay")
        if address in routers:
            report.add(f"{title} has address {address}, which {routers[address].value} has, too",
                       mark, "a router's address is its nodes' gateway; give the node another")
        other, other_mark = owners.setdefault(address, (title, mark))
        if other_mark != mark:
            report.add(f"{title} has address {address}, which {other} has, too", mark,
                       f"the other one is in line {other_mark.line}; calico-node refuses to start "
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
