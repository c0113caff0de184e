"""Random policies mean to the kernel what they mean to the verdict, also while packets flow.

    k31  x/a y/a z/a   k32  x/b y/b z/b          k33  x/c y/c z/c
     |                  |                         |
    -+---- rack-a ------+---- (.1) r1 (.1) -------+---- rack-b ----    r1 knows the pods' blocks

One cluster for all. ``CALICO_MN_POLICY_SECONDS`` makes it a long run, ``CALICO_MN_POLICY_SEED``
another one, ``CALICO_MN_IPTABLES`` chooses what writes the rules.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, permutations
from typing import Any

import pytest
from policy.clusters import BASE, PLACES, calico, kubernetes
from policy.connections import Conversations
from policy.probes import ICMP, SCTP, TCP, UDP, Flow, Probes, probes

from calico_mn import CalicoNet
from calico_mn.calico.encapsulation import IPIP, VXLAN, Encapsulation
from calico_mn.calico.evolution import evolved
from calico_mn.calico.snapshot import snapshot
from calico_mn.policy import Icmp
from calico_mn.topology import parse_topology

pytestmark = [pytest.mark.root]

SECONDS = float(os.environ.get("CALICO_MN_POLICY_SECONDS", "0"))
SEED = int(os.environ.get("CALICO_MN_POLICY_SEED", "1"))
#: sets of policies for each mode, unless the seconds decide
SETS = 6
MODES = (("Always", IPIP), ("CrossSubnet", IPIP), ("Never", IPIP), ("Always", VXLAN),
         ("CrossSubnet", VXLAN))
NODES = ("k31", "k32", "k33")
PAIRS = [(a, b) for a, b in permutations((*PLACES, *NODES), 2) if not {a, b} <= set(NODES)]
UNDERLAY: list[dict[str, Any]] = [
    {"apiVersion": "calico-mn/v1", "kind": "Underlay", "metadata": {"name": "racks"}, "spec": {
        "subnets": [{"name": "rack-a", "cidr": "192.168.57.0/24"},
                    {"name": "rack-b", "cidr": "192.168.58.0/24"}],
        "routers": [{"name": "r1", "podRoutes": True, "interfaces": [
            {"subnet": "rack-a", "address": "192.168.57.1"},
            {"subnet": "rack-b", "address": "192.168.58.1"}]}]}},
    {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
     "metadata": {"name": "most", "labels": {"zone": "most"}},
     "spec": {"nets": ["10.22.0.0/17", "10.22.200.1/32", "192.168.57.0/24"]}},
    {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
     "metadata": {"name": "all", "labels": {"zone": "all"}}, "spec": {"nets": ["0.0.0.0/0"]}},
    {"apiVersion": "projectcalico.org/v3", "kind": "NetworkSet",
     "metadata": {"name": "some", "namespace": "x", "labels": {"zone": "some"}},
     "spec": {"nets": ["10.22.64.0/18"]}}]
SELECTORS = ("pod == 'a'", "pod != 'b'", "pod in {'a', 'c'}", "pod not in {'c'}", "all()",
             "has(pod)", "!has(zone)", "pod starts with 'b'", "pod contains 'a' || zone == 'most'",
             "zone == 'all'", "zone in {'most', 'some'}")
NAMESPACES = ("all()", "ns == 'y'", "ns != 'z'", "global()", "projectcalico.org/name in {'x', 'z'}")
PORTS = ([80], [81], ["1:79", 81], ["serve-80-tcp"], ["serve-81-udp", "serve-80-tcp"], ["0:65535"],
         [*range(100, 131, 2), 80], ["30000:65535"])
NETS = (["10.22.0.0/17"], ["10.22.0.0/18", "10.22.128.0/17"], ["10.22.64.0/18"], ["0.0.0.0/0"],
        ["192.168.57.31/32", "10.22.0.0/16"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[CalicoNet]:
    nodes = [{**item, "spec": {"bgp": {"ipv4Address": "192.168.58.33/24"}}}
             if item["kind"] == "Node" and item["metadata"]["name"] == "k33" else item
             for item in BASE]
    with ExitStack() as stack:
        yield stack.enter_context(CalicoNet(
            parse_topology(text([*UNDERLAY, *nodes, kubernetes("first")])),
            tunnel=os.environ.get("CALICO_MN_TUNNEL", "auto"),
            iptables=os.environ.get("CALICO_MN_IPTABLES", "auto")))


def text(items: list[dict[str, Any]]) -> str:
    """The items as a topology file has them."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def enforce(net: CalicoNet, policies: list[dict[str, Any]]) -> None:
    """Let these policies take the place of all others."""
    wanted = parse_topology(text([*BASE, *policies])).policies
    net.become(evolved(net.cluster, replace(snapshot(net.cluster), policies=wanted)))


