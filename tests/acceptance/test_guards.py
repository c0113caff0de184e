"""Felix's rules in a cluster without policies, and FelixConfiguration's fields while it runs.

    a ---- node31 .31 ---- rack-a 192.168.57.0/24 ---- .32 node32 ---- b
    peer0 -- calistray of node31, which is no pod's
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.topologies import one_subnet

from calico_mn import CalicoNet

pytestmark = [pytest.mark.root]
USERS_RULE = "-p tcp -m tcp --dport 9 -j ACCEPT"


@pytest.fixture(scope="module")
def net(tunnel: str) -> Iterator[CalicoNet]:
    """The cluster of the drawing, for all tests."""
    with ExitStack() as stack:
        running = stack.enter_context(CalicoNet(one_subnet("Always"), tunnel=tunnel))
        running["node31"].cmd(f"iptables -A FORWARD {USERS_RULE}; iptables -A INPUT {USERS_RULE}")
        assert running.repair().remaining == ()  # our last rules of FORWARD are behind it again
        yield running


def felix(net: CalicoNet, **spec: Any) -> None:
    """Tell all nodes' Felix this and nothing else; the nodes have what follows from it."""
    net.apply({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
               "metadata": {"name": "default"}, "spec": spec})
    assert net.verify() == ()


def rules(net: CalicoNet, chain: str) -> list[str]:
    """What a chain of filter of node31 does with which packets, without comments."""
    return [re.sub(r' -m comment --comment ("[^"]*"|\S+)', "", line).partition(f" {chain} ")[2]
            for line in net["node31"].cmd(f"iptables -S {chain}").splitlines()
            if line.startswith("-A")]


def test_every_node_is_guarded_and_all_pods_reach_each_other(net: CalicoNet) -> None:
    assert rules(net, "INPUT") == ["-j cali-INPUT", USERS_RULE]
    assert [rule for rule in rules(net, "cali-INPUT") if "ipencap" in rule] == [
        "-p ipencap -m set --match-set cali40all-hosts-net src -m addrtype --dst-type LOCAL"
        " -j ACCEPT", "-p ipencap -j DROP"]
    expect_connectivity(net, full_mesh("a", "b", "node31", "node32"))


def test_a_device_called_as_a_pods_that_is_none_sends_nothing(net: CalicoNet) -> None:
    node, pod, target = net["node31"], net["a"], net["b"].ip
    node.cmd(f"ip link add calistray type veth peer name peer0 netns {pod.pid}"
             " && ip link set calistray up && ip route add 10.22.99.9 dev calistray")
    mac = node.cmd("cat /sys/class/net/calistray/address").strip()
    pod.cmd(f"ip link set peer0 up; ip addr add 10.22.99.9 dev peer0;"
            f" ip neigh add {target} lladdr {mac} dev peer0;"
            f" ip route add {target} dev peer0 src 10.22.99.9")
    try:
        assert "100% packet loss" in pod.cmd(f"ping -c 1 -W 1 {target}")
        dropped = node.cmd("iptables -nvxL cali-from-wl-dispatch").splitlines()[-1].split()
        assert (dropped[0], dropped[2]) == ("1", "DROP"), dropped
    finally:
        node.cmd("ip link del calistray")
    expect_connectivity(net, full_mesh("a", "b"))


def test_appended_rules_come_behind_those_of_others_and_are_mended_in_order(net: CalicoNet) -> None:
    felix(net, chainInsertMode="Append")
    ours = ["-j cali-FORWARD", "-m mark --mark 0x10000/0x10000 -j ACCEPT",
            "-j MARK --set-xmark 0x10000/0x10000"]
    assert rules(net, "FORWARD") == [USERS_RULE, *ours]
    assert rules(net, "INPUT") == [USERS_RULE, "-j cali-INPUT"]
    net["node31"].cmd("iptables -D FORWARD 2")
    assert [item.namespace for item in net.verify()] == ["node31"]
    assert net.repair().remaining == ()
    assert rules(net, "FORWARD") == [USERS_RULE, *ours]
    felix(net)
    assert rules(net, "FORWARD") == [ours[0], USERS_RULE, *ours[1:]]


@pytest.mark.parametrize(("spec", "chain", "rule"), [
    ({"defaultEndpointToHostAction": "Drop"}, "cali-wl-to-host", "-j ACCEPT"),
    ({"ipipEnabled": False}, "cali-INPUT", "-p ipencap -j DROP"),
], ids=["defaultEndpointToHostAction", "ipipEnabled"])
def test_a_field_takes_a_rule_away_and_brings_it_back(
        net: CalicoNet, spec: dict[str, Any], chain: str, rule: str) -> None:
    assert rule in rules(net, chain)
    felix(net, **spec)
    assert rule not in rules(net, chain)
    felix(net)
    assert rule in rules(net, chain)
