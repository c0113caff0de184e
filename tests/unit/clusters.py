"""Clusters to test with.

    node31 .31    node32 .32               node33 .33
       |             |                        |
  -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
       192.168.57.0/24                     192.168.58.0/24
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from calico_mn.calico.cluster import Cluster
from calico_mn.model import (
    BlockAffinity,
    EncapsulationMode,
    FelixConfiguration,
    IPAMConfiguration,
    IPPool,
    Link,
    Node,
    Pod,
    Router,
    RouterInterface,
    Subnet,
    Topology,
    Underlay,
)

ALWAYS, CROSS, NEVER = (EncapsulationMode.ALWAYS, EncapsulationMode.CROSS_SUBNET,
                        EncapsulationMode.NEVER)
MODES = (ALWAYS, CROSS, NEVER)


def ip(text):
    return IPv4Address(text)


def net(text):
    return IPv4Network(text)


def pool(cidr, block_size=26, mode=ALWAYS, *, name="", disabled=False):
    return IPPool(name or f"pool-{cidr}", net(cidr), block_size, mode, disabled=disabled)


def node(name, address):
    return Node(name, IPv4Interface(address))


NODE31 = node("node31", "192.168.57.31/24")
NODE32 = node("node32", "192.168.57.32/24")
NODE33 = node("node33", "192.168.58.33/24")
AFFINITIES = (BlockAffinity("node31", net("10.22.138.0/26")),
              BlockAffinity("node32", net("10.22.151.0/26")),
              BlockAffinity("node33", net("10.22.200.0/26")))


def rack(name, cidr, mtu=1500, link=None):
    return Subnet(name, net(cidr), mtu, link or Link())


def router(name, *feet, pod_routes=False, as_number=0):
    return Router(name, tuple(RouterInterface(s, ip(a)) for s, a in feet), pod_routes,
                  as_number=as_number)


def two_racks(*, mtu=1500, link=None, pod_routes=False):
    return Underlay(
        (rack("rack-a", "192.168.57.0/24", mtu, link),
         rack("rack-b", "192.168.58.0/24", mtu, link)),
        (router("r1", ("rack-a", "192.168.57.1"), ("rack-b", "192.168.58.1"),
                pod_routes=pod_routes),))


def topology(*, underlay=None, nodes=(NODE31, NODE32, NODE33), pools=None, pods=(),
             affinities=AFFINITIES, ipam=None, veth_mtu=0, ipip_mtu=0,
             mode=ALWAYS):
    return Topology(
        underlay=underlay or two_racks(), nodes=tuple(nodes),
        pools=tuple(pools) if pools is not None else (pool("10.22.0.0/16", mode=mode),),
        pods=tuple(pods), affinities=tuple(affinities), ipam=ipam or IPAMConfiguration(),
        veth_mtu=veth_mtu, felix=FelixConfiguration(ipip_mtu), source="test.yaml")


def pod(name, node_name, address=None, namespace="default"):
    return Pod(namespace, name, node_name, ip(address) if address else None)


def cluster(rp_filter=0, **changes):
    return Cluster(topology(**changes), rp_filter)
