"""Pools that others change, pods and namespaces that take too long, modes without effect.

The pods that the experiment makes are pods of an emulated cluster, whose mode is that of the pool:

     node31  client, same-node   node32  same-subnet       node33  cross-subnet
        |                           |                         |
   -----+-- rack-a -----------------+-- (.1) r1 (.1) ---------+-- rack-b ----
"""

from pathlib import Path

import pytest
from experiment.conftest import SCRIPT
from support.live_cluster import POOL_API, LiveCluster, managed
from support.measuring import CHANGE, FEW, TO_SUBNETS, granted

from calico_mn import results
from calico_mn.errors import ClusterError
from calico_mn.experiment import real
from calico_mn.experiment.arguments import Defaults, Repetitions, parse
from calico_mn.kubernetes import cluster as real_cluster
from calico_mn.kubernetes import namespace, pods
from calico_mn.kubernetes.client import ApiError
from calico_mn.measure import programs

pytestmark = pytest.mark.root


def prepared(*arguments):
    return real.prepared(parse("", Defaults(Path(), Repetitions(1, 1), Repetitions(1, 1)),
                               arguments=["--on", "kubernetes", *arguments]), {})


def test_the_mode_of_a_pool_that_the_operator_manages_is_changed_in_its_installation(
        cluster, measure):
    pool, installation = managed(cluster.resources[POOL_API, "ippools"]["", "pool"])
    cluster.add(pool)
    cluster.add(installation)
    begun = measure(*FEW, "--paths", "same-subnet", *CHANGE)
    status, _, err = begun.end()
    assert status == 0, err
    assert {row["mode"] for row in results.load(begun.output).rows} == {"Always", "Never"}
    assert set(cluster.modes) == {"Always", "Never"} and cluster.modes[-1] == "Always"
    patched = [request for request in cluster.requests if request.verb == "patch"]
    assert {request.resource for request in patched} == {"installations.operator.tigera.io"}
    assert installation["spec"]["calicoNetwork"]["ipPools"] == [
        {"cidr": "10.99.0.0/16", "encapsulation": "VXLAN"},
        {"name": "pool", "cidr": pool["spec"]["cidr"], "encapsulation": "IPIP"}]
    assert "The operator manages it, so its Installation is what changes" in err
    assert ("by hand: kubectl --context test patch installations.operator.tigera.io default --type"
            " json -p ") in err
    assert {(request.verb, request.resource) for request in cluster.requests} <= granted()


def test_a_pool_of_the_operator_that_its_installation_does_not_have(cluster, measure):
    pool, installation = managed(cluster.resources[POOL_API, "ippools"]["", "pool"])
    cluster.add(pool)
    cluster.add({**installation, "spec": {}})
    status, _, err = measure(*FEW, *TO_SUBNETS, *CHANGE).end()
    assert status == 2
    assert "the operator manages the pool pool, but no pool of the Installation default has" in err
    assert not list(cluster.namespaces) and cluster.modes == []


@pytest.mark.parametrize("watched", [(), ("--allow-host-capture",)], ids=["unseen", "seen"])
def test_a_mode_that_another_program_sets_back(watched, cluster, monkeypatch):
    monkeypatch.setattr(real_cluster, "EFFECT_S", 1.0)
    opened = prepared("--allow-mode-change", "--settle", "0", *watched)
    try:
        opened.open()
        cluster.reverted = True
        with pytest.raises(ClusterError, match="the pool pool has not kept the mode Never: another"
                                               " program manages it"):
            opened.set_mode("Never")
    finally:
        opened.close()
    assert not list(cluster.namespaces)


def event(pod, message, time):
    return {"apiVersion": "v1", "kind": "Event",
            "metadata": {"name": time, "namespace": "measured"}, "involvedObject": {"name": pod},
            "type": "Warning", "reason": "FailedCreatePodSandBox", "message": message,
            "lastTimestamp": f"2026-01-01T00:00:{time}Z"}


@pytest.mark.parametrize(("forbidden", "wanted"), [
    (set(), r"ContainerCreating \(FailedCreatePodSandBox: no more free affine blocks\)$"),
    ({("list", "events")}, "ContainerCreating$")], ids=["events", "no right to see events"])
def test_a_pod_that_begins_for_too_long(forbidden, wanted, cluster, monkeypatch):
    monkeypatch.setattr(namespace, "READY_S", 1.0)
    cluster.forbidden = forbidden
    cluster.waiting["client"] = {"phase": "Pending", "containerStatuses": [
        {"ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}]}
    for each in (event("client", "no more free affine blocks", "09"),
                 event("client", "an earlier one", "01"), event("other", "another pod's", "10")):
        cluster.add(each)
    opened = prepared("--namespace", "measured")
    try:
        with pytest.raises(ClusterError, match=f"^pod measured/client does not run: {wanted}"):
            opened.open()
    finally:
        opened.close()


def test_a_namespace_that_does_not_end_says_what_keeps_it(cluster, monkeypatch):
    opened = prepared()
    opened.open()
    cluster.keeps_namespaces = True
    monkeypatch.setattr(namespace, "GONE_S", 1.0)
    with pytest.raises(ApiError, match="is not gone 1 s after it was deleted: Discovery failed for"
                                       " some groups"):
        opened.close()
    cluster.keeps_namespaces = False
    monkeypatch.setattr(namespace, "GONE_S", 60.0)
    opened.close()
    assert not list(cluster.namespaces) and opened.left() == ()


def test_a_silent_program_keeps_its_connection(cluster, monkeypatch, tmp_path):
    quick = tmp_path / "relay.py"
    quick.write_text(f"import sys\nsys.path.insert(0, {str(SCRIPT.parents[1])!r})\n"
                     "from calico_mn.kubernetes import relay\n"
                     "relay._ALIVE_S = 0.1\nsys.exit(relay.main())\n")
    monkeypatch.setattr(pods, "_RELAY", quick)
    opened = prepared()
    try:
        opened.open()
        before = cluster.pings
        done = programs.run(opened[opened.endpoints[0].name], ["sleep", "1"], 60)
        assert done.status == 0 and cluster.pings > before
    finally:
        opened.close()


def test_a_mode_that_has_no_effect(cluster, monkeypatch):
    monkeypatch.setattr(real_cluster, "EFFECT_S", 1.0)
    opened = prepared("--allow-mode-change", "--allow-host-capture")
    try:
        opened.open()
        cluster.is_deaf = True
        with pytest.raises(ClusterError, match=r"^Never: packets from .* still do not travel as"):
            opened.set_mode("Never")
    finally:
        opened.close()
    assert cluster.modes == ["Never", "Always"] and not list(cluster.namespaces)


def test_over_tls_with_the_clusters_own_certificate(net, tmp_path, monkeypatch):
    with LiveCluster(net, tmp_path, tls=tmp_path) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        opened = prepared()
        try:
            opened.open()
            client = opened[opened.endpoints[0].name]
            assert programs.run(client, ["cat", "/proc/sys/net/ipv4/ip_forward"], 60).status == 0
            done = programs.run(client, ["sh", "-c", "echo out; echo err >&2; exit 7"], 60)
            assert (done.status, done.out, done.err) == (7, "out\n", "err\n")
        finally:
            opened.close()
        assert server.url.startswith("https") and not list(server.namespaces)
