"""The pool of a file without IPPool, from CALICO_IPV4POOL_* as calico-node reads them."""

from __future__ import annotations

import pytest

from calico_mn.errors import TopologyError
from calico_mn.model import EncapsulationMode, IPPool
from calico_mn.topology import parse_topology

NODE = ("{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}, "
        "spec: {bgp: {ipv4Address: 172.16.0.31/24}}}\n---\n")


def pool(**variables: str) -> IPPool:
    environ = {f"CALICO_IPV4POOL_{name}": value for name, value in variables.items()}
    (only,) = parse_topology(NODE, environ=environ).pools
    return only


def daemon_set(*variables: tuple[str, str]) -> str:
    env = ", ".join(f'{{name: {name}, value: "{value}"}}' for name, value in variables)
    return ("{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: calico-node}, spec: {template:"
            " {spec: {containers: [{name: calico-node, env: [" + env + "]}]}}}}")


def test_without_variables_it_is_calicos_own() -> None:
    found = pool()
    assert (found.name, str(found.cidr)) == ("default-ipv4-ippool", "192.168.0.0/16")
    assert (found.block_size, found.nat_outgoing) == (26, True)
    assert found.ipip_mode is EncapsulationMode.NEVER


@pytest.mark.parametrize(("word", "mode"), [
    ("", "Never"), ("off", "Never"), ("NEVER", "Never"), ("crosssubnet", "CrossSubnet"),
    ("Cross-Subnet", "CrossSubnet"), ("CrossSubnet", "CrossSubnet"), ("ALWAYS", "Always"),
])
def test_modes_are_read_in_any_case(word: str, mode: str) -> None:
    assert pool(IPIP=word).ipip_mode == EncapsulationMode(mode)


@pytest.mark.parametrize(("word", "mode"), [
    ("off", "Never"), ("cross-subnet", "CrossSubnet"), ("ALWAYS", "Always"),
])
def test_the_default_pool_may_be_one_of_vxlan(word: str, mode: str) -> None:
    made = pool(VXLAN=word)
    assert (made.ipip_mode, made.vxlan_mode) == (EncapsulationMode.NEVER, EncapsulationMode(mode))


@pytest.mark.parametrize(("name", "value", "attribute", "expected"), [
    ("CIDR", "10.22.0.0/16", "cidr", "10.22.0.0/16"),
    ("BLOCK_SIZE", "28", "block_size", "28"),
    ("NAT_OUTGOING", "false", "nat_outgoing", "False"),
    ("CIDR", "10.22.7.1/16", "cidr", "10.22.0.0/16"),
    ("NAT_OUTGOING", "No", "nat_outgoing", "False"),
    ("NAT_OUTGOING", "n", "nat_outgoing", "False"),
    ("NAT_OUTGOING", "1", "nat_outgoing", "True"),
    ("NAT_OUTGOING", "anything", "nat_outgoing", "True"),
    ("NODE_SELECTOR", "has(rack)", "node_selector", "has(rack)"),
])
def test_a_variable_sets_its_field(name: str, value: str, attribute: str, expected: str) -> None:
    assert str(getattr(pool(**{name: value}), attribute)) == expected


@pytest.mark.parametrize(("name", "value"), [
    ("IPIP", "sometimes"), ("VXLAN", "sometimes"), ("CIDR", "10.22.0.1"), ("CIDR", "fd00::/64"),
    ("BLOCK_SIZE", "33"), ("BLOCK_SIZE", "x"), ("NODE_SELECTOR", "has x"), ("IPIP", "\udcff\x1b"),
])
def test_a_bad_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(TopologyError) as caught:
        pool(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"environment variable CALICO_IPV4POOL_{name} ")
    assert "\x1b" not in message


def test_the_daemon_set_in_the_file_wins_over_the_environment() -> None:
    text = NODE + daemon_set(("CALICO_IPV4POOL_IPIP", "CrossSubnet"))
    environ = {"CALICO_IPV4POOL_IPIP": "Always", "CALICO_IPV4POOL_CIDR": "10.22.0.0/16"}
    (found,) = parse_topology(text, environ=environ).pools
    assert found.ipip_mode is EncapsulationMode.CROSS_SUBNET
    assert str(found.cidr) == "10.22.0.0/16"


@pytest.mark.parametrize(("environ", "pools"), [
    ({"NO_DEFAULT_POOLS": "true"}, 0), ({"NO_DEFAULT_POOLS": "TRUE"}, 0),
    ({"NO_DEFAULT_POOLS": "yes"}, 1), ({"CALICO_IPV4POOL_CIDR": "none"}, 0),
])
def test_a_cluster_may_have_no_pool(environ: dict[str, str], pools: int) -> None:
    assert len(parse_topology(NODE, environ=environ).pools) == pools


