"""BIRD's configuration as text: golden files, and BIRD itself reads them where it is installed."""

import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from calico_mn.bgp.bird import BirdPool, Speaker, configuration
from calico_mn.bgp.peerings import peerings
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import VXLAN
from calico_mn.emulation.plan import plan, speakers
from calico_mn.model import BGPConfiguration, BGPPeer

from .clusters import CROSS, NEVER, NODE31, NODE32, NODE33, net, topology

RR = replace(NODE31, route_reflector="244.0.0.1", labels=(("rr", "true"),))
CLIENTS = BGPPeer("clients", node_selector="!has(rr)", peer_selector="has(rr)")
TOR = BGPPeer("tor", node="node31", peer_ip=NODE31.address.network[1], as_number=65001)

CASES = {
    "mesh-always": (None, None, {}),
    "mesh-cross-subnet": (CROSS, None, {}),
    "mesh-never": (NEVER, None, {}),
    "vxlan": (None, VXLAN, {}),
    "reflector": (None, None, {"mesh": False, "bgp_peers": (CLIENTS, TOR), "nodes": (
        RR, NODE32, NODE33), "bgp": BGPConfiguration(65000, 1790)}),
}


def text_of(case):
    mode, encapsulation, changes = CASES[case]
    cluster = Cluster(replace(topology(), **changes), 2)
    cluster.set_mode(mode, encapsulation=encapsulation, at_boot=True)
    return configuration(speakers(cluster)["node31"])


@pytest.mark.parametrize("case", CASES)
def test_a_nodes_configuration(case, golden):
    golden(f"bird-{case}", text_of(case))


@pytest.mark.skipif(shutil.which("bird") is None, reason="no BIRD is installed")
@pytest.mark.parametrize("case", CASES)
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


def test_a_plan_leaves_birds_routes_to_bird():
    ours, birds = (next(step for step in plan(topology(), engine=engine)
                        if step.namespace == "node31") for engine in ("builtin", "bird"))
    assert set(ours.commands) - set(birds.commands) == {
        command for command in ours.commands if "proto bird" in command} != set()
    assert not ours.bird and birds.bird == text_of("mesh-always")
