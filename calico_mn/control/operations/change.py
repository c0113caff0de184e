"""Changes to a running cluster, answered with what they took."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from calico_mn.control.operations import Job, operation
from calico_mn.delta import Delta
from calico_mn.errors import NotFoundError
from calico_mn.kernel import iptext


def commands(changes: Iterable[Delta]) -> list[dict[str, Any]]:
    """What was done, as commands for each namespace."""
    return [{"namespace": change.namespace, "commands": iptext.commands(change)}
            for change in changes]


@operation("mode")
def mode(job: Job, mode: str, node: str | None = None) -> dict[str, Any]:
    """Change the IPIP mode, of one node alone or of the cluster."""
    if node is not None and node not in job.net.cluster.nodes:
        job.place(node)
        raise NotFoundError(f"{node} is not a node: only nodes have a mode")
    return {"mode": mode, "node": node, "changes": commands(job.net.set_ipip_mode(mode, node))}


@operation("pod-add")
def pod_add(job: Job, pod: str, node: str, ip: str | None = None) -> dict[str, Any]:
    """Run one more pod; ``pod`` is ``[NAMESPACE/]NAME``."""
    namespace, _, name = pod.rpartition("/")
    if node not in job.net.cluster.nodes:
        job.place(node)
        raise NotFoundError(f"{node} is not a node: pods run on nodes")
    made = job.net.add_pod(namespace=namespace or "default", name=name, node=node, ip=ip)
    return {"pod": made.name, "ip": made.ip, "node": made.node, "interface": made.device}


@operation("pod-delete")
def pod_delete(job: Job, pod: str) -> dict[str, Any]:
    """End a pod and what runs in it."""
    found = job.place(pod)
    if found.name not in job.net.cluster.endpoints:
        raise NotFoundError(f"{pod} is not a pod")
    address = str(job.net.cluster.endpoint(found.name).address)
    job.net.delete_pod(found.name)
    return {"pod": found.name, "ip": address}
