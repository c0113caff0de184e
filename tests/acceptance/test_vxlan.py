"""VXLAN pools on the wire: device, routes, neighbours, who reaches whom, changes, repair.

The cases of felix/fv/vxlan_test.go and routing_test.go that need no Kubernetes.

     node31 .31    node32 .32               node33 .33
     10.22.31.0/26 10.22.32.0/26            10.22.33.0/26
     pod a .1      pod b .1                 pod c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
        192.168.57.0/24                     192.168.58.0/24
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.packets import ICMP, captured, ping
from support.routes import addresses, route_to, routes
from support.topologies import TWO_SUBNETS, one_subnet, two_subnets

from calico_mn import load_topology
from calico_mn.calico.encapsulation import VXLAN
from calico_mn.kernel import packets
from calico_mn.kernel.write import KernelWriter
from calico_mn.packetmatch import PROTOCOL_UDP

pytestmark = [pytest.mark.root]

ROOT = Path(__file__).parents[2]

ALL = ("a", "b", "c", "node31", "node32", "node33")
NODE32_MAC, NODE33_MAC = "66:d3:29:11:7b:69", "66:b8:17:ba:9e:10"


def shown(net, node, command):
    return [" ".join(line.split()) for line in net[node].cmd(command).splitlines()]


def device(net, node="node31"):
    return json.loads(net[node].cmd("ip -d -j link show dev vxlan.calico"))[0]


def outer_packets(net, source, destination):
    """What leaves the source's node during a ping: (VNI or None, inner source, destination)."""
    node = net[source].node if hasattr(net[source], "node") else source
    with captured(net, node, "eth0", PROTOCOL_UDP) as outer, \
            captured(net, node, "eth0", ICMP) as plain:
        answer, status = ping(net, source, net[destination].ip)
        assert status == 0, answer
    tunnelled = [packets.decode(packet.data, ethernet=False) for packet in outer if packet.outgoing]
    return tunnelled, [packet for packet in plain if packet.outgoing]


#    a@node31 ---- rack-a ---- b@node32      Always
def test_always_goes_through_the_vtep_even_on_one_subnet(boot):
    net = boot(one_subnet("Always", encapsulation=VXLAN))
    a = net["a"]
    assert routes(net, "node31") == [
        "default via 192.168.57.1 dev eth0",
        "blackhole 10.22.31.0/26 proto 80",
        f"10.22.31.1 dev {a.device} scope link",
        "10.22.32.0/26 via 10.22.32.0 dev vxlan.calico onlink",
        "192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.31",
    ]
    assert addresses(net, "node31", "vxlan.calico") == ["10.22.31.0/32"]
    assert addresses(net, "node31", "tunl0") == []
    assert shown(net, "node31", "ip neigh show dev vxlan.calico") == [
        f"10.22.32.0 lladdr {NODE32_MAC} PERMANENT"]
    assert shown(net, "node31", "bridge fdb show dev vxlan.calico") == [
        f"{NODE32_MAC} dst 192.168.57.32 self permanent"]
    expect_connectivity(net, full_mesh("a", "b", "node31", "node32"))


#    a@node31 ---- rack-a ---- b@node32      Always: Ethernet inside UDP 4789, VNI 4096
def test_on_the_wire_there_are_both_headers(boot):
    net = boot(one_subnet("Always", encapsulation=VXLAN))
    tunnelled, plain = outer_packets(net, "a", "b")
    assert len(tunnelled) == 1 and not plain
    outer, inner = tunnelled[0].layers
    assert (outer.header.source, outer.header.destination) == ("192.168.57.31", "192.168.57.32")
    assert (inner.header.source, inner.header.destination) == (net["a"].ip, net["b"].ip)
    assert inner.vni == 4096 and inner.macs == ("66:31:03:c6:ad:c8", NODE32_MAC)
    assert outer.header.length - inner.header.length == VXLAN.overhead


#    a@node31 ---- rack-a ---- b@node32      the source of the host's own packets is its VTEP
def test_a_host_reaches_remote_pods_from_its_vteps_address(boot):
    net = boot(one_subnet("Always", encapsulation=VXLAN))
    tunnelled, _ = outer_packets(net, "node31", "b")
    assert tunnelled[0].layers[1].header.source == "10.22.31.0"


