"""What BGPPeers and timers say of their sessions, in sessions that live: both engines agree.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----     r1 speaks BGP, AS 64600
              |
           r2 .2, in the nodes' AS

Mode Never: a next hop in a route is the one of BGP, and r1 is the way to the other rack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from support.engines import NEEDS_BIRD, resource, routes_of_bird, with_each_engine
from support.patience import eventually
from support.topologies import two_subnets

from calico_mn import CalicoNet, Drop
from calico_mn.bgp.timers import read_timers
from calico_mn.model import Router, RouterInterface
from calico_mn.topology import load_topology

pytestmark = [pytest.mark.root, NEEDS_BIRD]

TOP_OF_RACK = Path(__file__).parents[2] / "topologies" / "top-of-rack.yaml"
NUMBERS = {"node31": 65031, "node32": 65032, "node33": 65033}
HOSTS = {"node31": "192.168.57.31", "node32": "192.168.57.32", "node33": "192.168.58.33"}
BLOCK33 = "10.22.33.0/26"


@pytest.fixture(scope="module")
def both(tunnel: str) -> Iterator[dict[str, CalicoNet]]:
    topology = two_subnets("Never")
    routers = (replace(topology.underlay.routers[0], as_number=64600), Router(
        "r2", (RouterInterface("rack-a", IPv4Address("192.168.57.2")),), as_number=64512))
    topology = replace(topology, mesh=False,
                       underlay=replace(topology.underlay, routers=routers))
    with with_each_engine(topology, tunnel, read_timers("short"), policies=False) as nets:
        yield nets


@pytest.fixture
def nets(both: dict[str, CalicoNet]) -> Iterator[dict[str, CalicoNet]]:
    """Each case leaves nodes of the default AS without BGPPeers."""
    yield both
    for net in both.values():
        if peers := net.resources("bgppeer"):
            net.delete_resources(peers)
        net.apply([node(name) for name in HOSTS])


def node(name: str, **bgp: object) -> dict[str, Any]:
    prefix = f"{HOSTS[name]}/24"
    return resource("Node", name, bgp={"ipv4Address": prefix, **bgp})


def peer(name: str, at: str, other: str, number: int, **options: object) -> dict[str, Any]:
    return resource("BGPPeer", name, node=at, peerIP=other, asNumber=number, **options)


def chain(**options: object) -> list[dict[str, Any]]:
    """node31 - node32 - node33, an AS each."""
    return [*(node(name, asNumber=number) for name, number in NUMBERS.items()), *(
        peer(f"{at}-{other}", at, HOSTS[other], NUMBERS[other], **options)
        for one, two in (("node31", "node32"), ("node32", "node33"))
        for at, other in ((one, two), (two, one)))]


def to_router(**options: object) -> list[dict[str, Any]]:
    return [peer(at, at, f"{HOSTS[at][:10]}.1", 64600, **options) for at in ("node31", "node33")]


def all_with_all(**options: object) -> list[dict[str, Any]]:
    return [resource("BGPPeer", "all", peerSelector="all()", **options)]


def manual(**options: object) -> list[dict[str, Any]]:
    """node31 and node33, a BGPPeer each; options of the first."""
    return [peer("there", "node31", HOSTS["node33"], 64512, reversePeering="Manual", **options),
            peer("back", "node33", HOSTS["node31"], 64512, reversePeering="Manual")]


ONE_END = ("node31 has ttlSecurity 2, and drops what node33, without ttlSecurity, sends with TTL"
           " 64: give both ends' BGPPeers the same")
TOO_FAR = "ttlSecurity 1 drops what comes from 2 hops away: set the BGPPeer's ttlSecurity to 2"
#: resources -> the route of node31 to node33's block, and sessions that are down and why
CASES: dict[str, tuple[list[dict[str, Any]], str, dict[str, str]]] = {
    "next-hop-of-eBGP": (chain(), "via 192.168.57.32 dev eth0", {}),
    "keepOriginalNextHop": (chain(keepOriginalNextHop=True), "via 192.168.57.1 dev eth0", {}),
    "nextHopMode-Keep": (chain(nextHopMode="Keep"), "via 192.168.57.1 dev eth0", {}),
    "nextHopMode-Self": (chain(nextHopMode="Self"), "via 192.168.57.32 dev eth0", {}),
    "ttlSecurity-between-nodes": (all_with_all(ttlSecurity=2), "via 192.168.57.1 dev eth0", {}),
    "ttlSecurity-of-too-few-hops": (all_with_all(ttlSecurity=1), "", {
        "node31": TOO_FAR, "node32": TOO_FAR, "node33": TOO_FAR}),
    "ttlSecurity-of-one-end": (manual(ttlSecurity=2), "", {"node31": ONE_END, "node33": ONE_END}),
    "ttlSecurity-of-one-end-from-afar": (manual(ttlSecurity=193),
                                         "via 192.168.57.1 dev eth0", {}),
    "ttlSecurity-with-a-router": (to_router(ttlSecurity=1, numAllowedLocalASNumbers=1),
                                  "via 192.168.57.1 dev eth0", {}),
    "its-own-AS": (to_router(), "", {}),
    "numAllowedLocalASNumbers": (to_router(numAllowedLocalASNumbers=1),
                                 "via 192.168.57.1 dev eth0", {}),
    # r2 reflects, and tells r1, in its subnet, the node as next hop.
    "two-routers-in-one-subnet": ([peer(at, at, "192.168.57.2", 64512) for at in (
        "node31", "node32")], "", {}),
    "times": (all_with_all(keepaliveTime="1s", maxRestartTime="7s"),
              "via 192.168.57.1 dev eth0", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_options_of_sessions(nets: dict[str, CalicoNet], case: str) -> None:
    resources, way, down = CASES[case]
    for net in nets.values():
        net.apply(resources)
    wanted = routes_of_bird(nets["builtin"])
    assert [line for line in wanted["node31"] if line.startswith(BLOCK33)] == (
        [f"{BLOCK33} {way} proto bird"] if way else [])
    assert nets["bird"].birds.late == () and routes_of_bird(nets["bird"]) == wanted
    for net in nets.values():
        assert net.verify() == ()
        assert {item.node: item.reason for item in net.bgp.sessions() if item.reason} == down


def test_bird_has_the_options(nets: dict[str, CalicoNet]) -> None:
    """By what BIRD itself says of the session."""
    net = nets["bird"]
    net.apply(all_with_all(ttlSecurity=2, keepaliveTime="1s", maxRestartTime="7s"))
    answer = net["node31"].birdc("show protocols all Global_192_168_58_33")
    assert re.search(r"Restart time: 7\n[^$]*multihop[^$]*Keepalive timer: +\S+/1\n", answer)


#    the timers' BFD on routers, with a hold time that is too long to end a session
def test_bfd_ends_sessions_of_routers(tunnel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calico_mn.emulation.bird._PATIENCE_LATER_S", 1.0)
    timers = read_timers("short,hold=240,bfd=300")
    with with_each_engine(load_topology(TOP_OF_RACK), tunnel, timers, policies=False) as nets:
        before = routes_of_bird(nets["builtin"])
        assert routes_of_bird(nets["bird"]) == before
        answer = nets["bird"]["tor-a"].cmd("birdc show bfd sessions")
        assert answer.count(" Up ") == 3, answer
        for net in nets.values():
            net.set_filter("up-a", [Drop(6, port=179), Drop(17)])
        wanted = routes_of_bird(nets["builtin"])
        assert not any(line.startswith(BLOCK33) for line in wanted["node31"])
        assert eventually(lambda: routes_of_bird(nets["bird"]) == wanted)
        net = nets["bird"]
        assert eventually(lambda: why_down(net, "tor-a").endswith(
            "TCP port 179 is dropped at up-a)")), net.bgp.remarks()
        for net in nets.values():
            net.set_filter("up-a")
            assert eventually(lambda net=net: routes_of_bird(net) == before)


def why_down(net: CalicoNet, speaker: str) -> str:
    net.refresh_sessions()
    return net.bgp.remarks().get(speaker, "")
