"""``import --context``: the same topology as from a dump of the cluster, and what is missing."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.api_server import CUT, DOWN, EXPIRED, GROUPS, MISSING, ODD, ApiServer, plural
from support.dumps import (
    NODES,
    POOL,
    crd,
    housekeeping,
    kubernetes_node,
    owned,
    pod,
    workload,
)

from calico_mn.cli.main import main
from calico_mn.kubernetes import client, resources

CORE = "/api/v1/"
CRD, V3 = "/apis/crd.projectcalico.org/v1/", "/apis/projectcalico.org/v3/"


def core(kind: str, name: str, namespace: str = "", api: str = "v1", **more: Any
         ) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": housekeeping(
        name, **({"namespace": namespace} if namespace else {})), **more}


def endpoint_slice(service: str, namespace: str, address: str, port: int) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": housekeeping(f"{service}-x", namespace=namespace, labels=labels),
            "endpoints": [{"addresses": [address]}], "ports": [{"port": port, "protocol": "TCP"}]}


ENV = [{"name": "FELIX_IPINIPMTU", "value": "1400"}, {"name": "PASSWORD", "value": "hunter2"}]
CLUSTER = [
    *NODES, kubernetes_node("k3", "10.9.2.13/24"), POOL,
    core("Namespace", "shop"), core("ServiceAccount", "default", "shop"),
    workload("Deployment", "web", replicas=2),
    workload("ReplicaSet", "web-1", owner=("Deployment", "web"), replicas=2),
    *(pod(f"web-{number}", f"k{number % 3 + 1}", f"10.80.{number % 3}.{number}",
          metadata=owned("ReplicaSet", "web-1")) for number in range(9)),
    core("Service", "web", "shop", spec={"clusterIP": "10.96.0.10", "selector": {"app": "web"},
                                         "ports": [{"port": 80, "protocol": "TCP"}]}),
    core("Service", "kubernetes", "default", spec={"clusterIP": "10.96.0.1", "ports": [
        {"port": 443, "protocol": "TCP", "targetPort": 6443}]}),
    endpoint_slice("kubernetes", "default", "10.9.1.11", 6443),
    endpoint_slice("web", "shop", "10.80.0.0", 80),
    core("NetworkPolicy", "web", "shop", "networking.k8s.io/v1", spec={
        "podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {
            "app": "web"}}}]}], "policyTypes": ["Ingress"]}),
    workload("DaemonSet", "calico-node", pod_spec={"containers": [
        {"name": "calico-node", "env": ENV}]}),
    core("ConfigMap", "calico-config", "kube-system", data={"veth_mtu": "1380"}),
    core("ConfigMap", "other", "kube-system", data={"pin": "hunter2"}),
    core("Secret", "s", "shop", data={"password": "aHVudGVyMg=="}),
    core("Installation", "default", api="operator.tigera.io/v1", spec={
        "calicoNetwork": {"mtu": 1390}}),
    crd("FelixConfiguration", "default", ipipEnabled=True),
    crd("IPAMConfig", "default", strictAffinity=True, autoAllocateBlocks=True),
    crd("HostEndpoint", "h", node="k1", interfaceName="eth0"),
    crd("GlobalNetworkPolicy", "db", selector="app == 'web'", ingress=[{"action": "Allow"}],
        egress=[{"action": "Allow", "destination": {"services": {
            "name": "kubernetes", "namespace": "default"}}}]),
    *(crd("BlockAffinity", f"b{number}", cidr=f"10.80.{number}.0/26", state="confirmed",
          node=f"k{number + 1}") for number in range(3)),
]


def in_v3(document: dict[str, Any]) -> dict[str, Any]:
    """As Calico's API server answers."""
    if not document["apiVersion"].startswith("crd."):
        return document
    kind = document["kind"].replace("IPAMConfig", "IPAMConfiguration")
    return document | {"apiVersion": "projectcalico.org/v3", "kind": kind}


def imported(capsys: Any, *words: str) -> tuple[int, str, list[str]]:
    """Exit status, standard output and the lines of standard error."""
    status = main(["import", *words])
    done = capsys.readouterr()
    return status, done.out, done.err.splitlines()


def dumped(directory: Path, documents: list[dict[str, Any]]) -> Path:
    """What the commands of ``--how`` would leave: neither Secrets nor all ConfigMaps."""
    files = {plural: (kinds.file, kinds.api) for kinds in resources.KINDS
             for plural in kinds.plurals} | {"configmaps": ("config", "v1")}
    lists: dict[str, list[dict[str, Any]]] = {}
    for item in documents:
        if item["kind"] == "Secret" or item["metadata"]["name"] == "other":
            continue
        name = plural(item["kind"])
        file, api = files.get(name, (name, ""))
        lists.setdefault(file if item["apiVersion"] == api else name, []).append(item)
    order = [name for kinds in resources.KINDS for name in kinds.plurals]
    for name, items in lists.items():
        items.sort(key=lambda item: (
            order.index(plural(item["kind"])) if plural(item["kind"]) in order else 0,
            item["metadata"].get("namespace", ""), item["metadata"]["name"]))
        (directory / f"{name}.json").write_text(json.dumps(
            {"apiVersion": "v1", "items": items, "kind": "List"}, sort_keys=True))
    return directory


