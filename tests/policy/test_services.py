"""``services`` in rules: the endpoints of a Service by its selector, or as its slices list them."""

from __future__ import annotations

from typing import Any

import pytest

from calico_mn.calico.policy.chains import rule_lines
from calico_mn.calico.policy.firewall import Firewalls
from calico_mn.calico.policy.resolve import resolve
from calico_mn.errors import TopologyError
from calico_mn.kernel.firewall import set_lines
from calico_mn.policy import Action, EntityRule, Rule
from calico_mn.rules import FirewallChange
from calico_mn.state import Firewall
from policy.clusters import PLACES, Explainer, calico, explainer

ALLOW = {"action": "Allow"}


def service(name: str = "web", namespace: str = "x", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def endpoint_slice(*addresses: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-abc", "namespace": "x",
                         "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": list(addresses), "conditions": {"ready": True}}], **fields}


def endpoints(*addresses: str, port: int) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "x"},
            "subsets": [{"addresses": [{"ip": item} for item in addresses],
                         "ports": [{"port": port}]}]}


OUT = calico("out", "y", selector="pod == 'a'", egress=[
    {**ALLOW, "destination": {"services": {"name": "web", "namespace": "x"}}}])
IN = calico("in", "x", selector="pod == 'b'", ingress=[
    {**ALLOW, "source": {"services": {"name": "web"}}}])
POD = {place: explainer().place(place).address for place in PLACES}
A = str(POD["x/a"])


def reached(asked: Explainer, source: str, port: int) -> set[str]:
    return {place for place in PLACES if place != source and asked.explain(
        asked.place(source), asked.place(place), 6, port).allowed}


@pytest.mark.parametrize(("resources", "port", "expected"), [
    ([service(selector={"pod": "a"}, ports=[{"port": 8080, "targetPort": 80}])], 80, {"x/a"}),
    ([service(selector={"pod": "a"}, ports=[{"port": 8080, "targetPort": 80}])], 8080, set()),
    ([service(selector={"pod": "a"}, ports=[{"port": 80}])], 80, {"x/a"}),
    ([service(selector={"pod": "a"}, ports=[{"port": 8, "targetPort": "serve-81-tcp"}])], 81,
     {"x/a"}),
    ([service(selector={"pod": "a"}, ports=[{"port": 80, "protocol": "UDP"}])], 80, set()),
    ([service(namespace="z", selector={"pod": "a"}, ports=[{"port": 80}])], 80, set()),
    ([service(ports=[{"port": 80}]), endpoint_slice(A, ports=[{"port": 81, "protocol": "TCP"}])],
     81, {"x/a"}),
    ([service(ports=[{"port": 80}]), endpoint_slice(A, ports=[])], 80, set()),
    ([service(selector={"pod": "c"}, ports=[{"port": 80}]),
      endpoint_slice(A, ports=[{"port": 80}])], 80, {"x/c"}),
    ([endpoint_slice(A, ports=[{"port": 80}])], 80, {"x/a"}),
    ([service(ports=[{"port": 80}]), endpoints(A, port=80)], 80, {"x/a"}),
    ([endpoint_slice(A, ports=[{"port": 80}]), endpoints(str(POD["x/b"]), port=80)], 80, {"x/a"}),
    ([], 80, set()),
], ids=["its target", "not its own port", "the same port", "a named port", "another protocol",
        "another namespace", "a slice", "a slice without ports", "the selector before a slice",
        "a slice alone", "Endpoints", "a slice before Endpoints", "no Service"])
def test_egress_to_a_service(resources: list[dict[str, Any]], port: int, expected: set[str]
                             ) -> None:
    assert reached(explainer(OUT, *resources), "y/a", port) == expected


def test_ingress_from_a_service_on_any_port() -> None:
    asked = explainer(IN, service(selector={"pod": "a"}, ports=[{"port": 80}]))
    assert {place for place in PLACES if place != "x/b" and asked.explain(
        asked.place(place), asked.place("x/b"), 6, 4321).allowed} == {"x/a"}


