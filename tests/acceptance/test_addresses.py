"""Addresses: unassigned, borrowed, given out in turn; A13, A14, A17, A22 and A23.

     node31 .31    node32 .32               node33 .33
     10.22.31.0/26 10.22.32.0/26            10.22.33.0/26
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.packets import ICMP, captured, ping
from support.patience import eventually
from support.routes import addresses, devices, link, route_to, routes
from support.topologies import TWO_SUBNETS, cluster, one_subnet, two_subnets

from calico_mn.errors import ClusterError, IPAMError, KernelError
from calico_mn.kernel.write import KernelWriter
from calico_mn.model import IPAMConfiguration

pytestmark = pytest.mark.root

CONNECT = """
import errno, socket, sys
s = socket.socket()
s.settimeout(2)
print(errno.errorcode.get(s.connect_ex((sys.argv[1], 80)), "connected"))
"""


#    a@node31 --> 10.22.31.40, which no pod has
def test_a13_an_unassigned_address_of_the_own_block_swallows_a_pods_packets(boot):
    net = boot(one_subnet("Always"))
    with captured(net, "a", "eth0", ICMP) as seen:
        answer, status = ping(net, "a", "10.22.31.40", "-W1")
    assert status != 0
    # Silence: a blackhole sends no ICMP, an unreachable route would.
    assert "100% packet loss" in answer and "Unreachable" not in answer
    assert len(seen) == 1


@pytest.mark.ipip
def test_a13_an_unassigned_address_of_a_remote_block_is_swallowed_there(boot):
    net = boot(one_subnet("Always"))
    # A packet that is sent while the kernel still notices the carriers is lost on the way.
    expect_connectivity(net, full_mesh("a", "b"))
    with captured(net, "node32", "tunl0", ICMP) as seen:
        answer, _ = ping(net, "a", "10.22.32.40", "-W1")
    assert "100% packet loss" in answer and "Unreachable" not in answer
    assert [p.destination for p in seen] == ["10.22.32.40"], "it did get that far"


def test_a13_from_the_host_connect_says_einval(boot):
    net = boot(one_subnet("Always"))
    out, err, _ = net["node31"].pexec([sys.executable, "-c", CONNECT, "10.22.31.40"])
    assert out.strip() == errno.errorcode[errno.EINVAL], err


#    a@node31    guest@node32 with 10.22.31.20, an address of node31's block    c@node33
@pytest.mark.ipip
def test_a14_a_borrowed_address_is_a_slash_32_everywhere(boot):
    net = boot(two_subnets("Always", "a@node31", "b@node32", "c@node33",
                           "guest@node32=10.22.31.20"))
    device = net["guest"].device
    assert route_to(net, "node32", "10.22.31.20") == f"10.22.31.20 dev {device} scope link"
    for other in ("node31", "node33"):
        assert route_to(net, other, "10.22.31.20") == (
            "10.22.31.20 via 192.168.57.32 dev tunl0 proto bird onlink")
    # The owner keeps its blackhole, which the /32 beats; the borrower gets none for that block.
    assert "blackhole 10.22.31.0/26 proto bird" in routes(net, "node31")
    assert [r for r in routes(net, "node32") if r.startswith("blackhole")] == [
        "blackhole 10.22.32.0/26 proto bird"]
    expect_connectivity(net, full_mesh("a", "b", "c", "guest", "node31", "node32", "node33"))


@pytest.mark.ipip
def test_a14_the_owner_reaches_a_borrowed_address_through_the_tunnel(boot):
    net = boot(one_subnet("Always", "a@node31", "guest@node32=10.22.31.20"))
    with captured(net, "node31", "tunl0", ICMP) as seen:
        assert ping(net, "a", "10.22.31.20")[1] == 0
    assert len(seen) == 2


def test_a14_cross_subnet_borrowing_follows_the_mode_like_any_prefix(boot):
    net = boot(two_subnets("CrossSubnet", "guest@node32=10.22.31.20"))
    assert route_to(net, "node31", "10.22.31.20") == (
        "10.22.31.20 via 192.168.57.32 dev eth0 proto bird")
    assert route_to(net, "node33", "10.22.31.20") == (
        "10.22.31.20 via 192.168.57.32 dev tunl0 proto bird onlink")


def test_a14_the_slash_32s_go_with_the_pod(boot):
    net = boot(two_subnets("Always", "guest@node32=10.22.31.20"))
    net.delete_pod("default/guest")
    assert {node: route_to(net, node, "10.22.31.20") for node in TWO_SUBNETS} == dict.fromkeys(
        TWO_SUBNETS, "")


#    a pool of two blocks of 4: each node owns one, the tunnels take .0 of each
def test_a14_a_node_borrows_by_itself_when_no_block_is_left(boot):
    pool = {"pool": "10.22.0.0/29", "block_size": 30,
            "blocks": {"node31": "10.22.0.0/30", "node32": "10.22.0.4/30"}}
    net = boot(cluster("Always", *(f"p{i}@node31" for i in range(4)), **pool))
    assert [pod.ip for pod in net.pods] == ["10.22.0.1", "10.22.0.2", "10.22.0.3", "10.22.0.5"]
    assert route_to(net, "node32", "10.22.0.5").startswith("10.22.0.5 via 192.168.57.31")
    expect_connectivity(net, full_mesh("p0", "p3", "node32"))


def test_a14_with_strict_affinity_a_node_does_not_borrow_and_the_pod_waits(boot):
    pool = {"pool": "10.22.0.0/29", "block_size": 30, "ipam": IPAMConfiguration(True),
            "blocks": {"node31": "10.22.0.0/30", "node32": "10.22.0.4/30"}}
    net = boot(cluster("Always", *(f"p{i}@node31" for i in range(4)), **pool))
    before = routes(net, "node31")
    with pytest.raises(IPAMError, match="strict"):
        net.add_pod(name="p4", node="node31")
    assert routes(net, "node31") == before and len(net.pods) == 3
    net.delete_pod("default/p1")
    assert net["p3"].ip == "10.22.0.2" and not net.cluster.admission.waiting
    expect_connectivity(net, full_mesh("p0", "p2", "p3", "node32"))
    assert net.verify() == ()


#    a pool of two addresses: tunl0 of node31 has .0, that of node32 .1, node33 has none
@pytest.mark.ipip
def test_a_node_whose_tunnel_gets_no_address_has_no_routes_until_there_is_one(boot):
    net = boot(cluster("Always", nodes={f"node3{i}": f"192.168.57.3{i}/24" for i in (1, 2, 3)},
                       pool="10.22.0.0/31", block_size=31, blocks={"node31": "10.22.0.0/31"}))
    assert addresses(net, "node33", "tunl0") == []
    assert "tunl0" not in "".join(routes(net, "node33"))
    assert net.distributor.sessions("node31") == ("node32",)
    net.delete_node("node32")
    assert addresses(net, "node33", "tunl0") == ["10.22.0.1/32"]
    assert route_to(net, "node33", "10.22.0.0/31").endswith("tunl0 proto bird onlink")
    assert route_to(net, "node31", "10.22.0.1").endswith("tunl0 proto bird onlink")
    assert net.verify() == ()


#    tunl0 of node31 and of node32 with one address, as cloned nodes have it
@pytest.mark.ipip
def test_two_nodes_with_one_tunnel_address_lose_what_the_host_sends_to_the_others_pods(boot):
    cloned = one_subnet("Always")
    net = boot(replace(cloned, nodes=tuple(
        replace(node, ipip_address=IPv4Address("10.22.31.9")) for node in cloned.nodes)),
        rp_filter=0)
    assert [addresses(net, node, "tunl0") for node in ("node31", "node32")] == [
        ["10.22.31.9/32"]] * 2
    expect_connectivity(net, full_mesh("a", "b"))
    # Without any reverse path filter: the source is the receiver's own address, a martian.
    for source, pod in (("node31", "b"), ("node32", "a")):
        assert ping(net, source, net[pod].ip, "-W1")[1] != 0
    assert net.verify() == ()


#    a@node31, b@node32 ---- rack-a, without any router
def test_a17_without_a_default_route_arp_for_the_pods_gateway_is_unanswered(boot):
    net = boot(one_subnet("Always", gateway=False))
    assert route_to(net, "node31", "default") == ""
    expect_connectivity(net, {"a": set(), "b": set()})
    # linux answers a proxied ARP request only with a route to its target by another device.
    neighbours = net["a"].pexec(["ip", "neigh", "show", "169.254.1.1"])[0]
    assert "lladdr" not in neighbours, neighbours
    assert "INCOMPLETE" in neighbours or "FAILED" in neighbours
    for node in ("node31", "node32"):
        net[node].pexec(["ip", "route", "add", "default", "via", "192.168.57.254", "dev", "eth0"])
    expect_connectivity(net, full_mesh("a", "b"))
    assert "lladdr ee:ee:ee:ee:ee:ee" in net["a"].pexec(["ip", "neigh"])[0]


def test_a17_without_a_router_hosts_reach_each_other_all_the_same(boot):
    net = boot(one_subnet("Always", gateway=False))
    expect_connectivity(net, full_mesh("node31", "node32"))


def test_a22_the_tunnel_comes_first_then_the_pods_in_order(boot):
    net = boot(one_subnet("Always", *(f"p{i}@node31" for i in range(4))))
    assert addresses(net, "node31", "tunl0") == ["10.22.31.0/32"]
    assert [pod.ip for pod in net.pods] == [f"10.22.31.{i}" for i in (1, 2, 3, 4)]


def test_a22_a_released_address_is_not_reused_before_the_block_was_gone_through(boot):
    net = boot(cluster("Always", *(f"p{i}@node31" for i in range(3)), block_size=29,
                       blocks={"node31": "10.22.31.0/29", "node32": "10.22.32.0/29"}))
    net.delete_pod("default/p1")
    given = [net.add_pod(name=f"q{i}", node="node31").ip for i in range(5)]
    # .0 to .3 were taken first; .7 is no broadcast address here; then the released .2.
    assert given == ["10.22.31.4", "10.22.31.5", "10.22.31.6", "10.22.31.7", "10.22.31.2"]
    assert addresses(net, "q4", "eth0") == ["10.22.31.2/32"]
    expect_connectivity(net, full_mesh("p0", "q3", "q4", "node32"))


def test_a22_a_second_block_when_the_first_is_full(boot):
    net = boot(cluster("Always", *(f"p{i}@node31" for i in range(4)), "b@node32", block_size=30,
                       blocks={"node31": "10.22.31.0/30", "node32": "10.22.32.0/30"}))
    first, second = net["node31"].blocks
    assert first == "10.22.31.0/30"
    assert f"blackhole {second} proto bird" in routes(net, "node31")
    assert route_to(net, "node32", second) == (
        f"{second} via 192.168.57.31 dev tunl0 proto bird onlink")
    expect_connectivity(net, full_mesh("p0", "p3", "b"))


def test_a22_an_annotated_address_is_given_and_is_not_given_twice(boot):
    net = boot(one_subnet("Always", "fixed@node31=10.22.31.1", "next@node31"))
    assert (net["fixed"].ip, net["next"].ip) == ("10.22.31.1", "10.22.31.2")
    with pytest.raises(IPAMError, match=r"10\.22\.31\.1 is taken by default/fixed"):
        net.add_pod(name="thief", node="node32", ip="10.22.31.1")
    assert "default/thief" not in net


def test_a23_a_second_add_of_the_same_pod_is_refused_and_the_first_untouched(boot):
    net = boot(one_subnet("Always"))
    before = routes(net, "node31"), routes(net, "node32"), net["a"].ip
    for node in ("node31", "node32"):
        with pytest.raises(ClusterError, match="default/a"):
            net.add_pod(name="a", node=node)
    assert (routes(net, "node31"), routes(net, "node32"), net["a"].ip) == before
    assert len(net.pods) == 2
    expect_connectivity(net, full_mesh("a", "b"))


def test_a23_delete_of_a_pod_that_never_was_names_it_and_changes_nothing(boot):
    net = boot(one_subnet("Always"))
    before = routes(net, "node31")
    with pytest.raises(ClusterError, match="default/never"):
        net.delete_pod("default/never")
    assert routes(net, "node31") == before


def test_a23_the_pods_route_goes_with_its_device(boot):
    net = boot(one_subnet("Always"))
    device, address = net["a"].device, net["a"].ip
    net.delete_pod("default/a")
    assert link(net, "node31", device) == ""
    assert route_to(net, "node31", address) == ""
    with pytest.raises(ClusterError, match="default/a"):
        net.delete_pod("default/a")


def test_a23_delete_succeeds_if_the_device_is_already_gone(boot):
    net = boot(one_subnet("Always"))
    device, address = net["a"].device, net["a"].ip
    net["node31"].pexec(["ip", "link", "del", device])
    net.delete_pod("default/a")
    assert "default/a" not in net and route_to(net, "node31", address) == ""
    net.add_pod(name="a", node="node31")
    expect_connectivity(net, full_mesh("a", "b"))


@pytest.mark.parametrize("step", ["create", "fill", "change"])
def test_a23_when_wiring_fails_the_address_is_given_back_and_nothing_stays(boot, monkeypatch, step):
    net = boot(one_subnet("Always"))
    before = {node: routes(net, node) for node in ("node31", "node32")}
    present = devices(net, "node31")

    def fail(*_args):
        raise KernelError("made to fail")

    with monkeypatch.context() as patch:
        patch.setattr(KernelWriter, step, fail)
        with pytest.raises(KernelError, match="made to fail"):
            net.add_pod(name="late", node="node31")
    assert "default/late" not in net
    assert {node: routes(net, node) for node in before} == before
    assert eventually(lambda: devices(net, "node31") == present)
    assert "default/late" not in net.cluster.endpoints
    # The next ADD of the same pod works, as Kubernetes will try.
    late = net.add_pod(name="late", node="node31")
    assert addresses(net, "late", "eth0") == [f"{late.ip}/32"]
    expect_connectivity(net, full_mesh("a", "b", "late"))
