"""A running cluster becomes another one: what it keeps, what it takes, and what is refused.

    node31 .31    node32 .32               node33 .33
       |             |                        |
  -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
       192.168.57.0/24                     192.168.58.0/24
"""

from collections.abc import MutableMapping, MutableSequence, MutableSet
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.calico.admission import Admission
from calico_mn.calico.allocateip import TunnelAddresses
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import IPIP, VXLAN
from calico_mn.calico.evolution import evolved, fork
from calico_mn.calico.ipam import IPAM, Block
from calico_mn.calico.snapshot import snapshot
from calico_mn.emulation.plan import host_states, pod_states
from calico_mn.errors import ClusterError, IPAMError
from calico_mn.model import BlockAffinity, FelixConfiguration, IPAMConfiguration
from calico_mn.state import Tunnel

from .clusters import (
    ALWAYS,
    CROSS,
    MODES,
    NEVER,
    NODE31,
    NODE32,
    NODE33,
    cluster,
    ip,
    net,
    node,
    pod,
    pool,
)

BOOKS = (Cluster, IPAM, TunnelAddresses, Admission, Block)


def states(made):
    """Every wanted state, with routes and ports in no order."""
    return {state.name: replace(state, **{
        field: tuple(sorted(getattr(state, field), key=str))
        for field in ("routes", "devices", "sysctls", "neighbours", "fdb", "addresses")})
        for state in (*host_states(made, BuiltInEngine()),
                          *chain.from_iterable(pod_states(made).values()))}


def free(made):
    return {cidr: (block.affinity, tuple(block.free), dict(block.used))
            for cidr, block in made.ipam._blocks.items()}


def living(**changes):
    """A cluster with a past: addresses used and given back, a node that sees another mode."""
    made = cluster(pods=[pod("a", "node31"), pod("b", "node32"), pod("c", "node33")], **changes)
    made.add_pod(pod("gone", "node31"))
    made.delete_pod("default/gone")
    made.set_mode(CROSS, "node32")
    return made


def test_what_is_there_becomes_itself():
    made = living()
    before = states(made), free(made)
    after = evolved(made, snapshot(made))
    assert (states(after), free(after)) == before
    # node32 sees what it saw, and the next pod gets what it would have got.
    assert after.mode("node32", after.topology.pools[0]).mode is CROSS
    assert after.add_pod(pod("d", "node31")).address == made.add_pod(pod("d", "node31")).address


def test_a_fork_shares_nothing_that_changes():
    made = living()
    before = states(made), free(made)
    other = fork(made)
    other.add_pod(pod("d", "node31"))
    other.delete_pod("default/a")
    other.set_mode(NEVER)
    other.delete_pod("default/b")
    other.delete_node("node32")
    other.add_node(node("node34", "192.168.58.34/24"))
    assert (states(made), free(made)) == before
    assert other.ipam.blocks("node32") == () and made.ipam.blocks("node32")


def test_every_container_of_a_fork_is_its_own():
    made = living()
    pairs = [(made, fork(made))]
    seen = set()
    while pairs:
        old, new = pairs.pop()
        if not isinstance(old, (*BOOKS, MutableMapping, MutableSequence, MutableSet)):
            continue
        assert old is not new, old
        if id(old) in seen:
            continue
        seen.add(id(old))
        if isinstance(old, BOOKS):
            names = old.__slots__ if isinstance(old, Block) else vars(old)
            pairs += ((getattr(old, name), getattr(new, name)) for name in names)
        elif isinstance(old, MutableMapping):
            pairs += ((item, new[key]) for key, item in old.items())
        elif isinstance(old, MutableSequence):
            pairs += zip(old, new, strict=True)
    assert len(seen) > 30


def test_a_change_without_the_underlay_keeps_what_follows_from_it():
    made = living()
    assert evolved(made, snapshot(made)).fabric is made.fabric
    without = replace(made.topology.underlay, routers=())
    after = evolved(made, replace(snapshot(made), underlay=without))
    assert after.fabric.routers == () and made.fabric.routers


