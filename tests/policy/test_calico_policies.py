"""Calico's own policies: order, actions, types, who is selected; and what a decision says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from calico_mn.calico.policy.explain import Explainer
from calico_mn.errors import NotFoundError, TopologyError
from calico_mn.policy import Icmp
from policy.clusters import PLACES, calico, explainer, kubernetes, matrix

TO_XA = {"selector": "pod == 'a'"}
ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}
FROM_B = {"source": {"selector": "pod == 'b'"}}


def network_set(name: str, nets: list[str], namespace: str = "", **labels: str) -> dict[str, Any]:
    return {"apiVersion": "projectcalico.org/v3",
            "kind": "NetworkSet" if namespace else "GlobalNetworkSet",
            "metadata": {"name": name, "labels": labels,
                         **({"namespace": namespace} if namespace else {})},
            "spec": {"nets": nets}}


def into(*allowed: str, at: str = "x/a") -> Callable[[str, str], bool]:
    return lambda source, destination: destination != at or source in allowed


EVERY = tuple(PLACES)
ADDRESS_OF_B = f"{explainer().place('x/b').address}/32"


@pytest.mark.parametrize(("resources", "allowed"), [
    ([calico("deny", selector="all()", types=["Ingress", "Egress"])], lambda a, b: False),
    ([calico("late", "x", order=20, **TO_XA, ingress=[DENY]),
      calico("early", "x", order=10, **TO_XA, ingress=[{**ALLOW, **FROM_B}])], into("x/b")),
    ([calico("early", "x", order=10, **TO_XA, ingress=[DENY]),
      calico("late", "x", order=20, **TO_XA, ingress=[ALLOW])], into()),
    ([calico("without-order", "x", **TO_XA, ingress=[DENY]),
      calico("with", "x", order=1e6, **TO_XA, ingress=[ALLOW])], into(*EVERY)),
    ([calico("b", "x", order=5, **TO_XA, ingress=[DENY]),
      calico("a", "x", order=5, **TO_XA, ingress=[ALLOW])], into(*EVERY)),
    ([calico("log", "x", **TO_XA, ingress=[{"action": "Log"}, {**ALLOW, **FROM_B}])], into("x/b")),
    ([calico("pass", "x", order=1, **TO_XA, ingress=[{"action": "Pass", **FROM_B}]),
      calico("deny", "x", order=2, **TO_XA, ingress=[DENY])], into("x/b")),
    ([calico("p", selector="pod == 'a'", namespaceSelector="ns == 'x'", ingress=[
        {**ALLOW, "source": {"selector": "pod == 'b'"}}])], into("x/b", "y/b", "z/b")),
    ([calico("p", "x", **TO_XA, ingress=[
        {**ALLOW, "source": {"selector": "pod == 'b'", "namespaceSelector": "ns != 'y'"}}])],
     into("x/b", "z/b")),
    ([calico("p", "x", **TO_XA, ingress=[
        {**ALLOW, "source": {"serviceAccounts": {"names": ["sa-c"]}}}])], into("x/c")),
    ([calico("p", "x", serviceAccountSelector="projectcalico.org/name == 'sa-a'",
             ingress=[{**ALLOW, "source": {"notSelector": "pod == 'b'"}}])], into("x/c")),
    ([network_set("net", ["10.22.0.0/16"], zone="in"), network_set("no", ["10.99.0.0/16"]),
      calico("p", "x", **TO_XA, ingress=[
          {**ALLOW, "source": {"selector": "zone == 'in'", "namespaceSelector": "global()"}}])],
     into(*EVERY)),
    ([network_set("net", ["10.22.0.0/16"], "y", zone="in"), calico("p", "x", **TO_XA, ingress=[
        {**ALLOW, "source": {"selector": "zone == 'in'"}}])], into()),
    ([calico("p", "x", **TO_XA, ingress=[
        {**DENY, "source": {"nets": ["10.22.0.0/16"], "notNets": [ADDRESS_OF_B]}}, ALLOW])],
     into("x/b")),
    ([calico("p", "x", **TO_XA, egress=[DENY])], lambda a, b: a != "x/a"),
    ([calico("p", "x", **TO_XA, types=["Ingress"], egress=[ALLOW])], into()),
    ([calico("v6", "x", **TO_XA, ingress=[{**ALLOW, "ipVersion": 6}])], into()),
    ([calico("raw", doNotTrack=True, applyOnForward=True, selector="all()", ingress=[DENY]),
      calico("nat", preDNAT=True, applyOnForward=True, selector="all()", ingress=[DENY])],
     lambda a, b: True),
    ([kubernetes("k", podSelector={"matchLabels": {"pod": "a"}}, policyTypes=["Ingress"]),
      calico("first", "x", order=999, **TO_XA, ingress=[{**ALLOW, **FROM_B}])], into("x/b")),
], ids=["deny everything", "an early one allows", "an early one denies", "none means last",
        "by name where equal", "log goes on", "pass skips the rest", "a global one selects",
        "other namespaces", "accounts by name", "not by label", "a global set",
        "a set of another namespace", "networks but not", "only egress", "types before rules",
        "an IPv6 rule", "host policies", "Kubernetes' have order 1000"])
def test_who_may_talk_to_whom(resources: list[dict[str, Any]],
                              allowed: Callable[[str, str], bool]) -> None:
    assert matrix(explainer(*resources)) == {
        (a, b): allowed(a, b) for a in PLACES for b in PLACES if a != b}


def test_networks_are_members_as_ipset_takes_and_lists_them() -> None:
    asked = explainer(network_set("net", ["0.0.0.0/0", "10.1.1.1/32", "10.2.0.0/16"], zone="in"),
                      calico("p", **TO_XA, ingress=[{**ALLOW, "source": {
                          "selector": "zone == 'in'"}}]))
    node = asked.place("x/a").node
    (members,) = [members for name, members in asked.cluster.node_state(
        node, {}).firewall.sets.items() if name.startswith("cali40s:")]
    assert members == {"0.0.0.0/1", "128.0.0.0/1", "10.1.1.1", "10.2.0.0/16"}


POLICIES = (calico("shop", "x", order=1, **TO_XA, ingress=[
    {**ALLOW, "protocol": "TCP", "source": {"selector": "pod == 'b'"},
     "destination": {"ports": ["serve-80-tcp"]}},
    {**DENY, "source": {"selector": "pod == 'c'"}}]),
    calico("rest", "x", order=2, **TO_XA, ingress=[{**DENY, "protocol": "UDP"}]))


@pytest.fixture(scope="module")
def shop() -> Explainer:
    return explainer(*POLICIES)


@pytest.mark.parametrize(("source", "destination", "port", "reasons"), [
    ("x/b", "x/a", 80,
     ["profile kns.x allows it", "NetworkPolicy shop, ingress rule 1, allows it"]),
    ("x/c", "x/a", 80,
     ["profile kns.x allows it", "NetworkPolicy shop, ingress rule 2, denies it"]),
    ("y/a", "x/a", 80, ["profile kns.y allows it", "no rule of shop or rest allows it"]),
    ("y/a", "y/b", 80, ["profile kns.y allows it", "profile kns.y allows it"]),
    ("203.0.113.9", "x/a", 80, ["no rule of shop or rest allows it"]),
    ("x/a", "203.0.113.9", 80, ["profile kns.x allows it"]),
    ("x/a", "x/a", 80, []), ("k31", "k32", 80, []),
])
def test_the_reason_of_each_decision(shop: Explainer, source: str, destination: str, port: int,
                                     reasons: list[str]) -> None:
    verdict = shop.explain(shop.place(source), shop.place(destination), 6, port)
    assert [decision.reason for decision in verdict.decisions] == reasons


def test_a_node_reaches_its_own_pods_and_comes_to_others_from_its_tunnel() -> None:
    pods = explainer()
    node = pods.place("x/a").node
    others = [name for name in ("k31", "k32", "k33") if name != node]
    tunnel = pods.cluster.tunnel_address(others[0])
    asked = explainer(calico("p", "x", **TO_XA, ingress=[
        {**ALLOW, "source": {"nets": [f"{tunnel}/32"]}}]))
    assert {name: asked.explain(asked.place(name), asked.place("x/a"), 6).allowed
            for name in (node, *others)} == {node: True, others[0]: True, others[1]: False}


def test_icmp_is_a_ping_unless_said() -> None:
    asked = explainer(calico("p", "x", **TO_XA, ingress=[
        {**ALLOW, "protocol": "ICMP", "icmp": {"type": 8}}]))
    ends = asked.place("y/a"), asked.place("x/a")
    assert asked.explain(*ends, 1).allowed
    assert not asked.explain(*ends, 1, icmp=Icmp(13, 0)).allowed


@pytest.mark.parametrize(("action", "reasons"), [
    ("Drop", ["profile kns.x allows it", "DefaultEndpointToHostAction drops it"]),
    ("Accept", ["profile kns.x allows it"]), ("Return", ["profile kns.x allows it"])])
def test_a_pod_to_its_own_node_is_felixs_to_decide(action: str, reasons: list[str]) -> None:
    asked = explainer({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
                       "metadata": {"name": "default"},
                       "spec": {"defaultEndpointToHostAction": action}})
    pod = asked.place("x/a")
    verdict = asked.explain(pod, asked.place(pod.node), 6, 22)
    assert [decision.reason for decision in verdict.decisions] == reasons
    other = next(name for name in ("k31", "k32", "k33") if name != pod.node)
    assert asked.explain(pod, asked.place(other), 6, 22).allowed


@pytest.mark.parametrize(("name", "message"), [
    ("a", "there are several pods a: say which of x/a, y/a, z/a"),
    ("x/aa", "there is no pod, node or host 'x/aa'; did you mean x/a?"),
    ("bb", "there is no pod, node or host 'bb'; did you mean b?"),
])
def test_an_end_that_is_not_clear(shop: Explainer, name: str, message: str) -> None:
    with pytest.raises(NotFoundError, match="^" + message.replace("?", r"\?")):
        shop.place(name)


@pytest.mark.parametrize(("spec", "message"), [
    ({"ingress": [{"action": "allow"}]}, 'did you mean "Allow"?'),
    ({"ingress": [{}]}, "ingress[0] needs action"),
    ({"selector": "pod = 'a'"}, "is not a selector"),
    ({"ingress": [{**ALLOW, "destination": {"ports": [80]}}]}, "a rule with ports needs protocol"),
    ({"ingress": [{**ALLOW, "protocol": "TCPP"}]}, "is not a protocol"),
    ({"ingress": [{**ALLOW, "protocol": "TCP", "destination": {"ports": ["90:80"]}}]},
     "is not a port"),
    ({"ingress": [{**ALLOW, "protocol": "TCP", "destination": {"ports": [65536]}}]},
     "is not a port"),
    ({"ingress": [{**ALLOW, "protocol": "TCP", "destination": {"ports": ["80-90"]}}]},
     "a range such as 80:90"),
    ({"ingress": [{**ALLOW, "icmp": {"type": 8}}]}, "a rule with an ICMP type needs protocol ICMP"),
    ({"ingress": [{**ALLOW, "protocol": "ICMP", "icmp": {"code": 8}}]},
     "an ICMP code needs a type"),
    ({"order": "soon"}, "must be a number"), ({"order": float("inf")}, "must be a number"),
    ({"types": ["ingress"]}, 'did you mean "Ingress"?'),
    ({"ingres": []}, 'unknown field "ingres"'),
])
def test_a_mistake_is_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        explainer(calico("p", "x", **spec))
    assert message in str(caught.value)


@pytest.mark.parametrize(("spec", "message"), [
    ({"podSelector": {"app": "web"}}, 'has the unknown field "app"'),
    ({"ingress": [{"from": [{"ipBlock": {"except": ["10.0.0.0/8"]}}]}]}, "ipBlock needs cidr"),
    ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]},
     "ipBlock cannot stand beside"),
    ({"ingress": [{"ports": [{"port": 80, "protocol": "tcp"}]}]}, 'did you mean "TCP"?'),
    ({"ingress": [{"ports": [{"port": "http", "endPort": 90}]}]}, "endPort 90 needs a port number"),
    ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Equals"}]}},
     "has an expression without key or operator"),
])
def test_a_mistake_in_a_policy_of_kubernetes_is_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        explainer(kubernetes("p", **spec))
    assert message in str(caught.value)


def test_two_policies_of_one_name_are_a_mistake() -> None:
    with pytest.raises(TopologyError, match=r"duplicate NetworkPolicy x/default\.p"):
        explainer(calico("p", "x"), calico("p", "x"))
    explainer(calico("p", "x"), calico("p", "y"), calico("p"), kubernetes("p"))
