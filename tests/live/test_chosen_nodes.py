"""Which nodes the pods of a measurement run on, what is made for them, what their status says."""

import json
from dataclasses import replace

import pytest
from support.live_cluster import node, pool

from calico_mn.calico.encapsulation import IPIP, VXLAN
from calico_mn.errors import ClusterError
from calico_mn.export import as_yaml
from calico_mn.kubernetes import namespace, placement, pools
from calico_mn.kubernetes.namespace import Progress, progress
from calico_mn.kubernetes.placement import Placement, place, placed, read
from calico_mn.kubernetes.pools import Pool, pool_of
from calico_mn.measure.paths import PATHS

A, B = node("a", "10.0.1.1/24"), node("b", "10.0.1.2/24")
FAR, FARTHER = node("far", "10.0.2.1/24"), node("farther", "10.0.3.1/24")
CONTROL = node("control", "10.0.1.9/24",
               taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])


def named(chosen: Placement) -> dict[str, str]:
    return {pod: node.name for pod, node in chosen.pods.items()}


@pytest.mark.parametrize(("items", "wanted", "pods", "note"), [
    pytest.param([A, B, FAR, FARTHER], PATHS, {
        "client": "a", "same-node": "a", "same-subnet": "b", "cross-subnet": "far"}, "",
        id="all classes, on three nodes"),
    pytest.param([FAR, A, B], PATHS, {
        "client": "a", "same-node": "a", "same-subnet": "b", "cross-subnet": "far"}, "",
        id="the client is where every class can be had"),
    pytest.param([A], PATHS, {"client": "a", "same-node": "a"},
                 "Not measured: same-subnet; no two usable nodes are in one subnet.",
                 id="one node"),
    pytest.param([A, B], PATHS, {"client": "a", "same-node": "a", "same-subnet": "b"},
                 "Not measured: cross-subnet; no two usable nodes are in different subnets.",
                 id="one subnet"),
    pytest.param([A, B, FAR], ("cross-subnet",), {"client": "a", "cross-subnet": "far"}, "",
                 id="one class is asked for"),
    pytest.param([CONTROL, node("cordoned", "10.0.1.3/24", unschedulable=True),
                  node("down", "10.0.1.4/24", ready=False), A], ("same-node",),
                 {"client": "a", "same-node": "a"}, "", id="nodes that cannot be used"),
    pytest.param([node("plain", "10.0.1.1", given=False), node("other", "10.0.1.2", given=False)],
                 ("cross-subnet",), {"client": "plain", "cross-subnet": "other"},
                 "plain and other: without the annotation projectcalico.org/IPv4Address the subnet"
                 " is not known", id="subnets are not known")])
def test_the_fewest_nodes_that_show_the_path_classes(items, wanted, pods, note):
    chosen = place(read(items), wanted)
    assert named(chosen) == pods
    assert bool(chosen.notes) == bool(note)
    assert all(note in text for text in chosen.notes[:1])
    assert [node.name for node in chosen.nodes] == list(dict.fromkeys(pods.values()))
    again = placed(read(items), pods, wanted)
    assert again == chosen


@pytest.mark.parametrize(("items", "wanted", "message"), [
    pytest.param([], PATHS, "it has none with IPv4", id="no nodes"),
    pytest.param([CONTROL], PATHS, "control: it has the taint node-role.kubernetes.io/control",
                 id="a taint"),
    pytest.param([A, B], ("cross-subnet",), "has no cross-subnet: no two usable nodes are in"
                 " different subnets", id="no such class")])
def test_a_cluster_in_which_nothing_can_be_measured(items, wanted, message):
    with pytest.raises(ClusterError, match=message):
        place(read(items), wanted)


@pytest.mark.parametrize(("items", "message"), [
    pytest.param([A], "was on node far, which cannot be used: the cluster has no such", id="gone"),
    pytest.param([A, node("far", "10.0.2.1/24", ready=False)], "far.*it is not Ready", id="down")])
def test_an_interrupted_run_needs_its_nodes(items, message):
    with pytest.raises(ClusterError, match=message):
        placed(read(items), {"client": "a", "cross-subnet": "far"})


@pytest.mark.parametrize("document", [
    pytest.param(namespace.namespace("n", "abcdef", host_pods=True), id="namespace"),
    pytest.param(namespace.config_map("n", "abcdef", {"endpoint.py": "print()"}), id="programs"),
    pytest.param(namespace.pod("client", "n", "abcdef", host_name="a", image="i"), id="pod"),
    pytest.param(namespace.pod("capture-1", "n", "abcdef", host_name="a", image="i", on_host=True),
                 id="pod on the node's network")])
def test_what_is_made_passes_kubernetes_schemas_and_has_the_runs_label(document):
    schemas = pytest.importorskip("kubernetes_validate", reason="./install.sh develop installs it")
    schemas.validate(document, "1.33", strict=True)
    assert document["metadata"]["labels"][namespace.RUN] == "abcdef"
    assert as_yaml([document])


