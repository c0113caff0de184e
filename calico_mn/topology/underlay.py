"""The physical network and the nodes in it: the kind ``Underlay``, and what is assumed without it.

In the Kubernetes datastore there is no Node of Calico's: kubectl prints ``v1`` Nodes with Calico's
annotations, and calicoctl makes its own of them (libcalico-go lib/backend/k8s/resources/node.go).
In go the nodes of both kinds, out come those that the cluster has. A node that Calico has not yet
given an address gets its InternalIP, and a prefix that is assumed and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network

from calico_mn import model
from calico_mn.text import join_some, quote
from calico_mn.topology import address_readers as a
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.calico_kinds import NODE
from calico_mn.topology.kubernetes_kinds import ADDRESSES, as_number
from calico_mn.topology.kubernetes_kinds import NODE as KUBERNETES_NODE
from calico_mn.topology.plain_data import Document, table_fields
from calico_mn.topology.problems import NO_MARK, Mark, Report
from calico_mn.topology.yaml_tree import Tree

API = "calico-mn/v1"
#: the name of an Underlay that no file gives
ASSUMED = "assumed"
# The subnet of a node whose address is a /32.
ASSUMED_PREFIX = 24
# net.ipv4.fib_multipath_hash_fields: twelve bits (FIB_MULTIPATH_HASH_FIELD_ALL_MASK).
MAX_HASH_FIELDS = 0x0FFF


def _quantity(unit: str, smaller: str) -> Callable[[float], str]:
    """A writer of a value in the unit, or in one a thousand times smaller for more digits."""
    def write(value: float) -> str:
        scale, shown = (1, unit) if round(value, 6) == value else (1000, smaller)
        return f"{value * scale:.6f}".rstrip("0").rstrip(".") + shown

    return write


_LINK: s.Table = {
    "rate": s.Field(r.rate, "rate", write=_quantity("Mbit", "Kbit")),
    "delay": s.Field(r.delay, "delay", write=_quantity("ms", "us")),
    "loss": s.Field(r.loss, "loss", write=_quantity("%", "%")),
    "jitter": s.Ignored(says="all packets of a cable have the same delay"),
}
_SUBNET_HINT = "for example {name: rack-a, cidr: 192.168.57.0/24}"
_ROUTER_HINT = "for example {name: r1, interfaces: [{subnet: rack-a, address: 192.168.57.1}]}"
_HOST_HINT = "for example {name: client, address: 192.168.57.99}"
_AS_HINT = "for example bgp: {asNumber: 64601}"
_INTERFACE_HINT = "for example {subnet: rack-a, address: 192.168.57.1}"

SUBNETS = s.List({
    "name": s.Field(r.label, "name", _SUBNET_HINT),
    "cidr": s.Field(a.ipv4_network, "cidr", _SUBNET_HINT),
    "mtu": s.Field(r.integer(88, r.MAX_MTU,
                           "IPv4 needs 68 bytes, and the IPIP header takes 20 more"), "mtu",
                 shown=True),
    "link": _LINK,
    "nodePrefix": s.Field(r.integer(1, 32, "the prefix length of the nodes' NICs, such as 32"),
                          "node_prefix"),
}, model.Subnet, name="subnets", missing="add subnets: a list of {name, cidr}",
    empty="add at least one subnet: {name: rack-a, cidr: 192.168.57.0/24}")


def _as_number(tree: Tree) -> int:
    """A router's AS; 0 belongs to no network (RFC 7607)."""
    number = as_number(tree)
    if not number:
        raise r.InvalidValueError("0 is reserved", _AS_HINT)
    return number


def _check_router(report: Report, router: s.Resource[model.Router]) -> bool:
    speaks = router.given.get("bgp")
    if speaks and "bgp.asNumber" not in router.given:
        report.add("router bgp needs asNumber", speaks, _AS_HINT)
    if speaks and router.get("pod_routes"):
        report.add("router podRoutes and bgp are two ways to the same routes",
                   router.at("pod_routes"), "take podRoutes out: BGP brings the pods' routes")
    policy, fields = router.get("policy", 0), router.get("fields")
    if fields is None:
        router.values["multipath_hash"] = model.MultipathHash(policy)
        return True
    if policy != 3 and "policy" not in router.wrong:
        report.add("router multipathHashFields counts only with multipathHash: 3",
                   router.at("fields"), "add multipathHash: 3, or take the fields out")
    router.values["multipath_hash"] = model.MultipathHash(policy, fields)
    return True


INTERFACES = s.List({
    "subnet": s.Field(r.label, "subnet", _INTERFACE_HINT),
    "address": s.Field(a.address, "address", _INTERFACE_HINT),
}, model.RouterInterface, name="interfaces", missing=_ROUTER_HINT,
    empty="add interfaces: [{subnet: rack-a, address: 192.168.57.1}]")
