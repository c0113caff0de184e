"""What FelixConfiguration's fields make of a node's rules, from states alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from unit.clusters import ALWAYS, cluster, pod, pool

from calico_mn.calico.encapsulation import IPIP, VXLAN, Encapsulation
from calico_mn.kernel.firewall import restore_lines
from calico_mn.model import FelixConfiguration
from calico_mn.rules import FirewallChange
from calico_mn.state import Firewall

IPIP_INPUT, IPIP_DROP = "Allow IPIP packets from Calico hosts", "Drop IPIP packets from non-Calico"
VXLAN_INPUT = "Allow IPv4 VXLAN packets from allowed hosts"
POD_IPIP, POD_VXLAN = (f"Drop {name} encapped packets originating in workloads"
                       for name in ("IPinIP", "VXLAN"))
MASQUERADE = "--out-interface tunl0 -m addrtype"


def firewall(encapsulation: Encapsulation = IPIP, **felix: object) -> Firewall:
    """The rules of a node with one pod."""
    made = cluster(pools=(pool("10.22.0.0/16"),), pods=(pod("a", "node31"),))
    made.topology = replace(made.topology, felix=FelixConfiguration(**felix))  # type: ignore[arg-type]
    made.set_mode(ALWAYS, encapsulation=encapsulation)
    wanted = made.node_state("node31", {}).firewall
    assert wanted is not None
    return wanted


@pytest.mark.parametrize(("encapsulation", "felix", "present", "absent"), [
    pytest.param(IPIP, {}, [IPIP_INPUT, IPIP_DROP, POD_IPIP, POD_VXLAN, MASQUERADE],
                 [VXLAN_INPUT], id="automatic"),
    pytest.param(VXLAN, {}, [VXLAN_INPUT, POD_IPIP, POD_VXLAN], [IPIP_INPUT], id="vxlan"),
    pytest.param(IPIP, {"ipip_enabled": False}, [POD_IPIP], [IPIP_INPUT, IPIP_DROP, MASQUERADE],
                 id="ipipEnabled false"),
    pytest.param(VXLAN, {"ipip_enabled": True}, [VXLAN_INPUT, IPIP_INPUT, IPIP_DROP], [MASQUERADE],
                 id="ipipEnabled true"),
    pytest.param(VXLAN, {"vxlan_enabled": False}, [POD_VXLAN], [VXLAN_INPUT, "vxlan.calico"],
                 id="vxlanEnabled false"),
    pytest.param(IPIP, {"allow_ipip_from_workloads": True}, [POD_VXLAN, IPIP_INPUT], [POD_IPIP],
                 id="allowIPIPPacketsFromWorkloads"),
    pytest.param(IPIP, {"allow_vxlan_from_workloads": True}, [POD_IPIP], [POD_VXLAN],
                 id="allowVXLANPacketsFromWorkloads"),
    pytest.param(IPIP, {"to_host": "DROP"},
                 ['"Configured DefaultEndpointToHostAction" --jump DROP'],
                 ['"Configured DefaultEndpointToHostAction" --jump ACCEPT'],
                 id="defaultEndpointToHostAction"),
])
def test_the_rules_that_a_field_decides(
    encapsulation: Encapsulation, felix: dict[str, object], present: list[str], absent: list[str],
) -> None:
    rules = [rule for chain in firewall(encapsulation, **felix).chains.values() for rule in chain]
    assert [text for text in present if not any(text in rule for rule in rules)] == []
    assert [rule for rule in rules if any(text in rule for text in absent)] == []


@pytest.mark.parametrize(("encapsulation", "name"), [
    (IPIP, "cali40all-hosts-net"), (VXLAN, "cali40all-vxlan-net")])
def test_external_nodes_are_senders_like_nodes(encapsulation: Encapsulation, name: str) -> None:
    nodes = firewall(encapsulation).sets[name]
    external = tuple(map(IPv4Network, ("192.0.2.7/32", "198.51.100.0/24", "0.0.0.0/0")))
    assert firewall(encapsulation, external_nodes=external).sets[name] - nodes == {
        "192.0.2.7", "198.51.100.0/24", "0.0.0.0/1", "128.0.0.0/1"}


def test_appended_rules_have_the_digests_of_inserted_ones() -> None:
    inserted, appended = firewall().hooks, firewall(chain_insert_mode="Append").hooks
    assert all(line.startswith("-A ") for lines in appended.values() for line in lines)
    assert {table: [line[2:] for line in lines] for table, lines in appended.items()} == {
        table: [line[2:] for line in lines] for table, lines in inserted.items()}


def test_a_chain_of_the_kernels_that_lacks_a_rule_gets_all_of_them_in_order() -> None:
    wanted = firewall(chain_insert_mode="Append")
    jump, *others = (line for line in wanted.hooks["filter"] if line.startswith("-A FORWARD"))
    present = replace(wanted, hooks={**wanted.hooks, "filter": tuple(
        line for line in wanted.hooks["filter"] if line != jump)})
    assert restore_lines(FirewallChange(present, wanted)) == [
        "*filter", *(f"-D{line[2:]}" for line in others), jump, *others, "COMMIT"]


def test_a_cluster_without_felixs_rules_has_none() -> None:
    made = cluster(pods=(pod("a", "node31"),))
    made.has_firewall = False
    assert made.node_state("node31", {}).firewall is None
    assert not made.felix_changed()
