"""Rules of iptables-legacy that are written without it are what it makes of the same text.

              r1
      rack-a  |  rack-b
    node1 node3 node5 | node2 node4 node6        20 pods, most of them on node1
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from calico_mn import CalicoNet, load_topology
from calico_mn.kernel import firewall, ipset, legacy_tables
from calico_mn.kernel.iptables import LEGACY, run, why_not
from calico_mn.kernel.legacy_tables import LegacyTables
from calico_mn.kernel.netns import NamespaceThread
from calico_mn.model import Pod
from calico_mn.rules import FirewallChange
from calico_mn.state import Firewall
from calico_mn.topology.scaled import policies, scaled

pytestmark = [pytest.mark.root, pytest.mark.rules, pytest.mark.skipif(
    not os.geteuid() and why_not(LEGACY) is not None, reason="iptables-legacy does not work here")]

Result = TypeVar("Result")
FILE = Path(__file__).parents[2] / "topologies" / "two-subnets.yaml"
RESTORE = ("iptables-legacy-restore", "--noflush")


class Scratch:
    """A new network namespace, and what runs in it."""

    def __init__(self, threads: NamespaceThread) -> None:
        self._threads = threads
        self._namespace = threads.call(lambda: threads.create("scratch"))

    def run(self, job: Callable[[], Result]) -> Result:
        def inside() -> Result:
            self._threads.enter(self._namespace)
            return job()
        return self._threads.call(inside)

    def restore(self, wanted: Firewall) -> None:
        """Write the firewall by iptables-legacy-restore."""
        change = FirewallChange(None, wanted)
        if lines := firewall.set_lines(change, removing=False):
            self.run(lambda: ipset.send(lines))
        status, said = self.run(lambda: run(RESTORE, firewall.restore_lines(change),
                                            XTABLES_LOCKFILE="/proc/self/fd/0"))
        assert not status, said

    def saved(self) -> list[str]:
        return kept(self.run(lambda: run(("iptables-legacy-save",))[1]))


@pytest.fixture
def scratch() -> Iterator[Callable[[], Scratch]]:
    threads = NamespaceThread()
    made: list[Scratch] = []

    def make() -> Scratch:
        made.append(Scratch(threads))
        return made[-1]

    yield make
    for place in made:
        threads.call(lambda place=place: threads.discard(place._namespace))
    threads.close()


def kept(text: str) -> list[str]:
    """Without the time, and without counters that packets have changed."""
    return [line.partition(" [")[0] for line in text.splitlines() if not line.startswith("#")]


def of(rules: Mapping[str, tuple[str, ...]], *hooks: str) -> Firewall:
    """A firewall with these chains of the filter table."""
    return Firewall({("filter", chain): tuple(f"-A {chain} {rule}" for rule in texts)
                     for chain, texts in rules.items()}, {"filter": hooks}, {})


def test_each_node_holds_what_iptables_makes_of_its_text(
        monkeypatch: pytest.MonkeyPatch, scratch: Callable[[], Scratch]) -> None:
    answers: list[bool] = []
    write = LegacyTables.write

    def noted(tables: LegacyTables, wanted: Firewall) -> bool:
        answers.append(write(tables, wanted))
        return answers[-1]

    monkeypatch.setattr(LegacyTables, "write", noted)
    topology = scaled(load_topology(FILE), 6, 1)
    topology = replace(topology, pods=(*topology.pods, *(
        Pod("default", f"more{number}", "node1") for number in range(14))))
    made, sets = policies(3, rules=2, members=5)
    topology = replace(topology, policies=tuple(made), network_sets=tuple(sets))
    with CalicoNet(topology, iptables=LEGACY) as net:
        assert len(answers) == 6 and answers.count(True) >= 3
        for node in net.cluster.nodes:
            wanted = net.runtime.states[node].firewall
            assert wanted is not None
            fresh = scratch()
            fresh.restore(wanted)
            assert kept(net[node].cmd("iptables-save")) == fresh.saved(), node
        assert net.verify() == ()


DIGEST = "A234567890abcdef"
A_TO_B = f'-m comment --comment "cali:{DIGEST}" --in-interface cali12345678901 --goto cali-b'
A_TO_C = A_TO_B.replace(DIGEST, DIGEST[::-1]).replace("8901", "8765").replace("cali-b", "cali-c")
FIRST = {"cali-a": (A_TO_B,), "cali-b": ()}


@pytest.mark.parametrize(("learned", "wanted", "expected"), [
    pytest.param(FIRST, {"cali-a": (A_TO_C, A_TO_B), "cali-b": (), "cali-c": ()}, True, id="names"),
    pytest.param(FIRST, {**FIRST, "cali-a": (A_TO_B.replace("goto", "jump"),)}, False, id="jump"),
    pytest.param(FIRST, {**FIRST, "cali-a": (A_TO_B.replace("-in-", "-out-"),)}, False, id="out"),
    pytest.param(FIRST, {"cali-a": (A_TO_B,)}, False, id="no-chain"),
    pytest.param({"cali-a": ("--in-interface cali1+ --jump DROP",)},
                 {"cali-a": ("--in-interface cali2+ --jump DROP",)}, True, id="beginning"),
    pytest.param({"cali-a": ("--in-interface cali1+ --jump DROP",)},
                 {"cali-a": ("--in-interface cali12+ --jump DROP",)}, False, id="longer-beginning"),
    pytest.param({"cali-a": ("--source 10.0.0.1,10.0.0.2 --jump DROP",)},
                 {"cali-a": ("--source 10.0.0.1,10.0.0.2 --jump DROP",)}, False, id="two-in-one"),
    pytest.param({"cali-a": ("--protocol tcp", "--jump DROP")},
                 {"cali-a": ("--protocol tcp",) * 40 + ("--jump DROP",)}, True, id="no-target"),
    pytest.param({"cali-a": ()}, {"cali-b": (), "cali-a": ()}, True, id="empty"),
])
def test_what_was_learned_of_one_rule_serves_those_of_its_shape(
        scratch: Callable[[], Scratch], learned: Mapping[str, tuple[str, ...]],
        wanted: Mapping[str, tuple[str, ...]], expected: bool) -> None:
    tables, first, second, third = LegacyTables(), scratch(), scratch(), scratch()
    first.restore(of(learned))
    first.run(lambda: tables.learn(of(learned)))
    empty = second.saved()
    assert second.run(lambda: tables.write(of(wanted))) is expected
    if expected:
        third.restore(of(wanted))
    assert second.saved() == (third.saved() if expected else empty)


def test_hooks_stand_where_iptables_puts_them(scratch: Callable[[], Scratch]) -> None:
    wanted = of({"cali-a": (), "cali-b": ()}, "-A FORWARD --jump cali-a",
                "-I FORWARD --jump cali-b", "-I FORWARD --protocol tcp --jump cali-a",
                "-A INPUT --jump cali-b")
    tables, first, second = LegacyTables(), scratch(), scratch()
    first.restore(wanted)
    first.run(lambda: tables.learn(wanted))
    assert second.run(lambda: tables.write(wanted))
    assert second.saved() == first.saved() and len(first.saved()) > 8


def test_where_rules_are_already_nothing_is_written(scratch: Callable[[], Scratch]) -> None:
    wanted = of({"cali-a": ("--jump DROP",)})
    tables, first = LegacyTables(), scratch()
    first.restore(wanted)
    first.run(lambda: tables.learn(wanted))
    assert not first.run(lambda: tables.write(wanted))


def test_a_table_that_the_kernel_refuses_leaves_no_other_behind(
        scratch: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Firewall({("raw", "cali-a"): ("-A cali-a --jump DROP",),
                       ("filter", "cali-a"): ("-A cali-a --jump DROP",)},
                      {"raw": (), "filter": ()}, {})
    tables, first, second = LegacyTables(), scratch(), scratch()
    first.restore(wanted)
    first.run(lambda: tables.learn(wanted))
    empty = second.saved()
    monkeypatch.setitem(legacy_tables._CHAINS, "filter", (1, 2))  # a table without OUTPUT
    assert not second.run(lambda: tables.write(wanted))
    monkeypatch.undo()
    assert [line for line in second.saved() if "cali" in line] == []
    assert second.run(lambda: subprocess.run(
        ("iptables-legacy", "-t", "raw", "-S"), capture_output=True, timeout=60,
        env={**os.environ, "XTABLES_LOCKFILE": "/proc/self/fd/0"}, stdin=subprocess.DEVNULL,
        check=False)).stdout == b"-P PREROUTING ACCEPT\n-P OUTPUT ACCEPT\n"
    assert empty == []
