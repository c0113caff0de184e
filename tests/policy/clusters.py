"""The cluster of Kubernetes' own policy tests: namespaces x, y, z, in each the pods a, b, c."""

from __future__ import annotations

import json
from typing import Any

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.policy.explain import Explainer
from calico_mn.topology import parse_topology

NAMESPACES, PODS = ("x", "y", "z"), ("a", "b", "c")
PLACES = tuple(f"{namespace}/{pod}" for namespace in NAMESPACES for pod in PODS)
_PORTS = [{"name": f"serve-{number}-{protocol.lower()}", "containerPort": number,
           "protocol": protocol} for number in (80, 81) for protocol in ("TCP", "UDP")]
BASE: list[dict[str, Any]] = [
    {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pool"},
     "spec": {"cidr": "10.22.0.0/16", "ipipMode": "Always"}},
    *({"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": f"k{number}"},
       "spec": {"bgp": {"ipv4Address": f"192.168.57.{number}/24"}}} for number in (31, 32, 33)),
    *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"ns": name}}}
      for name in NAMESPACES),
    *({"apiVersion": "v1", "kind": "Pod",
       "metadata": {"name": pod, "namespace": namespace, "labels": {"pod": pod}},
       "spec": {"serviceAccountName": f"sa-{pod}",
                "containers": [{"name": "serve", "image": "agnhost", "ports": _PORTS}]}}
      for namespace in NAMESPACES for pod in PODS)]


def explainer(*resources: dict[str, Any]) -> Explainer:
    """The cluster with these policies."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*BASE, *resources]})
    return Explainer(Cluster(parse_topology(text), 2))


def kubernetes(name: str, namespace: str = "x", **spec: Any) -> dict[str, Any]:
    """A NetworkPolicy of Kubernetes."""
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"podSelector": {}, **spec}}


def calico(name: str, namespace: str = "", **spec: Any) -> dict[str, Any]:
    """A NetworkPolicy of Calico, or without a namespace a GlobalNetworkPolicy."""
    kind = "NetworkPolicy" if namespace else "GlobalNetworkPolicy"
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


def matrix(asked: Explainer, protocol: int = 6, port: int = 80) -> dict[tuple[str, str], bool]:
    """The verdict on each pair of different pods."""
    places = [asked.place(name) for name in PLACES]
    return {(a.name, b.name): asked.explain(a, b, protocol, port).allowed
            for a in places for b in places if a is not b}
