"""Resources as kubectl and calicoctl print them, housekeeping included, and lists of them."""

from __future__ import annotations

from typing import Any

import yaml

from calico_mn.model import Topology
from calico_mn.topology import parse_topology


def housekeeping(name: str, **more: Any) -> dict[str, Any]:
    """Metadata as the API server keeps it."""
    return {"name": name, "uid": "4f0c7b1e-0f3e-4c0e-9a55-0d8f1d0f9b11", "resourceVersion": "8123",
            "creationTimestamp": "2025-03-01T10:00:00Z", "generation": 1, **more,
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {
                "f:metadata": {"f:annotations": {".": {}}}}}]}


def kubernetes_node(name: str, address: str = "", internal: str = "", **labels: str
                    ) -> dict[str, Any]:
    annotations = {"kubeadm.alpha.kubernetes.io/cri-socket": "unix:///run/containerd.sock",
                   "node.alpha.kubernetes.io/ttl": "0"}
    if address:
        annotations["projectcalico.org/IPv4Address"] = address
    return {"apiVersion": "v1", "kind": "Node",
            "metadata": housekeeping(name, annotations=annotations, labels={
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **labels}),
            "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
            "status": {"addresses": [{"address": internal or address.partition("/")[0],
                                      "type": "InternalIP"},
                                     {"address": name, "type": "Hostname"}],
                       "capacity": {"cpu": "2"}, "conditions": [{"type": "Ready"}],
                       "nodeInfo": {"kernelVersion": "6.1"}, "images": [{"names": ["a"]}]}}


def crd(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "crd.projectcalico.org/v1", "kind": kind,
            "metadata": housekeeping(name), "spec": spec}


def pod(name: str, node: str = "", address: str = "", **more: Any) -> dict[str, Any]:
    annotations = {"cni.projectcalico.org/containerID": "0a1b2c"}
    if address:
        annotations |= {"cni.projectcalico.org/podIP": f"{address}/32",
                        "cni.projectcalico.org/podIPs": f"{address}/32"}
    metadata = housekeeping(name, namespace="shop", annotations=annotations,
                            labels={"app": "web"})
    metadata.update(more.pop("metadata", {}))
    spec = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists"}], "volumes": []}
    if node:
        spec["nodeName"] = node
    spec.update(more.pop("spec", {}))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {
        "phase": "Running", "containerStatuses": [{"name": "c", "ready": True}], **more}}


def listed(*items: Any, kind: str = "List", api: str = "v1") -> str:
    """As ``kubectl get ... -o yaml`` prints several resources."""
    return yaml.safe_dump({"apiVersion": api, "items": list(items), "kind": kind,
                           "metadata": {"resourceVersion": ""}})


def read(*items: Any) -> Topology:
    return parse_topology(listed(*items), environ={})


NODES = (kubernetes_node("k1", "10.9.1.11/24", zone="a"),
         kubernetes_node("k2", "10.9.2.12/24", zone="b"))
POOL = crd("IPPool", "main", cidr="10.80.0.0/16", blockSize=26, ipipMode="CrossSubnet",
           vxlanMode="Never", natOutgoing=True, nodeSelector="all()",
           allowedUses=["Workload", "Tunnel"])


def owned(kind: str, name: str) -> dict[str, Any]:
    """Metadata of what a workload made."""
    return {"ownerReferences": [{"apiVersion": "apps/v1", "blockOwnerDeletion": True,
                                 "controller": True, "kind": kind, "name": name, "uid": "u"}]}


def workload(kind: str, name: str, *, owner: tuple[str, str] | None = None, api: str = "apps/v1",
             pod_spec: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A Deployment or its like, as it is stored."""
    return {"apiVersion": api, "kind": kind,
            "metadata": housekeeping(name, namespace="shop", **(owned(*owner) if owner else {})),
            "spec": {"selector": {"matchLabels": {"app": name}}, **spec, "template": {
                "metadata": {"creationTimestamp": None, "labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "i"}], "dnsPolicy": "ClusterFirst",
                         **(pod_spec or {})}}},
            "status": {"replicas": 1}}