ROUTERS = s.List({
    "name": s.Field(r.label, "name", _ROUTER_HINT),
    "podRoutes": s.Field(r.boolean, "pod_routes"),
    "bgp": {"asNumber": s.Field(_as_number, "as_number")},
    "multipathHash": s.Field(r.integer(
        0, 3, "0: outer addresses, 1: and ports, 2: inner addresses, 3: multipathHashFields"),
        "policy"),
    "multipathHashFields": s.Field(r.integer(
        1, MAX_HASH_FIELDS, f"a sum of bits; {model.INNER_FLOW} are the inner addresses, protocol "
        "and ports"), "fields"),
    "interfaces": INTERFACES,
}, model.Router, _check_router, name="routers")
HOSTS = s.List({
    "name": s.Field(r.label, "name", _HOST_HINT),
    "address": s.Field(a.address, "address", _HOST_HINT),
    "subnet": s.Field(r.label, "subnet"),
    "gateway": s.Field(a.address, "gateway"),
}, model.ExternalHost, name="hosts")


def _check_underlay(report: Report, underlay: s.Resource[model.Underlay]) -> bool:
    """A subnet's link overrides the default field by field."""
    for subnet in underlay.entries(SUBNETS):
        subnet.model = replace(subnet.model, link=model.Link(**{
            name: subnet.get(name, underlay.get(name)) for name in ("rate", "delay", "loss")}))
    return True


UNDERLAY = s.Kind(s.resource_table(
    {**s.BOOKKEEPING, "name": s.Field(r.label, "name")},
    spec={"link": _LINK, "subnets": SUBNETS, "routers": ROUTERS, "hosts": HOSTS},
), model.Underlay, _check_underlay, api=API, name="Underlay",
    single="put all subnets, routers and hosts into one")


# --- without an Underlay

def assume_underlay(report: Report, nodes: list[s.Resource[model.Node]]
                    ) -> s.Resource[model.Underlay]:
    """One subnet for each network of the nodes' addresses, and one router in all of them."""
    names = {node.model.name for node in nodes if node.has("name")}
    addresses = {node.model.address.ip for node in nodes if node.has("address")}
    subnets: list[s.Resource[model.Subnet]] = []
    interfaces: list[s.Resource[model.RouterInterface]] = []
    for network, mark in _networks(report, nodes).items():
        name = _free_name(f"subnet-{str(network.network_address).replace('.', '-')}", names)
        names.add(name)
        subnets.append(s.made(model.Subnet, mark, name=name, cidr=network))
        gateway = next((host for host in network.hosts() if host not in addresses), None)
        if gateway is None:
            report.add(f"network {network} has no free address for a router", mark,
                       "add an Underlay, or give the nodes a shorter prefix")
        else:
            addresses.add(gateway)
            interfaces.append(s.made(model.RouterInterface, mark, subnet=name, address=gateway))
    router = _free_name("fabric", names)
    if subnets and not report.failed:
        shown = join_some((f"subnet {subnet.model.cidr}" for subnet in subnets), 8)
        gateways = join_some((str(interface.model.address) for interface in interfaces), 8)
        report.warn(
            f"The file has no Underlay: assumed {shown} with MTU {subnets[0].model.mtu}, joined by "
            f"router {router} ({gateways}), which knows no pods."
        )
    routers = ([s.made(model.Router, NO_MARK, name=router, interfaces=interfaces)]
               if interfaces else [])
    return s.made(model.Underlay, NO_MARK, subnets=subnets, routers=routers, name=ASSUMED)


def _networks(report: Report, nodes: list[s.Resource[model.Node]]) -> dict[IPv4Network, Mark]:
    """The networks of the nodes' addresses, none inside another; a /32 counts as the /24 around."""
    networks: dict[IPv4Network, Mark] = {}
    lone: list[str] = []
    for node in sorted((node for node in nodes if node.has("address")),
                       key=lambda node: node.model.address.network.prefixlen):
        network, mark = node.model.address.network, node.at("address")
        around = next((other for other in _around(network) if other in networks), None)
        if around is None and network.prefixlen == 32:
            network = network.supernet(new_prefix=ASSUMED_PREFIX)
            networks[network] = mark
            lone.append(str(node.model.address))
        elif around is None:
            networks[network] = mark
        elif around != network and network.prefixlen < 32:
            report.warn(f"The nodes' prefixes disagree: {network} is a part of {around}, so both "
                        "are taken for one subnet. Each node keeps the prefix that it has.")
    if lone:
        report.warn(f"{join_some(lone, 5)} do not say which subnet they are in: assumed the "
                    f"/{ASSUMED_PREFIX} around each. CrossSubnet tunnels between such nodes.")
    return dict(sorted(networks.items(), key=lambda item: item[1]))


