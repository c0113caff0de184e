"""Tunnel addresses: how each node sees the pools' modes, and which addresses follow from that.

What ``calico-node -allocate-tunnel-addrs`` does (node/pkg/allocateip/allocateip.go): while an
enabled pool has an encapsulation, every node holds an address for that encapsulation's device, and
gives it back otherwise. In go the pools with their modes and changes of those; addresses are taken
from, and returned to, IPAM. A node that is stuck sees other modes than the cluster has.

A node may go without: no address is left for it. A device may have an address that IPAM gave to
another node, or to a pod, as in clusters whose nodes were cloned: it keeps that until calico-node
looks at its pools again.

What a cluster has in use already goes into IPAM before any new address is given
(:func:`take_present`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico.encapsulation import ENCAPSULATIONS, Encapsulation
from calico_mn.calico.ipam import IPAM
from calico_mn.calico.pools import PoolMode, selects
from calico_mn.errors import IPAMError
from calico_mn.model import TUNNEL, EncapsulationMode, IPPool, Node, Topology

#: pool name -> its mode
Modes = Mapping[str, PoolMode]


class TunnelAddresses:
    """The pools' modes as each node sees them, and the nodes' tunnel addresses."""

    def __init__(self, pools: Iterable[IPPool], ipam: IPAM) -> None:
        self._pools = tuple(pools)
        self._ipam = ipam
        self._cluster: Modes = {pool.name: PoolMode.of(pool) for pool in self._pools}
        self._nodes: dict[str, Modes] = {}
        self._members: dict[str, Node] = {}
        self._used: dict[str, set[Encapsulation]] = {}
        #: what devices have although it is another's
        self._kept: dict[tuple[str, Encapsulation], IPv4Address] = {}
        #: why a device has no address: node and encapsulation -> reason
        self.missing: dict[tuple[str, Encapsulation], str] = {}

    def present(self, node: Node) -> Iterator[tuple[Encapsulation, IPv4Address]]:
        """The addresses that a node's devices have already, where a pool still gives them."""
        for encapsulation in ENCAPSULATIONS:
            address = encapsulation.configured_address(node)
            pools = self._pools_for(node, encapsulation, self._cluster)
            if address is not None and any(address in pool.cidr for pool in pools):
                yield encapsulation, address

    def take_present(self, nodes: Iterable[Node]) -> None:
        """Keep what the devices have. Of two with one address IPAM means the block's owner."""
        held = [(node.name, *present) for node in nodes for present in self.present(node)]
        for node, encapsulation, address in sorted(held, key=lambda item: (
                self._ipam.block_of(item[2]) not in self._ipam.blocks(item[0]))):
            try:
                self._ipam.assign_ip(node, encapsulation.handle_of(node), address, is_present=True)
            except IPAMError:
                self._kept[node, encapsulation] = address

    def add_node(self, node: Node) -> None:
        """Let a node see the cluster's modes."""
        self._members[node.name] = node
        self._see(node.name, self._cluster)

    def _pools_for(self, node: Node, encapsulation: Encapsulation, modes: Modes) -> list[IPPool]:
        """The pools that give the addresses of a node's device (determineEnabledPoolCIDRs)."""
        return [pool for pool in self._pools
                if modes[pool.name].in_force is encapsulation and not pool.disabled
                and TUNNEL in pool.allowed_uses and selects(pool, node)]

    def change_node(self, node: Node) -> None:
        """Know a node by its new labels and address."""
        self._members[node.name] = node

    def adopt(self, pools: Iterable[IPPool]) -> None:
        """Go over to these pools: what changed of them all nodes see, and the rest as before."""
        self._pools = tuple(pools)
        modes = {}
        for pool in self._pools:
            before, wanted = self._cluster.get(pool.name), PoolMode.of(pool)
            # A pool in mode Never keeps the encapsulation that it had before.
            modes[pool.name] = before if before and before.fields == wanted.fields else wanted
        changed = {name for name, mode in modes.items() if mode is not self._cluster.get(name)}
        self._nodes = {node: modes if seen is self._cluster else {
            name: mode if name in changed else seen[name] for name, mode in modes.items()}
            for node, seen in self._nodes.items()}
        self._cluster = modes
        if changed:
            self._kept.clear()

    def settle(self) -> None:
        """Bring every node's addresses in line with the pools."""
        for node, modes in self._nodes.items():
            self._see(node, modes)

    def delete_node(self, node: str) -> None:
        """Forget a node and give its addresses back."""
        for encapsulation in ENCAPSULATIONS:
            self._release(node, encapsulation)
        self._nodes.pop(node, None)
        self._members.pop(node, None)
        self._used.pop(node, None)

    def set_mode(self, mode: EncapsulationMode | None, encapsulation: Encapsulation | None = None,
                 node: str | None = None, pool: str | None = None) -> None:
        """Change every pool, or one, as all nodes see it or as one node alone does.

        With None each pool keeps its mode, or its encapsulation.
        """
        def changed(seen: Modes) -> Modes:
            return {name: present if pool not in (None, name)
                    else self._cluster[name].changed(mode, encapsulation)
                    for name, present in seen.items()}

        modes = changed(self._cluster)
        for name in list(self._nodes) if node is None else [node]:
            self._see(name, modes if pool is None else changed(self._nodes[name]))
        if node is None:
            self._cluster = modes

    @property
    def incomplete(self) -> frozenset[str]:
        """The nodes with a tunnel device that has no address."""
        return frozenset(node for node, _ in self.missing)

    def retry(self) -> list[str]:
        """Ask again for the addresses that are missing; the nodes that got some."""
        before = dict(self.missing)
        for node in dict.fromkeys(node for node, _ in before):
            self._see(node, self._nodes[node])
        return sorted({node for node, _ in before.keys() - self.missing.keys()})

    def _see(self, node: str, modes: Modes) -> None:
        if modes != self._nodes.get(node, modes):
            for encapsulation in ENCAPSULATIONS:
                self._kept.pop((node, encapsulation), None)
        self._nodes[node] = modes
        for encapsulation in ENCAPSULATIONS:
            pools = self._pools_for(self._members[node], encapsulation, modes)
            address = self.address(node, encapsulation)
            if not any(address in pool.cidr for pool in pools if address is not None):
                self._release(node, encapsulation)
                address = None
            if pools and address is None:
                try:
                    self._ipam.assign(node, encapsulation.handle_of(node), pools)
                except IPAMError as error:
                    self.missing[node, encapsulation] = error.reason
        self._used.setdefault(node, set()).update(
            mode.in_force for mode in modes.values() if mode.is_on)

    def _release(self, node: str, encapsulation: Encapsulation) -> None:
        self._ipam.release(encapsulation.handle_of(node))
        self._kept.pop((node, encapsulation), None)
        self.missing.pop((node, encapsulation), None)

    def address(self, node: str, encapsulation: Encapsulation) -> IPv4Address | None:
        """The address of a node's tunnel device, None while it has none."""
        allocation = self._ipam.allocation(encapsulation.handle_of(node))
        return allocation.address if allocation else self._kept.get((node, encapsulation))

    def alien(self, node: str) -> Iterator[IPv4Address]:
        """What the node's devices have although it is another's, outside the node's blocks."""
        blocks = self._ipam.blocks(node)
        yield from (address for (name, _), address in self._kept.items() if name == node
                    and not any(address in block for block in blocks))

    def modes(self, node: str | None = None) -> Modes:
        """The pools' modes as a node sees them, or as the cluster has them."""
        return self._cluster if node is None else self._nodes[node]

    def has_used(self, node: str, encapsulation: Encapsulation) -> bool:
        """Whether the node has ever seen a pool with this encapsulation."""
        return encapsulation in self._used.get(node, ())

    def uses(self, encapsulation: Encapsulation) -> bool:
        """Whether any node sees a pool with this encapsulation."""
        return any(mode.in_force is encapsulation
                   for modes in self._nodes.values() for mode in modes.values())


def take_present(topology: Topology, ipam: IPAM, tunnels: TunnelAddresses) -> None:
    """Give IPAM the blocks and addresses of a topology that may be a running cluster's dump.

    A tunnel device's address is in a block of its node; a block without such a witness belongs to
    the node that has most addresses of it. Pods keep theirs before tunnels do: that of a device may
    since have been given to a pod. Then come the addresses for which pods ask; what cannot be had
    is left.
    """
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
