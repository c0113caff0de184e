"""Both engines bring the same kernel routes, in peerings of many kinds, step by step.

     node31 .31    node32 .32               node33 .33    node34 .34
     pod a         pod b                    pod c
        |             |                        |             |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ---+---

Compared is each route of protocol bird as text, on every node and router: destination, type,
gateway, device, protocol, scope, metric, flags and all next hops. ``SHARED`` is a block to which
both node32 and node33 have an affinity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from support.engines import (
    NEEDS_BIRD,
    attributes,
    bounce_tunnel,
    routes_of_bird,
    with_each_engine,
)
from support.patience import eventually
from support.topologies import TWO_SUBNETS, two_subnets

from calico_mn import CalicoNet, Drop
from calico_mn.bgp.engine import BgpRoute
from calico_mn.bgp.timers import SHORT
from calico_mn.bgp_resources import BGPFilter, BGPFilterRule, SessionOptions
from calico_mn.model import (
    BGPPeer,
    BlockAffinity,
    Router,
    RouterInterface,
    Subnet,
    Topology,
    Underlay,
)
from calico_mn.topology import load_topology

pytestmark = [pytest.mark.root, NEEDS_BIRD]

FILE = Path(__file__).parents[2] / "topologies" / "top-of-rack.yaml"
SHARED = "10.22.40.0/26"
#: no session ends by a timer
LASTING = replace(SHORT, hold=240, graceful_restart=600)


def nodes(topology: Topology, **fields: dict[str, object]) -> Topology:
    """The topology, with other fields of these nodes."""
    return replace(topology, nodes=tuple(
        replace(node, **fields.get(node.name, {})) for node in topology.nodes))


def mesh() -> Topology:
    topology = two_subnets("Always", nodes={**TWO_SUBNETS, "node34": "192.168.58.34/24"})
    return replace(topology, affinities=topology.affinities + tuple(
        BlockAffinity(node, IPv4Network(SHARED)) for node in ("node32", "node33")))


def with_peer(topology: Topology) -> Topology:
    """A BGPPeer of all nodes that would let nothing pass, beside the mesh."""
    return replace(topology, bgp_filters=(BGPFilter("none", exports=(BGPFilterRule(False),)),),
                   bgp_peers=(BGPPeer("all", peer_selector="all()",
                                      options=SessionOptions(("none",))),))


def ebgp(*numbers: int) -> Topology:
    return nodes(mesh(), **{f"node{31 + i}": {"as_number": number}
                            for i, number in enumerate(numbers)})


def reflected(next_hop_mode: str = "Auto", **cluster_ids: str) -> Topology:
    """These nodes are reflectors, and all others their clients."""
    return replace(nodes(mesh(), **{
        name: {"route_reflector": cluster_id, "labels": (("rr", "true"),)}
        for name, cluster_id in cluster_ids.items()}), mesh=False, bgp_peers=(
            BGPPeer("clients", node_selector="!has(rr)", peer_selector="has(rr)",
                    options=SessionOptions(next_hop_mode=next_hop_mode)),
            BGPPeer("reflectors", node_selector="has(rr)", peer_selector="has(rr)")))


def chain(next_hop_mode: str) -> Topology:
    """node31 - node32 - node33, an AS each, with this nextHopMode at every end."""
    topology, options = ebgp(65031, 65032, 65033), SessionOptions(next_hop_mode=next_hop_mode)
    return replace(
        nodes(topology, **{name: {"labels": (("name", name),)} for name in TWO_SUBNETS}),
        mesh=False, bgp_peers=tuple(
            BGPPeer(node, node=node, peer_selector=f"name == '{peer}'", options=options)
            for node, peer in (("node31", "node32"), ("node32", "node33"))))


def two_spines(**numbers: int) -> Topology:
    """A router at the top of each rack, with a cable to each of two spines of one AS::

             spine-1  AS 64600  spine-2
                |  \\________  ____/ |
              a-1   _________ X     b-2
                |  /     a-2     b-1 |
        AS 64601 tor-a          tor-b AS 64602
    """
    topology = load_topology(FILE)
    ends = [(tor, spine) for tor in ("a", "b") for spine in (1, 2)]
    cables = [(f"{tor}-{spine}", 2 * i) for i, (tor, spine) in enumerate(ends)]
    subnets = [Subnet(name, IPv4Network((f"10.0.0.{low}", 31))) for name, low in cables]

    def router(name: str, number: int, part: str, upper: int, *feet: RouterInterface) -> Router:
        return Router(name, (*feet, *(RouterInterface(cable, IPv4Address(f"10.0.0.{low + upper}"))
                                      for cable, low in cables if part in cable)),
                      as_number=number)

    return nodes(replace(topology, underlay=Underlay((*topology.underlay.subnets[:2], *subnets), (
        router("tor-a", 64601, "a-", 0, RouterInterface("rack-a", IPv4Address("192.168.57.1"))),
        router("tor-b", 64602, "b-", 0, RouterInterface("rack-b", IPv4Address("192.168.58.1"))),
        router("spine-1", 64600, "-1", 1), router("spine-2", 64600, "-2", 1)))),
        **{name: {"as_number": number} for name, number in numbers.items()})


def add_block(net: CalicoNet) -> None:
    net.apply([{"apiVersion": "projectcalico.org/v3", "kind": "BlockAffinity",
                "metadata": {"name": "another"},
                "spec": {"node": "node31", "cidr": "10.22.50.0/26", "state": "confirmed"}}])


STEPS: dict[str, Callable[[CalicoNet], object]] = {
    "boot": lambda net: None,
    "CrossSubnet": lambda net: net.set_ipip_mode("CrossSubnet"),
    "Never": lambda net: net.set_ipip_mode("Never"),
    "Always": lambda net: net.set_ipip_mode("Always"),
    "one-node-CrossSubnet": lambda net: net.set_ipip_mode("CrossSubnet", "node31"),
    "tunnel-bounced": bounce_tunnel,
    "block-added": add_block,
    "block-withdrawn": lambda net: net.delete("BlockAffinity", "node31-10-22-50-0-26"),
    "node-joins": lambda net: net.add_node("node35", "192.168.58.35/24"),
    "block-of-the-new-node": lambda net: net.add_pod(name="e", node="node35"),
    "node-goes": lambda net: net.delete_node("node35"),
    "owner-goes": lambda net: net.delete_node("node33"),
    "pod-comes": lambda net: net.add_pod(name="d", node="node31"),
    "pod-goes": lambda net: net.delete_pod("default/d"),
    "reflector-dies": lambda net: net.kill_speaker("node31"),
    "reflector-returns": lambda net: net.restart_speaker("node31"),
    "spine-dies": lambda net: net.kill_speaker("spine-1"),
    "spine-returns": lambda net: net.restart_speaker("spine-1"),
}
MODES = ("boot", "CrossSubnet", "Never", "one-node-CrossSubnet", "Always")
LIFE = ("tunnel-bounced", "block-added", "block-withdrawn", "node-joins",
        "block-of-the-new-node", "node-goes")
IN_EVERY_MODE = tuple(step for mode in ("CrossSubnet", "Never", "Always")
                      for step in (mode, *LIFE))
DEATH = ("reflector-dies", "CrossSubnet", "node-joins", "block-of-the-new-node", "node-goes",
         "reflector-returns")
SPINE = ("spine-dies", "CrossSubnet", "spine-returns")
CASES: dict[str, tuple[Callable[[], Topology], tuple[str, ...]]] = {
    "mesh": (mesh, ("boot", *IN_EVERY_MODE, "owner-goes")),
    "mesh-and-a-BGPPeer": (lambda: with_peer(mesh()), (*MODES, "node-joins", "owner-goes")),
    "peers-by-address": (lambda: replace(mesh(), mesh=False, bgp_peers=tuple(
        BGPPeer(address, peer_ip=IPv4Address(address))
        for address in ("192.168.57.31", "192.168.58.33"))), ("boot", "Never", "owner-goes")),
    "blocks-of-32": (lambda: two_subnets("Always", block_size=32, blocks={}),
                     (*MODES, *LIFE, "pod-comes", "pod-goes")),
    "two-ASes": (lambda: ebgp(64512, 64512, 65001, 65001), (*MODES, "owner-goes")),
    "an-AS-per-node": (lambda: ebgp(65031, 65032, 65033, 65034), (*MODES, *LIFE, "owner-goes")),
    "reflector": (lambda: reflected(node31="244.0.0.1"),
                  ("boot", *IN_EVERY_MODE, *DEATH, "owner-goes")),
    "two-reflectors": (lambda: reflected(node31="244.0.0.1", node34="244.0.0.2"),
                       (*MODES, *DEATH, "owner-goes")),
    "two-reflectors-of-one-cluster": (lambda: reflected(node31="244.0.0.1", node34="244.0.0.1"),
                                      (*MODES, *DEATH)),
    "reflector-as-next-hop": (lambda: reflected("Self", node31="244.0.0.1"), MODES),
    "chain-of-ASes": (lambda: chain("Auto"), (*MODES, "owner-goes")),
    "chain-of-ASes-with-the-next-hop-kept": (lambda: chain("Keep"), MODES),
    "two-spines": (two_spines, ("boot", *IN_EVERY_MODE, *SPINE)),
    "two-spines-an-AS-per-node": (lambda: two_spines(node31=65031, node32=65032, node33=65033),
                                  (*MODES, *SPINE)),
}


@pytest.mark.parametrize("case", CASES)
def test_both_engines_bring_the_same_routes(case, tunnel):
    topology, steps = CASES[case]
    with with_each_engine(topology(), tunnel, LASTING, policies=False) as nets:
        for step in steps:
            for net in nets.values():
                STEPS[step](net)
            # Of a reflector that returns, clients may lose some routes for a moment.
            assert eventually(lambda: agree(nets)), (step, *map(routes_of_bird, nets.values()))
            assert nets["bird"].birds.late == (), step
        assert eventually(lambda: not any(unlike(nets))), list(filter(None, unlike(nets)))


def agree(nets: dict[str, CalicoNet]) -> bool:
    """Whether the same routes are there, and nothing that should not be."""
    built_in, with_bird = map(routes_of_bird, nets.values())
    return built_in == with_bird and any(built_in.values()) and not any(
        net.verify() for net in nets.values())


def unlike(nets: dict[str, CalicoNet]) -> Iterator[set[BgpRoute]]:
    """BGP's attributes that one engine has only; BIRD may have more ways, none of them best."""
    built_in, with_bird = attributes(nets["builtin"]), attributes(nets["bird"])
    for place, routes in built_in.items():
        yield routes - with_bird[place]
        yield {route for route in with_bird[place] - routes if route.is_best}