#    a@node31 -- rack-a -- b@node32 ... r1 ... rack-b -- c@node33      CrossSubnet
def test_cross_subnet_tunnels_only_across_subnets(boot):
    net = boot(two_subnets("CrossSubnet", encapsulation=VXLAN))
    assert route_to(net, "node31", "10.22.32.0/26") == (
        "10.22.32.0/26 via 192.168.57.32 dev eth0 proto 80 onlink")
    assert route_to(net, "node31", "10.22.33.0/26") == (
        "10.22.33.0/26 via 10.22.33.0 dev vxlan.calico onlink")
    assert len(outer_packets(net, "a", "b")[1]) == 1
    assert len(outer_packets(net, "a", "c")[0]) == 1
    expect_connectivity(net, full_mesh(*ALL))


@pytest.mark.parametrize(("mtu", "expected"), [(1500, 1450), (9000, 8950)], ids=["1500", "9000"])
def test_the_device_has_felixs_attributes(boot, mtu, expected):
    net = boot(one_subnet("Always", encapsulation=VXLAN, mtu=mtu))
    shown = device(net)
    assert (shown["mtu"], shown["address"]) == (expected, "66:31:03:c6:ad:c8")
    info = shown["linkinfo"]["info_data"]
    assert (info["id"], info["port"], info["local"], info["link"], info["learning"]) == (
        4096, 4789, "192.168.57.31", "eth0", False)
    assert net["a"].pexec(["cat", "/sys/class/net/eth0/mtu"])[0].strip() == str(expected)


#    two_subnets: Always -> CrossSubnet -> Never -> Always, and over to IPIP and back
def test_the_mode_changes_while_the_cluster_runs(boot):
    net = boot(two_subnets("Always", encapsulation=VXLAN, pod_routes=True))
    for mode in ("CrossSubnet", "Never", "Always"):
        net.set_vxlan_mode(mode)
        assert net.verify() == (), mode
        expect_connectivity(net, full_mesh(*ALL))
        exists = "vxlan.calico" in net["node31"].cmd("ip link")
        assert exists == (mode != "Never"), "Felix deletes the device when VXLAN is off"
    net.set_ipip_mode("Always")
    assert route_to(net, "node31", "10.22.32.0/26") == (
        "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink")
    assert "vxlan.calico" not in net["node31"].cmd("ip link") and net.verify() == ()
    expect_connectivity(net, full_mesh(*ALL))
    net.set_vxlan_mode("Always")
    assert addresses(net, "node31", "tunl0") == [] and net.verify() == ()
    expect_connectivity(net, full_mesh(*ALL))


#    a@node31 (VXLAN) ---- rack-a ---- b@node32 (IPIP): node32 is stuck and has no VTEP
def test_every_node_has_its_new_routes_before_the_first_device_goes(boot, monkeypatch):
    # A device that goes takes the kernel tens of milliseconds, in which others still send to it.
    net = boot(two_subnets("Always", encapsulation=VXLAN))
    written = []
    write = KernelWriter._write
    monkeypatch.setattr(KernelWriter, "_write", lambda writer, change, *more: (
        written.append(change), write(writer, change, *more))[1])
    net.set_mode("Never", encapsulation=VXLAN)
    assert [(bool(change.routes_replaced), bool(change.devices_removed))
            for change in written] == [(True, False)] * 3 + [(False, True)] * 3
    assert not any("vxlan" in line for name in ("node31", "node32", "node33")
                   for line in shown(net, name, "ip -o link"))


def test_a_node_that_alone_follows_to_vxlan_reaches_no_remote_pod(boot):
    net = boot(one_subnet("Always"), rp_filter=0)
    net.set_vxlan_mode("Always", node="node31")
    assert route_to(net, "node31", "10.22.32.0/26") == ""
    expect_connectivity(net, {"a": {"node31", "node32"}, "b": {"node32"}, "node31": {"a", "node32"},
                              "node32": {"b", "node31"}})
    net.set_vxlan_mode("Always")
    expect_connectivity(net, full_mesh("a", "b", "node31", "node32"))


