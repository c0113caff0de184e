"""Pods and nodes that come and go on a running cluster.

     node31 .31    node32 .32               node33 .33
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import pytest
from support import machine
from support.connectivity import expect_connectivity, full_mesh
from support.routes import addresses, devices, link, route_to, routes
from support.streams import established
from support.topologies import one_subnet, two_subnets

from calico_mn.errors import ClusterError, IPAMError, KernelError
from calico_mn.kernel.write import KernelWriter

pytestmark = pytest.mark.root


def test_add_pod_is_wired_like_the_others_and_reaches_all(boot):
    net = boot(two_subnets("Always"))
    late = net.add_pod(namespace="sit", name="late", node="node32")
    assert (late.name, late.ip, late.node) == ("sit/late", "10.22.32.2", "node32")
    assert net.get("sit/late") is late and net.pods[-1] is late
    assert route_to(net, "node32", late.ip) == f"{late.ip} dev {late.device} scope link"
    assert routes(net, "sit/late") == routes(net, "b")
    expect_connectivity(net, full_mesh("a", "b", "c", "sit/late", "node31", "node33"))


def test_add_pod_in_an_own_block_changes_nothing_on_other_nodes(boot):
    net = boot(two_subnets("Always"))
    before = routes(net, "node31"), routes(net, "node33")
    net.add_pod(name="late", node="node32")
    assert (routes(net, "node31"), routes(net, "node33")) == before


def test_delete_pod_leaves_no_device_route_process_or_namespace(boot):
    net = boot(two_subnets("Always"))
    pod = net["a"]
    pod.cmd("sleep 1000 &")
    pod.popen(["sleep", "1000"])
    inode = int(pod.cmd("stat -L -c %i /proc/self/ns/net"))
    device = pod.device
    net.delete_pod("default/a")
    assert link(net, "node31", device) == ""
    assert route_to(net, "node31", pod.ip) == ""
    assert not [name for name in machine.processes_of_runs().values() if name == "sleep"]
    assert inode not in machine.network_namespaces()
    assert "default/a" not in net and pod not in net.pods and pod not in net.hosts
    assert not [lnk for lnk in net.links if pod in (lnk.intf1.node, lnk.intf2.node)]
    expect_connectivity(net, full_mesh("b", "c"))


def test_a_pod_that_is_added_again_gets_the_next_address_in_turn(boot):
    net = boot(one_subnet("Always"))
    assert net["a"].ip == "10.22.31.1"
    net.delete_pod("default/a")
    assert net.add_pod(name="a", node="node31").ip == "10.22.31.2"
    expect_connectivity(net, full_mesh("a", "b", "node32"))


def test_a_pod_may_come_back_on_another_node(boot):
    net = boot(two_subnets("Always"))
    net.delete_pod("default/a")
    assert net.add_pod(name="a", node="node33").ip == "10.22.33.2"
    expect_connectivity(net, full_mesh("a", "b", "c"))


def test_other_connections_live_on_while_pods_come_and_go(boot):
    net = boot(two_subnets("Always"))
    with established(net, "a", "c") as stream:
        for number in range(3):
            net.add_pod(name=f"late{number}", node="node31")
        for number in range(3):
            net.delete_pod(f"default/late{number}")
        assert stream.goes_on()


@pytest.mark.parametrize(("request_", "error", "text"), [
    ({"name": "x", "node": "node99"}, ClusterError, "node99"),
    ({"name": "x", "node": "node31", "ip": "10.99.0.1"}, IPAMError, "no enabled IPPool"),
    ({"name": "x", "node": "node31", "ip": "10.22.31.0"}, IPAMError, "taken"),
])  # fmt: skip
def test_a_refused_pod_changes_nothing(boot, request_, error, text):
    net = boot(one_subnet("Always"))
    before = routes(net, "node31"), len(net), len(net.links)
    with pytest.raises(error, match=text):
        net.add_pod(**request_)
    assert (routes(net, "node31"), len(net), len(net.links)) == before
    # Nor was an address used up.
    assert net.add_pod(name="x", node="node31").ip == "10.22.31.2"


#    node31, node32 ---- rack-a ---- r1 ---- rack-b ---- node33, node34 (joins)
@pytest.mark.ipip
def test_add_node_joins_the_mesh_and_takes_pods(boot):
    net = boot(two_subnets("CrossSubnet"))
    node = net.add_node("node34", "192.168.58.34/24")
    assert net.nodes[-1] is node and node.address == "192.168.58.34"
    [tunnel] = addresses(net, "node34", "tunl0")
    block = node.blocks[0]
    assert tunnel == f"{block.partition('/')[0]}/32"
    assert route_to(net, "node33", block) == f"{block} via 192.168.58.34 dev eth0 proto bird"
    assert route_to(net, "node31", block) == (
        f"{block} via 192.168.58.34 dev tunl0 proto bird onlink")
    net.add_pod(name="d", node="node34")
    expect_connectivity(net, full_mesh("a", "b", "c", "d", "node31", "node34"))


def test_delete_node_takes_its_pods_routes_and_port_away(boot):
    net = boot(two_subnets("Always"))
    net.delete_node("node32")
    for other in ("node31", "node33"):
        assert not [line for line in routes(net, other) if "192.168.57.32" in line]
    assert "default/b" not in net and "node32" not in net
    assert link(net, "rack-a", "node32") == ""
    expect_connectivity(net, full_mesh("a", "c", "node31", "node33"))


def test_a_node_that_comes_back_works_again(boot):
    net = boot(two_subnets("Always"))
    net.delete_node("node32")
    net.add_node("node32", "192.168.57.32/24")
    net.add_pod(name="b", node="node32")
    expect_connectivity(net, full_mesh("a", "b", "c", "node31", "node32"))


@pytest.mark.parametrize(("name", "address", "text"), [
    ("node31", "192.168.57.40/24", "node31"),
    ("node40", "192.168.57.31/24", "192.168.57.31"),
    ("node40", "172.16.0.1/24", "172.16.0.1"),
    ("node40", "192.168.57.1/24", r"192\.168\.57\.1\b"),
    ("node40", "192.168.57.300/24", r"192\.168\.57\.300"),
])  # fmt: skip
def test_a_refused_node_changes_nothing(boot, name, address, text):
    net = boot(one_subnet("Always"))

    def present():
        return routes(net, "node31"), devices(net, "rack-a"), len(net), len(net.links)

    before = present()
    with pytest.raises(ClusterError, match=text):
        net.add_node(name, address)
    assert present() == before
    net.add_node("node41", "192.168.57.41/24")
    assert len(routes(net, "node31")) == len(before[0]) + 1


@pytest.mark.ipip
def test_a_mode_change_covers_pods_and_nodes_that_came_later(boot):
    net = boot(two_subnets("Always"))
    node = net.add_node("node34", "192.168.57.34/24")
    net.add_pod(name="d", node="node34")
    net.set_ipip_mode("CrossSubnet")
    assert route_to(net, "node31", node.blocks[0]).endswith("via 192.168.57.34 dev eth0 proto bird")
    assert route_to(net, "node34", "10.22.33.0/26").endswith("dev tunl0 proto bird onlink")
    expect_connectivity(net, full_mesh("a", "b", "c", "d"))


@pytest.mark.parametrize("step", ["create", "fill", "change"])
def test_a_node_whose_wiring_fails_leaves_nothing_and_may_be_added_again(boot, monkeypatch, step):
    net = boot(one_subnet("Always"))
    before = {name: routes(net, name) for name in ("node31", "node32")}

    def fail(*_args):
        raise KernelError("made to fail")

    with monkeypatch.context() as patch:
        patch.setattr(KernelWriter, step, fail)
        with pytest.raises(KernelError, match="made to fail"):
            net.add_node("node33", "192.168.57.33/24")
    assert "node33" not in net and "node33" not in net.cluster.nodes
    assert {name: routes(net, name) for name in ("node31", "node32")} == before
    assert link(net, "rack-a", "node33") == ""
    net.add_node("node33", "192.168.57.33/24")
    net.add_pod(name="c", node="node33")
    expect_connectivity(net, full_mesh("a", "b", "c"))
