"""Which workloads make which pods, and on which nodes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from support.dumps import NODES, POOL, kubernetes_node, owned, pod, read, workload

from calico_mn.calico.cluster import Cluster
from calico_mn.model import Topology


def placed(*items: Any) -> dict[str, str]:
    return {pod.name: pod.node for pod in read(*NODES, POOL, *items).pods}


@pytest.mark.parametrize(("item", "expected"), [
    (workload("StatefulSet", "db", serviceName="db", replicas=3),
     {"db-0": "k1", "db-1": "k2", "db-2": "k1"}),
    (workload("ReplicaSet", "rs", replicas=2), {"rs-0": "k1", "rs-1": "k2"}),
    (workload("ReplicationController", "rc", api="v1", replicas=1), {"rc-0": "k1"}),
    (workload("Deployment", "old", api="extensions/v1beta1"), {"old-0": "k1"}),
    (workload("DaemonSet", "probe", updateStrategy={"type": "RollingUpdate"}),
     {"probe-k1": "k1", "probe-k2": "k2"}),
    (workload("DaemonSet", "probe", pod_spec={"nodeSelector": {"zone": "b"}}), {"probe-k2": "k2"}),
    (workload("DaemonSet", "windows", pod_spec={
        "nodeSelector": {"kubernetes.io/os": "windows"}}), {}),
    (workload("Deployment", "web", replicas=0), {}),
], ids=lambda value: value.get("kind", ""))
def test_a_workload_makes_its_pods(item: dict[str, Any], expected: dict[str, str]) -> None:
    assert placed(item) == expected


def test_the_next_node_is_the_next_over_all_workloads() -> None:
    names = ("cart", "shop", "mail", "ads")
    assert placed(*(workload("Deployment", name) for name in names)) == {
        "cart-0": "k1", "shop-0": "k2", "mail-0": "k1", "ads-0": "k2"}


def test_a_pod_without_a_node_is_placed_and_one_that_waits_is_left_out() -> None:
    waiting = pod("waits", phase="Pending")
    topology = read(*NODES, POOL, pod("bare"), pod("next"), waiting)
    assert [(item.name, item.node) for item in topology.pods] == [("bare", "k1"), ("next", "k2")]
    assert "Pods left out: shop/waits (Pending)." in topology.warnings


def test_a_pod_that_waits_on_its_node_is_there() -> None:
    assert placed(pod("starts", "k2", phase="Pending")) == {"starts": "k2"}


@pytest.mark.parametrize("selector", [
    {"zone": "b"}, {"kubernetes.io/hostname": "k2"}, {"kubernetes.io/os": "linux", "zone": "b"}])
def test_pods_are_where_their_node_selector_allows(selector: dict[str, str]) -> None:
    item = workload("Deployment", "web", replicas=2, pod_spec={"nodeSelector": selector})
    assert placed(item) == {"web-0": "k2", "web-1": "k2"}


def test_nodes_of_calicoctl_without_labels_have_those_of_every_kubelet() -> None:
    node = {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": "n"},
            "spec": {"bgp": {"ipv4Address": "10.9.1.11/24"}}}
    item = workload("Deployment", "dns", pod_spec={"nodeSelector": {
        "kubernetes.io/os": "linux", "kubernetes.io/hostname": "n"}})
    assert [pod.node for pod in read(node, POOL, item).pods] == ["n"]


def control_plane(*names: str, **taint: str) -> list[dict[str, Any]]:
    """k1 in zone a and k2 in zone b, of which these have a taint."""
    nodes = copy.deepcopy(NODES)
    for node in nodes:
        if node["metadata"]["name"] in names:
            node["spec"]["taints"] = [{"key": CONTROL_PLANE, "effect": "NoSchedule", **taint}]
    return list(nodes)


CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
TOLERATED = [{"key": CONTROL_PLANE, "operator": "Exists", "effect": "NoSchedule"}]


def required(*expressions: tuple[str, str, list[str]]) -> dict[str, Any]:
    """An affinity of terms with one expression each."""
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": operator, **(
            {"values": values} if values else {})}]} for key, operator, values in expressions]}}}}


@pytest.mark.parametrize(("nodes", "spec", "expected"), [
    pytest.param(control_plane("k1"), {}, "k2 k2", id="taint"),
    pytest.param(control_plane("k1"), {"tolerations": TOLERATED}, "k1 k2", id="tolerated"),
    pytest.param(control_plane("k1"), {"tolerations": [{"operator": "Exists"}]}, "k1 k2",
                 id="tolerates-all"),
    pytest.param(control_plane("k1"), {"tolerations": [{**TOLERATED[0], "effect": "NoExecute"}]},
                 "k2 k2", id="another-effect"),
    pytest.param(control_plane("k1", value="yes"), {"tolerations": [
        {"key": CONTROL_PLANE, "value": "no"}]}, "k2 k2", id="another-value"),
    pytest.param(control_plane("k1", value="yes"), {"tolerations": [
        {"key": CONTROL_PLANE, "operator": "Equal", "value": "yes"}]}, "k1 k2", id="its-value"),
    pytest.param(control_plane("k1", effect="NoExecute"), {}, "k2 k2", id="no-execute"),
    pytest.param(control_plane("k1", effect="PreferNoSchedule"), {}, "k1 k2", id="a-preference"),
    pytest.param(control_plane("k1", key="node.kubernetes.io/not-ready"), {}, "k1 k2",
                 id="a-condition"),
    pytest.param(control_plane("k1"), {"nodeName": "k1"}, "k1 k1", id="not-the-schedulers-pod"),
    pytest.param(NODES, required(("zone", "In", ["b", "c"])), "k2 k2", id="in"),
    pytest.param(NODES, required(("zone", "NotIn", ["b"])), "k1 k1", id="not-in"),
    pytest.param(NODES, required(("disk", "NotIn", ["ssd"])), "k1 k2", id="not-in-without-label"),
    pytest.param(NODES, required(("zone", "Exists", [])), "k1 k2", id="exists"),
    pytest.param(NODES, required(("zone", "In", ["c"]), ("zone", "In", ["a"])), "k1 k1",
                 id="either-term"),
    pytest.param(NODES, {"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{
            "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["k2"]}]}]}}}},
        "k2 k2", id="field"),
    pytest.param(NODES, {**required(("zone", "Exists", [])), "nodeSelector": {"zone": "a"}},
                 "k1 k1", id="both"),
])
def test_pods_are_where_taints_and_affinity_allow(
    nodes: list[dict[str, Any]], spec: dict[str, Any], expected: str
) -> None:
    item = workload("Deployment", "web", replicas=2, pod_spec=spec)
    assert " ".join(pod.node for pod in read(*nodes, POOL, item).pods) == expected


@pytest.mark.parametrize(("nodes", "spec", "reason"), [
    pytest.param(NODES, {"nodeSelector": {"zone": "c"}}, "2 without the label zone: c",
                 id="selector"),
    pytest.param(NODES, required(("zone", "DoesNotExist", [])),
                 "2 outside the required nodeAffinity", id="affinity"),
    pytest.param(control_plane("k2"), {"nodeSelector": {"zone": "b"}},
                 f"1 without the label zone: b, 1 with the taint {CONTROL_PLANE}:NoSchedule",
                 id="taint"),
])
def test_a_pod_that_no_node_can_have_is_pending(
    nodes: list[dict[str, Any]], spec: dict[str, Any], reason: str
) -> None:
    topology = read(*nodes, POOL, workload("Deployment", "web", pod_spec=spec), pod("runs", "k1"))
    made = Cluster(topology, 2)
    assert list(made.endpoints) == ["shop/runs"]
    waiting = made.admission.waiting["shop/web-0"]
    assert (waiting.status, waiting.reason) == (
        "Pending", f"no node can have them: {reason}")


def test_a_daemon_set_runs_on_cordoned_nodes_and_says_when_it_runs_on_none() -> None:
    nodes = copy.deepcopy(NODES)
    nodes[0]["spec"]["unschedulable"] = True
    topology = read(*nodes, POOL, workload("DaemonSet", "probe"), workload("Deployment", "web"),
                    workload("DaemonSet", "none", pod_spec={"nodeSelector": {"zone": "c"}}))
    assert {pod.name: pod.node for pod in topology.pods} == {
        "probe-k1": "k1", "probe-k2": "k2", "web-0": "k2"}
    assert ("DaemonSet shop/none has no pods: no node can have them: 2 without the label zone: c."
            in topology.warnings)


SENTENCE = "The pods of {} are in the file, so no more are made."


def all_of_a_deployment(*, with_replica_set: bool) -> Topology:
    """As ``kubectl get all`` prints it, or ``kubectl get deployments,pods``."""
    items = [pod(f"web-7f9c-{end}", node, metadata=owned("ReplicaSet", "web-7f9c"))
             for end, node in (("aaaaa", "k1"), ("bbbbb", "k2"))]
    items.append(workload("Deployment", "web", replicas=2))
    if with_replica_set:
        items.append(workload("ReplicaSet", "web-7f9c", owner=("Deployment", "web"), replicas=2))
    return read(*NODES, POOL, *items)


@pytest.mark.parametrize(("with_replica_set", "named"), [
    (True, "Deployment shop/web, ReplicaSet shop/web-7f9c"), (False, "Deployment shop/web")])
def test_pods_that_are_in_the_file_are_not_made_again(with_replica_set: bool, named: str) -> None:
    topology = all_of_a_deployment(with_replica_set=with_replica_set)
    assert [pod.name for pod in topology.pods] == ["web-7f9c-aaaaa", "web-7f9c-bbbbb"]
    assert SENTENCE.format(named) in topology.warnings


def test_a_deployment_without_its_pods_makes_them_and_its_replica_set_does_not() -> None:
    assert placed(workload("Deployment", "web", replicas=2),
                  workload("ReplicaSet", "web-7f9c", owner=("Deployment", "web"), replicas=2),
                  workload("ReplicaSet", "web-1a2b", owner=("Deployment", "web"), replicas=0),
                  ) == {"web-0": "k1", "web-1": "k2"}


def test_pods_of_another_namespace_do_not_stand_for_a_workloads() -> None:
    other = pod("web-0", "k1", metadata={"namespace": "other", **owned("StatefulSet", "web")})
    assert len(read(*NODES, POOL, other, workload("StatefulSet", "web")).pods) == 2


def test_a_daemon_set_in_the_hosts_network_has_no_pods_of_its_own() -> None:
    topology = read(*NODES, POOL, workload("DaemonSet", "kube-proxy", pod_spec={
        "hostNetwork": True}), workload("DaemonSet", "calico-node", pod_spec={
            "hostNetwork": True}))
    assert topology.pods == ()
    assert "Pods left out: shop/kube-proxy-* (hostNetwork)." in topology.warnings


def test_many_selectors_on_many_nodes_take_little_time() -> None:
    nodes = [kubernetes_node(f"n{number}", f"10.9.{number // 250}.{number % 250 + 2}/16")
             for number in range(300)]
    items = [workload("Deployment", f"d{number}", replicas=20, pod_spec={
        "nodeSelector": {"kubernetes.io/hostname": f"n{number}"}}) for number in range(300)]
    assert {pod.node for pod in read(*nodes, POOL, *items).pods} == {
        f"n{number}" for number in range(300)}
