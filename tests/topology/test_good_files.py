"""Files that are accepted, and what they become."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from calico_mn.errors import TopologyError
from calico_mn.model import EncapsulationMode, IPAMConfiguration, Link, Topology
from calico_mn.topology import load_topology, parse_topology

SHIPPED = Path(__file__).parents[2] / "topologies"
NODE = """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node31}
spec: {bgp: {ipv4Address: 192.168.57.31/24}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node32}
spec: {bgp: {ipv4Address: 192.168.57.32/24}}
---
"""
POOL = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.22.0.0/16}
---
"""
BASE = NODE + POOL


def pods_of(topology: Topology) -> list[tuple[str, str]]:
    return [(pod.key, pod.node) for pod in topology.pods]


def test_article_has_the_hosts_blocks_and_pod_of_the_article() -> None:
    topology = load_topology(SHIPPED / "article.yaml")
    assert [(n.name, str(n.address)) for n in topology.nodes] == [
        ("node31", "192.168.57.31/24"), ("node32", "192.168.57.32/24")]
    assert [(a.node, str(a.cidr)) for a in topology.affinities] == [
        ("node31", "10.22.138.0/26"), ("node32", "10.22.151.0/26")]
    assert topology.pools[0].ipip_mode is EncapsulationMode.ALWAYS
    assert topology.pools[0].nat_outgoing
    backend = topology.pods[1]
    assert backend.key == "sit/sit-web-backend-58f48df4c9-b2q28"
    assert (backend.node, backend.ip) == ("node32", IPv4Address("10.22.151.11"))
    assert topology.pods[0].node == "node31" and topology.pods[0].ip is None
    assert topology.veth_mtu == 1500
    assert topology.warnings == ()


@pytest.mark.parametrize(("name", "nodes", "subnets", "routers", "pods"), [
    ("article", 2, 1, 1, 2), ("two-subnets", 3, 2, 1, 6), ("slow-links", 3, 2, 1, 6),
    ("racks", 12, 12, 6, 36), ("two-paths", 4, 4, 2, 16), ("two-pools", 3, 2, 1, 6),
])
def test_a_shipped_file_has_what_its_comment_says(
    name: str, nodes: int, subnets: int, routers: int, pods: int
) -> None:
    topology = load_topology(SHIPPED / f"{name}.yaml")
    underlay = topology.underlay
    assert (len(topology.nodes), len(underlay.subnets)) == (nodes, subnets)
    assert (len(underlay.routers), len(topology.pods)) == (routers, pods)
    assert not any(router.pod_routes for router in underlay.routers)
    assert topology.warnings == ()
    assert all(topology.subnet_of(node.address.ip) for node in topology.nodes)


@pytest.mark.parametrize("name", ["two-subnets", "slow-links"])
def test_every_node_of_two_subnets_has_two_pods(name: str) -> None:
    topology = load_topology(SHIPPED / f"{name}.yaml")
    for node in topology.nodes:
        assert len([p for p in topology.pods if p.node == node.name]) >= 2


def test_slow_links_are_two_subnets_with_a_rate() -> None:
    slow = load_topology(SHIPPED / "slow-links.yaml")
    plain = load_topology(SHIPPED / "two-subnets.yaml")
    assert {subnet.link for subnet in slow.underlay.subnets} == {Link(rate=100)}
    assert {subnet.link for subnet in plain.underlay.subnets} == {Link()}
    assert (slow.nodes, slow.pools, slow.pods) == (plain.nodes, plain.pools, plain.pods)


def test_defaults_are_those_of_calico() -> None:
    topology = parse_topology(BASE + "{apiVersion: v1, kind: Pod, metadata: {name: a},"
                              " spec: {nodeName: node31}}")
    pool = topology.pools[0]
    assert (pool.block_size, pool.ipip_mode) == (26, EncapsulationMode.NEVER)
    assert not pool.nat_outgoing and not pool.disabled
    assert topology.pods[0].namespace == "default"
    assert topology.ipam == IPAMConfiguration()
    assert topology.veth_mtu == 0


