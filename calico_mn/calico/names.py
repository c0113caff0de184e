"""The names by which programs in a cluster's places reach each other. Pure.

In goes the cluster, out comes the text of an /etc/hosts (hosts(5)), one line for each address::

    nodes, routers, hosts of the underlay     node31
    pods                                      web-0 web-0.default default.web-0

The first name is what an address is called in turn. A pod's short name stands alone only where no
other pod, node, router or host has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from calico_mn.calico.cluster import Cluster

_LOCAL = "127.0.0.1 localhost"


def hosts_file(cluster: Cluster) -> str:
    """All lines, in the order of the topology."""
    return "".join(f"{line}\n" for line in (_LOCAL, *_fabric(cluster), *_pods(cluster)))


def _fabric(cluster: Cluster) -> Iterator[str]:
    for node in cluster.nodes.values():
        yield f"{node.address.ip} {node.name}"
    for router in cluster.topology.underlay.routers:
        yield from (f"{interface.address} {router.name}" for interface in router.interfaces)
    yield from (f"{host.address} {host.name}" for host in cluster.topology.underlay.hosts)


def _pods(cluster: Cluster) -> Iterator[str]:
    underlay = cluster.topology.underlay
    taken = Counter([*cluster.nodes, *(router.name for router in underlay.routers),
                     *(host.name for host in underlay.hosts),
                     *(pod.name for pod in cluster.endpoints.values())])
    for pod in cluster.endpoints.values():
        short = f"{pod.name} " if taken[pod.name] == 1 else ""
        yield f"{pod.address} {short}{pod.name}.{pod.namespace} {pod.namespace}.{pod.name}"