def drop_sessions(net: CalicoNet) -> None:
    net.set_filter("node31", Drop(protocol=6, port=179))


#: what happens with BIRD, with the built-in engine, and what BIRD writes until timers end
ENDINGS = {
    "reflector-dies": (
        lambda net: net.kill_speaker("node31"), drop_sessions,
        "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink"),
    "reflector-is-cut-off": (
        drop_sessions, drop_sessions,
        "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink"),
    "no-way-to-the-next-hop": (
        lambda net: net["node34"].cmd("ip route del default"),
        lambda net: (net["node34"].cmd("ip route del default"), net.refresh_sessions()),
        "unreachable 10.22.32.0/26 proto bird"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_when_timers_have_ended_the_routes_are_those_of_the_built_in_engine(ending, tunnel):
    """It has no timers: a session that BIRD gives up after its hold time is down at once."""
    with_bird, built_in, meanwhile = ENDINGS[ending]
    timers = replace(SHORT, hold=3, graceful_restart=2)
    with with_each_engine(reflected(node31="244.0.0.1"), tunnel, timers, policies=False) as nets:
        before = routes_of_bird(nets["bird"])
        built_in(nets["builtin"])
        wanted = routes_of_bird(nets["builtin"])
        assert wanted != before == routes_of_bird(nets["bird"])
        with_bird(nets["bird"])
        if not nets["bird"].distributor.is_alive("node31"):
            wanted["node31"] = before["node31"]  # left to the kernel by BIRD (persist)
        assert eventually(lambda: meanwhile in routes_of_bird(nets["bird"])["node34"])
        assert eventually(lambda: routes_of_bird(nets["bird"]) == wanted), (
            routes_of_bird(nets["bird"]), wanted)
