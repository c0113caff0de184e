"""Signals at awkward moments, a terminal that is closed, programs that are not installed.

     node31  a        node32  b               r1
        |             |                        |
   -----+-- rack-a ---+------------------------+-- rack-b ----
"""

from __future__ import annotations

import os
import pty
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support import machine
from support.patience import SLOWNESS, eventually
from support.topologies import one_subnet

from calico_mn import CalicoNet, results
from calico_mn.errors import ToolError
from calico_mn.kernel import cleanup
from calico_mn.measure import programs

from .test_killed import EXPERIMENT, WORKER, nothing_of

pytestmark = [pytest.mark.root, pytest.mark.kills]

ROOT = Path(__file__).resolve().parents[2]


def readings(output: Path) -> int:
    written = output / "results.jsonl"
    return written.read_bytes().count(b'"throughput"') if written.exists() else 0


def test_an_experiment_goes_on_after_a_stop_and_reports_when_its_terminal_is_closed(
        tunnel, tmp_path):
    output = tmp_path / "out"
    # Long enough that something arrives in each transfer, however busy the machine is.
    words = [*EXPERIMENT, "--repeats", "500", "--duration", "0.3", "--output", str(output)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    os.set_blocking(terminal, False)

    def more_than(count: int) -> bool:
        with suppress(BlockingIOError):
            os.read(terminal, 65536)
        return readings(output) > count

    try:
        assert eventually(lambda: more_than(0), 60)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
        before = readings(output)
        os.kill(pid, signal.SIGCONT)
        assert eventually(lambda: more_than(before))
        os.close(terminal)
        assert eventually(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                          is not None)
    finally:  # nothing to what has ended, which is still to be waited for
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    found = results.load(output)
    assert found.about["cut_short"] == "interrupted" and found.about["failures"] == []
    assert (output / "report.html").exists()
    assert eventually(lambda: nothing_of(pid))


def test_a_program_that_ended_while_we_were_stopped_is_not_late(tunnel, monkeypatch):
    real = programs.readable

    def after_a_stop(descriptors, _seconds):
        time.sleep(0.3)
        return real(descriptors, 0)

    with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
        monkeypatch.setattr(programs, "readable", after_a_stop)
        assert programs.run(net["a"], ["echo", "done"], timeout=0.2).out == "done\n"
        with pytest.raises(ToolError, match="did not end within"):
            programs.run(net["a"], ["sh", "-c", "echo begun; sleep 1000"], timeout=0.2)


def test_ctrl_c_again_and_again_while_a_cluster_stops_leaves_nothing_to_the_next(tunnel):
    chance = random.Random(3)
    for _ in range(4):
        with subprocess.Popen(WORKER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              bufsize=1) as process:
            assert process.stdout
            while (said := process.stdout.readline().strip()) != "stop":
                assert said
            for _ in range(3):
                time.sleep(chance.uniform(0, 0.02))
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=60 * SLOWNESS)
        cleanup.remove_all()
        assert eventually(lambda pid=process.pid: nothing_of(pid))


def test_programs_and_shells_obey_signals_that_the_script_ignores(tunnel):
    look = ["grep", "-E", "^Sig(Blk|Ign):.*[1-9a-f]", "/proc/self/status"]
    before = {number: signal.signal(number, signal.SIG_IGN)
              for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    try:
        with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
            assert net["a"].pexec(look)[0] == ""
            assert "Sig" not in net["a"].cmd("grep -E '^Sig(Blk|Ign):.*[1-9a-f]' /proc/self/status")
            with net["a"].popen(["sleep", "1000"]) as process:
                process.terminate()
                assert process.wait(60) == -signal.SIGTERM
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)


def path_without(directory: Path, absent: str) -> str:
    """A PATH with everything that this machine has but one program."""
    directory.mkdir()
    for place in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = directory / program.name
            if program.name != absent and not os.path.lexists(link):
                link.symlink_to(program)
    return str(directory)


@pytest.mark.parametrize("absent", ["ip", "ping"])
def test_an_experiment_says_which_program_is_missing(tmp_path, absent):
    path = path_without(tmp_path / "bin", absent)
    done = subprocess.run([*EXPERIMENT, "--output", str(tmp_path / "out")], text=True, timeout=60,
                          capture_output=True, env={**os.environ, "PATH": path})
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"not installed: {absent}; run first: ")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("absent", ["bash", "env"])
def test_a_node_without_a_shell_says_so_and_all_else_goes_on(
        tunnel, tmp_path, monkeypatch, absent):
    with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
        monkeypatch.setenv("PATH", path_without(tmp_path / "bin", absent))
        held = []
        for _ in range(3):
            with pytest.raises(ToolError, match=f"^default/a: .*{absent}.*"):
                net["a"].cmd("true")
            held.append(machine.descriptors())
        # The first attempt made the pod's mounts.
        assert held[0] == held[2]
        net.set_ipip_mode("Never")
        assert net["a"].pexec(["ping", "-c1", "-W2", net["b"].ip])[2] == 0
        monkeypatch.undo()
        assert net["a"].cmd("echo there") == "there\r\n"
