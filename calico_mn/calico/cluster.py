"""The cluster as Calico would hold it: addresses given, modes in force, wanted states.

Bookkeeping in memory, no I/O: it computes what every namespace should hold. Applying that is
:mod:`calico_mn.emulation`'s task.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address

from calico_mn import model
from calico_mn.calico import cni, felix
from calico_mn.calico.allocateip import take_present
from calico_mn.calico.cni import WorkloadEndpoint, host_device
from calico_mn.calico.datastore import DatastoreReader
from calico_mn.calico.encapsulation import (
    ENCAPSULATIONS,
    UPLINK,
    VXLAN,
    Encapsulation,
    format_prefix,
)
from calico_mn.calico.policy.firewall import allowed_sources
from calico_mn.calico.pools import require_pools, usable_pools
from calico_mn.calico.remote_routes import NO_DATASTORE, ClusterRoutes, RemoteRoutes, Table, mode_in
from calico_mn.calico.underlay import Fabric, NextHops, Unreachable, port_name, uplink
from calico_mn.errors import ClusterError, IPAMError, Problem, TopologyError
from calico_mn.state import Address, Device, Namespace, Route, Sysctl
from calico_mn.text import is_label, is_subdomain


class Cluster(DatastoreReader):
    """Nodes, pods and addresses of one cluster.

    ``rp_filter`` is the nodes' ``net.ipv4.conf.default.rp_filter``. The attribute
    ``pod_routers`` names the routers that know the pods' blocks; ``has_tunnels`` False means that
    no node has a tunl0, so that no mode but Never can be had. What gets no address does not run,
    as :attr:`admission` tells.
    Raises TopologyError when two objects would have one name or device.
    """

    def __init__(self, topology: model.Topology, rp_filter: int) -> None:
        super().__init__(topology)
        self.rp_filter = rp_filter
        self.fabric = Fabric(topology)
        self._addresses: set[IPv4Address] = set()
        self._bird_routes, self._felix_routes = RemoteRoutes(), RemoteRoutes(is_felix=True)
        self.has_tunnels = True
        #: what probes of the running underlay found: empty where TCP works
        self.probed: Unreachable = {}
        #: what was set after the start: the routers' hashes, links as :func:`.with_links` has them
        self.multipath_hashes: dict[str, model.MultipathHash] = {}
        self.links: dict[tuple[str, str], model.Link] = {}
        self.pod_routers = {r.name for r in topology.underlay.routers if r.pod_routes}
        #: (subnet or node, device in it) -> who has it
        self._devices: dict[tuple[str, str], str] = {}
        try:
            self._plug_underlay()
            take_present(topology, self.ipam, self._tunnels)
            for node in topology.nodes:
                self.add_node(node)
            self.admit(topology.pods)
        except ClusterError as error:
            raise TopologyError([Problem(str(error), topology.source)]) from error

    def _plug_underlay(self) -> None:
        """Take the switches' ports for routers and hosts."""
        for router in self.fabric.routers:
            for interface in router.interfaces:
                self._take_device(interface.subnet, port_name(router.name), router.name)
        for host in self.fabric.hosts:
            self._take_device(self.fabric.subnet_at(host.address).name, port_name(host.name),
                              host.name)

    # --- what changes

    def add_node(self, node: model.Node) -> None:
        """Take a node in; it gets its tunnel address, if any, before its pods get theirs."""
        if node.name in self.nodes:
            raise ClusterError(f"there is a node {node.name} already")
        if not is_subdomain(node.name):
            raise ClusterError(f"{node.name!r} is not a valid name for a node")
        subnet = self._plugged(node)
        self._take_device(subnet.name, port_name(node.name), node.name)
        self._tunnels.add_node(node)
        self.admission.start([node.name])
        self.nodes[node.name] = node
        self._addresses.add(node.address.ip)
        self._on_node[node.name] = {}
        self._forget_what_all_hear()

    def _plugged(self, node: model.Node) -> model.Subnet:
        """The subnet that has room for a node's address."""
        if node.address.ip in self._addresses:
            raise ClusterError(f"{node.name}: another node has {node.address.ip}")
        subnet = self.fabric.subnet_of(node)
        owner = self.fabric.taken.get(node.address.ip)
        if owner:
            raise ClusterError(f"{node.name}: {owner} has {node.address.ip}")
        return subnet

    def adopt(self, topology: model.Topology) -> None:
        """Go over to another topology's pools, routers and settings; see :mod:`.evolution`."""
        if topology.underlay != self.topology.underlay:
            self.fabric = Fabric(topology)
            self._plug_underlay()
        self.topology = topology
        routes = ClusterRoutes.of(topology)
        self.routes = self.routes if routes == self.routes else routes
        self.ipam.adopt(topology.pools, topology.ipam, topology.reservations)
        self._tunnels.adopt(topology.pools)
        self._forget_what_all_hear()

    def change_nodes(self, nodes: Iterable[model.Node]) -> None:
        """Give nodes other labels, another MAC of the VTEP, or another address in their subnet."""
        changed = [node for node in nodes if node != self.nodes[node.name]]
        self._addresses -= {self.nodes[node.name].address.ip for node in changed}
        for node in changed:
            if self._plugged(node).name != self.fabric.subnet_of(self.nodes[node.name]).name:
                raise ClusterError(f"{node.name}: {node.address.ip} is in another subnet, and a"
                                   " running node stays plugged in where it is: delete it first")
            self._addresses.add(node.address.ip)
            self.nodes[node.name] = node
            self._tunnels.change_node(node)
        self._forget_what_all_hear()

    def settle_tunnels(self, coming: Iterable[model.Node]) -> None:
        """Give every node the tunnel addresses that the pools ask for, as allocateip does.

        ``coming`` are nodes that will be added, some with addresses that they have already.
        """
        self._tunnels.take_present(coming)
        self._tunnels.settle()
        self._forget_what_all_hear()

    def delete_node(self, name: str) -> None:
        """Forget a node that has no pods, with its blocks and its tunnel address."""
        self.node(name)
        if self._on_node[name]:
            pods = ", ".join(self._on_node[name])
            raise ClusterError(f"{name} still runs {pods}: delete those first")
        self._tunnels.delete_node(name)
        self.admission.forget_node(name)
        self.ipam.release_affinity(name)
        self._forget_what_all_hear()
        node = self.nodes[name]
        self._addresses.discard(node.address.ip)
        del self._devices[self.fabric.subnet_of(node).name, port_name(name)]
        del self.nodes[name], self._on_node[name]
        self._firewalls_before.pop(name, None)

    def admit(self, pods: Iterable[model.Pod]) -> list[WorkloadEndpoint]:
        """Add pods; those for which there is no node or no address wait. Returns those that run."""
        return self.admission.admit(pods, self.add_pod)

    def retry(self) -> tuple[list[str], list[str], list[WorkloadEndpoint]]:
        """See :meth:`.admission.Admission.retry`."""
        self._forget_what_all_hear()
        return self.admission.retry(self.add_pod)

    def add_pod(self, pod: model.Pod) -> WorkloadEndpoint:
        """Give a pod its address and its MTU, which it keeps for life. Raises IPAMError."""
        node = self.node(pod.node)
        if not (is_label(pod.namespace) and is_subdomain(pod.name)):
            raise ClusterError(f"{pod.key!r} is not a valid name for a pod")
        if pod.key in self.endpoints or pod.key in self.admission.waiting:
            raise ClusterError(f"there is a pod {pod.key} already")
        device = host_device(pod.namespace, pod.name)
        self._take_device(pod.node, device, pod.key)
        try:
            return self._with_address(pod, node)
        except IPAMError:
            del self._devices[pod.node, device]
            raise

    def _with_address(self, pod: model.Pod, node: model.Node) -> WorkloadEndpoint:
        allocation = self.ipam.allocation(pod.key)
        if allocation is not None:
            address = allocation.address
        elif pod.ip is not None:
            address = self.ipam.assign_ip(pod.node, pod.key, pod.ip, is_present=pod.has_ip)
        else:
            require_pools(self.topology.pools, pod)
            address = self.ipam.assign(pod.node, pod.key, usable_pools(
                self.topology.pools, node, model.WORKLOAD, pod.pools))
        uplink_mtu = self.fabric.subnet_of(node).mtu
        modes = self._tunnels.modes(pod.node).values()
        mtu = felix.pod_mtu(uplink_mtu, (
            mode.in_force.mtu(uplink_mtu, mode.in_force.configured_mtu(self.topology))
            for mode in modes if mode.is_on), self.topology.veth_mtu)
        profile = self.routes.profile
        endpoint = WorkloadEndpoint(pod.namespace, pod.name, pod.node, address, mtu,
                                    profile.veth_queue, profile.pod_index)
        self.endpoints[pod.key] = self._on_node[pod.node][pod.key] = endpoint
        self._forget_what_all_hear()
        return endpoint

    def _take_device(self, place: str, device: str, owner: str) -> None:
        """Device names are truncated digests: two of them can collide."""
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
        self._forget_what_all_hear()
        return endpoint

    def set_mode(self, mode: model.EncapsulationMode | None, node: str | None = None,
                 encapsulation: Encapsulation | None = None, pool: str | None = None, *,
                 at_boot: bool = False) -> None:
        """Change every pool, or one, as all nodes see it or as one node alone does.

        With None each pool keeps its mode, or its encapsulation. A node for whose tunnel no
        address is left has none; ``at_boot`` its calico-node does not start. Raises ClusterError
        for an unknown name.
        """
        names = [item.name for item in self.topology.pools]
        if pool is not None and pool not in names:
            raise ClusterError(f"there is no IPPool {pool}; pools: {', '.join(names) or 'none'}")
        self._tunnels.set_mode(mode, encapsulation,
                               None if node is None else self.node(node).name, pool)
        if at_boot:
            self.admission.start(self.nodes)
            self.retry()
        self._forget_what_all_hear()

    # --- what is

    def node(self, name: str) -> model.Node:
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

    def unreachable(self) -> Unreachable:
        """The pairs of nodes without TCP: as the underlay is built, unless probes know better."""
        known = {**self.fabric.unreachable(self.nodes.values()), **self.probed}
        speakers = self.nodes.keys() | self.fabric.speaking
        return {pair: why for pair, why in known.items() if why and pair <= speakers}

    # --- wanted states

    def node_state(self, name: str, table: Table) -> Namespace:
        """What a node's namespace should hold, given each prefix's best next hop.

        ``table`` may hold the node's own prefixes; it must not change once it was passed here.
        """
        node = self.nodes[name]
        subnet, network = self.fabric.subnet_of(node), self.fabric.node_network(node)
        seen = self._tunnels.modes(name)
        modes = tuple((pool.cidr, seen[pool.name]) for pool in self.topology.pools)
        tunnels = self.tunnel_addresses(name)
        is_started = name not in self.admission.unstarted
        made = [device for e in ENCAPSULATIONS if (device := e.tunnel(
            node, subnet.mtu, self.topology, is_on=e in tunnels,
            was_on=is_started and self._tunnels.has_used(name, e)))]
        devices: list[Device] = [uplink(subnet), *(
            device for device in made if self.has_tunnels or not device.has_back_end)]
        datastore = self.datastore() if is_started else NO_DATASTORE
        vteps = [entries for peer, entries in datastore.vteps.items()
                 if VXLAN in tunnels and peer != name]
        addresses = [Address(UPLINK, str(self.fabric.nic(node))),
                     *(Address(encapsulation.device, f"{address}/32")
                       for encapsulation, address in tunnels.items())]
        sysctls: list[Sysctl] = list(felix.node_sysctls(self.rp_filter))
        routes: list[Route] = []
        if network.gateway is not None:
            if network.gateway not in network.connected:
                # As DHCP in clouds says it to a NIC with a /32.
                routes.append(Route(str(network.gateway), device=UPLINK, scope="link"))
            routes.append(Route("default", via=str(network.gateway), device=UPLINK))
        routes += (route for block in self.ipam.blocks(name)
                   if is_started and (route := self.routes.block_route(
                       block, mode_in(modes, block))))
        for endpoint in self._on_node[name].values():
            side = cni.host_side(endpoint, self.rp_filter, self.routes.profile.metric)
            devices.append(side.device)
            routes.append(side.route)
            sysctls += side.sysctls
        # A dead peer may still announce what has moved to this node: BIRD leaves alien routes.
        local = {route.destination for route in routes}
        local.update(map(str, tunnels.values()), map(format_prefix, self.originated(name)))
        of_felix = self._felix_routes.of(datastore.table, modes, network, self.routes,
                                      has_vtep=VXLAN in tunnels)
        of_bird = self._bird_routes.of(table, modes, network, self.routes)
        routes += [route for route in (*of_bird, *of_felix) if route.destination not in local]
        firewall = self._firewalls_before[name] = self._firewall(name)
        routes += allowed_sources(firewall) if self.has_ebpf_tunnel else ()
        return Namespace(
            name, tuple(devices), tuple(addresses), tuple(routes), tuple(sysctls),
            tuple(neighbour for neighbour, _ in vteps), tuple(entry for _, entry in vteps),
            firewall)

    def pod_state(self, key: str) -> Namespace:
        """What a pod's namespace should hold."""
        return cni.pod_side(self.endpoints[key])

    def subnet_state(self, subnet: model.Subnet) -> Namespace:
        """What the namespace of a subnet's switch should hold."""
        return self.fabric.switch(subnet, self.nodes.values())

    def router_state(self, router: model.Router, table: NextHops | None = None) -> Namespace:
        """What a router's namespace should hold; ``table`` is what it learned by BGP."""
        known = self.nodes.values() if router.name in self.pod_routers else ()
        prefixes = {format_prefix(prefix): node.address.ip for node in known
                    for prefix in self.originated(node.name)}
        chosen = self.multipath_hashes.get(router.name, router.multipath_hash)
        return self.fabric.router(replace(router, multipath_hash=chosen), prefixes, table)
