"""What a running cluster is and has, from its bookkeeping and from the kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from ipaddress import IPv4Network
from typing import Any

from calico_mn.bgp.engine import Session
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import of_device
from calico_mn.control.dispatcher import Job, operation
from calico_mn.emulation.fabric import LinkStatus
from calico_mn.emulation.speakers import peerings_of, speaker_addresses, unreachable
from calico_mn.errors import KernelError
from calico_mn.kernel import processes
from calico_mn.net import CalicoNet
from calico_mn.state import PROTO_BOOT, Route


@operation("status")
def status(job: Job) -> dict[str, Any]:
    """The run and its cluster in short, with all that is not as a fresh boot would have it."""
    net = job.net
    refresh_sessions(net)
    cluster = net.cluster
    record = net.runtime.directory.record
    return {
        "name": net.runtime.directory.name, "run": net.runtime.directory.identity,
        "pid": record["pid"], "started": record["started"], "version": record["version"],
        "topology": net.topology.source, "tunnel": net.tunnel,
        "iptables": net.iptables, "iptablesReason": net.runtime.iptables.reason,
        "profile": net.profile,
        "routeEngine": net.distributor.name, "nodes": len(net.nodes), "pods": len(net.pods),
        "routers": len(net.routers), "hosts": len(net.external_hosts),
        "subnets": len(net.switches), "pools": pool_facts(cluster),
        "podRoutes": sorted(cluster.pod_routers),
        "mesh": net.topology.mesh, "bgpPeers": len(net.topology.bgp_peers),
        "sessionsDown": [{"nodes": sorted(pair), "reason": why}
                         for pair, why in unreachable(cluster).items()],
        "deadSpeakers": [node for node in cluster.nodes if not net.distributor.is_alive(node)
                         and node not in cluster.admission.unstarted],
        "unstartedNodes": sorted(cluster.admission.unstarted),
        "waitingPods": {key: f"{item.status}: {item.reason}"
                        for key, item in cluster.admission.waiting.items()},
        "endedBirds": net.birds.remarks() if net.birds else {},
        "birdMemoryKB": {node: processes.memory_kb(pid) for node, pid in net.birds.pids().items()
                         } if net.birds else {},
        "filters": {name: list(map(str, drops)) for name, drops in net.filters.present.items()},
        "links": [link for link in map(link_facts, net.impairments.all()) if link["changed"]],
        "exercise": asdict(task) if (task := net.exercises.task) else None,
        "directory": str(net.runtime.directory.path),
    }


def pool_facts(cluster: Cluster) -> list[dict[str, Any]]:
    """The pools with their modes; ``nodes`` are those that see another mode."""
    return [{"name": pool.name, "cidr": str(pool.cidr), "disabled": pool.disabled,
             **{field: str(mode) for field, mode in cluster.mode_of_pool(pool).fields.items()},
             "mode": str(cluster.mode_of_pool(pool)),
             "nodes": {node: str(mode) for node in cluster.nodes
                       if (mode := cluster.mode(node, pool)) != cluster.mode_of_pool(pool)}}
            for pool in cluster.topology.pools]


def link_facts(status: LinkStatus) -> dict[str, Any]:
    """A link, with what is set."""
    link = status.link
    return {"end": ":".join(status.end), "far": ":".join(status.far), "up": link.up,
            "rateMbit": link.rate, "delayMs": link.delay, "jitterMs": link.jitter,
            "lossPercent": link.loss, "reorderPercent": link.reorder,
            "changed": status.is_changed, "lossByNftables": status.by_nftables}


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
    """Each speaker: its sessions and what it announces and learned."""
    net, engine = job.net, job.net.distributor
    refresh_sessions(net)
    addresses = speaker_addresses(net.cluster)
    chosen = speakers(job, node)
    sessions: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for session in net.bgp.sessions(node):
        heard = engine.heard(session.node, session.peer) if session.peer in addresses else ()
        sessions[session.node].append({**_session(session), "prefixes": list(map(str, heard))})
    return [{"node": name, "address": str(addresses[name]), "alive": engine.is_alive(name),
             "started": name not in net.cluster.admission.unstarted, "mesh": net.topology.mesh,
             "announces": list(map(str, engine.originated(name))), "peers": sessions[name]}
            for name in chosen]


def _session(session: Session) -> dict[str, Any]:
    """A row of ``calicoctl node status``; ``node`` is None where no node has the address."""
    return {"address": str(session.address), "node": session.peer or None,
            "type": str(session.kind), "state": "up" if session.is_up else "down",
            "reason": session.reason or None,
            "protocolState": session.state, "bgpState": session.bgp_state or None,
            "since": session.since or None, "error": session.error or None,
            "imported": session.imported, "exported": session.exported}


@operation("bgp-routes")
def bgp_routes(job: Job, node: str | None = None, prefix: str | None = None
               ) -> list[dict[str, Any]]:
    """The routes that speakers know by BGP, with their attributes."""
    net = job.net
    names = {str(address): name for name, address in speaker_addresses(net.cluster).items()}
    names.update((str(end.address), end.peer) for own in peerings_of(net.cluster).values()
                 for end in own if end.peer)
    return [{"node": name, "prefix": str(route.prefix), "best": route.is_best,
             "own": route.is_own, "nextHop": route.next_hop and str(route.next_hop),
             "from": route.sender and names.get(str(route.sender), str(route.sender)),
             "protocol": route.protocol or None, "asPath": list(route.as_path),
             "localPref": route.local_pref,
             "originator": route.originator and str(route.originator),
             "clusterList": list(map(str, route.cluster_list)),
             "communities": list(route.communities), "since": route.since or None}
            for name in speakers(job, node) for route in net.bgp.routes(name, prefix or "")]


def speakers(job: Job, node: str | None) -> list[str]:
    """The speaker of that name, or all. Raises NotFoundError."""
    speakers = list(speaker_addresses(job.net.cluster))
    if node is None:
        return speakers
    if node not in speakers:
        job.require_node(node, " or router with bgp")
    return [node]


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
    meaning = _meaning(net)
    rows = []
    for name in job.names(places) or [node.name for node in net.nodes]:
        for route in net.kernel_routes(name):
            hops = route.next_hops or (route,)
            rows += [{
                "place": name, "destination": route.destination, "type": route.kind,
                "gateway": hop.via or None, "device": hop.device or None,
                "protocol": None if route.protocol == PROTO_BOOT else route.protocol,
                "scope": None if route.scope == "global" else route.scope,
                "onlink": hop.onlink, "meaning": meaning(name, route)} for hop in hops]
    return rows


def _meaning(net: CalicoNet) -> Callable[[str, Route], str]:
    """What says whose the destination of a place's route is, in a few words from the bookkeeping;
    nothing for what the cluster does not know.
    """
    cluster = net.cluster
    pods = {str(pod.address): pod for pod in cluster.endpoints.values()}
    blocks = {str(IPv4Network(block)): node for node in cluster.nodes
              for block in cluster.ipam.blocks(node)}
    tunnels = {str(address): f"{encapsulation.device} of {node}" for node in cluster.nodes
               for encapsulation, address in cluster.tunnel_addresses(node).items()}
    networks = {"default": "default gateway", **{
        str(subnet.cidr): f"subnet {subnet.name}" for subnet in net.topology.underlay.subnets}}

    def of(place: str, route: Route) -> str:
        destination = route.destination
        if destination in networks:
            return networks[destination]
        if destination in pods:
            pod = pods[destination]
            borrowed = "" if pod.node == place else f" on {pod.node}, borrowed address"
            return f"pod {pod.key}{borrowed}"
        if destination in blocks:
            node = blocks[destination]
            if node == place:
                return "own block"
            tunnel = of_device(route.device)
            how = "" if place not in cluster.nodes else f", in {tunnel}" if tunnel else ", direct"
            return f"block of {node}{how}"
        return tunnels.get(destination, "")

    return of
