"""The cluster's bookkeeping: modes, tunnel addresses, MTUs, what is announced, what is refused."""

from dataclasses import replace

import pytest

from calico_mn.calico.cluster import Cluster
from calico_mn.errors import ClusterError, IPAMError
from calico_mn.model import BlockAffinity, Underlay
from calico_mn.state import Address, Tunnel, VethEnd

from .clusters import (
    AFFINITIES,
    ALWAYS,
    CROSS,
    NEVER,
    NODE31,
    NODE32,
    cluster,
    ip,
    net,
    node,
    pod,
    pool,
    two_racks,
)

BLOCK31, BLOCK32, BLOCK33 = (a.cidr for a in AFFINITIES)
LEARNED_BY_31 = {BLOCK32: (ip("192.168.57.32"),), BLOCK33: (ip("192.168.58.33"),)}


def routes(made, name="node31", learned=LEARNED_BY_31):
    return [str(r) for r in made.node_state(name, learned).routes]


def tunnel(made, name="node31"):
    return next(d for d in made.node_state(name, {}).devices if isinstance(d, Tunnel))


# --- modes

@pytest.mark.parametrize(("mode", "to_b", "to_c"), [
    pytest.param(ALWAYS, "via 192.168.57.32 dev tunl0 proto bird onlink",
                 "via 192.168.58.33 dev tunl0 proto bird onlink", id="Always"),
    pytest.param(CROSS, "via 192.168.57.32 dev eth0 proto bird",
                 "via 192.168.58.33 dev tunl0 proto bird onlink", id="CrossSubnet"),
    pytest.param(NEVER, "via 192.168.57.32 dev eth0 proto bird",
                 "via 192.168.57.1 dev eth0 proto bird", id="Never"),
])
@pytest.mark.parametrize("live", [False, True], ids=["from-the-start", "changed-later"])
def test_a_nodes_routes_follow_the_pools_mode(mode, to_b, to_c, live):
    made = cluster(mode=ALWAYS if live else mode)
    made.set_mode(mode)
    assert routes(made) == ["default via 192.168.57.1 dev eth0",
                            "blackhole 10.22.138.0/26 proto bird",
                            f"10.22.151.0/26 {to_b}", f"10.22.200.0/26 {to_c}"]


def test_one_node_alone_may_change_its_mode():
    made = cluster()
    made.set_mode(NEVER, "node31")
    assert "10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird" in routes(made)
    assert routes(made, "node32", {BLOCK31: (ip("192.168.57.31"),)})[-1] == (
        "10.22.138.0/26 via 192.168.57.31 dev tunl0 proto bird onlink")
    (one,) = made.topology.pools
    assert (made.mode("node31", one).mode, made.mode("node32", one).mode) == (NEVER, ALWAYS)


def test_one_pool_alone_may_change_its_mode():
    made = cluster(pools=[pool("10.22.0.0/16", name="a"), pool("10.33.0.0/16", name="b")])
    first, second = made.topology.pools
    made.set_mode(NEVER, "node31")
    made.set_mode(CROSS, pool="b")
    assert [str(made.mode(n, p)) for n in ("node31", "node32") for p in (first, second)] == [
        "Never", "CrossSubnet", "Always", "CrossSubnet"]
    with pytest.raises(ClusterError, match="there is no IPPool c; pools: a, b"):
        made.set_mode(CROSS, pool="c")


def test_a_newcomer_takes_the_clusters_mode_and_not_that_of_a_stray_node():
    made = cluster()
    made.set_mode(CROSS)
    made.set_mode(NEVER, "node31")
    made.add_node(node("late", "192.168.57.44/24"))
    assert made.mode("late", made.topology.pools[0]).mode is CROSS


@pytest.mark.parametrize("name", ["", "node99"])
def test_the_mode_of_an_unknown_node_is_refused_and_nothing_changes(name):
    made = cluster()
    with pytest.raises(ClusterError, match="there is no node"):
        made.set_mode(NEVER, name)
    assert all(made.mode(n, made.topology.pools[0]).mode is ALWAYS for n in made.nodes)


