"""What is in a drawing of a cluster: the words of its subnets, routers and nodes, folded. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import DEFAULT
from calico_mn.model import Node, Router, Subnet
from calico_mn.report.drawing.boxes import Drawing, NodeBox, PodBox, RouterBox, SubnetBox
from calico_mn.text import join_some, plural

#: so many nodes of one subnet are drawn; the others are counted
MOST_NODES = 60
#: so many interfaces of a router are listed; the others are counted
MOST_INTERFACES = 8
#: nodes in the drawing -> pods listed for each of them
_LISTED = ((4, 8), (16, 4), (MOST_NODES, 0))


def describe(cluster: Cluster, shown: Collection[str] = ()) -> Drawing:
    """What is to be drawn; the pods named in ``shown`` are listed in any case."""
    topology = cluster.topology
    underlay = topology.underlay
    nodes = list(cluster.nodes.values())
    by_subnet: dict[str, list[Node]] = {subnet.name: [] for subnet in underlay.subnets}
    for node in nodes:
        subnet = topology.subnet_of(node.address.ip)
        if subnet is not None:
            by_subnet[subnet.name].append(node)
    listed = next((pods for most, pods in _LISTED if len(nodes) <= most), 0)
    pods: dict[str, list[PodBox]] = {}
    for key, endpoint in cluster.endpoints.items():
        pods.setdefault(endpoint.node, []).append(PodBox(key, str(endpoint.address)))
    users: dict[str, list[str]] = {subnet.name: [] for subnet in underlay.subnets}
    for router in underlay.routers:
        for interface in router.interfaces:
            users[interface.subnet].append(router.name)
    hosts: dict[str, list[NodeBox]] = {}
    for host in underlay.hosts:
        subnet = topology.subnet_of(host.address)
        if subnet is not None:
            hosts.setdefault(subnet.name, []).append(NodeBox(
                host.name, (("eth0", str(host.address)), ("", "outside the cluster")), ()))
    transit = {name for name, routers in users.items()
               if len(routers) == 2 and not by_subnet[name] and name not in hosts}
    boxes = tuple(
        SubnetBox(subnet.name, _subnet_facts(subnet),
                  (*(_node(node, cluster, pods.get(node.name, []), listed, shown)
                     for node in by_subnet[subnet.name][:MOST_NODES]),
                   *hosts.get(subnet.name, ())[:MOST_NODES]),
                  max(0, len(by_subnet[subnet.name]) - MOST_NODES))
        for subnet in underlay.subnets if subnet.name not in transit)
    knowing = cluster.pod_routers | cluster.fabric.speaking.keys()
    return Drawing(underlay.name, {box.name: box for box in boxes},
                   {router.name: _router(router, router.name in knowing)
                    for router in underlay.routers},
                   tuple((name, users[name][0], users[name][1])
                         for name in by_subnet if name in transit),
                   _summary(boxes, underlay.routers, len(nodes), sum(map(len, pods.values())),
                            len(transit), by_subnet, [host.name for host in underlay.hosts]))


def _node(node: Node, cluster: Cluster, pods: list[PodBox], listed: int, shown: Collection[str]
          ) -> NodeBox:
    tunnels = cluster.tunnel_addresses(node.name)
    facts = [("eth0", str(node.address)), *(
        [(tunnel.device, str(address)) for tunnel, address in tunnels.items()] or [
            (DEFAULT.device, "no address")]),
        *_blocks([str(block) for block in cluster.ipam.blocks(node.name)])]
    busy = any(pod.key in shown for pod in pods)
    if len(pods) <= listed:
        return NodeBox(node.name, tuple(facts), tuple(pods), busy=busy)
    listed_pods = [pod for pod in pods if pod.key in shown]
    listed_pods += [pod for pod in pods if pod.key not in shown][
        :max(0, listed - 1 - len(listed_pods))]
    rest = [pod.address for pod in pods if pod not in listed_pods]
    if len(rest) == 1:  # the fold would take more room than the pod
        return NodeBox(node.name, tuple(facts), tuple(pods), busy=busy)
    return NodeBox(node.name, tuple(facts),
                   tuple(pod for pod in pods if pod in listed_pods), len(rest), _span(rest), busy)


def _blocks(blocks: list[str]) -> Iterable[tuple[str, str]]:
    yield from (("block", block) for block in blocks[:2])
    if len(blocks) > 2:
        yield "", f"and {len(blocks) - 2} more"


def _span(addresses: list[str]) -> str:
    """``10.22.31.1 - .50``: the smallest and the largest of them."""
    ordered = sorted(map(IPv4Address, addresses))
    first, last = str(ordered[0]), str(ordered[-1])
    if first == last:
        return first
    same = first.rpartition(".")[0] == last.rpartition(".")[0]
    return f"{first} \u2013 {'.' + last.rpartition('.')[2] if same else last}"


def _subnet_facts(subnet: Subnet) -> str:
    facts = [str(subnet.cidr), f"MTU {subnet.mtu}"]
    if subnet.link.rate:
        rate = subnet.link.rate
        facts.append(f"{rate / 1000:g} Gbit/s" if rate >= 1000 else f"{rate:g} Mbit/s")
    if subnet.link.delay:
        facts.append(f"{subnet.link.delay:g} ms")
    if subnet.link.loss:
        facts.append(f"loss {subnet.link.loss:g} %")
    return " \u00b7 ".join(facts)


def _router(router: Router, knows: bool) -> RouterBox:
    interfaces = tuple((each.subnet, str(each.address)) for each in router.interfaces)
    listed = interfaces if len(interfaces) <= MOST_INTERFACES else interfaces[:MOST_INTERFACES - 1]
    return RouterBox(router.name, listed, tuple(subnet for subnet, _ in interfaces), knows,
                     len(interfaces) - len(listed))


def _summary(boxes: Iterable[SubnetBox], routers: Collection[Router], nodes: int, pods: int,
             transit: int, by_subnet: dict[str, list[Node]], hosts: list[str]) -> str:
    """A paragraph for those who do not see the drawing."""
    where = "; ".join(
        f"{box.name} ({box.facts}): "
        + join_some([node.name for node in by_subnet[box.name]], MOST_INTERFACES)
        for box in boxes if by_subnet[box.name])
    between = f", {transit} transit subnets between routers" if transit else ""
    outside = f" Outside the cluster: {join_some(hosts, MOST_INTERFACES)}." if hosts else ""
    return (f"{plural(nodes, 'node')} with {plural(pods, 'pod')},"
            f" {plural(len(routers), 'router')}{between}. {where}.{outside}")
