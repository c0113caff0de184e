"""``whatif`` on the shipped cluster, whose pods are web-0 to web-2 and client-a to client-c.

    node31 .31    node32 .32               node33 .33
       |             |                        |
  -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from itertools import product

import pytest
from support.patience import eventually

from calico_mn.kernel import registry
from calico_mn.measure.paths import Endpoint
from calico_mn.whatif.comparison import Comparison, State, findings
from calico_mn.whatif.observation import MOST_PODS, chosen

from .conftest import PROGRAM, ROOT, calico_mn, environment

NEAR, FAR, HERE = 8, 16, 6
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}
"""


@pytest.mark.root
@pytest.mark.parametrize(("words", "status", "pairs", "mtu", "sentence"), [
    pytest.param(["--mode", "Never"], 1, {
        ("IPIP", "direct"): NEAR, ("IPIP", "no answer"): FAR, ("direct", "direct"): HERE},
        "no answer", "16 of 30 pairs lose each other (rack-a <-> rack-b), because r1 has no route",
        id="never"),
    pytest.param(["--mode", "crosssubnet"], 0, {
        ("IPIP", "direct"): NEAR, ("IPIP", "IPIP"): FAR, ("direct", "direct"): HERE},
        "1480", "Nothing breaks: none of 30 pairs loses its connection.", id="cross-subnet"),
    pytest.param(["--encapsulation", "vxlan"], 0, {
        ("IPIP", "VXLAN"): NEAR + FAR, ("direct", "direct"): HERE},
        "1450", "The path MTU is 1450 bytes instead of 1480 (within rack-a, rack-a <-> rack-b).",
        id="vxlan"),
    pytest.param(["-f", "-", "--flow", "tcp/80", "--flow", "tcp/81"], 1, {
        ("IPIP", "no answer"): NEAR + FAR, ("direct", "no answer"): HERE},
        "no answer", "30 of 30 pairs may no longer talk tcp/81 (within rack-a, rack-a <-> rack-b,"
        " on one node), because on ingress no rule of deny allows it.", id="policy")])
def test_a_change_is_told_by_pairs_mtus_and_sentences(words, status, pairs, mtu, sentence):
    done = calico_mn("whatif", "topologies/two-subnets.yaml", *words, "--json", stdin=POLICY)
    assert (done.returncode, done.stderr) == (status, ""), done
    answer = json.loads(done.stdout)
    assert Counter((pair["before"], pair["after"]) for pair in answer["pairs"]) == pairs
    assert {item["where"]: item["after"] for item in answer["pathMTUs"]}[
        "rack-a <-> rack-b"] == mtu
    assert any(told.startswith(sentence) for told in answer["findings"]), answer["findings"]
    assert {flow: len(lost) for flow, lost in answer["flows"].items()} == (
        {"icmp": 30, "tcp/80": 0, "tcp/81": 30} if "-f" in words else {"icmp": 0})
    tunnels = {route["place"] for route in answer["routes"] if "tunl0" in route["before"]}
    assert tunnels == {"never": {"node31", "node32", "node33"}, "vxlan": {
        "node31", "node32", "node33"}, "crosssubnet": {"node31", "node32"}}.get(
            words[1].lower(), set())


def test_nothing_to_change_is_refused():
    done = calico_mn("whatif", "topologies/two-subnets.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "say what changes" in done.stderr


@pytest.mark.root
def test_a_signal_leaves_nothing_running():
    process = subprocess.Popen(
        [*PROGRAM, "whatif", "topologies/two-subnets.yaml", "--mode", "Never"], cwd=ROOT,
        env=environment(), stdout=subprocess.DEVNULL)
    try:
        assert eventually(lambda: any(run.pid == process.pid for run in registry.runs()))
        process.terminate()
        assert process.wait(60) == 130
        assert all(run.pid != process.pid for run in registry.runs())
    finally:
        process.kill()


def test_of_many_pods_one_pair_is_tried_for_each_pair_of_nodes():
    nodes = MOST_PODS // 2
    pods = [Endpoint(f"default/{node}-{number}", "", str(node), "") for node, number in product(
        range(nodes), range(3))]
    pairs = chosen(pods)
    assert {(pair.source.node, pair.destination.node) for pair in pairs} == set(
        product(map(str, range(nodes)), repeat=2))
    assert len(pairs) == nodes * nodes
    assert {pair.source for pair in pairs} == {pair.destination for pair in pairs} == set(pods)


def test_large_packets_that_vanish_break_a_cluster():
    before, after = (State({}, {}, {"on one node": mtu}, {}, {}) for mtu in ("1480", "lost"))
    compared = Comparison(before, after, {}, is_sample=False)
    assert compared.breaks
    assert list(findings(compared)) == [
        "Packets of the pods' MTU vanish without an ICMP error (on one node)."]
