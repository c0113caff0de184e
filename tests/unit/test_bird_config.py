"""BIRD's configuration as text: golden files, and BIRD itself reads them where it is installed."""

import subprocess
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from support.engines import NEEDS_BIRD

from calico_mn.bgp.bird import BirdPool, Speaker, configuration
from calico_mn.bgp.peerings import peerings
from calico_mn.bgp.timers import CALICO, SHORT
from calico_mn.bgp_resources import (
    BGPConfiguration,
    BGPFilter,
    BGPFilterRule,
    BGPPeer,
    SessionOptions,
)
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import VXLAN
from calico_mn.emulation.plan import plan
from calico_mn.emulation.speakers import speakers
from calico_mn.model import ClusterInformation
from calico_mn.topology import load_topology

from .clusters import CROSS, NEVER, NODE31, NODE32, NODE33, net, pool, topology

RR = replace(NODE31, route_reflector="244.0.0.1", labels=(("rr", "true"),))
CLIENTS = BGPPeer("clients", node_selector="!has(rr)", peer_selector="has(rr)")
TOR = BGPPeer("tor", node="node31", peer_ip=NODE31.address.network[1], as_number=65001)
FILTERS = (
    BGPFilter("no-web", exports=(
        BGPFilterRule(False, net("10.22.138.0/24"), "In", (26, 28)),
        BGPFilterRule(True, is_remote=True, interface="eth*"))),
    BGPFilter("all-of-it", (BGPFilterRule(False, peer_type="eBGP"),), (
        BGPFilterRule(True, net("10.22.0.0/16"), "Equal"),
        BGPFilterRule(False, net("10.22.0.0/16"), "NotIn"), BGPFilterRule(False))),
    BGPFilter("asked-by-no-peer", (BGPFilterRule(False),)))
CHOSEN = BGPPeer("chosen", node="node31", peer_ip=NODE32.address.ip, options=SessionOptions(
    ("all-of-it", "no-web", "not-there"), 30, 20, 2, allowed_local_as=1))
FAR = replace(TOR, name="far", options=SessionOptions(("all-of-it",), keeps_next_hop=True))

CASES = {
    "mesh-always": (None, None, {}),
    "mesh-cross-subnet": (CROSS, None, {}),
    "mesh-never": (NEVER, None, {}),
    "vxlan": (None, VXLAN, {}),
    "reflector": (None, None, {"mesh": False, "bgp_peers": (CLIENTS, TOR), "nodes": (
        RR, NODE32, NODE33), "bgp": BGPConfiguration(65000, 1790)}),
    "v3.32": (CROSS, None, {"information": ClusterInformation("v3.32.1")}),
    "v3.33": (None, None, {
        "information": ClusterInformation("v3.33.0"),
        "pools": (pool("10.22.0.0/16"), pool("10.23.0.0/16", mode=NEVER))}),
    "filters": (None, None, {
        "mesh": False, "bgp_peers": (CHOSEN, FAR), "bgp_filters": FILTERS,
        "bgp": BGPConfiguration(ignored_interfaces=("docker*", "eth1")),
        "pools": (pool("10.22.0.0/16"), replace(pool("10.23.0.0/16"), is_exported=False))}),
}
TIMERS = {"short-timers-bfd": replace(SHORT, bfd=300)}


ROUTERS = ("router-tor-a", "router-spine")
TOP_OF_RACK = Path(__file__).parents[2] / "topologies" / "top-of-rack.yaml"


def text_of(case):
    if case in ROUTERS:
        cluster = Cluster(load_topology(TOP_OF_RACK, {}), 2)
        return configuration(speakers(cluster)[case.removeprefix("router-")])
    mode, encapsulation, changes = CASES.get(case, (None, None, {}))
    cluster = Cluster(replace(topology(), **changes), 2)
    cluster.set_mode(mode, encapsulation=encapsulation, at_boot=True)
    return configuration(speakers(cluster, TIMERS.get(case, CALICO))["node31"])


@pytest.mark.parametrize("case", [*CASES, *TIMERS, *ROUTERS])
def test_the_configuration_of_a_node_or_router(case, golden):
    golden(f"bird-{case}", text_of(case))


@NEEDS_BIRD
@pytest.mark.parametrize("case", [*CASES, *TIMERS, *ROUTERS])
def test_bird_reads_it(case, tmp_path):
    (tmp_path / "bird.conf").write_text(text_of(case))
    done = subprocess.run(["bird", "-p", "-c", str(tmp_path / "bird.conf")], check=False,
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_block_of_one_address_has_no_blackhole_and_a_slash32_node_is_outside_every_subnet():
    node = replace(NODE31, address=IPv4Interface("192.168.57.31/32"))
    text = configuration(Speaker(
        "node31", node.address, 64512, 179, (net("10.22.0.7/32"),),
        (BirdPool(net("10.22.0.0/16"), "tunl0", is_cross_subnet=True),),
        peerings([node], mesh=True, configuration=BGPConfiguration(), peers=())["node31"]))
    assert "blackhole" not in text and "protocol static" not in text
    assert "if ( net = 10.22.0.7/32 ) then { accept; }" in text
    assert "!( bgp_next_hop ~ 192.168.57.31/32 )" in text


@pytest.mark.parametrize(("timers", "keepalive", "is_written"), [
    pytest.param(CALICO, 240, True, id="as long as the hold time"),
    pytest.param(CALICO, 100_000, False, id="longer than BIRD takes"),
    pytest.param(SHORT, 20, False, id="longer than the hold time of short timers"),
    pytest.param(SHORT, 3, True, id="short"),
])
def test_a_keepalive_time_that_bird_would_refuse_is_left_out(timers, keepalive, is_written):
    changed = replace(topology(), bgp_peers=(replace(
        TOR, options=SessionOptions(keepalive_time=keepalive)),))
    text = configuration(speakers(Cluster(changed, 2), timers)["node31"])
    assert (f"keepalive time {keepalive};" in text, "keepalive" in text) == (is_written,) * 2


def test_a_plan_leaves_birds_routes_to_bird():
    ours, birds = (next(step for step in plan(topology(), engine=engine)
                        if step.namespace == "node31") for engine in ("builtin", "bird"))
    assert set(ours.commands) - set(birds.commands) == {
        command for command in ours.commands if "proto bird" in command} != set()
    assert not ours.bird and birds.bird == text_of("mesh-always")
