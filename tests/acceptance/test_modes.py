"""Always, CrossSubnet and Never: routes, what is on the wire, and who reaches whom.

Cases A1 to A5, A7 and A21. The routes are those that confd's calico_kernel_programming filter
makes, as ``ip route`` prints them.

     node31 .31    node32 .32               node33 .33
     10.22.31.0/26 10.22.32.0/26            10.22.33.0/26
     pod a .1      pod b .1                 pod c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
        192.168.57.0/24                     192.168.58.0/24
"""

from __future__ import annotations

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.packets import ICMP, IPIP, captured, inner, ping
from support.routes import addresses, link, route_to, routes
from support.topologies import ONE_SUBNET, TWO_SUBNETS, one_subnet, two_subnets

pytestmark = pytest.mark.root


def is_encapsulated(net, source, destination) -> bool:
    """Whether the echo request of one ping leaves its node in an IPIP packet."""
    node = net[source].node
    with captured(net, node, "eth0", IPIP) as outer, captured(net, node, "eth0", ICMP) as plain:
        answer, status = ping(net, source, net[destination].ip)
        assert status == 0, answer
    requests = [p for p in outer if p.outgoing], [p for p in plain if p.outgoing]
    assert [len(r) for r in requests] in ([1, 0], [0, 1]), requests
    return bool(requests[0])


#    a@node31 ---- rack-a ---- b@node32      Always
@pytest.mark.ipip
def test_a1_always_tunnels_even_on_one_subnet(boot):
    net = boot(one_subnet("Always"))
    a, b = net["a"], net["b"]
    assert routes(net, "node31") == [
        "default via 192.168.57.1 dev eth0",
        "blackhole 10.22.31.0/26 proto bird",
        f"10.22.31.1 dev {a.device} scope link",
        "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink",
        "192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.31",
    ]
    assert routes(net, "node32") == [
        "default via 192.168.57.1 dev eth0",
        "10.22.31.0/26 via 192.168.57.31 dev tunl0 proto bird onlink",
        "blackhole 10.22.32.0/26 proto bird",
        f"10.22.32.1 dev {b.device} scope link",
        "192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.32",
    ]
    assert addresses(net, "node31", "tunl0") == ["10.22.31.0/32"]
    assert addresses(net, "a", "eth0") == ["10.22.31.1/32"]
    assert addresses(net, "node31", a.device) == []
    with captured(net, "node31", "eth0", IPIP) as outer:
        expect_connectivity(net, full_mesh("a", "b"))
    assert {(p.source, p.destination) for p in outer} == {
        ("192.168.57.31", "192.168.57.32"), ("192.168.57.32", "192.168.57.31")}
    assert {(inner(p).source, inner(p).destination) for p in outer} == {(a.ip, b.ip), (b.ip, a.ip)}


#    a@node31 ---- rack-a ---- b@node32      CrossSubnet
def test_a2_cross_subnet_on_one_subnet_leaves_tunl0_idle(boot):
    net = boot(one_subnet("CrossSubnet"))
    assert route_to(net, "node31", "10.22.32.0/26") == (
        "10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird")
    with captured(net, "node31", "tunl0", ICMP) as tunnelled, \
            captured(net, "node31", "eth0", IPIP) as outer:
        expect_connectivity(net, full_mesh("a", "b"))
    assert not tunnelled and not outer
    assert addresses(net, "node31", "tunl0") == ["10.22.31.0/32"], "IPIP is on all the same"


#    a@node31 (.31/32) ---- rack-a ---- (.32/32) b@node32      CrossSubnet
def test_a3_cross_subnet_with_a_slash_32_node_address_tunnels_to_all_nodes(boot):
    net = boot(one_subnet("CrossSubnet", nodes={
        "node31": "192.168.57.31/32", "node32": "192.168.57.32/32"}))
    assert route_to(net, "node31", "10.22.32.0/26") == (
        "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink")
    assert is_encapsulated(net, "a", "b") and is_encapsulated(net, "b", "a")
    # The uplink itself keeps the subnet's prefix: only the Node resource says /32.
    assert addresses(net, "node31", "eth0") == ["192.168.57.31/24"]


#    a@node31 (.31/24) ---- rack-a ---- (.32/32) b@node32      CrossSubnet
@pytest.mark.ipip
def test_a3_the_local_prefix_decides_so_paths_may_be_asymmetric(boot):
    net = boot(one_subnet("CrossSubnet", nodes={**ONE_SUBNET, "node32": "192.168.57.32/32"}))
    assert route_to(net, "node31", "10.22.32.0/26").endswith("dev eth0 proto bird")
    assert route_to(net, "node32", "10.22.31.0/26").endswith("dev tunl0 proto bird onlink")
    assert not is_encapsulated(net, "a", "b")
    assert is_encapsulated(net, "b", "a")


