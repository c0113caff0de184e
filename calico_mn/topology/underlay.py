"""The physical network: the ``Underlay`` kind -> draft, and the one that is made up without it."""

from __future__ import annotations

from ipaddress import IPv4Network

from calico_mn.model import INNER_FLOW, MultipathHash
from calico_mn.topology import drafts as d
from calico_mn.topology.fields import Located, Record
from calico_mn.topology.problems import NOWHERE, Mark, Report, listing

DEFAULT_MTU = 1500
# tunl0 has 20 bytes less, and 68 is the least that IPv4 allows (RFC 791).
MIN_IPV4_MTU = 68
MIN_MTU = 88
MAX_MTU = 65535
# net.ipv4.fib_multipath_hash_fields: twelve bits (FIB_MULTIPATH_HASH_FIELD_ALL_MASK).
MAX_HASH_FIELDS = 0x0FFF
DERIVED_ROUTER = "fabric"


def add_underlay(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``calico-mn/v1`` Underlay."""
    if drafts.underlay is not None:
        report.add("a second Underlay", record.mark,
                   f"the first is in line {drafts.underlay.mark.line}; put all subnets and "
                   "routers into one")
        return
    name = record.get("metadata", "name")
    rate, delay = record.get("spec", "link", "rate"), record.get("spec", "link", "delay")
    subnets = []
    for item in record.items("spec", "subnets"):
        _require(report, item, "Underlay subnet", ("name", "cidr"))
        own_rate, own_delay = item.get("link", "rate") or rate, item.get("link", "delay") or delay
        subnets.append(d.SubnetDraft(
            item.get("name"), item.get("cidr"), _mtu(report, item),
            own_rate.value if own_rate else None, own_delay.value if own_delay else None,
        ))
    routers = tuple(_router(report, item) for item in record.items("spec", "routers"))
    spec, _ = record.nearest("spec")
    if spec is not None and spec.lists.get("subnets") == []:
        report.add("Underlay spec.subnets is empty", record.mark,
                   "add at least one subnet: {name: rack-a, cidr: 192.168.57.0/24}")
    drafts.underlay = d.UnderlayDraft(
        str(name.value) if name else "underlay", record.mark, tuple(subnets), routers
    )


def derive_underlay(report: Report, nodes: list[d.NodeDraft]) -> d.UnderlayDraft:
    """One subnet for each network of the nodes' addresses, and one router in all of them."""
    taken_names = {node.name.value for node in nodes if node.name}
    addresses = {node.address.value.ip for node in nodes if node.address}
    networks: dict[IPv4Network, Mark] = {}
    for node in nodes:
        if node.address is None:
            continue
        network = node.address.value.network
        if network.prefixlen == 32:
            report.add(
                f"node address {node.address.value} is a /32, so its subnet is unknown",
                node.address.mark,
                "add an Underlay that says which subnets there are, or give the prefix length",
            )
        else:
            networks.setdefault(network, node.address.mark)
    subnets, feet = [], []
    for network, mark in networks.items():
        name = _free_name(f"subnet-{str(network.network_address).replace('.', '-')}", taken_names)
        taken_names.add(name)
        subnets.append(d.SubnetDraft(Located(name, mark), Located(network, mark), DEFAULT_MTU))
        gateway = next((host for host in network.hosts() if host not in addresses), None)
        if gateway is None:
            report.add(f"network {network} has no free address for a router", mark,
                       "add an Underlay, or give the nodes a shorter prefix")
        else:
            addresses.add(gateway)
            feet.append(d.FootDraft(Located(name, mark), Located(gateway, mark)))
    router = _free_name(DERIVED_ROUTER, taken_names)
    if subnets and not report.failed:
        feet_text = listing((f"{f.address.value}" for f in feet if f.address), 8)
        report.warn(
            f"The file has no Underlay: assumed {listing(map(_describe, subnets), 8)} with MTU "
            f"{DEFAULT_MTU}, joined by router {router} ({feet_text}), which knows no pods."
        )
    return d.UnderlayDraft(
        "underlay", NOWHERE, tuple(subnets),
        (d.RouterDraft(Located(router, NOWHERE), False, tuple(feet)),) if feet else (),
    )


def _describe(subnet: d.SubnetDraft) -> str:
    return f"subnet {subnet.cidr.value}" if subnet.cidr else "a subnet"


def _free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    return candidate


def _router(report: Report, item: Record) -> d.RouterDraft:
    _require(report, item, "Underlay router", ("name", "interfaces"))
    feet = []
    for foot in item.items("interfaces"):
        _require(report, foot, "router interface", ("subnet", "address"))
        feet.append(d.FootDraft(foot.get("subnet"), foot.get("address")))
    if not feet and "interfaces" in item.lists:
        report.add("Underlay router has no interfaces", item.mark,
                   "add interfaces: [{subnet: rack-a, address: 192.168.57.1}]")
    pod_routes = item.get("podRoutes")
    return d.RouterDraft(item.get("name"), bool(pod_routes and pod_routes.value), tuple(feet),
                         _multipath_hash(report, item))


def _multipath_hash(report: Report, item: Record) -> MultipathHash:
    policy: Located[int] | None = item.get("multipathHash")
    fields: Located[int] | None = item.get("multipathHashFields")
    if policy is not None and not 0 <= policy.value <= 3:
        report.add(f"router multipathHash {policy.value} is not between 0 and 3", policy.mark,
                   "0: outer addresses, 1: and ports, 2: inner addresses, 3: multipathHashFields")
        policy = None
    number = policy.value if policy else 0
    if fields is None:
        return MultipathHash(number)
    if number != 3 and (policy or not item.has("multipathHash")):
        report.add("router multipathHashFields counts only with multipathHash: 3", fields.mark,
                   "add multipathHash: 3, or take the fields out")
    if not 1 <= fields.value <= MAX_HASH_FIELDS:
        report.add(f"router multipathHashFields {fields.value} is not between 1 and "
                   f"{MAX_HASH_FIELDS}", fields.mark,
                   f"a sum of bits; {INNER_FLOW} are the inner addresses, protocol and ports")
    return MultipathHash(number, fields.value)


def _require(report: Report, item: Record, what: str, names: tuple[str, ...]) -> None:
    for name in names:
        if not item.has(name):
            report.add(f"{what} needs {name}", item.mark, _EXAMPLES[what])


_EXAMPLES = {
    "Underlay subnet": "for example {name: rack-a, cidr: 192.168.57.0/24}",
    "Underlay router":
        "for example {name: r1, interfaces: [{subnet: rack-a, address: 192.168.57.1}]}",
    "router interface": "for example {subnet: rack-a, address: 192.168.57.1}",
}


def _mtu(report: Report, item: Record) -> int:
    mtu: Located[int] | None = item.get("mtu")
    if mtu is None:
        return DEFAULT_MTU
    if not MIN_MTU <= mtu.value <= MAX_MTU:
        report.add(f"Underlay subnet mtu {mtu.value} is not between {MIN_MTU} and {MAX_MTU}",
                   mtu.mark, "IPv4 needs 68 bytes, and the IPIP header takes 20 more")
    return mtu.value

