"""Programs inside a run's nodes from another process: input, tty, signals, exit status.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod shop/c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import subprocess

import pytest
from support.patience import eventually

from calico_mn.kernel import processes

from .conftest import PROGRAM, ROOT, environment
from .terminal import Terminal

pytestmark = pytest.mark.root


def terminal(lab, *words):
    return Terminal(*PROGRAM, *words, CALICO_MN_RUN=lab.identity)


@pytest.mark.parametrize(("words", "status"), [
    (["node31", "--", "true"], 0), (["a", "--", "sh", "-c", "exit 7"], 7),
    (["r1", "--", "sh", "-c", "kill -9 $$"], -9), (["a", "--", "sh", "-c", "kill -PIPE $$"], -13),
    (["rack-a", "nosuchprogram"], 127),
    (["a", "/etc/passwd"], 126), (["a"], 125), (["nosuch", "--", "true"], 125),
], ids=str)
def test_exit_statuses(lab, words, status):
    assert lab("exec", *words).returncode == status


def test_an_unknown_node_is_named_with_what_is_alike(lab):
    assert lab("exec", "node13", "--", "true").stderr == (
        "calico-mn: there is no node, pod, router or subnet 'node13'; did you mean node31?\n")


def test_it_runs_inside_with_the_callers_directory_and_input(lab, tmp_path):
    (tmp_path / "file").write_text("content")
    assert lab.ok("exec", "a", "--", "sh", "-c", "cat - && cat /sys/class/net/eth0/ifindex",
                  stdin="typed\n") == "typed\n4\n"
    assert lab.ok("exec", "node31", "cat", "file", cwd=tmp_path, PYTHONPATH=str(ROOT)) == "content"
    assert "10.22.31.1/32" in lab.ok("exec", "default/a", "--", "ip", "-br", "address")
    assert "ip link add tunl0" in lab.ok("exec", "node31", "cat", "/var/log/calico/cni/cni.log")


def test_no_descriptor_of_ours_leaks_into_the_program(lab):
    assert lab.ok("exec", "a", "--", "sh", "-c", "ls /proc/$$/fd").split() == ["0", "1", "2"]


def test_options_after_two_dashes_are_the_programs(lab):
    assert lab.ok("exec", "a", "--", "echo", "--run", "--", "--help") == "--run -- --help\n"


def test_a_terminal_is_a_terminal_there_too(lab):
    with terminal(lab, "exec", "a", "--", "sh", "-c",
                  "test -t 0 && test -t 1 && stty size && read line && echo got $line") as there:
        assert there.shows("30 100")
        there.type("hello\n")
        assert there.shows("got hello")
        assert there.status() == 0


def test_ctrl_c_goes_to_the_program(lab):
    with terminal(lab, "exec", "a", "--", "sh", "-c",
                  "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
                  ) as there:
        assert there.shows("ready")
        there.type("\x03")
        assert there.shows("caught")
        assert there.status() == 9


def test_a_shell_has_the_nodes_name_in_its_prompt(lab):
    with terminal(lab, "shell", "node31") as there:
        assert there.shows("node31")
        there.type("ip -br address show tunl0; exit 5\n")
        assert there.shows("10.22.31.0")
        assert there.status() == 5


def test_a_capture_is_text_or_a_file(lab, tmp_path):
    def captured(*words):
        process = subprocess.Popen(
            [*PROGRAM, "capture", *words], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment(CALICO_MN_RUN=lab.identity))
        assert eventually(lambda: processes.name_of(process.pid) == "tcpdump")
        heard = ""
        while "listening on" not in heard:
            line = process.stderr.readline()
            assert line, heard
            heard += line
        lab.ok("exec", "a", "--", "ping", "-c1", "-W2", "10.22.32.1")
        out, _err = process.communicate(timeout=60)
        assert process.returncode == 0
        return out

    assert "10.22.31.1 > 10.22.32.1: ICMP echo request" in captured("a:eth0", "-c1", "--", "icmp")
    file = tmp_path / "x.pcap"
    captured("node31", "-c1", "-w", str(file), "--", "icmp")
    assert file.read_bytes()[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4")
    assert b"\x0a\x16\x1f\x01\x0a\x16\x20\x01" in file.read_bytes()  # 10.22.31.1, 10.22.32.1


@pytest.mark.parametrize(("words", "status", "said"), [
    (["a:eth7"], 3, "a has no device 'eth7'; it has eth0"),
    (["a", "-c", "0"], 2, "-c takes a number"),
    (["a", "-w", "/nosuch/x.pcap"], 2, "cannot write /nosuch/x.pcap: No such file or directory"),
])
def test_a_captures_mistakes(lab, words, status, said):
    done = lab("capture", *words)
    assert done.returncode == status and said in done.stderr and done.stderr.count("\n") == 1
