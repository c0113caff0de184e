"""What a running cluster is to become: its resources, with others laid over them. Pure.

In go the running cluster as a topology and as documents, and the resources of files; out come the
resources of both, and the pods: those that run keep their places, and the workloads that change
make or end theirs as Kubernetes' controllers and its scheduler do. What Kubernetes or Calico do not
let anybody change is reported where the file says it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from calico_mn.model import Node, Pod, Topology, Underlay
from calico_mn.topology import calico_kinds, kubernetes_kinds, placement
from calico_mn.topology.documents import Item, add_resource
from calico_mn.topology.emit import key_of as key_of_document
from calico_mn.topology.kinds import KINDS
from calico_mn.topology.plain_data import Document, at, tree_of
from calico_mn.topology.problems import Report
from calico_mn.topology.scheduling import Constraints, Scheduler
from calico_mn.topology.schema import Resource, Resources

_FIXED = "a running pod keeps its node and its address: delete it first"
_POOL_HINT = "Calico refuses it, too: add another IPPool, and disable this one"


def identity(document: Document) -> tuple[str, ...] | int:
    """What tells a resource from others: its group, kind, namespace and name."""
    key = key_of_document(document)
    kind = KINDS.get((document["apiVersion"], document["kind"]))
    group = (kind.api if kind else str(document["apiVersion"])).rpartition("/")[0]
    return (group, *key) if any(key[1:]) or key[0] in ("Underlay", "IPAMConfiguration") else id(
        document)


class Change:
    """A change of the cluster that ``running`` describes and that keeps ``documents``."""

    def __init__(self, running: Topology, documents: Iterable[Document]) -> None:
        self._documents = list(documents)
        kept = set(map(key_of_document, self._documents))
        self._running = replace(running, pods=tuple(
            pod for pod in running.pods if ("Pod", pod.namespace, pod.name) in kept))
        #: the resources that are laid over those that run
        self.given: list[Document] = []
        self._nodes = {node.name: node for node in running.nodes}
        self._outdated: set[placement.Key] = set()
        #: the workloads that make or end pods
        self._changed: set[placement.Key] = set()

    def overlay(self, report: Report, items: Iterable[Item]) -> Resources:
        """The resources, those of ``items`` in the place of those that they replace."""
        merged: dict[Any, Item] = {identity(document): (tree_of(document), document)
                                   for document in self._documents}
        given = list(items)
        for item in given:
            add_resource(report, Resources(), item)
        if report.failed:
            raise report.error()
        self.given = [document for _, document in given]
        for tree, document in given:
            key = key_of_document(document)
            self._changed.add(key)
            if key[0] == "Node" and _has_address(document):
                # Of two with one name Calico's would count.
                merged.pop(("projectcalico.org", *key), None)
            merged[identity(document)] = tree, document
        resources = Resources()
        for item in merged.values():
            add_resource(report, resources, item)
        return resources

    def refuse(self, report: Report, resources: Resources, wanted: Resource[Underlay]) -> None:
        """Report what is not for anybody to change."""
        pools = {pool.name: pool for pool in self._running.pools}
        for item in resources.of(calico_kinds.IP_POOL):
            pool = pools.get(item.get("name", ""))
            for attribute, field in (("cidr", "cidr"), ("block_size", "blockSize")):
                before = getattr(pool, attribute, None)
                if pool and item.has("cidr") and getattr(item.model, attribute) != before:
                    report.add(f"IPPool {pool.name} has {field} {before}, which cannot be modified",
                               item.at(attribute, "name"), _POOL_HINT)
        for node in resources.of(calico_kinds.NODE):
            if node.has("name") and node.model.name in self._nodes:
                self._refuse_node(report, node, self._nodes[node.model.name], wanted.model)
        if not _extends(wanted.model, self._running.underlay):
            report.add("the Underlay of a running cluster keeps its subnets, routers, hosts and "
                       "links as they are", wanted.mark, "some can be added, and podRoutes, "
                       "multipathHash and bgp change; start another cluster for another Underlay")

    def _refuse_node(self, report: Report, item: Resource[Node], before: Node, wanted: Underlay
                     ) -> None:
        for attribute, what in (("ipip_address", "IPIP"), ("vxlan_address", "VXLAN")):
            held = getattr(before, attribute)
            if held and item.has(attribute) and getattr(item.model, attribute) != held:
                report.add(f"node {before.name} has the {what} tunnel address {held}",
                           item.at(attribute), "Calico chooses it; leave it out")
        subnet = self._running.subnet_of(before.address.ip)
        if item.has("address") and subnet and item.model.address.ip not in subnet.cidr and any(
                item.model.address.ip in other.cidr for other in wanted.subnets):
            report.add(f"node {before.name} is plugged into {subnet.name}, and "
                       f"{item.model.address.ip} is in another subnet", item.at("address"),
                       "delete the node first, and add it with this address")

    def place(self, report: Report, resources: Resources, nodes: list[Resource[Node]]
              ) -> tuple[list[Resource[Pod]], list[tuple[Pod, Resource[Pod]]]]:
        """The pods and workloads to check, and all pods with what makes them."""
        chosen = placement.select_workloads(report, resources, has_pods=True)
        pods = [item for item in chosen if item.get("kind") == "Pod"]
        scheduler = _Scheduler(node for node in nodes if node.has("name"))
        present = {pod.key: pod for pod in self._running.pods if pod.node}
        scheduler.count(self._running.pods)
        # What is Pending asks again.
        self._changed |= {(kind, pod.namespace, name) for pod in self._running.pods if not pod.node
                          for kind, _, name in [pod.owner.partition("/")]}
        for pod in pods:
            if pod.model.key in present:
                _keep(report, pod, present[pod.model.key])
            if not pod.has("node") and (node := scheduler.next(pod, {})):
                pod.set("node", node, pod.mark)
            pod.make(Pod)
        placed = placement.place_pods(report, pods, nodes)
        if scheduler.names.keys() != self._nodes.keys() or any(
                kind == "Node" for kind, _, _ in self._changed):
            self._changed |= {placement.key_of(item)
                              for item in resources.of(kubernetes_kinds.DAEMON_SET)}
        workloads = [item for item in resources.of(*kubernetes_kinds.WORKLOADS) if item.has("name")
                     and item.get("kind") != "Pod" and "left_out" not in item.values]
        keys = {placement.key_of(item) for item in workloads}
        for item in workloads:
            if placement.key_of(item) in self._changed and not any(
                    owner in keys for owner in placement.owners_of(item)):
                placed = list(self._controlled(report, item, workloads, placed, scheduler))
                pods.append(item)
        # What a document says of a pod of that name holds no longer.
        resources.documents = [document for document in resources.documents
                               if key_of_document(document) not in self._outdated]
        if len(placed) > placement.MAX_PODS:
            report.add_for_file(f"{len(placed)} pods are more than the {placement.MAX_PODS} that"
                                " one machine can hold", "use fewer replicas")
        return pods, placed

    def _controlled(self, report: Report, workload: Resource[Pod],
                    workloads: list[Resource[Pod]], placed: list[tuple[Pod, Resource[Pod]]],
                    scheduler: _Scheduler) -> Iterator[tuple[Pod, Resource[Pod]]]:
        """The pods after a workload's controller has seen to its own."""
        owners = _owner_names(workload, workloads)
        age = {pod.key: number for number, pod in enumerate(self._running.pods)}
        own = sorted((pod for pod, _ in placed if pod.namespace == workload.model.namespace
                      and not owners.isdisjoint(_owners(pod))),
                     key=lambda pod: age.get(pod.key, len(age)))
        if workload.get("per_node"):
            wanted = [scheduler.nodes[place].name
                      for place in scheduler.allowed(Constraints.of(workload))]
            going = [pod for pod in own if pod.node not in wanted]
            names = [(f"{workload.model.name}-{node}", node)
                     for node in wanted if node not in {pod.node for pod in own}]
        else:
            replicas = workload.get("replicas")
            if not workload.has("replicas") and placement.key_of(workload) in set(
                    map(key_of_document, self._documents)):
                replicas = len(own)
            workload.values["replicas"] = replicas
            going = _first_to_go(workload, own)[:max(0, len(own) - replicas)]
            names = [(name, "") for name in self._names(
                workload, owners, {pod.key for pod, _ in placed},
                max(0, min(replicas, placement.MAX_PODS + 1) - len(own)))]
        scheduler.count(going, -1)
        left = {pod.key for pod in going}
        self._outdated.update(("Pod", workload.model.namespace, name) for name in (
            *(pod.name for pod in going), *(name for name, _ in names)))
        yield from (item for item in placed if item[0].key not in left)
        if not names:
            return
        placement.check_node(report, workload, scheduler)
        why_none = scheduler.why_none(Constraints.of(workload))
        near = Counter(pod.node for pod in own if pod.key not in left)
        for name, node in names:
            place = node or workload.model.node or scheduler.next(workload, near)
            near[place] += 1
            if placement.is_too_long(report, name, workload):
                return
            yield replace(workload.model, name=name, node=place, pending="" if place else why_none,
                          owner=f"{workload.get('kind')}/{workload.model.name}"), workload

    def _names(self, workload: Resource[Pod], owners: set[str], taken: set[str], count: int
               ) -> list[str]:
        """So many names: those of its Pending pods, and then the first that no pod has."""
        namespace = workload.model.namespace
        pending = [pod for pod in self._running.pods
                   if not pod.node and pod.namespace == namespace and pod.key not in taken]
        own = [pod.name for pod in pending
               if not owners.isdisjoint(_owners(pod))][:count]
        return [*own, *_free_names(
            workload, taken | {pod.key for pod in pending}, count - len(own))]