def with_pods(topology, *pods, without=()):
    return replace(topology, pods=(*(p for p in topology.pods if p.name not in without), *pods))


def change(topology, **changes):
    """Every pool with these fields."""
    return replace(topology, pools=tuple(replace(p, **changes) for p in topology.pools))


def test_pods_that_come_get_what_is_free_and_those_that_stay_keep_all():
    made = living()
    wanted = with_pods(snapshot(made), pod("d", "node31"), pod("e", "node31", "10.22.138.2"),
                       without=["b"])
    after = evolved(made, wanted)
    assert {key: str(e.address) for key, e in after.endpoints.items()} == {
        "default/a": "10.22.138.1", "default/c": "10.22.200.1",
        "default/e": "10.22.138.2", "default/d": "10.22.138.3"}
    assert "default/b" in made.endpoints


def test_a_pod_keeps_its_mtu_and_a_new_one_gets_that_of_the_day():
    made = living()
    wanted = replace(with_pods(snapshot(made), pod("d", "node31")),
                     felix=FelixConfiguration(ipip_mtu=1400))
    after = evolved(made, wanted)
    assert after.endpoint("default/a").mtu == 1480 and after.endpoint("default/d").mtu == 1400
    assert [d.mtu for d in after.node_state("node31", {}).devices if isinstance(d, Tunnel)] == [
        1400]


def test_a_pool_that_is_added_has_its_own_mode_and_a_stray_node_sees_it():
    made = living()
    topology = snapshot(made)
    after = evolved(made, replace(topology, pools=(
        *topology.pools, replace(pool("10.44.0.0/16", name="new"), ipip_mode=NEVER,
                                 vxlan_mode=ALWAYS))))
    assert {str(after.mode("node32", p)) for p in after.topology.pools} == {
        "CrossSubnet", "Always (VXLAN)"}
    assert all(after.tunnel_address(n, VXLAN) in net("10.44.0.0/16") for n in after.nodes)
    assert after.tunnel_addresses("node31")[IPIP] == made.tunnel_address("node31")


def test_a_pool_whose_mode_changes_takes_the_stray_node_along():
    made = living()
    after = evolved(made, change(snapshot(made), ipip_mode=NEVER))
    assert {after.mode(n, after.topology.pools[0]).mode for n in after.nodes} == {NEVER}
    assert after.tunnel_address("node31") is None and made.tunnel_address("node31")
    # tunl0 was up, and so it stays.
    assert [d.up for d in after.node_state("node31", {}).devices if isinstance(d, Tunnel)] == [True]


def test_a_tunnel_address_moves_out_of_a_pool_that_no_longer_gives_it():
    made = cluster(pools=[pool("10.22.0.0/16", name="old"), pool("10.33.0.0/16", name="new")])
    topology = snapshot(made)
    after = evolved(made, replace(topology, pools=(
        replace(topology.pools[0], ipip_mode=NEVER), topology.pools[1])))
    for name in after.nodes:
        assert made.tunnel_address(name) in net("10.22.0.0/16")
        assert after.tunnel_address(name) in net("10.33.0.0/16")


def test_a_disabled_pool_keeps_its_pods_and_gives_no_more():
    made = living()
    wanted = change(snapshot(made), disabled=True)
    assert set(evolved(made, wanted).endpoints) == set(made.endpoints)
    after = evolved(made, with_pods(wanted, pod("d", "node31")))
    assert set(after.endpoints) == set(made.endpoints) and list(after.admission.waiting) == [
        "default/d"]
    again = evolved(after, with_pods(change(wanted, disabled=False), pod("d", "node31")))
    assert "default/d" in again.endpoints and not again.admission.waiting


