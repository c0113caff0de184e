"""Pods on nodes: which workloads make pods, and where each pod runs. Pure.

In go the workloads of a file and its nodes, out come the pods in file order. A pod that names its
node is there; others go to the next node, over all workloads, that :mod:`.scheduling` allows, or
have none. A workload whose own pods are in the file, as ``kubectl get all`` prints both, makes no
more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from calico_mn.model import Node, Pod
from calico_mn.text import join_some, quote
from calico_mn.topology import kubernetes_kinds as kinds
from calico_mn.topology.problems import Report
from calico_mn.topology.rules import Owners
from calico_mn.topology.scheduling import Constraints, Scheduler
from calico_mn.topology.schema import Resource, Resources

MAX_PODS = 20_000
MAX_NAME = 253

Key = tuple[str, str, str]


def select_workloads(report: Report, resources: Resources, *, has_pods: bool = False
                     ) -> list[Resource[Pod]]:
    """The workloads that make pods: no pods that wait or have ended, and none twice.

    With ``has_pods`` all pods are there, and workloads make theirs by another way.
    """
    items = [item for item in resources.of(*kinds.WORKLOADS)
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
            owned.append(title_of(item))
        elif item.get("kind") != "ReplicaSet" or not any(
                owner in keys for owner in owners_of(item)):
            chosen.append(item)
    pools = {item.get("name"): item.get("pools") for item in resources.of(kinds.NAMESPACE_KIND)
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


def place_pods(
    report: Report, workloads: list[Resource[Pod]], nodes: list[Resource[Node]]
) -> list[tuple[Pod, Resource[Pod]]]:
    """The pods in file order, each with the workload that makes it."""
    scheduler = Scheduler(node for node in nodes if node.has("name"))
    complete = bool(nodes) and len(scheduler.nodes) == len(nodes)
    for workload in workloads:
        if workload.get("per_node"):
            workload.values["replicas"] = len(scheduler.allowed(Constraints.of(workload)))
    total = sum(workload.get("replicas", 1) for workload in workloads)
    if total > MAX_PODS:
        largest = max(workloads, key=lambda workload: int(workload.get("replicas", 1)))
        report.add(f"{total} pods are more than the {MAX_PODS} that one machine can hold",
                   largest.at("replicas", "name"), "use fewer replicas")
        return []
    owners = Owners()
    pods = []
    for workload in workloads:
        title = title_of(workload)
        if complete:
            check_node(report, workload, scheduler)
        owner = next((f"{kind}/{name}" for kind, _, name in (
            owners_of(workload) if workload.get("kind") == "Pod" else [key_of(workload)])), "")
        for name, node, pending in _pods_of(report, title, workload, scheduler):
            pod = replace(workload.model, name=name, node=node, owner=owner, pending=pending)
            if is_too_long(report, name, workload):
                break
            earlier = owners.take(pod.key, title, workload.at("name"))
            if earlier:
                report.add(f"duplicate pod {pod.key}", workload.at("name"),
                           f"{earlier[1].where} has it already")
                break
            pods.append((pod, workload))
    return pods


def title_of(workload: Resource[Pod]) -> str:
    """What messages call it: ``Deployment default/web``."""
    return f"{workload.get('kind')} {workload.model.key}"


def is_too_long(report: Report, name: str, workload: Resource[Pod]) -> bool:
    """Whether a pod of a workload cannot be called so, which is reported."""
    if len(name) > MAX_NAME:
        report.add(f"{title_of(workload)} makes a pod name of {len(name)} characters",
                   workload.at("name"), f"a name has at most {MAX_NAME}; shorten it")
    return len(name) > MAX_NAME


def check_node(report: Report, workload: Resource[Pod], scheduler: Scheduler) -> None:
    """The node that a workload names is there."""
    node = workload.model.node
    if workload.has("node") and node not in scheduler.names:
        report.add(f"{title_of(workload)} is on unknown node {quote(node)}", workload.at("node"),
                   report.did_you_mean(node, scheduler.names)
                   or f"the file has {join_some(scheduler.names, 5)}")


def _pods_of(report: Report, title: str, workload: Resource[Pod], scheduler: Scheduler
             ) -> Iterator[tuple[str, str, str]]:
    """Each pod's name, its node, and why it has none."""
    template, replicas = workload.model, workload.get("replicas")
    constraints = Constraints.of(workload)
    why_none = scheduler.why_none(constraints)
    if workload.get("per_node"):
        if why_none:
            report.warn(f"{title} has no pods: {why_none}.")
        for position in scheduler.allowed(constraints):
            node = scheduler.nodes[position].name
            yield f"{template.name}-{node}", node, ""
        return
    for number in range(1 if replicas is None else replicas):
        name = template.name if replicas is None else f"{template.name}-{number}"
        node = template.node or scheduler.take(constraints)
        yield name, node, "" if node else why_none