def test_the_default_pool_is_said() -> None:
    assert ("The file has no IPPool: assumed Calico's default, default-ipv4-ippool 192.168.0.0/16 "
            "with ipipMode Never.") in parse_topology(NODE).warnings


@pytest.mark.parametrize(("addresses", "expected"), [
    (["10.0.0.1"], "192.168.0.0/16"), (["192.168.56.11"], "172.16.0.0/16"),
    (["192.168.56.11", "172.16.3.1", "172.17.0.1"], "172.18.0.0/16"),
    (["192.168.1.1", *(f"172.{number}.0.1" for number in range(16, 32))], "192.168.0.0/16"),
])
def test_it_is_the_first_range_without_a_hosts_address(addresses: list[str], expected: str) -> None:
    nodes = "".join(NODE.replace("name: n", f"name: n{number}").replace("172.16.0.31", address)
                    for number, address in enumerate(addresses))
    (only,) = parse_topology(nodes).pools
    assert str(only.cidr) == expected


@pytest.mark.parametrize(("subnet", "expected"), [
    ("10.244.0.0/16", "10.244.0.0/16"), ('"10.244.0.0/16,fd00:10:244::/56"', "10.244.0.0/16"),
    ("nonsense", "192.168.0.0/16"),
])
def test_kubeadms_pod_subnet_is_the_default(subnet: str, expected: str) -> None:
    text = NODE + f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: kubeadm-config, namespace: kube-system}}
data:
  ClusterConfiguration: |
    apiVersion: kubeadm.k8s.io/v1beta3
    networking:
      dnsDomain: cluster.local
      podSubnet: {subnet}
      serviceSubnet: 10.96.0.0/12
"""
    (only,) = parse_topology(text).pools
    assert str(only.cidr) == expected


@pytest.mark.parametrize("head", [
    "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n",
    "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n---\n"
    "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.32.1\n",
    "apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\nnodes: [{role: control-plane}]\n",
])
def test_the_pod_subnet_of_the_files_that_make_a_cluster_is_the_default(head: str) -> None:
    topology = parse_topology(f"{NODE}{head}networking: {{podSubnet: 10.80.0.0/16}}\n")
    assert [str(pool.cidr) for pool in topology.pools] == ["10.80.0.0/16"]
    assert not any("ClusterConfiguration" in warning for warning in topology.warnings)


MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: calico-config, namespace: kube-system}
data: {veth_mtu: "1440", calico_backend: "%s", cidr: "10.9.0.0/16"}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
spec:
  template:
    spec:
      containers:
        - name: calico-node
          env:
            - {name: CALICO_NETWORKING_BACKEND, valueFrom: {configMapKeyRef: {name: calico-config, key: calico_backend}}}
            - {name: CALICO_IPV4POOL_CIDR, valueFrom: {configMapKeyRef: {name: calico-config, key: cidr}}}
            - {name: NODENAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
            - {name: FELIX_IPINIPMTU, valueFrom: {configMapKeyRef: {name: calico-config, key: veth_mtu}}}
            - {name: FELIX_VXLANMTU, value: "1300"}
            - {name: FELIX_IPV6SUPPORT, value: "false"}
"""  # noqa: E501


def test_the_manifests_environment_reaches_pools_and_mtus() -> None:
    topology = parse_topology(NODE + MANIFEST % "bird")
    assert (topology.veth_mtu, topology.felix.ipip_mtu, topology.felix.vxlan_mtu) == (
        1440, 1440, 1300)
    assert str(topology.pools[0].cidr) == "10.9.0.0/16"
    assert not any("BACKEND" in warning for warning in topology.warnings)


def test_variables_of_felix_win_over_its_configuration() -> None:
    felix = ("---\napiVersion: projectcalico.org/v3\nkind: FelixConfiguration\n"
             "metadata: {name: default}\nspec: {ipipMTU: 1200, vxlanVNI: 7}\n")
    made = parse_topology(NODE + MANIFEST % "bird" + felix).felix
    assert (made.ipip_mtu, made.vxlan_vni) == (1440, 7)


def test_external_nodes_are_read_from_both() -> None:
    felix = ("---\napiVersion: projectcalico.org/v3\nkind: FelixConfiguration\n"
             "metadata: {name: default}\nspec: {externalNodesList: [192.0.2.7, 10.9.0.0/16]}\n")
    variable = daemon_set(("FELIX_EXTERNALNODESCIDRLIST", "192.0.2.1, 198.51.100.0/24,"))
    assert [list(map(str, parse_topology(NODE + text).felix.external_nodes))
            for text in (felix, f"{variable}\n{felix}")] == [
        ["192.0.2.7/32", "10.9.0.0/16"], ["192.0.2.1/32", "198.51.100.0/24"]]


