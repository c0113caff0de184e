"""The digests in chains' names, sets' names and rules, against those that real clusters print.

The values are from iptables-save and ipset output in public reports on Calico (#4456 among them):
the last one of a chain proves all rules before it.
"""

from __future__ import annotations

import pytest

from calico_mn.calico.encapsulation import IPIP
from calico_mn.calico.policy.chains import (
    INBOUND,
    limited,
    policy_chains,
    profile_chains,
)
from calico_mn.calico.policy.endpoint_chains import endpoint_rules
from calico_mn.calico.policy.firewall import firewall, hashes
from calico_mn.calico.policy.node_chains import APPENDED, NodeFirewall, PodRules, tables
from calico_mn.calico.policy.resolve import IPSet, resolve
from calico_mn.kernel.firewall import restore_lines
from calico_mn.policy import EntityRule, Policy, Rule, builtin_profile
from calico_mn.rules import FirewallChange
from calico_mn.selector import parse_selector

NODE = NodeFirewall(enabled=(IPIP,), tunnels=("tunl0",), nat_outgoing=True)
POD = PodRules("cali0123456789a", ("kns.default", "ksa.default.default"))
TEXT = "\n".join(restore_lines(FirewallChange(None, firewall(tables(NODE, [POD]), {}))))


@pytest.mark.parametrize("digest", [
    "PajejrV4aFdkZojI", "_wjq-Yrma8Ly1Svo", "6gwbT8clXdHdC1b1", "wUHhoiAYhphO9Mso",
    "Cz_u1IQiXIMmKD4c", "tVnHkvAo15HuiPy0", "S93hcgKJrXEqnTfs", "mp77cMpurHhyjLrM",
    "O3lYWMrLQYEMJtB5"])
def test_static_rules_have_the_digests_of_a_real_node(digest: str) -> None:
    assert f'"cali:{digest}"' in TEXT


@pytest.mark.parametrize(("profile", "chain", "digest"), [
    ("kns.kube-system", "cali-pri-kns.kube-system", "J1TyxtHWd0qaBGK-"),
    ("kns.calico-system", "cali-pri-kns.calico-system", "hLANj-OVIyT53h_j"),
    ("ksa.kube-system.coredns", "cali-pri-_u2Tn2rSoAPffvE7JO6", "WqgznqAQ-uYV0oBx"),
])
def test_profiles(profile: str, chain: str, digest: str) -> None:
    rules = profile_chains(builtin_profile(profile))[chain]
    assert digest in hashes(chain, [rule.text for rule in rules])


def test_a_long_policy_name_is_cut_to_a_digest() -> None:
    assert limited(INBOUND, "default/knp.default.haejun-policy") == "cali-pi-_Eb-vckmN-lr2eREXQcs"


@pytest.mark.parametrize(("name", "expected"), [
    ("a" * 19, "cali-pi-" + "a" * 19), ("a" * 20, "cali-pi-" + "a" * 20),
    ("_" + "a" * 19, "cali-pi-_"), ("a" * 21, "cali-pi-_")],
    ids=["27 characters", "28 characters", "28 with an underscore", "29 characters"])
def test_names_that_fit_stay(name: str, expected: str) -> None:
    chain = limited(INBOUND, name)
    assert chain.startswith(expected)
    assert len(chain) <= 28
    assert (chain == INBOUND + name) == (expected == INBOUND + name)


def test_a_selector_names_its_set() -> None:
    rule = resolve(Rule(source=EntityRule(selector=(
        "projectcalico.org/orchestrator == 'k8s' && role == 'allower' && user == 'haejun'"))),
        "default")
    assert [ip_set.name for ip_set in rule.source.sets] == ["cali40s:dSXImMSA1iXOPxYRYLVorAP"]


def test_a_named_port_has_a_set_of_its_own() -> None:
    web = parse_selector("app == 'web'")
    names = {IPSet(web).name, IPSet(web, "http", "tcp").name, IPSet(web, "http", "udp").name,
             IPSet(web, "dns", "udp").name}
    assert len(names) == 4
    assert {name[:8] for name in names} == {"cali40s:", "cali40n:"}


def test_a_changed_rule_changes_all_digests_after_it() -> None:
    rules = [rule.text for rule in endpoint_rules("cali-tw-", ("kns.default",), ())]
    changed = [rules[0], rules[2], *rules[2:]]
    before, after = hashes("cali-tw-cali1", rules), hashes("cali-tw-cali1", changed)
    assert before[0] == after[0]
    assert not set(before[1:]) & set(after[1:])


def test_the_appended_rules_are_hashed_apart_from_the_inserted_one() -> None:
    assert TEXT.count("-I FORWARD ") == 1
    assert TEXT.count("-A FORWARD ") == len(APPENDED)


def test_a_policy_without_rules_has_commented_chains() -> None:
    policy = Policy("NetworkPolicy", "d", "knp.default.d", "a")
    chains = policy_chains(policy)
    assert {name: [rule.text for rule in rules] for name, rules in chains.items()} == {
        "cali-pi-a/knp.default.d":
            ['-m comment --comment "Policy a/knp.default.d ingress"'],
        "cali-po-a/knp.default.d":
            ['-m comment --comment "Policy a/knp.default.d egress"']}


def test_only_chains_that_something_refers_to_are_written() -> None:
    ingress = Policy("NetworkPolicy", "a", "default.a", "shop", ingress=(Rule(),))
    names = set(tables(NODE, [PodRules("cali1", ("kns.shop",), (ingress,))])["filter"])
    assert "cali-pi-shop/default.a" in names
    assert "cali-po-shop/default.a" not in names