def test_each_prefix_follows_the_mode_of_its_own_pool():
    made = cluster(pools=[pool("10.22.0.0/16", mode=NEVER), pool("10.33.0.0/16", mode=ALWAYS)])
    hop = (ip("192.168.57.32"),)
    assert routes(made, learned={net("10.22.9.0/26"): hop, net("10.33.9.0/26"): hop,
                                 net("10.44.9.0/26"): hop})[-3:] == [
        "10.22.9.0/26 via 192.168.57.32 dev eth0 proto bird",
        "10.33.9.0/26 via 192.168.57.32 dev tunl0 proto bird onlink",
        "10.44.9.0/26 via 192.168.57.32 dev eth0 proto bird"]


# --- tunnel addresses

def test_never_takes_the_tunnel_address_back_and_the_device_stays_up():
    made = cluster()
    made.set_mode(NEVER)
    assert made.tunnel_address("node31") is None
    state = made.node_state("node31", {})
    assert [a.device for a in state.addresses] == ["eth0"]
    assert tunnel(made) == Tunnel("tunl0", 1480, "eth0", up=True)


def test_the_tunnel_address_that_is_given_again_is_another_one():
    made = cluster(pods=[pod("one", "node31")])
    made.set_mode(NEVER)
    made.set_mode(ALWAYS)
    assert made.tunnel_address("node31") == ip("10.22.138.2"), ".0 went to the tail, .1 is a pod"
    assert Address("tunl0", "10.22.138.2/32") in made.node_state("node31", {}).addresses


def test_between_always_and_crosssubnet_the_tunnel_address_stays():
    made = cluster()
    made.set_mode(CROSS)
    assert made.tunnel_address("node31") == ip("10.22.138.0")


def test_one_node_alone_gives_its_tunnel_address_back():
    made = cluster()
    made.set_mode(NEVER, "node31")
    assert made.tunnel_address("node31") is None
    assert made.tunnel_address("node32") == ip("10.22.151.0")


def test_in_never_there_is_no_tunnel_address_and_tunl0_is_down_from_the_start():
    made = cluster(mode=NEVER, pods=[pod("one", "node31")])
    assert made.tunnel_address("node31") is None
    assert not tunnel(made).up
    assert made.endpoint("default/one").address == ip("10.22.138.0")
    made.set_mode(ALWAYS)
    assert tunnel(made).up


def test_the_tunnel_address_comes_from_an_enabled_pool_with_ipip():
    made = cluster(pools=[pool("10.22.0.0/16", mode=NEVER),
                          pool("10.44.0.0/16", mode=ALWAYS, disabled=True),
                          pool("10.33.0.0/16", mode=CROSS)])
    assert all(made.tunnel_address(n) in net("10.33.0.0/16") for n in made.nodes)


def test_where_no_address_is_left_for_a_tunnel_the_node_has_none_and_the_others_go_on():
    made = cluster(mode=NEVER, pools=[pool("10.22.138.0/31", 31, NEVER)],
                   affinities=[BlockAffinity("node31", net("10.22.138.0/31"))])
    made.set_mode(ALWAYS)
    assert [str(made.tunnel_address(name)) for name in made.nodes] == [
        "10.22.138.0", "10.22.138.1", "None"]
    assert tunnel(made, "node33").up and not made.admission.unstarted
    assert made.admission.warnings() == (
        "node33: tunl0 has no address: no address is left in IPPool pool-10.22.138.0/31"
        " (10.22.138.0/31).",)


# --- MTUs

@pytest.mark.parametrize(("uplink", "mode", "veth_mtu", "ipip_mtu", "pod_mtu", "tunnel_mtu"), [
    pytest.param(1500, ALWAYS, 0, 0, 1480, 1480, id="1500"),
    pytest.param(1400, ALWAYS, 0, 0, 1380, 1380, id="1400"),
    pytest.param(1500, CROSS, 0, 0, 1480, 1480, id="CrossSubnet"),
    pytest.param(1500, NEVER, 0, 0, 1500, 1480, id="Never"),
    pytest.param(1500, ALWAYS, 1500, 0, 1500, 1480, id="article"),
    # felix/fv/routing_test.go: 1300
    pytest.param(1500, ALWAYS, 0, 1300, 1300, 1300, id="ipipMTU"),
    pytest.param(1500, NEVER, 0, 1300, 1500, 1300, id="ipipMTU-Never"),
    pytest.param(1500, ALWAYS, 1440, 1500, 1440, 1500, id="both"),
])
def test_mtus(uplink, mode, veth_mtu, ipip_mtu, pod_mtu, tunnel_mtu):
    made = cluster(underlay=two_racks(mtu=uplink), mode=mode, veth_mtu=veth_mtu,
                   ipip_mtu=ipip_mtu,
                   pods=[pod("one", "node31")])
    assert made.endpoint("default/one").mtu == pod_mtu
    assert made.pod_state("default/one").devices == (VethEnd("eth0", pod_mtu),)
    assert tunnel(made).mtu == tunnel_mtu


