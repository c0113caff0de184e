"""The cluster's resources, as kubectl and calicoctl have them: listed, and one in full."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.policy.explain import Explainer
from calico_mn.calico.policy.resolve import EGRESS, INGRESS
from calico_mn.control.dispatcher import Job, operation
from calico_mn.control.queries import refresh_sessions
from calico_mn.errors import ClusterError
from calico_mn.state import Route
from calico_mn.topology.kinds import kind_of, kinds_named, name_of, named, namespace_of
from calico_mn.topology.plain_data import Document

#: of how many other nodes the way to a pod is read from the kernel
_OTHERS = 4


@operation("get")
def get(job: Job, kinds: list[str] | None = None, names: list[str] | None = None,
        namespace: str | None = None) -> list[dict[str, Any]]:
    """Resources, in the order of ``kinds``, each with the ``facts`` that only the run knows.

    Without ``kinds`` all of them; ``names``, ``[NAMESPACE/]NAME`` each, must be there. Without
    ``namespace`` it is those of all namespaces.
    """
    known = job.net.resources()
    wanted = [kind for word in kinds for kind in kinds_named(word)] if kinds is not None else None
    if wanted is not None:
        known = sorted((document for document in known if kind_of(document) in wanted),
                       key=lambda document: wanted.index(kind_of(document)))
    chosen = [document for document in known
              if namespace is None or namespace_of(document) in ("", namespace)]
    if names:
        chosen = [document for name in names
                  for document in named(known, wanted or (), name, namespace)]
    cluster = job.net.cluster
    blocks = {block.cidr: (pool.name, len(block.used)) for pool in cluster.ipam.pools
              for block in cluster.ipam.blocks_of(pool)}
    return [{"document": document, "facts": _facts(cluster, blocks, document)}
            for document in chosen]


def _facts(cluster: Cluster, blocks: Mapping[IPv4Network, tuple[str, int]], document: Document
           ) -> dict[str, Any]:
    """What tables show of a resource beside its own fields; empty where the run adds nothing.

    ``blocks`` have the name of their pool, and how many addresses are in use.
    """
    kind, name = kind_of(document), name_of(document)
    if kind == "Node" and name in cluster.nodes:
        node = cluster.nodes[name]
        return {"ipv4": str(node.address), "subnet": cluster.fabric.subnet_of(node).name,
                "tunnels": {encapsulation.device: str(address) for encapsulation, address
                            in cluster.tunnel_addresses(name).items()},
                "blocks": list(map(str, cluster.ipam.blocks(name))),
                "pods": len(cluster.pods_on(name))}
    key = f"{namespace_of(document)}/{name}"
    if kind == "Pod" and key in cluster.endpoints:
        endpoint = cluster.endpoints[key]
        return {"interface": endpoint.device, "mtu": endpoint.mtu}
    if kind == "Pod" and key in cluster.admission.waiting:
        waiting = cluster.admission.waiting[key]
        return {"status": waiting.status, "reason": waiting.reason}
    if kind == "IPPool":
        return {"used": sum(used for pool, used in blocks.values() if pool == name),
                "total": next((pool.cidr.num_addresses for pool in cluster.ipam.pools
                               if pool.name == name), 0)}
    if kind in ("BlockAffinity", "IPAMBlock"):
        cidr = IPv4Network(document["spec"]["cidr"])
        pool, used = blocks.get(cidr, ("", 0))
        return {"pool": pool, "total": cidr.num_addresses if pool else 0, "used": used}
    return {}


# --- describe

@operation("describe")
def describe(job: Job, kind: str, name: str) -> dict[str, Any]:
    """Facts by their titles, in the order in which they are shown.

    Routes are the kernel's, all else is from the bookkeeping. ``name`` of a pod is
    ``[NAMESPACE/]NAME``. Raises NotFoundError.
    """
    if kind == "Pod":
        return _pod(job, name)
    if kind == "Node":
        job.require_node(name)
        return _node(job, name)
    raise ClusterError(f"describe knows pods and nodes: 'get {kind.lower()} {name} -o yaml' prints"
                       " what there is of others")


def _pod(job: Job, name: str) -> dict[str, Any]:
    net, cluster = job.net, job.net.cluster
    key = job.pod(name)
    if key in cluster.admission.waiting:
        waiting = cluster.admission.waiting[key]
        return {"Name": key, "Status": f"{waiting.status}: {waiting.reason}"}
    endpoint, address = cluster.endpoints[key], cluster.endpoints[key].address
    pod = next(pod for pod in cluster.topology.pods if pod.key == key)
    block, pool = next(((str(block.cidr), pool.name) for pool in cluster.ipam.pools
                        for block in cluster.ipam.blocks_of(pool) if address in block.cidr),
                       ("", ""))
    others = [node for node in cluster.nodes if node != endpoint.node]
    ways = [f"{node}: {route}" for node in [endpoint.node, *others[:_OTHERS]]
            if (route := _route_to(address, net.kernel_routes(node))) is not None]
    index = Explainer(cluster).index
    return {
        "Name": key, "Status": "Running",
        "Node": f"{endpoint.node} ({cluster.nodes[endpoint.node].address.ip})",
        "IP": str(address), "Block": block, "Pool": pool, "Controlled by": pod.owner,
        "Labels": [f"{label}={value}" for label, value in pod.labels],
        "Device": f"eth0, MTU {endpoint.mtu}; {endpoint.device} on {endpoint.node}",
        **{f"{direction.capitalize()} policies": [
            policy.id for policy in index.of(index.endpoints[key], direction)]
           for direction in (INGRESS, EGRESS)},
        "Routes to it": [*ways, *([f"{len(others) - _OTHERS} more nodes: see 'calico-mn routes'"]
                                  if len(others) > _OTHERS else [])],
        "Drops": _drops(job, key)}


def _node(job: Job, name: str) -> dict[str, Any]:
    net, cluster = job.net, job.net.cluster
    refresh_sessions(net)
    node, state = cluster.nodes[name], net.states[name]
    addresses: dict[str, list[str]] = {}
    for item in state.addresses:
        addresses.setdefault(item.device, []).append(str(item.address))
    blocks = {block.cidr: block for pool in cluster.ipam.pools
              for block in cluster.ipam.blocks_of(pool)}
    pods = cluster.pods_on(name)
    on_pods = {endpoint.device for endpoint in pods}
    sessions = net.bgp.sessions(name)
    down = [f"{session.peer or session.address}: {session.reason}" for session in sessions
            if not session.is_up]
    return {
        "Name": name, "Address": str(node.address), "Subnet": cluster.fabric.subnet_of(node).name,
        "Labels": [f"{label}={value}" for label, value in node.labels],
        "Tunnels": [f"{encapsulation.device} {address}" for encapsulation, address
                    in cluster.tunnel_addresses(name).items()],
        "Mode": [f"{pool.name}: {cluster.mode(name, pool)}" for pool in cluster.topology.pools],
        "Blocks": [f"{block}, {len(blocks[block].used)} of {block.num_addresses} in use"
                   for block in map(IPv4Network, cluster.ipam.blocks(name)) if block in blocks],
        "Devices": [" ".join([device.name, *addresses.get(device.name, ()), f"MTU {device.mtu}"])
                    for device in state.devices if device.name not in on_pods],
        "Pods": [f"{pod.key} {pod.address} {pod.device}" for pod in pods],
        "BGP": [f"{len(sessions) - len(down)} of {len(sessions)} sessions up", *down],
        "Host endpoints": [host.name for host in cluster.topology.host_endpoints
                           if host.node == name],
        "Routes by BGP": [str(route) for route in net.kernel_routes(name)
                          if route.protocol == "bird"],
        "Drops": _drops(job, name)}


def _route_to(address: IPv4Address, routes: tuple[Route, ...]) -> Route | None:
    """The most specific route to an address, of those that are written."""
    matching = [route for route in routes if address in _network(route.destination)]
    return max(matching, key=lambda route: _network(route.destination).prefixlen, default=None)


def _network(destination: str) -> IPv4Network:
    return IPv4Network("0.0.0.0/0" if destination == "default" else destination)


def _drops(job: Job, name: str) -> list[str]:
    return list(map(str, job.net.filters.present.get(name, ())))