def test_without_an_underlay_subnets_and_a_router_are_derived_with_a_warning() -> None:
    topology = parse_topology(BASE)
    subnet, router = topology.underlay.subnets[0], topology.underlay.routers[0]
    assert (subnet.cidr, subnet.mtu) == (IPv4Network("192.168.57.0/24"), 1500)
    assert (router.name, router.pod_routes) == ("fabric", False)
    assert router.interfaces[0].address == IPv4Address("192.168.57.1")
    assert "no Underlay" in topology.warnings[0]


def test_the_derived_router_avoids_addresses_and_names_of_nodes() -> None:
    text = BASE.replace("192.168.57.31/24", "192.168.57.1/24").replace("node31", "fabric")
    router = parse_topology(text).underlay.routers[0]
    assert router.name == "fabric-2"
    assert router.interfaces[0].address == IPv4Address("192.168.57.2")


@pytest.mark.parametrize(("spec", "expected"), [
    ("{}", [("default/web-0", "node31")]),
    ("{replicas: 0}", []),
    ("{replicas: 3}", [("default/web-0", "node31"), ("default/web-1", "node32"),
                       ("default/web-2", "node31")]),
    ("{replicas: 2, template: {spec: {nodeName: node32}}}",
     [("default/web-0", "node32"), ("default/web-1", "node32")]),
])
def test_a_deployment_becomes_pods(spec: str, expected: list[tuple[str, str]]) -> None:
    text = f"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {spec}}}"
    assert pods_of(parse_topology(f"{BASE}{text}")) == expected


@pytest.mark.parametrize(("word", "mbit"), [
    ("100Mbit", 100.0), ("1.5Gbit", 1500.0), ("500Kbit", 0.5), ("1000000bit", 1.0),
    ("10 mbit", 10.0),
])
def test_a_rate_is_read_in_mbit(word: str, mbit: float) -> None:
    assert _link(f"rate: {word}") == Link(mbit, None)


@pytest.mark.parametrize(("word", "ms"), [("1ms", 1.0), ("250us", 0.25), ("0.5s", 500.0)])
def test_a_delay_is_read_in_ms(word: str, ms: float) -> None:
    assert _link(f"delay: {word}") == Link(None, ms)


@pytest.mark.parametrize(("word", "percent"), [
    ("1%", 1.0), ("0.05 %", 0.05), ("100%", 100.0), ("0%", 0.0)])
def test_a_loss_is_read_in_percent(word: str, percent: float) -> None:
    assert _link(f"loss: {word}") == Link(loss=percent)


def test_a_subnets_link_overrides_the_default_field_by_field() -> None:
    assert _link("rate: 10Mbit", default="rate: 100Mbit, delay: 2ms") == Link(10.0, 2.0)


def _link(own: str, default: str = "") -> Link:
    text = BASE + (
        "{apiVersion: calico-mn/v1, kind: Underlay, spec: {link: {" + default + "}, subnets: "
        "[{name: a, cidr: 192.168.57.0/24, link: {" + own + "}}]}}"
    )
    return parse_topology(text).underlay.subnets[0].link


def test_an_address_without_prefix_is_a_slash_32() -> None:
    text = BASE.replace("192.168.57.31/24", "192.168.57.31") + (
        "{apiVersion: calico-mn/v1, kind: Underlay, spec: {subnets: "
        "[{name: a, cidr: 192.168.57.0/24}]}}")
    assert parse_topology(text).nodes[0].address == IPv4Interface("192.168.57.31/32")


@pytest.mark.parametrize("name", ["no", "on", "null-1", "1e3", "012", "22", "y"])
def test_a_word_that_yaml_takes_for_something_else_stays_a_name(name: str) -> None:
    pod = f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: node31}}}}"
    assert parse_topology(BASE + pod).pods[0].name == name