def test_a_pod_keeps_the_mtu_that_it_was_made_with():
    made = cluster(pods=[pod("old", "node31")])
    made.set_mode(NEVER)
    made.add_pod(pod("new", "node31"))
    assert made.endpoint("default/old").mtu == 1480
    assert made.endpoint("default/new").mtu == 1500


def test_a_new_pod_has_the_mtu_of_its_own_nodes_mode():
    made = cluster()
    made.set_mode(NEVER, "node31")
    assert made.add_pod(pod("one", "node31")).mtu == 1500
    assert made.add_pod(pod("two", "node32")).mtu == 1480


# --- what a node announces

def test_a_node_announces_its_blocks_and_no_address_inside_them():
    made = cluster(pods=[pod("one", "node31"), pod("two", "node31")])
    assert made.originated("node31") == (BLOCK31,)


def borrowing():
    """node31's only block is full, node32 has the last one, so node31 borrows from it."""
    return cluster(pools=[pool("10.22.0.0/29", 30)], nodes=(NODE31, NODE32),
                   affinities=[BlockAffinity("node31", net("10.22.0.0/30")),
                               BlockAffinity("node32", net("10.22.0.4/30"))],
                   pods=[pod(f"p{i}", "node31") for i in range(4)])


def test_a_borrowed_address_is_announced_as_a_slash_32_until_its_pod_goes():
    made = borrowing()
    assert made.endpoint("default/p3").address == ip("10.22.0.5")
    assert made.originated("node31") == (net("10.22.0.0/30"), net("10.22.0.5/32"))
    assert made.originated("node32") == (net("10.22.0.4/30"),)
    made.delete_pod("default/p3")
    assert made.originated("node31") == (net("10.22.0.0/30"),)


def test_the_owner_of_a_block_reaches_its_lent_address_through_the_tunnel():
    made = borrowing()
    assert routes(made, "node32", {p: (ip("192.168.57.31"),) for p in made.originated("node31")}
                  )[1:] == ["blackhole 10.22.0.4/30 proto bird",
                            "10.22.0.0/30 via 192.168.57.31 dev tunl0 proto bird onlink",
                            "10.22.0.5 via 192.168.57.31 dev tunl0 proto bird onlink"]


def test_a_borrower_has_the_pods_route_and_no_blackhole_for_the_block():
    made = borrowing()
    device = made.endpoint("default/p3").device
    lines = routes(made, learned={net("10.22.0.4/30"): (ip("192.168.57.32"),)})
    assert f"10.22.0.5 dev {device} scope link" in lines
    assert [line for line in lines if "blackhole" in line] == [
        "blackhole 10.22.0.0/30 proto bird"]


def test_a_borrowed_tunnel_address_is_announced():
    made = cluster(pools=[pool("10.22.0.0/30", 30)], nodes=(NODE31, NODE32),
                   affinities=[BlockAffinity("node31", net("10.22.0.0/30"))])
    assert made.originated("node32") == (net("10.22.0.1/32"),)


def test_blocks_of_one_address_are_announced_and_have_no_blackhole():
    made = cluster(pools=[pool("10.22.0.0/28", 32)], affinities=[], pods=[pod("one", "node31")])
    assert len(made.originated("node31")) == 2, "the tunnel's and the pod's"
    assert all(p.prefixlen == 32 for p in made.originated("node31"))
    assert not [line for line in routes(made) if "blackhole" in line]


