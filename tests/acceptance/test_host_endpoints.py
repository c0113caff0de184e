"""Host endpoints in the kernel: what the verdict says of pods, nodes and a stranger happens.

The first four cases and the service are A19 of what Calico's own tests ask (felix/fv/ipip_test.go).

                       outside .99
                          |
     ---------------------+---- net-a 192.168.57.0/24 ----+---- r1
          node31 .31            node32 .32
          a  c                  b
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from policy.clusters import calico
from policy.connections import assert_as_said, connected
from support.topologies import net_a

from calico_mn import CalicoNet
from calico_mn.topology import parse_topology
from calico_mn.trace.probe import trace
from calico_mn.trace.recording import Probe

pytestmark = [pytest.mark.root, pytest.mark.rules]

TOPOLOGY = net_a("a@node31", "c@node31", "b@node32") + """---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: unrelated}
spec: {selector: has(unrelated), types: [Ingress]}
"""
PODS, NODES = ("default/a", "default/b", "default/c"), ("node31", "node32")
# The outsider's packets to pods would need routes that r1 does not have.
PAIRS = [*permutations((*PODS, *NODES), 2), *((pod, "outside") for pod in (*PODS, *NODES)),
         *(("outside", node) for node in NODES), *((node, node) for node in NODES)]
FLOWS = (("tcp", 22), ("tcp", 80))
EVERYONE = {name: {b for a, b in PAIRS if a == name} for name in (*PODS, *NODES, "outside")}
ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}


def host(node: str, interface: str = "*", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
            "metadata": {"name": f"{node}-hep", "labels": {"host": node}},
            "spec": {"node": node, "interfaceName": interface, **spec}}


def both(interface: str = "*", **spec: Any) -> list[dict[str, Any]]:
    return [host(node, interface, **spec) for node in NODES]


def web(**fields: Any) -> dict[str, Any]:
    return {**ALLOW, "protocol": "TCP", "destination": {"ports": [80]}, **fields}


HOSTS = {"selector": "has(host)"}
# Who of these reaches whom with tcp/80.
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, set[str]]]] = {
    "no host endpoint": ([], EVERYONE),
    "on eth0": (both("eth0"), {
        "default/a": {"default/b", "default/c", "node31", "outside"},
        "default/c": {"default/a", "default/b", "node31", "outside"},
        "default/b": {"default/a", "default/c", "node32", "outside"},
        "node31": {*PODS, "node31"}, "node32": {*PODS, "node32"}, "outside": set()}),
    "on all interfaces": (both(), {
        "default/a": {"default/b", "default/c", "node31", "outside"},
        "default/c": {"default/a", "default/b", "node31", "outside"},
        "default/b": {"default/a", "default/c", "node32", "outside"},
        "node31": {"default/a", "default/c"}, "node32": {"default/b"}, "outside": set()}),
    "on all interfaces, one way": ([
        *both(),
        calico("out", selector="host == 'node31'", egress=[web()]),
        calico("in", selector="host == 'node32'", ingress=[web()])], {
        "node31": {*PODS, "node32", "outside"}, "node32": {"default/b"},
        "outside": {"node32"}}),
    "by address, with a profile": (
        [host("node31", profiles=["projectcalico-default-allow"]),
         {**host("node32"), "spec": {"node": "node32", "expectedIPs": ["192.168.57.32"]}}],
        {"node31": {*PODS, "node31", "outside"}, "node32": {*PODS, "node32"},
         "outside": {"node31"}}),
    "a profile of its own": ([
        *both(profiles=["web"]),
        {"apiVersion": "projectcalico.org/v3", "kind": "Profile", "metadata": {"name": "web"},
         "spec": {"ingress": [web()], "egress": [ALLOW], "labelsToApply": {"role": "server"}}}],
        {"node31": {*PODS, *NODES, "outside"}, "node32": {*PODS, *NODES, "outside"},
         "outside": {*NODES}}),
    "what is forwarded": ([
        *both("eth0", profiles=["projectcalico-default-allow"]),
        calico("fw", **HOSTS, applyOnForward=True, types=["Ingress", "Egress"],
               ingress=[ALLOW], egress=[{**DENY, "destination": {"nets": ["192.168.57.99/32"]}},
                                        ALLOW])],
        {"default/a": {"default/b", "default/c", *NODES}, "node31": {*PODS, *NODES}}),
    "what is forwarded by all interfaces": ([
        *both(profiles=["projectcalico-default-allow"]),
        calico("fw", **HOSTS, applyOnForward=True, ingress=[
            {**DENY, "source": {"selector": "app == 'a'"}}, ALLOW])],
        {"default/a": {"node31"}, "default/c": {"default/a", "default/b", *NODES, "outside"},
         "default/b": {"default/a", "default/c", *NODES, "outside"},
         "node31": {*PODS, *NODES, "outside"}}),
    "before NAT": ([
        *both("eth0", profiles=["projectcalico-default-allow"]),
        calico("nat", **HOSTS, preDNAT=True, applyOnForward=True, order=1, ingress=[
            {**DENY, "protocol": "TCP", "source": {"nets": ["192.168.57.99/32"]}}])],
        {**EVERYONE, "outside": set()}),
    "before NAT, allowed there and denied later": ([
        *both("eth0"),
        calico("nat", **HOSTS, preDNAT=True, applyOnForward=True, ingress=[
            web(source={"nets": ["192.168.57.99/32"]})])],
        {"outside": {*NODES}, "node31": {*PODS, "node31"}}),
    "before NAT, the tunnel's packets too": ([
        *both("eth0", profiles=["projectcalico-default-allow"]),
        calico("nat", **HOSTS, preDNAT=True, applyOnForward=True, ingress=[
            {**ALLOW, "protocol": "TCP"}, DENY])],
        {"default/a": {"default/c", *NODES, "outside"}, "node31": {"default/a", "default/c",
                                                                 *NODES, "outside"}}),
    # Tunnel packets then pass INPUT, and lo on their way into the eBPF tunl0.
    "before NAT on all interfaces": ([
        *both(),
        calico("nat", **HOSTS, preDNAT=True, applyOnForward=True, ingress=[
            {**DENY, "protocol": "TCP", "source": {"nets": ["192.168.57.99/32"]}}])],
        {"default/a": {"default/b", "default/c", "node31", "outside"},
         "node31": {"default/a", "default/c"}, "outside": set()}),
    "services in rules": ([
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"},
         "spec": {"selector": {"app": "b"}, "ports": [{"port": 8080, "targetPort": 80}]}},
        calico("p", "default", selector="app == 'a'", egress=[
            {**ALLOW, "destination": {"services": {"name": "b"}}}]),
        calico("q", "default", selector="app == 'c'", ingress=[
            {**ALLOW, "source": {"services": {"name": "b"}}}])],
        {"default/a": {"default/b"}, "default/b": {"default/a", "default/c", *NODES, "outside"}}),
    "untracked": ([
        *both("eth0"),
        calico("raw", **HOSTS, doNotTrack=True, applyOnForward=True, types=["Ingress", "Egress"],
               ingress=[web(), web(destination={}, source={"ports": [80]}),
                        {**ALLOW, "protocol": 4}],
               egress=[web(), web(destination={}, source={"ports": [80]})])],
        {"node31": {*PODS, *NODES, "outside"}, "outside": {*NODES}}),
    "untracked on all interfaces, which Felix ignores": ([
        *both(profiles=["projectcalico-default-allow"]),
        calico("raw", **HOSTS, doNotTrack=True, applyOnForward=True, ingress=[DENY])],
        {name: EVERYONE[name] for name in (*NODES, "outside")}),
}


# A pod's packets leave with its node's address: of those the answers are not tracked and get lost.
UNTRACKED = [(a, b) for a, b in PAIRS if a not in PODS or b in PODS]


@pytest.fixture(scope="module")
def lab() -> Iterator[CalicoNet]:
    with CalicoNet(parse_topology(TOPOLOGY),
                   tunnel=os.environ.get("CALICO_MN_TUNNEL", "auto")) as net:
        yield net


A19 = ("no host endpoint", "on eth0", "on all interfaces", "on all interfaces, one way")


@pytest.mark.parametrize(("resources", "reached"), [
    pytest.param(*case, id=name, marks=pytest.mark.ipip if name in A19 else ())
    for name, case in CASES.items()])
def test_the_kernel_does_what_the_verdict_says(
        lab: CalicoNet, resources: list[dict[str, Any]], reached: dict[str, set[str]]) -> None:
    if resources:
        lab.apply(resources)
    try:
        is_untracked = any("doNotTrack" in item["spec"] for item in resources)
        udp = [("udp", 53)] if resources == both() else []
        said = assert_as_said(lab, (*udp, *FLOWS), UNTRACKED if is_untracked else PAIRS)
        assert {name: said[name] for name in reached} == reached
        assert lab.verify() == ()
    finally:
        if resources:
            lab.delete_resources(resources)


def test_trace_names_the_host_endpoint_that_drops_a_packet(lab: CalicoNet) -> None:
    resources = both("eth0")
    lab.apply(resources)
    try:
        traced = trace(lab, "outside", "node32", Probe("tcp", port=80))
    finally:
        lab.delete_resources(resources)
    assert traced.drop is not None
    assert ("ingress of HostEndpoint node32-hep, no policy and no profile allows it"
            in traced.drop.reason)


def test_a_service_that_is_translated_on_a_node_with_a_policy_for_its_port(lab: CalicoNet) -> None:
    """felix/fv/ipip_test.go: OUTPUT does not know yet by which device the packet leaves."""
    resources = [*both(), calico("8055", **HOSTS, types=["Ingress", "Egress"], egress=[
        {**ALLOW, "protocol": "TCP", "destination": {"ports": [8055]}}])]
    pod = lab["default/b"].ip
    node = lab["node31"]
    node.cmd(f"iptables -t nat -A OUTPUT -d 10.101.0.10 -p tcp -j DNAT --to {pod}:8055")
    node.cmd("ip route add 10.101.0.10 dev eth0")
    try:
        lab.apply(resources)
        assert connected(lab, [("node31", "default/b")], 8055) == {("node31", "default/b"): True}
        listener = lab.runtime.inside("default/b", _listen, 8055)
        with listener:
            assert lab["node31"].cmd(
                "timeout 20 python3 -c 'import socket; print(socket.create_connection("
                '("10.101.0.10", 8055), 15).getsockname()[1] > 0)\'').strip() == "True"
            connection, (seen, _) = listener.accept()
            connection.close()
        assert seen == str(lab.cluster.tunnel_address("node31"))
    finally:
        lab.delete_resources(resources)
        node.cmd(f"iptables -t nat -D OUTPUT -d 10.101.0.10 -p tcp -j DNAT --to {pod}:8055")
        node.cmd("ip route del 10.101.0.10 dev eth0")


def _listen(port: int) -> Any:
    import socket

    return socket.create_server(("", port))
