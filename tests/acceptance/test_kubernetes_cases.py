"""A sample of Kubernetes' policy cases in the kernel: changes of a running cluster, and SCTP.

    r1 ---- k31  x/a y/a z/a    k32  x/b y/b z/b    k33  x/c y/c z/c     10.22.0.0/16, IPIP
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from typing import Any

import pytest
from policy.clusters import BASE, kubernetes
from policy.connections import ANSWER_S, Pairs, connected
from policy.probes import SCTP, Flow
from policy.test_kubernetes_cases import UPDATES, expected, namespace, resources
from support.patience import eventually

from calico_mn import CalicoNet
from calico_mn.topology import parse_topology

pytestmark = [pytest.mark.root]

PORT = 80
#: those that each case is about; the pure tests have all nine
PAIRS = list(permutations(("x/a", "x/b", "y/a"), 2))


@pytest.fixture(scope="module")
def cluster() -> Iterator[CalicoNet]:
    with ExitStack() as stack:
        yield stack.enter_context(CalicoNet(parse_topology(json.dumps(
            {"apiVersion": "v1", "kind": "List", "items": [*BASE, kubernetes("p")]})),
            tunnel=os.environ.get("CALICO_MN_TUNNEL", "auto")))


def become(net: CalicoNet, policies: list[dict[str, Any]], labels: dict[str, dict[str, str]]
           ) -> None:
    """Apply the labels and policies of a step, and delete the policies that it has not."""
    wanted = {policy["metadata"]["name"] for policy in policies}
    for policy in net.resources("networkpolicy"):
        if policy["metadata"]["name"] not in wanted:
            net.delete("networkpolicy", policy["metadata"]["name"], "x")
    net.apply([item for item in resources(policies, labels)
               if item["kind"] in ("Namespace", "Pod", "NetworkPolicy")])


@pytest.mark.parametrize("name", UPDATES, ids=lambda name: name.removeprefix("should "))
def test_a_change_of_policies_or_labels_reaches_the_kernel(cluster: CalicoNet, name: str) -> None:
    for policies, labels, allowed in UPDATES[name]:
        become(cluster, policies, labels)
        wanted = {pair: value for pair, value in expected(allowed).items() if pair in PAIRS}
        assert eventually(lambda want=wanted: connected(cluster, PAIRS, PORT) == want), (
            wanted, connected(cluster, PAIRS, PORT))
    assert cluster.verify() == ()


def initiated(net: CalicoNet, pairs: list[tuple[str, str]], port: int) -> Pairs:
    """Whether SCTP's first packet arrives, for each pair. No kernel here speaks SCTP itself."""
    def raw() -> socket.socket:
        item = socket.socket(socket.AF_INET, socket.SOCK_RAW, SCTP)
        item.settimeout(ANSWER_S)
        return item

    result: Pairs = {}
    for source, destination in pairs:
        sender, receiver = (net.runtime.inside(name, raw) for name in (source, destination))
        with sender, receiver:
            number = 40000 + len(result)
            address = net[destination].ip
            sender.sendto(Flow(SCTP, port, number).packet(net[source].ip, address), (address, 0))
            try:
                result[source, destination] = receiver.recv(1000)[20:22] == struct.pack("!H",
                                                                                        number)
            except TimeoutError:
                result[source, destination] = False
    return result


def test_sctp_is_let_in_by_its_ports(cluster: CalicoNet) -> None:
    become(cluster, [kubernetes("sctp", podSelector={"matchLabels": {"pod": "a"}}, ingress=[
        {"from": [namespace("y")], "ports": [{"port": 81, "protocol": "SCTP"}]}])], {})
    tried = [("y/b", "x/a"), ("x/b", "x/a"), ("y/b", "x/c")]
    assert initiated(cluster, tried, 81) == dict(zip(tried, (True, False, True), strict=True))
    assert initiated(cluster, tried[:1], 80) == {tried[0]: False}
    assert connected(cluster, tried, 81) == dict(zip(tried, (False, False, True), strict=True))
