"""``up`` in the foreground: Mininet's prompt with our verbs, and every way to end it.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod shop/c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from support.patience import eventually

from calico_mn.cli import verbs

from .conftest import LAB, OWN, PROGRAM, TUNNEL, calico_mn
from .terminal import Terminal

pytestmark = pytest.mark.root

NAME = f"{OWN}-prompt"


@pytest.fixture
def prompt(machine_can, tmp_path):
    with Terminal(*PROGRAM, "up", "--tunnel", TUNNEL, "--name", NAME, str(LAB),
                  HOME=str(tmp_path)) as terminal:
        assert terminal.shows("3 nodes, 3 pods, IPIP Always") and terminal.shows("mininet> ")
        yield terminal
    assert not listed()


def listed():
    return [run for run in json.loads(calico_mn("list", "--json").stdout) if run["name"] == NAME]


def test_verbs_are_commands_beside_mininets_own(prompt):
    prompt.type("routes node31\n")
    assert prompt.shows("block of node32, in IPIP")
    prompt.type("mode Never --node node31\n")
    assert prompt.shows("node31 alone: IPIP Never")
    prompt.type("trace a b\n")
    assert prompt.shows("default/a 10.22.31.1 -> default/b 10.22.32.1")
    prompt.type("get pods -A\n")
    assert prompt.shows("shop ")
    prompt.type("delete pod shop/c --dry-run\n")
    assert prompt.shows("pod/c deleted (dry run)")
    prompt.type("nodes\n")
    assert prompt.shows("available nodes are:")
    prompt.type("help mode\n")
    assert prompt.shows("usage: mode ") and prompt.shows("  mode CrossSubnet ")
    prompt.type("pod add\n")
    assert prompt.shows("*** ") and prompt.shows("mininet> ")
    prompt.type("describe pods\n")
    assert prompt.shows("*** describe: say KIND and NAME") and prompt.shows("mininet> ")
    prompt.type("\x04")
    assert prompt.status() == 0


def test_every_verb_is_a_command(prompt):
    prompt.type("help\n")
    for name in verbs.public():
        assert prompt.shows(f"  {name} "), name
    prompt.type("exec c -n shop -- hostname\n")
    assert prompt.shows("c\r\n")
    prompt.type("status\n")
    assert prompt.shows(f"{NAME} (")
    prompt.type("pingall\n")
    assert prompt.shows("= direct   # tunnelled") and prompt.shows("6 of 6 pairs")
    prompt.type("iperf a b -t 1\n")
    assert prompt.shows("default/a -> default/b, TCP: ")
    prompt.type("describe node nobody\n")
    assert prompt.shows("*** there is no node, pod, router or subnet 'nobody'")
    prompt.type("shell a\n")
    assert prompt.shows("# ")
    prompt.type("echo in $(hostname); exit\n")
    assert prompt.shows("in a\r\n") and prompt.shows("mininet> ")
    prompt.type("down\n")
    assert prompt.status() == 0


@pytest.mark.parametrize(("command", "says"), [
    ("dpctl dump-flows", "switches are Linux bridges, without OpenFlow"),
    ("switch rack-a stop", "'link NODE:DEVICE down' takes a cable down"),
    ("xterm a", "'shell NODE' opens a shell here"),
])
def test_what_cannot_work_says_what_to_use(machine_can, tmp_path, command, says):
    done = calico_mn("up", "--tunnel", TUNNEL, "--name", NAME, str(LAB), HOME=str(tmp_path),
                     stdin=f"{command}\n", DISPLAY="")
    assert done.returncode == 0 and says in done.stdout + done.stderr


def test_a_file_of_commands_is_read_or_said_to_be_missing(prompt, tmp_path):
    (tmp_path / "commands").write_text(
        "node31 echo $((40+2)) read\nrubbish\nexec shop/c hostname\n")
    prompt.type(f"source {tmp_path}/commands\n")
    assert prompt.shows("42 read") and prompt.shows("no node 'rubbish'")
    assert prompt.shows("c\r\n")
    (tmp_path / "endless").write_text(f"source {tmp_path}/endless\nnode31 echo $((50+1)) on\n")
    prompt.type(f"source {tmp_path}/endless\n")
    assert prompt.shows("endless is read already, and would never end")
    assert prompt.shows("51 on")
    prompt.type("source nosuch\n")
    assert prompt.shows("*** source: nosuch: No such file or directory")
    prompt.type(f"source {tmp_path}\n")
    assert prompt.shows("Is a directory")
    prompt.type("source\n")
    assert prompt.shows("*** usage: source FILE") and prompt.shows("mininet> ")
    prompt.type("\x04")
    assert prompt.status() == 0


def test_a_first_word_that_is_nearly_right(prompt):
    for typed, says in (("rotues", "'rotues'; did you mean routes?"),
                        ("nod31 ip a", "'nod31'; did you mean node31?"),
                        ("tc qdisc", "'tc'; did you mean link?"),
                        ("xyzzy 1", "'xyzzy': 'help' lists commands")):
        prompt.type(f"{typed}\n")
        assert prompt.shows(f"*** there is no command and no node {says}"), typed
        assert prompt.shows("mininet> ")
    prompt.type("\x04")
    assert prompt.status() == 0


def test_a_drawing_and_a_help_at_the_prompt_are_of_this_run(prompt, tmp_path):
    prompt.type(f"graph -o {tmp_path}/run.svg\n")
    assert prompt.shows("wrote ")
    assert "shop/c" in (tmp_path / "run.svg").read_text()
    prompt.type("graph --help\n")
    assert prompt.shows("usage: graph ") and prompt.shows("mininet> ")
    prompt.type("\x04")
    assert prompt.status() == 0


def test_ctrl_c_is_for_the_program_of_a_verb(prompt):
    prompt.type("ping a b -c 1000\n")
    assert prompt.shows("icmp_seq=2")
    prompt.type("\x03")
    assert prompt.shows("packets transmitted") and prompt.shows("mininet> ")
    prompt.type("iperf a b -t 600\n")
    assert prompt.shows("iperf, seconds: 1 of 600")
    prompt.type("\x03")
    assert prompt.shows("mininet> ")
    prompt.type("node32 echo $(ss -Hltn | wc -l) servers\n")
    assert prompt.shows("0 servers") and prompt.shows("mininet> ")
    prompt.type("\x04")
    assert prompt.status() == 0


def test_tab_completes_verbs_and_names(prompt):
    prompt.type("rout\t")
    assert prompt.shows("routes")
    prompt.type(" node3\t3\n")
    assert prompt.shows("subnet rack-b")
    prompt.type("get underl\t\n")
    assert prompt.shows("rack-a,rack-b")
    prompt.type("sh\t\t")
    assert prompt.shows("shop/c")
    prompt.type("\x15exit\n")  # Ctrl-U: away with the line
    assert prompt.status() == 0


def test_ctrl_c_ends_no_run_and_other_terminals_work_meanwhile(prompt):
    prompt.type("a ping 10.22.32.1\n")
    assert prompt.shows("icmp_seq=1")
    done = calico_mn("exec", "--run", NAME, "b", "--", "echo", "second terminal")
    assert done.stdout == "second terminal\n"
    done = calico_mn("mode", "--run", NAME, "CrossSubnet")
    assert "ip route replace 10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird" in done.stdout
    prompt.type("\x03")
    assert prompt.shows("mininet> ")
    prompt.type("node31 ip route get 10.22.32.1\n")
    assert prompt.shows("dev eth0")
    assert calico_mn("down", NAME).stdout == f"{NAME} is down\n"
    assert prompt.shows("was ended from another terminal")
    assert prompt.status() == 0


@pytest.mark.parametrize("command", ["exit", "kill -9 $$"])
def test_a_shell_that_ends_at_the_prompt_is_reported_and_replaced(prompt, command):
    prompt.type(f"node31 {command}\n")
    assert prompt.shows(f"*** node31: the shell was ended while it ran '{command}'")
    assert prompt.shows("mininet> ")
    prompt.type("node31 echo still $((40+2))\n")
    assert prompt.shows("still 42") and prompt.shows("mininet> ")
    prompt.type("\x04")
    assert prompt.status() == 0


def test_ctrl_c_gets_one_out_of_mininets_own_prompt_when_a_shell_has_ended(machine_can, tmp_path):
    """``CLI(net)`` in a user's own script: Mininet's waitForNode runs."""
    script = ("from mininet.cli import CLI\n"
              "from calico_mn import CalicoNet, load_topology\n"
              f"with CalicoNet(load_topology({str(LAB)!r}), tunnel={TUNNEL!r}) as net: CLI(net)\n")
    with Terminal(PROGRAM[0], "-c", script, HOME=str(tmp_path)) as terminal:
        assert terminal.shows("mininet> ")
        terminal.type("node31 echo ready\n")
        assert terminal.shows("ready") and terminal.shows("mininet> ")
        terminal.type("node31 exit\n")
        assert terminal.shows("exit\r\n")
        shell_ended = 0.3
        assert not terminal.shows("mininet> ", shell_ended)
        terminal.type("\x03")
        assert terminal.shows("mininet> ")
        terminal.type("node31 echo still $((40+2))\n")
        assert terminal.shows("still 42") and terminal.shows("mininet> ")
        terminal.type("\x04")
        assert terminal.status() == 0


def test_closing_the_terminal_ends_the_run(prompt):
    (run,) = listed()
    prompt.close()
    assert eventually(lambda: not Path(run["directory"]).exists())
    assert eventually(lambda: not listed())


def test_a_signal_ends_it_cleanly_also_while_a_node_works(prompt):
    prompt.type("a sleep 1000\n")
    os.kill(prompt.pid, signal.SIGTERM)
    assert prompt.status() == 0


def test_commands_can_come_from_a_pipe(machine_can, tmp_path):
    done = calico_mn("up", "--tunnel", TUNNEL, "--name", NAME, str(LAB), HOME=str(tmp_path),
                     stdin="# a comment\nmode Never\nnode31 ip route get 10.22.33.1\nexit\npods\n")
    assert done.returncode == 0
    assert re.search(r"\nall pools: IPIP Never, \d+ changes\n", done.stdout)
    assert "via 192.168.57.1 dev eth0" in done.stdout + done.stderr
    assert "NAMESPACE" not in done.stdout
