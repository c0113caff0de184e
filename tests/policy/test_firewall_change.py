"""What iptables-restore and ipset are given for a change: the difference and nothing else."""

from __future__ import annotations

import pytest

from calico_mn import rules
from calico_mn.kernel.firewall import commands, in_batches, restore_lines, set_lines
from calico_mn.rules import FirewallChange
from calico_mn.state import Firewall

A, B = ("filter", "cali-a"), ("filter", "cali-b")
HOOKS = {"filter": ("-I INPUT -j cali-a",)}
ONE = Firewall({A: ("-A cali-a -j cali-b",), B: ("-A cali-b -j DROP",)}, HOOKS,
               {"cali40s:x": frozenset(("10.0.0.1", "10.0.0.2"))})
TWO = Firewall({A: ("-A cali-a -j ACCEPT",)}, HOOKS,
               {"cali40s:x": frozenset(("10.0.0.2", "10.0.0.3")),
                "cali40n:y": frozenset(("10.0.0.1,tcp:80",))})


@pytest.mark.parametrize(("before", "wanted", "rules", "first", "last"), [
    (None, ONE,
     ["*filter", ":cali-a - -", ":cali-b - -", "-A cali-a -j cali-b", "-A cali-b -j DROP",
      "-I INPUT -j cali-a", "COMMIT"],
     ["create cali40s:x hash:net family inet maxelem 1048576", "add cali40s:x 10.0.0.1",
      "add cali40s:x 10.0.0.2"], []),
    (ONE, TWO,
     ["*filter", ":cali-a - -", ":cali-b - -", "-A cali-a -j ACCEPT", "-X cali-b", "COMMIT"],
     ["add cali40s:x 10.0.0.3", "create cali40n:y hash:ip,port family inet maxelem 1048576",
      "add cali40n:y 10.0.0.1,tcp:80"], ["del cali40s:x 10.0.0.1"]),
    (ONE, None,
     ["*filter", ":cali-a - -", ":cali-b - -", "-D INPUT -j cali-a", "-X cali-a", "-X cali-b",
      "COMMIT"], [], ["destroy cali40s:x"]),
    (ONE, ONE, [], [], []),
], ids=["from nothing", "to another", "to nothing", "the same"])
def test_a_change(before: Firewall | None, wanted: Firewall | None, rules: list[str],
                  first: list[str], last: list[str]) -> None:
    change = FirewallChange(before, wanted)
    assert restore_lines(change) == rules
    assert set_lines(change, removing=False) == first
    assert set_lines(change, removing=True) == last


def test_in_batches_as_many_lines_as_a_message_can_hold() -> None:
    lines = restore_lines(FirewallChange(None, ONE))
    assert in_batches(lines, 3) == [
        "*filter", *lines[1:4], "COMMIT", "*filter", *lines[4:6], "COMMIT"]
    assert in_batches(lines, 5) == lines


def test_as_commands_that_a_person_would_type() -> None:
    assert commands(FirewallChange(ONE, TWO)) == [
        "ipset add cali40s:x 10.0.0.3",
        "ipset create cali40n:y hash:ip,port family inet maxelem 1048576",
        "ipset add cali40n:y 10.0.0.1,tcp:80",
        "iptables -t filter -F cali-a", "iptables -t filter -F cali-b",
        "iptables -t filter -A cali-a -j ACCEPT", "iptables -t filter -X cali-b",
        "ipset del cali40s:x 10.0.0.1"]


OURS, LAST = (f'FORWARD -m comment --comment "cali:{letter * 16}" -j ACCEPT' for letter in "AB")
OTHER = "FORWARD -j KUBE-FORWARD"


@pytest.mark.parametrize(("option", "present", "repair"), [
    ("-I", [OURS, OTHER, LAST], []),
    ("-I", [OTHER, OURS, LAST], [f"-D {OURS}", f"-D {LAST}", f"-I {OURS}", f"-A {LAST}"]),
    ("-I", [OURS, LAST, OTHER], [f"-D {OURS}", f"-D {LAST}", f"-I {OURS}", f"-A {LAST}"]),
    ("-I", [OTHER, LAST], [f"-D {LAST}", f"-I {OURS}", f"-A {LAST}"]),
    ("-A", [OTHER, OURS, LAST], []),
    ("-A", [OURS, LAST, OTHER], [f"-D {OURS}", f"-D {LAST}", f"-A {OURS}", f"-A {LAST}"]),
    ("-I", [OTHER], [f"-I {OURS}", f"-A {LAST}"]),
], ids=["in their places", "behind another", "before another", "one is missing", "appended",
        "appended, before another", "all are missing"])
def test_our_rules_take_their_places_among_those_of_others(
        option: str, present: list[str], repair: list[str]) -> None:
    wanted = Firewall({}, {"filter": (f"{option} {OURS}", f"-A {LAST}")}, {})
    items = rules.read(["*filter", *(f"-A {rule}" for rule in present), "COMMIT"], [])
    change = rules.repair(wanted, rules.differences(wanted, items))
    lines = restore_lines(change) if change else []
    assert lines == (["*filter", *repair, "COMMIT"] if repair else [])