def test_only_pods_that_capture_have_rights_on_the_node():
    plain = namespace.pod("client", "n", "r", host_name="a", image="i")["spec"]
    capture = namespace.pod("capture-1", "n", "r", host_name="a", image="i", on_host=True)["spec"]
    assert "hostNetwork" not in plain and "securityContext" not in plain["containers"][0]
    assert capture["hostNetwork"] is True
    assert capture["containers"][0]["securityContext"] == {
        "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}
    levels = [namespace.namespace("n", "r", host_pods=on)["metadata"]["labels"].get(
        "pod-security.kubernetes.io/enforce") for on in (True, False)]
    assert levels == ["privileged", "baseline"]


READY = {"phase": "Running", "podIP": "10.1.0.4", "containerStatuses": [{"ready": True}]}


def waiting(reason, message=""):
    return {"phase": "Pending", "containerStatuses": [
        {"ready": False, "state": {"waiting": {"reason": reason, "message": message}}}]}


@pytest.mark.parametrize(("status", "expected"), [
    pytest.param(READY, Progress("10.1.0.4"), id="runs"),
    pytest.param({**READY, "podIP": None}, Progress("", "it has no address"), id="no address yet"),
    pytest.param({**READY, "podIP": "fd00::4", "podIPs": [{"ip": "fd00::4"}, {"ip": "10.1.0.4"}]},
                 Progress("10.1.0.4"), id="IPv6 first"),
    pytest.param({**READY, "podIP": "fd00::4", "podIPs": [{"ip": "fd00::4"}]},
                 Progress("", "it has the addresses fd00::4, and none of IPv4", True),
                 id="IPv6 alone"),
    pytest.param({"phase": "Pending"}, Progress("", "it is Pending"), id="begins"),
    pytest.param(waiting("ErrImagePull", "pull\nfailed"),
                 Progress("", "ErrImagePull: pull\\nfailed"), id="first try of an image"),
    pytest.param(waiting("ImagePullBackOff", "Back-off"),
                 Progress("", "ImagePullBackOff: Back-off", True), id="image cannot be had"),
    pytest.param({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
         "message": "0/3 nodes"}]}, Progress("", "Unschedulable: 0/3 nodes", True),
        id="unschedulable"),
    pytest.param({"phase": "Failed", "reason": "Evicted", "message": "disk"},
                 Progress("", "Evicted: disk", True), id="evicted")])
def test_how_far_a_pod_is(status, expected):
    assert progress({"metadata": {}, "status": status}) == expected


def test_a_pod_that_is_deleted():
    assert progress({}).why == "it was deleted"
    assert progress({"metadata": {"deletionTimestamp": "now"}, "status": READY}).is_hopeless


def pool_named(name, cidr, **modes):
    document = pool(name, cidr, "Never")
    return Pool(name, pools.APIS[1], placement.IPv4Interface(cidr).network,
                {**document["spec"], **modes})


@pytest.mark.parametrize(("modes", "encapsulation", "mode"), [
    ({"ipipMode": "CrossSubnet"}, IPIP, "CrossSubnet"), ({"vxlanMode": "Always"}, VXLAN, "Always"),
    ({"ipipMode": None, "vxlanMode": None}, IPIP, "Never")])
def test_a_pools_mode(modes, encapsulation, mode):
    found = pool_named("p", "10.1.0.0/16", **modes)
    assert (found.encapsulation, found.mode) == (encapsulation, mode)


@pytest.mark.parametrize(("addresses", "expected"), [
    (["10.1.0.1", "10.1.9.9"], "one"), (["10.2.0.1"], "two"),
    (["10.1.0.1", "10.2.0.1"], "from several pools, one and two"),
    (["10.9.0.1"], "10.9.0.1 are from none of Calico's pools")])
def test_the_pool_of_the_pods(addresses, expected):
    known = [pool_named("one", "10.1.0.0/16"), pool_named("two", "10.2.0.0/16")]
    if " " not in expected:
        assert pool_of(known, addresses).name == expected
        return
    with pytest.raises(ClusterError, match=expected):
        pool_of(known, addresses)


def test_the_command_that_sets_a_mode_by_hand():
    command = pools.command("my cluster", pool_named("p", "10.1.0.0/16"), VXLAN, "Never")
    assert command == ("kubectl --context 'my cluster' patch ippools.crd.projectcalico.org p --type"
                       " merge -p '" + json.dumps({"spec": {"vxlanMode": "Never"}}) + "'")


@pytest.mark.parametrize(("encapsulation", "mode", "expected"), [
    (IPIP, "Always", "IPIP"), (IPIP, "CrossSubnet", "IPIPCrossSubnet"), (IPIP, "Never", "None"),
    (VXLAN, "Always", "VXLAN"), (VXLAN, "CrossSubnet", "VXLANCrossSubnet")])
def test_the_mode_of_a_pool_that_the_operator_manages(encapsulation, mode, expected):
    managed = replace(pool_named("p", "10.1.0.0/16"), is_operators=True, entry=2)
    # The operator.tigera.io/v1 API's EncapsulationType.
    assert pools.patch(managed, encapsulation, mode) == [
        {"op": "test", "path": "/spec/calicoNetwork/ipPools/2/cidr", "value": "10.1.0.0/16"},
        {"op": "add", "path": "/spec/calicoNetwork/ipPools/2/encapsulation", "value": expected}]
    assert pools.command("lab", managed, encapsulation, mode).startswith(
        "kubectl --context lab patch installations.operator.tigera.io default --type json -p ")
