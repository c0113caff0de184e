"""Small topologies for tests, short enough to be read next to the drawing above a test.

     node31 .31    node32 .32               node33 .33
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
        192.168.57.0/24                     192.168.58.0/24

Blocks are pinned and speak for themselves: node31 has 10.22.31.0/26, and so on. tunl0 takes .0,
the first pod of a node .1.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from calico_mn.calico.encapsulation import IPIP, Encapsulation
from calico_mn.model import (
    BlockAffinity,
    EncapsulationMode,
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

ONE_SUBNET = {"node31": "192.168.57.31/24", "node32": "192.168.57.32/24"}
TWO_SUBNETS = {**ONE_SUBNET, "node33": "192.168.58.33/24"}
BLOCKS = {"node31": "10.22.31.0/26", "node32": "10.22.32.0/26", "node33": "10.22.33.0/26"}
SUBNETS = {"rack-a": "192.168.57.0/24", "rack-b": "192.168.58.0/24"}


def pod(text: str) -> Pod:
    """``[NAMESPACE/]NAME@NODE[=ADDRESS]``."""
    key, _, place = text.partition("@")
    node, _, address = place.partition("=")
    namespace, _, name = key.rpartition("/")
    return Pod(namespace or "default", name, node, IPv4Address(address) if address else None)


def cluster(
    mode: str,
    *pods: str,
    nodes: Mapping[str, str] = ONE_SUBNET,
    blocks: Mapping[str, str] | None = None,
    gateway: bool = True,
    pod_routes: bool = False,
    mtu: int = 1500,
    veth_mtu: int = 0,
    block_size: int = 26,
    pool: str = "10.22.0.0/16",
    link: Link | None = None,
    ipam: IPAMConfiguration | None = None,
    encapsulation: Encapsulation = IPIP,
) -> Topology:
    """Nodes on the subnets of the drawing above, as many of those as the nodes need."""
    addresses = {name: IPv4Interface(address) for name, address in nodes.items()}
    subnets = tuple(
        Subnet(name, IPv4Network(cidr), mtu, link or Link())
        for name, cidr in SUBNETS.items()
        if any(a.ip in IPv4Network(cidr) for a in addresses.values()))
    feet = tuple(RouterInterface(s.name, s.cidr[1]) for s in subnets)
    routers = (Router("r1", feet, pod_routes),) if gateway else ()
    pinned = BLOCKS if blocks is None else blocks
    return Topology(
        Underlay(subnets, routers),
        tuple(Node(name, address) for name, address in addresses.items()),
        (encapsulation.of_pool(IPPool("pool", IPv4Network(pool), block_size),
                               EncapsulationMode(mode)),),
        tuple(pod(text) for text in pods),
        tuple(BlockAffinity(node, IPv4Network(cidr)) for node, cidr in pinned.items()
              if node in addresses),
        ipam or IPAMConfiguration(),
        veth_mtu,
    )


def one_subnet(mode: str, *pods: str, **options: object) -> Topology:
    """node31 and node32 in rack-a, a pod on each: a and b."""
    return cluster(mode, *(pods or ("a@node31", "b@node32")), **options)  # type: ignore[arg-type]


def two_subnets(mode: str, *pods: str, **options: object) -> Topology:
    """All three nodes, a pod on each: a, b and c."""
    options.setdefault("nodes", TWO_SUBNETS)
    return cluster(mode, *(pods or ("a@node31", "b@node32", "c@node33")),
                   **options)  # type: ignore[arg-type]


def net_a(*pods: str, nodes: int = 2) -> str:
    """A file: node31 and so on in one subnet with r1 and the machine ``outside``, mode Always.

    ``pods`` are ``NAME@NODE``; each has its name as labels ``app`` and ``name``.
    """
    items = [f"  - {{metadata: {{name: {name}, labels: {{app: {name}, name: {name}}}}},"
             f" spec: {{nodeName: {node}}}}}"
             for name, _, node in (text.partition("@") for text in pods)]
    addresses = [f"  - {{metadata: {{name: node{number}}},"
                 f" spec: {{bgp: {{ipv4Address: 192.168.57.{number}/24}}}}}}"
                 for number in range(31, 31 + nodes)]
    return """
apiVersion: calico-mn/v1
kind: Underlay
metadata: {name: lab}
spec:
  subnets: [{name: net-a, cidr: 192.168.57.0/24}]
  routers: [{name: r1, interfaces: [{subnet: net-a, address: 192.168.57.1}]}]
  hosts: [{name: outside, address: 192.168.57.99}]
---
apiVersion: projectcalico.org/v3
kind: NodeList
items:
""" + "\n".join(addresses) + """
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.22.0.0/16, ipipMode: Always, natOutgoing: true}
---
apiVersion: v1
kind: PodList
items:
""" + "\n".join(items) + "\n"