@pytest.mark.parametrize("form", [lambda item: item, in_v3], ids=["crd", "v3"])
@pytest.mark.parametrize("page", [2, 500])
@pytest.mark.parametrize("words", [[], ["--sample", "2"]], ids=["all", "sample"])
def test_a_live_cluster_is_imported_as_its_dump(
        start: Any, capsys: Any, monkeypatch: Any, tmp_path: Path, page: int, words: list[str],
        form: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    monkeypatch.setattr(client, "PAGE", page)
    documents = list(map(form, CLUSTER))
    server = start(*documents, groups=tuple(
        {*GROUPS} - ({"crd.projectcalico.org/v1"} if form is in_v3 else set())))
    status, live, warnings = imported(capsys, "--context", "test", *words)
    assert status == 0
    (tmp_path / "dump").mkdir()
    from_dump = imported(capsys, str(dumped(tmp_path / "dump", documents)), *words)
    assert live == from_dump[1] and "kind: IPPool" in live
    assert [line for line in warnings if not line.startswith("The cluster has no")] == from_dump[2]
    reads_only(server)


def test_of_endpoint_slices_those_count_whose_service_has_no_selector(
        start: Any, capsys: Any) -> None:
    start(*CLUSTER)
    _, out, _ = imported(capsys, "--context", "test")
    assert [item["metadata"]["name"] for item in yaml.safe_load_all(out)
            if item and item["kind"] == "EndpointSlice"] == ["kubernetes-x"]


def reads_only(server: ApiServer) -> None:
    """Nothing but what a dump has was asked for, and nothing was changed."""
    assert server.requests
    assert {item.method for item in server.requests} == {"GET"}
    assert not [item for item in server.requests if "secret" in item.path.lower()]
    assert {item.name for item in server.requests if item.resource == "configmaps"} == {
        "calico-config", "kubeadm-config"}


def test_no_value_of_a_cluster_goes_further_than_it_has_to(start: Any, capsys: Any) -> None:
    start(*CLUSTER)
    status, out, err = imported(capsys, "--context")
    assert status == 0
    assert not re.search("hunter2|aHVudGVyMg|PASSWORD", out + "".join(err))
    assert "1400" in out, "what calico-node was given"


def test_the_rights_that_are_printed_are_those_that_are_used(start: Any, capsys: Any) -> None:
    server = start(*CLUSTER, missing={*resources.CALICO[1:]})
    imported(capsys, "--context", "test")
    rules = yaml.safe_load(resources.role())["rules"]
    allowed = {(verb, ".".join(filter(None, (resource, group))), name)
               for rule in rules for verb in rule["verbs"] for group in rule["apiGroups"]
               for resource in rule["resources"] for name in rule.get("resourceNames", [""])}
    asked = {(item.verb, item.resource, item.name) for item in server.requests}
    assert asked <= allowed
    assert {verb for verb, _, _ in allowed} == {"list", "get"}
    assert not [name for _, name, _ in allowed if "secret" in name or "*" in name]


def test_the_rights_are_on_the_page() -> None:
    page = Path(__file__).parents[2] / "docs" / "import.md"
    assert f"```yaml\n{resources.role()}```\n" in page.read_text()


def test_the_commands_that_are_printed_ask_for_the_same(start: Any, capsys: Any) -> None:
    # The words of each kubectl command, with the loop unrolled.
    server = start(*CLUSTER, missing={*resources.CALICO[1:]})  # so that both forms are tried
    imported(capsys, "--context", "test")
    text = resources.commands().replace("\\\n", " ")
    kinds = shlex.split(re.search(r"for kind in (.*); do", text)[1])  # type: ignore[index]
    wanted = set()
    for command in re.findall(r"kubectl get (\S+)", text):
        for kind in kinds if "$kind" in command else [""]:
            wanted |= set(command.replace("$kind", kind).split(","))
    assert {item.resource for item in server.requests} == wanted - {
        "ippools.projectcalico.org"}
    commands = [line for line in text.splitlines() if "kubectl" in line]
    assert all(line.split("kubectl ")[1].startswith("get ") for line in commands)
    files = re.findall(r"> +(dump/\S+\.json)", text)
    assert len(files) == len(set(files)) == 8
    assert not {f"dump/{kind}.json" for kind in kinds} & set(files), "none is written twice"
    assert "secret" not in text.lower()


def test_kinds_that_the_cluster_lacks_are_said(start: Any, capsys: Any) -> None:
    start(*CLUSTER, missing={"bgpfilters", "tiers", "installations"})
    status, _, err = imported(capsys, "--context", "test")
    assert status == 0
    assert "The cluster has no bgpfilters, installations.operator.tigera.io and tiers." in err


def test_without_an_optional_right_the_rest_is_imported(start: Any, capsys: Any) -> None:
    forbidden = {("list", name) for name in (
        "serviceaccounts", "hostendpoints.crd.projectcalico.org")} | {("get", "configmaps")}
    server = start(*CLUSTER, forbidden=forbidden, missing=set(),
                   groups=tuple({*GROUPS} - {"projectcalico.org/v3"}))
    status, out, err = imported(capsys, "--context", "test")
    assert status == 0 and "kind: IPPool" in out and "kind: HostEndpoint" not in out
    said = [line for line in err if line.startswith("Without ")]
    assert [line.split(":")[0] for line in said] == [
        "Without the ConfigMap calico-config", "Without the ConfigMap kubeadm-config",
        "Without serviceaccounts", "Without hostendpoints"]
    assert said[2] == (
        f"Without serviceaccounts: test ({server.url}) gives no right to list serviceaccounts: "
        'serviceaccounts is forbidden: User "jane" cannot list resource "serviceaccounts" in API '
        'group "" at the cluster scope.')


@pytest.mark.parametrize("name", ["nodes", "pods", "ippools.crd.projectcalico.org"])
def test_without_a_right_that_is_needed_nothing_is_imported(start: Any, capsys: Any, name: str
                                                            ) -> None:
    start(*CLUSTER, forbidden={("list", name), ("list", name.replace("crd.", ""))})
    status, out, err = imported(capsys, "--context", "test")
    assert (status, out, len(err)) == (1, "", 1)
    assert f"gives no right to list {name}: " in err[0]
    assert err[0].endswith("; 'calico-mn import --how' prints the rights that are needed")


def test_calicos_other_form_is_taken_where_one_is_forbidden(start: Any, capsys: Any) -> None:
    start(*map(in_v3, CLUSTER), forbidden={("list", "ippools.crd.projectcalico.org")})
    status, out, _ = imported(capsys, "--context", "test")
    assert status == 0 and "10.80.0.0/16" in out


def test_calicos_api_server_may_be_down(start: Any, capsys: Any) -> None:
    server = start(*CLUSTER, faults={f"{CRD}tiers": [MISSING], f"{V3}tiers": [DOWN]})
    status, _, err = imported(capsys, "--context", "test")
    assert status == 0
    assert (f"Without tiers: test ({server.url}) answered 503 to list tiers.projectcalico.org: the "
            "server is currently unable to handle the request.") in err


@pytest.mark.parametrize("name", ["pods", "nodes"])
def test_an_answer_of_another_form_is_no_traceback(start: Any, capsys: Any, name: str) -> None:
    start(*CLUSTER, faults={f"{CORE}{name}": [ODD]})
    status, out, err = imported(capsys, "--context", "test")
    assert (status, out) == (2, "")
    assert "    add for example apiVersion: projectcalico.org/v3" in err


def test_a_connection_that_is_lost_leaves_no_file(start: Any, capsys: Any, tmp_path: Path) -> None:
    start(*CLUSTER, faults={f"{CORE}pods": [CUT]})
    status, out, err = imported(capsys, "--context", "test", "-o", str(tmp_path / "cluster.yaml"))
    assert (status, out, len(err)) == (1, "", 1) and "the connection to test" in err[0]
    assert not (tmp_path / "cluster.yaml").exists()


def test_a_token_that_expires_changes_nothing(start: Any, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(client, "PAGE", 2)
    server = start(*CLUSTER)
    before = imported(capsys, "--context", "test")
    server.faults[f"{CORE}pods"] = ["", "", EXPIRED]
    assert imported(capsys, "--context", "test") == before


@pytest.mark.parametrize(("words", "wanted"), [
    (["--context", "tset"], "calico-mn: there is no context 'tset'; did you mean 'test'?"),
    (["--context", "test", "dump"], "calico-mn import: name the dump's directory or files, or a "
     "live cluster by --context NAME; --how says how to collect a dump"),
], ids=["unknown", "both"])
def test_a_wrong_request(start: Any, capsys: Any, words: list[str], wanted: str) -> None:
    start()
    status, out, err = imported(capsys, *words)
    assert (status in (2, 3), out, err) == (True, "", [wanted])


def test_a_cluster_without_calico(start: Any, capsys: Any) -> None:
    server = start(*NODES, groups=("v1", "apps/v1"))
    assert imported(capsys, "--context", "test") == (1, "", [
        f"calico-mn: test ({server.url}) has no ippools: is it a cluster with Calico?"])
