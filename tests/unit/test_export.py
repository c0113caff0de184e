"""Topologies as files for other tools: the manifests are valid, and say the same again."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from calico_mn import load_topology
from calico_mn.cli.main import main
from calico_mn.emulation.plan import booted
from calico_mn.export import as_yaml
from calico_mn.export.containerlab import containerlab
from calico_mn.export.kubernetes import FILES, kind, kubernetes
from calico_mn.model import ClusterInformation
from calico_mn.topology import emit, parse_topology

TOPOLOGIES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))
each_topology = pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.stem)
UNDERLAY_AND_NODES = ("Underlay", "Node", "BlockAffinity")


def manifests(export):
    return [item for file, text in export.files.items() if file.endswith(".yaml")
            for item in yaml.safe_load_all(text)]


@each_topology
def test_kubernetes_manifests_pass_its_published_schemas(file):
    schemas = pytest.importorskip("kubernetes_validate", reason="./install.sh develop installs it")
    items = [item for item in manifests(kubernetes(load_topology(file)))
             if "calico" not in item["apiVersion"]]
    assert {item["kind"] for item in items} >= {"Pod"}
    for item in items:
        schemas.validate(item, "1.33", strict=True)


def fields(required="", **properties):
    """The schema of a mapping that has these fields and no others, as both tools read strictly."""
    return {"type": "object", "additionalProperties": False, "properties": properties,
            "required": required.split()}


TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}
LINES = {"type": "array", "minItems": 1, "items": TEXT}
#: of kind's v1alpha4 what the export uses: Cluster, Networking and Node in
#: pkg/apis/config/v1alpha4/types.go, and what pkg/internal/apis/config/validate.go asks of them
KIND = fields(
    "kind apiVersion nodes", kind={"const": "Cluster"},
    apiVersion={"const": "kind.x-k8s.io/v1alpha4"},
    name={"type": "string", "pattern": "^[a-z0-9.-]+$"},
    networking=fields(disableDefaultCNI={"type": "boolean"},
                      podSubnet={"type": "string", "pattern": r"^[0-9.]+/[0-9]+$"}),
    nodes={"type": "array", "items": fields(
        "role", role={"enum": ["control-plane", "worker"]},
        labels={"type": "object", "additionalProperties": {"type": "string"}})})
#: the same of containerlab: node-config and link-config in schemas/clab.schema.json; sysctls are
#: in types/node_definition.go, a link's mtu in LinkCommonParams of links/link.go
CONTAINERLAB = fields(
    "name topology", name=TEXT, topology=fields(
        "nodes",
        kinds=fields(linux=fields(image=TEXT, cmd=TEXT, **{"network-mode": {"const": "none"}})),
        nodes={"type": "object", "propertyNames": {"pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$"},
               "additionalProperties": fields(kind={"const": "linux"}, sysctls=TEXTS, exec=LINES)},
        links={"type": "array", "minItems": 1, "items": fields(
            "endpoints", mtu={"type": "integer", "minimum": 68},
            endpoints={"type": "array", "minItems": 2, "maxItems": 2, "uniqueItems": True,
                       "items": {"type": "string", "pattern": r"^\S+:\S+$"}})}))


@each_topology
def test_files_have_fields_that_kind_and_containerlab_know(file):
    jsonschema = pytest.importorskip("jsonschema", reason="./install.sh develop installs it")
    topology = load_topology(file)
    jsonschema.validate(yaml.safe_load(kind(topology).files["kind.yaml"]), KIND)
    lab = yaml.safe_load(containerlab(booted(topology, policies=False)).files["calico.clab.yml"])
    jsonschema.validate(lab, CONTAINERLAB)
    ends = [end for link in lab["topology"]["links"] for end in link["endpoints"]]
    assert len(set(ends)) == len(ends)
    assert {end.split(":")[0] for end in ends} == set(lab["topology"]["nodes"])
    # Docker takes sysctls of the container's own network, containerlab $ for a variable.
    for node in lab["topology"]["nodes"].values():
        assert all(name.startswith("net.") for name in node["sysctls"])
        assert "$" not in "".join(node["exec"])


def test_no_link_of_a_lab_is_to_the_machine_itself():
    text = (TOPOLOGIES[0].with_name("two-subnets.yaml")).read_text().replace("rack-a", "host")
    export = containerlab(booted(parse_topology(text), policies=False))
    lab = yaml.safe_load(export.files["calico.clab.yml"])["topology"]
    assert "host_" in lab["nodes"] and "host" not in lab["nodes"]
    assert not [end for link in lab["links"] for end in link["endpoints"]
                if end.startswith("host:")]
    assert export.notes[-1].startswith("the names host, which containerlab has for itself")


@each_topology
def test_the_manifests_are_the_topology_again(file):
    topology = load_topology(file)
    ground = [item for item in emit.documents(topology) if item["kind"] in UNDERLAY_AND_NODES]
    again = parse_topology(as_yaml([*ground, *manifests(kubernetes(topology))]))
    assert [replace(pod, owner="") for pod in topology.pods] == list(again.pods)
    for part in ("pools", "policies", "services", "network_sets", "host_endpoints", "bgp",
                 "bgp_peers", "bgp_filters", "felix", "mesh"):
        assert in_any_order(getattr(again, part)) == in_any_order(getattr(topology, part)), part


def in_any_order(part):
    return sorted(part, key=str) if isinstance(part, tuple) else part


DUMP = """
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {disk: "a b", kubernetes.io/arch: x}},
 status: {addresses: [{type: InternalIP, address: 172.16.0.1}]}}