def test_the_sets_have_felixs_names_and_kinds() -> None:
    out = resolve(Rule(Action.ALLOW, destination=EntityRule(
        service="web", service_namespace="x")), "y")
    back = resolve(Rule(Action.ALLOW, source=EntityRule(service="web")), "x")
    (with_ports,), (without,) = out.destination.sets, back.source.sets
    assert with_ports.name.startswith("cali40svc:")
    assert without.name.startswith("cali40svcnoport:")
    assert len(with_ports.name) == len(without.name) == 31
    assert rule_lines(out)[0].text.startswith(f"-m set --match-set {with_ports.name} dst,dst --j")
    assert rule_lines(back)[0].text.startswith(f"-m set --match-set {without.name} src --jump")
    lines = set_lines(FirewallChange(None, Firewall({}, {}, {
        with_ports.name: frozenset(), without.name: frozenset()})), removing=False)
    assert [line.split()[2] for line in lines] == ["hash:ip,port", "hash:net"]


def test_a_pod_that_comes_joins_the_set() -> None:
    asked = explainer(OUT, service(selector={"pod": "a"}, ports=[{"port": 80}]))
    cluster = asked.cluster
    before = Firewalls(cluster.topology, cluster.endpoints)
    (ip_set,) = resolve(cluster.topology.policies[0].egress[0], "y").destination.sets
    assert before.index.members(ip_set).texts == {f"{A},tcp:80"}
    gone = cluster.delete_pod("x/a")
    assert gone.address == POD["x/a"]
    assert before.after(cluster.topology, cluster.endpoints).index.members(ip_set).texts == set()


@pytest.mark.parametrize(("policy", "message"), [
    (calico("p", "x", egress=[{**ALLOW, "destination": {"services": {"namespace": "x"}}}]),
     "services needs the name of a Service"),
    (calico("p", "x", egress=[{**ALLOW, "source": {"services": {"name": "web"}}}]),
     "services cannot be the source of an egress rule"),
    (calico("p", "x", ingress=[{**ALLOW, "destination": {"services": {"name": "web"}}}]),
     "services cannot be the destination of an ingress rule"),
    (calico("p", egress=[{**ALLOW, "destination": {"services": {"name": "web"}}}]),
     "services of a GlobalNetworkPolicy needs the namespace"),
    (calico("p", "x", egress=[{**ALLOW, "protocol": "TCP", "destination": {
        "services": {"name": "web"}, "ports": [80]}}]), "services stands alone"),
    (calico("p", "x", egress=[{**ALLOW, "destination": {
        "services": {"name": "web"}, "selector": "pod == 'a'"}}]), "services stands alone"),
    (calico("p", "x", egress=[{**ALLOW, "http": {"methods": ["GET"]}}]),
     "http is for ingress rules"),
    (calico("p", "x", ingress=[{"action": "Deny", "http": {"methods": ["GET"]}}]),
     "http is for rules with action Allow"),
    (calico("p", "x", ingress=[{**ALLOW, "http": {"method": "GET"}}]), 'unknown field "method"'),
])
def test_what_calico_refuses_is_refused(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        explainer(policy)
    assert message in str(caught.value)


def test_http_and_services_that_no_rule_names_are_named_as_without_effect() -> None:
    asked = explainer(OUT, service(selector={"pod": "a"}, ports=[{"port": 80}]))
    assert asked.cluster.topology.warnings == explainer().cluster.topology.warnings
    asked = explainer(service("other"), calico("p", "x", ingress=[
        {**ALLOW, "http": {"methods": ["GET"], "paths": [{"exact": "/"}, {"prefix": "/a"}]}}]))
    warnings = " ".join(asked.cluster.topology.warnings)
    assert "Services have no addresses here: pods reach each other by their own" in warnings
    assert "http in a rule has no effect" in warnings
