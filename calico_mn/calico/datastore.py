"""What calico-node on one node reads of all the others: prefixes, VTEPs, policies.

In go Calico's books; out comes what each node announces, and what every Felix hears. The latter is
worked out once for all nodes until the books change.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico.allocateip import TunnelAddresses
from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.encapsulation import DEFAULT, ENCAPSULATIONS, IPIP, VXLAN, Encapsulation, Peer
from calico_mn.calico.ipam import IPAM
from calico_mn.calico.policy.firewall import Firewalls
from calico_mn.calico.policy.node_chains import NodeFirewall
from calico_mn.calico.remote_routes import NO_DATASTORE, Datastore
from calico_mn.model import Node, Topology
from calico_mn.state import Firewall


class DatastoreReader:
    """The part of a :class:`~calico_mn.calico.cluster.Cluster` that all its nodes share."""

    topology: Topology
    ipam: IPAM
    nodes: dict[str, Node]
    endpoints: dict[str, WorkloadEndpoint]
    _on_node: dict[str, dict[str, WorkloadEndpoint]]
    _tunnels: TunnelAddresses
    has_policies: bool

    def __init__(self) -> None:
        self._datastore = self._datastore_before = NO_DATASTORE
        self._datastore_is_current = False
        self._firewalls: Firewalls | None = None
        self._firewalls_before: Firewalls | None = None

    def uses(self, encapsulation: Encapsulation) -> bool:
        """Whether any node sees a pool with this encapsulation."""
        return self._tunnels.uses(encapsulation)

    def tunnel_address(self, node: str, encapsulation: Encapsulation = DEFAULT
                       ) -> IPv4Address | None:
        """The address of a node's tunnel device, None while it has none."""
        return self._tunnels.address(node, encapsulation)

    def tunnel_addresses(self, node: str) -> dict[Encapsulation, IPv4Address]:
        """The addresses of a node's tunnel devices."""
        return {encapsulation: address for encapsulation in ENCAPSULATIONS
                if (address := self._tunnels.address(node, encapsulation)) is not None}

    def originated(self, node: str) -> tuple[IPv4Network, ...]:
        """What a node announces: its blocks, and as /32 what it uses outside of them.

        Single addresses inside own blocks are never announced (``calico_aggr`` in bird_aggr).
        """
        borrowed = map(IPv4Network, (*self.ipam.borrowed(node), *self._tunnels.alien(node)))
        blocks = (block for block in self.ipam.blocks(node)
                  if block.prefixlen < 32 or self._has(node, block.network_address))
        return (*blocks, *borrowed)

    def _has(self, node: str, address: IPv4Address) -> bool:
        """Whether a node uses an address; BIRD knows a /32 block, without blackhole, by that."""
        return address in self.tunnel_addresses(node).values() or any(
            endpoint.address == address for endpoint in self._on_node[node].values())

    def datastore(self) -> Datastore:
        """What every Felix hears, empty in a cluster without VXLAN; equal ones are the same."""
        if not self._datastore_is_current:
            heard = Datastore.of({
                Peer(node.address.ip, node.name, self.tunnel_address(node.name, VXLAN),
                     VXLAN.tunnel_mac(node)): self.originated(node.name)
                for node in self.nodes.values()}) if self.uses(VXLAN) else NO_DATASTORE
            if heard != self._datastore:
                self._datastore = heard
            self._datastore_is_current = True
        return self._datastore

    def datastore_changed(self) -> bool:
        """Whether what Felix writes may have changed since the last call."""
        before, self._datastore_before = self._datastore_before, self.datastore()
        firewalls, self._firewalls_before = self._firewalls_before, self.firewalls()
        return before is not self._datastore_before or firewalls is not self._firewalls_before

    def firewalls(self) -> Firewalls | None:
        """The policies with all endpoints, None in a cluster without any in force."""
        if self._firewalls is None and self.topology.policies and self.has_policies:
            self._firewalls = Firewalls(self.topology, self.endpoints)
        return self._firewalls

    def _forget_what_all_hear(self) -> None:
        self._datastore_is_current, self._firewalls = False, None

    def _firewall(self, name: str, tunnels: Mapping[Encapsulation, IPv4Address]
                  ) -> Firewall | None:
        firewalls = self.firewalls()
        if firewalls is None:
            return None
        pools = self.topology.pools
        return firewalls.of(NodeFirewall(
            ipip=IPIP in tunnels, vxlan=VXLAN in tunnels,
            tunnels=tuple(encapsulation.device for encapsulation in tunnels),
            to_host=self.topology.felix.to_host,
            nat_outgoing=any(pool.nat_outgoing for pool in pools),
            hosts=tuple(node.address.ip for node in self.nodes.values()),
            pools=tuple(pool.cidr for pool in pools),
            masqueraded=tuple(pool.cidr for pool in pools if pool.nat_outgoing)),
            self._on_node[name].values())