---
{apiVersion: crd.projectcalico.org/v1, kind: IPPool, metadata: {name: p, uid: u, generation: 3},
 spec: {cidr: 10.22.0.0/16, ipipMode: Always}}
---
{apiVersion: v1, kind: Pod, metadata: {name: "0e5", labels: {app: "1.5"}, uid: u}, spec: {nodeName: n1},
 status: {phase: Running, podIP: 10.22.0.9}}
---
{apiVersion: v1, kind: Pod, metadata: {name: dns, namespace: kube-system}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: away}, spec: {nodeSelector: {no: such}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, status: {loadBalancer: {}},
 spec: {clusterIP: 10.96.0.7, selector: {app: x}, ports: [{port: 80, nodePort: 30080}]}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {password: aGk=}}
---
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: knp.default.x, namespace: a},
 spec: {selector: all()}}
"""  # noqa: E501


def test_a_dump_loses_what_a_cluster_writes_itself():
    export = kubernetes(parse_topology(DUMP))
    pool, service, pod = manifests(export)
    assert (pool["apiVersion"], pool["metadata"]) == ("projectcalico.org/v3", {"name": "p"})
    assert service == {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
        "selector": {"app": "x"}, "ports": [{"port": 80}]}}
    assert pod["metadata"] == {"name": "0e5", "namespace": "default", "labels": {"app": "1.5"}}
    assert "name: '0e5'" in export.files["06-pods.yaml"] and "status" not in pod
    assert "kubectl label node n1 'disk=a b'\n" in export.files["README.md"]
    assert "aGk=" not in "".join(export.files.values())
    assert export.notes == (
        "resources of kind Secret",
        "nodes and the underlay: addresses, subnets, MTUs and routers are the cluster's own",
        "addresses: Calico's IPAM chooses blocks and those that no pod asks for",
        "pods without a node, and those of kube-, calico- and tigera- namespaces")


ODD = """
{apiVersion: v1, kind: Service, metadata: {name: web, annotations: [1]}, spec: {node: [a], ports: []}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny, annotations: a}, spec: {podSelector: {}}}
---
{apiVersion: example.com/v1, kind: "a\\nb", metadata: [1]}
---
"""  # noqa: E501


def test_odd_documents_that_nothing_reads_do_no_harm():
    export = kubernetes(parse_topology(ODD + DUMP))
    assert [item["kind"] for item in manifests(export)] == [
        "IPPool", "NetworkPolicy", "Service", "Service", "Pod"]
    assert export.notes[0] == "resources of kind Secret and a\\nb"
    assert "\n- resources of kind Secret and a\\nb\n" in export.files["README.md"]


@pytest.mark.parametrize("words", [
    ["script", "--image", "x"], ["kind", "--no-policy"], ["containerlab", "--no-policy"]])
def test_an_option_without_effect_is_refused(words, tmp_path, capsys):
    assert main(["export", *words, str(TOPOLOGIES[0]), "-o", str(tmp_path / "x")]) == 2
    assert f"{words[1]} has no effect there" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_files_are_written_into_a_directory_that_is_made(tmp_path, capsys):
    place = tmp_path / "a" / "b"
    assert main(["export", "containerlab", str(TOPOLOGIES[0]), "-o", str(place)]) == 0
    assert [file.name for file in place.iterdir()] == ["calico.clab.yml"]
    said = capsys.readouterr().out
    assert said.startswith(f"wrote {place}: calico.clab.yml\n") and "in it: Felix's rules" in said


def test_each_file_is_for_one_tool():
    for file, kinds in FILES.items():
        assert {"projectcalico" in api for api, _ in kinds} == {"calico" in file}


def test_a_pool_has_no_default_that_an_old_calicoctl_does_not_know():
    manual = TOPOLOGIES[0].with_name("two-subnets.yaml").read_text().replace(
        "ipipMode: Always", "assignmentMode: Manual")
    modes = [item["spec"].get("assignmentMode") for text in (manual, manual.replace(
        "Manual", "Automatic")) for item in manifests(kubernetes(parse_topology(text)))
        if item["kind"] == "IPPool"]
    assert modes == ["Manual", None]


def test_an_image_is_that_of_all_pods():
    items = manifests(kubernetes(load_topology(TOPOLOGIES[0]), "example.org/tools:1"))
    assert {pod["spec"]["containers"][0]["image"] for pod in items if pod["kind"] == "Pod"} == {
        "example.org/tools:1"}


def test_a_kind_cluster_has_a_worker_for_each_node(tmp_path):
    export = kind(load_topology(TOPOLOGIES[0].with_name("host-endpoints.yaml")))
    config = yaml.safe_load(export.files["kind.yaml"])
    assert config["networking"] == {"disableDefaultCNI": True, "podSubnet": "10.22.0.0/16"}
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker", "worker"]
    items = manifests(export)
    hosts = {item["spec"]["nodeSelector"]["kubernetes.io/hostname"] for item in items
             if item["kind"] == "Pod"}
    assert hosts == {"calico-mn-worker", "calico-mn-worker2"}
    assert not {"HostEndpoint", "BGPPeer"} & {item["kind"] for item in items}
    assert "resources of kind HostEndpoint" in export.notes


FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
"""