def test_aliases_repeat_values() -> None:
    text = BASE + """
{apiVersion: v1, kind: List, items: [
  {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: &s {nodeName: node32}},
  {apiVersion: v1, kind: Pod, metadata: {name: b}, spec: *s}]}"""
    assert pods_of(parse_topology(text)) == [("default/a", "node32"), ("default/b", "node32")]


def test_a_list_and_typed_lists_are_opened() -> None:
    text = """
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
  - apiVersion: projectcalico.org/v3
    kind: NodeList
    items: [{metadata: {name: n}, spec: {bgp: {ipv4Address: 192.168.57.31/24}}}]
  - apiVersion: projectcalico.org/v3
    kind: IPPoolList
    items:
      - {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p},
         spec: {cidr: 10.22.0.0/16}}
---
apiVersion: v1
kind: PodList
items: [{metadata: {name: a}, spec: {nodeName: n}}]
"""
    assert pods_of(parse_topology(text)) == [("default/a", "n")]


def test_a_block_that_is_not_confirmed_is_left_out() -> None:
    affinity = ("apiVersion: projectcalico.org/v3\nkind: BlockAffinity\n"
                "spec: {{cidr: 10.22.{}.0/26, node: node31, {}}}\n---\n")
    topology = parse_topology(BASE + affinity.format(1, "state: pendingDeletion")
                              + affinity.format(2, "deleted: 'true'")
                              + affinity.format(3, "deleted: false, state: confirmed"))
    assert [str(a.cidr) for a in topology.affinities] == ["10.22.3.0/26"]
    assert ("BlockAffinity 10.22.1.0/26 of node31 is pendingDeletion, so the block is not the "
            "node's.") in topology.warnings


def test_a_felix_configuration_gives_tunl0s_mtu() -> None:
    felix = ("apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\n"
             "metadata: {{name: {}}}\nspec: {{ipipMTU: {}, logPrefix: pod}}\n---\n")
    assert parse_topology(BASE).felix.ipip_mtu == 0
    topology = parse_topology(BASE + felix.format("node.node31", 1300)
                              + felix.format("default", 1440))
    assert topology.felix.ipip_mtu == 1440
    assert topology.warnings[0] == (
        "These have no effect here: FelixConfiguration spec.logPrefix; "
        "kinds FelixConfiguration (other than default).")


