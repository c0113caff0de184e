"""Who may talk to whom in a cluster, by its policies alone. Pure: no packet is sent.

In go a :class:`~calico_mn.calico.cluster.Cluster` and the names of two ends; out comes the verdict
on the first packet between them, with the addresses that it has where policies look at it: a node
sends to a pod of another node from its tunnel's address, where there is a tunnel.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.policy.active import Endpoint
from calico_mn.calico.policy.firewall import Firewalls
from calico_mn.calico.policy.resolve import INGRESS
from calico_mn.calico.policy.verdict import Decision, Packet, Verdict, verdict
from calico_mn.calico.remote_routes import is_tunnelled
from calico_mn.errors import NotFoundError
from calico_mn.policy import PROTOCOLS, Icmp
from calico_mn.text import suggest

#: what ping sends
ECHO_REQUEST = Icmp(8, 0)


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
        self.index = Firewalls(cluster.topology, cluster.endpoints).index

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
            similar = suggest(name, [*cluster.endpoints, *cluster.nodes, *hosts])
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

        ``icmp`` is what a packet of ICMP is, ping's request unless given. A place always reaches
        itself, and a node its own pods (felix/rules/static.go, cali-OUTPUT).
        """
        if source == destination or (
                source.endpoint is None and source.node and source.node == destination.node):
            return Verdict(())
        packet = Packet(self.seen_from(source, destination), destination.address, protocol,
                        source_port, port, icmp if protocol == PROTOCOLS["icmp"] else None)
        result = verdict(self.index, source.endpoint, destination.endpoint, packet)
        to_host = self.cluster.topology.felix.to_host
        if result.allowed and to_host == "DROP" and destination.node == source.node and (
                source.endpoint and not destination.endpoint):
            return Verdict((*result.decisions, Decision(
                destination.name, INGRESS, False, setting="DefaultEndpointToHostAction drops it")))
        return result

    def seen_from(self, source: Place, destination: Place) -> IPv4Address:
        """The source address where the destination's policies look at it."""
        cluster = self.cluster
        if source.endpoint or not destination.endpoint or source.node in ("", destination.node):
            return source.address
        pool = next((pool for pool in cluster.topology.pools
                     if destination.address in pool.cidr), None)
        if pool is None:
            return source.address
        mode = cluster.mode(source.node, pool)
        network = cluster.fabric.node_network(cluster.nodes[source.node])
        peer = cluster.nodes[destination.node].address.ip
        tunnel = cluster.tunnel_address(source.node, mode.in_force) if is_tunnelled(
            mode.mode, network, peer) else None
        return tunnel or source.address
