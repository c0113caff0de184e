"""Pods on nodes: which workloads make pods, and where each pod runs. Pure.

In go the workloads of a file and its nodes, out come the pods in file order. A pod that names its
node is there; others go to the next node, over all workloads, that their nodeSelector allows. A
workload whose own pods are in the file, as ``kubectl get all`` prints both, makes none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import replace

from calico_mn.model import Node, Pod
from calico_mn.text import join_some, quote
from calico_mn.topology import workload_kinds as kinds
from calico_mn.topology.kubernetes_kinds import NAMESPACE_KIND
from calico_mn.topology.problems import Report
from calico_mn.topology.rules import Owners
from calico_mn.topology.schema import Resource, Resources

MAX_PODS = 20_000
MAX_NAME = 253

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, str, str]


def select_workloads(report: Report, resources: Resources, *, has_pods: bool = False
                     ) -> list[Resource[Pod]]:
    """The workloads that make pods: no pods that wait or have ended, and none twice.

    With ``has_pods`` all pods are there, and workloads make theirs by another way.
    """
    items = [item for item in resources.of(*kinds.KINDS)
             if item.has("name") and item.get("left_out") != ""]
    keys = {key_of(item): item for item in items}
    owners = set(_owners(items, keys))
    owned: list[str] = []
    chosen = []
    for item in items:
        key = key_of(item)
        if item.get("left_out"):
            numbers = "" if item.get("kind") == "Pod" else "-*"
            report.ignore_pod(f"{item.model.key}{numbers}", item.get("left_out"))
        elif item.get("kind") != "Pod" and key in owners:
            owned.append(f"{item.get('kind')} {item.model.key}")
        elif item.get("kind") != "ReplicaSet" or not any(
                owner in keys for owner in owners_of(item)):
            chosen.append(item)
    pools = {item.get("name"): item.get("pools") for item in resources.of(NAMESPACE_KIND)
             if item.has("pools")}
    for item in items:
        if item.model.namespace in pools and not item.has("pools"):
            item.set("pools", pools[item.model.namespace], item.at("name"))
            item.make(Pod)
    if owned and not has_pods:
        report.warn(f"The pods of {join_some(owned, 5)} are in the file, so no more are made.")
    return chosen


def key_of(item: Resource[Pod]) -> Key:
    """Kind, namespace and name."""
    return item.get("kind"), item.model.namespace, item.model.name


def owners_of(item: Resource[Pod]) -> Iterator[Key]:
    """The owners that a pod or ReplicaSet names."""
    for owner in item.entries(kinds.OWNERS):
        yield owner.get("kind", ""), item.model.namespace, owner.get("name", "")


def _owners(items: Iterable[Resource[Pod]], keys: dict[Key, Resource[Pod]]) -> Iterator[Key]:
    """The owners of the pods in the file, directly or by their ReplicaSets.

    A ReplicaSet that is not in the file has its Deployment's name, a dash and a hash.
    """
    for item in items:
        for owner in owners_of(item) if item.get("kind") == "Pod" else ():
            yield owner
            kind, namespace, name = owner
            if owner in keys:
                yield from owners_of(keys[owner])
            elif kind == "ReplicaSet":
                yield "Deployment", namespace, name.rpartition("-")[0]


class Turn:
    """The nodes, of which each pod without one gets the next that its selector allows."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = tuple(nodes)
        self.names = frozenset(node.name for node in self.nodes)
        self._next = 0
        self._allowed: dict[Labels, list[int]] = {}

    def allowed(self, selector: Labels) -> list[int]:
        """The positions of the nodes that have these labels."""
        if selector not in self._allowed:
            self._allowed[selector] = [
                position for position, node in enumerate(self.nodes)
                if set(selector) <= labels_of(node).items()]
        return self._allowed[selector]

    def take(self, selector: Labels) -> str:
        """The node of the next pod; there must be one."""
        allowed = self.allowed(selector)
        position = allowed[bisect_left(allowed, self._next) % len(allowed)]
        self._next = (position + 1) % len(self.nodes)
        return self.nodes[position].name


def labels_of(node: Node) -> dict[str, str]:
    """A node's labels, with those that every kubelet sets."""
    return {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": "amd64", **dict(node.labels)}


def place_pods(
    report: Report, workloads: list[Resource[Pod]], nodes: list[Resource[Node]]
) -> list[tuple[Pod, Resource[Pod]]]:
    """The pods in file order, each with the workload that makes it."""
    turn = Turn(node.model for node in nodes if node.has("name"))
    complete = bool(nodes) and len(turn.nodes) == len(nodes)
    for workload in workloads:
        if workload.get("per_node"):
            workload.values["replicas"] = len(turn.allowed(workload.get("node_selector", ())))
    total = sum(workload.get("replicas", 1) for workload in workloads)
    if total > MAX_PODS:
        largest = max(workloads, key=lambda workload: int(workload.get("replicas", 1)))
        report.add(f"{total} pods are more than the {MAX_PODS} that one machine can hold",
                   largest.at("replicas", "name"), "use fewer replicas")
        return []
    owners = Owners()
    pods = []
    for workload in workloads:
        title = f"{workload.get('kind')} {workload.model.key}"
        if not has_node(report, title, workload, turn, complete):
            continue
        owner = next((f"{kind}/{name}" for kind, _, name in (
            owners_of(workload) if workload.get("kind") == "Pod" else [key_of(workload)])), "")
        for name, node in _pods_of(workload, turn):
            pod = replace(workload.model, name=name, node=node, owner=owner)
            if len(name) > MAX_NAME:
                report.add(f"{title} makes a pod name of {len(name)} characters",
                           workload.at("name"), f"a name has at most {MAX_NAME}; shorten it")
                break
            earlier = owners.take(pod.key, title, workload.at("name"))
            if earlier:
                report.add(f"duplicate pod {pod.key}", workload.at("name"),
                           f"{earlier[1].where} has it already")
                break
            pods.append((pod, workload))
    return pods


def has_node(report: Report, title: str, workload: Resource[Pod], turn: Turn,
             complete: bool = True) -> bool:
    """Whether there is a node for a workload's pods; reported if not.

    ``complete``: all nodes are known.
    """
    selector: Labels = workload.get("node_selector", ())
    if workload.has("node"):
        node = workload.model.node
        if complete and node not in turn.names:
            names = [node.name for node in turn.nodes]
            report.add(f"{title} is on unknown node {quote(node)}", workload.at("node"),
                       report.did_you_mean(node, names) or f"the file has {join_some(names, 5)}")
    elif complete and workload.get("replicas") != 0 and not turn.allowed(selector):
        wanted = join_some((f"{name}: {value}" for name, value in selector), 5)
        labels = "label" if len(selector) == 1 else "labels"
        report.add(f"no node has the {labels} {wanted} that {title} selects",
                   workload.at("node_selector"),
                   "correct the nodeSelector, or add labels to a Node's metadata")
        return False
    return True


def _pods_of(workload: Resource[Pod], turn: Turn) -> Iterator[tuple[str, str]]:
    """Each pod's name and node."""
    template, replicas = workload.model, workload.get("replicas")
    selector: Labels = workload.get("node_selector", ())
    if workload.get("per_node"):
        for position in turn.allowed(selector):
            node = turn.nodes[position].name
            yield f"{template.name}-{node}", node
        return
    for number in range(1 if replicas is None else replicas):
        node = template.node or (turn.take(selector) if turn.nodes else "")
        yield template.name if replicas is None else f"{template.name}-{number}", node
