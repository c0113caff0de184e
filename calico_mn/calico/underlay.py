"""The physical network: a bridge per subnet, routers between them, and the nodes' uplinks.

Not Calico's, but what Calico stands on. A subnet's switch and each router have a namespace of
their own, so that nothing of the underlay is in the machine's own namespace. What is done to the
running underlay (filters, links that are down) is found out by :mod:`calico_mn.emulation.sessions`.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import combinations

from calico_mn.calico.encapsulation import ENCAPSULATIONS, UPLINK, format_prefix
from calico_mn.calico.remote_routes import NodeNetwork
from calico_mn.errors import ClusterError
from calico_mn.model import OUTER_FIELDS, ExternalHost, Link, Node, Router, Subnet, Topology
from calico_mn.state import (
    PROTO_BIRD,
    PROTO_STATIC,
    Address,
    Bridge,
    Device,
    Namespace,
    NextHop,
    Route,
    Shaping,
    Sysctl,
    Veth,
    VethEnd,
    VethPeer,
)

BRIDGE = "br0"
#: after lo (1) and tunl0 (2)
UPLINK_INDEX = 3
_IFNAMSIZ = 15
# Taken already in a fresh namespace, where their modules are loaded (net.core.fb_tunnels_only_for_
# init_net), or given by us; and what tools take for the number of a device.
_TAKEN = re.compile("|".join((
    *(re.escape(item.device) for item in ENCAPSULATIONS),
    r"br0|lo|all|default|any|sit0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|ip6tnl0|ip6gre0",
    r"port[0-9a-f]{11}|[0-9.]+")))

_END_OF_CABLE = (Sysctl("rp_filter", 0, "conf", "all"), Sysctl("rp_filter", 0, "conf", "default"),
                 Sysctl("accept_dad", 0, "conf", "default", "ipv6"))

#: learned prefixes with their equal next hops
NextHops = Mapping[IPv4Network, Sequence[IPv4Address]]
#: two nodes -> why TCP does not work between them
Unreachable = dict[frozenset[str], str]
#: a first step towards a subnet: the next router (None: attached) and the device to it
_Step = tuple[IPv4Address | None, str]


def port_name(owner: str) -> str:
    """The bridge port of a node or router: its name where Linux allows it, else a digest."""
    if len(owner) <= _IFNAMSIZ and re.fullmatch(r"[a-z0-9][a-z0-9.-]*", owner) and (
            not _TAKEN.fullmatch(owner)):
        return owner
    digest = hashlib.sha1(owner.encode(), usedforsecurity=False).hexdigest()
    return f"port{digest[:11]}"


def shaping(link: Link) -> Shaping | None:
    """The settings of the devices at both ends of a link."""
    wanted = Shaping(link.rate, link.delay, link.loss, link.jitter, link.reorder)
    return wanted if wanted != Shaping() else None


def plug(subnet: Subnet, owner: str, device: str, index: int) -> Veth:
    """The cable from a subnet's switch to ``device`` of ``owner``, which gets ``index``."""
    return Veth(port_name(owner), subnet.mtu, VethPeer(owner, device, subnet.mtu, index),
                master=BRIDGE, shaping=shaping(subnet.link))


def uplink(subnet: Subnet, device: str = UPLINK) -> VethEnd:
    """The same cable at its other end."""
    return VethEnd(device, subnet.mtu, shaping(subnet.link))


def with_links(state: Namespace, links: Mapping[tuple[str, str], Link]) -> Namespace:
    """The state with links that were changed while the cluster runs.

    ``links`` are by place and device of the end that the switch, or of a pod's link the node, has
    not. Of a link that is down, the switch's or node's end is, and its routes are gone.
    """
    if not links:
        return state
    devices: list[Device] = []
    for device in state.devices:
        end = ((device.peer.namespace, device.peer.name) if isinstance(device, Veth)
               else (state.name, device.name))
        link = links.get(end)
        if link is not None and isinstance(device, Veth):
            device = replace(device, shaping=shaping(link), up=link.up)
        elif link is not None and isinstance(device, VethEnd):
            device = replace(device, shaping=shaping(link))
        devices.append(device)
    down = {device.name for device in devices if isinstance(device, Veth) and not device.up}
    return replace(state, devices=tuple(devices), routes=tuple(
        route for route in state.routes if not route.devices & down) if down else state.routes)


