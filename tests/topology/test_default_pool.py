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
    ("NAT_OUTGOING", "1", "nat_outgoing", "True"),
])
def test_a_variable_sets_its_field(name: str, value: str, attribute: str, expected: str) -> None:
    assert str(getattr(pool(**{name: value}), attribute)) == expected


@pytest.mark.parametrize(("name", "value"), [
    ("IPIP", "sometimes"), ("VXLAN", "sometimes"), ("CIDR", "10.22.0.1/16"), ("CIDR", "none"),
    ("BLOCK_SIZE", "33"), ("BLOCK_SIZE", "x"), ("NAT_OUTGOING", "yes"),
    ("NODE_SELECTOR", "has(x)"), ("IPIP", "\udcff\x1b"),
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


def test_no_default_pools_leaves_the_cluster_without_one() -> None:
    assert parse_topology(NODE, environ={"NO_DEFAULT_POOLS": "true"}).pools == ()


def test_variables_have_no_effect_when_the_file_has_a_pool() -> None:
    ippool = ("{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, "
              "spec: {cidr: 10.22.0.0/16}}\n---\n")
    topology = parse_topology(NODE + ippool, environ={"CALICO_IPV4POOL_IPIP": "nonsense"})
    assert [p.name for p in topology.pools] == ["p"]