#    node32's BGP speaker is dead: Felix needs none
def test_a_dead_speaker_stops_no_vxlan_route(boot):
    net = boot(two_subnets("Always", encapsulation=VXLAN))
    net.kill_speaker("node32")
    net.add_node("late", "192.168.57.34/24")
    net.add_pod(name="d", node="late")
    assert route_to(net, "node32", str(net.cluster.ipam.blocks("late")[0])).endswith(
        "dev vxlan.calico onlink")
    expect_connectivity(net, full_mesh(*ALL, "default/d"))
    net.delete_node("late")
    assert net.verify() == ()
    assert len(shown(net, "node31", "bridge fdb show dev vxlan.calico")) == len(TWO_SUBNETS) - 1


@pytest.mark.parametrize("damage", [
    pytest.param("ip neigh del 10.22.32.0 dev vxlan.calico", id="neighbour-gone"),
    pytest.param(f"ip neigh replace 10.22.32.0 lladdr {NODE33_MAC} dev vxlan.calico nud permanent",
                 id="neighbour-wrong"),
    pytest.param(f"bridge fdb del {NODE32_MAC} dev vxlan.calico", id="fdb-gone"),
    pytest.param("bridge fdb add 66:00:00:00:00:99 dev vxlan.calico dst 192.168.57.99",
                 id="fdb-stray"),
    pytest.param("ip link del vxlan.calico", id="device-gone"),
    pytest.param("ip link set vxlan.calico mtu 1300", id="mtu"),
    pytest.param("ip addr del 10.22.31.0/32 dev vxlan.calico", id="address-gone"),
    pytest.param("ip route del 10.22.32.0/26 dev vxlan.calico", id="route-gone"),
    pytest.param("ip route add 10.22.77.0/26 via 10.22.32.0 dev vxlan.calico onlink",
                 id="route-stray"),
    pytest.param("ip link del vxlan.calico; ip link add vxlan.calico type vxlan id 7 dstport 4789"
                 " local 192.168.57.31 dev eth0", id="wrong-vni"),
])
def test_what_is_damaged_is_seen_and_repaired(boot, damage):
    net = boot(one_subnet("Always", encapsulation=VXLAN))
    net["node31"].cmd(damage)
    assert net.verify(), "seen"
    assert net.repair().remaining == ()
    assert net.verify() == ()
    expect_connectivity(net, full_mesh("a", "b", "node31", "node32"))


#    pod d runs on node32 with an address of node31's block (routing_test.go, borrowed addresses)
def test_a_borrowed_pod_address_is_reached_from_everywhere(boot):
    net = boot(two_subnets("Always", "a@node31", "b@node32", "c@node33", "d@node32=10.22.31.40",
                           encapsulation=VXLAN))
    assert route_to(net, "node31", "10.22.31.40") == (
        "10.22.31.40 via 10.22.32.0 dev vxlan.calico onlink")
    expect_connectivity(net, full_mesh(*ALL, "d"))


#    one block for all: node32's and node33's VTEPs and pods borrow from node31's
#    (routing_test.go, borrowed tunnel addresses)
@pytest.mark.parametrize("mode", ["Always", "CrossSubnet"])
def test_a_borrowed_tunnel_address_is_reached(boot, mode):
    net = boot(two_subnets(mode, encapsulation=VXLAN, pool="10.22.31.0/26",
                           blocks={"node31": "10.22.31.0/26"}))
    vtep = net.cluster.tunnel_address("node33", VXLAN)
    assert str(vtep).startswith("10.22.31."), "borrowed"
    assert route_to(net, "node31", str(vtep)).startswith(f"{vtep} via ")
    expect_connectivity(net, full_mesh(*ALL))
    assert net.verify() == ()


#    a VXLAN and an IPIP pool: each pod's packets go as its pool says
def test_an_ipip_and_a_vxlan_pool_work_side_by_side(boot):
    net = boot(load_topology(ROOT / "topologies" / "two-pools.yaml"))
    expect_connectivity(net, full_mesh(*(pod.name for pod in net.pods)))
    devices = {line.split(" dev ")[1].split()[0] for line in routes(net, "node31")
               if " dev " in line and "onlink" in line}
    assert {"tunl0", "vxlan.calico"} <= devices and net.verify() == ()
