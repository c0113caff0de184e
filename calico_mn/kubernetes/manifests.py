"""What a measurement makes in a real cluster, as resources. Pure.

In go names, labels and nodes; out come a Namespace, a ConfigMap with our programs, and pods that
sleep until programs are run in them. Pods on the nodes' own network are those that capture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calico_mn.kubernetes.placement import HOST_NAME

#: where the programs of the ConfigMap lie in a pod, and how the pods' container is called
PROGRAMS, CONTAINER = "/calico-mn", "main"
MANAGED_BY, RUN = "app.kubernetes.io/managed-by", "calico-mn/run"
#: Pod Security admission: the level that a namespace's pods need, set over the cluster's default
_LEVEL = "pod-security.kubernetes.io/enforce"


def labels(run: str) -> dict[str, str]:
    """What everything of a run carries."""
    return {MANAGED_BY: "calico-mn", RUN: run}


def namespace(name: str, run: str, *, host_pods: bool) -> dict[str, Any]:
    """The namespace; ``host_pods`` lets it have pods on the nodes' network."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": name,
        "labels": {**labels(run), _LEVEL: "privileged" if host_pods else "baseline"}}}


def config_map(namespace: str, run: str, programs: Mapping[str, str]) -> dict[str, Any]:
    """File name -> text of programs."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "programs", "namespace": namespace, "labels": labels(run)},
        "data": dict(programs)}


def pod(name: str, namespace: str, run: str, *, host_name: str, image: str, on_host: bool = False
        ) -> dict[str, Any]:
    """A pod on the node whose label kubernetes.io/hostname is ``host_name``.

    ``on_host`` gives it the node's network and the two capabilities that a capture takes.
    """
    container: dict[str, Any] = {
        "name": CONTAINER, "image": image, "command": ["sleep", "infinity"]}
    spec: dict[str, Any] = {
        "nodeSelector": {HOST_NAME: host_name}, "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False,
        "enableServiceLinks": False, "containers": [container]}
    if on_host:
        spec["hostNetwork"] = True
        container["securityContext"] = {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}
    else:
        spec["volumes"] = [{"name": "programs", "configMap": {"name": "programs"}}]
        container["volumeMounts"] = [{"name": "programs", "mountPath": PROGRAMS}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": name, "namespace": namespace, "labels": labels(run)}, "spec": spec}
