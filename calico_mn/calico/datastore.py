"""What calico-node on one node reads of all the others: prefixes, VTEPs, policies.

In go Calico's books; out comes what each node announces, and what every Felix hears. The latter is
worked out once for all nodes until the books change.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico.admission import Admission
from calico_mn.calico.allocateip import TunnelAddresses
from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.encapsulation import (
    DEFAULT,
    ENCAPSULATIONS,
    UPLINK,
    VXLAN,
    Encapsulation,
    Peer,
)
from calico_mn.calico.ipam import IPAM
from calico_mn.calico.policy.firewall import Firewalls
from calico_mn.calico.policy.node_chains import NodeFirewall
from calico_mn.calico.pools import PoolMode
from calico_mn.calico.remote_routes import NO_DATASTORE, ClusterRoutes, Datastore
from calico_mn.model import IPPool, Node, Topology
from calico_mn.state import Firewall


class DatastoreReader:
    """The part of a :class:`~calico_mn.calico.cluster.Cluster` that all its nodes share.

    The attribute ``has_ebpf_tunnel`` means that eBPF makes tunl0, which reads from routes whom the
    firewall accepts; ``has_firewall`` False that nodes have none of Felix's rules.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.routes = ClusterRoutes.of(topology)
        self.ipam = IPAM(topology.pools, topology.affinities, topology.ipam, topology.reservations)
        self.nodes: dict[str, Node] = {}
        self.endpoints: dict[str, WorkloadEndpoint] = {}
        self._on_node: dict[str, dict[str, WorkloadEndpoint]] = {}
        self._tunnels = TunnelAddresses(topology.pools, self.ipam)
        self.admission = Admission(topology, self._tunnels)
        self.has_firewall, self.has_ebpf_tunnel = True, False
        self._datastore = self._datastore_before = NO_DATASTORE
        self._datastore_is_current = False
        self._firewalls: Firewalls | None = None
        self._firewalls_are_current = False
        self._node_firewalls: dict[tuple[tuple[Encapsulation, ...], bool], NodeFirewall] = {}
        self._node_firewalls_before: dict[tuple[tuple[Encapsulation, ...], bool], NodeFirewall] = {}
        self._firewalls_before: dict[str, Firewall | None] = {}

    def mode(self, node: str, pool: IPPool) -> PoolMode:
        """A pool's mode as a node sees it."""
        return self._tunnels.modes(node)[pool.name]

    def mode_of_pool(self, pool: IPPool) -> PoolMode:
        """A pool's mode as the cluster has it; single nodes may see another."""
        return self._tunnels.modes()[pool.name]

    def warnings(self) -> tuple[str, ...]:
        """Sentences about what does not run, and about routes that nothing or too much writes."""
        return (*self.admission.warnings(), *self.route_warnings())

    def route_warnings(self) -> tuple[str, ...]:
        """The second half of :meth:`warnings`."""
        return self.routes.warnings(
            (pool, self.mode_of_pool(pool)) for pool in self.topology.pools)

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
        """What every Felix hears, empty where it writes no routes; equal ones are the same."""
        if not self._datastore_is_current:
            heard = Datastore.of({
                Peer(node.address.ip, node.name, self.tunnel_address(node.name, VXLAN),
                     VXLAN.tunnel_mac(node)): self.originated(node.name)
                for node in self.nodes.values()}) if any(
                    map(self.uses, self.routes.felix)) else NO_DATASTORE
            if heard != self._datastore:
                self._datastore = heard
            self._datastore_is_current = True
        return self._datastore

    def datastore_changed(self) -> bool:
        """Whether the datastore is another one than at the last call."""
        before, self._datastore_before = self._datastore_before, self.datastore()
        return before is not self._datastore_before

    def felix_changed(self) -> list[str]:
        """The nodes on which Felix may write something else.

        Compared are the datastore (:meth:`datastore_changed`), and the firewall of each node's last
        state.
        """
        if self.datastore_changed():
            return list(self.nodes)
        return [name for name in self.nodes
                if self._firewalls_before.get(name) is not self._firewall(name)]

    def firewalls(self) -> Firewalls | None:
        """The policies with all endpoints, None in a cluster that runs without Felix's rules."""
        if not self._firewalls_are_current:
            self._firewalls_are_current = True
            if not self.has_firewall:
                self._firewalls = None
            elif self._firewalls is None:
                self._firewalls = Firewalls(self.topology, self.endpoints)
            else:
                self._firewalls = self._firewalls.after(self.topology, self.endpoints)
        return self._firewalls

    def _forget_what_all_hear(self) -> None:
        self._datastore_is_current = self._firewalls_are_current = False
        self._node_firewalls_before.update(self._node_firewalls)
        self._node_firewalls.clear()

    def _firewall(self, name: str) -> Firewall | None:
        """A node's firewall: the same object as long as nothing of it changes."""
        firewalls = self.firewalls()
        if firewalls is None:
            return None
        node, hosts = self._node_firewall(name), firewalls.host_rules(name, self.devices(name))
        return firewalls.of(name, replace(node, host_endpoints=hosts) if hosts else node,
                            self._on_node[name].values())

    def _node_firewall(self, name: str) -> NodeFirewall:
        """What a node's rules follow from apart from its pods; nodes that are alike share it."""
        tunnels = tuple(self.tunnel_addresses(name))
        key = tunnels, self.has_ebpf_tunnel
        node = self._node_firewalls.get(key)
        if node is None:
            pools, felix = self.topology.pools, self.topology.felix
            enabled = tuple(e for e in ENCAPSULATIONS
                            if e.is_enabled(felix, has_address=e in tunnels))
            node = NodeFirewall(
                enabled=enabled, has_ebpf_tunnel=self.has_ebpf_tunnel,
                tunnels=tuple(e.device for e in tunnels if e in enabled),
                failsafe_inbound=felix.failsafe_inbound,
                failsafe_outbound=felix.failsafe_outbound,
                to_host=felix.to_host, inserts=felix.chain_insert_mode == "Insert",
                may_send=tuple(e for e in ENCAPSULATIONS if e.is_taken_from_pods(felix)),
                nat_outgoing=any(pool.nat_outgoing for pool in pools),
                hosts=tuple(node.address.ip for node in self.nodes.values()),
                external=felix.external_nodes,
                pools=tuple(pool.cidr for pool in pools),
                masqueraded=tuple(pool.cidr for pool in pools if pool.nat_outgoing))
            # One that is equal is the same, as it is compared for each node.
            before = self._node_firewalls_before.get(key)
            node = self._node_firewalls[key] = before if before == node else node
        return node

    def devices(self, name: str) -> dict[str, tuple[IPv4Address, ...]]:
        """A node's devices that lead to no pod, with their addresses."""
        return {"lo": (IPv4Address("127.0.0.1"),), UPLINK: (self.nodes[name].address.ip,),
                **{encapsulation.device: (address,)
                   for encapsulation, address in self.tunnel_addresses(name).items()}}
