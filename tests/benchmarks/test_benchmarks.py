"""The benchmarks run, end well and print their figures; how fast they are is not tested."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
TIMEOUT_S = 120

Run = Callable[..., tuple[str, dict[str, Any]]]


def command(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(BENCHMARKS / script), *arguments]


@pytest.fixture
def needs_root() -> None:
    if os.geteuid():
        pytest.skip("needs root, to make network namespaces")


@pytest.fixture
def run(needs_root: None, tmp_path: Path) -> Run:
    """Runs a benchmark: what it printed, and its JSON."""

    def run(script: str, *arguments: str) -> tuple[str, dict[str, Any]]:
        report = tmp_path / "report.json"
        done = subprocess.run(command(script, *arguments, "--json", str(report)),
                              capture_output=True, text=True, timeout=TIMEOUT_S, env=ENVIRONMENT)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, json.loads(report.read_text(encoding="utf-8"))

    return run


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


@pytest.mark.root
def test_boot_compares_ours_with_plain_mininet_and_the_bound(run: Run) -> None:
    need("mnexec", "ifconfig", "cc")
    printed, report = run("boot.py", "--sizes", "3x2", "--repeats", "1")
    assert report["skipped"] == {}
    assert [sample["subject"] for sample in report["samples"]] == ["ours", "bound", "plain"]
    assert all(s["boot_ms"] > 0 and s["stop_ms"] >= 0 for s in report["samples"])
    figures = report["summary"]["sizes"]["3x2"]
    assert figures["plain_over_ours_with_stop"]["n"] == 1
    assert figures["ours_over_bound_boot"]["n"] == 1
    assert "3x2 plain" in printed
    assert "kB a pod" in printed


@pytest.mark.root
def test_boot_without_mnexec_and_compiler_says_why_and_measures_the_rest(
        needs_root: None, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ip", "ping", "grep"):  # Mininet counts processors by grep
        need(name)
        (programs / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(command("boot.py", "--sizes", "1x2,2x2", "--repeats", "1"), text=True,
                          capture_output=True, timeout=TIMEOUT_S,
                          env={**ENVIRONMENT, "PATH": str(programs)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plain is skipped: plain Mininet needs mnexec" in done.stdout
    assert "bound is skipped: there is no C compiler" in done.stdout
    assert "2x2 ours" in done.stdout
    assert "ours over the sizes" in done.stdout


@pytest.mark.root
@pytest.mark.parametrize("subject", ["ours", "plain"])
def test_boot_interrupted_leaves_no_process(needs_root: None, subject: str) -> None:
    need("mnexec", "ifconfig")
    pods = "0" if subject == "ours" else "1000"
    process = subprocess.Popen(
        command("boot.py", "--sizes", "4x50", "--repeats", "50", "--plain-up-to", pods),
        stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        assert process.stdout
        # The second subject is at work shortly after the first has been reported.
        while " ours " not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted" in rest
    mark = f"CALICO_MN_BENCHMARK={process.pid}".encode()
    assert [pid for pid in os.listdir("/proc") if pid.isdigit() and _has(pid, mark)] == []


def _has(pid: str, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


@pytest.mark.root
def test_mode_change_times_all_six_transitions(run: Run) -> None:
    printed, report = run("mode_change.py", "--nodes", "4", "--rounds", "1")
    replaced = {(s["before"], s["after"]): s["routes"] for s in report["samples"]}
    # 4 nodes in two racks: 12 routes in all, 4 within a rack and 8 between the racks.
    assert replaced == {
        ("Always", "CrossSubnet"): 4, ("CrossSubnet", "Never"): 8, ("Never", "Always"): 12,
        ("Always", "Never"): 12, ("Never", "CrossSubnet"): 8, ("CrossSubnet", "Always"): 4,
    }
    assert "12 routes to blocks of others" in printed
    assert "Never -> Always" in printed
    programs = {s["programs_ms"] > 0 for s in report["samples"] if "Never" in s.values()}
    assert programs == {report["environment"]["iptables"] != "none"}


@pytest.mark.root
def test_mode_change_without_rules_runs_no_program(run: Run) -> None:
    report = run("mode_change.py", "--nodes", "4", "--rounds", "1", "--no-policy")[1]
    assert report["environment"]["iptables"] == "none"
    assert {sample["programs_ms"] for sample in report["samples"]} == {0}


@pytest.mark.root
def test_policy_compares_boots_and_changes_with_and_without_rules(run: Run) -> None:
    need("iptables-nft-restore", "ipset")
    printed, report = run("policies.py", "--quick", "--iptables", "nft")
    assert {(s["what"], s["rules"], s["policies"]) for s in report["samples"]} == {
        ("matrix", "none", 20), ("member", "nft", 10),
        *((what, rules, count) for what in ("boot 4x10", "pod")
          for rules, count in (("none", 0), ("nft", 0), ("nft", 10)))}
    assert all(sample["ms"] > 0 for sample in report["samples"])
    assert "boot 4x10" in printed


@pytest.mark.root
def test_boots_with_bird_are_compared_with_the_built_in_engine(run: Run) -> None:
    need("bird")
    printed, report = run("bird_boot.py", "--nodes", "4", "--repeats", "1")
    samples = {sample["way"]: sample for sample in report["samples"]}
    assert list(samples) == ["builtin", "mesh", "reflectors"] and report["skipped"] == {}
    assert [sample["late"] for sample in samples.values()] == [0, 0, 0]
    assert all(samples[way]["ms"] > samples["builtin"]["ms"] and samples[way]["kb_a_node"] > 0
               for way in ("mesh", "reflectors"))
    assert "4 reflectors" in printed


def test_bgp_times_each_event_in_a_mesh_and_with_reflectors(run: Run) -> None:
    printed, report = run("bgp.py", "--nodes", "6", "--repeats", "1")
    # The two that reflect and the four others all learn of it but the one that has it.
    assert [(s["way"], s["event"], s["changed"]) for s in report["samples"]] == [
        (way, event, changed) for way in ("mesh", "reflectors") for event, changed in (
            ("boot", 6), ("new block", 5), ("withdrawal", 5), ("node goes", 5))]
    assert all(sample["ms"] > 0 for sample in report["samples"]) and "6 reflectors" in printed


@pytest.mark.root
def test_tunnel_compares_both_modes_in_each_round(run: Run) -> None:
    need("iperf3", "ping")
    printed, report = run("tunnel.py", "--rounds", "2", "--duration", "1", "--pings", "5",
                          "--latency-rounds", "3")
    assert [s["mode"] for s in report["samples"]] == ["Always", "Never", "Never", "Always"]
    assert all(s["gbit_per_s"] > 0 for s in report["samples"])
    latencies = report["latencies_us"]
    assert {"Never", "Always (tunl0)", "VXLAN, Always"} <= set(latencies)
    assert all(len(times) == 3 and min(times) > 0 for times in latencies.values())
    assert report["summary"]["latency_us"]["Never"]["ratio"]["median"] == 1
    assert report["summary"]["gbit_per_s"]["ratio"]["n"] == 2
    assert "TCP, Gbit/s" in printed


@pytest.mark.root
@pytest.mark.kills
def test_soak_kills_looks_and_counts(run: Run) -> None:
    need("unshare")
    printed, report = run("soak.py", "--kills", "5", "--clusters", "2", "--boots", "2",
                          "--changes", "10")
    assert report["kill"]["killed"] == dict.fromkeys(
        ("boot", "run", "trial", "change", "stop"), 1)
    assert report["kill"]["cleaners_killed"] == 2
    assert report["kill"]["left_before_clean_up"]["directory"] >= 3
    assert report["kill"]["left_after_clean_up"] == 0
    assert report["neighbours"]["looks"] > 0
    assert report["long"]["after_boots"]["descriptors"] > 0
    assert report["long"]["after_boots"]["namespaces"] == 1
    assert report["long"]["after_changes"]["namespaces"] > 9  # those of three nodes and six pods
    assert report["wrong"] == []
    assert "nothing was left, disturbed or grew" in printed


@pytest.mark.parametrize(("argument", "message"), [
    pytest.param("20", "'20' is no size", id="no x"),
    pytest.param("0x5", "0x5: from 1 to 1000 nodes", id="no nodes"),
    pytest.param("4x0", "4x0: from 1 to 1000 nodes, at least 1 pod", id="no pods"),
    pytest.param("480x200", "480x200: does not fit into 10.22.0.0/16", id="too many blocks"),
    pytest.param("4x10,axb", "'axb' is no size", id="second of two"),
])
def test_boot_refuses_a_size_that_cannot_be(argument: str, message: str) -> None:
    done = subprocess.run(command("boot.py", "--sizes", argument), capture_output=True, text=True,
                          timeout=TIMEOUT_S, env=ENVIRONMENT)
    assert done.returncode == 2
    assert message in done.stderr