def _around(network: IPv4Network) -> Iterator[IPv4Network]:
    """The networks that a network is a part of, itself first."""
    for length in range(network.prefixlen, -1, -1):
        yield network.supernet(new_prefix=length)


def _free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    return candidate


# --- as text and as a document

def as_yaml(underlay: model.Underlay) -> str:
    """An Underlay as a document of a topology file, to paste and to edit."""
    lines = [f"apiVersion: {API}", "kind: Underlay", f"metadata: {{name: {underlay.name}}}",
             "spec:", "  subnets:"]
    lines += [f"    - {{name: {subnet.name}, cidr: {subnet.cidr}, mtu: {subnet.mtu}}}"
              for subnet in underlay.subnets]
    lines += ["  routers:"] if underlay.routers else []
    for router in underlay.routers:
        lines += [f"    - name: {router.name}", "      interfaces:"]
        lines += [f"        - {{subnet: {interface.subnet}, address: {interface.address}}}"
                  for interface in router.interfaces]
    return "\n".join(lines)


def fields_of(underlay: model.Underlay) -> Document:
    """The resource of an underlay again. Once it is written down it is no assumption."""
    name = underlay.name if underlay.name != ASSUMED else "underlay"
    return {"metadata": {"name": name}, "spec": {
        "link": None,
        "subnets": [table_fields(SUBNETS.table, None, subnet) for subnet in underlay.subnets],
        "routers": [{**table_fields(ROUTERS.table, None, router), "interfaces": [
            table_fields(INTERFACES.table, None, interface) for interface in router.interfaces]}
            for router in underlay.routers],
        "hosts": [table_fields(HOSTS.table, None, host) for host in underlay.hosts] or None}}


# --- the nodes

def settle_nodes(
    report: Report, resources: s.Resources, underlay: s.Resource[model.Underlay] | None
) -> list[s.Resource[model.Node]]:
    """The nodes in file order; of two with one name Calico's counts, with both's labels."""
    of_calico = {node.get("name"): node for node in resources.of(NODE)}
    of_kubernetes = set(map(id, resources.of(KUBERNETES_NODE)))
    nodes = []
    for node in resources.of(NODE, KUBERNETES_NODE):
        twin = of_calico.get(node.get("name"))
        if twin is None or id(node) not in of_kubernetes:
            nodes.append(node)
        else:
            labels = {**dict(node.get("labels", ())), **dict(twin.get("labels", ()))}
            twin.values["labels"] = tuple(labels.items())
            twin.values |= {name: node.values[name] for name in ("taints", "unschedulable")
                            if name in node.values}
            twin.make(model.Node)
    resources.replace(NODE, nodes)
    _take_internal_addresses(report, nodes, of_kubernetes, underlay)
    if not underlay or not any(
            router.get("as_number") for router in underlay.entries(ROUTERS)):
        _compare_as_numbers(report, nodes)
    return nodes


def _take_internal_addresses(
    report: Report, nodes: list[s.Resource[model.Node]], of_kubernetes: set[int],
    underlay: s.Resource[model.Underlay] | None,
) -> None:
    taken: list[str] = []
    subnets = [subnet.model.cidr for subnet in underlay.entries(SUBNETS) if subnet.has("cidr")
               ] if underlay else []
    for node in nodes:
        if node.has("address") or "address" in node.wrong or not (
                id(node) in of_kubernetes or node.has("addresses")):
            continue
        internal = next((address for entry in node.entries(ADDRESSES)
                         if entry.get("type") == "InternalIP"
                         and (address := a.ipv4_or_none(entry.get("address", "")))), None)
        if internal is None:
            report.add(f"node {quote(node.get('name', ''))} has no IPv4 address", node.mark,
                       "Calico writes it into the annotation projectcalico.org/IPv4Address; "
                       "an address of type InternalIP in its status will do")
            continue
        prefix = next((cidr.prefixlen for cidr in subnets if internal in cidr), ASSUMED_PREFIX)
        node.set("address", IPv4Interface((internal, prefix)), node.mark)
        taken.append(f"{node.get('name')} {internal}/{prefix}")
        node.make(model.Node)
    if taken:
        report.warn(f"Calico's address is not given for {join_some(taken, 5)}: took the InternalIP,"
                    f" and {'the prefix of its subnet' if subnets else 'assumed its prefix'}.")


def _compare_as_numbers(report: Report, nodes: list[s.Resource[model.Node]]) -> None:
    """Between nodes of different AS numbers Calico's mesh speaks eBGP."""
    numbers = dict.fromkeys(node.get("as_number", 0) for node in nodes)
    if len(numbers) > 1:
        shown = join_some((str(number or "the default") for number in numbers), 5)
        report.warn(f"Nodes have different AS numbers ({shown}): here all of them are one AS.")