def test_a_deleted_pool_takes_its_unused_blocks_along():
    made = cluster(pools=[pool("10.22.0.0/16", name="a"), pool("10.33.0.0/16", name="b")],
                   pods=[pod("x", "node31")])
    topology = snapshot(made)
    keep = [a for a in topology.affinities if not a.cidr.subnet_of(net("10.33.0.0/16"))]
    after = evolved(made, replace(topology, pools=topology.pools[:1], affinities=tuple(keep)))
    assert [p.name for p in after.topology.pools] == ["a"]
    assert after.ipam.affinities() == tuple(keep)


def test_a_nodes_address_changes_with_its_pods_running():
    made = living()
    topology = snapshot(made)
    moved = replace(topology.nodes[0], address=node("x", "192.168.57.41/24").address)
    after = evolved(made, replace(topology, nodes=(moved, *topology.nodes[1:])))
    assert after.endpoint("default/a") == made.endpoint("default/a")
    assert after.tunnel_address("node31") == made.tunnel_address("node31")
    assert "10.22.138.0/26 via 192.168.57.41 dev tunl0 proto bird onlink" in map(
        str, states(after)["node33"].routes)


def test_two_nodes_may_swap_their_addresses():
    made = living()
    first, second, third = snapshot(made).nodes
    after = evolved(made, replace(snapshot(made), nodes=(
        replace(first, address=second.address), replace(second, address=first.address), third)))
    assert after.nodes["node32"].address == first.address


def test_nodes_come_and_go_with_their_blocks():
    made = living()
    topology = with_pods(snapshot(made), without=["c"])
    late = replace(node("node34", "192.168.58.34/24"), ipip_address=ip("10.22.34.0"))
    after = evolved(made, replace(
        topology, nodes=(NODE31, NODE32, late),
        affinities=(*(a for a in topology.affinities if a.node != "node33"),
                    BlockAffinity("node34", net("10.22.34.0/26")))))
    assert list(after.nodes) == ["node31", "node32", "node34"]
    assert after.tunnel_address("node34") == ip("10.22.34.0")
    assert net("10.22.200.0/26") not in free(after)


def test_labels_decide_which_pool_serves_a_node():
    made = cluster(pools=[replace(pool("10.22.0.0/16", name="p"), node_selector="!has(away)")])
    topology = snapshot(made)
    away = replace(topology.nodes[0], labels=(("away", "yes"),))
    after = evolved(made, replace(topology, nodes=(away, *topology.nodes[1:])))
    assert made.tunnel_address("node31") and after.tunnel_address("node31") is None
    with pytest.raises(IPAMError):
        after.add_pod(pod("d", "node31"))


REFUSED = {
    "pod-moves": (lambda t: replace(t, pods=(replace(t.pods[0], node="node32"), *t.pods[1:])),
                  ClusterError, "pod default/a runs on node31 with 10.22.138.1, and a running pod"
                                " keeps both: delete it first"),
    "pod-readdressed": (
        lambda t: replace(t, pods=(replace(t.pods[0], ip=ip("10.22.138.9")), *t.pods[1:])),
        ClusterError, "keeps both"),
    "pool-cidr": (lambda t: change(t, cidr=net("10.22.0.0/15")), ClusterError,
                  r"has cidr 10\.22\.0\.0/16 and blockSize 26, which cannot be modified"),
    "pool-block-size": (lambda t: change(t, block_size=27), ClusterError, "cannot be modified"),
    "pool-in-use": (lambda t: replace(t, pools=()), ClusterError,
                    "gives default/a, default/b, default/c their addresses"),
    "block-in-use": (lambda t: replace(t, affinities=t.affinities[1:]), IPAMError,
                     r"10\.22\.138\.0/26, a block of node31, holds addresses of"),
    "node-with-pods": (lambda t: replace(t, nodes=t.nodes[1:]), ClusterError,
                       "still runs default/a"),
    "other-subnet": (
        lambda t: replace(t, nodes=(node("node31", "192.168.58.41/24"), *t.nodes[1:])),
        ClusterError, "192.168.58.41 is in another subnet"),
    "no-subnet": (lambda t: replace(t, nodes=(node("node31", "172.16.0.1/24"), *t.nodes[1:])),
                  ClusterError, "lies in no subnet"),
    "taken-by-a-node": (
        lambda t: replace(t, nodes=(node("node31", "192.168.57.32/24"), *t.nodes[1:])),
        ClusterError, "another node has 192.168.57.32"),
    "taken-by-a-router": (
        lambda t: replace(t, nodes=(node("node31", "192.168.57.1/24"), *t.nodes[1:])),
        ClusterError, "a router has 192.168.57.1"),
}


