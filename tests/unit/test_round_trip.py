"""What a running cluster is written as boots as the same cluster.

Not the same are only the order in which a block gives out free addresses, a node that alone sees
another mode, and what is older than the modes in force (pods' MTUs, tunnel devices without use).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dumps import NODES, POOL, crd, kubernetes_node, listed, owned, pod, read, workload
from support.round_trip import again, assert_survives, facts, written

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import ENCAPSULATIONS
from calico_mn.errors import IPAMError, TopologyError
from calico_mn.model import (
    EncapsulationMode,
    ExternalHost,
    FelixConfiguration,
    IPAMConfiguration,
    IPPool,
    Link,
    MultipathHash,
    Pod,
    Topology,
    Underlay,
)
from calico_mn.topology import dump, emit, load_topology, parse_topology

from .clusters import NODE31, NODE32, NODE33, ip, net, rack, router, topology

FILES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))
MODES = list(EncapsulationMode)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("mode", [None, *MODES], ids=str)
def test_every_topology_in_every_mode(file: Path, mode: EncapsulationMode | None) -> None:
    cluster = Cluster(load_topology(file, {}), 2)
    for encapsulation in (None, *ENCAPSULATIONS):
        cluster.set_mode(mode, encapsulation=encapsulation)
        assert_survives(cluster)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_after_pods_came_and_went(file: Path) -> None:
    cluster = Cluster(load_topology(file, {}), 2)
    chance = random.Random(file.stem)
    for number in range(60):
        if cluster.endpoints and chance.random() < 0.5:
            cluster.delete_pod(chance.choice(sorted(cluster.endpoints)))
        else:
            with suppress(IPAMError):
                cluster.add_pod(Pod("late", f"p{number}", chance.choice(sorted(cluster.nodes))))
    assert_survives(cluster)


# In the form of kubectl: the resources, and what they are there for.
DUMPS: dict[str, list[Any]] = {
    "a Deployment makes pods": [workload("Deployment", "web", replicas=3)],
    "a DaemonSet makes pods": [workload("DaemonSet", "probe")],
    "get all": [
        workload("Deployment", "web", replicas=1),
        workload("ReplicaSet", "web-7f9c", replicas=1, owner=("Deployment", "web")),
        pod("web-7f9c-x", "k1", "10.80.7.5", metadata=owned("ReplicaSet", "web-7f9c"))],
    "pods that are none of the network's": [
        pod("proxy", "k1", spec={"hostNetwork": True}), pod("waits", phase="Pending"),
        pod("done", "k1", phase="Succeeded"),
        workload("Deployment", "host", pod_spec={"hostNetwork": True})],
    "an address that was asked for, in a disabled pool": [
        crd("IPPool", "old", cidr="10.81.0.0/24", disabled=True),
        pod("kept", "k1", "10.81.0.9", metadata={"annotations": {
            "cni.projectcalico.org/podIP": "10.81.0.9/32",
            "cni.projectcalico.org/ipAddrs": '["10.81.0.9"]'}})],
    "blocks": [
        crd("BlockAffinity", "gone", cidr="10.80.3.0/26", node="gone", state="confirmed"),
        crd("BlockAffinity", "k1", cidr="10.80.4.0/26", node="k1", state="confirmed",
            deleted="false"),
        crd("BlockAffinity", "twice", cidr="10.80.4.0/26", node="k2", state="confirmed"),
        crd("BlockAffinity", "going", cidr="10.80.5.0/26", node="k1", state="pendingDeletion"),
        crd("BlockAffinity", "odd", cidr="10.80.6.0/27", node="k2", state="confirmed"),
        crd("IPAMBlock", "10-80-8-0-26", cidr="10.80.8.0/26", affinity="host:k2"),
        crd("IPAMBlock", "10-80-9-0-26", cidr="10.80.9.0/26", allocations=[0]),
        crd("BlockAffinity", "back", cidr="10.80.12.0/26", node="k2", state="confirmed",
            deleted="true"),
        pod("again", "k2", "10.80.12.5"), pod("lent", "k1", "10.80.9.0")],
    "configuration": [
        crd("FelixConfiguration", "default", ipipMTU=1300, logSeverityScreen="Info"),
        crd("FelixConfiguration", "node.k1", ipipMTU=1200),
        crd("IPAMConfig", "default", strictAffinity=True, autoAllocateBlocks=True),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "calico-config", "namespace": "kube-system"}, "data": {"veth_mtu": "1280"}}],
    "the operator's": [
        {"apiVersion": "operator.tigera.io/v1", "kind": "Installation", "metadata": {
            "name": "default"}, "spec": {"calicoNetwork": {"mtu": 1350}}}],
    "reservations, endpoints, kinds without effect": [
        {"apiVersion": "projectcalico.org/v3", "kind": "IPReservation", "metadata": {
            "name": "r"}, "spec": {"reservedCIDRs": ["10.80.0.0/20"]}},
        {"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint", "metadata": {
            "name": "w", "namespace": "shop"}, "spec": {
            "node": "k2", "pod": "seen", "ipNetworks": ["10.80.40.1/32"]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {
            "name": "deny", "namespace": "shop"}, "spec": {"podSelector": {}}}],
    "labels, accounts and named ports, which policies select": [
        workload("Deployment", "web", replicas=2, pod_spec={
            "serviceAccountName": "shop", "containers": [{"name": "c", "ports": [
                {"name": "http", "containerPort": 8080},
                {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]}),
        {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {
            "name": "g"}, "spec": {"selector": "app == 'web'", "ingress": [
                {"action": "Allow", "protocol": "TCP", "destination": {"ports": ["http", 80]}}]}},
        {"apiVersion": "projectcalico.org/v3", "kind": "NetworkSet", "metadata": {
            "name": "s", "namespace": "shop", "labels": {"a": "b"}},
         "spec": {"nets": ["198.51.100.0/24"]}}],
    "host endpoints, profiles, tiers, staged policies and Services": [
        crd("HostEndpoint", "k1-eth0", node="k1", interfaceName="eth0", profiles=["base"],
            expectedIPs=["10.9.1.11"], ports=[{"name": "web", "protocol": "TCP", "port": 80}]),
        crd("HostEndpoint", "of-a-node-that-is-gone", node="k9", interfaceName="*"),
        crd("Profile", "base", ingress=[{"action": "Allow"}], labelsToApply={"a": "b"}),
        crd("Tier", "security", order=100, defaultAction="Pass"),
        crd("GlobalNetworkPolicy", "nat", selector="has(a)", preDNAT=True, applyOnForward=True,
            ingress=[{"action": "Deny"}]),
        crd("GlobalNetworkPolicy", "security.early", tier="security", ingress=[
            {"action": "Pass"}]),
        crd("StagedGlobalNetworkPolicy", "later", stagedAction="Set", egress=[{"action": "Deny"}]),
        crd("FelixConfiguration", "default", failsafeInboundHostPorts=[],
            failsafeOutboundHostPorts=[{"protocol": "UDP", "port": 53, "net": "10.0.0.0/8"}]),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
         "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}},
        crd("GlobalNetworkPolicy", "svc", selector="has(a)", egress=[{
            "action": "Allow", "destination": {"services": {
                "name": "web", "namespace": "shop"}}}])],
    "IPv6 beside": [crd("IPPool", "six", cidr="fd00:80::/64", blockSize=122)],
}


@pytest.mark.parametrize("form", [listed, lambda *items: json.dumps({
    "apiVersion": "v1", "kind": "List", "items": items})], ids=["yaml", "json"])
@pytest.mark.parametrize("items", DUMPS.values(), ids=DUMPS)
def test_what_an_import_writes(items: list[Any], form: Callable[..., str]) -> None:
    """Without the fields that have no effect it is the same cluster."""
    text = form(*NODES, POOL, *items)
    topology, _ = dump.read_dump([("dump", text)])
    assert topology.warnings == parse_topology(text).warnings
    imported = parse_topology(yaml.safe_dump_all(dump.written(topology)))
    assert facts(Cluster(imported, 2)) == facts(Cluster(parse_topology(text), 2))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_import_of_every_topology(file: Path) -> None:
    topology, _ = dump.read_dump([("dump", file.read_text(encoding="utf-8"))])
    imported = parse_topology(yaml.safe_dump_all(dump.written(topology)))
    assert facts(Cluster(imported, 2)) == facts(Cluster(load_topology(file, {}), 2))


@pytest.mark.parametrize("items", DUMPS.values(), ids=DUMPS)
def test_what_kubectl_prints(items: list[Any]) -> None:
    cluster = Cluster(read(*NODES, POOL, *items), 2)
    assert_survives(cluster)
    for key in list(cluster.endpoints):
        cluster.delete_pod(key)
    second = again(cluster)
    assert not second.endpoints, "pods that are gone stay away, also those of workloads"
    assert_survives(cluster)


def test_pods_that_wait_for_an_address_wait_again() -> None:
    tiny = crd("IPPool", "tiny", cidr="10.81.0.0/30", blockSize=30)
    cluster = Cluster(read(*NODES, POOL, tiny, *(
        pod(f"asks-{n}", "k2", metadata={"annotations": {
            "cni.projectcalico.org/ipv4pools": '["tiny"]'}}) for n in range(6))), 2)
    assert list(cluster.admission.waiting) == ["shop/asks-4", "shop/asks-5"]
    assert_survives(cluster)


def test_what_was_assumed_is_written_down_as_given() -> None:
    cluster = Cluster(read(*NODES, POOL), 2)
    assert "The file has no Underlay" in "".join(cluster.topology.warnings)
    second = again(cluster)
    assert second.topology.underlay.name != cluster.topology.underlay.name
    assert "Underlay" not in "".join(second.topology.warnings)
    assert_survives(cluster)


def test_prefixes_that_were_assumed_are_written_down() -> None:
    """A /16 around an InternalIP would be taken for the node's own the second time."""
    assert_survives(Cluster(read(
        kubernetes_node("k1", "10.9.1.11/16"), kubernetes_node("k2", internal="10.9.2.12"),
        POOL), 2))


