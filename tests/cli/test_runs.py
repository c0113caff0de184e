"""Runs as a second terminal finds them: several at once, ended in every way.

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
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from support.engines import NEEDS_BIRD
from support.patience import eventually

from calico_mn import CalicoNet
from calico_mn.emulation.plan import plan
from calico_mn.kernel import processes, registry, runtime_dir
from calico_mn.topology import load_topology

from . import conftest
from .conftest import LAB, OWN, ROOT, TUNNEL, calico_mn, environment

pytestmark = [pytest.mark.root, pytest.mark.kills]


def listed() -> dict[str, dict]:
    return {run["name"]: run for run in json.loads(calico_mn("list", "--json").stdout)}


def started(*words: str) -> subprocess.Popen[bytes]:
    """A command that runs beside the test."""
    return subprocess.Popen([*conftest.PROGRAM, *words], cwd=ROOT, env=environment())


def test_a_run_is_found_on_disk_and_described(lab):
    run = listed()[lab.name]
    assert (run["status"], run["pid"], run["topology"]) == ("running", lab.pid, str(LAB))
    line = next(line for line in calico_mn("list").stdout.splitlines() if lab.name in line)
    assert line.split()[:2] == [lab.name, "running"] and line.endswith("tests/cli/lab.yaml")
    status = lab.json("status")
    assert (status["nodes"], status["pods"], status["routers"]) == (3, 3, 1)
    assert status["pools"] == [{"name": "pool", "cidr": "10.22.0.0/16", "disabled": False,
                                "ipipMode": "Always", "vxlanMode": "Never", "mode": "Always",
                                "nodes": {}}]
    text = lab.ok("status")
    assert "3 nodes, 3 pods, 1 router, 2 subnets" in text
    assert "pool 10.22.0.0/16: Always\n" in text


def test_only_root_gets_at_a_run(lab):
    assert stat.S_IMODE(lab.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((lab.directory / "control").stat().st_mode) == 0o600
    assert (lab.directory / "topology.yaml").read_bytes() == LAB.read_bytes()


def test_runs_live_side_by_side_and_end_one_by_one(lab, own):
    other = own("other", "--mode", "Never")
    assert listed().keys() >= {lab.name, other.name}
    dev = {run.name: run.ok("exec", "node31", "--", "ip", "route", "get", "10.22.32.1").split()[4]
           for run in (lab, other)}
    assert dev == {lab.name: "tunl0", other.name: "eth0"}
    assert calico_mn("down", other.name).stdout == f"{other.name} is down\n"
    assert other.name not in listed() and not other.directory.exists()
    assert processes.start_time(other.pid) is None
    assert lab.ok("exec", "a", "--", "ping", "-c1", "-W2", "10.22.32.1")


def test_several_runs_end_by_one_command(lab, own):
    first, second = own("first"), own("second")
    done = calico_mn("down", first.name, second.identity, first.identity)
    assert (done.returncode, done.stdout) == (0, f"{first.name} is down\n{second.name} is down\n")
    assert not first.directory.exists() and not second.directory.exists()
    assert listed()[lab.name]["status"] == "running"


def test_a_plan_is_what_a_boot_does(lab):
    """The log of the real boot against the plan, command by command.

    A plan knows no tunnel back end: it has neither the eBPF tunnel's routes in table 4040, nor the
    log's remark on what makes tunl0.
    """
    done: dict[str, list[str]] = {}
    for log in sorted((lab.directory / "logs").glob("*/cni.log")):
        for line in log.read_text().splitlines():
            _stamp, subject, command = line.split(" ", 2)
            if not command.endswith(" table 4040"):
                done.setdefault(subject.strip("[]"), []).append(command.split("  #")[0])
    planned = {step.namespace: list(step.commands) for step in plan(load_topology(LAB))}
    assert done == planned


@pytest.mark.parametrize(("words", "status", "said"), [
    (["status", "nosuch"], 3, "no run is called 'nosuch'; running: "),
    (["down", "nosuch"], 3, "no run is called 'nosuch'"),
    (["down", f"{OWN}-lab", "nosuch"], 3, "no run is called 'nosuch'"),
    (["down", "--all", f"{OWN}-lab"], 2, "--all takes no names"),
    (["exec", "--run", "nosuch", "node31", "--", "true"], 125, "no run is called 'nosuch'"),
    (["up", "-d", "--name", "Lab", str(LAB)], 2, "'Lab' is no name for a run"),
    (["up", "-d", "--name", "17-4", str(LAB)], 2, "'17-4' is no name for a run"),
    (["up", "-d", "--name", f"{OWN}-lab", str(LAB)], 2, "-lab is there already"),
])
def test_mistakes_about_runs_are_one_line(lab, words, status, said):
    done = calico_mn(*words)
    assert done.returncode == status and said in done.stderr and done.stderr.count("\n") == 1


def test_a_boot_in_the_background_that_fails_says_why_and_leaves_nothing(machine_can, tmp_path):
    # The file is good, but the digests of these two names begin alike: one device for two pods.
    pods = "".join(f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}}}\n"
                   for name in ("p1803518", "p8024346"))
    (tmp_path / "alike.yaml").write_text(LAB.read_text() + pods.replace(
        "}}", "}, spec: {nodeName: node31}}"))
    done = calico_mn("up", "-d", "--name", f"{OWN}-alike", str(tmp_path / "alike.yaml"))
    assert done.returncode == 2 and "would both have the device" in done.stderr
    assert f"{OWN}-alike" not in listed()


@pytest.mark.alone  # any start that cleans up after a dead run ends this one's programs, too
def test_a_killed_daemon_is_dead_and_cleanup_removes_what_it_left(apart, own):
    run, living = own("killed"), own("living")
    sleeper = started("exec", "--run", run.name, "a", "--", "sleep", "1000")
    assert eventually(lambda: processes.name_of(sleeper.pid) == "sleep")
    os.kill(run.pid, signal.SIGKILL)
    assert eventually(lambda: processes.start_time(run.pid) is None)
    assert listed()[run.name]["status"] == "dead"
    done = run("status")
    assert done.returncode == 3 and "is dead" in done.stderr and "cleanup" in done.stderr
    said = calico_mn("cleanup").stdout
    assert f"run {run.name} ({run.identity})" in said and f"sleep ({sleeper.pid})" in said
    assert sleeper.wait(60) == -signal.SIGKILL
    assert not run.directory.exists() and run.name not in listed()
    assert living.ok("exec", "a", "--", "echo", "here") == "here\n"


@NEEDS_BIRD
def test_every_output_says_that_bird_is_the_engine_and_a_kill_leaves_none(apart, own):
    run = own("birds", "--engine", "bird")
    engine = run.json("status")["routeEngine"]
    assert engine.startswith("BIRD 2.") and engine.endswith(", one in each node")
    assert engine in (text := run.ok("status"))
    memory = run.json("status")["birdMemoryKB"]
    assert memory.keys() == {"node31", "node32", "node33"}
    assert all(300 < kilobytes < 100_000 for kilobytes in memory.values())
    assert re.search(r"\nBIRDs' memory +\d+\.\d MB in 3 BIRDs, median \d+\.\d MB\n", text)
    assert run.json("bgp", "node31")[0]["peers"][0]["state"] == "up"
    running = [pid for pid in processes.all_pids() if processes.name_of(pid) == "bird"
               and f"CALICO_MN_RUN={run.identity}" in processes.proc_file(pid, "environ")]
    os.kill(run.pid, signal.SIGKILL)
    assert eventually(lambda: processes.start_time(run.pid) is None)
    calico_mn("cleanup")
    assert running and eventually(lambda: all(map(processes.has_ended, running)))
    assert not run.directory.exists()


def test_up_removes_what_dead_runs_left(apart, own):
    run = own("stale")
    os.kill(run.pid, signal.SIGKILL)
    assert eventually(lambda: processes.start_time(run.pid) is None)
    done = calico_mn("up", "-d", "--tunnel", TUNNEL, "--name", run.name, str(LAB))
    assert done.returncode == 0, done
    assert calico_mn("down", run.name).returncode == 0
    assert f"removed what run {run.name} ({run.identity}) left when it was killed" in done.stderr


def test_down_ends_programs_of_other_terminals(own):
    run = own("busy")
    program = started("exec", "--run", run.name, "a", "--", "sleep", "1000")
    assert eventually(lambda: processes.name_of(program.pid) == "sleep")
    assert run("down").returncode == 0
    assert program.wait(60) < 0


def test_a_program_of_its_own_is_listed_and_takes_no_requests(machine_can):
    with CalicoNet(load_topology(LAB), tunnel=TUNNEL, name=f"{OWN}-script"):
        assert listed()[f"{OWN}-script"]["status"] == "private"
        done = calico_mn("status", f"{OWN}-script")
    assert done.returncode == 3 and "belongs to a program of its own" in done.stderr


def test_what_is_no_request_is_answered_or_hung_up_on_and_does_no_harm(lab):
    for sent in (b"\n", b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"verb": 1}\n', b"x" * 200_000,
                 b'{"verb": "nosuch"}\n', b'{"verb": "mode", "arguments": {"x": 1}}\n'):
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(10)
            wire.connect(str(lab.directory / "control"))
            try:
                wire.sendall(sent)
                answer = wire.makefile().readline()
            except ConnectionError:
                answer = ""
            assert answer == "" or "error" in json.loads(answer)
    assert lab.ok("exec", "a", "--", "echo", "still here") == "still here\n"


def test_a_pid_that_another_process_has_now_is_not_taken_for_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_dir, "MACHINE", tmp_path)
    own_pid = os.getpid()
    for number, started in enumerate((processes.start_time(own_pid), 1), 1):
        path = tmp_path / f"{own_pid}-{number}"
        path.mkdir()
        (path / "run.json").write_text(json.dumps(
            {"name": f"r{number}", "process_started": started, "controlled": True,
             "pid_namespace": processes.namespace("pid")}))
        (path / "control").touch()
    assert {run.name: run.status for run in registry.runs()} == {"r1": "running", "r2": "dead"}
    assert registry.find().name == "r1"
    (tmp_path / f"{own_pid}-2" / "run.json").write_text('{"name": "r2", "pid_namespace": 1}')
    assert registry.find("r1").name == "r1"
    assert [run.status for run in registry.runs() if run.name == "r2"] == ["elsewhere"]


def test_names_are_taken_from_the_file_and_numbered():
    def run(name: str) -> registry.FoundRun:
        return registry.FoundRun(Path("/nowhere/1-1"), {"name": name})

    assert registry.new_name("", "a/two-subnets.yaml", []) == "two-subnets"
    assert registry.new_name("", "two-subnets.yaml", [run("two-subnets")]) == "two-subnets-2"
    assert registry.new_name("", "My Lab_1.yml", []) == "my-lab-1"
    assert registry.new_name("", "", []) == registry.new_name("", "1-2.yaml", []) == "run"
