"""VXLAN pools in the cluster's bookkeeping: device, VTEPs, routes, neighbours, FDB entries.

The figures are those of felix/dataplane/linux/vxlan_mgr.go and calc/vxlan_resolver.go.
"""

from dataclasses import replace

import pytest

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import IPIP, VXLAN
from calico_mn.model import BlockAffinity, FelixConfiguration
from calico_mn.state import FdbEntry, Neighbour

from .clusters import AFFINITIES, ALWAYS, CROSS, NEVER, cluster, ip, net, node, pod, pool, two_racks

BLOCK31, BLOCK32, BLOCK33 = (a.cidr for a in AFFINITIES)
LEARNED_BY_31 = {BLOCK32: (ip("192.168.57.32"),), BLOCK33: (ip("192.168.58.33"),)}
VTEP32, VTEP33 = "10.22.151.0", "10.22.200.0"


def routes(made, name="node31", learned=LEARNED_BY_31):
    return [str(r) for r in made.node_state(name, learned).routes]


def vxlan_cluster(mode=ALWAYS, **changes):
    return cluster(pools=(replace(pool("10.22.0.0/16", mode=NEVER), vxlan_mode=mode),), **changes)


@pytest.mark.parametrize(("mode", "to_b", "to_c"), [
    pytest.param(ALWAYS, f"via {VTEP32} dev vxlan.calico onlink",
                 f"via {VTEP33} dev vxlan.calico onlink", id="Always"),
    pytest.param(CROSS, "via 192.168.57.32 dev eth0 proto 80 onlink",
                 f"via {VTEP33} dev vxlan.calico onlink", id="CrossSubnet"),
])
@pytest.mark.parametrize("learned", [{}, LEARNED_BY_31], ids=["without-BGP", "with-BGP"])
def test_routes_of_a_vxlan_pool_are_felixs_and_need_no_bgp(mode, to_b, to_c, learned):
    assert routes(vxlan_cluster(mode), learned=learned) == [
        "default via 192.168.57.1 dev eth0", "blackhole 10.22.138.0/26 proto 80",
        f"10.22.151.0/26 {to_b}", f"10.22.200.0/26 {to_c}"]


def test_every_peers_vtep_is_a_neighbour_and_a_forwarding_entry():
    state = vxlan_cluster(CROSS).node_state("node31", {})
    macs = {name: VXLAN.tunnel_mac(node(name, "192.168.57.9/24")) for name in ("node32", "node33")}
    assert state.neighbours == (
        Neighbour("vxlan.calico", VTEP32, macs["node32"]),
        Neighbour("vxlan.calico", VTEP33, macs["node33"]))
    assert state.fdb == (FdbEntry("vxlan.calico", macs["node32"], "192.168.57.32"),
                         FdbEntry("vxlan.calico", macs["node33"], "192.168.58.33"))


def test_in_never_there_is_no_vxlan_device_and_the_routes_are_birds():
    made = vxlan_cluster()
    made.set_mode(NEVER)
    state = made.node_state("node31", LEARNED_BY_31)
    assert [d.name for d in state.devices] == ["eth0", "tunl0"]
    assert (state.neighbours, state.fdb, made.tunnel_addresses("node31")) == ((), (), {})
    assert routes(made)[2:] == ["10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird",
                                "10.22.200.0/26 via 192.168.57.1 dev eth0 proto bird"]
    made.set_mode(ALWAYS)
    assert made.uses(VXLAN) and not made.uses(IPIP), "the pool keeps its encapsulation"


def test_a_pool_may_go_from_ipip_to_vxlan():
    made = cluster()
    assert made.tunnel_address("node31", IPIP) and not made.tunnel_address("node31", VXLAN)
    made.set_mode(ALWAYS, encapsulation=VXLAN)
    assert made.tunnel_address("node31", VXLAN) and not made.tunnel_address("node31", IPIP)
    assert made.mode_of_pool(made.topology.pools[0]).fields == {
        "ipipMode": NEVER, "vxlanMode": ALWAYS}


def test_without_a_mode_each_pool_keeps_its_own():
    made = cluster(pools=(pool("10.22.0.0/16", mode=CROSS), pool("10.33.0.0/16", mode=NEVER)))
    made.set_mode(None, encapsulation=VXLAN)
    modes = [made.mode_of_pool(each) for each in made.topology.pools]
    assert [(m.encapsulation, m.mode) for m in modes] == [(VXLAN, CROSS), (VXLAN, NEVER)]
    made.set_mode(None)
    assert [made.mode_of_pool(each) for each in made.topology.pools] == modes


def test_an_ipip_and_a_vxlan_pool_live_side_by_side():
    other = replace(pool("10.33.0.0/16", mode=NEVER), vxlan_mode=CROSS)
    made = cluster(pools=(pool("10.22.0.0/16"), other), affinities=(
        *AFFINITIES, BlockAffinity("node32", net("10.33.7.0/26"))))
    addresses = made.tunnel_addresses("node31")
    assert addresses[IPIP] in net("10.22.0.0/16") and addresses[VXLAN] in net("10.33.0.0/16")
    assert made.node_state("node31", {}).devices[1].name == "tunl0"
    assert "10.33.7.0/26 via 192.168.57.32 dev eth0 proto 80 onlink" in routes(made)
    assert "10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink" in routes(made)
    assert felix_mtu(made) == 1450


def felix_mtu(made):
    return made.add_pod(pod("late", "node31")).mtu


def test_a_node_stuck_with_ipip_has_no_vtep_and_gets_no_vxlan_routes():
    made = cluster()
    made.set_mode(ALWAYS, "node31", VXLAN)
    assert routes(made) == ["default via 192.168.57.1 dev eth0",
                            "blackhole 10.22.138.0/26 proto 80"]
    assert routes(made, "node32", {BLOCK31: (ip("192.168.57.31"),)})[-1] == (
        "10.22.138.0/26 via 192.168.57.31 dev tunl0 proto bird onlink")


def test_felix_hears_of_blocks_and_vteps_once():
    made = vxlan_cluster()
    made.has_firewall = False
    assert made.felix_changed()
    assert not made.felix_changed()
    made.add_pod(pod("a", "node31"))
    assert not made.felix_changed(), "the block is known already"
    made.add_node(node("late", "192.168.57.44/24"))
    assert made.felix_changed()


def test_a_cluster_without_vxlan_has_no_routes_of_felixs():
    made = cluster()
    made.has_firewall = False
    assert not made.felix_changed()
    made.set_mode(NEVER)
    assert not made.felix_changed()


@pytest.mark.parametrize(("uplink", "vxlan_mtu", "mtu"), [
    pytest.param(1500, 0, 1450, id="automatic"), pytest.param(9000, 0, 8950, id="jumbo"),
    pytest.param(1500, 1400, 1400, id="configured"),
])
def test_the_mtu_of_pods_and_vxlan_calico(uplink, vxlan_mtu, mtu):
    made = Cluster(replace(vxlan_cluster(underlay=two_racks(mtu=uplink)).topology,
                           felix=FelixConfiguration(vxlan_mtu=vxlan_mtu)), 0)
    device = made.node_state("node31", {}).devices[-1]
    assert (device.name, device.mtu) == ("vxlan.calico", mtu)
    assert felix_mtu(made) == mtu


def test_the_kernel_gives_vxlan_calico_no_mtu_that_its_uplink_cannot_carry():
    made = Cluster(replace(vxlan_cluster().topology, felix=FelixConfiguration(vxlan_mtu=1500)), 0)
    assert made.node_state("node31", {}).devices[-1].mtu == 1450
    assert felix_mtu(made) == 1500
