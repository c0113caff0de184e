"""The addresses that a cluster has in use already, taken into IPAM before any new one is given.

In go a topology that may be the dump of a running cluster; IPAM gets the blocks with their owners,
and the addresses. A tunnel device's address is in a block of its node; a block without such a
witness belongs to the node that has most addresses of it. Pods keep theirs before tunnels do: that
of a device may since have been given to a pod.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from ipaddress import IPv4Network

from calico_mn.calico.allocateip import TunnelAddresses
from calico_mn.calico.ipam import IPAM
from calico_mn.errors import IPAMError
from calico_mn.model import Topology


def take_present(topology: Topology, ipam: IPAM, tunnels: TunnelAddresses) -> None:
    """Take in what devices and pods have, then what pods ask for; what cannot be had is left."""
    owned = {affinity.cidr for affinity in ipam.affinities()}
    for node in topology.nodes:
        for _, address in tunnels.present(node):
            block = ipam.block_of(address)
            if block not in owned:
                owned.add(block)
                ipam.claim(block, node.name)
    users: dict[IPv4Network, Counter[str]] = {}
    for pod in topology.pods:
        if pod.ip is not None and pod.has_ip:
            users.setdefault(ipam.block_of(pod.ip), Counter())[pod.node] += 1
    for block, nodes in users.items():
        if block not in owned:
            ipam.claim(block, nodes.most_common(1)[0][0])
    for is_present in (True, False):
        for pod in topology.pods:
            if pod.ip is not None and pod.node and pod.has_ip is is_present:
                with suppress(IPAMError):  # Its turn comes when the pod is added.
                    ipam.assign_ip(pod.node, pod.key, pod.ip, is_present=is_present)
        if is_present:
            tunnels.take_present(topology.nodes)