@pytest.mark.parametrize(("wish", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_change_is_refused_and_changes_nothing(wish, error, says):
    made = living()
    before = states(made), free(made)
    with pytest.raises(error, match=says):
        evolved(made, wish(snapshot(made)))
    assert (states(made), free(made)) == before


NAMES = "abcdefgh"
POOLS = (pool("10.22.0.0/28", 30, name="small"), pool("10.33.0.0/24", 28, name="large"))
NODES = (NODE31, NODE32, NODE33, node("node34", "192.168.58.34/24"))


@st.composite
def wishes(draw):
    """Another cluster than the one that runs; pods keep the nodes on which they run."""
    nodes = draw(st.lists(st.sampled_from(NODES), min_size=1, unique=True))
    pools = tuple(replace(p, **{field: draw(st.sampled_from(MODES))}, disabled=draw(st.booleans()))
                  for p in POOLS for field in [draw(st.sampled_from(["ipip_mode", "vxlan_mode"]))]
                  for p in [replace(p, ipip_mode=NEVER)])
    pods = tuple(pod(name, draw(st.sampled_from(nodes)).name)
                 for name in draw(st.sets(st.sampled_from(NAMES))))
    return nodes, pools, pods, IPAMConfiguration(draw(st.booleans()))


@settings(max_examples=60, deadline=None)
@given(st.lists(wishes(), min_size=1, max_size=6))
def test_after_any_changes_it_is_the_cluster_that_boots_from_what_it_has(changes):
    made = cluster(pools=POOLS, affinities=[], ipam=IPAMConfiguration())
    for nodes, pools, pods, ipam in changes:
        topology = snapshot(made)
        kept = {p.name: p for p in topology.pods}
        names = {n.name for n in nodes}
        wanted = replace(topology, nodes=tuple(nodes), pools=pools, ipam=ipam, pods=tuple(
            kept[p.name] if p.name in kept and kept[p.name].node in names else p for p in pods),
            affinities=tuple(a for a in topology.affinities if a.node in names))
        before = states(made), free(made)
        gone = {p.name for p in wanted.pods if p.name in kept and p.node != kept[p.name].node}
        first = with_pods(wanted, without=gone)
        try:
            after = evolved(evolved(made, first), wanted) if gone else evolved(made, wanted)
        except (ClusterError, IPAMError):
            assert (states(made), free(made)) == before
            continue
        if after.admission.warnings():
            continue  # A boot would not start calico-node where a tunnel has no address.
        made = after
        booted = Cluster(snapshot(made), 0)
        assert untraced(states(booted), made) == untraced(states(made), made)


def untraced(of, made):
    """Without what no file tells: MTUs that pods keep, and tunl0 that was up before."""
    def plain(device):
        if isinstance(device, Tunnel):
            return replace(device, up=True)
        peer = getattr(device, "peer", None)
        if peer is not None and peer.namespace in made.endpoints:
            return replace(device, mtu=0, peer=replace(peer, mtu=0))
        return device
    return {name: replace(state, devices=tuple(map(plain, state.devices)) if name in made.nodes
                          else () if name in made.endpoints else state.devices)
            for name, state in of.items()}