def test_nodes_that_come_and_go_and_a_block_that_outlives_its_node() -> None:
    """node32's address is lent to a pod of node31, and stays in use without an owner."""
    cluster = Cluster(topology(pools=[IPPool("small", net("10.22.0.0/30"), 30)], nodes=[
        NODE31, NODE32], affinities=[]), 2)
    cluster.set_mode(EncapsulationMode.NEVER)
    cluster.add_pod(Pod("default", "owner", "node32"))
    cluster.add_pod(Pod("default", "guest", "node31"))
    cluster.delete_pod("default/owner")
    cluster.delete_node("node32")
    cluster.add_node(NODE33)
    assert cluster.ipam.blocks("node31") == ()
    assert_survives(cluster)
    assert again(cluster).ipam.borrowed("node31") == (ip("10.22.0.1"),)


def test_a_block_that_no_node_has_is_of_a_size() -> None:
    with pytest.raises(TopologyError, match=r"block 10\.0\.0\.0/8 is larger than any block"):
        read(*NODES, POOL, crd("IPAMBlock", "huge", cidr="10.0.0.0/8"))


def test_what_a_run_has_learned_about_its_routers() -> None:
    cluster = Cluster(load_topology(FILES[0].with_name("two-paths.yaml"), {}), 2)
    name = cluster.fabric.routers[0].name
    cluster.pod_routers = {name}
    cluster.multipath_hashes[name] = MultipathHash(3, 0x0DC0)
    assert_survives(cluster)