class Fabric:
    """The underlay of a topology, with its routing worked out."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self.routers = topology.underlay.routers
        self.hosts = topology.underlay.hosts
        #: the routers that speak BGP, by name
        self.speaking = {router.name: router for router in self.routers if router.as_number}
        self._router_at = {interface.address: router for router in self.routers
                           for interface in router.interfaces}
        #: addresses that no node can have -> who has them
        self.taken = {**dict.fromkeys(self._router_at, "a router"),
                      **{host.address: f"host {host.name}" for host in self.hosts}}
        self._subnets = {subnet.name: subnet for subnet in topology.underlay.subnets}
        self._of_address: dict[IPv4Address, Subnet] = {}
        self._nics: dict[IPv4Interface, IPv4Interface] = {}

    def subnet_of(self, node: Node) -> Subnet:
        """The subnet that a node's uplink is plugged into."""
        try:
            return self.subnet_at(node.address.ip)
        except ClusterError as error:
            raise ClusterError(f"{node.name}: {error}") from None

    def subnet_at(self, address: IPv4Address) -> Subnet:
        """The subnet that has an address. Raises ClusterError."""
        subnet = self._of_address.get(address) or self._topology.subnet_of(address)
        if subnet is None:
            raise ClusterError(f"{address} lies in no subnet of the underlay")
        self._of_address[address] = subnet
        return subnet

    def gateway(self, subnet: Subnet) -> IPv4Address | None:
        """A subnet's default gateway: its first router, None where there is no router."""
        return next((interface.address for router in self.routers
                     for interface in router.interfaces if interface.subnet == subnet.name), None)

    def networks(self, router: Router) -> tuple[IPv4Network, ...]:
        """Those of the subnets that a router is in."""
        return tuple(self._subnets[interface.subnet].cidr for interface in router.interfaces)

    def node_network(self, node: Node) -> NodeNetwork:
        """The underlay as the node's routing sees it."""
        return NodeNetwork(node.address.network, self.nic(node).network,
                           self.gateway(self.subnet_of(node)), self.subnet_of(node).mtu)

    def nic(self, node: Node) -> IPv4Interface:
        """The address of a node's uplink, with the prefix that it has there.

        Calico takes a node's prefix from the NIC (autodetection), so the NIC has it, too. A /32 is
        what Calico makes of an address without prefix: such a NIC has its subnet's.
        """
        known = self._nics.get(node.address)
        if known is None:
            subnet, length = self.subnet_of(node), node.address.network.prefixlen
            known = self._nics[node.address] = IPv4Interface((
                node.address.ip, subnet.node_prefix or (
                    length if length < 32 else subnet.cidr.prefixlen)))
        return known

    def unreachable(self, nodes: Iterable[Node]) -> Unreachable:
        """The pairs of nodes without TCP: one has no route to the other, or asks by ARP in vain.

        Nodes of one subnet with one prefix are alike, so that a large cluster is a few questions.
        """
        def why(node: Node, peer: Node) -> str:
            return self._obstacle(node, peer) or self._obstacle(peer, node)

        alike: dict[tuple[str, IPv4Network], list[Node]] = {}
        for node in nodes:
            alike.setdefault((self.subnet_of(node).name, self.nic(node).network), []).append(node)
        return {frozenset((node.name, peer.name)): reason
                for ((_, network), group), ((_, other), others) in combinations(alike.items(), 2)
                if network.overlaps(other) or why(group[0], others[0])
                for node in group for peer in others if (reason := why(node, peer))}

    def _obstacle(self, node: Node, peer: Node) -> str:
        """Why what a node sends does not reach another node's address; empty when it does."""
        address, subnet = peer.address.ip, self.subnet_of(node)
        network = self.node_network(node)
        if address in network.connected:
            return "" if self.subnet_of(peer) is subnet else (
                f"{node.name} looks for {address} in {subnet.name}, where it is not")
        router = self._router_at.get(network.gateway) if network.gateway else None
        if router is not None and self.subnet_of(peer).name in self._paths(router):
            return ""
        return f"{router.name if router else node.name} has no route to {address}"

    def crossed(self, source: Subnet, destination: Subnet) -> tuple[Subnet, ...]:
        """The subnets that a packet crosses, with both ends; only the ends if there is no route.

        Of several equal ways it is the first.
        """
        subnets, hop = [source], self.gateway(source)
        while subnets[-1].name != destination.name:
            router = self._router_at.get(hop) if hop else None
            steps = self._paths(router).get(destination.name) if router else None
            if steps is None:
                return (source, destination)
            hop, _ = steps[0]
            subnet = self._topology.subnet_of(hop) if hop else destination
            if subnet is not None and subnet != subnets[-1]:
                subnets.append(subnet)
        return tuple(subnets)

    def switch(self, subnet: Subnet, nodes: Iterable[Node]) -> Namespace:
        """The namespace of a subnet's switch, with a port per node and router in it."""
        ports = [plug(subnet, node.name, UPLINK, UPLINK_INDEX) for node in nodes
                 if self.subnet_of(node).name == subnet.name]
        ports += (plug(subnet, router.name, f"eth{position}", UPLINK_INDEX + position)
                  for router in self.routers
                  for position, interface in enumerate(router.interfaces)
                  if interface.subnet == subnet.name)
        ports += (plug(subnet, host.name, UPLINK, UPLINK_INDEX) for host in self.hosts
                  if host.address in subnet.cidr)
        return Namespace(subnet.name, devices=(Bridge(BRIDGE, subnet.mtu), *ports), sysctls=(
            Sysctl("disable_ipv6", 1, "conf", "default", "ipv6"),))

    def host(self, host: ExternalHost) -> Namespace:
        """The namespace of a machine outside the cluster; it knows its gateway and no more."""
        subnet = self.subnet_at(host.address)
        gateway = host.gateway or self.gateway(subnet)
        return Namespace(
            host.name, (uplink(subnet),),
            (Address(UPLINK, f"{host.address}/{subnet.cidr.prefixlen}"),),
            (Route("default", via=str(gateway), device=UPLINK),) if gateway else (),
            (Sysctl("ip_forward", 0), *_END_OF_CABLE))

    def router(self, router: Router, next_hops: Mapping[str, IPv4Address],
               learned: NextHops | None = None) -> Namespace:
        """A router's namespace.

        ``next_hops`` maps the pods' prefixes to which it has static routes to nodes, ``learned``
        those that BGP brought to their equal next hops.
        """
        devices: list[VethEnd] = []
        addresses: list[Address] = []
        for position, interface in enumerate(router.interfaces):
            subnet = self._subnets[interface.subnet]
            device = f"eth{position}"
            devices.append(uplink(subnet, device))
            addresses.append(Address(device, f"{interface.address}/{subnet.cidr.prefixlen}"))
        paths = self._paths(router)
        attached = {interface.subnet for interface in router.interfaces}
        routes = [_route(str(self._subnets[name].cidr), steps)
                  for name, steps in paths.items() if name not in attached]
        for prefix, next_hop in next_hops.items():
            reached = self._topology.subnet_of(next_hop)
            if reached is not None and reached.name in paths:
                routes.append(_route(prefix, [
                    (via or next_hop, device) for via, device in paths[reached.name]]))
        for network, hops in (learned or {}).items():
            prefix = format_prefix(network)
            steps = {(via or hop, device) for hop in hops
                     if (reached := self._topology.subnet_of(hop)) is not None
                     for via, device in paths.get(reached.name, ())}
            routes.append(_route(prefix, sorted(steps), PROTO_BIRD) if steps else Route(
                prefix, protocol=PROTO_BIRD, kind="unreachable"))
        return Namespace(router.name, tuple(devices), tuple(addresses), tuple(routes), (
            Sysctl("ip_forward", 1), *_END_OF_CABLE,
            *_multipath_sysctls(router, routes),
        ))

    def _paths(self, start: Router) -> dict[str, tuple[_Step, ...]]:
        """For each subnet that ``start`` reaches, the first steps of all shortest paths."""
        paths: dict[str, tuple[_Step, ...]] = {
            interface.subnet: ((None, f"eth{position}"),)
            for position, interface in enumerate(start.interfaces)}
        distances = dict.fromkeys(paths, 0)
        queue = deque(paths)
        while queue:
            near = queue.popleft()
            for router in self.routers:
                entry = next((i for i in router.interfaces if i.subnet == near), None)
                if entry is None or router.name == start.name:
                    continue
                steps = tuple((via or entry.address, device) for via, device in paths[near])
                for interface in router.interfaces:
                    far = interface.subnet
                    if far not in distances:
                        paths[far], distances[far] = steps, distances[near] + 1
                        queue.append(far)
                    elif distances[far] == distances[near] + 1:
                        paths[far] = tuple(dict.fromkeys((*paths[far], *steps)))
        return paths