VXLAN = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: v}
spec: {cidr: 10.23.0.0/16, ipipMode: Never, vxlanMode: CrossSubnet}
---
"""
FELIX = ("apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {{name: default}}\n"
         "spec: {{{}}}\n---\n")


def test_a_cluster_may_have_an_ipip_and_a_vxlan_pool() -> None:
    text = NODE + POOL.replace("0.0/16}", "0.0/16, ipipMode: Always, vxlanMode: Never}") + VXLAN
    pools = parse_topology(text).pools
    assert [(pool.ipip_mode.value, pool.vxlan_mode.value) for pool in pools] == [
        ("Always", "Never"), ("Never", "CrossSubnet")]


def test_a_felix_configuration_gives_vxlans_mtu_and_vni() -> None:
    felix = parse_topology(NODE + VXLAN + FELIX.format("vxlanMTU: 1400, vxlanVNI: 7")).felix
    assert (felix.vxlan_mtu, felix.vxlan_vni, felix.ipip_mtu) == (1400, 7, 0)
    assert parse_topology(NODE + VXLAN).felix.vxlan_vni == 4096


@pytest.mark.parametrize(("pool", "fields", "warning"), [
    pytest.param(VXLAN, "vxlanPort: 4789, vxlanEnabled: true", "", id="as-it-is"),
    pytest.param(POOL, "vxlanEnabled: false", "", id="off-without-a-pool"),
    pytest.param(VXLAN, "ipipEnabled: true", "spec.ipipEnabled true concerns Felix's rules only: "
                 "tunl0 is there as the IPPools need it.", id="ipip-on"),
    pytest.param(POOL, "iptablesRefreshInterval: 1m30s", "spec.iptablesRefreshInterval has no "
                 "effect: rules are written when resources change, and by 'verify --repair'.",
                 id="interval"),
    pytest.param(POOL, "ipsetsRefreshInterval: 90s, netlinkTimeout: 0", "spec.ipsetsRefreshInterval"
                 " and spec.netlinkTimeout have no effect: rules are written when resources change,"
                 " and by 'verify --repair'.", id="intervals"),
    pytest.param(VXLAN, "vxlanPort: 8472", "spec.vxlanPort 8472 has no effect: VXLAN uses UDP port"
                 " 4789 here.", id="other-port"),
    pytest.param(VXLAN, "vxlanEnabled: false", "spec.vxlanEnabled false concerns Felix's rules "
                 "only: vxlan.calico is there as the IPPools need it.", id="off"),
    pytest.param(POOL, "vxlanEnabled: true", "spec.vxlanEnabled true concerns Felix's rules only: "
                 "vxlan.calico is there as the IPPools need it.", id="on"),
])
def test_what_felix_is_told_in_vain_is_said(
    pool: str, fields: str, warning: str
) -> None:
    warnings = [w for w in parse_topology(NODE + pool + FELIX.format(fields)).warnings
                if "Felix" in w]
    assert warnings == ([f"FelixConfiguration {warning}"] if warning else [])


def test_a_node_may_name_the_mac_of_its_vtep() -> None:
    text = NODE.replace("bgp:", 'vxlanTunnelMACAddr: "66:4E:3B:22:0A:91", bgp:', 1) + VXLAN
    assert [node.vxlan_mac for node in parse_topology(text).nodes] == ["66:4e:3b:22:0a:91", ""]


def test_a_small_subnet_carries_vxlan_when_felix_says_how() -> None:
    underlay = ("{apiVersion: calico-mn/v1, kind: Underlay, spec: {subnets: "
                "[{name: a, cidr: 192.168.57.0/24, mtu: 100}]}}\n---\n")
    assert parse_topology(NODE + VXLAN + FELIX.format("vxlanMTU: 68") + underlay).felix


def test_two_nodes_with_one_alias_for_their_metadata_are_duplicates() -> None:
    listed = """
apiVersion: v1
kind: List
items:
  - {apiVersion: projectcalico.org/v3, kind: Node, metadata: &m {name: n},
     spec: {bgp: {ipv4Address: 192.168.57.41/24}}}
  - {apiVersion: projectcalico.org/v3, kind: Node, metadata: *m,
     spec: {bgp: {ipv4Address: 192.168.57.42/24}}}
"""
    with pytest.raises(TopologyError, match='duplicate Node name "n"'):
        parse_topology(listed)


def test_output_of_calicoctl_and_kubectl_can_be_pasted() -> None:
    topology = load_topology(Path(__file__).parent / "pasted.yaml", environ={})
    assert [n.name for n in topology.nodes] == ["k8s-31"]
    assert topology.pools[0].cidr == IPv4Network("10.22.0.0/16")
    assert [(p.key, p.node, str(p.ip)) for p in topology.pods] == [
        ("sit/web-58f48df4c9-b2q28", "k8s-31", "10.22.151.11")]
    assert [str(a.cidr) for a in topology.affinities] == ["10.22.151.0/26"]
    assert topology.ipam == IPAMConfiguration(strict_affinity=True, max_blocks_per_host=4)
    assert topology.warnings[:2] == (
        "Pods left out: kube-system/calico-node-x7k2p (hostNetwork), sit/migrate-1 (Succeeded).",
        "CALICO_IPV4POOL_IPIP in calico-node's env has no effect: the file has an IPPool, and "
        "Calico reads these variables only when there is none.",
    )
    assert ("Services have no addresses here: pods reach each other by their own, and routes, "
            "modes and policies are the same without Services.") in topology.warnings