def test_a_node_that_is_stuck_follows() -> None:
    cluster = Cluster(load_topology(FILES[0].with_name("two-subnets.yaml"), {}), 2)
    before = facts(cluster)
    cluster.set_mode(EncapsulationMode.NEVER, node="node31")
    assert facts(again(cluster)) == before


# --- clusters made by chance

SPACES = ["10.22.0.0/16", "10.23.0.0/28", "10.24.0.0/30", "10.25.0.0/24"]


@st.composite
def topologies(draw: Any) -> Topology:
    """Any mixture of modes, sizes, links, configurations and workloads, with no file behind it."""
    pools = []
    for number, cidr in enumerate(draw(st.lists(st.sampled_from(SPACES), min_size=1, unique=True))):
        network, encapsulated = net(cidr), draw(st.sampled_from(MODES))
        size = draw(st.integers(max(26, network.prefixlen), 32))
        modes = (encapsulated, MODES[2]) if draw(st.booleans()) else (MODES[2], encapsulated)
        pools.append(IPPool(f"pool-{number}", network, size, modes[0], draw(st.booleans()),
                            number > 0 and draw(st.booleans()), modes[1],
                            draw(st.sampled_from(["all()", "!has(gpu)"])),
                            draw(st.sampled_from([("Workload", "Tunnel"), ("Workload",)])),
                            is_automatic=number == 0 or draw(st.booleans())))
    link = Link(draw(st.sampled_from([None, 100.0, 0.5, 1234.567])),
                draw(st.sampled_from([None, 1.0, 0.001, 2.5])),
                draw(st.sampled_from([None, 100.0, 0.05, 0.0])))
    underlay = Underlay(
        (rack("rack-a", "192.168.57.0/24", draw(st.sampled_from([1500, 9000])), link),
         replace(rack("rack-b", "192.168.58.0/24"), node_prefix=draw(st.sampled_from([0, 32])))),
        (router("r1", ("rack-a", "192.168.57.1"), ("rack-b", "192.168.58.1"),
                **draw(st.sampled_from([{}, {"pod_routes": True}, {"as_number": 64601}]))),),
        hosts=draw(st.sampled_from([(), (ExternalHost("client", ip("192.168.57.99")), ExternalHost(
            "gate", ip("192.168.58.9"), ip("192.168.58.1")))])))
    return Topology(
        underlay, (NODE31, NODE32, NODE33), tuple(pools),
        tuple(Pod("default", f"p{number}", node, owner=draw(st.sampled_from(
            ["", "Deployment/web", "DaemonSet/probe"])))
            for number, node in enumerate(draw(st.lists(st.sampled_from(
                ["node31", "node32", "node33"]), max_size=8)))),
        ipam=IPAMConfiguration(draw(st.booleans()), draw(st.sampled_from([0, 3]))),
        veth_mtu=draw(st.sampled_from([0, 1400])),
        felix=FelixConfiguration(draw(st.sampled_from([0, 1300])), 0,
                                 draw(st.sampled_from([4096, 7]))),
        reservations=draw(st.sampled_from([(), (net("10.22.0.0/17"),)])))


