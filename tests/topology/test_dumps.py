"""Dumps of living clusters, in the form in which kubectl and calicoctl print them."""

from __future__ import annotations

import io
import json
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.dumps import NODES, POOL, crd, housekeeping, kubernetes_node, listed, pod, read

from calico_mn.errors import TopologyError
from calico_mn.model import EncapsulationMode
from calico_mn.topology import load_topology, parse_topology
from calico_mn.topology.parse import parse_topologies


def test_nodes_of_kubectl_have_the_addresses_that_calico_wrote_into_them() -> None:
    topology = read(*NODES, POOL)
    assert [(node.name, str(node.address)) for node in topology.nodes] == [
        ("k1", "10.9.1.11/24"), ("k2", "10.9.2.12/24")]
    assert dict(topology.nodes[1].labels)["zone"] == "b"
    assert [str(subnet.cidr) for subnet in topology.underlay.subnets] == [
        "10.9.1.0/24", "10.9.2.0/24"]


def test_a_node_without_calicos_address_has_its_internal_one_and_that_is_said() -> None:
    topology = read(kubernetes_node("k1", internal="10.9.1.11"), POOL)
    assert str(topology.nodes[0].address) == "10.9.1.11/24"
    assert any("k1 10.9.1.11/24: took the InternalIP, and assumed its prefix" in warning
               for warning in topology.warnings)
    underlay = ("\n---\n{apiVersion: calico-mn/v1, kind: Underlay, spec: {subnets: [{name: a, "
                "cidr: 10.9.0.0/20}]}}")
    topology = parse_topology(listed(kubernetes_node("k1", internal="10.9.1.11"), POOL) + underlay)
    assert str(topology.nodes[0].address) == "10.9.1.11/20"


def test_a_node_without_any_ipv4_address_is_an_error() -> None:
    with pytest.raises(TopologyError, match='node "k1" has no IPv4 address'):
        read(kubernetes_node("k1", internal="fd80::11"), POOL)


def test_of_two_nodes_with_one_name_calicos_counts() -> None:
    calicos = {"apiVersion": "projectcalico.org/v3", "kind": "Node",
               "metadata": housekeeping("k1", labels={"rack": "7"}),
               "spec": {"bgp": {"ipv4Address": "10.9.1.99/24"}, "orchRefs": [
                   {"nodeName": "k1", "orchestrator": "k8s"}]}}
    topology = read(*NODES, calicos, POOL)
    assert sorted((node.name, str(node.address.ip)) for node in topology.nodes) == [
        ("k1", "10.9.1.99"), ("k2", "10.9.2.12")]
    labels = dict(next(node for node in topology.nodes if node.name == "k1").labels)
    assert (labels["rack"], labels["zone"]) == ("7", "a")


def test_addresses_with_a_prefix_of_32_are_taken_for_hosts_of_one_slash_24() -> None:
    topology = read(*(kubernetes_node(f"gce{n}", f"10.128.0.{n}/32") for n in (2, 3)), POOL)
    assert [str(subnet.cidr) for subnet in topology.underlay.subnets] == ["10.128.0.0/24"]
    assert topology.nodes[0].address.network.prefixlen == 32
    assert any("do not say which subnet" in warning for warning in topology.warnings)


def test_prefixes_that_disagree_are_one_subnet_and_stay_what_they_are() -> None:
    topology = read(kubernetes_node("k1", "10.9.1.11/24"), kubernetes_node("k2", "10.9.1.12/16"),
                    POOL)
    assert [str(subnet.cidr) for subnet in topology.underlay.subnets] == ["10.9.0.0/16"]
    assert [node.address.network.prefixlen for node in topology.nodes] == [24, 16]
    assert any("prefixes disagree" in warning for warning in topology.warnings)


