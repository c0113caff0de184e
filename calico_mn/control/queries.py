"""What a running cluster is and has, from its bookkeeping and from the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network
from typing import Any

from calico_mn.bgp.engine import RouteEngine
from calico_mn.bgp.peerings import Peering
from calico_mn.calico.encapsulation import of_device
from calico_mn.control.dispatcher import Job, operation
from calico_mn.emulation.net import CalicoNet
from calico_mn.emulation.plan import peerings_of
from calico_mn.errors import KernelError
from calico_mn.state import PROTO_BOOT, Route


@operation("status")
def status(job: Job) -> dict[str, Any]:
    """The run and its cluster in short, with all that is not as a fresh boot would have it."""
    net = job.net
    refresh_sessions(net)
    cluster = net.cluster
    record = net.runtime.directory.record
    pools = [{"name": pool.name, "cidr": str(pool.cidr), "disabled": pool.disabled,
              **{field: str(mode) for field, mode in cluster.mode_of_pool(pool).fields.items()},
              "mode": str(cluster.mode_of_pool(pool)),
              "nodes": {node: str(mode) for node in cluster.nodes
                        if (mode := cluster.mode(node, pool)) != cluster.mode_of_pool(pool)}}
             for pool in cluster.topology.pools]
    return {
        "name": net.runtime.directory.name, "run": net.runtime.directory.identity,
        "pid": record["pid"], "started": record["started"], "version": record["version"],
        "topology": net.topology.source, "tunnel": net.tunnel,
        "iptables": net.iptables, "iptablesReason": net.runtime.iptables.reason,
        "profile": net.profile,
        "routeEngine": net.distributor.name, "nodes": len(net.nodes), "pods": len(net.pods),
        "routers": len(net.routers), "hosts": len(net.external_hosts),
        "subnets": len(net.switches), "pools": pools,
        "podRoutes": sorted(cluster.pod_routers),
        "mesh": net.topology.mesh, "bgpPeers": len(net.topology.bgp_peers),
        "sessionsDown": [{"nodes": sorted(pair), "reason": why}
                         for pair, why in cluster.unreachable().items()],
        "deadSpeakers": [node for node in cluster.nodes if not net.distributor.is_alive(node)
                         and node not in cluster.admission.unstarted],
        "unstartedNodes": sorted(cluster.admission.unstarted),
        "waitingPods": {key: f"{item.status}: {item.reason}"
                        for key, item in cluster.admission.waiting.items()},
        "filters": {name: [str(drop) for drop in drops]
                    for name, drops in net.filters.present.items() if drops},
        "directory": str(net.runtime.directory.path),
    }


@operation("names")
def names(job: Job) -> dict[str, list[str]]:
    """Everything that has a name, by kind."""
    net = job.net
    return {"nodes": [node.name for node in net.nodes], "pods": [pod.name for pod in net.pods],
            "hosts": [host.name for host in net.external_hosts],
            "routers": [router.name for router in net.routers],
            "subnets": [switch.name for switch in net.switches]}


@operation("bgp")
def bgp(job: Job, node: str | None = None) -> list[dict[str, Any]]:
    """Each node's speaker: its sessions and what it announces and learned."""
    net = job.net
    refresh_sessions(net)
    if node:
        job.require_node(node)
    rows, ends = [], peerings_of(net.cluster)
    for name in [node] if node else net.cluster.nodes:
        engine = net.distributor
        rows.append({
            "node": name, "address": str(net.cluster.nodes[name].address.ip),
            "alive": engine.is_alive(name),
            "started": name not in net.cluster.admission.unstarted, "mesh": net.topology.mesh,
            "announces": list(map(str, engine.originated(name))),
            "peers": [_peer(engine, name, end, ends) for end in ends[name]]})
    return rows


def _peer(engine: RouteEngine, node: str, end: Peering, ends: Mapping[str, Sequence[Peering]]
          ) -> dict[str, Any]:
    """A row of ``calicoctl node status``; ``node`` is None where no node has the address."""
    if not end.peer:
        reason = f"no node has {end.address}, so that no BGP speaker answers"
    elif node not in (other.peer for other in ends[end.peer]):
        reason = f"{end.peer} has no peering with {node}"
    else:
        reason = engine.why_down(node, end.peer)
    return {"address": str(end.address), "node": end.peer or None, "type": str(end.kind),
            "state": "down" if reason else "up", "reason": reason or None,
            "prefixes": [] if reason and not end.peer else list(map(
                str, engine.heard(node, end.peer)))}


def refresh_sessions(net: CalicoNet) -> None:
    """Ask which sessions are up. Where routes cannot be written, ``verify`` says why."""
    with suppress(KernelError):
        net.refresh_sessions()


@operation("enter")
def enter(job: Job, place: str) -> dict[str, Any]:
    """Descriptors of a place's network and mount namespaces, and what its programs must carry."""
    node = job.node(place)
    job.descriptors += job.net.runtime.open(node.name)
    return {"name": node.name, "run": str(job.net.runtime.directory.path)}


@operation("devices")
def devices(job: Job, place: str) -> list[str]:
    """The devices that a place has, as the bookkeeping has them."""
    state = job.net.states[job.node(place).name]
    return [device.name for device in state.devices]


@operation("address")
def address(job: Job, place: str) -> str:
    """The address by which others reach a place: a pod's, a node's, a router's first."""
    return str(job.node(place).IP() or "")


@operation("routes")
def routes(job: Job, places: list[str] | None = None) -> list[dict[str, Any]]:
    """The kernel's main routing tables as they are now, and what each route is for."""
    net = job.net
    meaning = _Meaning(net)
    rows = []
    for name in job.names(places) or [node.name for node in net.nodes]:
        for route in net.kernel_routes(name):
            hops = route.next_hops or (route,)
            rows += [{
                "place": name, "destination": route.destination, "type": route.kind,
                "gateway": hop.via or None, "device": hop.device or None,
                "protocol": None if route.protocol == PROTO_BOOT else route.protocol,
                "scope": None if route.scope == "global" else route.scope,
                "onlink": route.onlink, "meaning": meaning.of(name, route)} for hop in hops]
    return rows


class _Meaning:
    """Whose the destination of a route is, from the bookkeeping."""

    def __init__(self, net: CalicoNet) -> None:
        cluster = net.cluster
        self._net = net
        self._pods = {str(pod.address): pod for pod in cluster.endpoints.values()}
        self._blocks = {str(IPv4Network(block)): node for node in cluster.nodes
                        for block in cluster.ipam.blocks(node)}
        self._tunnels = {str(address): f"{encapsulation.device} of {node}"
                         for node in cluster.nodes
                         for encapsulation, address in cluster.tunnel_addresses(node).items()}
        self._subnets = {str(subnet.cidr): subnet.name for subnet in net.topology.underlay.subnets}

    def of(self, place: str, route: Route) -> str:
        """In a few words; empty for what the cluster does not know."""
        destination = route.destination
        if destination == "default":
            return "default gateway"
        if destination in self._subnets:
            return f"subnet {self._subnets[destination]}"
        if destination in self._pods:
            pod = self._pods[destination]
            borrowed = "" if pod.node == place else f" on {pod.node}, borrowed address"
            return f"pod {pod.key}{borrowed}"
        if destination in self._blocks:
            node = self._blocks[destination]
            if node == place:
                return "own block"
            tunnel = of_device(route.device)
            how = "" if place not in self._net.cluster.nodes else (
                f", in {tunnel}" if tunnel else ", direct")
            return f"block of {node}{how}"
        return self._tunnels.get(destination, "")
