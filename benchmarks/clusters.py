"""The clusters that the benchmarks build: N nodes in two racks behind a router, M pods each."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from calico_mn.model import (
    EncapsulationMode,
    IPPool,
    Node,
    Pod,
    Router,
    RouterInterface,
    Subnet,
    Topology,
    Underlay,
)

RACKS = 2
_POOL = IPv4Network("10.22.0.0/16")
_BLOCK_SIZE = 26
#: a /22 less the router and a few; 1,000 nodes fill half of the pool's blocks
_NODES_PER_RACK = 500


@dataclass(frozen=True, slots=True)
class Size:
    """``nodes`` nodes with ``pods`` pods on each, written ``20x50``."""

    nodes: int
    pods: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """``20x50`` as a size. Raises ValueError, with the reason, for anything else."""
        nodes, separator, pods = text.partition("x")
        if not (separator and nodes.isdecimal() and pods.isdecimal()):
            raise ValueError(f"{text!r} is no size: say NODESxPODS, such as 20x50")
        size = cls(int(nodes), int(pods))
        blocks = size.nodes * (size.pods // (1 << 32 - _BLOCK_SIZE) + 1)
        if not (0 < size.nodes <= RACKS * _NODES_PER_RACK and size.pods > 0):
            raise ValueError(f"{text}: from 1 to {RACKS * _NODES_PER_RACK} nodes, at least 1 pod")
        if blocks > 1 << _BLOCK_SIZE - _POOL.prefixlen:
            raise ValueError(f"{text}: does not fit into {_POOL}")
        return size

    @property
    def all_pods(self) -> int:
        """The number of pods in the cluster."""
        return self.nodes * self.pods

    def __str__(self) -> str:
        return f"{self.nodes}x{self.pods}"


def topology(size: Size, mode: EncapsulationMode = EncapsulationMode.ALWAYS, racks: int = RACKS
             ) -> Topology:
    """``size`` as a topology: node I in rack I modulo ``racks``, pod P on node P modulo N."""
    cidrs = [IPv4Network(f"192.168.{4 * rack}.0/22") for rack in range(racks)]
    subnets = tuple(Subnet(f"rack{rack}", cidr) for rack, cidr in enumerate(cidrs))
    router = Router("r1", tuple(RouterInterface(f"rack{rack}", IPv4Address(int(cidr[1])))
                                for rack, cidr in enumerate(cidrs)))
    nodes = tuple(
        Node(f"node{n}", IPv4Interface(f"{cidrs[n % racks][10 + n // racks]}/22"))
        for n in range(size.nodes))
    pods = tuple(Pod("default", f"p{p}", f"node{p % size.nodes}") for p in range(size.all_pods))
    pool = IPPool("pool", _POOL, _BLOCK_SIZE, mode)
    return Topology(Underlay(subnets, (router,)), nodes, (pool,), pods, source=f"({size})")


def ping_pairs(size: Size, cross_subnet: bool) -> list[tuple[str, str]]:
    """A few pairs of pods, one per kind of path; across subnets only if that is expected."""
    last = size.all_pods - size.nodes  # first pod of the last row: on node 0
    pairs = []
    if size.pods > 1:
        pairs.append(("default/p0", f"default/p{last}"))
    if size.nodes > RACKS:
        pairs.append(("default/p0", f"default/p{last + RACKS}"))
    if cross_subnet and size.nodes > 1:
        pairs.append(("default/p0", f"default/p{last + 1}"))
    return pairs
