"""A BIRD that dies, while numbered packets go both ways between pods: A7 and A24, engine ``bird``.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

In "mesh" node33's BIRD dies. In "reflector" it is node31's, of which the others are clients, and
which hands nothing of its own to the pods' traffic between node32 and node33.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from support.engines import NEEDS_BIRD, routes_of_bird
from support.patience import SLOWNESS, eventually
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.bgp.timers import SHORT
from calico_mn.measure import flows, paths
from calico_mn.model import BGPPeer, Topology

pytestmark = [pytest.mark.root, NEEDS_BIRD]

BLOCKS = {"node31": "10.22.31.0/26", "node32": "10.22.32.0/26", "node33": "10.22.33.0/26"}
#: each node's blocks of others that it loses once the dead BIRD's restart time is over
CASES = {
    "mesh": ("node33", {"node31": {"node33"}, "node32": {"node33"}, "node33": set()}),
    "reflector": ("node31", {"node31": set(), "node32": {"node31", "node33"},
                             "node33": {"node31", "node32"}}),
}


def of(peerings: str) -> Topology:
    topology = two_subnets("Always")
    if peerings == "mesh":
        return topology
    return replace(topology, mesh=False, nodes=tuple(
        replace(node, route_reflector="244.0.0.1", labels=(("rr", "true"),))
        if node.name == "node31" else node for node in topology.nodes),
        bgp_peers=(BGPPeer("clients", node_selector="!has(rr)", peer_selector="has(rr)"),))


def between(net: CalicoNet) -> paths.Pair:
    """b on node32 and c on node33."""
    by_name = {endpoint.name: endpoint for endpoint in paths.endpoints(net)}
    return paths.Pair(by_name["default/b"], by_name["default/c"])


def known(net: CalicoNet) -> dict[str, set[str]]:
    """The nodes to whose blocks each node has a route; a blackhole of its own included."""
    return {node: {name for name, block in BLOCKS.items() if any(block in line for line in lines)}
            for node, lines in routes_of_bird(net).items()}


@pytest.mark.parametrize("peerings", [
    pytest.param(name, marks=pytest.mark.ipip if name == "mesh" else ()) for name in CASES])
def test_a7_a24_a_bird_that_is_killed_and_restarted_costs_no_packet(peerings, tunnel):
    dying, _ = CASES[peerings]
    timers = replace(SHORT, hold=240, graceful_restart=600, restart_wait=600)
    with CalicoNet(of(peerings), tunnel=tunnel, engine="bird", timers=timers) as net:
        before = routes_of_bird(net)
        with flows.streams(net, [between(net)], rate=100, longest=300) as running:
            net.kill_speaker(dying)
            assert routes_of_bird(net) == before
            net.restart_speaker(dying)
            until = time.monotonic_ns()
            tallies = [flows.tally(flow, running.began, until)
                       for flow in running.finish().values()]
        assert routes_of_bird(net) == before and all(map(len, before.values()))
        assert [tally.lost for tally in tallies] == [0, 0]
        assert all(tally.sent > 10 for tally in tallies)
        net.refresh_sessions()
        assert set(net.cluster.probed.values()) == {""}


@pytest.mark.parametrize("peerings", CASES)
def test_a7_a24_routes_of_a_bird_that_stays_dead_last_as_long_as_its_restart_time(
        peerings, tunnel):
    dying, lost = CASES[peerings]
    restart_s = 3
    timers = replace(SHORT, hold=240, graceful_restart=restart_s, restart_wait=3)
    with CalicoNet(of(peerings), tunnel=tunnel, engine="bird", timers=timers) as net:
        before = routes_of_bird(net)
        with flows.streams(net, [between(net)], rate=100, longest=300) as running:
            killed = time.monotonic_ns()
            net.kill_speaker(dying)
            gone = {node: set(BLOCKS) - lost[node] for node in BLOCKS}
            assert eventually(lambda: known(net) == gone), known(net)
            # Packets that went another way are under way no more, and others are sent.
            time.sleep(0.5 * SLOWNESS)
            until = time.monotonic_ns()
            to_c, _ = (flows.tally(flow, killed, until) for flow in running.finish().values())
        assert to_c.lost_at and to_c.lost_at[0] >= restart_s * 1000
        net.restart_speaker(dying)
        assert eventually(lambda: routes_of_bird(net) == before), routes_of_bird(net)
        assert net.verify() == ()