class _Scheduler(Scheduler):
    """Gives a pod the node with the fewest pods of its workload, and then of all."""

    def __init__(self, nodes: Iterable[Resource[Node]]) -> None:
        super().__init__(nodes)
        self._pods: Counter[str] = Counter()

    def count(self, pods: Iterable[Pod], sign: int = 1) -> None:
        """Take pods into account, or no longer."""
        for pod in pods:
            self._pods[pod.node] += sign

    def next(self, workload: Resource[Pod], near: Mapping[str, int]) -> str:
        """The node of the next pod, with those of its workload by node; nothing without one."""
        names = [self.nodes[place].name for place in self.allowed(Constraints.of(workload))]
        node = min(names, key=lambda name: (near.get(name, 0), self._pods[name]), default="")
        self._pods[node] += 1
        return node


def _first_to_go(workload: Resource[Pod], own: list[Pod]) -> list[Pod]:
    """A StatefulSet's last ones; else those beside most of their kind, and of those the newest.

    From pkg/controller/statefulset and ActivePodsWithRanks of pkg/controller/controller_utils.go.
    """
    if workload.get("kind") == "StatefulSet":
        return sorted(own, key=lambda pod: -_ordinal(pod.name))
    near = Counter(pod.node for pod in own)
    return sorted(reversed(own), key=lambda pod: -near[pod.node])


