"""What a result of a real cluster depends on: versions, nodes, pool, MTUs.

In goes an open cluster; out comes a record for ``run.json`` as of
:func:`calico_mn.measure.environment.collect`, in which unknown values are None.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from calico_mn.kubernetes.client import ApiError, path
from calico_mn.kubernetes.cluster import RealCluster
from calico_mn.measure import iperf
from calico_mn.measure.environment import line_of, mtu, own_version
from calico_mn.text import one_line


def collect(cluster: RealCluster) -> dict[str, Any]:
    """Everything, ready for JSON."""
    pool, nodes = cluster.pool, cluster.placement.nodes
    assert pool is not None
    client = cluster[cluster.endpoints[0].name]
    kernels, cpus = ({node.about[name] for node in nodes} for name in ("kernel", "cpus"))
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {"kernel": ", ".join(sorted(map(one_line, map(str, kernels)))),
                    "cpus": cpus.pop() if len(cpus) == 1 else None},
        "versions": {
            **own_version(), **cluster.versions,
            "iperf3_threads": iperf.threads(cluster.versions["iperf3"]),
            "kubernetes": _kubernetes(cluster), "calico": _calico(cluster, pool.api)},
        "cluster": {
            "topology": f"kubernetes {one_line(cluster.server.context)}", "tunnel": cluster.tunnel,
            "nodes": len(nodes), "pods": len(cluster.endpoints), "image": cluster.settings.image,
            "pool": pool.name, "cidr": str(pool.cidr), "mode": cluster.own_mode,
            "encapsulation": str(cluster.encapsulation),
            "nat_outgoing": bool(pool.spec.get("natOutgoing")),
            "block_size": pool.spec.get("blockSize")},
        "network": {
            "seen_at": {"node": client.node, "pod": client.name},
            "tcp_congestion_control": line_of(client, "/proc/sys/net/ipv4/tcp_congestion_control"),
            "mtu": {"pod eth0": mtu(client, "eth0"),
                    **{f"node {device}": mtu(cluster[node], device)
                       for node, device in cluster.uplinks.items() if node == client.node}}},
        "nodes": {node.name: {"address": str(node.address), **node.about} for node in nodes},
    }


def _kubernetes(cluster: RealCluster) -> str | None:
    try:
        return one_line(str(cluster.server.get("/version")["gitVersion"]))
    except (ApiError, KeyError):
        return None


def _calico(cluster: RealCluster, api: str) -> str | None:
    """What calico-node writes into ClusterInformation."""
    try:
        items = cluster.server.list(path(api, "clusterinformations"))["items"]
        return one_line(str(items[0]["spec"]["calicoVersion"]))
    except (ApiError, LookupError, TypeError):
        return None
