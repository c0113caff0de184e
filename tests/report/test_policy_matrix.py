"""Who may talk to whom: what groups of pods say is what all pairs say; picture and page."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from policy.clusters import calico, explainer, kubernetes
from support.browser import Browser
from support.report import ROOT

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.policy.explain import Explainer
from calico_mn.calico.policy.matrix import PolicyMatrix, policy_matrix
from calico_mn.report.page import page
from calico_mn.report.policy_matrix import MOST_SIGNS, document, draw
from calico_mn.topology import load_topology
from report.test_page import assert_apart, chromium, complaints  # noqa: F401

SVG = "{http://www.w3.org/2000/svg}"
FLOWS = [("tcp/80", 6, 80), ("udp/81", 17, 81)]
DENY = kubernetes("deny", policyTypes=["Ingress"])
WEB = calico("web", "x", order=1, selector="pod == 'a'", ingress=[
    {"action": "Allow", "protocol": "TCP", "source": {"selector": "pod == 'b'"},
     "destination": {"ports": [80]}}])


def deployments(replicas: int) -> list[dict[str, Any]]:
    """Of web and db in two namespaces so many pods each, with names as a ReplicaSet makes them."""
    return [{"apiVersion": "v1", "kind": "Pod", "spec": {}, "metadata": {
        "name": f"{app}-7d9f8c6b5-{number:05}", "namespace": namespace,
        "labels": {"app": app, "pod-template-hash": "7d9f8c6b5"}}}
        for namespace in ("x", "y") for app in ("web", "db") for number in range(replicas)]


def random_policies(draw: random.Random) -> list[dict[str, Any]]:
    """Policies that look at labels, networks, named ports and accounts."""
    ends: list[dict[str, Any]] = [
        {}, {"selector": "pod == 'a'"}, {"notSelector": "app == 'db'"}, {"nets": ["10.22.0.0/17"]},
        {"nets": ["10.22.0.0/16"], "notNets": ["10.22.64.0/18"]},
        {"serviceAccounts": {"names": ["sa-a"]}}, {"namespaceSelector": "ns == 'y'"}]
    return [calico(f"p{number}", draw.choice(["", "x", "y"]), order=number,
                   selector=draw.choice(["all()", "pod != 'b'", "app == 'web'"]), **{
        direction: [{"action": draw.choice(["Allow", "Deny", "Pass"]), "protocol": "TCP",
                     "source": draw.choice(ends), "destination": {
                         **draw.choice(ends), **draw.choice([{}, {"ports": ["serve-80-tcp"]}])}}
                    for _ in range(2)]
        for direction in draw.sample(["ingress", "egress"], draw.randint(1, 2))})
        for number in range(3)]


@pytest.mark.parametrize("seed", range(12))
def test_a_group_stands_for_all_of_its_pairs(seed: int) -> None:
    asked = explainer(*deployments(3), *random_policies(random.Random(seed)))
    matrix = policy_matrix(asked, FLOWS, most_single=0)
    places = {key: asked.place(key) for key in asked.index.endpoints}
    for (_, protocol, port), flow in zip(FLOWS, matrix.flows, strict=True):
        expected = {(a, b): asked.explain(places[a], places[b], protocol, port).allowed
                    for a, b in permutations(places, 2)}
        assert matrix.allowed(flow) == expected
        assert (flow.pairs, flow.allowed_pairs) == (len(expected), sum(expected.values()))


@pytest.mark.parametrize(("resources", "most_single", "names"), [
    ([DENY], 16, ["x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c"]),
    ([DENY], 0, ["x/all pods (3)", "y/all pods (3)", "z/all pods (3)"]),
    ([DENY, WEB], 0, ["x/a", "x/b", "x/c", "y/all pods (3)", "z/all pods (3)"]),
    ([calico("x", selector="app == 'web'"), *deployments(4)], 16, [
        "x/a and 6 more", "x/web-7d9f8c6b5-* (4)", "y/a and 6 more", "y/web-7d9f8c6b5-* (4)",
        "z/all pods (3)"]),
], ids=["few pods", "by namespace", "by selector", "of workloads"])
def test_pods_that_policies_cannot_tell_apart_are_one_group(
        resources: list[dict[str, Any]], most_single: int, names: list[str]) -> None:
    assert [*map(str, policy_matrix(explainer(*resources), FLOWS, most_single).groups)] == names


def made(*resources: dict[str, Any]) -> tuple[Explainer, PolicyMatrix]:
    asked = explainer(*resources)
    return asked, policy_matrix(asked, FLOWS)


def test_the_picture_has_a_cell_with_the_reason_for_each_pair() -> None:
    asked, matrix = made(DENY, WEB)
    picture = draw(matrix)
    assert picture == draw(policy_matrix(asked, FLOWS))
    root = ET.fromstring(picture)
    tips = [title.text or "" for group in root.iter(f"{SVG}g")
            if group.find(f"{SVG}path") is not None for title in group.iter(f"{SVG}title")]
    assert tips[-2:] == ["allowed", "denied"]  # the legend
    assert len(tips) == 2 * 72 + 2
    assert ("x/b -> x/a, tcp/80: allowed, egress: profile kns.x allows it; ingress: NetworkPolicy"
            " web, ingress rule 1, allows it") in tips
    assert "x/c -> x/b, udp/81: denied, ingress: no rule of deny allows it" in tips
    classes = [shape.get("class") for shape in root.iter(f"{SVG}rect")]
    assert classes.count("allowed") == sum(flow.allowed_pairs for flow in matrix.flows) + 1
    texts = ["".join(item.itertext()) for item in root.iter(f"{SVG}text")]
    assert [text for text in texts if "pairs" in text] == [
        "tcp/80: 49 of 72 pairs of pods may talk", "udp/81: 48 of 72 pairs of pods may talk"]


def test_the_picture_of_the_docs_is_what_is_drawn() -> None:
    cluster = Cluster(load_topology(ROOT / "topologies" / "policies.yaml"), 2)
    matrix = policy_matrix(Explainer(cluster), [("tcp/80", 6, 80), ("tcp/5432", 6, 5432)])
    assert (ROOT / "docs" / "policies.svg").read_text(encoding="utf-8") == draw(matrix)


def test_many_groups_have_small_cells_and_a_page_shows_the_picture() -> None:
    pods = deployments(15)
    each = [calico(f"p{number}", order=number, selector=f"name == '{number}'", ingress=[
        {"action": "Allow"}]) for number, _ in enumerate(pods)]
    for number, pod in enumerate(pods):
        pod["metadata"]["labels"]["name"] = str(number)
    _, matrix = made(*pods, *each)
    assert len(matrix.groups) > MOST_SIGNS
    root = ET.fromstring(draw(matrix))
    assert len([shape for shape in root.iter(f"{SVG}path") if shape.get("class") == "allowed"]
               ) == 2 * len(matrix.groups)
    text = page(document(matrix, len(each)))
    assert 'alt="tcp/80: 4692 of 4692 pairs of pods may talk.' in text
    assert 'class="grid"' not in text


def test_the_page_says_which_rule_decides_how_often() -> None:
    _, matrix = made(DENY, WEB)
    report = document(matrix, 2)
    assert report.findings == (
        "tcp/80: 49 of 72 pairs of pods may talk. No pod reaches x/b, x/c.",
        "udp/81: 48 of 72 pairs of pods may talk. No pod reaches x/a, x/b, x/c.")
    table = report.tables[0]
    assert [row[:3] for row in table.rows] == [
        ("allowed", "no policy", 48), ("allowed", "NetworkPolicy x/web, ingress rule 1", 1),
        ("denied", "no ingress rule of NetworkPolicy x/deny", 16),
        ("denied", "no ingress rule of NetworkPolicy x/web or NetworkPolicy x/deny", 7)]
    assert table.rows[1][3:] == ("x/b", "x/a")
    text = page(report)
    assert len(re.findall('<td class="[^"]*(?:direct|none)[^"]*"', text)) == 2 * 72
    assert "1 a to 2 b: denied, ingress: no rule of deny allows it" in text
    # The first column says it in words, and a denied pair need not be bad.
    assert ">good<" not in text and ">bad<" not in text


@pytest.mark.parametrize(("width", "screen"), [
    (360, {"mobile": True}), (1280, {"dark": True})], ids=["phone", "laptop, dark"])
def test_a_browser_has_nothing_to_complain_about_on_the_page(
        chromium: Browser, tmp_path: Path, width: int, screen: dict[str, bool]) -> None:  # noqa: F811
    _, matrix = made(DENY, WEB, calico("x", selector="app == 'web'"), *deployments(8))
    assert complaints(chromium, page(document(matrix, 3)), tmp_path / "who.html", width,
                      **screen) == []


@pytest.mark.parametrize("more", [[], deployments(8), [
    {"apiVersion": "v1", "kind": "Pod", "spec": {}, "metadata": {
        "name": "web", "namespace": f"a-namespace-of-team-{number}"}} for number in range(4)]],
    ids=["one by one", "of workloads", "of small namespaces"])
def test_no_two_texts_of_the_picture_overlap(chromium: Browser, tmp_path: Path,  # noqa: F811
                                             more: list[dict[str, Any]]) -> None:
    path = tmp_path / "who.svg"
    path.write_text(draw(made(DENY, WEB, *more)[1]), encoding="utf-8")
    assert_apart(chromium, path)


def test_a_cluster_without_pods_has_an_empty_picture() -> None:
    empty = PolicyMatrix((), policy_matrix(explainer(), FLOWS).flows[:0])
    assert ET.fromstring(draw(empty)).tag == f"{SVG}svg"
