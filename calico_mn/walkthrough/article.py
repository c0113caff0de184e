"""The article: what its terminals show, and its cluster, on which the chapters play. Pure.

The article is a Chinese walk-through of Calico's IPIP mode on two hosts, 192.168.57.31 and .32
(Calico up to v3.25). Its lines are quoted as they were printed, but for blanks at their ends.
What may differ from them is said by the rules of :mod:`calico_mn.walkthrough.compare`.

A topology is the article's cluster if it has the article's addresses; nodes and pods play their
parts by these. Some chapters need it changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from calico_mn.calico.cluster import Cluster
from calico_mn.errors import ClusterError
from calico_mn.model import (
    BlockAffinity,
    EncapsulationMode,
    Node,
    Pod,
    RouterInterface,
    Subnet,
    Topology,
    Underlay,
)
from calico_mn.walkthrough import step

# --- the lines

BACKEND = "sit/sit-web-backend-58f48df4c9-b2q28"
BACKEND_DEVICE = "cali262cda17a90"
BACKEND_IP = "10.22.151.11"

# kubectl get pod -owide -n sit, its line about the back end
KUBECTL = (
    "sit-web-backend-58f48df4c9-b2q28        1/1     Running       0               22h     "
    "10.22.151.11   192.168.57.32   <none>           <none>")

# route -n | grep 10.22.151.11, on 192.168.57.32
ROUTE_N = "10.22.151.11    0.0.0.0         255.255.255.255 UH    0      0        0 cali262cda17a90"

# ip a | grep cali262cda17a90 -A 10, on 192.168.57.32
HOST_SIDE = """\
8608: cali262cda17a90@if4: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP \
group default
    link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff link-netnsid 82
    inet6 fe80::ecee:eeff:feee:eeee/64 scope link
       valid_lft forever preferred_lft forever
"""

# cat /sys/class/net/eth0/iflink, in the pod
IFLINK = "8608"

# ip route, on 192.168.57.31 (the article leaves lines out where it prints dots)
IP_ROUTE = """\
default via 192.168.57.1 dev eth0
blackhole 10.22.138.0/26 proto bird
10.22.138.1 dev cali0953d667977 scope link
10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink
"""

# tcpdump -eni tunl0 -nnvv | grep 10.22.151.11, on 192.168.57.32
TCPDUMP_BANNER = "tcpdump: listening on tunl0, link-type RAW (Raw IP), capture size 262144 bytes"
TCPDUMP = """\
    10.22.138.0 > 10.22.151.11: ICMP echo request, id 30387, seq 1, length 64
    10.22.151.11 > 10.22.138.0: ICMP echo reply, id 30387, seq 1, length 64
    10.22.138.0 > 10.22.151.11: ICMP echo request, id 30387, seq 2, length 64
    10.22.151.11 > 10.22.138.0: ICMP echo reply, id 30387, seq 2, length 64
"""

# ip a | grep tunl0, on 192.168.57.31
TUNL0 = """\
2: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN group default qlen 1000
    inet 10.22.138.0/32 scope global tunl0
"""

# ip a, in the pod; its own tunl0 stands apart, because only the kernel's ipip module makes it
POD_LO = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host
       valid_lft forever preferred_lft forever
"""
POD_TUNL0 = """\
2: tunl0@NONE: <NOARP> mtu 1480 qdisc noop state DOWN group default qlen 1000
    link/ipip 0.0.0.0 brd 0.0.0.0
"""
POD_ETH0 = """\
4: eth0@if8608: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default
    link/ether f6:7f:37:81:fc:15 brd ff:ff:ff:ff:ff:ff link-netnsid 0
    inet 10.22.151.11/32 scope global eth0
       valid_lft forever preferred_lft forever
    inet6 fe80::f47f:37ff:fe81:fc15/64 scope link
       valid_lft forever preferred_lft forever
"""

# ip route and ip neigh, in the pod
POD_ROUTE = """\
default via 169.254.1.1 dev eth0
169.254.1.1 dev eth0 scope link
"""
POD_NEIGH = "169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee REACHABLE"

# cat /proc/sys/net/ipv4/conf/cali262cda17a90/proxy_arp, on 192.168.57.32
PROXY_ARP = "1"

# --- the cluster

_NODES = {step.NODE31: "192.168.57.31/24", step.NODE32: "192.168.57.32/24",
          step.NODE33: "192.168.58.33/24"}