#    a@node31, b@node32 ---- rack-a ---- r1 ---- rack-b ---- c@node33      CrossSubnet
@pytest.mark.ipip
def test_a4_cross_subnet_tunnels_only_across_the_router(boot):
    net = boot(two_subnets("CrossSubnet"))
    assert route_to(net, "node31", "10.22.32.0/26") == (
        "10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird")
    assert route_to(net, "node31", "10.22.33.0/26") == (
        "10.22.33.0/26 via 192.168.58.33 dev tunl0 proto bird onlink")
    assert route_to(net, "node33", "10.22.31.0/26") == (
        "10.22.31.0/26 via 192.168.57.31 dev tunl0 proto bird onlink")
    expect_connectivity(net, full_mesh("a", "b", "c", "node31", "node32", "node33"))
    tunnelled = {(x, y) for x in "abc" for y in "abc" if x != y and is_encapsulated(net, x, y)}
    assert tunnelled == {("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}


#    a@node31, b@node32 ---- rack-a ---- r1 (knows no pods) ---- rack-b ---- c@node33      Never
def test_a5_never_on_a_fabric_without_pod_routes_reaches_only_the_own_subnet(boot):
    net = boot(two_subnets("Never"))
    assert route_to(net, "node31", "10.22.32.0/26") == (
        "10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird")
    assert route_to(net, "node31", "10.22.33.0/26") == (
        "10.22.33.0/26 via 192.168.57.1 dev eth0 proto bird")
    assert route_to(net, "node31", "10.22.31.0/26") == "blackhole 10.22.31.0/26 proto bird"
    # A pod's packet to a node's address arrives everywhere; only what is addressed to a pod of
    # another subnet gets lost at r1, also the answers to pods.
    expect_connectivity(net, {
        "a": {"b", "node31", "node32"},
        "b": {"a", "node31", "node32"},
        "c": {"node33"},
        "node31": {"a", "b", "node32", "node33"},
        "node32": {"a", "b", "node31", "node33"},
        "node33": {"c", "node31", "node32"},
    })


#    a@node31, b@node32 ---- rack-a ---- r1 (knows the pods) ---- rack-b ---- c@node33      Never
def test_a5_never_on_a_fabric_with_pod_routes_reaches_all_pods_unencapsulated(boot):
    net = boot(two_subnets("Never", pod_routes=True))
    assert route_to(net, "r1", "10.22.33.0/26").startswith(
        "10.22.33.0/26 via 192.168.58.33 dev eth1")
    with captured(net, "r1", "eth0", IPIP) as outer:
        expect_connectivity(net, full_mesh("a", "b", "c"))
    assert not outer


#    a@node31, b@node32 ---- rack-a ---- r1 ---- rack-b ---- c@node33      Always
def test_a7_routes_and_traffic_outlive_a_dead_distributor(boot):
    net = boot(two_subnets("Always"))
    before = {node: routes(net, node) for node in TWO_SUBNETS}
    net.kill_speaker("node31")
    assert {node: routes(net, node) for node in TWO_SUBNETS} == before
    assert "blackhole 10.22.31.0/26 proto bird" in before["node31"]
    expect_connectivity(net, full_mesh("a", "b", "c"))


def test_a7_a_dead_distributor_learns_nothing_until_it_is_restarted(boot):
    net = boot(two_subnets("Always"))
    net.kill_speaker("node31")
    # An address borrowed from node33's block is announced as /32, but not to the dead one.
    net.add_pod(name="late", node="node32", ip="10.22.33.9")
    assert route_to(net, "node33", "10.22.33.9").startswith("10.22.33.9 via 192.168.57.32")
    assert route_to(net, "node31", "10.22.33.9") == ""
    # A new pod of its own needs no distributor: its address lies in a block known to all.
    net.add_pod(name="own", node="node31")
    expect_connectivity(net, full_mesh("own", "b", "c"))
    net.restart_speaker("node31")
    assert route_to(net, "node31", "10.22.33.9") == (
        "10.22.33.9 via 192.168.57.32 dev tunl0 proto bird onlink")
    expect_connectivity(net, full_mesh("a", "b", "c", "late", "own"))


#    a@node31, b@node32 ---- rack-a ---- r1 ---- rack-b ---- c@node33      Always -> Never -> Always
@pytest.mark.ipip
def test_a21_pool_to_never_strips_tunl0_of_its_address_and_leaves_the_device(boot):
    net = boot(two_subnets("Always"))
    net.set_ipip_mode("Never")
    for node in TWO_SUBNETS:
        assert addresses(net, node, "tunl0") == []
        assert ",UP," in link(net, node, "tunl0"), "Felix does not take it down"
        assert not [line for line in routes(net, node) if "tunl0" in line]
    assert route_to(net, "node31", "10.22.32.0/26") == (
        "10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird")
    with captured(net, "node31", "eth0", IPIP) as outer:
        expect_connectivity(net, {"a": {"b"}, "b": {"a"}, "c": set()})
    assert not outer


@pytest.mark.ipip
def test_a21_back_to_always_brings_an_address_and_the_tunnel_routes_back(boot):
    net = boot(two_subnets("Always"))
    net.set_ipip_mode("Never")
    net.set_ipip_mode("Always")
    for node in TWO_SUBNETS:
        # allocateip released .0 and takes the next one in turn: .1 is the pod's.
        assert addresses(net, node, "tunl0") == [f"10.22.{node[4:]}.2/32"]
    assert route_to(net, "node31", "10.22.33.0/26") == (
        "10.22.33.0/26 via 192.168.58.33 dev tunl0 proto bird onlink")
    expect_connectivity(net, full_mesh("a", "b", "c", "node31", "node32", "node33"))


@pytest.mark.ipip
def test_a21_a_cluster_that_starts_in_never_has_tunl0_down_without_address(boot):
    net = boot(one_subnet("Never"))
    assert addresses(net, "node31", "tunl0") == []
    assert ",UP" not in link(net, "node31", "tunl0").replace("LOWER_UP", "")
    assert net["a"].ip == "10.22.31.0", "no tunnel address, so the pod is first"
    net.set_ipip_mode("Always")
    assert addresses(net, "node31", "tunl0") == ["10.22.31.1/32"]
    assert ",UP," in link(net, "node31", "tunl0")
    expect_connectivity(net, full_mesh("a", "b"))