def _route(destination: str, steps: Sequence[_Step], protocol: str = PROTO_STATIC) -> Route:
    """A router's route; each of ``steps`` has a next router or node."""
    hops = tuple(NextHop(str(via), device) for via, device in steps)
    if len(hops) == 1:
        return Route(destination, hops[0].via, hops[0].device, protocol)
    return Route(destination, protocol=protocol, next_hops=hops)


def _multipath_sysctls(router: Router, routes: Iterable[Route]) -> Iterator[Sysctl]:
    """Only where there is a choice: a kernel without multipath routes has no such setting.

    ``fields`` exists since Linux 5.14, and older kernels cannot be asked for another value.
    """
    chosen = router.multipath_hash
    if chosen.policy or any(route.next_hops for route in routes):
        yield Sysctl("fib_multipath_hash_policy", chosen.policy)
        if chosen.policy == 3 or chosen.fields != OUTER_FIELDS:
            yield Sysctl("fib_multipath_hash_fields", chosen.fields)


def neighbour_entries(topology: Topology) -> int:
    """The neighbour entries of a cluster in which every pod and node talks to all others.

    Two for each pod (it knows its gateway, its node knows it), and on each subnet one for each pair
    of nodes, routers or hosts, in either direction.
    """
    count = 2 * len(topology.pods)
    for subnet in topology.underlay.subnets:
        members = sum(node.address.ip in subnet.cidr for node in topology.nodes) + sum(
            interface.subnet == subnet.name for router in topology.underlay.routers
            for interface in router.interfaces) + sum(
            host.address in subnet.cidr for host in topology.underlay.hosts)
        count += members * (members - 1)
    return count