@given(topologies(), st.sampled_from([None, *MODES]))
@settings(max_examples=150, deadline=None)
def test_any_cluster(wanted: Topology, mode: EncapsulationMode | None) -> None:
    cluster = Cluster(wanted, 2)
    cluster.set_mode(mode, at_boot=True)
    assert_survives(cluster)


# --- the documents themselves

def test_a_field_is_written_where_its_object_says_something_else() -> None:
    given = parse_topology("""
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node31},
 spec: {bgp: {ipv4Address: 192.168.57.31/24, asNumber: 64600}}}
---
{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pool},
 spec: {cidr: 10.22.0.0/16, disabled: true}}
---
{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: default},
 spec: {ipipMTU: 1400, vxlanVNI: 4096, defaultEndpointToHostAction: Drop}}
---
{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: peer},
 spec: {peerIP: "192.168.57.1:1790", asNumber: 64700, nextHopMode: Auto, ttlSecurity: 1}}
""")
    node, pool, peer = given.nodes[0], given.pools[0], given.bgp_peers[0]
    changed = replace(
        given, nodes=(replace(node, as_number=0, vxlan_mac="66:4e:3b:22:0a:91"),),
        pools=(replace(pool, disabled=False, is_exported=False, is_automatic=False),),
        felix=replace(given.felix, ipip_mtu=0, vxlan_enabled=False),
        bgp_peers=(replace(peer, is_reversed=False, options=replace(
            peer.options, ttl_security=0, restart_time=90)),))
    specs = {document["kind"]: document["spec"] for document in emit.documents(changed)}
    assert specs["Node"] == {"bgp": {"ipv4Address": "192.168.57.31/24"},
                             "vxlanTunnelMACAddr": "66:4e:3b:22:0a:91"}
    assert specs["IPPool"] == {
        "cidr": "10.22.0.0/16", "blockSize": 26, "ipipMode": "Never", "vxlanMode": "Never",
        "natOutgoing": False, "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Manual", "disableBGPExport": True}
    assert specs["FelixConfiguration"] == {
        "vxlanVNI": 4096, "defaultEndpointToHostAction": "Drop", "vxlanEnabled": False}
    assert specs["BGPPeer"] == {
        "peerIP": "192.168.57.1:1790", "asNumber": 64700, "nextHopMode": "Auto",
        "reversePeering": "Manual", "maxRestartTime": "90s"}


def test_documents_are_the_files_resources_as_plain_data() -> None:
    text = listed(POOL, workload("Deployment", "web", replicas=2), crd("BGPPeer", "p", asNumber=1),
                  *NODES)
    documents = parse_topology(text, environ={}).documents
    assert [document["kind"] for document in documents] == [
        "IPPool", "Deployment", "BGPPeer", "Node", "Node"]
    deployment = documents[1]
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["metadata"]["labels"] == {"app": "web"}
    assert "managedFields" not in deployment["metadata"], "parsed, and not kept"
    assert documents[0]["spec"]["natOutgoing"] is True


@pytest.mark.parametrize(("written_as", "value"), [
    ("7", 7), ("'7'", "7"), ("007", "007"), ("1.5", 1.5), ("1.50", "1.50"), ("1e3", "1e3"),
    ("true", True), ("'true'", "true"), ("no", "no"), ("~", None), ("''", ""), ("-0", "-0"),
    ("2025-03-01", "2025-03-01"), ("1:30", "1:30"), (".nan", ".nan"), ("9" * 40, "9" * 40)])
def test_a_value_keeps_its_meaning_and_its_spelling(written_as: str, value: object) -> None:
    text = listed(*NODES, POOL) + (
        f"---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: n, labels: {{a: {written_as}}}"
        "}}\n")
    topology = parse_topology(text, environ={})
    for documents in (topology.documents,
                      parse_topology(written(Cluster(topology, 2)), environ={}).documents):
        labels = [document["metadata"]["labels"] for document in documents
                  if document["kind"] == "Namespace"]
        assert labels == [{"a": value}]