def test_what_calico_stores_is_what_calicoctl_shows() -> None:
    topology = read(
        *NODES, POOL, crd("FelixConfiguration", "default", ipipMTU=1440),
        crd("IPAMConfig", "default", strictAffinity=False, autoAllocateBlocks=True,
            maxBlocksPerHost=0),
        crd("BlockAffinity", "k1-10-80-7-0-26", cidr="10.80.7.0/26", deleted="false", node="k1",
            state="confirmed"),
        crd("BlockAffinity", "k2-10-80-9-0-26", cidr="10.80.9.0/26", deleted="", node="k2",
            state=""),
        crd("ClusterInformation", "default", calicoVersion="v3.25.0"),
        crd("IPAMHandle", "k8s-pod-network.0a", handleID="0a", block={}))
    assert topology.pools[0].ipip_mode is EncapsulationMode.CROSS_SUBNET
    assert topology.felix.ipip_mtu == 1440
    assert [str(affinity.cidr) for affinity in topology.affinities] == [
        "10.80.7.0/26", "10.80.9.0/26"]


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump], ids=["json", "yaml"])
def test_a_list_without_a_kind_is_what_calicoctl_prints_of_several(write: Any) -> None:
    assert len(parse_topology(write([*NODES, POOL])).nodes) == 2


def test_several_files_are_one_topology(tmp_path: Path) -> None:
    files = {"nodes.yaml": listed(*NODES), "pools.json": json.dumps(POOL),
             "pods.yaml": listed(pod("web-1", "k2", "10.80.9.5"))}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    topology = load_topology([tmp_path / name for name in files], environ={})
    assert (len(topology.nodes), [p.key for p in topology.pods]) == (2, ["shop/web-1"])


def test_a_mistake_in_one_of_several_files_names_the_file_and_the_line() -> None:
    again = ("apiVersion: projectcalico.org/v3\nkind: IPPool\n"
             "metadata: {name: main}\nspec: {cidr: 10.90.0.0/16}\n")
    with pytest.raises(TopologyError) as caught:
        parse_topologies({"a.yaml": listed(*NODES), "b.yaml": again, "c.yaml": again})
    first = caught.value.problems[0]
    assert (first.file, first.line) == ("c.yaml", 3)
    assert "line 3 of b.yaml has it already" in str(caught.value)
    assert "    metadata: {name: main}\n" in str(caught.value)


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed(*NODES).encode())))
    assert len(load_topology("-", environ={}).nodes) == 2


@pytest.mark.parametrize(("api", "kind", "named"), [
    ("monitoring.coreos.com/v1", "ServiceMonitor", "ServiceMonitor (monitoring.coreos.com)"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute", "HTTPRoute (gateway.networking.k8s.io)"),
    ("networking.istio.io/v1beta1", "Gateway", "Gateway (networking.istio.io)"),
    ("kubeadm.k8s.io/v1beta4", "InitConfiguration", "InitConfiguration"),
    ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration",
     "KubeletConfiguration (kubelet.config.k8s.io)"),
    ("rbac.authorization.k8s.io/v1beta1", "ClusterRole", "ClusterRole"),
    ("operator.tigera.io/v1", "ImageSet", "ImageSet"),
    ("operator.tigera.io/v1", "LogCollector", "LogCollector"),
    ("projectcalico.org/v3", "GlobalThreatFeed", "GlobalThreatFeed"),
    ("crd.projectcalico.org/v1", "RemoteClusterConfiguration", "RemoteClusterConfiguration"),
    ("resource.k8s.io/v1", "ResourceSlice", "ResourceSlice"),
])
def test_kinds_of_others_are_named_and_not_refused(api: str, kind: str, named: str) -> None:
    topology = read(*NODES, POOL, {"apiVersion": api, "kind": kind, "metadata": {"name": "x"},
                                   "spec": {"anything": [1]}})
    assert topology.warnings[0] == f"These have no effect here: kinds {named}."


@pytest.mark.parametrize("api", [
    "project.calico.org/v3", "crd.projectcalico.org/v2", "networking.k8s.io/v7", "app/v1",
    "projectcalico.com/v3", "rbac.authorisation.k8s.io/v1"])
def test_a_slip_in_a_known_group_stays_an_error(api: str) -> None:
    with pytest.raises(TopologyError, match="unknown kind"):
        read(*NODES, {"apiVersion": api, "kind": "Thing", "metadata": {"name": "x"}})


def test_what_a_container_is_is_not_mentioned() -> None:
    topology = read(*NODES, POOL, pod("web-1", "k1"))
    assert all("Underlay" in warning for warning in topology.warnings)


