"""``calico-mn policy``: the verdict and the matrix as a user reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from calico_mn.cli.main import main
from policy.clusters import BASE, calico, kubernetes

DENY = kubernetes("deny", policyTypes=["Ingress"])
ALLOW = calico("web", "x", order=1, selector="pod == 'a'", ingress=[
    {"action": "Allow", "protocol": "TCP", "source": {"selector": "pod == 'b'"},
     "destination": {"ports": [80]}}])


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The cluster, and its policies in a file of their own, as options."""
    options = []
    for name, items in (("cluster", BASE), ("policies", [DENY, ALLOW])):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        options += ["-f", str(path)]
    return options


@pytest.mark.parametrize(("words", "status", "lines"), [
    (["x/b", "x/a"], 0, [
        "x/b (10.22.153.65) -> x/a (10.22.238.193) tcp/80: allowed",
        "  egress of x/b: profile kns.x allows it",
        "  ingress of x/a: NetworkPolicy web, ingress rule 1, allows it"]),
    (["x/c", "x/a", "udp/53"], 1, [
        "x/c (10.22.112.129) -> x/a (10.22.238.193) udp/53: denied",
        "  egress of x/c: profile kns.x allows it",
        "  ingress of x/a: no rule of web or deny allows it"]),
    (["8.8.8.8", "x/a", "80"], 1, [
        "8.8.8.8 -> x/a (10.22.238.193) protocol 80: denied",
        "  ingress of x/a: no rule of web or deny allows it"]),
    (["k31", "k32", "icmp"], 0, [
        "k31 (192.168.57.31) -> k32 (192.168.57.32) icmp: allowed",
        "  no policy is asked: neither end is a pod or has a host endpoint"]),
])
def test_explain(files: list[str], capsys: pytest.CaptureFixture[str], words: list[str],
                 status: int, lines: list[str]) -> None:
    assert main(["policy", "explain", *files, *words]) == status
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize("words", [["--json", "explain"], ["explain", "--json"],
                                   ["explain", "-o", "json"]], ids=" ".join)
def test_explain_as_json(files: list[str], capsys: pytest.CaptureFixture[str],
                         words: list[str]) -> None:
    assert main(["policy", *words, *files, "x/b", "x/a"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["allowed"] is True
    assert answer["decisions"][1] == {
        "endpoint": "x/a", "direction": "Ingress", "allowed": True, "profile": None,
        "policy": "x/default.web", "rule": 0, "asked": ["x/default.web", "x/knp.default.deny"],
        "stage": None}


def test_matrix(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "matrix", *files]) == 0
    first, head, *rows, last = capsys.readouterr().out.splitlines()
    assert first == "tcp/80: '+' allowed, '-' denied (rows send)"
    assert head.split() == ["POD", *map(str, range(1, 10))]
    assert [row.split()[:2] for row in rows[:2]] == [["1", "x/a"], ["2", "x/b"]]
    assert ["".join(row.split()[2:]) for row in rows] == [
        ".--++++++", "+.-++++++", "--.++++++",
        "---.+++++", "---+.++++", "---++.+++",
        "---+++.++", "---++++.+", "---+++++."]
    assert last == "49 of 72 pairs"


def test_a_matrix_of_several_flows(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "matrix", *files, "tcp/80", "udp/53"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "pairs" in line] == ["49 of 72 pairs", "48 of 72 pairs"]
    assert "" in lines and "udp/53: '+' allowed, '-' denied (rows send)" in lines
    assert main(["policy", "--json", "matrix", *files, "tcp/80", "udp/53"]) == 0
    pairs = json.loads(capsys.readouterr().out)
    assert len(pairs) == 144
    assert {"source": "x/b", "destination": "x/a", "flow": "tcp/80", "allowed": True} in pairs


@pytest.mark.parametrize(("name", "begin"), [("who.svg", "<svg "), ("who.html", "<!DOCTYPE html>")])
def test_the_matrix_in_a_file(files: list[str], tmp_path: Path, name: str, begin: str,
                              capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    assert main(["policy", "matrix", *files, "-o", str(path), "tcp/80", "icmp"]) == 0
    assert capsys.readouterr().out == f"wrote {path}\n"
    text = path.read_text(encoding="utf-8")
    assert text.startswith(begin)
    assert "icmp: 48 of 72 pairs of pods may talk" in text


@pytest.mark.parametrize(("words", "status", "message"), [
    (["matrix", "-o", "who.png"], 2, "'who.png' is neither FILE.svg, a picture, nor FILE.html"),
    (["explain", "x/b", "x/nobody"], 3, "there is no pod, node or host 'x/nobody'"),
    (["explain", "a", "x/b"], 3, "there are several pods a"),
    (["explain", "x/b", "x/a", "tcp"], 2, "'tcp' is no flow: write tcp/80"),
    (["explain", "x/b", "x/a", "icmp/8"], 2, "'icmp/8' is no flow"),
    (["matrix", "tcp/65536"], 2, "'tcp/65536' is no flow"),
])
def test_a_mistake(files: list[str], capsys: pytest.CaptureFixture[str], words: list[str],
                   status: int, message: str) -> None:
    assert main(["policy", words[0], *files, *words[1:]]) == status
    assert message in capsys.readouterr().err


def test_plan_has_the_rules_of_a_node(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--node", "k31", *files[1::2]]) == 0
    place, *commands = capsys.readouterr().out.splitlines()
    assert re.match("# node k31, tunl0 by (kernel|ebpf), rules by iptables-", place)
    assert "iptables -t filter -N cali-FORWARD" in commands
    assert "ipset add cali40all-hosts-net 192.168.57.32" in commands
    assert any(line.startswith("iptables -t filter -I FORWARD ") for line in commands)
