"""When rules let a tunnel's outer packets in and do nothing else with them, from digests alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from calico_mn.calico.encapsulation import ENCAPSULATIONS
from calico_mn.calico.policy.firewall import allowed_sources, outer_way
from calico_mn.calico.policy.node_chains import NodeFirewall, tables
from calico_mn.rules import Chain, Hooked, digest, lets_in
from calico_mn.state import Firewall

WAY = outer_way()
INPUT, CALI_INPUT, RAW = ("filter", "INPUT"), ("filter", "cali-INPUT"), ("raw", "PREROUTING")
FELIX: Mapping[Chain, tuple[str, ...]] = {
    **WAY.passing, **{chain: (rule,) for chain, rule in WAY.accepting.items()}}
HOOKED = (*(Hooked((table, "PREROUTING"), accepts=True, has_rules=True)
            for table in ("raw", "mangle", "nat")), Hooked(INPUT, accepts=True, has_rules=True))
OTHERS = "inet user", "c"


def test_felixs_rules_alone_let_packets_in() -> None:
    assert WAY.accepting == {INPUT: "Cz_u1IQiXIMmKD4c", CALI_INPUT: "PajejrV4aFdkZojI"}
    assert lets_in(WAY, HOOKED, FELIX)


def test_it_has_every_chain_that_a_packet_is_led_to() -> None:
    chains = tables(NodeFirewall(enabled=ENCAPSULATIONS, nat_outgoing=True))
    led_to = {(table, rule.action.rpartition(" ")[2]) for table, chain in WAY.passing
              for rule in chains[table].get(chain, ()) if "cali-" in rule.action}
    # Only pods' packets have the mark that leads there.
    assert led_to - {("raw", "cali-rpf-skip")} <= WAY.passing.keys()


@pytest.mark.parametrize(("hooked", "digests", "is_let_in"), [
    pytest.param((), {INPUT: ("Cz_u1IQiXIMmKD4c", "?")}, True, id="behind the one that accepts"),
    pytest.param((), {INPUT: ("?", "Cz_u1IQiXIMmKD4c")}, False, id="before it"),
    pytest.param((), {CALI_INPUT: ("?", "PajejrV4aFdkZojI")}, False, id="in our chain"),
    pytest.param((), {CALI_INPUT: ()}, False, id="our rule is gone"),
    pytest.param((), {RAW: ("6gwbT8clXdHdC1b1", "?")}, False, id="in PREROUTING"),
    pytest.param((), {("raw", "cali-from-host-endpoint"): ("x",)}, False, id="untracked policies"),
    pytest.param((Hooked(OTHERS, accepts=True, has_rules=False),), {}, True, id="an empty chain"),
    pytest.param((Hooked(OTHERS, accepts=False, has_rules=False),), {}, False, id="one that drops"),
    pytest.param((Hooked(OTHERS, accepts=True, has_rules=True),), {}, False, id="one with rules"),
    pytest.param((Hooked(RAW, accepts=False, has_rules=True),), {}, False, id="raw drops the rest"),
    pytest.param((Hooked(INPUT, accepts=False, has_rules=True),), {}, True,
                 id="INPUT drops the rest"),
])
def test_other_rules(hooked: tuple[Hooked, ...], digests: Mapping[Chain, tuple[str, ...]],
                     is_let_in: bool) -> None:
    assert lets_in(WAY, (*HOOKED, *hooked), {**FELIX, **digests}) == is_let_in


def test_without_rules_of_ours_nothing_is_known() -> None:
    assert not lets_in(WAY, (), {})


def test_a_rule_in_memory_shows_its_digest() -> None:
    assert digest(b"\0comment\0\0cali:6gwbT8clXdHdC1b1\0\0") == "6gwbT8clXdHdC1b1"
    assert digest(b"\0comment\0\0mine\0") == "?"


def test_the_sources_are_those_of_the_set() -> None:
    firewall = Firewall({}, {}, {WAY.sources: frozenset({"192.168.57.31", "10.0.0.0/8"})})
    assert list(map(str, allowed_sources(firewall))) == [
        "blackhole 10.0.0.0/8 table 4040", "blackhole 192.168.57.31 table 4040"]
    assert allowed_sources(firewall) is allowed_sources(firewall)
    assert allowed_sources(None) == () == allowed_sources(Firewall({}, {}, {}))