def test_what_changes_the_network_is_said_in_a_sentence() -> None:
    item = pod("web-1", "k1", spec={"affinity": {"podAntiAffinity": {"x": 1}}})
    item["metadata"]["annotations"]["cni.projectcalico.org/hwAddr"] = "02:00:00:00:00:01"
    warnings = read(*NODES, POOL, item).warnings
    assert ("Pod spec.affinity.podAntiAffinity has no effect: pods go to the nodes in turn."
            in warnings)
    assert any("hwAddr has no effect: the pod's MAC address" in w for w in warnings)


def test_warnings_come_with_errors() -> None:
    with pytest.raises(TopologyError) as caught:
        read(POOL, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}})
    assert "Services have no addresses here" in caught.value.warnings[0]


@pytest.mark.parametrize(("text", "hint"), [
    ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\napiVersion: v1\nkind: Secret\n"
     "metadata: {name: b}\n", "put a line --- before it"),
    ('{"apiVersion": "v1"}\n{"apiVersion": "v1"}\n', "put a line --- before it"),
    ("kind: IPPool\nmetadata: {name: {{ .Values.name }}}\n", "this is a template"),
    ("{{- if .Values.enabled }}\nkind: IPPool\n", "this is a template"),
    ("{% if x %}\nkind: IPPool\n{% endif %}\n", "this is a template"),
    ("kind: Installation\nspec:\n  registry: {{.Registry}}/\n", "this is a template"),
    ("kind: Cluster\nspec:\n  members:\n${members}\n    name: main\n", "this is a template"),
    ("%{ for peer in peers ~}\nkind: BGPPeer\n%{ endfor ~}\n", "this is a template"),
    ("kind: IPPool\nspec:\n  nodeSelector: !all()\n", "text that begins with ! in quotes"),
    ("spec:\n  selector: !has(a) && b == 'c'\n", "text that begins with ! in quotes"),
    ("items:\n- kind: IPPool\n  ...\n  spec: {}\n", "text is left out in line 3"),
    ("calico_ipip_mode: Never\nkube_pods_subnet: 10.80.0.0/16\n", "settings of another program"),
    ("apiVersion: v1\nkind: ipPool\nmetadata: {cidr: 10.80.0.0/16}\n", "the form of Calico 2"),
])
def test_what_is_no_topology_yet_is_recognised(text: str, hint: str) -> None:
    with pytest.raises(TopologyError) as caught:
        parse_topology(text)
    problems = [problem for problem in caught.value.problems if problem.line]
    assert len(problems) == 1 and hint in problems[0].hint


def test_a_pod_keeps_its_address() -> None:
    assert read(*NODES, POOL, pod("web-1", "k2", "10.80.9.5")).pods[0].ip == IPv4Address(
        "10.80.9.5")


