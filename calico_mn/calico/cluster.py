"""The cluster as Calico would hold it: addresses given, modes in force, wanted states.

Bookkeeping in memory, no I/O: it answers what every namespace should hold now. Carrying that
out is :mod:`calico_mn.emulation`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico import cni, felix
from calico_mn.calico.cni import WorkloadEndpoint, host_device
from calico_mn.calico.encapsulation import (
    IPIP,
    UPLINK,
    format_prefix,
    own_block_route,
)
from calico_mn.calico.ipam import IPAM
from calico_mn.calico.remote_routes import RemoteRoutes, Table
from calico_mn.calico.underlay import Fabric, port_name, uplink
from calico_mn.errors import ClusterError, IPAMError, Problem, TopologyError
from calico_mn.model import (
    EncapsulationMode,
    IPPool,
    MultipathHash,
    Node,
    Pod,
    Router,
    Subnet,
    Topology,
)
from calico_mn.state import Address, Device, Namespace, Route, Sysctl
from calico_mn.text import is_label, is_subdomain

NEVER = EncapsulationMode.NEVER


class Cluster:
    """Nodes, pods and addresses of one cluster.

    ``rp_filter`` is the nodes' ``net.ipv4.conf.default.rp_filter``. The attribute
    ``pod_routers`` names the routers that know the pods' blocks; ``has_tunnels`` False means that
    no node has a tunl0, so that no mode but Never can be had. Raises TopologyError when the
    addresses do not suffice for the topology's pods.
    """

    def __init__(self, topology: Topology, rp_filter: int) -> None:
        self.topology = topology
        self.rp_filter = rp_filter
        self.fabric = Fabric(topology)
        self.ipam = IPAM(topology.pools, topology.affinities, topology.ipam)
        self.nodes: dict[str, Node] = {}
        self._addresses: set[IPv4Address] = set()
        self.endpoints: dict[str, WorkloadEndpoint] = {}
        self._on_node: dict[str, dict[str, WorkloadEndpoint]] = {}
        self._modes: dict[str, Mapping[str, EncapsulationMode]] = {}
        self._tunnels_up: set[str] = set()
        self._remote_routes = RemoteRoutes()
        self.has_tunnels = True
        #: what routers were told after the start
        self.multipath_hashes: dict[str, MultipathHash] = {}
        self._router_addresses = {(foot.subnet, foot.address)
                                  for router in topology.underlay.routers
                                  for foot in router.interfaces}
        self.pod_routers = {r.name for r in topology.underlay.routers if r.pod_routes}
        self._pool_modes = {pool.name: pool.ipip_mode for pool in topology.pools}
        #: (subnet or node, device in it) -> who has it
        self._devices: dict[tuple[str, str], str] = {}
        try:
            for router in topology.underlay.routers:
                for foot in router.interfaces:
                    self._take_device(foot.subnet, port_name(router.name), router.name)
            for pod in topology.pods:
                if pod.ip is not None:
                    self.ipam.assign_ip(pod.node, pod.key, pod.ip)
            for node in topology.nodes:
                self.add_node(node)
            for pod in topology.pods:
                self.add_pod(pod)
        except (IPAMError, ClusterError) as error:
            raise TopologyError([Problem(str(error), topology.source)]) from error

    # --- what changes

    def add_node(self, node: Node) -> None:
        """Take a node in; it gets its tunnel address before any of its pods gets one."""
        if node.name in self.nodes:
            raise ClusterError(f"there is a node {node.name} already")
        if node.address.ip in self._addresses:
            raise ClusterError(f"{node.name}: another node has {node.address.ip}")
        if not is_subdomain(node.name):
            raise ClusterError(f"{node.name!r} is not a valid name for a node")
        subnet = self.fabric.subnet_of(node)
        if (subnet.name, node.address.ip) in self._router_addresses:
            raise ClusterError(f"{node.name}: a router has {node.address.ip}")
        port = port_name(node.name)
        self._take_device(subnet.name, port, node.name)
        try:
            self._set_modes(node.name, self._pool_modes)
        except IPAMError:
            del self._devices[subnet.name, port]
            raise
        self.nodes[node.name] = node
        self._addresses.add(node.address.ip)
        self._on_node[node.name] = {}

    def delete_node(self, name: str) -> None:
        """Forget a node that has no pods, with its blocks and its tunnel address."""
        self.node(name)
        if self._on_node[name]:
            pods = ", ".join(self._on_node[name])
            raise ClusterError(f"{name} still runs {pods}: delete those first")
        self.ipam.release(IPIP.handle_of(name))
        self.ipam.release_affinity(name)
        self._tunnels_up.discard(name)
        node = self.nodes[name]
        self._addresses.discard(node.address.ip)
        del self._devices[self.fabric.subnet_of(node).name, port_name(name)]
        del self.nodes[name], self._on_node[name], self._modes[name]

    def add_pod(self, pod: Pod) -> WorkloadEndpoint:
        """Give a pod its address and its MTU, which it keeps whatever changes later."""
        node = self.node(pod.node)
        if not (is_label(pod.namespace) and is_subdomain(pod.name)):
            raise ClusterError(f"{pod.key!r} is not a valid name for a pod")
        if pod.key in self.endpoints:
            raise ClusterError(f"there is a pod {pod.key} already")
        device = host_device(pod.namespace, pod.name)
        self._take_device(pod.node, device, pod.key)
        try:
            return self._with_address(pod, node)
        except IPAMError:
            del self._devices[pod.node, device]
            raise

    def _with_address(self, pod: Pod, node: Node) -> WorkloadEndpoint:
        allocation = self.ipam.allocation(pod.key)
        if allocation is not None:
            address = allocation.address
        elif pod.ip is not None:
            address = self.ipam.assign_ip(pod.node, pod.key, pod.ip)
        else:
            address = self.ipam.assign(pod.node, pod.key)
        mtu = felix.pod_mtu(self.fabric.subnet_of(node).mtu, self._modes[pod.node].values(),
                            self.topology.veth_mtu, self.topology.ipip_mtu)
        endpoint = WorkloadEndpoint(pod.namespace, pod.name, pod.node, address, mtu)
        self.endpoints[pod.key] = self._on_node[pod.node][pod.key] = endpoint
        return endpoint

    def _take_device(self, place: str, device: str, owner: str) -> None:
        """Names of devices are digests cut short: two of them can be the same."""
        other = self._devices.setdefault((place, device), owner)
        if other != owner:
            raise ClusterError(f"{owner} and {other} would both have the device {device} in"
                               f" {place}: give one of them another name")

    def delete_pod(self, key: str) -> WorkloadEndpoint:
        """Take a pod out; its address goes to the end of its block's free list."""
        endpoint = self.endpoint(key)
        del self.endpoints[key], self._on_node[endpoint.node][key]
        del self._devices[endpoint.node, endpoint.device]
        self.ipam.release(key)
        return endpoint

    def set_mode(self, mode: EncapsulationMode, node: str | None = None) -> None:
        """Put every pool into ``mode``, as all nodes see it or as one node alone does.

        Raises IPAMError when no address is left for a tunnel; the modes are then as before.
        """
        modes = {pool.name: mode for pool in self.topology.pools}
        before = self._modes.copy()
        names = list(self.nodes) if node is None else [self.node(node).name]
        try:
            for name in names:
                self._set_modes(name, modes)
        except IPAMError:
            for name in names:
                self._set_modes(name, before[name])
            raise
        if node is None:
            self._pool_modes = modes

    def _set_modes(self, node: str, modes: Mapping[str, EncapsulationMode]) -> None:
        """How a node sees the pools' modes, and the tunnel address that follows from it.

        node/pkg/allocateip gives a tunnel address while an enabled pool has IPIP, and takes it
        back otherwise.
        """
        self._modes[node] = modes
        handle = IPIP.handle_of(node)
        pools = [pool for pool in self.topology.pools
                 if modes[pool.name] is not NEVER and not pool.disabled]
        if not pools:
            self.ipam.release(handle)
        elif self.ipam.allocation(handle) is None:
            self.ipam.assign(node, handle, pools)
        if any(mode is not NEVER for mode in modes.values()):
            self._tunnels_up.add(node)

    # --- what is

    def node(self, name: str) -> Node:
        """A node by its name. Raises ClusterError if there is none."""
        try:
            return self.nodes[name]
        except KeyError:
            known = ", ".join(self.nodes) or "none"
            raise ClusterError(f"there is no node {name}; nodes: {known}") from None

    def endpoint(self, key: str) -> WorkloadEndpoint:
        """A pod by ``namespace/name``. Raises ClusterError if there is none."""
        try:
            return self.endpoints[key]
        except KeyError:
            raise ClusterError(f"there is no pod {key}") from None

    def pods_on(self, node: str) -> tuple[WorkloadEndpoint, ...]:
        """The pods of a node, oldest first."""
        return tuple(self._on_node[node].values())

    def mode(self, node: str, pool: IPPool) -> EncapsulationMode:
        """A pool's mode as a node sees it."""
        return self._modes[node][pool.name]

    def mode_of_pool(self, pool: IPPool) -> EncapsulationMode:
        """A pool's mode as the cluster has it; single nodes may see another."""
        return self._pool_modes[pool.name]

    @property
    def uses_ipip(self) -> bool:
        """Whether any node sees a pool with IPIP."""
        return any(mode is not NEVER for modes in self._modes.values() for mode in modes.values())

    def tunnel_address(self, node: str) -> IPv4Address | None:
        """The address on a node's tunl0, None while it has none."""
        allocation = self.ipam.allocation(IPIP.handle_of(node))
        return allocation.address if allocation else None

    def originated(self, node: str) -> tuple[IPv4Network, ...]:
        """What a node announces: its blocks, and as /32 what it uses outside of them.

        Single addresses inside own blocks are never announced (``calico_aggr`` in bird_aggr).
        """
        borrowed = (IPv4Network(address) for address in self.ipam.borrowed(node))
        blocks = (block for block in self.ipam.blocks(node)
                  if block.prefixlen < 32 or self._has(node, block.network_address))
        return (*blocks, *borrowed)

    def _has(self, node: str, address: IPv4Address) -> bool:
        """Whether a node uses an address; BIRD knows a /32 block, without blackhole, by that."""
        return address == self.tunnel_address(node) or any(
            endpoint.address == address for endpoint in self._on_node[node].values())

    # --- wanted states

    def node_state(self, name: str, table: Table) -> Namespace:
        """What a node's namespace should hold, given each prefix's best next hop.

        ``table`` may hold the node's own prefixes; it must not change once it was passed here.
        """
        node = self.nodes[name]
        subnet = self.fabric.subnet_of(node)
        devices: list[Device] = [uplink(subnet)]
        if self.has_tunnels:
            devices.insert(0, IPIP.tunnel(
                subnet.mtu, name in self._tunnels_up, self.topology.ipip_mtu))
        addresses = [Address(UPLINK, f"{node.address.ip}/{subnet.cidr.prefixlen}")]
        tunnel = self.tunnel_address(name)
        if tunnel is not None:
            addresses.append(Address(IPIP.device, f"{tunnel}/32"))
        sysctls: list[Sysctl] = list(felix.node_sysctls(self.rp_filter))
        routes: list[Route] = []
        gateway = self.fabric.gateway(subnet)
        if gateway is not None:
            routes.append(Route("default", via=str(gateway), device=UPLINK))
        routes += self._block_routes(name)
        for endpoint in self._on_node[name].values():
            side = cni.host_side(endpoint, self.rp_filter)
            devices.append(side.device)
            routes.append(side.route)
            sysctls += side.sysctls
        # A dead peer may still announce what has moved here: BIRD leaves alien routes alone.
        local = {route.destination for route in routes}
        local.update(map(format_prefix, self.originated(name)))
        modes = tuple((pool.cidr, self._modes[name][pool.name]) for pool in self.topology.pools)
        routes += [
            route for route in self._remote_routes.of(table, modes, self.fabric.node_network(node))
            if route.destination not in local]
        return Namespace(name, tuple(devices), tuple(addresses), tuple(routes), tuple(sysctls))

    def _block_routes(self, node: str) -> Iterator[Route]:
        for block in self.ipam.blocks(node):
            route = own_block_route(block)
            if route is not None:
                yield route

    def pod_state(self, key: str) -> Namespace:
        """What a pod's namespace should hold."""
        return cni.pod_side(self.endpoints[key])

    def subnet_state(self, subnet: Subnet) -> Namespace:
        """What the namespace of a subnet's switch should hold."""
        return self.fabric.switch(subnet, self.nodes.values())

    def router_state(self, router: Router) -> Namespace:
        """What a router's namespace should hold."""
        prefixes = {format_prefix(prefix): node.address.ip for node in self.nodes.values()
                    for prefix in self.originated(node.name)
                    } if router.name in self.pod_routers else {}
        chosen = self.multipath_hashes.get(router.name, router.multipath_hash)
        return self.fabric.router(replace(router, multipath_hash=chosen), prefixes)
