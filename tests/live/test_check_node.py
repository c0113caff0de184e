"""``check-node --context``: what runs in a calico-node pod, and what cannot be had there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api_server import CUT, ODD, TOKEN, Ran
from support.dumps import NODES, POOL, crd, pod

from calico_mn.cli.main import main
from calico_mn.kubernetes.client import path

BLOCK = crd("BlockAffinity", "b", cidr="10.80.0.0/26", state="confirmed", node="k1")
CALICO_NODE = {"labels": {"k8s-app": "calico-node"}}
ROUTES = '[{"dst":"10.80.0.0/26","type":"blackhole","protocol":"bird","flags":[]}]'
FELIX = "*filter\n:cali-INPUT - [0:0]\nCOMMIT\n"
#: what is in the image of most of these tests
PROGRAMS = {
    "ip -j route": Ran(ROUTES), "ip -j addr": Ran("[]"), "iptables-save": Ran("*filter\nCOMMIT\n"),
    "iptables-nft-save": Ran(FELIX), "ipset save": Ran("create cali40s hash:net\n"),
    "grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/neigh": Ran(
        "/proc/sys/net/ipv4/conf/default/rp_filter:1\n/proc/sys/net/ipv4/conf/a.b/rp_filter:2\n"),
}


def calico_node(node: str, namespace: str = "calico-system", **more: Any) -> dict[str, Any]:
    return pod(f"calico-node-{node}", node, metadata={"namespace": namespace, **CALICO_NODE},
               **more)


def having(programs: dict[str, Ran], asked: list[str] | None = None
           ) -> Callable[[str, str, list[str]], Ran]:
    def program(_pod: str, container: str, command: list[str]) -> Ran:
        assert container == "calico-node"
        if asked is not None:
            asked.append(" ".join(command))
        return programs.get(" ".join(command)) or Ran(
            failure=f'exec: "{command[0]}": executable file not found in $PATH')

    return program


def checked(capsys: Any, *words: str) -> tuple[int, list[str], list[str]]:
    """Exit status, and the lines of standard output and standard error."""
    status = main(["check-node", "k1", "--context", "test", *words])
    done = capsys.readouterr()
    return status, done.out.splitlines(), [
        line for line in done.err.splitlines() if not line.startswith("The cluster has no")]


def test_the_model_and_the_nodes_state_are_of_the_cluster(start: Any, capsys: Any) -> None:
    asked: list[str] = []
    server = start(*NODES, POOL, BLOCK, calico_node("k1"), calico_node("k2"), program=having(
        {"ip -j route": Ran(ROUTES)}, asked))
    status, out, err = checked(capsys)
    assert status == 1
    assert out[1:3] == [
        "not given, so not compared: ip -j addr, iptables-save, ipset save, sysctl -a", "k1:"]
    assert "  - default via 10.9.1.1 dev eth0" in out and "10.80.0.0/26" not in str(out)
    assert [line.split(":")[0] for line in err] == [
        "ip -j addr", "iptables-save", "ipset save", "sysctl -a"]
    assert err[0] == (f"ip -j addr: 'ip -j addr' in pod calico-system/calico-node-k1 of test "
                      f"({server.url}) could not be run: exec: \"ip\": executable file not found "
                      "in $PATH")
    assert asked == ["ip -j route", "ip -j addr", "iptables-save", "iptables-nft-save",
                     "iptables-legacy-save", "ipset save", "sysctl -a",
                     "grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/neigh"]
    assert {item.verb for item in server.requests} == {"get", "list", "create"}
    assert not [item for item in server.requests if item.verb == "create"
                and item.resource != "pods/exec"]


def test_who_has_to_log_in_does_so_once(start: Any, capsys: Any, tmp_path: Path) -> None:
    server = start(*NODES, POOL, BLOCK, calico_node("k1"), program=having(PROGRAMS))
    api = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": api, "kind": "ExecCredential", "status": {"token": TOKEN}}
    program, log = tmp_path / "log-in", tmp_path / "log"
    program.write_text(f"#!/bin/sh\necho once >>{log}\necho '{json.dumps(answer)}'\n")
    program.chmod(0o700)
    server.kubeconfig(tmp_path, exec={"apiVersion": api, "command": str(program),
                                      "interactiveMode": "Never"})
    assert checked(capsys)[2] == []
    assert log.read_text() == "once\n"


@pytest.mark.parametrize("order", [["FILE", "--context", "test"], ["--context", "test", "FILE"]],
                         ids=["first", "last"])
def test_outputs_are_compared_with_the_cluster(start: Any, capsys: Any, tmp_path: Path,
                                               order: list[str]) -> None:
    server = start(*NODES, POOL, BLOCK)
    (tmp_path / "route").write_text(ROUTES)
    status = main(["check-node", "k1", *(
        str(tmp_path / "route") if word == "FILE" else word for word in order)])
    out = capsys.readouterr().out.splitlines()
    assert status == 1 and "  - default via 10.9.1.1 dev eth0" in out
    assert {item.verb for item in server.requests} == {"get", "list"}


def read(start: Any, programs: dict[str, Ran], **options: Any) -> tuple[dict[str, str], list[str]]:
    from calico_mn.kubernetes.client import connect
    from calico_mn.kubernetes.resources import outputs

    start(calico_node("k1", **options), program=having(programs))
    remarks: list[str] = []
    return dict(outputs(connect(), "k1", remarks)), remarks


def test_other_programs_of_the_image_are_tried(start: Any) -> None:
    texts, remarks = read(start, PROGRAMS)
    assert remarks == []
    assert texts["iptables-save"] == FELIX, "the back end that Felix uses"
    assert texts["sysctl -a"] == ("net/ipv4/conf/default/rp_filter = 1\n"
                                  "net/ipv4/conf/a.b/rp_filter = 2\n")


def test_without_rules_of_felix_the_first_program_counts(start: Any) -> None:
    texts, _ = read(start, PROGRAMS | {"iptables-nft-save": Ran("*nat\nCOMMIT\n")})
    assert texts["iptables-save"] == "*filter\nCOMMIT\n"


def test_what_a_program_says_is_told(start: Any) -> None:
    texts, remarks = read(start, PROGRAMS | {"ipset save": Ran("", "Kernel error\x1b[2J\n", 1)})
    assert "ipset save" not in texts
    assert remarks == ["ipset save: Kernel error\\x1b[2J"]


def test_a_calico_node_of_the_manifests(start: Any) -> None:
    from calico_mn.kubernetes.client import connect
    from calico_mn.kubernetes.resources import outputs

    start(calico_node("k1", "kube-system"), program=having(PROGRAMS))
    assert len(outputs(connect(), "k1", [])) == 5


@pytest.mark.parametrize(("change", "status", "wanted"), [
    ({"forbidden": {("create", "pods/exec")}}, 1,
     "gives no right to create pods/exec in namespace calico-system: "),
    ({"forbidden": {("list", "pods")}}, 1, "gives no right to list pods"),
    ({"faults": {path("v1", "pods", "calico-system"): [ODD]}}, 1,
     "answered something unreadable to list pods"),
    ({"program": having({})}, 1,
     "nothing could be read in pod calico-system/calico-node-k1 on k1 "),
    ({"program": having(PROGRAMS), "faults": {
        path("v1", "pods", "calico-system", "calico-node-k1", "exec"): [CUT] * 20}}, 1,
     "the connection to test "),
])
def test_a_node_that_cannot_be_read(start: Any, capsys: Any, tmp_path: Any, change: dict[str, Any],
                                    status: int, wanted: str) -> None:
    start(*NODES, POOL, calico_node("k1"), **change)
    done = checked(capsys)
    assert (done[0], done[1], len(done[2])) == (status, [], 1), done
    assert wanted in done[2][0]


@pytest.mark.parametrize("pods", [[], [calico_node("k2")], [calico_node("k1", phase="Pending")]],
                         ids=["none", "elsewhere", "not running"])
def test_no_calico_node_on_the_node(start: Any, capsys: Any, pods: list[Any]) -> None:
    server = start(*NODES, POOL, *pods)
    assert checked(capsys)[::2] == (3, [
        f"calico-mn: test ({server.url}) has no running pod with k8s-app=calico-node on node k1 in "
        "namespace calico-system or kube-system"])


def test_without_a_cluster_both_outputs_and_topology_are_named(capsys: Any, tmp_path: Any) -> None:
    for words in ([], ["dir"], ["-f", "file"]):
        assert main(["check-node", "k1", *words]) == 2
        assert "a live cluster by --context NAME" in capsys.readouterr().err
