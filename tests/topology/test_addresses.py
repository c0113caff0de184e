"""Pools, blocks and addresses of living clusters, and what the cluster makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from support.dumps import NODES, POOL, crd, housekeeping, kubernetes_node, pod, read

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import IPIP
from calico_mn.errors import TopologyError
from calico_mn.model import EncapsulationMode, Topology


def cluster(*items: Any) -> Cluster:
    return Cluster(read(*NODES, *items), 2)


def address(made: Cluster, key: str) -> str:
    return str(made.endpoint(key).address)


def warned(topology: Topology, words: str) -> bool:
    return any(words in warning for warning in topology.warnings)


def affinity(node: str, cidr: str) -> dict[str, Any]:
    return crd("BlockAffinity", f"{node}-x", cidr=cidr, deleted="false", node=node,
               state="confirmed")


def ip_pool(name: str, cidr: str, **spec: Any) -> dict[str, Any]:
    return crd("IPPool", name, cidr=cidr, **spec)


# --- which pool

def test_pools_serve_the_nodes_that_they_select() -> None:
    made = cluster(ip_pool("a", "10.80.0.0/24", nodeSelector="zone == 'a'"),
                   ip_pool("b", "10.80.1.0/24", nodeSelector="zone == 'b'"),
                   pod("x", "k1"), pod("y", "k2"))
    assert address(made, "shop/x").startswith("10.80.0.")
    assert address(made, "shop/y").startswith("10.80.1.")


@pytest.mark.parametrize("spec", [
    {"allowedUses": ["LoadBalancer"]}, {"assignmentMode": "Manual"}, {"nodeSelector": "!all()"},
    {"allowedUses": ["Tunnel"]}, {"disabled": True}], ids=str)
def test_a_pool_that_gives_pods_none_is_passed_over(spec: dict[str, Any]) -> None:
    made = cluster(ip_pool("a", "10.5.0.0/24", **spec), POOL, pod("x", "k1"))
    assert address(made, "shop/x").startswith("10.80.")


def test_a_pool_without_tunnels_gives_no_tunnel_address() -> None:
    made = cluster(ip_pool("a", "10.5.0.0/24", ipipMode="Always", allowedUses=["Workload"]))
    assert made.tunnel_address("k1", IPIP) is None


def test_a_pod_gets_an_address_of_the_pool_that_it_asks_for() -> None:
    item = pod("x", "k1")
    item["metadata"]["annotations"]["cni.projectcalico.org/ipv4pools"] = '["manual"]'
    made = cluster(POOL, ip_pool("manual", "10.90.0.0/24", assignmentMode="Manual"), item)
    assert address(made, "shop/x").startswith("10.90.")


def test_a_namespace_names_the_pools_of_its_pods_and_a_pod_names_its_own() -> None:
    own = pod("own", "k1")
    own["metadata"]["annotations"]["cni.projectcalico.org/ipv4pools"] = '["10.80.0.0/16"]'
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": housekeeping("shop", annotations={
        "cni.projectcalico.org/ipv4pools": '["second"]'}), "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"}}
    made = cluster(POOL, ip_pool("second", "10.90.0.0/24"), space, pod("x", "k1"), own)
    assert address(made, "shop/x").startswith("10.90.")
    assert address(made, "shop/own").startswith("10.80.")


@pytest.mark.parametrize(("name", "words"), [
    ("mian", 'there is no IPPool "mian", for which ipv4pools asks (did you mean "main"?)'),
    ("off", "no enabled IPPool gives the node such addresses")])
def test_a_pod_that_asks_for_a_pool_that_cannot_be_had_waits(name: str, words: str) -> None:
    item = pod("x", "k1")
    item["metadata"]["annotations"]["cni.projectcalico.org/ipv4pools"] = f'["{name}"]'
    made = cluster(POOL, ip_pool("off", "10.90.0.0/24", disabled=True), item, pod("y", "k2"))
    assert list(made.endpoints) == ["shop/y"]
    assert words in made.admission.waiting["shop/x"].reason


def test_a_pod_on_a_node_that_no_pool_selects_waits() -> None:
    made = cluster(ip_pool("a", "10.80.0.0/24", nodeSelector="zone == 'a'"), pod("x", "k1"),
                   pod("y", "k2"))
    assert list(made.endpoints) == ["shop/x"]
    [sentence] = made.admission.warnings()
    assert sentence.startswith("shop/y on k2 (line ")


def test_reserved_addresses_are_not_chosen() -> None:
    made = cluster(ip_pool("a", "10.80.0.0/26"), pod("x", "k1"), {
        "apiVersion": "projectcalico.org/v3", "kind": "IPReservation",
        "metadata": housekeeping("r"), "spec": {"reservedCIDRs": [
            "10.80.0.0/30", "10.80.0.4", "fd00::/64"]}})
    assert address(made, "shop/x") == "10.80.0.5"


# --- what is in use

def test_a_tunnel_address_is_kept_and_its_block_is_the_nodes() -> None:
    node = kubernetes_node("k1", "10.9.1.11/24")
    node["metadata"]["annotations"]["projectcalico.org/IPv4IPIPTunnelAddr"] = "10.80.7.3"
    made = Cluster(read(node, kubernetes_node("k2", "10.9.1.12/24"), POOL,
                        pod("lent", "k2", "10.80.7.9"), pod("new", "k1")), 2)
    assert str(made.tunnel_address("k1", IPIP)) == "10.80.7.3"
    assert "10.80.7.0/26" in map(str, made.ipam.blocks("k1"))
    assert "10.80.7.9/32" in map(str, made.originated("k2"))
    assert address(made, "shop/new") == "10.80.7.0"


def test_a_tunnel_address_of_no_pool_is_replaced_and_two_nodes_keep_one_until_a_pool_changes(
) -> None:
    nodes = [kubernetes_node(f"k{n}", f"10.9.1.1{n}/24") for n in (1, 2, 3)]
    for node, tunnel in zip(nodes, ("10.80.7.3", "10.80.7.3", "10.1.1.1"), strict=True):
        node["metadata"]["annotations"]["projectcalico.org/IPv4IPIPTunnelAddr"] = tunnel
    topology = read(*nodes, POOL)
    made = Cluster(topology, 2)

    def tunnels() -> list[str]:
        return [str(made.tunnel_address(f"k{n}", IPIP)) for n in (1, 2, 3)]

    assert tunnels()[:2] == ["10.80.7.3"] * 2 and tunnels()[2].startswith("10.80.")
    assert "10.80.7.3/32" in map(str, made.originated("k2")), "outside its blocks, so as a /32"
    assert "10.80.7.3/32" not in map(str, made.originated("k1"))
    assert warned(topology, "both have the tunnel address 10.80.7.3")
    assert warned(topology, "Tunnel addresses in no IPPool, so not used: k3 10.1.1.1. ")
    made.set_mode(None)
    assert tunnels()[:2] == ["10.80.7.3"] * 2
    made.set_mode(EncapsulationMode.ALWAYS)
    assert tunnels()[0] == "10.80.7.3" and len(set(tunnels())) == 3


def test_a_pod_and_a_tunnel_with_one_address_both_keep_it() -> None:
    nodes = [kubernetes_node(f"k{n}", f"10.9.1.1{n}/24") for n in (1, 2)]
    nodes[0]["metadata"]["annotations"]["projectcalico.org/IPv4IPIPTunnelAddr"] = "10.80.7.3"
    made = Cluster(read(*nodes, POOL, pod("x", "k2", "10.80.7.3")), 2)
    assert str(made.tunnel_address("k1", IPIP)) == address(made, "shop/x") == "10.80.7.3"


def test_without_other_witnesses_a_block_belongs_to_the_node_with_most_of_its_pods() -> None:
    made = cluster(POOL, pod("lent", "k2", "10.80.7.6"), pod("a", "k1", "10.80.7.5"),
                   pod("b", "k1", "10.80.7.7"))
    assert "10.80.7.0/26" in map(str, made.ipam.blocks("k1"))
    assert "10.80.7.6/32" in map(str, made.originated("k2"))


def test_status_tells_a_pods_address_where_no_annotation_does() -> None:
    made = cluster(POOL, pod("a", "k1", podIP="10.80.7.5", podIPs=[{"ip": "10.80.7.5"}]),
                   pod("b", "k1", podIP="10.1.1.1"))
    assert address(made, "shop/a") == "10.80.7.5"
    assert address(made, "shop/b").startswith("10.80.")


def endpoint(name: str, node: str, network: str) -> dict[str, Any]:
    return {"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint",
            "metadata": housekeeping(f"{node}-k8s-{name}-eth0", namespace="shop"),
            "spec": {"node": node, "orchestrator": "k8s", "pod": name, "endpoint": "eth0",
                     "interfaceName": "cali123", "ipNetworks": [network], "profiles": ["kns.shop"]}}


def test_an_endpoint_tells_of_its_pod() -> None:
    made = cluster(POOL, endpoint("alone", "k1", "10.80.7.5/32"), pod("both", "k2"),
                   endpoint("both", "k2", "10.80.9.5/32"))
    assert (address(made, "shop/alone"), address(made, "shop/both")) == ("10.80.7.5", "10.80.9.5")
    assert made.endpoint("shop/alone").node == "k1"


def test_a_block_tells_whose_it_is_and_is_one_with_its_affinity() -> None:
    blocks = [crd("IPAMBlock", f"10-80-{n}-0-26", affinity=f"host:k{n}", cidr=f"10.80.{n}.0/26",
                  allocations=[0, None], attributes=[], unallocated=[1]) for n in (1, 2)]
    free = crd("IPAMBlock", "10-80-3-0-26", cidr="10.80.3.0/26", allocations=[], unallocated=[])
    topology = read(*NODES, POOL, *blocks, free, affinity("k1", "10.80.1.0/26"))
    assert sorted(str(item.cidr) for item in topology.affinities) == [
        "10.80.1.0/26", "10.80.2.0/26"]


# --- states that are legal

def test_running_pods_keep_addresses_of_a_disabled_pool() -> None:
    topology = read(*NODES, POOL, ip_pool("old", "10.70.0.0/16", ipipMode="Always", disabled=True),
                    pod("stays", "k1", "10.70.1.2"), pod("new", "k1"))
    made = Cluster(topology, 2)
    assert address(made, "shop/stays") == "10.70.1.2"
    assert address(made, "shop/new").startswith("10.80.")
    assert "10.70.1.0/26" in map(str, made.originated("k1"))
    assert warned(topology, "an address in the disabled IPPool old keep it: shop/stays 10.70.1.2")


def test_a_pod_whose_pool_has_gone_keeps_its_address() -> None:
    topology = read(*NODES, POOL, pod("stays", "k1", "10.70.1.2"))
    assert address(Cluster(topology, 2), "shop/stays") == "10.70.1.2"
    assert warned(topology, "Pods with an address in no IPPool keep it: shop/stays 10.70.1.2")


def test_without_any_pool_in_the_file_such_a_pod_says_that_pools_are_missing() -> None:
    with pytest.raises(TopologyError, match="the file has no IPPool, so it is Calico's default"):
        read(*NODES, pod("stays", "k1", "10.70.1.2"))


@pytest.mark.parametrize(("item", "words"), [
    (affinity("k7", "10.80.7.0/26"), "Blocks of nodes that are not in the file"),
    (affinity("k1", "10.70.7.0/26"), "Blocks in no IPPool: 10.70.7.0/26"),
    (affinity("k1", "10.80.7.0/27"), "Blocks of another size than their pool's: 10.80.7.0/27"),
])
def test_blocks_of_what_has_changed_are_a_warning(item: dict[str, Any], words: str) -> None:
    topology = read(*NODES, POOL, item)
    assert warned(topology, words)
    made = Cluster(topology, 2)
    assert (item["spec"]["cidr"] in map(str, made.originated("k1"))) is (
        item["spec"]["node"] == "k1")


def test_two_nodes_with_an_affinity_to_one_block_both_announce_it() -> None:
    topology = read(*NODES, POOL, affinity("k1", "10.80.7.0/26"), affinity("k2", "10.80.7.0/26"))
    made = Cluster(topology, 2)
    assert all("10.80.7.0/26" in map(str, made.originated(node)) for node in ("k1", "k2"))
    assert warned(topology, "Blocks that two nodes have an affinity to: 10.80.7.0/26 of k1 and k2")


def test_a_pool_over_the_nodes_network_is_a_warning() -> None:
    topology = read(kubernetes_node("vm1", "192.168.56.11/24"),
                    ip_pool("default-ipv4-ippool", "192.168.0.0/16", ipipMode="Always"))
    assert warned(topology, "IPPool 192.168.0.0/16 overlaps the nodes' network 192.168.56.0/24")
    Cluster(topology, 2)


def test_pools_that_overlap_each_other_stay_an_error() -> None:
    with pytest.raises(TopologyError, match=r"IPPool 10\.80\.0\.0/24 overlaps IPPool"):
        read(*NODES, POOL, ip_pool("inside", "10.80.0.0/24"))


# --- two families

def test_the_ipv6_half_is_left_out_with_a_sentence() -> None:
    item = pod("d", "k1", podIP="fd80:24::9", podIPs=[{"ip": "fd80:24::9"}])
    item["metadata"]["annotations"] |= {
        "cni.projectcalico.org/ipAddrs": '["10.80.7.9","fd80:24::9"]',
        "cni.projectcalico.org/ipv6pools": '["default-ipv6-ippool"]'}
    topology = read(*NODES, POOL, ip_pool("default-ipv6-ippool", "fd80:24::/48", blockSize=122,
                                          ipipMode="Never", vxlanMode="Never"), item)
    assert [made.name for made in topology.pools] == ["main"]
    assert str(topology.pods[0].ip) == "10.80.7.9"
    assert warned(topology, "IPv6 is not emulated yet, so left out: IPPool spec.cidr fd80:24::/48.")


def test_a_file_with_ipv6_pools_only_gets_calicos_ipv4_pool() -> None:
    topology = read(*NODES, ip_pool("default-ipv6-ippool", "fd80:24::/48", blockSize=122))
    assert [str(made.cidr) for made in topology.pools] == ["192.168.0.0/16"]
