"""Files below /run/calico-mn that are not a run's, or only look so, harm no other process.

Directories that are not ours, records that lie, numbers that are used again, containers that
share /run, terminals that name a run, and several that clean up at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import machine
from support.patience import SLOWNESS, eventually
from support.topologies import one_subnet

from calico_mn import CalicoNet
from calico_mn.errors import ClusterError, UnsupportedError
from calico_mn.kernel import cleanup, processes, registry, runtime_dir

from .test_killed import killed_in, nothing_of

pytestmark = [pytest.mark.root, pytest.mark.kills]

ROOT = Path(__file__).resolve().parents[2]
CLEANUP = [sys.executable, "-m", "calico_mn", "cleanup"]
#: no process has it: above the largest pid_max
NOBODY = 4_194_305
#: keeps a run's directory until its input ends; process 1 of a container of its own
CONTAINER = """
import sys
from calico_mn.kernel.registry import RunDirectory
run = RunDirectory({})
print(run.identity, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in the place of /run/calico-mn."""
    directory = tmp_path / "calico-mn"
    directory.mkdir()
    monkeypatch.setattr(runtime_dir, "MACHINE", directory)
    return directory


def directory(below: Path, name: str, record: object = None) -> Path:
    path = below / name
    path.mkdir()
    if record is not None:
        (path / registry.RECORD).write_text(
            record if isinstance(record, str) else json.dumps(record))
    return path


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A program that has nothing to do with us."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield process
    process.kill()
    process.wait(60)


# --- records and directories

@pytest.mark.parametrize("record", [
    {"process_started": 1}, {"process_started": "x", "pid_namespace": "y"},
    {"pid_namespace": 1}, {"name": 5, "started": 7, "topology": [], "tunnel": {}}, [], "", "{",
    "[" * 100_000, '{"controlled": true}',
], ids=lambda record: str(record)[:30])
def test_a_forged_record_kills_no_other_process(below, bystander, record):
    path = directory(below, f"{bystander.pid}-1", record)
    if isinstance(record, dict):
        # The number in the record is not read.
        directory(below, f"{NOBODY}-1", {**record, "pid": bystander.pid})
    cleanup.remove_all()
    assert bystander.poll() is None
    assert not (below / f"{NOBODY}-1").exists() or record == {"pid_namespace": 1}
    if path.exists():
        assert registry.runs()[0].status in (
            registry.PRIVATE, registry.STARTING, registry.ELSEWHERE)


def test_records_with_anything_in_them_are_listed(below, monkeypatch, capsys):
    from calico_mn.cli.main import main
    for number, record in enumerate(({"name": 5, "started": 7, "topology": ["a"]},
                                     {"started": "yesterday"}, [3], "nonsense"), 1):
        directory(below, f"{os.getpid()}-{number}", record)
    assert main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_what_is_not_ours_below_run_stays(below, tmp_path):
    theirs = directory(below, f"{NOBODY}-1")
    (theirs / "thesis.txt").write_text("years of work")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / registry.RECORD).write_text("{}")
    (below / f"{NOBODY}-2").symlink_to(elsewhere)
    (below / f"{NOBODY}-3").write_text("a file")
    (below / "notes").mkdir()
    # Digits, but not the ones that we write.
    directory(below, "\u0664\u0665-1", {})
    before = sorted(below.rglob("*"))
    assert registry.runs() == [] and cleanup.remove_all() == ()
    assert sorted(below.rglob("*")) == before and (elsewhere / registry.RECORD).exists()


def test_a_run_without_a_record_and_one_removed_half_way_are_removed(below):
    directory(below, f"{NOBODY}-1")  # killed between two system calls
    half = directory(below, f"{NOBODY}-2", {"name": "half"})
    (half / "logs").symlink_to("/etc")
    assert {removed.identity for removed in cleanup.remove_all()} == {
        f"{NOBODY}-1", f"{NOBODY}-2"}
    assert not below.exists() and Path("/etc/passwd").exists()


def test_a_file_in_the_place_of_the_directory_is_said(below):
    below.rmdir()
    below.write_text("")
    with pytest.raises(ClusterError, match="calico-mn cannot be read: Not a directory"):
        registry.runs()
    with pytest.raises(UnsupportedError, match="cannot make the run's directory below"):
        registry.RunDirectory({})
    assert below.is_file()


# --- numbers

def test_a_directory_that_has_our_number_already_is_left_alone(below):
    first = registry.RunDirectory({})
    number = int(first.identity.partition("-")[2])
    theirs = directory(below, f"{os.getpid()}-{number + 1}", {"name": "theirs", "pid_namespace": 1})
    second = registry.RunDirectory({})
    assert second.identity == f"{os.getpid()}-{number + 2}"
    for run in (first, second):
        run.remove()
    assert (theirs / registry.RECORD).exists()


def test_a_living_run_whose_record_was_spoilt_is_not_dead(below):
    run = registry.RunDirectory({})
    for spoilt in ('{"process_started": 1}', "{", '{"pid_namespace": 1, "locked": true}'):
        (run.path / registry.RECORD).write_text(spoilt)
        (found,) = registry.runs()
        assert found.status != registry.DEAD
    cleanup.remove_all()
    assert run.path.exists()
    run.remove()
    assert not run.path.exists()


def test_where_proc_hides_a_process_it_does_not_count_as_dead(below, bystander, monkeypatch):
    # As mounted with hidepid=2, for a root that is not the machine's own.
    directory(below, f"{bystander.pid}-1", {"name": "hidden"})
    monkeypatch.setattr(processes, "_stat", lambda pid: None)
    assert [run.status for run in registry.runs()] == [registry.PRIVATE]
    bystander.kill()
    bystander.wait(60)
    assert [run.status for run in registry.runs()] == [registry.DEAD]


def test_a_run_that_came_to_life_under_a_dead_ones_number_is_not_removed(below):
    path = directory(below, f"{NOBODY}-1", {"name": "again"})
    (dead,) = registry.runs()
    assert dead.status == registry.DEAD
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    (path / registry.RECORD).write_text('{"pid_namespace": 1, "locked": true}')
    assert cleanup.remove_dead(dead.identity) == "" and path.exists()
    os.close(descriptor)
    assert cleanup.remove_dead(dead.identity) == "" and not path.exists()


#   two containers that share /run, each with a process 1 of its own
def test_containers_that_share_run_do_not_take_each_other_for_dead():
    def container() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c",
             CONTAINER], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout
        return process, runtime_dir.MACHINE / process.stdout.readline().strip()

    (one, first), (other, second) = container(), container()
    try:
        assert first != second and first.name.startswith("1-") and second.name.startswith("1-")
        cleanup.remove_all()
        assert {run.path: run.status for run in registry.runs()
                if run.path in (first, second)} == dict.fromkeys((first, second), "elsewhere")
        one.kill()
        one.communicate(timeout=60 * SLOWNESS)
        assert eventually(lambda: not registry.is_held(first))
        # Another one's clean-up may come before us.
        cleanup.remove_all()
        assert not first.exists() and second.exists()
    finally:
        for process in (one, other):
            process.kill()
            process.communicate(timeout=60 * SLOWNESS)
        cleanup.remove_all()
    assert not second.exists()


# --- processes

#   a terminal in which CALICO_MN_RUN names the run; the run is killed
def test_programs_of_a_terminal_that_names_a_dead_run_live_on(tunnel):
    pid = killed_in("change", 0)
    identity = f"{pid}-1"
    environment = {**os.environ, "CALICO_MN_RUN": identity}
    theirs = [subprocess.Popen(command, env=environment, start_new_session=True) for command in (
        ["sleep", "1000"], ["unshare", "--mount", "sleep", "1000"])]
    try:
        assert eventually(lambda: all(processes.name_of(p.pid) == "sleep" for p in theirs))
        cleanup.remove_all()
        assert eventually(lambda: not machine.with_logs_of(pid))
        assert [process.poll() for process in theirs] == [None, None]
    finally:
        for process in theirs:
            process.kill()
            process.wait(60)
    assert eventually(lambda: nothing_of(pid))


def test_a_program_that_hid_the_logs_is_found_by_its_environment(tunnel):
    with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
        hidden = net["a"].popen(["unshare", "--mount", "sh", "-c",
                                 "umount -R /var/log; exec sleep 1000"])
        assert eventually(lambda: processes.name_of(hidden.pid) == "sleep")
        assert "/logs/" not in processes.proc_file(hidden.pid, "mountinfo")
        assert cleanup._run_of(hidden.pid) == net.runtime.directory.identity
        assert cleanup._run_of(os.getpid()) == ""


# --- at once

def test_clean_ups_at_once_and_a_start_beside_them_do_no_harm(tunnel):
    pid = killed_in("change", 0)
    cleaners = [subprocess.Popen(CLEANUP, cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE) for _ in range(3)]
    for _ in range(4):
        with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
            held = net["a"].popen(["sleep", "1000"])
            assert net["a"].pexec(["ping", "-c1", "-W2", net["b"].ip])[2] == 0
            assert held.poll() is None and net.runtime.directory.path.exists()
        held.communicate()
    for cleaner in cleaners:
        _out, err = cleaner.communicate(timeout=60 * SLOWNESS)
        assert (cleaner.returncode, err) == (0, "")
    assert eventually(lambda: nothing_of(pid))


def test_on_a_read_only_run_it_is_said_what_could_not_be_removed():
    # In mounts of its own. The run's process does not exist.
    script = (f'mount -t tmpfs none /run && mkdir -p /run/calico-mn/{NOBODY}-1 &&'
              f" echo '{{\"name\": \"lab\"}}' >/run/calico-mn/{NOBODY}-1/run.json &&"
              ' mount -o remount,ro /run && exec "$@"')
    inside = ["unshare", "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run([*inside, *CLEANUP], cwd=ROOT, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout == (
        f"removed what run lab ({NOBODY}-1) left when it was killed; but /run/calico-mn/{NOBODY}-1"
        " cannot be removed: Read-only file system\n")
    boot = [*inside, sys.executable, "-m", "calico_mn", "up", "-d", "topologies/article.yaml"]
    done = subprocess.run(boot, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    assert "below /run/calico-mn: Read-only file system" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
