"""BGP sessions are up where TCP port 179 works between the nodes, and routes follow them.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

node33 has the highest address as text, so that it connects to the others.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.patience import eventually
from support.routes import routes
from support.topologies import one_subnet, two_subnets

from calico_mn import Drop, load_topology
from calico_mn.model import Node
from calico_mn.topology.scaled import scaled

pytestmark = pytest.mark.root

BGP = Drop(6, port=179)
ACROSS = [("node31", "node33"), ("node32", "node33")]
NEIGHBOURS = {"a": {"b"}, "b": {"a"}, "c": set()}


def down(net):
    """The sessions that are down, with the reasons, after asking."""
    net.refresh_sessions()
    return {tuple(sorted(pair)): why for pair, why in net.cluster.unreachable().items()}


def run(net, place, line):
    out, err, status = net[place].pexec(line.split())
    assert status == 0, out + err


def test_a_router_that_drops_bgp_parts_the_subnets_until_it_does_not(boot):
    net = boot(two_subnets("Always"))
    assert down(net) == {}
    net.set_filter("r1", [BGP])
    assert down(net) == dict.fromkeys(ACROSS, "TCP port 179 is dropped at r1")
    assert net.distributor.sessions("node31") == ("node32",)
    assert not any("10.22.33.0/26" in line for line in routes(net, "node31"))
    expect_connectivity(net, NEIGHBOURS)
    assert net.verify() == ()
    net.set_filter("r1")
    assert net.distributor.sessions("node31") == ("node32", "node33")
    expect_connectivity(net, full_mesh("a", "b", "c"))


@pytest.mark.parametrize(("place", "damage", "reason"), [
    ("r1", "ip link set eth1 down", "no way to {}: r1: eth1 is down"),
    ("node33", "ip link set eth0 down", "no way to {}: node33: eth0 is down"),
    ("node33", "ip address del 192.168.58.33/24 dev eth0",
     "node33 does not have its address 192.168.58.33"),
    ("node33", "ip route del default", "no route to {}"),
])
def test_what_breaks_the_underlay_breaks_the_sessions_and_a_repair_mends_them(
        boot, place, damage, reason):
    net = boot(two_subnets("Always"))
    run(net, place, damage)
    assert down(net) == {("node31", "node33"): reason.format("192.168.57.31"),
                         ("node32", "node33"): reason.format("192.168.57.32")}
    assert not any("10.22.33.0/26" in line for line in routes(net, "node31"))
    net.repair()
    assert eventually(lambda: down(net) == {})
    assert net.verify() == ()
    expect_connectivity(net, full_mesh("a", "b", "c"))


def test_vxlan_does_not_need_bgp(boot):
    net = boot(two_subnets("Always", veth_mtu=1450))
    net.set_vxlan_mode("Always")
    net.set_filter("r1", BGP)
    assert sorted(down(net)) == ACROSS
    expect_connectivity(net, full_mesh("a", "b", "c"))


#    node33's Node resource has an address of a network to which r1 has no route
def test_a_node_that_announces_an_unreachable_address_has_no_session_from_the_start(boot):
    topology = two_subnets("Always", "a@node31", "b@node32", "c@node33")
    underlay = replace(topology.underlay, routers=(replace(
        topology.underlay.routers[0], interfaces=topology.underlay.routers[0].interfaces[:1]),))
    net = boot(replace(topology, underlay=underlay))
    assert not net.distributor.sessions("node33")
    assert net.distributor.why_down("node31", "node33") == "r1 has no route to 192.168.58.33"
    assert down(net) == dict.fromkeys(ACROSS, "r1 has no route to 192.168.58.33")
    expect_connectivity(net, NEIGHBOURS)


def test_without_a_mesh_each_node_is_alone(boot):
    net = boot(replace(two_subnets("Always"), mesh=False))
    assert down(net) == {}
    assert [net.distributor.sessions(node) for node in net.cluster.nodes] == [(), (), ()]
    expect_connectivity(net, {"a": set(), "b": set(), "c": set()})


def test_a_route_reflector_is_not_in_the_mesh(boot):
    reflector = Node("node31", IPv4Interface("192.168.57.31/24"), route_reflector="1.0.0.1")
    topology = one_subnet("Always")
    net = boot(replace(topology, nodes=(reflector, *topology.nodes[1:])))
    assert net.distributor.why_down("node31", "node32") == (
        "node31 is a route reflector, not in the mesh")


def test_a_listener_of_the_users_own_is_left_alone_and_counts(boot):
    net = boot(one_subnet("Always"))
    serving = net["node31"].popen(["python3", "-m", "http.server", "179"])
    try:
        assert down(net) == {}
        assert serving.poll() is None
    finally:
        serving.kill()
        serving.communicate()


#    28 nodes, 14 in each of two subnets: a sample of the pairs is asked
def test_in_a_large_cluster_what_a_sample_shows_is_said_of_all(boot):
    net = boot(scaled(load_topology("topologies/two-subnets.yaml"), 28, 0))
    subnets = {name: net.cluster.fabric.subnet_of(node).name
               for name, node in net.cluster.nodes.items()}
    assert down(net) == {}
    net.set_filter("r1", BGP)
    broken = down(net)
    assert len(broken) == 14 * 14
    assert all(subnets[first] != subnets[second] for first, second in broken)
    net.set_filter("r1")
    run(net, "node5", "ip link set eth0 down")
    assert set(down(net)) == {tuple(sorted(("node5", name))) for name in subnets
                              if name != "node5"}
    net.repair()
    assert eventually(lambda: down(net) == {})


#    a rule by hand, without a counter; the sessions of node33 alone cross the router
@pytest.mark.parametrize(("place", "family", "hook", "reason"), [
    ("r1", "ip", "forward", "TCP port 179 is dropped at r1"),
    ("rack-b", "bridge", "forward", "TCP port 179 is dropped at rack-b"),
    ("node33", "ip", "input", "TCP port 179 is dropped at node33"),
])
def test_the_place_of_a_rule_made_by_hand_is_found(boot, place, family, hook, reason):
    net = boot(two_subnets("Always"))
    net.filters.nft(place, ("nft", "-f", "-"), (
        f"add table {family} t\n"
        f"add chain {family} t c {{ type filter hook {hook} priority 0; }}\n"
        f"add rule {family} t c tcp {'sport' if hook == 'input' else 'dport'} 179 drop\n"))
    assert down(net) == dict.fromkeys(ACROSS, reason)
    assert "calico_mn_trace" not in net[place].pexec(["nft", "list", "ruleset"])[0]
    net.filters.nft(place, ("nft", "-f", "-"), f"delete table {family} t\n")
    assert eventually(lambda: down(net) == {})