@pytest.mark.parametrize(("name", "value", "words"), [
    ("USE_POD_CIDR", "true", "addresses come from Calico's IPAM"),
    ("FELIX_IPINIPENABLED", "false", "tunl0 is there as the IPPools need it"),
    ("FELIX_BPFENABLED", "true", "without eBPF"),
])
def test_a_variable_that_changes_routes_has_a_sentence(name: str, value: str, words: str) -> None:
    warnings = parse_topology(NODE + daemon_set((name, value))).warnings
    assert any(warning.startswith(f"{name} {value} in calico-node's env has no effect: ")
               and words in warning for warning in warnings)
    assert len(parse_topology(NODE + daemon_set((name, "?"))).warnings) == len(warnings) - 1


INSTALLATION = """
apiVersion: operator.tigera.io/v1
kind: Installation
metadata: {name: default, uid: "1", generation: 3}
spec: {variant: Calico, calicoNetwork: {mtu: 1440, %s hostPorts: Enabled}}
status: {variant: Calico, mtu: 1440}
"""


@pytest.mark.parametrize(("pools", "expected"), [
    ("", [("default-ipv4-ippool", "192.168.0.0/16", "Always", "Never", True)]),
    ("ipPools: [],", []),
    ("ipPools: [{cidr: 10.80.0.0/16}],",
     [("default-ipv4-ippool", "10.80.0.0/16", "Always", "Never", True)]),
    ("ipPools: [{name: a, cidr: 10.80.0.0/16, encapsulation: IPIPCrossSubnet, natOutgoing: "
     "Disabled}],", [("a", "10.80.0.0/16", "CrossSubnet", "Never", False)]),
    ("ipPools: [{cidr: 10.80.0.0/16, encapsulation: VXLAN}, {cidr: 10.81.0.0/16, encapsulation: "
     "None}],", [("10.80.0.0-16", "10.80.0.0/16", "Never", "Always", True),
                 ("10.81.0.0-16", "10.81.0.0/16", "Never", "Never", True)]),
    ("ipPools: [{cidr: 10.80.0.0/16, encapsulation: VXLANCrossSubnet}, {cidr: 'fd00::/48'}],",
     [("default-ipv4-ippool", "10.80.0.0/16", "Never", "CrossSubnet", True)]),
])
def test_an_installation_gives_its_pools(pools: str, expected: list[tuple[object, ...]]) -> None:
    topology = parse_topology(NODE + INSTALLATION % pools)
    assert [(made.name, str(made.cidr), str(made.ipip_mode), str(made.vxlan_mode),
             made.nat_outgoing) for made in topology.pools] == expected
    assert (topology.veth_mtu, topology.felix.ipip_mtu) == (1440, 1440)
    assert not expected or any("assumed the Installation" in w for w in topology.warnings)


def test_the_files_pools_win_over_the_installations() -> None:
    pool = ("---\napiVersion: crd.projectcalico.org/v1\nkind: IPPool\nmetadata: {name: p}\n"
            "spec: {cidr: 10.22.0.0/16}\n")
    topology = parse_topology(NODE + INSTALLATION % "bgp: Disabled, ipPools: [{cidr: 10.8.0.0/16}],"
                              + pool)
    assert [made.name for made in topology.pools] == ["p"]
    assert any("Installation's pools 10.8.0.0/16 have no effect" in w for w in topology.warnings)
    assert any("bgp Disabled: nodes announce nothing" in w for w in topology.warnings)


def test_variables_have_no_effect_when_the_file_has_a_pool() -> None:
    ippool = ("{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, "
              "spec: {cidr: 10.22.0.0/16}}\n---\n")
    topology = parse_topology(NODE + ippool, environ={"CALICO_IPV4POOL_IPIP": "nonsense"})
    assert [p.name for p in topology.pools] == ["p"]


@pytest.mark.parametrize(("backend", "mode", "has_mesh", "is_said"), [
    ("bird", "IPIP", True, False), ("none", "IPIP", False, True), ("vxlan", "IPIP", False, True),
    ("vxlan", "VXLAN", False, False),
])
def test_without_bird_there_is_no_mesh_which_is_said_where_routes_need_it(
        backend: str, mode: str, has_mesh: bool, is_said: bool) -> None:
    topology = parse_topology(NODE + daemon_set(
        ("CALICO_NETWORKING_BACKEND", backend), (f"CALICO_IPV4POOL_{mode}", "Always")))
    assert topology.mesh == has_mesh
    assert any(warning.startswith(f"CALICO_NETWORKING_BACKEND {backend} in calico-node's env: nodes"
                                  " announce nothing") for warning in topology.warnings) == is_said