def test_a_block_of_one_address_is_announced_while_it_is_in_use_and_by_its_user():
    single = net("10.33.0.0/32")
    made = cluster(pools=[pool("10.22.0.0/16"), pool("10.33.0.0/30", 32)],
                   pods=[pod("one", "node31", "10.33.0.0")])
    assert single in made.originated("node31")
    made.delete_pod("default/one")
    assert single in made.ipam.blocks("node31")
    assert single not in made.originated("node31"), "there is no blackhole that would stand for it"
    made.add_pod(pod("one", "node32", "10.33.0.0"))
    assert [n for n in made.nodes if single in made.originated(n)] == ["node32"]


def test_a_pods_route_is_not_overwritten_by_what_a_dead_peer_announced_before_the_pod_moved():
    # node32 borrowed the address, its speaker died, and the pod was recreated on node31.
    made = cluster(pods=[pod("moved", "node31", "10.22.138.9")])
    stale = {net("10.22.138.9/32"): (ip("192.168.57.32"),)}
    lines = [line for line in routes(made, learned=stale) if line.startswith("10.22.138.9")]
    assert lines == [f"10.22.138.9 dev {made.endpoint('default/moved').device} scope link"]


def test_routers_know_the_pods_prefixes_where_the_file_says_so():
    pods = [pod("one", "node31")]
    plain = cluster(pods=pods)
    assert plain.router_state(plain.topology.underlay.routers[0]).routes == ()
    knowing = cluster(underlay=two_racks(pod_routes=True), pods=pods)
    (router,) = knowing.topology.underlay.routers
    assert [str(r) for r in knowing.router_state(router).routes] == [
        "10.22.138.0/26 via 192.168.57.31 dev eth0 proto static",
        "10.22.151.0/26 via 192.168.57.32 dev eth0 proto static",
        "10.22.200.0/26 via 192.168.58.33 dev eth1 proto static"]


# --- the state of a node

def test_a_node_without_a_router_has_no_default_route_and_no_way_to_another_subnet():
    made = cluster(underlay=Underlay(two_racks().subnets))
    assert routes(made) == ["blackhole 10.22.138.0/26 proto bird",
                            "10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink",
                            "unreachable 10.22.200.0/26 proto bird"]


def test_a_slash_32_node_tunnels_to_all_and_still_has_its_subnets_prefix_on_eth0():
    made = cluster(mode=CROSS, nodes=[node("node31", "192.168.57.31/32"), NODE32],
                   affinities=AFFINITIES[:2])
    assert routes(made)[-2] == "10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink"
    assert Address("eth0", "192.168.57.31/24") in made.node_state("node31", {}).addresses


def test_the_uplink_comes_first_for_source_addresses_follow_the_order_of_devices():
    made = cluster(pods=[pod("one", "node31")])
    assert [d.name for d in made.node_state("node31", {}).devices] == [
        "eth0", "tunl0", made.endpoint("default/one").device]


@pytest.mark.parametrize("rp_filter", [0, 1, 2])
def test_rp_filter_reaches_the_default_and_every_pods_device(rp_filter):
    made = cluster(rp_filter, pods=[pod("one", "node31")])
    values = {s.path: s.value for s in made.node_state("node31", {}).sysctls}
    device = made.endpoint("default/one").device
    assert values["net/ipv4/conf/default/rp_filter"] == rp_filter
    assert values[f"net/ipv4/conf/{device}/rp_filter"] == rp_filter


# --- pods and nodes come and go

def test_a_deleted_pods_address_is_reused_last():
    made = cluster(pods=[pod(f"p{i}", "node31") for i in range(3)])
    gone = made.delete_pod("default/p0")
    later = [made.add_pod(pod(f"q{i}", "node31")).address for i in range(61)]
    assert later[:3] == [ip("10.22.138.4"), ip("10.22.138.5"), ip("10.22.138.6")]
    assert later[-1] == gone.address


def test_a_fixed_address_of_the_file_is_kept_from_pods_that_come_earlier_in_it():
    made = cluster(pods=[pod("first", "node31"), pod("fixed", "node31", "10.22.138.1")])
    assert made.endpoint("default/fixed").address == ip("10.22.138.1")
    assert made.endpoint("default/first").address == ip("10.22.138.2")