class Draw(random.Random):
    """Policies whose parts are drawn from what the cluster has."""

    def entity(self) -> dict[str, Any]:
        """One end of a rule."""
        return self.choice([
            {}, {"selector": self.choice(SELECTORS)}, {"notSelector": self.choice(SELECTORS)},
            {"selector": self.choice(SELECTORS), "namespaceSelector": self.choice(NAMESPACES)},
            {"namespaceSelector": self.choice(NAMESPACES)},
            {"nets": self.choice(NETS)}, {"notNets": self.choice(NETS)},
            {"nets": self.choice(NETS), "notNets": self.choice(NETS)},
            {"serviceAccounts": {"names": self.sample(["sa-a", "sa-b", "sa-c"], 2)}},
            {"serviceAccounts": {"selector": "projectcalico.org/name == 'sa-b'"}},
            {"selector": self.choice(SELECTORS), "nets": self.choice(NETS)}])

    def ports(self) -> dict[str, Any]:
        """Ports of an end, or all but some."""
        return self.choice([{}, {"ports": self.choice(PORTS)}, {"notPorts": self.choice(PORTS)},
                            {"ports": self.choice(PORTS), "notPorts": self.choice(PORTS)}])

    def rule(self) -> dict[str, Any]:
        """A rule of Calico's."""
        rule = {"action": self.choice(["Allow", "Allow", "Allow", "Deny", "Log", "Pass"]),
                "source": self.entity(), "destination": self.entity()}
        protocol = self.choice(["TCP", "UDP", "ICMP", "SCTP", 17, None, None, "not"])
        if protocol == "not":
            return {**rule, "notProtocol": self.choice(["TCP", "ICMP", 132])}
        if protocol == "ICMP":
            return {**rule, "protocol": protocol, **self.choice(
                [{}, {"icmp": {"type": 8}}, {"icmp": {"type": 13, "code": 0}},
                 {"notICMP": {"type": 8, "code": 0}}])}
        if protocol in ("TCP", "UDP", "SCTP"):
            rule = {**rule, "source": {**rule["source"], **(
                self.ports() if self.random() < 0.2 else {})},
                "destination": {**rule["destination"], **self.ports()}}
        return {**rule, **({"protocol": protocol, **self.choice([{}, {"notProtocol": "SCTP"}])}
                           if protocol else {})}

    def policy(self, name: str) -> dict[str, Any]:
        """A policy of Calico, or now and then one of Kubernetes."""
        directions = self.sample(["ingress", "egress"], self.randint(1, 2))
        if self.random() < 0.2:
            peers = [{"podSelector": {"matchLabels": {"pod": self.choice("abc")}}},
                     {"namespaceSelector": {"matchLabels": {"ns": self.choice("xyz")}}},
                     {"ipBlock": {"cidr": "10.22.0.0/16", "except": ["10.22.64.0/18"]}}]
            return kubernetes(name, self.choice("xyz"), policyTypes=[
                direction.title() for direction in directions], **{direction: [{
                    "from" if direction == "ingress" else "to": self.sample(peers, 2),
                    "ports": [{"port": self.choice([80, 81, "serve-80-tcp"])},
                              {"port": 81, "protocol": self.choice(["UDP", "SCTP"])}]}]
                    for direction in directions})
        namespace = self.choice(["", "", "x", "y"])
        about = self.choice([{}, {"selector": self.choice(SELECTORS[:6])},
                             {"serviceAccountSelector": "projectcalico.org/name != 'sa-c'"},
                             {} if namespace else {"namespaceSelector": "ns == 'x' || ns == 'z'"}])
        return calico(name, namespace, **self.choice([{}, {"order": self.choice([0, 1, 2.5])}]),
                      **about, **{direction: [self.rule() for _ in range(self.randint(0, 3))]
                                  for direction in directions})


def flows(number: int) -> list[Flow]:
    """Of each protocol, from ports that no set before has used."""
    low, high = 1000 + number % 20000, 30000 + number % 20000
    return [Flow(TCP, 80, low), Flow(TCP, 81, high), Flow(UDP, 80, high), Flow(UDP, 81, low),
            Flow(UDP, 110, low), Flow(SCTP, 81, high), Flow(ICMP, 1, low),
            Flow(ICMP, 2, high, Icmp(13, 0))]


@pytest.fixture(scope="module")
def tried(cluster: CalicoNet) -> Iterator[Probes]:
    with probes(cluster, (*PLACES, *NODES)) as made:
        yield made


@pytest.mark.parametrize(("mode", "encapsulation"), MODES, ids=str)
def test_the_kernel_agrees_with_the_verdict(cluster: CalicoNet, tried: Probes, mode: str,
                                            encapsulation: Encapsulation) -> None:
    cluster.set_mode(mode, encapsulation=encapsulation)
    until = time.monotonic() + SECONDS / len(MODES)
    index, packets = MODES.index((mode, encapsulation)), 0
    for number in count():
        if number >= SETS and time.monotonic() >= until:
            break
        seed = f"{SEED}, {mode}, {encapsulation}, {number}"
        draw = Draw(seed)
        policies = [draw.policy(f"p{n}") for n in range(draw.randint(1, 5))]
        enforce(cluster, policies)
        try:
            packets += len(tried.check(PAIRS, flows(number * len(MODES) + index)))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {policies}\n{error}") from None
    assert cluster.verify() == ()
    print(f"seed {SEED}, {mode}, {encapsulation}, iptables-{cluster.iptables}: {number} sets of"
          f" policies, {packets:,} packets as said")


def test_established_flows_go_on_and_new_ones_obey(cluster: CalicoNet, tried: Probes) -> None:
    """Felix accepts RELATED and ESTABLISHED before it asks a policy."""
    pairs = list(permutations(PLACES, 2))
    draw = Draw(f"{SEED}, established")
    enforce(cluster, [calico("some", ingress=[
        {"action": "Allow", "source": {"selector": "pod in {'a', 'b'}"}}])])
    with Conversations(cluster, pairs) as spoken:
        allowed = {(a, b) for a, b in pairs if not a.endswith("c")}
        assert spoken.established == allowed
        for number in range(3):
            policies = [draw.policy(f"p{n}") for n in range(3)] if number else [
                calico("none", types=["Ingress", "Egress"])]
            enforce(cluster, policies)
            cluster.set_mode(*MODES[number][:1], encapsulation=MODES[number][1])
            assert spoken.alive() == allowed, f"seed {SEED}, set {number}: {policies}"
            tried.check(pairs, flows(19000 + number))