@pytest.mark.parametrize(("item", "sentence"), [
    ({"apiVersion": "projectcalico.org/v3", "kind": "BGPConfiguration", "metadata": {
        "name": "default"}, "spec": {"nodeToNodeMeshEnabled": False, "asNumber": 64999}},
     "BGPConfiguration spec.nodeToNodeMeshEnabled false: nodes announce nothing to each other, so "
     "that pods of a pool without VXLAN reach none on other nodes."),
    (crd("BGPPeer", "rr", peerIP="10.9.1.1"), ""),
    (crd("BGPPeer", "nothing", asNumber=64512),
     "BGPPeer nothing peers with nothing: it has no peerIP and no peerSelector."),
    (crd("BGPPeer", "six", peerIP="[fd00::1]:1790", asNumber=64512),
     "BGPPeer six peers with nothing: the peerIP is one of IPv6, which is not emulated yet."),
    (crd("BGPPeer", "few", peerIP="10.9.1.1", filters=["f"]),
     "BGPPeer few names the BGPFilter f, which is not there: routes pass as if the name was left "
     "out, as in Calico."),
    (crd("BGPPeer", "secret", peerIP="10.9.1.1", password={"secretKeyRef": {"name": "bgp"}}),
     "BGPPeer spec.password has no effect: sessions have none; in a real cluster one comes up only "
     "if both ends have the same password."),
    (crd("BGPPeer", "far", peerIP="10.9.1.1", reachableBy="10.9.1.2"),
     "BGPPeer spec.reachableBy has no effect: a node's own routes lead to the peer."),
    (crd("BGPConfiguration", "default", serviceClusterIPs=[{"cidr": "10.96.0.0/12"}]),
     "BGPConfiguration spec.serviceClusterIPs has no effect: addresses of Services are not "
     "announced."),
    (crd("BGPConfiguration", "default", localWorkloadPeeringIPV4="10.0.0.1"),
     "These have no effect here: BGPConfiguration spec.localWorkloadPeeringIPV4."),
    (crd("BGPFilter", "f", importV6=[{"action": "Reject"}]),
     "BGPFilter spec.importV6 has no effect: IPv6 is not emulated yet."),
    (crd("BGPFilter", "f", importV4=[{"action": "Reject", "communities": {"values": ["1:2"]}}]),
     "A rule of a BGPFilter in line 129 is left out: its communities cannot be compared here."),
    (crd("BGPFilter", "f", importV4=[{
        "action": "Reject", "cidr": "10.0.0.0/8", "matchOperator": "Equal",
        "prefixLength": {"max": 16}}]),
     "A rule of a BGPFilter in line 129 fits no route: matchOperator Equal compares with one "
     "prefix, and prefixLength makes many of it. In and NotIn go with prefixLength."),
    (crd("FelixConfiguration", "default", bpfEnabled=True),
     "FelixConfiguration spec.bpfEnabled has no effect: packets take the kernel's way, as without "
     "eBPF."),
    (crd("GlobalNetworkSet", "web", nets=[], allowedEgressDomains=["example.com"]),
     "GlobalNetworkSet spec.allowedEgressDomains has no effect: Calico Enterprise alone has domain "
     "names, so the set is its nets."),
    (crd("GlobalNetworkPolicy", "web", egress=[{"action": "Allow", "destination": {
        "domains": ["example.com"]}}]),
     "GlobalNetworkPolicy spec.egress[0].destination.domains has no effect: Calico Enterprise "
     "alone has domain names, so the rule is as without."),
    (crd("IPPool", "quiet", cidr="10.90.0.0/16", disableBGPExport=True), ""),
    (crd("FelixConfiguration", "default", bpfEnabled=False, ipipEnabled=True), ""),
    (crd("BGPConfiguration", "default", nodeToNodeMeshEnabled=True, logSeverityScreen="Info"), ""),
], ids=lambda value: value if isinstance(value, str) else value["kind"])
def test_what_changes_routes_and_has_no_effect_has_a_sentence(
    item: dict[str, Any], sentence: str
) -> None:
    warnings = [text for text in read(*NODES, POOL, item).warnings if "Underlay" not in text]
    assert warnings == ([sentence] if sentence else [])


def test_nodes_of_several_autonomous_systems_are_said_to_be_one() -> None:
    node = kubernetes_node("k3", "10.9.3.11/24")
    node["metadata"]["annotations"]["projectcalico.org/ASNumber"] = "65001"
    assert any("different AS numbers (the default, 65001)" in warning
               for warning in read(*NODES, node, POOL).warnings)


def test_a_dump_of_ten_megabytes_is_read_since_little_of_it_is_kept() -> None:
    big = pod("x", "k1")
    big["metadata"]["managedFields"] *= 20
    big["spec"]["containers"] *= 2
    big["spec"]["volumes"] = [{"name": f"v{n}", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token"}}]}} for n in range(20)]
    big["status"]["conditions"] = [{"type": "Ready", "status": "True"}] * 20
    one = "---\n" + yaml.safe_dump(big)
    count = 9_500_000 // len(one)
    text = listed(*NODES, POOL) + "".join(
        one.replace("name: x\n", f"name: x{n}\n", 1) for n in range(count))
    assert len(parse_topology(text).pods) == count > 1_000


def test_what_is_not_kept_may_have_anchors_and_ends_where_it_ends() -> None:
    text = listed(*NODES, POOL) + """
---
apiVersion: v1
kind: Pod
metadata: {name: a, managedFields: [&x {f: [1, 2, {g: h}]}, *x], annotations: {}}
spec: {volumes: &v [{name: *x}], tolerations: *v, nodeName: k2}
"""
    assert [(item.name, item.node) for item in parse_topology(text).pods] == [("a", "k2")]
