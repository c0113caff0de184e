"""One rule of a policy as rules of iptables: what fits into one, and what needs blocks."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from calico_mn.calico.policy.chains import rule_lines
from calico_mn.calico.policy.resolve import resolve
from calico_mn.policy import Action, EntityRule, Icmp, Ports, Rule

ALLOW = "--jump MARK --set-mark 0x10000/0x10000"
RETURN = "-m mark --mark 0x10000/0x10000 --jump RETURN"
BLOCK, THIS = ("--jump MARK --set-mark 0x40000/0x40000", "--jump MARK --set-mark 0x80000/0x80000")
RESET, BOTH = "--jump MARK --set-mark 0x0/0xc0000", "--jump MARK --set-mark 0x40000/0xc0000"
AND = "-m mark --mark 0/0x80000 --jump MARK --set-mark 0/0x40000"
NOT = "--jump MARK --set-mark 0/0x40000"
IS = "-m mark --mark 0x40000/0x40000"
FIFTEEN = ",".join(map(str, range(1, 16)))
A, B, C = (IPv4Network(f"10.{number}.0.0/16") for number in (1, 2, 3))


def ports(*numbers: int) -> tuple[Ports, ...]:
    return tuple(Ports(number, number) for number in numbers)


@pytest.mark.parametrize(("rule", "expected"), [
    (Rule(), [ALLOW, RETURN]),
    (Rule(Action.DENY, "tcp"), ["-p tcp --jump DROP"]),
    (Rule(Action.PASS), ["--jump MARK --set-mark 0x20000/0x20000",
                         "-m mark --mark 0x20000/0x20000 --jump RETURN"]),
    (Rule(Action.LOG, "udp"),
     ['-p udp --jump LOG --log-prefix "calico-packet: " --log-level 5']),
    (Rule(protocol="47", not_protocol="tcp"), [f"-p 47 {ALLOW}", RETURN]),
    (Rule(not_protocol="tcp"), [f"! -p tcp {ALLOW}", RETURN]),
    (Rule(protocol="6", not_protocol="tcp"), []),
    (Rule(protocol="icmp", icmp=Icmp(8)), [f"-p icmp -m icmp --icmp-type 8 {ALLOW}", RETURN]),
    (Rule(protocol="icmp", icmp=Icmp(3, 4), not_icmp=Icmp(8)),
     [f"-p icmp -m icmp --icmp-type 3/4 -m icmp ! --icmp-type 8 {ALLOW}", RETURN]),
    (Rule(protocol="tcp", source=EntityRule((A,), ports=ports(1)),
          destination=EntityRule((B,), ports=(*ports(80), Ports(90, 95)))),
     [f"-p tcp --source {A} -m multiport --source-ports 1 --destination {B}"
      f" -m multiport --destination-ports 80,90:95 {ALLOW}", RETURN]),
    (Rule(source=EntityRule(not_nets=(A,)), destination=EntityRule(not_nets=(B,))),
     [f"! --source {A} ! --destination {B} {ALLOW}", RETURN]),
    (Rule(source=EntityRule((A, B))),
     [RESET, f"--source {A} {BLOCK}", f"--source {B} {BLOCK}", f"{IS} {ALLOW}", RETURN]),
    (Rule(source=EntityRule((A, B)), destination=EntityRule((B, C))),
     [RESET, f"--source {A} {BLOCK}", f"--source {B} {BLOCK}", f"--destination {B} {THIS}",
      f"--destination {C} {THIS}", AND, f"{IS} {ALLOW}", RETURN]),
    (Rule(source=EntityRule((A,), (B,))),
     [BOTH, f"--source {B} {NOT}", f"--source {A} {IS} {ALLOW}", RETURN]),
    (Rule(source=EntityRule((A, B), (C,))),
     [RESET, f"--source {A} {BLOCK}", f"--source {B} {BLOCK}",
      f"! --source {C} {IS} {ALLOW}", RETURN]),
    (Rule(destination=EntityRule(not_nets=(A, B))),
     [BOTH, f"--destination {A} {NOT}", f"--destination {B} {NOT}", f"{IS} {ALLOW}", RETURN]),
    (Rule(protocol="tcp", destination=EntityRule(ports=ports(*range(1, 17)))),
     [RESET, f"-p tcp -m multiport --destination-ports {FIFTEEN} {BLOCK}",
      f"-p tcp -m multiport --destination-ports 16 {BLOCK}", f"-p tcp {IS} {ALLOW}", RETURN]),
    (Rule(protocol="tcp", destination=EntityRule(not_ports=ports(*range(1, 17)))),
     [f"-p tcp -m multiport ! --destination-ports {FIFTEEN}"
      f" -m multiport ! --destination-ports 16 {ALLOW}", RETURN]),
    (Rule(source=EntityRule((A,), (IPv4Network("0.0.0.0/0"),))), []),
], ids=["all", "deny", "pass", "log", "protocols", "not a protocol", "no protocol", "icmp type",
        "icmp code", "one of each", "not one", "two networks", "two and two networks",
        "a network without another", "two networks without one", "without two", "16 ports",
        "not 16 ports", "no network at all"])
def test_a_rule_as_iptables_takes_it(rule: Rule, expected: list[str]) -> None:
    assert [line.text for line in rule_lines(resolve(rule, ""))] == expected


def test_ranges_take_two_of_the_15_slots() -> None:
    ranges = tuple(Ports(number, number + 1) for number in range(10, 90, 10))
    lines = rule_lines(resolve(Rule(protocol="tcp", source=EntityRule(ports=ranges)), ""))
    assert [line.text.count(":") for line in lines] == [0, 7, 1, 0, 0]


def test_named_ports_are_alternatives_to_numbers() -> None:
    rule = Rule(protocol="tcp", destination=EntityRule(
        selector="app == 'web'", ports=(*ports(80), Ports(name="http"))))
    resolved = resolve(rule, "shop")
    (named,), (selected,) = resolved.destination.named, resolved.destination.sets
    assert [line.text for line in rule_lines(resolved)] == [
        RESET, f"-p tcp -m multiport --destination-ports 80 {BLOCK}",
        f"-m set --match-set {named.name} dst,dst {BLOCK}",
        f"-p tcp -m set --match-set {selected.name} dst {IS} {ALLOW}", RETURN]


def test_a_named_port_alone_stands_for_its_selector_too() -> None:
    rule = Rule(protocol="tcp", destination=EntityRule(
        selector="app == 'web'", ports=(Ports(name="http"),)))
    resolved = resolve(rule, "shop")
    assert resolved.destination.sets == ()
    assert str(resolved.destination.named[0].selector) == (
        '(projectcalico.org/namespace == "shop" && app == "web")')


@pytest.mark.parametrize(("entity", "namespace", "expected"), [
    (EntityRule(selector="a == 'b'"), "", 'a == "b"'),
    (EntityRule(selector="a == 'b'"), "shop",
     '(projectcalico.org/namespace == "shop" && a == "b")'),
    (EntityRule(selector="a == 'b'", namespace_selector="team == 'x'"), "shop",
     '(pcns.team == "x" && a == "b")'),
    (EntityRule(namespace_selector="all()"), "shop", "has(projectcalico.org/namespace)"),
    (EntityRule(namespace_selector="global()"), "shop", "!has(projectcalico.org/namespace)"),
    (EntityRule(selector="a == 'b'", not_selector="c == 'd'"), "",
     '(a == "b" && !c == "d")'),
    (EntityRule(not_selector="c == 'd'"), "shop",
     '(projectcalico.org/namespace == "shop" && !c == "d")'),
    (EntityRule(service_account_names=("x", "y")), "",
     'projectcalico.org/serviceaccount in {"x", "y"}'),
    (EntityRule(service_account_selector="role == 'db'", selector="a == 'b'"), "",
     '(pcsa.role == "db" && a == "b")'),
], ids=["global", "in its namespace", "in selected namespaces", "all namespaces", "no namespace",
        "one but not another", "none of these here", "accounts by name", "accounts by label"])
def test_what_an_entity_selects(entity: EntityRule, namespace: str, expected: str) -> None:
    (ip_set,) = resolve(Rule(source=entity), namespace).source.sets
    assert str(ip_set.selector) == expected


def test_networks_alone_are_not_confined_to_a_namespace() -> None:
    assert resolve(Rule(source=EntityRule((A,))), "shop").source.sets == ()


def test_what_is_excluded_without_a_selector_is_a_set_of_its_own() -> None:
    source = resolve(Rule(source=EntityRule(not_selector="c == 'd'")), "").source
    assert (source.sets, [str(item.selector) for item in source.not_sets]) == ((), ['c == "d"'])
