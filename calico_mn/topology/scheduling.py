"""Which nodes a pod may have, as kube-scheduler's filters decide it. Pure.

In go a workload's nodeSelector, required nodeAffinity and tolerations, and the nodes with their
labels and taints; out come the nodes that are left, or why there is none. Preferences, affinity
between pods and topologySpreadConstraints have no effect: pods go to the nodes in turn. The rules
are those of k8s.io/component-helpers/scheduling/corev1 and k8s.io/api/core/v1/toleration.go.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from calico_mn.model import Node
from calico_mn.text import join, join_some
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.schema import Resource

Labels = tuple[tuple[str, str], ...]

_IN_TURN = "pods go to the nodes in turn"
# Nodes are ready here, so that taints that say what state one is in do not count.
_CONDITIONS = frozenset(f"node.kubernetes.io/{name}" for name in (
    "not-ready", "unreachable", "memory-pressure", "disk-pressure", "pid-pressure",
    "network-unavailable")) | {"node.cloudprovider.kubernetes.io/uninitialized"}
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


@dataclass(frozen=True, slots=True)
class _Expression:
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()

    def holds(self, labels: dict[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        try:
            number, limit = int(value or ""), int("".join(self.values))
        except ValueError:
            return False
        return number > limit if self.operator == "Gt" else number < limit


@dataclass(frozen=True, slots=True)
class _Taint:
    key: str = ""
    value: str = ""
    effect: str = ""

    def __str__(self) -> str:
        return f"{self.key}{'=' if self.value else ''}{self.value}:{self.effect}"


@dataclass(frozen=True, slots=True)
class _Toleration:
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: _Taint) -> bool:
        return (self.effect in ("", taint.effect) and self.key in ("", taint.key)
                and (self.operator == "Exists" or self.value == taint.value))


def _expressions(name: str) -> s.List[_Expression]:
    return s.List({
        "key": s.Field(r.text, "key", "say which label"),
        "operator": s.Field(r.one_of("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
                            "operator", "add In, NotIn, Exists or DoesNotExist"),
        "values": s.Field(r.list_of(r.text, "[value, ...]"), "values")}, _Expression, name=name)


_LABELS, _FIELDS = _expressions("expressions"), _expressions("fields")
_TERMS = s.List({"matchExpressions": _LABELS, "matchFields": _FIELDS}, s.Unmodelled, name="terms")
_TOLERATIONS = s.List({
    "key": s.Field(r.text, "key"), "value": s.Field(r.text, "value"),
    "operator": s.Field(r.one_of("Exists", "Equal", "Lt", "Gt"), "operator"),
    "effect": s.Field(r.text, "effect"), "tolerationSeconds": s.Special.BOOKKEEPING,
}, _Toleration, name="tolerations")
_TAINTS = s.List({
    "key": s.Field(r.text, "key"), "value": s.Field(r.text, "value"),
    "effect": s.Field(r.text, "effect"), "timeAdded": s.Special.BOOKKEEPING,
}, _Taint, name="taints")
_PREFERRED = {"preferredDuringSchedulingIgnoredDuringExecution": s.Ignored(says=_IN_TURN)}
#: the fields of a pod's spec that decide where it runs
POD_FIELDS: s.Table = {
    "nodeSelector": s.Field(r.string_map, "node_selector"),
    "tolerations": _TOLERATIONS,
    "affinity": {
        "nodeAffinity": {**_PREFERRED, "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": _TERMS}},
        "podAffinity": s.Ignored(says=_IN_TURN), "podAntiAffinity": s.Ignored(says=_IN_TURN)},
    "topologySpreadConstraints": s.Ignored(says=_IN_TURN),
}
#: and those of a node's
NODE_FIELDS: s.Table = {"taints": _TAINTS, "unschedulable": s.Field(r.boolean, "unschedulable")}


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a workload asks of its pods' nodes; of ``terms``, unless None, one must hold."""

    selector: Labels = ()
    terms: tuple[tuple[_Expression, ...], ...] | None = None
    tolerations: tuple[_Toleration, ...] = ()

    @classmethod
    def of(cls, workload: Resource[Any]) -> Constraints:
        """Those of a workload's pods; a DaemonSet's run on a node that is cordoned, too."""
        terms = None
        if workload.has("terms"):
            terms = tuple(tuple(item.model for field in (_LABELS, _FIELDS)
                                for item in term.entries(field))
                          for term in workload.entries(_TERMS))
        tolerations = [item.model for item in workload.entries(_TOLERATIONS)]
        if workload.get("per_node"):
            tolerations.append(_Toleration(_UNSCHEDULABLE, "Exists", "", "NoSchedule"))
        return cls(workload.get("node_selector", ()), terms, tuple(tolerations))

    def refusal(self, labels: dict[str, str], taints: Iterable[_Taint]) -> str:
        """Why a node with these labels and taints cannot have the pods, or nothing."""
        lacking = [f"{name}: {value}" for name, value in self.selector
                   if labels.get(name) != value]
        if lacking:
            return f"without the label {join(lacking)}"
        if self.terms is not None and not any(
                term and all(item.holds(labels) for item in term) for term in self.terms):
            return "outside the required nodeAffinity"
        return next((f"with the taint {taint}" for taint in taints if not any(
            toleration.tolerates(taint) for toleration in self.tolerations)), "")


class Scheduler:
    """The nodes, of which each pod without one gets the next that its constraints allow."""

    def __init__(self, nodes: Iterable[Resource[Node]]) -> None:
        known = tuple(nodes)
        self.nodes = tuple(node.model for node in known)
        self.names = {node.name: None for node in self.nodes}
        self._facts = [(labels_of(node.model), list(_taints(node))) for node in known]
        self._next = 0
        self._allowed: dict[Constraints, list[int]] = {}

    def allowed(self, constraints: Constraints) -> list[int]:
        """The positions of the nodes that may have the pods."""
        if constraints not in self._allowed:
            self._allowed[constraints] = [
                position for position, facts in enumerate(self._facts)
                if not constraints.refusal(*facts)]
        return self._allowed[constraints]

    def take(self, constraints: Constraints) -> str:
        """The node of the next pod, or nothing."""
        allowed = self.allowed(constraints)
        if not allowed:
            return ""
        position = allowed[bisect_left(allowed, self._next) % len(allowed)]
        self._next = (position + 1) % len(self.nodes)
        return self.nodes[position].name

    def why_none(self, constraints: Constraints) -> str:
        """What each node lacks, where none is allowed; nothing where one is."""
        if self.allowed(constraints):
            return ""
        reasons = Counter(constraints.refusal(*facts) for facts in self._facts)
        return "no node can have them: " + join_some(
            (f"{count} {reason}" for reason, count in reasons.items()), 5)


def _taints(node: Resource[Node]) -> Iterable[_Taint]:
    for item in node.entries(_TAINTS):
        taint = item.model
        if taint.effect in ("NoSchedule", "NoExecute") and taint.key not in _CONDITIONS:
            yield taint
    if node.get("unschedulable"):
        yield _Taint(_UNSCHEDULABLE, "", "NoSchedule")


def labels_of(node: Node) -> dict[str, str]:
    """A node's labels, with those that every kubelet sets, and its name as a field."""
    return {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": "amd64", "metadata.name": node.name, **dict(node.labels)}
