"""Routers that speak BGP: both engines bring nodes and routers the same routes, step by step.

                      spine AS 64600
                     /              \\
        tor-a AS 64601               tor-b AS 64602
             |                            |
   ----+-----+---+-- rack-a       --------+---+-- rack-b
       |         |                            |
    node31    node32                       node33
    pod a     pod b                        pod c

``reflector``: nodes have their rack's AS, and the router reflects; ``ebgp``: each node has its own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.engines import attributes, bounce_tunnel, routes_of_bird, with_each_engine
from support.patience import eventually

from calico_mn import CalicoNet, Drop
from calico_mn.bgp.timers import read_timers
from calico_mn.model import Topology
from calico_mn.topology import load_topology, parse_topology

FILE = Path(__file__).parents[2] / "topologies" / "top-of-rack.yaml"
pytestmark = pytest.mark.root


def without_bgp() -> Topology:
    return parse_topology(re.sub("      bgp: .*\n", "", FILE.read_text()), FILE.name)


def as_per_node() -> Topology:
    return parse_topology(re.sub(r"(3[123]/24, asNumber:) 6460\d", lambda match: (
        f"{match[1]} 650{match[1][:2]}"), FILE.read_text()), FILE.name)


DESIGNS = {"reflector": lambda: load_topology(FILE), "ebgp": as_per_node}


@pytest.fixture(scope="module", params=DESIGNS)
def both(request: pytest.FixtureRequest, tunnel: str) -> Iterator[dict[str, CalicoNet]]:
    """A cluster with each engine."""
    if shutil.which("bird") is None:
        pytest.skip("no BIRD is installed")
    with with_each_engine(DESIGNS[request.param](), tunnel, policies=False) as nets:
        yield nets


STEPS = {
    "boot": lambda net: None,
    "CrossSubnet": lambda net: net.set_ipip_mode("CrossSubnet"),
    "Always": lambda net: net.set_ipip_mode("Always"),
    "tunnel-bounced": bounce_tunnel,
    "Never": lambda net: net.set_ipip_mode("Never"),
    "borrowed-address": lambda net: net.add_pod(
        name="borrower", node="node33", ip=str(net.cluster.ipam.blocks("node31")[0][9])),
    "address-given-back": lambda net: net.delete_pod("default/borrower"),
    "node-joins": lambda net: net.add_node("node34", "192.168.58.34/24"),
    "node-goes": lambda net: net.delete_node("node34"),
}


def test_both_engines_bring_the_same_routes_to_nodes_and_routers(both):
    for step, change in STEPS.items():
        for net in both.values():
            change(net)
        assert both["bird"].birds.late == (), step
        wanted = routes_of_bird(both["builtin"])
        assert routes_of_bird(both["bird"]) == wanted, step
        assert attributes(both["bird"]) == attributes(both["builtin"]), step
        assert "10.22.33.0/26 via 10.0.0.1 dev eth1 proto bird" in wanted["tor-a"], step
        assert [net.verify() for net in both.values()] == [(), ()], step
        warned = [any("a router has no tunnel" in text for text in net.warnings)
                  for net in both.values()]
        assert warned == [step in ("Always", "tunnel-bounced")] * 2, step


def with_bgp(changed: dict[str, int | None]) -> Callable[[CalicoNet], object]:
    """Give routers another AS number, or none."""
    def change(net: CalicoNet) -> None:
        (underlay,) = net.resources("underlay")
        for router in underlay["spec"]["routers"]:
            router["bgp"] = {"asNumber": number} if (
                number := changed.get(router["name"])) else None
        net.apply(underlay)
    return change


AS = {"tor-a": 64601, "tor-b": 64602, "spine": 64600}


def test_a_routers_bgp_changes_while_the_cluster_runs(both):
    for step, numbers in {"none": {}, "again": AS, "another-AS": {**AS, "spine": 64700},
                          "one-without": {**AS, "tor-b": None}, "as-before": AS}.items():
        for net in both.values():
            with_bgp(numbers)(net)
        assert both["bird"].birds.late == (), step
        wanted = routes_of_bird(both["builtin"])
        assert routes_of_bird(both["bird"]) == wanted, step
        assert attributes(both["bird"]) == attributes(both["builtin"]), step
        assert wanted.keys() - both["bird"].cluster.nodes.keys() == {
            name for name, number in numbers.items() if number}, step
        assert [net.verify() for net in both.values()] == [(), ()], step


def test_never_reaches_between_subnets(both):
    for net in both.values():
        expect_connectivity(net, full_mesh("a", "b", "c"))


#    node31 -x- tor-a -x- spine -x- tor-b
def test_what_cuts_sessions_of_routers_off_takes_their_routes_with_both_engines(
        tunnel, monkeypatch):
    monkeypatch.setattr("calico_mn.emulation.bird._PATIENCE_LATER_S", 1.0)
    timers = read_timers("short,hold=3,graceful-restart=2")
    with with_each_engine(load_topology(FILE), tunnel, timers, policies=False) as nets:
        before = routes_of_bird(nets["builtin"])
        for net in nets.values():
            net.set_filter(["node31", "spine"], Drop(protocol=6, port=179))
        wanted = routes_of_bird(nets["builtin"])
        assert wanted["tor-a"] == ["10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird"]
        assert wanted["node31"] == ["blackhole 10.22.31.0/26 proto bird"]
        assert eventually(lambda: routes_of_bird(nets["bird"]) == wanted), routes_of_bird(
            nets["bird"])
        for net in nets.values():
            net.refresh_sessions()
            why = {(item.node, item.peer): item.reason.rpartition("; ")[2]
                   for item in net.bgp.sessions() if item.reason}
            assert {pair: text for pair, text in why.items() if pair[0] != "spine"} == {
                ("node31", "tor-a"): "TCP port 179 is dropped at node31",
                ("tor-a", "node31"): "TCP port 179 is dropped at node31",
                ("tor-a", "spine"): "TCP port 179 is dropped at spine",
                ("tor-b", "spine"): "TCP port 179 is dropped at spine"}
            net.set_filter(["node31", "spine"])
            assert eventually(lambda net=net: routes_of_bird(net) == before)
        # What the kernel knows of a cable is named, too.
        for net in nets.values():
            net["spine"].pexec(["ip", "link", "set", "eth0", "down"])
            assert eventually(lambda net=net: why_down(net, "tor-a").endswith(
                "no way to 10.0.0.0: spine: eth0 is down)"), pause=0.3), why_down(net, "tor-a")


def why_down(net: CalicoNet, speaker: str) -> str:
    net.refresh_sessions()
    return net.bgp.remarks().get(speaker, "")


def test_without_bgp_on_the_routers_it_does_not(tunnel):
    with CalicoNet(without_bgp(), tunnel=tunnel, policies=False) as net:
        expect_connectivity(net, {"a": set(), "b": set(), "c": set()})