_PODS = {step.BACKEND: BACKEND_IP, step.FRONTEND: "10.22.138.1",
         step.ELSEWHERE: "10.22.152.1"}
_TUNNELS = {step.NODE31: "10.22.138.0", step.NODE32: "10.22.151.0"}
_GATEWAY = "192.168.57.1"
_VETH_MTU = 1500


def roles(cluster: Cluster) -> dict[str, str]:
    """Part -> name of the node or pod that plays it; what is not in the cluster is left out."""
    names = {str(node.address): node.name for node in cluster.nodes.values()}
    parts = {part: names[address] for part, address in _NODES.items() if address in names}
    for router in cluster.topology.underlay.routers:
        if _GATEWAY in (str(interface.address) for interface in router.interfaces):
            parts[step.ROUTER] = router.name
    pods = {str(endpoint.address): endpoint.key for endpoint in cluster.endpoints.values()}
    return parts | {part: pods[address] for part, address in _PODS.items() if address in pods}


def clusters(topology: Topology) -> dict[str, Topology]:
    """The clusters that chapters name, made of the article's.

    Raises ClusterError that says what another topology lacks to be the article's.
    """
    lacking = list(_lacking(topology))
    if lacking:
        raise ClusterError(
            f"{topology.source or 'this topology'} is not the article's cluster, and its story"
            " cannot be told on another one; use topologies/article.yaml. What is missing:\n"
            + "\n".join(f"  - {what}" for what in lacking))
    return {step.AS_IT_IS: topology, step.AUTOMATIC_MTU: replace(topology, veth_mtu=0),
            step.TWO_SUBNETS: _grown(topology)}


def _lacking(topology: Topology) -> Iterator[str]:
    cluster = Cluster(topology, 2)
    parts = roles(cluster)
    for part, address in _TUNNELS.items():
        if part not in parts:
            yield f"a node with the address {_NODES[part]}"
        elif str(cluster.tunnel_address(parts[part])) != address:
            yield f"the tunnel address {address} on {parts[part]}"
    if parts.get(step.BACKEND) != BACKEND:
        yield f"the pod {BACKEND} with the address {BACKEND_IP}"
    if step.FRONTEND not in parts:
        yield f"a pod with the address {_PODS[step.FRONTEND]}"
    for pod, node in ((step.BACKEND, step.NODE32), (step.FRONTEND, step.NODE31)):
        if pod in parts and cluster.endpoints[parts[pod]].node != parts.get(node):
            yield f"{parts[pod]} on the node with the address {_NODES[node]}"
    if any(pool.ipip_mode != EncapsulationMode.ALWAYS for pool in topology.pools):
        yield "ipipMode: Always in every pool"
    if topology.veth_mtu != _VETH_MTU:
        yield f'veth_mtu: "{_VETH_MTU}" in the ConfigMap calico-config'
    gateway = topology.underlay.routers[0].name if topology.underlay.routers else ""
    if len(topology.underlay.subnets) != 1 or parts.get(step.ROUTER) != gateway:
        yield f"one subnet, with a router whose address is {_GATEWAY}"


def _grown(topology: Topology) -> Topology:
    """The article's cluster with a third node behind the router, in mode CrossSubnet.

        node31 .31   node32 .32                      a third node .33
            |            |                               |
        ----+------------+---- .1 (the gateway) .1 ------+----
             192.168.57.0/24                      192.168.58.0/24
    """
    gateway, *others = topology.underlay.routers
    interface = RouterInterface("elsewhere", IPv4Address("192.168.58.1"))
    return replace(
        topology,
        underlay=Underlay(
            (*topology.underlay.subnets, Subnet("elsewhere", IPv4Network("192.168.58.0/24"))),
            (replace(gateway, interfaces=(*gateway.interfaces, interface)), *others),
            topology.underlay.name),
        nodes=(*topology.nodes, Node("node33", IPv4Interface(_NODES[step.NODE33]))),
        pools=tuple(replace(pool, ipip_mode=EncapsulationMode.CROSS_SUBNET)
                    for pool in topology.pools),
        pods=(*topology.pods,
              Pod("sit", "elsewhere", "node33", IPv4Address(_PODS[step.ELSEWHERE]))),
        affinities=(*topology.affinities,
                    BlockAffinity("node33", IPv4Network("10.22.152.0/26"))))
