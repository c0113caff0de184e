"""The drawing of a cluster: what is in it, the ways of packets, and that it stays legible."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from support.report import ROOT
from support.topologies import BLOCKS, TWO_SUBNETS, cluster

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import IPIP, VXLAN
from calico_mn.calico.pools import PoolMode
from calico_mn.model import EncapsulationMode, Pod
from calico_mn.report import graphics
from calico_mn.report.drawing import draw, pod_paths
from calico_mn.report.graphics import series_styles as looks
from calico_mn.topology import load_topology

ALWAYS, CROSS_SUBNET, NEVER = EncapsulationMode
SVG = "{http://www.w3.org/2000/svg}"
PODS = ("a@node31", "b@node31", "c@node32", "d@node33")


def two_subnets(**options):
    """The cluster in the drawing of support.topologies, a and b on node31."""
    topology = cluster("Always", *PODS, nodes=TWO_SUBNETS, blocks=BLOCKS, **options)
    return Cluster(topology, 0)


def shipped(name):
    return Cluster(load_topology(ROOT / "topologies" / f"{name}.yaml", {}), 0)


def words(text):
    return ["".join(found.itertext()) for found in ET.fromstring(text).iter(f"{SVG}text")]


def test_everything_that_has_a_name_or_an_address_is_there():
    found = words(draw(two_subnets()))
    assert {"rack-a", "192.168.57.0/24 \u00b7 MTU 1500", "r1", "192.168.57.1", "node33",
            "192.168.58.33/24", "10.22.33.0", "10.22.33.0/26", "default/d", "10.22.33.1",
            "knows no pods"} <= set(found)
    assert "knows the pods\u2019 routes" in words(draw(two_subnets(pod_routes=True)))


def test_links_are_described():
    assert "192.168.57.0/24 \u00b7 MTU 1500 \u00b7 100 Mbit/s" in words(draw(shipped("slow-links")))


def test_the_same_cluster_gives_the_same_text():
    assert draw(shipped("racks")) == draw(shipped("racks"))


def test_it_says_in_words_what_it_shows():
    root = ET.fromstring(draw(two_subnets(), pod_paths(two_subnets(), NEVER)))
    assert root.findtext(f"{SVG}title") == "Cluster underlay"
    assert root.findtext(f"{SVG}desc") == (
        "3 nodes with 4 pods, 1 router. rack-a (192.168.57.0/24 \u00b7 MTU 1500): node31, node32;"
        " rack-b (192.168.58.0/24 \u00b7 MTU 1500): node33. Never: default/a to default/b,"
        " same-node: inside the node. Never: default/a to default/c, same-subnet: directly, with"
        " the pods' own addresses. Never: default/a to default/d, cross-subnet: directly, with the"
        " pods' own addresses; lost at r1, which has no route.")


@pytest.mark.parametrize(("mode", "options", "tunnelled", "lost"), [
    pytest.param(ALWAYS, {}, (False, True, True), "", id="Always"),
    pytest.param(CROSS_SUBNET, {}, (False, False, True), "", id="CrossSubnet"),
    pytest.param(NEVER, {}, (False, False, False), "r1", id="Never"),
    pytest.param(NEVER, {"pod_routes": True}, (False, False, False), "", id="Never, routes"),
    pytest.param(ALWAYS, {"gateway": False}, (False, True, True), "node31", id="no gateway"),
])
def test_the_way_of_each_mode(mode, options, tunnelled, lost):
    same_node, same_subnet, cross_subnet = pod_paths(two_subnets(**options), mode)
    assert (same_node.tunnel, same_subnet.tunnel, cross_subnet.tunnel) == tuple(
        "IPIP" if inside else "" for inside in tunnelled)
    assert same_subnet.subnets == ("rack-a",) and not same_subnet.lost_at
    assert cross_subnet.lost_at == lost
    if not lost:
        assert cross_subnet.subnets == ("rack-a", "rack-b")
        assert cross_subnet.routers == ("r1",)


def test_a_way_is_in_the_tunnel_of_the_pool():
    cluster = two_subnets(encapsulation=VXLAN)
    assert pod_paths(cluster, CROSS_SUBNET)[-1].in_words == (
        "default/a to default/d, cross-subnet: in a VXLAN tunnel")
    said = words(draw(cluster))
    assert VXLAN.device in said and IPIP.device not in said


@pytest.mark.parametrize(("mode", "encapsulation", "how"), [
    (None, None, "CrossSubnet: in an IPIP tunnel"), (None, VXLAN, "CrossSubnet: in a VXLAN tunnel"),
    (ALWAYS, VXLAN, "Always: in a VXLAN tunnel"), (ALWAYS, None, "Always: in an IPIP tunnel")])
def test_ways_are_those_of_the_mode_and_encapsulation_asked_for(mode, encapsulation, how):
    cluster = two_subnets()
    cluster.set_mode(CROSS_SUBNET)
    last = pod_paths(cluster, mode, encapsulation)[-1]
    assert f"{last.mode}: {last.in_words.partition('cross-subnet: ')[2]}" == how
    assert cluster.mode_of_pool(cluster.topology.pools[0]) == PoolMode(IPIP, CROSS_SUBNET)


def test_a_way_through_leaves_and_spines():
    found = pod_paths(shipped("racks"), CROSS_SUBNET)[-1]
    assert found.subnets == ("rack-1", "t11", "t21", "rack-2")
    assert found.routers == ("leaf1", "spine1", "leaf2")


@pytest.mark.parametrize(("mode", "tubes", "lost"), [(ALWAYS, 2, 0), (CROSS_SUBNET, 1, 0),
                                                      (NEVER, 0, 1)], ids=str)
@pytest.mark.parametrize("name", ["two-subnets", "racks"])
def test_tunnels_are_drawn_as_tubes_and_lost_packets_as_crosses(name, mode, tubes, lost):
    cluster = shipped(name)
    text = draw(cluster, pod_paths(cluster, mode))
    assert text.count('class="tube"') == tubes
    assert text.count('class="lost"') == lost


def test_each_cable_between_routers_is_drawn():
    root = ET.fromstring(draw(shipped("two-paths")))
    lines = [found.get("d") for found in root.iter(f"{SVG}path") if found.get("class") == "cable"]
    assert len(lines) == len(set(lines)) == 4, "two to the racks, two between the routers"


def many(nodes, pods):
    """So many nodes with so many pods each in one subnet."""
    base = two_subnets().topology
    names = {f"node{number}": f"192.168.57.{number + 10}/24" for number in range(nodes)}
    topology = cluster("Always", nodes=names, blocks={}, pool="10.0.0.0/14")
    assert base.pools
    return Cluster(replace(topology, pods=tuple(
        Pod("default", f"web-{node}-{number}", node, None)
        for node in names for number in range(pods))), 0)


def test_many_pods_are_counted():
    found = draw(many(20, 50))
    assert words(found).count("50 pods") == 20
    assert "default/web-node0-0" not in found
    assert len(found) < 100_000


def test_many_nodes_stand_in_rows():
    root = ET.fromstring(draw(many(20, 50)))
    cards = {(found.get("x"), found.get("y")) for found in root.iter(f"{SVG}rect")
             if found.get("class") == "node"}
    assert len(cards) == 20
    assert 2 <= len({y for _, y in cards}) <= 6
    assert float(root.get("width")) <= 1200


@pytest.mark.parametrize("mode", EncapsulationMode, ids=str)
def test_a_mode_has_the_same_colour_as_in_plots(mode):
    found = draw(two_subnets(), pod_paths(two_subnets(), mode))
    others = {colour for name, colour in graphics.MODES.items() if name != mode.value}
    assert looks([mode.value])[mode.value].colour in found
    assert not [colour for colour in others if colour in found]


def test_pods_at_the_ends_of_a_way_are_named_among_many():
    cluster = many(20, 50)
    found = words(draw(cluster, pod_paths(cluster, ALWAYS)))
    assert "default/web-node0-0" in found and "49 more pods" in found


def test_a_fold_stands_for_more_than_one_pod():
    found = words(draw(many(20, 1)))
    assert "default/web-node0-0" in found
    assert not [text for text in found if text.endswith("1 pod")]


def test_a_drawing_says_what_it_shows_to_those_who_do_not_see_it():
    drawn = ET.fromstring(draw(two_subnets(), pod_paths(two_subnets(), NEVER)))
    said = drawn.findtext(f"{SVG}desc")
    assert said.startswith("3 nodes with 4 pods, 1 router. ")
    assert "lost at r1" in said


def test_more_nodes_than_anybody_can_look_at_are_counted():
    assert "and 40 more nodes" in words(draw(many(100, 1)))


def test_names_that_are_too_long_are_shortened_and_whole_on_pointing_at_them():
    name = "x" * 50 + "-end"
    base = two_subnets().topology
    found = draw(Cluster(replace(base, pods=(Pod("default", name, "node31", None),)), 0))
    shown = [text for text in re.findall(r"</title>([^<]+)</text>", found)]
    assert len(shown) == 1 and shown[0].endswith("-end") and "\u2026" in shown[0]
    assert f"<title>default/{name}</title>" in found


def test_markup_in_a_name_is_text():
    base = two_subnets().topology
    underlay = replace(base.underlay, name="</title><script>")
    assert "<script" not in draw(Cluster(replace(base, underlay=underlay), 0))


def test_a_cluster_without_routers_and_pods():
    topology = cluster("Never", gateway=False)
    assert {"node31", "node32"} <= set(words(draw(Cluster(topology, 0))))


@pytest.mark.parametrize(("text", "room", "fitted"), [
    ("short", 100, "short"), ("web-frontend-6c9f7d5b8d-x7k2p", 100, "web-\u20268d-x7k2p"),
    ("anything", 1, "\u2026")], ids=["fits", "too long", "no room"])
def test_texts_are_made_to_fit(text, room, fitted):
    assert graphics.fitted(text, room, 12) == fitted
    assert graphics.width(fitted, 12) <= max(room, graphics.width("\u2026", 12))