def test_a_node_that_comes_back_finds_its_block_again():
    made = cluster(affinities=[])
    block = made.ipam.blocks("node31")
    made.delete_node("node31")
    assert made.ipam.blocks("node31") == ()
    made.add_node(NODE31)
    assert made.ipam.blocks("node31") == block
    assert made.tunnel_address("node31") == block[0].network_address


def test_a_node_that_leaves_does_not_take_lent_addresses_along():
    made = borrowing()
    made.delete_node("node32")
    assert made.endpoint("default/p3").address == ip("10.22.0.5")
    assert made.originated("node31") == (net("10.22.0.0/30"), net("10.22.0.5/32"))


@pytest.mark.parametrize(("action", "says"), [
    pytest.param(lambda c: c.node("node99"), "no node node99; nodes: node31, node32, node33",
                 id="unknown-node"),
    pytest.param(lambda c: c.endpoint("default/none"), "no pod default/none", id="unknown-pod"),
    pytest.param(lambda c: c.delete_pod("default/none"), "no pod default/none", id="delete-pod"),
    pytest.param(lambda c: c.delete_node("node99"), "no node node99", id="delete-node"),
    pytest.param(lambda c: c.add_pod(pod("x", "node99")), "no node node99", id="pod-on-no-node"),
    pytest.param(lambda c: c.add_pod(pod("one", "node32")), "a pod default/one already",
                 id="duplicate-pod"),
    pytest.param(lambda c: c.add_node(NODE31), "a node node31 already", id="duplicate-node"),
    pytest.param(lambda c: c.add_node(node("n", "192.168.57.32/24")), r"192\.168\.57\.32",
                 id="duplicate-address"),
    pytest.param(lambda c: c.add_node(node("n", "10.9.9.9/24")), "lies in no subnet",
                 id="node-outside"),
    pytest.param(lambda c: c.delete_node("node31"), "node31 still runs default/one",
                 id="node-with-pods"),
])
def test_what_cannot_be_done_is_refused_with_names_and_changes_nothing(action, says):
    made = cluster(pods=[pod("one", "node31")])

    def picture():
        return (list(made.nodes), dict(made.endpoints), made.ipam.affinities(),
                [made.node_state(n, {}) for n in made.nodes])

    before = picture()
    with pytest.raises(ClusterError, match=says):
        action(made)
    assert picture() == before


def test_without_an_address_no_pod_is_added_and_it_works_once_there_is_one():
    made = cluster(pools=[pool("10.22.138.0/31", 31)], nodes=(NODE31,), affinities=[],
                   pods=[pod("one", "node31")])
    with pytest.raises(IPAMError):
        made.add_pod(pod("late", "node31"))
    assert list(made.endpoints) == ["default/one"]
    made.delete_pod("default/one")
    assert made.add_pod(pod("late", "node31")).address == ip("10.22.138.1")


# --- a node's own prefix

@pytest.mark.parametrize(("address", "node_prefix", "nic", "neighbour"), [
    pytest.param("192.168.57.31/24", 0, "192.168.57.31/24", True, id="the-subnets"),
    pytest.param("192.168.57.31/16", 0, "192.168.57.31/16", True, id="wider"),
    pytest.param("192.168.57.31/32", 0, "192.168.57.31/24", True, id="none-given"),
    pytest.param("192.168.57.31/32", 32, "192.168.57.31/32", False, id="a-clouds-nic"),
    pytest.param("192.168.57.40/27", 0, "192.168.57.40/27", False, id="narrower"),
])
def test_a_nodes_nic_has_the_prefix_that_calico_reads_from_it(
    address, node_prefix, nic, neighbour
):
    base = cluster(mode=NEVER).topology
    subnets = tuple(replace(subnet, node_prefix=node_prefix) for subnet in base.underlay.subnets)
    nodes = (node("node31", address), *base.nodes[1:])
    made = Cluster(replace(base, nodes=nodes,
                           underlay=replace(base.underlay, subnets=subnets)), 2)
    state = made.node_state("node31", {})
    assert next(a.address for a in state.addresses if a.device == "eth0") == nic
    routes = {route.destination: route for route in state.routes}
    gateway = routes["default"].via
    assert (gateway in routes) is not neighbour  # where it is no neighbour, it has a route
