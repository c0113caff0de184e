"""Runs that end in the worst of ways: killed, cut off, out of everything.

     node0 .10    node2 .11          node1 .10
     2 pods       2 pods             2 pods
       |            |                  |
   ----+-- rack0 ---+--- (.1) r1 (.1) -+-- rack1 ----

The victim is the worker of benchmarks/soak.py, which says what it is doing; what it leaves is
told from other people's by its pid.
"""

from __future__ import annotations

import os
import pty
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import machine, seccomp
from support.patience import SLOWNESS, eventually
from support.topologies import one_subnet

from calico_mn import CalicoNet, results
from calico_mn.errors import ToolError
from calico_mn.kernel import cleanup

pytestmark = [pytest.mark.root, pytest.mark.kills]

ROOT = Path(__file__).resolve().parents[2]
WORKER = [sys.executable, str(ROOT / "benchmarks" / "soak_worker.py"), "3x2"]
#: a cluster that runs out of processes while it is up, and is stopped then
LATER = """
import sys
sys.path[:0] = sys.argv[1:]
from calico_mn import CalicoNet
from calico_mn.errors import ToolError
from support.seccomp import no_more_processes
from support.topologies import one_subnet
with CalicoNet(one_subnet("Always"), policies=False) as net:
    net["a"].cmd("sleep 1000 &")
    no_more_processes()
    net.set_ipip_mode("Never")
    try:
        net["b"].popen(["sleep", "1000"])
    except ToolError as error:
        print(error)
"""
EXPERIMENT = [sys.executable, str(ROOT / "experiments" / "ipip_modes.py"), "--quick", "--modes",
              "Always", "--repeats", "2", "--duration", "0.05", "--topology",
              str(ROOT / "topologies" / "two-subnets.yaml")]
#: about how long each part of the worker's life is, in seconds
LENGTH = {"boot": 0.05, "run": 0.06, "trial": 0.8, "change": 0.08, "stop": 0.03}
MOMENTS = [*LENGTH, "boot", "change"]


@pytest.fixture
def untouched(tunnel: str) -> Iterator[None]:
    """The machine's network, mounts and pinned eBPF objects are after the test as before it."""
    def pinned() -> list[str]:
        directory = Path("/sys/fs/bpf")
        return sorted(os.listdir(directory)) if directory.is_dir() else []

    def mounts() -> str:
        return Path("/proc/self/mounts").read_text()

    before = machine.snapshot(), mounts(), pinned()
    yield
    eventually(lambda: not machine.differences(before[0], machine.snapshot())
               and (mounts(), pinned()) == before[1:], seconds=10, pause=0.2)
    assert machine.differences(before[0], machine.snapshot()) == []
    assert (mounts(), pinned()) == before[1:]


def killed_in(phase: str, delay: float) -> int:
    """Kill a worker so many seconds after it began with a phase; its pid."""
    with subprocess.Popen([*WORKER, phase], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, bufsize=1) as victim:
        assert victim.stdout
        while (said := victim.stdout.readline().strip()) != phase:
            assert said, victim.communicate()[1]
        time.sleep(delay)
        victim.kill()
    return victim.pid