def _ordinal(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _free_names(workload: Resource[Pod], taken: set[str], count: int) -> Iterator[str]:
    number = 0
    while count:
        name = f"{workload.model.name}-{number}"
        if f"{workload.model.namespace}/{name}" not in taken:
            count -= 1
            yield name
        number += 1


def _owner_names(workload: Resource[Pod], workloads: list[Resource[Pod]]) -> set[str]:
    """How its pods name it: itself, or its ReplicaSets."""
    key = placement.key_of(workload)
    return {f"{key[0]}/{key[2]}", *(f"ReplicaSet/{item.model.name}" for item in workloads
                                    if key in placement.owners_of(item))}


def _owners(pod: Pod) -> tuple[str, ...]:
    """What made it, and the Deployment of a ReplicaSet that is not there itself, by its name."""
    kind, _, name = pod.owner.partition("/")
    return (pod.owner, *([f"Deployment/{name.rpartition('-')[0]}"] if kind == "ReplicaSet" else []))


def _keep(report: Report, pod: Resource[Pod], present: Pod) -> None:
    """A pod keeps its node and its address, if it has them, whether or not the file says so."""
    for attribute, before in (("node", present.node),
                              ("ip", present.ip if present.has_ip else None)):
        if not before:
            continue
        if pod.has(attribute) and getattr(pod.model, attribute) != before:
            report.add(f"pod {present.key} has {attribute} {before}, which cannot be modified",
                       pod.at(attribute), _FIXED)
        pod.set(attribute, before, pod.at(attribute, "name"))
    pod.values["has_ip"] = present.has_ip


def _extends(wanted: Underlay, running: Underlay) -> bool:
    """Whether all cables stay as they are; a router's devices are numbered by its interfaces."""
    routers = {router.name: router for router in wanted.routers}
    return {*running.subnets} <= {*wanted.subnets} and {*running.hosts} <= {*wanted.hosts} and all(
        router.name in routers
        and routers[router.name].interfaces[:len(router.interfaces)] == router.interfaces
        for router in running.routers)


def _has_address(document: Document) -> bool:
    return document["apiVersion"] == kubernetes_kinds.CORE and bool(
        at(document, "metadata", "annotations", "projectcalico.org/IPv4Address"))
