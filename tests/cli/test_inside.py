"""Programs inside a run's nodes from another process: input, tty, signals, exit status.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod shop/c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time
from pathlib import Path

import pytest
from support.patience import SLOWNESS, eventually

from calico_mn.kernel import processes

from .conftest import PROGRAM, ROOT, environment

pytestmark = pytest.mark.root


class Terminal:
    """A program at a terminal of its own, 100 columns by 30 rows."""

    def __init__(self, lab, *words):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvpe(PROGRAM[0], [*PROGRAM, *words],
                       environment(CALICO_MN_RUN=lab.identity, TERM="xterm"))
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.close(self.descriptor)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def shows(self, text, seconds=10):
        """Whether ``text`` appears after what was seen before."""
        deadline = time.monotonic() + seconds * SLOWNESS
        while text not in self.seen:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.descriptor], [], [], left)[0]:
                return False
            try:
                self.seen += os.read(self.descriptor, 4096).decode()
            except OSError:
                return text in self.seen
        self.seen = self.seen.partition(text)[2]
        return True

    def status(self, seconds=10):
        """The exit status."""
        assert eventually(lambda: os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG
                                            | os.WNOWAIT) is not None, seconds)
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(("words", "status"), [
    (["node31", "--", "true"], 0), (["a", "--", "sh", "-c", "exit 7"], 7),
    (["r1", "--", "sh", "-c", "kill -9 $$"], -9), (["rack-a", "nosuchprogram"], 127),
    (["a", "/etc/passwd"], 126), (["a"], 125), (["nosuch", "--", "true"], 125),
], ids=str)
def test_exit_statuses(lab, words, status):
    assert lab("exec", *words).returncode == status


def test_an_unknown_node_is_named_with_what_is_alike(lab):
    assert lab("exec", "node13", "--", "true").stderr == (
        "calico-mn: there is no node, pod, router or subnet 'node13'; did you mean node33?\n")


def test_it_runs_inside_with_the_callers_directory_and_input(lab, tmp_path):
    (tmp_path / "file").write_text("content")
    assert lab.ok("exec", "a", "--", "sh", "-c", "cat - && cat /sys/class/net/eth0/ifindex",
                  stdin="typed\n") == "typed\n4\n"
    assert lab.ok("exec", "node31", "cat", "file", cwd=tmp_path, PYTHONPATH=str(ROOT)) == "content"
    assert "10.22.31.1/32" in lab.ok("exec", "default/a", "--", "ip", "-br", "address")
    assert "ip link add tunl0" in lab.ok("exec", "node31", "cat", "/var/log/calico/cni/cni.log")


def test_options_after_two_dashes_are_the_programs(lab):
    assert lab.ok("exec", "a", "--", "echo", "--run", "--", "--help") == "--run -- --help\n"


def test_a_terminal_is_a_terminal_there_too(lab):
    with Terminal(lab, "exec", "a", "--", "sh", "-c",
                  "test -t 0 && test -t 1 && stty size && read line && echo got $line") as terminal:
        assert terminal.shows("30 100")
        terminal.type("hello\n")
        assert terminal.shows("got hello")
        assert terminal.status() == 0


def test_ctrl_c_goes_to_the_program(lab):
    with Terminal(lab, "exec", "a", "--", "sh", "-c",
                  "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
                  ) as terminal:
        assert terminal.shows("ready")
        terminal.type("\x03")
        assert terminal.shows("caught")
        assert terminal.status() == 9


def test_a_shell_has_the_nodes_name_in_its_prompt(lab):
    with Terminal(lab, "shell", "node31") as terminal:
        assert terminal.shows("node31")
        terminal.type("ip -br address show tunl0; exit 5\n")
        assert terminal.shows("10.22.31.0")
        assert terminal.status() == 5


def test_a_capture_is_text_or_a_file(lab, tmp_path):
    def captured(*words):
        process = subprocess.Popen(
            [*PROGRAM, "capture", *words], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment(CALICO_MN_RUN=lab.identity))
        assert eventually(lambda: processes.name_of(process.pid) == "tcpdump", 10)
        heard = ""
        while "listening on" not in heard:
            line = process.stderr.readline()
            assert line, heard
            heard += line
        lab.ok("exec", "a", "--", "ping", "-c1", "-W2", "10.22.32.1")
        out, _err = process.communicate(timeout=20)
        assert process.returncode == 0
        return out

    assert "10.22.31.1 > 10.22.32.1: ICMP echo request" in captured("a:eth0", "-c1", "--", "icmp")
    file = tmp_path / "x.pcap"
    captured("node31", "-c1", "-w", str(file), "--", "icmp")
    assert file.read_bytes()[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4")
    assert b"\x0a\x16\x1f\x01\x0a\x16\x20\x01" in file.read_bytes()  # 10.22.31.1, 10.22.32.1


def test_a_captures_file_belongs_to_who_called_sudo(lab):
    with tempfile.TemporaryDirectory() as directory:  # pytest's own is closed to others
        os.chown(directory, 65534, 65534)
        status = captured_by_nobody(lab, Path(directory, "x.pcap"))
    assert (status.st_uid, status.st_gid) == (65534, 65534)


def captured_by_nobody(lab, file):
    process = subprocess.Popen(
        [*PROGRAM, "capture", "a", "-w", str(file)], cwd=ROOT, stderr=subprocess.DEVNULL,
        env=environment(CALICO_MN_RUN=lab.identity, SUDO_UID="65534", SUDO_GID="65534"))
    assert eventually(lambda: processes.name_of(process.pid) == "tcpdump", 10)
    process.terminate()
    process.wait(10)
    return file.stat()


@pytest.mark.parametrize(("words", "status", "said"), [
    (["a:eth7"], 3, "a has no device 'eth7'; it has eth0"),
    (["a", "-c", "0"], 2, "-c takes a number"),
    (["a", "-w", "/nosuch/x.pcap"], 2, "cannot write /nosuch/x.pcap: No such file or directory"),
])
def test_a_captures_mistakes(lab, words, status, said):
    done = lab("capture", *words)
    assert done.returncode == status and said in done.stderr and done.stderr.count("\n") == 1
