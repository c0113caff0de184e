"""Host endpoints: chains and digests, which one governs a device, and what files may say.

The digests of failsafe chains are those that real nodes print.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from calico_mn.calico.policy.chains import Rule, jump, limited
from calico_mn.calico.policy.endpoint_chains import (
    ANY_DEVICE,
    FAILSAFE_IN,
    FAILSAFE_OUT,
    FROM_HOST,
    TO_HOST,
    endpoint_rules,
    failsafe_chains,
    host_dispatch,
)
from calico_mn.calico.policy.firewall import governing, hashes
from calico_mn.calico.policy.node_chains import HostRules, NodeFirewall, tables
from calico_mn.errors import TopologyError
from calico_mn.policy import FAILSAFE_INBOUND, FAILSAFE_OUTBOUND, HostEndpoint, Policy, Stage
from calico_mn.topology import parse_topology
from policy.clusters import calico, explainer

ANY_DIGESTS = {
    FAILSAFE_IN: ["wWFQM43tJU7wwnFZ", "LwNV--R8MjeUYacw", "QOO5NUOqOSS1_Iw0", "cwZWoBSwVeIAZmVN",
                  "7FbNXT91kugE_upR", "8Ftbkk2dRH2eEeq1", "-JoRSaAQZPJAegMo", "PUKij4Rn9njHfVTi",
                  "vSprVE-4rient0wc"],
    FAILSAFE_OUT: ["82hjfji-wChFhAqL", "TNM3RfEjbNr72hgH", "ycxKitIl4u3dK0HR", "hxjEWyxdkXXkdvut",
                   "cA_GLtruuvG88KiO", "ALz4foMyfue7vaqK", "zvCXe1uOiQ8adzhn", "Lppo9JuKR7AyZoWQ",
                   "EoOkKdH0fekirfk8"]}
ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}
HOSTS = {"selector": "has(host)"}


def host(name: str = "hep", node: str = "k31", interface: str = "*", **spec: Any
         ) -> dict[str, Any]:
    return {"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
            "metadata": {"name": name, "labels": {"host": name}},
            "spec": {"node": node, "interfaceName": interface, **spec}}


def test_failsafe_chains_have_the_digests_of_real_nodes() -> None:
    chains = failsafe_chains("filter", FAILSAFE_INBOUND, FAILSAFE_OUTBOUND)
    assert {name: hashes(name, texts(rules)) for name, rules in chains.items()} == ANY_DIGESTS


@pytest.mark.parametrize(("way", "accepted", "digest"), [
    (TO_HOST, "ACCEPT", "Pk4AU-xuUwtwrLN6"), (FROM_HOST, "ACCEPT", "NnqjZhu9yccY4C7-"),
    (TO_HOST, "RETURN", "isLh7I8mMajLdhSv")], ids=["out", "in", "out in mangle"])
def test_the_jump_to_the_failsafe_chain(way: str, accepted: str, digest: str) -> None:
    rules = endpoint_rules(way, (), (), Stage.NORMAL, accepted)
    (place,) = [number for number, rule in enumerate(rules) if "failsafe" in rule.action]
    assert hashes(way + ANY_DEVICE, texts(rules))[place] == digest


def texts(rules: Any) -> list[str]:
    return [rule.text for rule in rules]


@pytest.mark.parametrize(("devices", "expected"), [
    ([], {"root": []}),
    (["eth0"], {"root": ["--out-interface eth0 --goto cali-th-eth0"]}),
    (["eth0", ANY_DEVICE], {"root": ["--out-interface eth0 --goto cali-th-eth0", "SKIP",
                                     f"--goto cali-th-{ANY_DEVICE}"]}),
    (["eth0", "eth1", "lo"], {
        "root": ["--out-interface e+ --goto root-e", "--out-interface lo --goto cali-th-lo"],
        "root-e": ["--out-interface eth0 --goto cali-th-eth0",
                   "--out-interface eth1 --goto cali-th-eth1"]}),
], ids=["none", "one", "one and all", "several"])
def test_dispatch(devices: list[str], expected: dict[str, list[str]]) -> None:
    skip = ('-m comment --comment "Skip egress WHEP policy for traffic to local workload" '
            "--out-interface cali+ --jump RETURN")
    chains = host_dispatch("root", TO_HOST, devices, skips_pods=True)
    assert {name: texts(rules) for name, rules in chains.items()} == {
        name: [skip if rule == "SKIP" else rule for rule in rules]
        for name, rules in expected.items()}


def test_which_tables_have_which_chains() -> None:
    normal, raw, nat = (Policy("GlobalNetworkPolicy", name, f"default.{name}", types=("Ingress",))
                        for name in ("normal", "raw", "nat"))
    written = tables(NodeFirewall(host_endpoints=(
        HostRules("eth0", (), {Stage.NORMAL: (normal,), Stage.UNTRACKED: (raw,)}),
        HostRules(ANY_DEVICE, (), {Stage.PRE_DNAT: (nat,), Stage.UNTRACKED: (raw,)}))))
    of_hosts = {table: sorted(name for name in chains if name.startswith((
        "cali-th", "cali-fh", "cali-p", "cali-failsafe"))) for table, chains in written.items()}
    assert of_hosts == {
        # Felix refuses doNotTrack for all interfaces.
        "raw": ["cali-failsafe-in", "cali-failsafe-out", "cali-fh-eth0", "cali-pi-default.raw",
                "cali-th-eth0"],
        "mangle": ["cali-failsafe-in", "cali-failsafe-out", f"cali-fh-{ANY_DEVICE}",
                   "cali-pi-default.nat", f"cali-th-{ANY_DEVICE}", "cali-th-eth0"],
        "nat": [],
        "filter": sorted([
            "cali-failsafe-in", "cali-failsafe-out", "cali-pi-default.normal",
            *(limited(way, device) for device in ("eth0", ANY_DEVICE) for way in (
                "cali-fh-", "cali-th-", "cali-fhfw-", "cali-thfw-"))])}
    assert Rule("-m mark --mark 0x10000/0x10000", jump("NOTRACK")) in written["raw"]["cali-fh-eth0"]
    assert written["filter"]["cali-fhfw-eth0"][-1].comments == (
        "Return for accepted forward traffic",)


def test_without_host_endpoints_there_are_no_chains_of_theirs() -> None:
    names = {name for chains in tables(NodeFirewall()).values() for name in chains}
    assert not [name for name in names if name.startswith(("cali-th", "cali-fh", "cali-fails"))]


IP = IPv4Address("192.168.57.31")
DEVICES = {"eth0": (IP,), "lo": (IPv4Address("127.0.0.1"),)}


@pytest.mark.parametrize(("hosts", "expected"), [
    ([HostEndpoint("b", "n", "eth0"), HostEndpoint("a", "n", "eth0")], {"eth0": "a"}),
    ([HostEndpoint("a", "n", addresses=(IP,))], {"eth0": "a"}),
    ([HostEndpoint("a", "n", "eth1", (IP,))], {}),
    ([HostEndpoint("a", "n", "*"), HostEndpoint("b", "n", "eth0")],
     {ANY_DEVICE: "a", "eth0": "b"}),
], ids=["the first by name", "by its address", "a name is no address", "all and one"])
def test_which_one_governs_a_device(hosts: list[HostEndpoint], expected: dict[str, str]) -> None:
    assert {device: item.name for device, item in governing(hosts, DEVICES).items()} == expected


@pytest.mark.parametrize(("source", "destination", "port", "lines"), [
    ("x/a", "k32", 80, [
        "egress of x/a: profile kns.x allows it",
        "ingress of HostEndpoint two: GlobalNetworkPolicy in, ingress rule 1, allows it"]),
    ("k31", "k32", 22, ["ingress of HostEndpoint two: failsafeInboundHostPorts allows it"]),
    ("203.0.113.9", "k32", 81, [
        "ingress of HostEndpoint two (preDNAT): GlobalNetworkPolicy nat, ingress rule 1,"
        " denies it"]),
    ("k31", "k31", 80, []), ("k32", "k32", 80, []), ("k32", "k33", 80, [
        "egress of HostEndpoint two: no policy and no profile allows it"]),
    ("k33", "k33", 80, ["egress of HostEndpoint three: no policy and no profile allows it"]),
])
def test_the_way_through_host_endpoints(source: str, destination: str, port: int,
                                        lines: list[str]) -> None:
    asked = explainer(
        host("two", "k32", "eth0"), host("three", "k33"),
        calico("in", selector="host == 'two'", ingress=[
            {**ALLOW, "protocol": "TCP", "destination": {"ports": [80]}}]),
        calico("nat", selector="host == 'two'", preDNAT=True, applyOnForward=True, ingress=[
            {**DENY, "source": {"nets": ["203.0.113.0/24"]}}]))
    verdict = asked.explain(asked.place(source), asked.place(destination), 6, port)
    assert [f"{item.title}: {item.reason}" for item in verdict.decisions] == lines


@pytest.mark.parametrize(("fields", "rule", "lines"), [
    ({"preDNAT": True}, {**DENY, "source": {"nets": ["192.168.57.0/24"]}}, [
        "ingress of HostEndpoint two (preDNAT of the tunnel packet): GlobalNetworkPolicy g,"
        " ingress rule 1, denies it"]),
    ({"doNotTrack": True}, {**DENY, "protocol": 4}, [
        "ingress of HostEndpoint two (doNotTrack of the tunnel packet): GlobalNetworkPolicy g,"
        " ingress rule 1, denies it"]),
    ({"preDNAT": True}, {**DENY, "protocol": "TCP", "source": {"nets": ["192.168.57.0/24"]}},
     ["ingress of {}: profile kns.{} allows it"]),
], ids=["before NAT", "untracked", "not of this protocol"])
def test_the_packet_around_it_is_asked_about_too(fields: dict[str, Any], rule: dict[str, Any],
                                                 lines: list[str]) -> None:
    asked = explainer(host("two", "k32", "eth0"), calico(
        "g", selector="host == 'two'", applyOnForward=True, ingress=[rule], **fields))
    near, far = (next(name for name in asked.index.endpoints if asked.place(name).node == node)
                 for node in ("k31", "k32"))
    verdict = asked.explain(asked.place(near), asked.place(far), 6, 80)
    assert [f"{item.title}: {item.reason}" for item in verdict.decisions][1:] == [
        line.format(far, far.partition("/")[0]) for line in lines]


def test_a_selector_of_a_rule_finds_host_endpoints_and_their_profiles_labels() -> None:
    asked = explainer(
        host("one", "k31", "eth0", expectedIPs=["192.168.57.31", "fd00::1"], profiles=["team"],
             ports=[{"name": "web", "protocol": "TCP", "port": 8080}]),
        {"apiVersion": "crd.projectcalico.org/v1", "kind": "Profile", "metadata": {"name": "team"},
         "spec": {"labelsToApply": {"team": "ops"}}},
        calico("p", "x", selector="pod == 'a'", ingress=[
            {**ALLOW, "source": {"selector": "team == 'ops'", "namespaceSelector": "global()"}}]),
        calico("g", selector="pod == 'b'", egress=[
            {**ALLOW, "protocol": "TCP", "destination": {"selector": "host == 'one'",
                                                         "ports": ["web"]}}]))
    assert asked.explain(asked.place("192.168.57.31"), asked.place("x/a"), 6, 80).allowed
    assert not asked.explain(asked.place("192.168.57.32"), asked.place("x/a"), 6, 80).allowed
    assert asked.explain(asked.place("x/b"), asked.place("k31"), 6, 8080).decisions[0].allowed
    assert not asked.explain(asked.place("x/b"), asked.place("k31"), 6, 8081).allowed


def felix(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
            "metadata": {"name": "default"}, "spec": spec}


@pytest.mark.parametrize(("spec", "allowed"), [
    ({}, {22: True, 80: False}), ({"failsafeInboundHostPorts": []}, {22: False, 80: False}),
    ({"failsafeInboundHostPorts": [{"protocol": "TCP", "port": 80}]}, {22: False, 80: True}),
    ({"failsafeInboundHostPorts": [{"protocol": "tcp", "port": 22, "net": "10.0.0.0/8"}]},
     {22: False, 80: False}),
], ids=["as Calico has it", "none", "another", "of other addresses"])
def test_failsafe_ports(spec: dict[str, Any], allowed: dict[int, bool]) -> None:
    asked = explainer(host(), felix(**spec))
    stranger, node = asked.place("203.0.113.9"), asked.place("k31")
    assert {port: asked.explain(stranger, node, 6, port).allowed for port in allowed} == allowed


@pytest.mark.parametrize(("resource", "message"), [
    (calico("g", preDNAT=True, doNotTrack=True, applyOnForward=True, ingress=[ALLOW]),
     "doNotTrack and preDNAT cannot both be true"),
    (calico("g", preDNAT=True, applyOnForward=True, egress=[ALLOW]),
     "a policy with preDNAT cannot have egress rules"),
    (calico("g", preDNAT=True, applyOnForward=True, types=["Egress"]),
     "a policy with preDNAT cannot have the type Egress"),
    (calico("g", preDNAT=True, ingress=[ALLOW]), "preDNAT needs applyOnForward: true"),
    (calico("g", doNotTrack=True, ingress=[ALLOW]), "doNotTrack needs applyOnForward: true"),
    (calico("n", "x", applyOnForward=True), 'unknown field "applyOnForward"'),
    (calico("g", selector="global()"), "spec.selector cannot have global()"),
    (calico("g", ingress=[{**ALLOW, "source": {"namespaceSelector": "global() || a == 'b'"}}]),
     "cannot have global() beside anything else"),
    ({**host(), "spec": {"node": "k31"}}, "a HostEndpoint needs interfaceName or expectedIPs"),
    ({**host(), "spec": {"interfaceName": "eth0"}}, 'HostEndpoint "hep" needs spec.node'),
    (host(interface="eth0/1"), '"eth0/1" is not the name of an interface'),
    (host(expectedIPs=["here"]), '"here" is not an IPv4 address'),
    (host(ports=[{"name": "web", "port": 80}]), "ports[0] needs protocol"),
    (host(ports=[{"name": "web", "protocol": "ICMP", "port": 80}]),
     '"ICMP" is not a protocol with ports'),
    (felix(failsafeInboundHostPorts=[{"protocol": "ICMP", "port": 22}]),
     '"ICMP" is not a protocol with ports'),
    (felix(failsafeInboundHostPorts=[{"protocol": "TCP", "port": 65536}]),
     "65536 is not between 0 and 65535"),
])
def test_what_calico_refuses_is_refused(resource: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        explainer(resource)
    assert message in str(caught.value)


@pytest.mark.parametrize(("resource", "warning"), [
    (host(), ""), (host(interface="tunl0"), ""),
    (host(node="k99"), "HostEndpoint hep has no effect: there is no node k99."),
    (host(interface="ens5"), "HostEndpoint hep has no effect: nodes have no interface ens5, but"
                             " eth0, lo, tunl0 and vxlan.calico."),
], ids=["all", "tunl0", "another node", "another interface"])
def test_one_that_is_nowhere_is_named(resource: dict[str, Any], warning: str) -> None:
    before = set(explainer().cluster.topology.warnings)
    assert set(explainer(resource).cluster.topology.warnings) - before == (
        {warning} if warning else set())


def without_effect(api: str, kind: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "s", **({"namespace": "x"} if kind in (
        "StagedNetworkPolicy", "StagedKubernetesNetworkPolicy") else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("api", ["projectcalico.org/v3", "crd.projectcalico.org/v1"])
@pytest.mark.parametrize(("kind", "spec", "why"), [
    ("Tier", {"order": 10, "defaultAction": "Pass"}, "the tier default alone"),
    ("StagedNetworkPolicy", {"stagedAction": "Set", "tier": "default", "selector": "pod == 'a'",
                             "ingress": [DENY]}, "enforces no staged policy"),
    ("StagedGlobalNetworkPolicy", {"tier": "security", "types": ["Ingress"], "ingress": [DENY]},
     "enforces no staged policy"),
    ("StagedKubernetesNetworkPolicy", {"podSelector": {}, "policyTypes": ["Ingress"]},
     "enforces no staged policy"),
    ("GlobalNetworkPolicy", {"tier": "security", "ingress": [DENY]}, "in tier security"),
])
def test_tiers_and_staged_policies_have_no_effect(api: str, kind: str, spec: dict[str, Any],
                                                  why: str) -> None:
    asked = explainer(without_effect(api, kind, **spec))
    assert asked.explain(asked.place("x/b"), asked.place("x/a"), 6, 80).allowed
    warnings = " ".join(asked.cluster.topology.warnings)
    assert kind in warnings
    assert why in warnings
    assert kind in {item["kind"] for item in asked.cluster.topology.documents}


@pytest.mark.parametrize(("kind", "spec", "message"), [
    ("Tier", {"defaultAction": "Allow"}, "must be one of Deny, Pass"),
    ("StagedNetworkPolicy", {"ingress": [{"action": "allow"}]}, 'did you mean "Allow"?'),
    ("StagedGlobalNetworkPolicy", {"preDNAT": True}, "preDNAT needs applyOnForward"),
    ("StagedKubernetesNetworkPolicy", {"stagedAction": "Keep"}, "must be one of Set"),
])
def test_their_mistakes_are_named(kind: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        explainer(without_effect("projectcalico.org/v3", kind, **spec))
    assert message in str(caught.value)


@pytest.mark.parametrize(("value", "expected"), [
    ("none", []), ("tcp:22, udp:68", [("tcp", 22, None), ("udp", 68, None)]),
    ("22", [("tcp", 22, None)]), ("tcp:10.0.0.0/8:22", [("tcp", 22, "10.0.0.0/8")])])
def test_failsafe_ports_in_the_environment(value: str, expected: list[Any]) -> None:
    topology = parse_topology(f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: calico-node, namespace: kube-system}}
spec:
  template:
    spec:
      containers:
        - name: calico-node
          env: [{{name: FELIX_FAILSAFEINBOUNDHOSTPORTS, value: "{value}"}}]
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {{name: n}}
spec: {{bgp: {{ipv4Address: 192.168.57.31/24}}}}
""")
    assert [(item.protocol, item.port, str(item.net) if item.net else None)
            for item in topology.felix.failsafe_inbound] == expected
