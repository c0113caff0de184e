"""The cases of Kubernetes' end-to-end suite for NetworkPolicy, by name, as verdicts on all pairs.

Names from Kubernetes' ``test/e2e/network/netpol/network_policy.go``; each case says which pairs of
the nine pods may talk, as a function of the sender's and the receiver's namespace and pod.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from calico_mn.calico.evolution import evolved
from calico_mn.calico.policy.explain import Explainer
from calico_mn.calico.snapshot import snapshot
from calico_mn.topology import parse_topology
from policy.clusters import BASE, PLACES, explainer, kubernetes, matrix

Allowed = Callable[[str, str, str, str], bool]
ICMP, TCP, UDP, SCTP = 1, 6, 17, 132
POD_A = {"podSelector": {"matchLabels": {"pod": "a"}}}


def namespace(*names: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchExpressions": [
        {"key": "ns", "operator": "In", "values": list(names)}]}}


def pod(*names: str) -> dict[str, Any]:
    return {"podSelector": {"matchExpressions": [
        {"key": "pod", "operator": "In", "values": list(names)}]}}


def address(place: str) -> str:
    return str(explainer().place(place).address)


def ingress(*peers: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"from": list(peers)} if peers else {}
    rule.update({"ports": ports} if ports else {})
    return {"policyTypes": ["Ingress"], "ingress": [rule]}


def egress(*peers: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"to": list(peers)} if peers else {}
    rule.update({"ports": ports} if ports else {})
    return {"policyTypes": ["Egress"], "egress": [rule]}


def to_x(allowed: Callable[[str, str, str], bool]) -> Allowed:
    """Into namespace x only what ``allowed`` says; everything else may pass."""
    return lambda sn, sp, dn, dp: dn != "x" or allowed(sn, sp, dp)


def to_xa(allowed: Callable[[str, str], bool]) -> Allowed:
    return lambda sn, sp, dn, dp: (dn, dp) != ("x", "a") or allowed(sn, sp)


def from_xa(allowed: Callable[[str, str], bool]) -> Allowed:
    return lambda sn, sp, dn, dp: (sn, sp) != ("x", "a") or allowed(dn, dp)


CASES: dict[str, tuple[list[dict[str, Any]], tuple[int, int], Allowed]] = {
    "should support a 'default-deny-ingress' policy":
        ([kubernetes("deny", policyTypes=["Ingress"])], (TCP, 80), to_x(lambda *_: False)),
    "should support a 'default-deny-all' policy":
        ([kubernetes("deny", policyTypes=["Ingress", "Egress"])], (TCP, 80),
         lambda sn, sp, dn, dp: "x" not in (sn, dn)),
    "should enforce policy to allow traffic from pods within server namespace based on PodSelector":
        ([kubernetes("a", **POD_A, **ingress(pod("b")))], (TCP, 80),
         to_xa(lambda sn, sp: (sn, sp) == ("x", "b"))),
    "should enforce policy to allow ingress traffic for a target":
        ([kubernetes("deny", policyTypes=["Ingress"]),
          kubernetes("allow", **POD_A, **ingress({"namespaceSelector": {}, "podSelector": {}}))],
         (TCP, 80), to_x(lambda sn, sp, dp: dp == "a")),
    "should enforce policy to allow ingress traffic from pods in all namespaces":
        ([kubernetes("a", **POD_A, **ingress({"namespaceSelector": {}}))], (TCP, 80),
         lambda *_: True),
    "should enforce policy to allow traffic only from a different namespace, based on "
    "NamespaceSelector":
        ([kubernetes("a", **POD_A, **ingress(namespace("y")))], (TCP, 80),
         to_xa(lambda sn, sp: sn == "y")),
    "should enforce policy based on PodSelector with MatchExpressions":
        ([kubernetes("a", **POD_A, **ingress(pod("b", "c")))], (TCP, 80),
         to_xa(lambda sn, sp: sn == "x" and sp in "bc")),
    "should enforce policy based on NamespaceSelector with MatchExpressions":
        ([kubernetes("a", **POD_A, **ingress({"namespaceSelector": {"matchExpressions": [
            {"key": "ns", "operator": "NotIn", "values": ["x", "y"]}]}}))], (TCP, 80),
         to_xa(lambda sn, sp: sn == "z")),
    "should enforce policy to allow traffic based on NamespaceSelector with MatchLabels using "
    "default ns label":
        ([kubernetes("a", **POD_A, **ingress({"namespaceSelector": {"matchLabels": {
            "kubernetes.io/metadata.name": "y"}}}))],
         (TCP, 80), to_xa(lambda sn, sp: sn == "y")),
    "should enforce policy based on NamespaceSelector with MatchExpressions using default ns label":
        ([kubernetes("a", **POD_A, **egress({"namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["y"]}]}}))],
         (TCP, 80), from_xa(lambda dn, dp: dn != "y")),
    "should deny ingress from pods on other namespaces":
        ([kubernetes("own", **ingress({"podSelector": {}}))], (TCP, 80),
         to_x(lambda sn, sp, dp: sn == "x")),
    "should enforce policies to check ingress and egress policies can be controlled independently "
    "based on PodSelector":
        ([kubernetes("out", **POD_A, **egress()), kubernetes("in", **POD_A,
                                                             policyTypes=["Ingress"])],
         (TCP, 80), to_xa(lambda *_: False)),
    "should enforce policy based on PodSelector or NamespaceSelector":
        ([kubernetes("a", **POD_A, **ingress(namespace("y"), pod("b")))], (TCP, 80),
         to_xa(lambda sn, sp: sn == "y" or (sn, sp) == ("x", "b"))),
    "should enforce policy based on PodSelector and NamespaceSelector":
        ([kubernetes("a", **POD_A, **ingress({**namespace("y", "z"), **pod("b")}))], (TCP, 80),
         to_xa(lambda sn, sp: sn in "yz" and sp == "b")),
    "should enforce policy based on Multiple PodSelectors and NamespaceSelectors":
        ([kubernetes("a", **POD_A, **ingress(
            {**namespace("y", "z"), "podSelector": {"matchExpressions": [
                {"key": "pod", "operator": "NotIn", "values": ["a"]}]}}))], (TCP, 80),
         to_xa(lambda sn, sp: sn in "yz" and sp in "bc")),
    "should enforce policy based on any PodSelectors":
        ([kubernetes("any", **ingress(pod("b"), pod("c")))], (TCP, 80),
         to_x(lambda sn, sp, dp: sn == "x" and sp in "bc")),
    "should enforce policy to allow traffic only from a pod in a different namespace based on "
    "PodSelector and NamespaceSelector":
        ([kubernetes("a", **POD_A, **ingress({**namespace("y"), **pod("a")}))], (TCP, 80),
         to_xa(lambda sn, sp: (sn, sp) == ("y", "a"))),
    "should enforce policy based on Ports":
        ([kubernetes("a", **POD_A, **ingress(namespace("y"), ports=[{"port": 81}]))], (TCP, 80),
         to_xa(lambda *_: False)),
    "should enforce multiple, stacked policies with overlapping podSelectors":
        ([kubernetes("one", **POD_A, **ingress(namespace("y"), ports=[{"port": 81}])),
          kubernetes("two", **POD_A, **ingress(namespace("y"), ports=[{"port": 80}]))], (TCP, 80),
         to_xa(lambda sn, sp: sn == "y")),
    "should support allow-all policy":
        ([kubernetes("all", ingress=[{}], policyTypes=["Ingress"])], (TCP, 81), lambda *_: True),
    "should allow ingress access on one named port":
        ([kubernetes("named", **ingress(ports=[{"port": "serve-81-tcp"}]))], (TCP, 81),
         lambda *_: True),
    "should allow ingress access on one named port (the other one is closed)":
        ([kubernetes("named", **ingress(ports=[{"port": "serve-81-tcp"}]))], (TCP, 80),
         to_x(lambda *_: False)),
    "should allow ingress access from namespace on one named port":
        ([kubernetes("named", **POD_A, **ingress(namespace("y"),
                                                 ports=[{"port": "serve-80-tcp"}]))],
         (TCP, 80), to_xa(lambda sn, sp: sn == "y")),
    "should allow egress access on one named port":
        ([kubernetes("named", **POD_A, **egress(ports=[{"port": "serve-80-tcp"}]))], (TCP, 80),
         lambda *_: True),
    "should enforce egress policy allowing traffic to a server in a different namespace based on "
    "PodSelector and NamespaceSelector":
        ([kubernetes("out", **POD_A, **egress({**namespace("y"), **pod("a")}))], (TCP, 80),
         from_xa(lambda dn, dp: (dn, dp) == ("y", "a"))),
    "should enforce multiple ingress policies with ingress allow-all policy taking precedence":
        ([kubernetes("narrow", ingress=[{"from": [pod("b")]}], policyTypes=["Ingress"]),
          kubernetes("all", ingress=[{}], policyTypes=["Ingress"])], (TCP, 80), lambda *_: True),
    "should enforce multiple egress policies with egress allow-all policy taking precedence":
        ([kubernetes("narrow", **egress(pod("b"))), kubernetes("all", **egress())], (TCP, 80),
         lambda *_: True),
    "should deny egress from pods based on PodSelector":
        ([kubernetes("out", **POD_A, policyTypes=["Egress"])], (TCP, 80),
         from_xa(lambda *_: False)),
    "should deny egress from all pods in a namespace":
        ([kubernetes("out", policyTypes=["Egress"])], (TCP, 80), lambda sn, sp, dn, dp: sn != "x"),
    "should work with Ingress, Egress specified together":
        ([kubernetes("both", **POD_A, policyTypes=["Ingress", "Egress"],
                     ingress=[{"from": [namespace("y")]}],
                     egress=[{"ports": [{"port": 80}]}])], (TCP, 80),
         to_xa(lambda sn, sp: sn == "y")),
    "should support denying of egress traffic on the client side (even if the server explicitly "
    "allows this traffic)":
        ([kubernetes("out", **POD_A, policyTypes=["Egress"]),
          kubernetes("in", "y", **POD_A, **ingress(namespace("x")))], (TCP, 80),
         lambda sn, sp, dn, dp: (sn, sp) != ("x", "a") and ((dn, dp) != ("y", "a") or sn == "x")),
    "should allow egress access to server in CIDR block":
        ([kubernetes("cidr", **POD_A, **egress({"ipBlock": {
            "cidr": f"{address('y/b')}/32"}}))], (TCP, 80),
         from_xa(lambda dn, dp: (dn, dp) == ("y", "b"))),
    "should enforce except clause while egress access to server in CIDR block":
        ([kubernetes("cidr", **POD_A, **egress({"ipBlock": {
            "cidr": "10.22.0.0/16", "except": [f"{address('y/b')}/32"]}}))], (TCP, 80),
         from_xa(lambda dn, dp: (dn, dp) != ("y", "b"))),
    "should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed":
        ([kubernetes("one", **POD_A, **egress({"ipBlock": {
            "cidr": "10.22.0.0/16", "except": [f"{address('y/b')}/32"]}})),
          kubernetes("two", **POD_A, **egress({"ipBlock": {"cidr": f"{address('y/b')}/32"}}))],
         (TCP, 80), lambda *_: True),
    "should not allow access by TCP when a policy specifies only UDP":
        ([kubernetes("udp", **POD_A, **ingress(ports=[{"port": 81, "protocol": "UDP"}]))],
         (TCP, 81), to_xa(lambda *_: False)),
    "should allow access by UDP when a policy specifies only UDP":
        ([kubernetes("udp", **POD_A, **ingress(ports=[{"port": 81, "protocol": "UDP"}]))],
         (UDP, 81), lambda *_: True),
    "should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP', even if the plugin doesn't "
    "support SCTP":
        ([kubernetes("deny", policyTypes=["Ingress"]),
          kubernetes("sctp", **POD_A, **ingress(ports=[{"port": 81, "protocol": "SCTP"}]))],
         (TCP, 81), to_x(lambda *_: False)),
    "should properly isolate pods that are selected by a policy allowing SCTP, even if the plugin "
    "doesn't support SCTP":
        ([kubernetes("sctp", **POD_A, **ingress(ports=[{"port": 80, "protocol": "SCTP"}]))],
         (TCP, 81), to_xa(lambda *_: False)),
    "should enforce ingress policy allowing any port traffic to a server on a specific protocol":
        ([kubernetes("udp", **POD_A, **ingress(namespace("y"), ports=[{"protocol": "UDP"}]))],
         (UDP, 4711), to_xa(lambda sn, sp: sn == "y")),
    "should enforce ingress policy allowing any port traffic to a server on a specific protocol "
    "(the other one is closed)":
        ([kubernetes("tcp", **POD_A, **ingress(ports=[{"protocol": "TCP"}]))],
         (UDP, 80), to_xa(lambda *_: False)),
    "should support a policy with EndPort":
        ([kubernetes("range", **POD_A, **ingress(ports=[{"port": 81, "endPort": 85}]))],
         (TCP, 85), lambda *_: True),
    "should support a policy with EndPort (outside of the range)":
        ([kubernetes("range", **POD_A, **ingress(ports=[{"port": 81, "endPort": 85}]))],
         (TCP, 86), to_xa(lambda *_: False)),
    "should let ICMP in where a policy has no ports":
        ([kubernetes("a", **POD_A, **ingress(namespace("y")))], (ICMP, 0),
         to_xa(lambda sn, sp: sn == "y")),
    "should not let ICMP in where a policy has ports":
        ([kubernetes("a", **POD_A, **ingress(namespace("y"), ports=[{"port": 80}]))], (ICMP, 0),
         to_xa(lambda *_: False)),
    **{f"{name} ({word})": (policies, (number, port), allowed)
       for word, number in (("UDP", UDP), ("SCTP", SCTP)) for name, policies, port, allowed in (
        ("should support a 'default-deny-ingress' policy",
         [kubernetes("deny", policyTypes=["Ingress"])], 80, to_x(lambda *_: False)),
        ("should enforce policy based on Ports",
         [kubernetes("a", **POD_A, **ingress(namespace("y"), ports=[
             {"port": 81, "protocol": word}]))], 81, to_xa(lambda sn, sp: sn == "y")),
        ("should enforce policy to allow traffic only from a pod in a different namespace based on "
         "PodSelector and NamespaceSelector",
         [kubernetes("a", **POD_A, **ingress({**namespace("y"), **pod("a")}))], 80,
         to_xa(lambda sn, sp: (sn, sp) == ("y", "a"))))},
}

#: cases of several steps: the policies in force, labels by namespace or pod, and who may talk
Step = tuple[list[dict[str, Any]], dict[str, dict[str, str]], Allowed]
UPDATES: dict[str, list[Step]] = {
    "should enforce updated policy": [
        ([kubernetes("p", ingress=[{}])], {}, lambda *_: True),
        ([kubernetes("p", policyTypes=["Ingress"])], {}, to_x(lambda *_: False))],
    "should allow ingress access from updated namespace": [
        (policies := [kubernetes("a", **POD_A, **ingress(
            {"namespaceSelector": {"matchLabels": {"ns2": "updated"}}}))], {},
         to_xa(lambda *_: False)),
        (policies, {"y": {"ns2": "updated"}}, to_xa(lambda sn, sp: sn == "y")),
        (policies, {}, to_xa(lambda *_: False))],
    "should allow ingress access from updated pod": [
        (policies := [kubernetes("a", **POD_A, **ingress(
            {"podSelector": {"matchLabels": {"pod": "b", "pod2": "updated"}}}))], {},
         to_xa(lambda *_: False)),
        (policies, {"x/b": {"pod2": "updated"}}, to_xa(lambda sn, sp: (sn, sp) == ("x", "b")))],
    "should deny ingress access to updated pod": [
        (policies := [kubernetes("deny", podSelector={"matchLabels": {"target": "isolated"}},
                                 policyTypes=["Ingress"])], {}, lambda *_: True),
        (policies, {"x/a": {"target": "isolated"}}, to_xa(lambda *_: False))],
    "should stop enforcing policies after they are deleted": [
        ([kubernetes("deny", policyTypes=["Ingress", "Egress"])], {},
         lambda sn, sp, dn, dp: "x" not in (sn, dn)),
        ([], {}, lambda *_: True)],
}


def resources(policies: list[dict[str, Any]], labels: dict[str, dict[str, str]]
              ) -> list[dict[str, Any]]:
    """The cluster with these policies, and these labels beside those of namespaces and pods."""
    items = []
    for item in BASE:
        metadata = item["metadata"]
        added = labels.get("/".join(filter(None, (metadata.get("namespace"), metadata["name"]))))
        items.append({**item, "metadata": {**metadata, "labels": {**metadata["labels"], **added}}}
                     if added else item)
    return [*items, *policies]


def expected(allowed: Allowed) -> dict[tuple[str, str], bool]:
    """What a case says of each pair of pods."""
    return {(a, b): allowed(*a.split("/"), *b.split("/")) for a in PLACES for b in PLACES if a != b}


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.removeprefix("should "))
def test_case(name: str) -> None:
    policies, (protocol, port), allowed = CASES[name]
    assert matrix(explainer(*policies), protocol, port) == expected(allowed)


@pytest.mark.parametrize("name", UPDATES, ids=lambda name: name.removeprefix("should "))
def test_updates(name: str) -> None:
    """Each step is a change of the cluster that the step before left."""
    cluster = explainer().cluster
    addresses = {key: endpoint.address for key, endpoint in cluster.endpoints.items()}
    for policies, labels, allowed in UPDATES[name]:
        wanted = parse_topology(json.dumps({
            "apiVersion": "v1", "kind": "List", "items": resources(policies, labels)}))
        present = snapshot(cluster)
        labels_of = {pod.key: pod.labels for pod in wanted.pods}
        cluster = evolved(cluster, replace(
            present, policies=wanted.policies, namespaces=wanted.namespaces,
            pods=tuple(replace(pod, labels=labels_of[pod.key]) for pod in present.pods)))
        assert {key: item.address for key, item in cluster.endpoints.items()} == addresses
        assert matrix(Explainer(cluster)) == expected(allowed)