def test_the_script_of_a_kind_cluster_makes_pools_before_calico_starts(tmp_path):
    for name in ("kind", "kubectl", "calicoctl"):
        (tmp_path / name).write_text(FAKE)
        (tmp_path / name).chmod(0o755)
    export = kind(load_topology(TOPOLOGIES[0].with_name("policies.yaml")))
    (tmp_path / "create.sh").write_text(export.files["create.sh"])
    log = tmp_path / "log"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}
    subprocess.run(["sh", tmp_path / "create.sh"], env=environment, check=True, timeout=60)
    manifest = "https://raw.githubusercontent.com/projectcalico/calico/v3.25.0/manifests"
    assert log.read_text().splitlines() == [
        "kind create cluster --config kind.yaml --kubeconfig kubeconfig",
        f"kubectl apply --server-side -f {manifest}/crds.yaml",
        "kubectl wait --for condition=Established crd --all --timeout 1m",
        "calicoctl apply -f 01-calico.yaml",
        f"kubectl apply --server-side -f {manifest}/calico.yaml",
        "kubectl set env --namespace kube-system daemonset/calico-node FELIX_IGNORELOOSERPF=true",
        "kubectl rollout status --namespace kube-system daemonset/calico-node --timeout 10m",
        "kubectl apply -f 02-namespaces.yaml", "kubectl apply -f 03-policies.yaml",
        "calicoctl apply -f 04-calico-policies.yaml", "kubectl apply -f 06-pods.yaml",
        "kubectl wait --for condition=Ready pod --all --all-namespaces --timeout 10m"]


@pytest.mark.parametrize(("version", "release"), [
    ("v3.29.1", "v3.29.1"), ("v3.31.0-0.dev", "v3.29.0"), ("v3.29.1}; id #", "v3.29.0"),
    ("$(id)", "v3.25.0")])
def test_a_release_is_a_word_before_the_shell_reads_it(version, release):
    topology = load_topology(TOPOLOGIES[0])
    topology = replace(topology, information=ClusterInformation(version))
    assert f"${{CALICO-{release}}}/manifests" in kind(topology).files["create.sh"]
    assert version == release or version not in kind(topology).files["create.sh"]