def by_cleanup(pid: int) -> None:
    done = subprocess.run([sys.executable, "-m", "calico_mn", "cleanup"], cwd=ROOT, text=True,
                          capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def by_the_next_start(pid: int) -> None:
    with CalicoNet(one_subnet("Always")) as net:
        assert net.pods


def nothing_of(pid: int) -> bool:
    return not machine.leftovers(pid) and not machine.with_logs_of(pid)


def test_after_a_kill_at_any_moment_nothing_is_left_once_it_is_cleaned_up(untouched):
    chance = random.Random(20)
    for number, phase in enumerate(MOMENTS):
        pid = killed_in(phase, chance.uniform(0, LENGTH[phase]) * SLOWNESS)
        (by_cleanup if number % 4 == 0 else by_the_next_start)(pid)
        assert eventually(lambda pid=pid: nothing_of(pid)), (
            phase, machine.leftovers(pid), machine.with_logs_of(pid))


#   node31 -- rack-a -- node32      kept by a process that is killed; other programs live
def test_cleaning_up_ends_only_programs_of_dead_runs(tunnel):
    pid = killed_in("change", 0)
    with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
        bystander = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        inside = net["a"].popen(["sleep", "1000"])
        # Keeps no run, and was started in one that lives.
        nested = net["a"].popen(["env", "-i", "sleep", "1000"])
        try:
            cleanup.remove_all()
            assert eventually(lambda: nothing_of(pid))
            assert [p.poll() for p in (bystander, inside, nested)] == [None] * 3
            assert net["a"].pexec(["ping", "-c1", "-W2", net["b"].ip])[2] == 0
        finally:
            for process in (bystander, inside, nested):
                process.kill()
                process.communicate()


def test_a_program_without_the_mark_is_found_by_its_mounts(tunnel):
    for _ in range(3):  # another test's clean-up may come first
        pid = killed_in("change", 0)
        unmarked = machine.with_logs_of(pid).keys() - machine.processes_of_runs(pid).keys()
        if unmarked:
            break
    assert unmarked
    cleanup.remove_all()
    assert eventually(lambda: not machine.with_logs_of(pid))
    assert all(not Path(f"/proc/{number}").exists() or _is_zombie(number) for number in unmarked)


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_nothing_to_clean_up_is_found_in_no_time(tunnel):
    cleanup.remove_all()
    start = time.process_time()
    for _ in range(50):
        cleanup.remove_before_start()
    # Looking through all processes alone would take several times as long.
    assert (time.process_time() - start) / 50 < 0.02 * SLOWNESS


# --- once each

def test_a_closed_terminal_ends_a_cluster_in_the_foreground(untouched):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "calico_mn", "up",
                                  "topologies/article.yaml", "--name", f"hangup-{os.getpid()}"])
    said = b""
    while b"calico-mn>" not in said and b"mininet>" not in said:
        part = os.read(terminal, 4096)
        assert part, said
        said += part
    assert machine.run_directories(pid)
    os.close(terminal)
    assert eventually(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
    assert eventually(lambda: nothing_of(pid))


def worker(*, before: Callable[[], None] | None = None, **options: object
           ) -> tuple[subprocess.CompletedProcess[str], int]:
    """Run the worker to its end; ``before`` is called in its process."""
    with subprocess.Popen(WORKER, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=before, **options) as process:
        out, err = process.communicate(timeout=60 * SLOWNESS)
    return subprocess.CompletedProcess(WORKER, process.returncode, out, err), process.pid


@pytest.mark.parametrize("limit", [14, 16, 21, 27, 32, 40])
def test_out_of_file_descriptors_is_said_and_leaves_nothing(untouched, limit):
    done, pid = worker(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    assert done.returncode == 1
    assert "Too many open files" in done.stderr and "ulimit -n" in done.stderr
    assert "Traceback" not in done.stderr
    assert eventually(lambda: nothing_of(pid))


@pytest.fixture
def can_forbid_processes() -> None:
    if not seccomp.is_known_here():
        pytest.skip("which system calls start processes is not known for this processor")


def test_out_of_processes_from_the_beginning_is_said_and_leaves_nothing(
        untouched, can_forbid_processes):
    done, pid = worker(before=seccomp.no_more_processes)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "process" in done.stderr or "thread" in done.stderr
    assert eventually(lambda: nothing_of(pid))


def test_out_of_processes_while_it_runs_a_cluster_still_changes_and_stops(
        untouched, can_forbid_processes):
    with subprocess.Popen([sys.executable, "-c", LATER, str(ROOT), str(ROOT / "tests")],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.communicate(timeout=60 * SLOWNESS)
    assert (process.returncode, err) == (0, "")
    assert "default/b: cannot run sleep" in out and "no process or thread" in out
    assert eventually(lambda: nothing_of(process.pid))


def experiment(output: Path, before: tuple[str, ...] = (), **options: object
               ) -> tuple[subprocess.CompletedProcess[str], int]:
    with subprocess.Popen([*before, *EXPERIMENT, "--output", str(output)], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **options) as process:
        out, err = process.communicate(timeout=120 * SLOWNESS)
    return subprocess.CompletedProcess(EXPERIMENT, process.returncode, out, err), process.pid


def test_a_full_disk_at_the_results_is_said_and_what_was_written_is_readable(untouched, tmp_path):
    folder = tmp_path / "small"
    kept = tmp_path / "kept"
    folder.mkdir()
    # In mounts of its own; what it held is copied out before they end with it.
    script = ('mount -t tmpfs -o size=16k,nr_inodes=40 none "$0" || exit 99; to=$1; shift;'
              ' "$@"; status=$?; cp -r "$0/." "$to"; exit $status')
    done, pid = experiment(folder / "out", (
        "unshare", "--mount", "sh", "-c", script, str(folder), str(kept)))
    assert done.returncode == 1, done
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert results.load(kept / "out").readings is not None
    assert eventually(lambda: nothing_of(pid))


def test_without_its_tools_an_experiment_says_so_and_leaves_nothing(untouched, tmp_path):
    (tmp_path / "bin").mkdir()
    done, pid = experiment(tmp_path / "out", env={**os.environ, "PATH": str(tmp_path / "bin")})
    assert done.returncode != 0
    assert "iperf3" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert nothing_of(pid)


def test_a_cluster_without_felixs_rules_needs_no_tools_and_says_which_is_missing(
        tunnel, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with CalicoNet(one_subnet("Always"), tunnel=tunnel, policies=False) as net:
        net.set_ipip_mode("Never")
        with pytest.raises(ToolError, match="cannot run iperf3: No such file"):
            net["a"].popen(["iperf3", "-s"])


def test_results_written_before_a_kill_are_readable(untouched, tmp_path):
    output = tmp_path / "out"
    with subprocess.Popen([*EXPERIMENT, "--output", str(output)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as victim:
        written = output / "results.jsonl"
        assert eventually(lambda: written.exists() and written.read_bytes().count(b"\n") > 3, 60)
        victim.send_signal(signal.SIGKILL)
    lines = written.read_bytes().count(b"\n")
    found = results.load(output)
    assert len(found.readings) >= lines - 1 and not found.complete
    cleanup.remove_all()
    assert eventually(lambda: nothing_of(victim.pid))
