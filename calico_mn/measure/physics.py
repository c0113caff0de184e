"""What a link of known rate lets TCP carry: header sizes, and no more. Pure.

tc-tbf lets bytes through, and counts Ethernet's header with each packet. A bulk transfer sends
full packets only, so of the link's rate the application gets the payload's share of a packet:

    pod MTU 1500, directly       1448 of 1514 bytes    95.64 % of the rate
    pod MTU 1480, directly       1428 of 1494 bytes    95.58 %
    pod MTU 1480, inside IPIP    1428 of 1514 bytes    94.32 %
    pod MTU 1450, inside VXLAN   1398 of 1514 bytes    92.34 %

Sources. A packet that the sending host has not cut yet (GSO) counts as its segments would:
``qdisc_pkt_len_init`` in Linux' net/core/dev.c adds the headers of every segment but the first,
and tbf takes its tokens for that length (net/sched/sch_tbf.c). Ethernet's frame check sequence,
preamble and gap are not counted: a veth has none. IPv4 header 20 bytes (RFC 791), TCP header 20
(RFC 9293), timestamps 10 and two for alignment in every segment (RFC 7323; on in every new
network namespace, ``tcp_sk_init`` in net/ipv4/tcp_ipv4.c), IPIP one more IPv4 header (RFC 2003),
VXLAN that and the headers of UDP, VXLAN and the inner frame (RFC 7348).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from calico_mn.calico.encapsulation import DEFAULT, Encapsulation
from calico_mn.measure.paths import SAME_NODE, Net, Pair

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

ETHERNET = 14
IPV4 = 20
TCP = 20
TIMESTAMPS = 12


def mss(mtu: int) -> int:
    """Bytes of payload in a full TCP segment, for the largest IP packet that fits (bytes)."""
    return mtu - IPV4 - TCP - TIMESTAMPS


def frame_bytes(mtu: int, overhead: int) -> int:
    """What tbf counts for a packet of ``mtu`` bytes that gets ``overhead`` bytes around it."""
    return ETHERNET + overhead + mtu


def goodput_limit(rate: float, mtu: int, overhead: int) -> float:
    """TCP payload over a link of ``rate``, in the same unit; ``mtu`` of the inner packets."""
    return rate * mss(mtu) / frame_bytes(mtu, overhead)


def path_mtu(pod_mtu: int, link_mtu: int, overhead: int) -> int:
    """The largest packet that a pod gets through a path whose narrowest link has ``link_mtu``."""
    return min(pod_mtu, link_mtu - overhead)


@dataclass(frozen=True, slots=True)
class PathLimit:
    """The slowest link of a path in Mbit/s, and the smallest MTUs on it in bytes."""

    rate: float
    pod_mtu: int
    link_mtu: int
    encapsulation: Encapsulation = DEFAULT

    def goodput(self, encapsulated: bool) -> float:
        """The most that one or more TCP streams carry over the path, in Mbit/s."""
        overhead = self.encapsulation.overhead if encapsulated else 0
        mtu = path_mtu(self.pod_mtu, self.link_mtu, overhead)
        return goodput_limit(self.rate, mtu, overhead)


def path_limits(net: Net, pairs: Mapping[str, Pair],
                encapsulation: Encapsulation = DEFAULT) -> dict[str, PathLimit]:
    """Key of ``pairs`` -> its limit, for the pairs between which the topology limits a link."""
    cluster, limits = cast("CalicoNet", net).cluster, {}
    for path, pair in pairs.items():
        ends = (pair.source, pair.destination)
        near, far = (cluster.fabric.subnet_of(cluster.nodes[end.node]) for end in ends)
        crossed = cluster.fabric.crossed(near, far)
        rates = [subnet.link.rate for subnet in crossed if subnet.link.rate]
        if rates and pair.path != SAME_NODE:
            limits[path] = PathLimit(
                min(rates), min(cluster.endpoints[end.name].mtu for end in ends),
                min(subnet.mtu for subnet in crossed), encapsulation)
    return limits
