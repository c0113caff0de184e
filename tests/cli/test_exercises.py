"""Every exercise on one cluster: broken, found, mended by the solution's commands, taken back.

     node31 .31        node32 .32               node33 .33
     web-0 client-a    web-1 client-b           web-2 client-c
        |                 |                        |
   -----+---- rack-a -----+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json
import shlex

import pytest

import calico_mn.control.session
from calico_mn import CalicoNet, load_topology
from calico_mn.cli import verbs
from calico_mn.cli.main import read
from calico_mn.control.dispatcher import Dispatcher
from calico_mn.control.session import LocalSession
from calico_mn.errors import CalicoMnError, ClusterError, UnsupportedError
from calico_mn.exercises.catalogue import EXERCISES

from .conftest import ROOT, TUNNEL, boot, end

pytestmark = pytest.mark.root

NUMBERS = range(1, len(EXERCISES) + 1)

#: what each of the commands of ``find`` prints
FOUND = {
    1: ("forwarding", "ip_forward = 0"), 2: ("dropped in", "down"),
    3: ("1300", "mtu 1300"), 4: ("filter", "IP protocol 4"),
    5: ("1300", "ICMP type 3 code 4"), 6: ("dropped in", "proto bird"),
    7: ("dropped in", "proto bird onlink"), 8: ("dropped in r1", "- blackhole"),
    9: ("dropped in", "proxy_arp"), 10: ("filter", "scope link"),
    11: ("dropped in", "speaker is dead", "speaker dead"),
    12: ("TCP port 179", "TCP port 179", "TCP port 179"),
    13: ("rp-filter", "CrossSubnet", "rp_filter"), 14: ("filter", "tidy"),
    15: ("DROPPED", "natOutgoing"), 16: ("dropped in", "default via"),
    17: ("no carrier", "down"), 18: ("wrong-mac", "02:00:00:00:00:66"),
}


class Shell:
    """Verbs as at the prompt of one cluster."""

    def __init__(self, net, capsys):
        self.net, self._capsys = net, capsys
        self.session = LocalSession(Dispatcher(net))

    def __call__(self, command):
        """Exit status and output of a command, which may begin with ``calico-mn``."""
        if command.startswith("calico-mn get ippools -o yaml | sed"):
            self.net.apply(self("get ippools -o yaml")[1].replace(
                "natOutgoing: false", "natOutgoing: true"))
            return 0, ""
        name, *words = shlex.split(command.removeprefix("calico-mn "))
        if name == "exec":
            place, _, *program = words
            out, err, status = self.net[place].pexec(program)
            return status, out + err
        verb = verbs.public()[name]
        options = read(verb, words)
        status = verb.ask(options, self.session) if verb.ask else verb.run(options)
        return status, self._capsys.readouterr().out

    def json(self, command):
        return json.loads(self(f"{command} --json")[1])


@pytest.fixture(scope="module")
def net(machine_can):
    with CalicoNet(load_topology(ROOT / "topologies" / "two-subnets.yaml"), tunnel=TUNNEL) as it:
        yield it


@pytest.fixture
def shell(net, capsys, monkeypatch):
    shell = Shell(net, capsys)
    monkeypatch.setattr(calico_mn.control.session, "remote", lambda *_: shell.session)
    yield shell
    net.exercises.reset()


def left_behind(shell):
    """What is not as after the boot."""
    status = shell.session.ask("status")
    names = ("exercise", "links", "filters", "deadSpeakers", "sessionsDown", "podRoutes")
    return [*shell.net.verify(), *(status[name] for name in names if status[name])]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_fault_is_staged_found_mended_and_taken_back(shell, number):
    exercise = EXERCISES[number - 1]
    try:
        begun = shell(f"break {number} --seed 1")[1]
    except UnsupportedError as error:
        pytest.skip(str(error))
    except ClusterError as error:
        if shell.net.iptables == "none" and "Felix's rules" in str(error):
            pytest.skip(str(error))
        raise
    assert begun.startswith(f"Exercise {number}: {exercise.symptom}\n")
    assert shell.session.ask("status")["exercise"]["symptom"] == exercise.symptom
    assert shell("break --check") == (1, f"exercise {number} is not solved yet\n")
    hints = [shell("hint")[1] for _ in exercise.hints]
    assert [hint.split(": ")[0] for hint in hints] == [
        f"hint {place} of {len(hints)}" for place in range(1, len(hints) + 1)]
    solution = shell.json("solution")
    assert "{" not in "".join([begun, *hints, solution["cause"]])
    for command, word in zip(solution["find"], FOUND[number], strict=True):
        found = shell(command)[1]
        assert word in found, f"{command}\n{found}"
    for command in solution["mend"]:
        status, said = shell(command)
        assert status == 0, f"{command}\n{said}"
    assert shell("break --check")[0] == 0
    assert shell("break --reset") == (0, f"exercise {number} is over\n")
    assert left_behind(shell) == []


@pytest.mark.parametrize("number", [5, 11, 13, 14])
def test_what_was_not_mended_is_taken_back(shell, number):
    blocks = shell.net.resources("BlockAffinity")
    shell(f"break {number} --seed 2")
    assert shell("solution --repair")[1].endswith(f"exercise {number} is over\n")
    assert left_behind(shell) == [] and shell.net.resources("BlockAffinity") == blocks
    assert shell.json("pingall")["reached"] == 30


def test_chance_is_the_same_for_the_same_seed(net):
    tasks = []
    for seed in (5, 5, 6):
        tasks.append(net.exercises.begin(seed=seed))
        net.exercises.reset()
    assert tasks[0] == tasks[1] != tasks[2]


def test_the_list_names_symptoms_and_the_exercise_under_way(shell):
    listed = shell.json("break --list")
    assert [item["symptom"] for item in listed["exercises"]] == [e.symptom for e in EXERCISES]
    assert listed["current"] is None
    shell("break 17")
    assert shell("break --list")[1].endswith("under way: 17\n")
    with pytest.raises(ClusterError, match="exercise 17 is under way: end it first"):
        shell("break 3")


@pytest.mark.parametrize(("command", "said"), [
    ("hint", "no exercise is under way: calico-mn break begins one"),
    ("solution", "no exercise is under way"), ("break --check", "no exercise is under way"),
    ("break 99", "there is no exercise 99: there are 1 to 18"),
    ("break 2 --reset", "argument --reset: not allowed with argument N")])
def test_what_cannot_be_is_refused(shell, command, said):
    with pytest.raises(CalicoMnError, match=said):
        shell(command)
    assert left_behind(shell) == []


def test_in_vxlan_an_exercise_breaks_something_or_says_what_it_needs(machine_can):
    refused = {}
    with CalicoNet(load_topology(ROOT / "topologies" / "two-subnets.yaml"), tunnel=TUNNEL) as net:
        net.set_vxlan_mode("Always")
        for number in NUMBERS:
            if not EXERCISES[number - 1].needs & {"tunnel", "ip-protocol", "bgp", "rack"}:
                continue  # VXLAN changes nothing about it
            try:
                net.exercises.begin(number, seed=1)
            except ClusterError as error:
                refused[number] = str(error)
                continue
            assert net.exercises.check() == {"number": number, "solved": False}
            assert net.exercises.reset() == number
            assert net.verify() == (), number
    assert "inside IPIP" in refused.pop(4)
    assert refused.keys() == {11, 12}
    for reason in refused.values():
        assert reason.startswith("this exercise needs routes between the two nodes that BGP brings")


def test_another_terminal_sees_the_exercise_and_a_cluster_says_what_it_lacks(machine_can):
    run = boot("one-rack", "--mode", "Never", file=ROOT / "topologies" / "article.yaml")
    try:
        done = run("break", "4")
        assert done.returncode == 2
        assert done.stderr == (
            "calico-mn: this exercise needs packets between the two nodes inside IPIP: calico-mn"
            " mode Always --encapsulation ipip; pods in two subnets with a router between them\n")
        run.ok("break", "9")
        assert "exercise       9: One pod reaches nothing at all.\n" in run.ok("status")
        assert run.ok("hint").startswith("hint 1 of 3: ")
        assert run.ok("hint").startswith("hint 2 of 3: ")
        assert run.ok("solution", "--repair").endswith("exercise 9 is over\n")
    finally:
        end(run)


def test_no_symptom_or_question_tells_the_cause():
    words = ("ip_forward", "proxy_arp", "rp_filter", "blackhole", "natOutgoing", "protocol 4",
             "speaker", "policy")
    texts = [f"{exercise.symptom} {exercise.question}" for exercise in EXERCISES]
    assert not [text for text in texts if any(word in text for word in words)]
