"""Changing ipipMode on a running cluster: by the difference only, with connections alive. A6.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import select
import subprocess

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.packets import IPIP, captured
from support.patience import eventually
from support.routes import addresses, route_to, routes
from support.streams import established
from support.topologies import TWO_SUBNETS, cluster, one_subnet, two_subnets

from calico_mn.errors import ClusterError

pytestmark = pytest.mark.root


@pytest.mark.ipip
def test_a6_both_sided_change_keeps_established_connections(boot):
    net = boot(two_subnets("Always"))
    with established(net, "a", "b") as near, established(net, "a", "c") as far:
        for mode in ("CrossSubnet", "Always", "Never", "Always"):
            net.set_ipip_mode(mode)
            assert near.goes_on(), f"a-b broke in {mode}"
            if mode != "Never":
                # Never has no way across r1: the connection waits, and goes on afterwards.
                assert far.goes_on(), f"a-c broke in {mode}"


@pytest.mark.ipip
def test_a6_the_very_next_packet_takes_the_new_path(boot):
    net = boot(one_subnet("Always"))
    with established(net, "a", "b") as stream:
        with captured(net, "node31", "eth0", IPIP) as outer:
            assert stream.goes_on()
        assert outer
        net.set_ipip_mode("CrossSubnet")
        with captured(net, "node31", "eth0", IPIP) as outer:
            assert stream.goes_on()
        assert not outer


def test_a6_a_change_touches_only_the_routes_that_differ(boot):
    net = boot(two_subnets("Always"))
    before = {node: routes(net, node) for node in TWO_SUBNETS}
    changes = {change.namespace: change for change in net.set_ipip_mode("CrossSubnet")}
    # node33 is alone in its subnet: nothing differs there.
    assert set(changes) == {"node31", "node32"}
    for change in changes.values():
        assert not (change.devices_added or change.devices_removed or change.tunnels_changed
                    or change.addresses_added or change.addresses_removed or change.sysctls
                    or change.routes_removed)
    assert [str(r) for r in changes["node31"].routes_replaced] == [
        "10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird"]
    assert net.set_ipip_mode("CrossSubnet") == (), "nothing to do the second time"
    after = {node: routes(net, node) for node in TWO_SUBNETS}
    assert set(before["node31"]) ^ set(after["node31"]) == {
        "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink",
        "10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird"}
    assert before["node33"] == after["node33"]


def test_a6_ip_monitor_sees_one_replaced_route_and_no_gap(boot):
    net = boot(one_subnet("Always"))
    monitor = net["node31"].popen(["stdbuf", "-oL", "ip", "monitor", "route"], text=True,
                                  stdout=subprocess.PIPE)

    # 203.0.113.1 (TEST-NET-3) marks that the monitor listens, and where the change ends.
    def marked(action: str) -> None:
        net["node31"].pexec(["ip", "route", action, "blackhole", "203.0.113.1"])

    def heard() -> bool:
        marked("del")  # replacing a route by itself is not announced
        marked("replace")
        return bool(select_line(monitor, 0.3))

    assert eventually(heard, pause=0)
    net.set_ipip_mode("CrossSubnet")
    marked("del")
    lines = []
    while (line := monitor.stdout.readline().strip()) != "Deleted blackhole 203.0.113.1":
        lines.append(line)
    monitor.kill()
    monitor.wait()
    seen = [line for line in lines if "203.0.113.1" not in line]
    # No "Deleted" line: BIRD deletes and adds, here one replaces the other in a single step.
    assert [" ".join(line.split()) for line in seen] == [
        "10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird"]


def select_line(process: subprocess.Popen[str], seconds: float) -> str:
    """The next line that a process prints within a time, or the empty text."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else ""


# What happens when one node alone changes depends on the *reverse path filter*, by which a
# receiver drops a packet if its own route back to the source does not agree with the way the
# packet came (fib_validate_source in net/ipv4/fib_frontend.c):
#
#  0  off: paths may be asymmetric, all that has a path gets through.
#  1  strict: the route back must use the very device. node31 sends to b plainly, and node32,
#     whose route to a uses tunl0, drops what comes by eth0; the other way round, node31 drops on
#     tunl0 what its route to b would send by eth0. Lost in both directions.
#  2  loose: some route back is enough, so nothing is lost, *unless the device has no address*:
#     then the kernel falls through to the strict answer (no_addr ... last_resort there). In Never,
#     Felix strips tunl0 of its address. So a node that alone went to Never drops in loose mode
#     too what others still tunnel to it.
#
# Pings of node31 itself go through: on the plain path their source is the node's address, to which
# the others have a plain route.

