"""Who may talk to whom in a cluster, by its policies alone. Pure: no packet is sent.

In go a :class:`~calico_mn.calico.cluster.Cluster` and the names of two ends; out comes the verdict
on the first packet between them, with the addresses that it has where policies look at it: a node
sends to a pod of another node from its tunnel's address, where there is a tunnel. The packet's way
is through Felix's chains of the sender's node and of the receiver's, as felix/rules/static.go has
them; of a packet in a tunnel, host endpoints are asked about what is inside, and before tracking
and NAT about the packet around it, as it comes in.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import UPLINK
from calico_mn.calico.policy.active import Endpoint
from calico_mn.calico.policy.endpoint_chains import ANY_DEVICE
from calico_mn.calico.policy.firewall import Firewalls
from calico_mn.calico.policy.resolve import EGRESS, INGRESS
from calico_mn.calico.policy.verdict import Decision, Packet, Verdict, decide
from calico_mn.calico.pools import PoolMode
from calico_mn.calico.remote_routes import is_tunnelled
from calico_mn.errors import NotFoundError
from calico_mn.policy import PROTOCOLS, HostEndpoint, Icmp, Stage
from calico_mn.text import suggest

#: what ping sends
ECHO_REQUEST = Icmp(8, 0)
#: the device of a pod: a host endpoint for all devices has it too
_POD = "cali"


@dataclass(frozen=True)
class Place:
    """One end: a pod, a node, or an address outside of the cluster."""

    name: str
    address: IPv4Address
    node: str = ""
    endpoint: Endpoint | None = None


class Explainer:
    """The policies of a cluster, asked about pairs of places."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._firewalls = Firewalls(cluster.topology, cluster.endpoints)
        self.index = self._firewalls.index
        self._hosts_of: dict[str, dict[str, HostEndpoint]] = {}

    def place(self, name: str) -> Place:
        """A pod by ``[NAMESPACE/]NAME``, a node, an Underlay's host, or an address.

        Raises NotFoundError.
        """
        cluster = self.cluster
        keys = [key for key in cluster.endpoints if name in (key, key.partition("/")[2])]
        if len(keys) == 1:
            workload = cluster.endpoints[keys[0]]
            return Place(keys[0], workload.address, workload.node, self.index.endpoints[keys[0]])
        if keys:
            raise NotFoundError(f"there are several pods {name}: say which of {', '.join(keys)}")
        if name in cluster.nodes:
            return Place(name, cluster.nodes[name].address.ip, name)
        hosts = {host.name: host.address for host in cluster.topology.underlay.hosts}
        if name in hosts:
            return Place(name, hosts[name])
        try:
            return self._by_address(IPv4Address(name))
        except AddressValueError:
            similar = suggest(name, [*cluster.endpoints, *cluster.nodes, *hosts, *(
                key.partition("/")[2] for key in cluster.endpoints)])
            hint = f"; did you mean {similar}?" if similar else ""
            raise NotFoundError(f"there is no pod, node or host {name!r}{hint}") from None

    def _by_address(self, address: IPv4Address) -> Place:
        cluster = self.cluster
        names = [key for key, pod in cluster.endpoints.items() if pod.address == address]
        names += [name for name, node in cluster.nodes.items() if node.address.ip == address]
        return self.place(names[0]) if names else Place(str(address), address)

    def explain(self, source: Place, destination: Place, protocol: int, port: int = 0, *,
                source_port: int = 0, icmp: Icmp = ECHO_REQUEST) -> Verdict:
        """The verdict on the first packet of a flow; ``port`` is the destination's.

        ``icmp`` is what a packet of ICMP is, ping's request unless given. A pod always reaches
        itself, and a node its own pods (felix/rules/static.go, cali-OUTPUT).
        """
        if source == destination and source.endpoint:
            return Verdict(())
        packet = Packet(self.seen_from(source, destination), destination.address, protocol,
                        source_port, port, icmp if protocol == PROTOCOLS["icmp"] else None)
        decisions: list[Decision] = []
        for decision in self._way(source, destination, packet):
            decisions.append(decision)
            if not decision.allowed:
                break
        return Verdict(tuple(decisions))

    def _way(self, source: Place, destination: Place, packet: Packet) -> Iterator[Decision]:
        device = self._device_between(source, destination)
        if source.node:
            yield from self._leave(source, destination, packet, device)
        if destination.node and destination.node != source.node:
            if source.endpoint and self._is_masqueraded(source, destination):
                packet = replace(packet, source=self.cluster.nodes[source.node].address.ip)
            yield from self._of_tunnel(source, destination)
            yield from self._arrive(destination, packet, device)

    def _of_tunnel(self, source: Place, destination: Place) -> Iterator[Decision]:
        """What drops the packet around it where it comes in; filter accepts that unasked."""
        mode = self._tunnel_between(source, destination)
        if mode is None:
            return
        match = mode.in_force.match
        near, far = (self.cluster.nodes[place.node].address.ip for place in (source, destination))
        outer = Packet(near, far, match.protocol, port=match.port or 0)
        for stage in (Stage.UNTRACKED, Stage.PRE_DNAT):
            for decision in self._ask(destination.node, UPLINK, INGRESS, stage, outer):
                if decision.allowed:
                    return
                yield replace(decision, of_tunnel=True)

    def _leave(self, source: Place, destination: Place, packet: Packet, device: str
               ) -> Iterator[Decision]:
        """Through the sender's node, as far as another pod of it or out by ``device``."""
        node, is_local = source.node, destination.node == source.node
        out = _POD if is_local and destination.endpoint else device
        if source.endpoint is None:
            if out == _POD:
                return
            if (yield from self._ask(node, out, EGRESS, Stage.UNTRACKED, packet)) is None:
                yield from self._ask(node, out, EGRESS, Stage.NORMAL, packet)
            if is_local:
                yield from self._arrive(destination, packet, "lo")
            return
        is_accepted = yield from self._ask(node, _POD, INGRESS, Stage.PRE_DNAT, packet)
        to_node = is_local and destination.endpoint is None
        if not to_node and is_accepted is None:
            yield from self._ask(node, _POD, INGRESS, Stage.FORWARD, packet)
        yield from self._of_pod(source.endpoint, EGRESS, packet)
        if to_node:
            if self.cluster.topology.felix.to_host == "DROP":
                yield Decision(destination.name, INGRESS, False,
                               setting="DefaultEndpointToHostAction drops it")
            return
        if is_local and destination.endpoint:
            yield from self._of_pod(destination.endpoint, INGRESS, packet)
        yield from self._ask(node, out, EGRESS, Stage.FORWARD, packet)

    def _arrive(self, destination: Place, packet: Packet, device: str) -> Iterator[Decision]:
        """Into a node by ``device``, to its processes or on to a pod."""
        node = destination.node
        is_accepted = yield from self._ask(node, device, INGRESS, Stage.UNTRACKED, packet)
        if is_accepted is None:
            is_accepted = yield from self._ask(node, device, INGRESS, Stage.PRE_DNAT, packet)
        if destination.endpoint is None:
            if is_accepted is None:
                yield from self._ask(node, device, INGRESS, Stage.NORMAL, packet)
            return
        if is_accepted is None:
            yield from self._ask(node, device, INGRESS, Stage.FORWARD, packet)
        yield from self._of_pod(destination.endpoint, INGRESS, packet)
        yield from self._ask(node, _POD, EGRESS, Stage.FORWARD, packet)

    def _of_pod(self, endpoint: Endpoint, direction: str, packet: Packet) -> Iterator[Decision]:
        decision = decide(self.index, endpoint, direction, packet)
        if decision is not None:
            yield decision

    def _ask(self, node: str, device: str, direction: str, stage: Stage, packet: Packet
             ) -> Generator[Decision, None, bool | None]:
        """Ask the host endpoint of a device; whether it accepts, None where it says nothing."""
        hosts = self._hosts(node)
        # Felix takes no doNotTrack policy for all devices at once.
        host = hosts.get(device) or (
            hosts.get(ANY_DEVICE) if stage is not Stage.UNTRACKED else None)
        if host is None:
            return None
        endpoint, felix = self.index.hosts[host.name], self.cluster.topology.felix
        name, ports = (("failsafeInboundHostPorts", felix.failsafe_inbound)
                       if direction == INGRESS else
                       ("failsafeOutboundHostPorts", felix.failsafe_outbound))
        other = packet.source if direction == INGRESS else packet.destination
        if stage is not Stage.FORWARD and any(
                (PROTOCOLS[item.protocol], item.port) == (packet.protocol, packet.port)
                and (item.net is None or other in item.net) for item in ports):
            if stage is Stage.NORMAL:
                yield Decision(endpoint.key, direction, True, setting=f"{name} allows it")
            return None
        decision = decide(self.index, endpoint, direction, packet, stage)
        if decision is None:
            return None
        yield decision
        return decision.allowed

    def _hosts(self, node: str) -> dict[str, HostEndpoint]:
        if node not in self._hosts_of:
            self._hosts_of[node] = self._firewalls.host_endpoints(
                node, self.cluster.devices(node))
        return self._hosts_of[node]

    def _device_between(self, source: Place, destination: Place) -> str:
        """By which device the packet leaves the sender's node and comes into the receiver's."""
        if source.node == destination.node and source.endpoint is None:
            return "lo"
        mode = self._tunnel_between(source, destination)
        return mode.in_force.device if mode else UPLINK

    def _tunnel_between(self, source: Place, destination: Place) -> PoolMode | None:
        """The mode of the pool that has the destination, where it means a tunnel."""
        cluster = self.cluster
        if not (source.node and destination.endpoint) or source.node == destination.node:
            return None
        pool = next((pool for pool in cluster.topology.pools
                     if destination.address in pool.cidr), None)
        if pool is None:
            return None
        mode = cluster.mode(source.node, pool)
        network = cluster.fabric.node_network(cluster.nodes[source.node])
        peer = cluster.nodes[destination.node].address.ip
        return mode if is_tunnelled(mode.mode, network, peer) else None

    def _is_masqueraded(self, source: Place, destination: Place) -> bool:
        pools = self.cluster.topology.pools
        return any(pool.nat_outgoing and source.address in pool.cidr for pool in pools) and not any(
            destination.address in pool.cidr for pool in pools)

    def seen_from(self, source: Place, destination: Place) -> IPv4Address:
        """The source address where the destination's policies look at it."""
        mode = None if source.endpoint else self._tunnel_between(source, destination)
        address = self.cluster.tunnel_address(source.node, mode.in_force) if mode else None
        return address or source.address