@pytest.mark.ipip
@pytest.mark.parametrize("rp_filter", [0, 2])
def test_a6_one_sided_cross_subnet_loses_nothing_without_strict_filter(boot, rp_filter):
    net = boot(two_subnets("Always"), rp_filter=rp_filter)
    net.set_ipip_mode("CrossSubnet", node="node31")
    assert route_to(net, "node31", "10.22.32.0/26").endswith("dev eth0 proto bird")
    assert route_to(net, "node32", "10.22.31.0/26").endswith("dev tunl0 proto bird onlink")
    expect_connectivity(net, full_mesh("a", "b", "c", "node31", "node32", "node33"))


@pytest.mark.ipip
def test_a6_one_sided_cross_subnet_under_strict_filter_loses_the_subnets_pods(boot):
    net = boot(two_subnets("Always"), rp_filter=1)
    net.set_ipip_mode("CrossSubnet", node="node31")
    expect_connectivity(net, {
        "a": {"c"},
        "b": {"c"},
        "c": {"a", "b"},
    })


@pytest.mark.ipip
def test_a6_one_sided_never_without_filter_keeps_the_own_subnet(boot):
    net = boot(two_subnets("Always"), rp_filter=0)
    net.set_ipip_mode("Never", node="node31")
    assert addresses(net, "node31", "tunl0") == []
    # a and c lose each other at r1, which knows no pods.
    expect_connectivity(net, {
        "a": {"b"},
        "b": {"a", "c"},
        "c": {"b"},
    })


@pytest.mark.ipip
@pytest.mark.parametrize("rp_filter", [1, 2])
def test_a6_one_sided_never_under_any_filter_cuts_that_nodes_pods_off(boot, rp_filter):
    net = boot(two_subnets("Always"), rp_filter=rp_filter)
    net.set_ipip_mode("Never", node="node31")
    expect_connectivity(net, {
        "a": set(),
        "b": {"c"},
        "c": {"b"},
    })


@pytest.mark.ipip
@pytest.mark.parametrize("rp_filter", [0, 1, 2])
def test_a6_when_the_others_follow_a_one_sided_change_is_healed(boot, rp_filter):
    net = boot(two_subnets("Always"), rp_filter=rp_filter)
    net.set_ipip_mode("CrossSubnet", node="node31")
    changed = net.set_ipip_mode("CrossSubnet")
    assert [change.namespace for change in changed] == ["node32"]
    expect_connectivity(net, full_mesh("a", "b", "c"))


#    c ---> node31 plainly, node31 ---> c through the tunnel: asymmetric in every mode but Never
@pytest.mark.ipip
def test_a6_a_strict_filter_loses_pods_pings_to_nodes_across_the_router(boot):
    net = boot(two_subnets("CrossSubnet"), rp_filter=1)
    # natOutgoing would hide this: it gives pods their node's address on the way to other nodes.
    expect_connectivity(net, {
        "a": {"b", "c", "node31", "node32"},
        "b": {"a", "c", "node31", "node32"},
        "c": {"a", "b", "node33"},
        "node31": {"a", "b", "c", "node32", "node33"},
        "node32": {"a", "b", "c", "node31", "node33"},
        "node33": {"a", "b", "c", "node31", "node32"},
    })


def test_an_unknown_mode_or_node_is_refused_and_changes_nothing(boot):
    net = boot(one_subnet("Always"))
    before = routes(net, "node31")
    with pytest.raises(ClusterError, match=r"'sometimes'.*Always, CrossSubnet, Never"):
        net.set_ipip_mode("sometimes")
    with pytest.raises(ClusterError, match="no node node99"):
        net.set_ipip_mode("Never", node="node99")
    assert routes(net, "node31") == before


#    two pinned blocks of 4 addresses, both full of pods: no address for a tunnel is left
def test_after_a_mode_change_without_an_address_for_tunl0_pods_go_on_and_it_gets_a_freed_one(boot):
    pods = [f"{name}{i}@{node}" for name, node in (("a", "node31"), ("b", "node32"))
            for i in range(4)]
    net = boot(cluster("Never", *pods, pool="10.22.0.0/29", block_size=30,
                       blocks={"node31": "10.22.0.0/30", "node32": "10.22.0.4/30"}))
    net.set_ipip_mode("Always")
    assert [addresses(net, node, "tunl0") for node in ("node31", "node32")] == [[], []]
    assert route_to(net, "node31", "10.22.0.4/30") == (
        "10.22.0.4/30 via 192.168.57.32 dev tunl0 proto bird onlink")
    expect_connectivity(net, full_mesh("a0", "b0"))
    assert [text for text in net.warnings if "node31, node32: tunl0 has no address" in text]
    net.delete_pod("default/a3")
    assert [addresses(net, node, "tunl0") for node in ("node31", "node32")] == [
        ["10.22.0.3/32"], []]
    assert net.verify() == ()
