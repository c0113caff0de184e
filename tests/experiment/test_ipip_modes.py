"""The main experiment from end to end. Structure and encapsulation; never an absolute speed."""

import csv
import json
import re
import signal
import subprocess
import time
from collections import Counter

import pytest
from calico_mn.measure.samples import load_samples
from support.patience import SLOWNESS, eventually

from calico_mn import results

from .conftest import command, left_behind, run, topology

pytestmark = pytest.mark.root

MODES = ("Always", "CrossSubnet", "Never")
PATHS = ("same-node", "same-subnet", "cross-subnet")

#: (mode, path) -> what the wire shows: encapsulated
TRUTH = {
    ("Always", "same-node"): False, ("Always", "same-subnet"): True,
    ("Always", "cross-subnet"): True,
    ("CrossSubnet", "same-node"): False, ("CrossSubnet", "same-subnet"): False,
    ("CrossSubnet", "cross-subnet"): True,
    ("Never", "same-node"): False, ("Never", "same-subnet"): False,
    ("Never", "cross-subnet"): False,
}
ACROSS = ("Never", "cross-subnet")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run, and the directory of its results."""
    directory = tmp_path_factory.mktemp("run")
    small = topology(directory, a="node31", b="node32", c="node33", d="node31")
    output = directory / "results"
    done = run("--quick", "--repeats", 2, "--duration", 0.05, "--topology", small,
               "--output", output)
    assert done.returncode == 0, done.stderr
    return done, output


@pytest.fixture(scope="module")
def samples(finished):
    return load_samples(finished[1] / "results.jsonl")


def test_every_pair_is_tried_in_every_mode(samples):
    tried = Counter((s.mode, s.path) for s in samples if s.metric == "reachable")
    assert tried == {(mode, path): count for mode in MODES for path, count in
                     (("same-node", 2), ("same-subnet", 4), ("cross-subnet", 6))}


def test_only_never_across_subnets_is_unreachable_on_the_plain_fabric(samples):
    tried = [s for s in samples if s.metric == "reachable"]
    assert {s.fabric for s in tried} == {"plain"}
    assert {(s.mode, s.path) for s in tried if s.value == 0} == {ACROSS}
    assert all(s.value == 0 for s in tried if (s.mode, s.path) == ACROSS)


def test_the_wire_agrees_with_what_calico_says_of_the_modes(samples):
    for metric in ("reachable", "latency", "throughput"):
        seen = {}
        for sample in samples:
            if sample.metric == metric:
                seen.setdefault((sample.mode, sample.path), set()).add(sample.encapsulated)
        assert seen == {key: {value} for key, value in TRUTH.items()}, metric


def test_each_trial_gives_throughput_and_latency(samples):
    trials = Counter((s.mode, s.path, s.metric) for s in samples if s.metric != "reachable")
    assert trials == {(mode, path, metric): 2 for mode in MODES for path in PATHS
                      for metric in ("throughput", "latency")}
    assert all(s.value > 0 for s in samples if s.metric != "reachable")
    assert {s.unit for s in samples if s.metric == "throughput"} == {"Mbit/s"}
    assert {s.unit for s in samples if s.metric == "latency"} == {"us"}


def test_pod_routes_are_added_only_where_the_fabric_does_not_connect(samples):
    with_routes = {(s.mode, s.path) for s in samples if s.fabric == "pod-routes"}
    assert with_routes == {ACROSS}
    assert {s.fabric for s in samples if s.metric == "throughput"
            and (s.mode, s.path) == ACROSS} == {"pod-routes"}


def test_trials_are_interleaved_in_complete_blocks(samples):
    assert [s.order for s in samples] == list(range(1, len(samples) + 1))
    trials = [s for s in samples if s.metric == "throughput"]
    for repeat, block in enumerate((trials[:9], trials[9:]), 1):
        assert {s.repeat for s in block} == {repeat}
        assert {(s.mode, s.path) for s in block} == set(TRUTH)
    order = [(s.mode, s.path) for s in trials[:9]]
    assert order != sorted(order, key=list(TRUTH).index)


def test_every_line_names_the_tunnel_back_end_that_ran(finished, samples):
    record = json.loads((finished[1] / "summary.json").read_text())
    assert {s.tunnel for s in samples} == {record["environment"]["cluster"]["tunnel"]}
    assert {s.tunnel for s in samples} <= {"kernel", "ebpf"}


def test_summary_holds_the_rows_and_the_environment(finished):
    record = json.loads((finished[1] / "summary.json").read_text())
    assert record["complete"] is True
    assert record["failures"] == []
    assert [(row["mode"], row["path"]) for row in record["rows"]] == [
        (mode, path) for path in PATHS for mode in MODES]
    environment = record["environment"]
    assert set(environment["versions"]) == {
        "calico_mn", "python", "mininet", "iperf3", "iperf3_threads", "iproute2", "ping"}
    assert None not in environment["versions"].values()
    assert environment["network"]["mtu"] == {
        "pod eth0": 1480, "node eth0": 1500, "node tunl0": 1480}
    assert re.fullmatch("[0-9a-f]{64}", environment["cluster"]["topology_sha256"])
    assert environment["network"]["tcp_congestion_control"]
    steal = record["noise"]["steal_share"]
    assert steal is None or 0 <= steal <= 1
    # Two repeats have no spread to speak of.
    assert record["noise"]["spread"] == {"throughput": None, "latency": None}


def test_the_loader_gives_every_sample_and_the_environment(finished, samples):
    found = results.load(finished[1])
    assert found.rows == samples
    assert found.complete
    assert found.environment["cluster"]["nodes"] == 3


def test_csv_has_every_mode_path_and_metric(finished):
    with open(finished[1] / "summary.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 27
    (across,) = [x for x in lines if (x["mode"], x["path"]) == ACROSS
                 and x["metric"] == "throughput"]
    assert (across["fabric"], across["ratio_to_never"], across["verdict"]) == (
        "pod-routes", "1.000", "reference")


def test_plot_and_logs_are_beside_them(finished):
    output = finished[1]
    assert (output / "ipip-modes.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (output / "logs").iterdir()} >= {"node31", "node32", "node33"}
    assert sorted(path.name for path in output.iterdir()) == [
        "ipip-modes.png", "logs", "results.jsonl", "summary.csv", "summary.json"]


def test_terminal_says_what_ran_and_what_it_means(finished):
    text = " ".join(finished[0].stdout.split())
    assert "3 nodes in 2 subnets, 4 pods" in text
    assert "built-in BGP-like distributor" in text
    assert "Never: 6 of 12" in text
    assert "Never connects none of 6 pairs on this fabric" in text
    assert "With n = 2 there is no interval" in text
    # The line with the names of the files is as long as they are.
    assert max(len(line) for line in finished[0].stdout.partition("Files in")[0].splitlines()
               ) <= 100
    assert finished[0].stderr == ""


def test_path_classes_that_a_topology_lacks_are_left_out_and_said(tmp_path):
    done = run("--quick", "--repeats", 1, "--duration", 0.05, "--modes", "Never,Always",
               "--topology", topology(tmp_path, a="node31", b="node32"),
               "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {s.path for s in load_samples(tmp_path / "out" / "results.jsonl")} == {"same-subnet"}
    assert "Not measured: same-node and cross-subnet" in done.stdout


def test_over_slow_links_measured_and_computed_throughput_are_compared(tmp_path):
    done = run("--quick", "--repeats", 1, "--duration", 0.05, "--modes", "Never,Always",
               "--topology", topology(tmp_path, rate="50Mbit", a="node31", b="node32"),
               "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert record["plan"]["counted_s"] == {"same-subnet": 2}
    physics = record["physics"]
    assert physics["limits"] == {"same-subnet": {"rate": 50, "pod_mtu": 1480, "link_mtu": 1500}}
    assert [(c["mode"], c["encapsulated"], c["computed"]) for c in physics["checks"]] == [
        ("Never", False, 47.791), ("Always", True, 47.16)]
    # Other work on this machine may hold a transfer back, but nothing makes it faster.
    assert all(-0.5 < c["deviation"] < 0.01 for c in physics["checks"])
    text = " ".join(done.stdout.split())
    assert "same-subnet 50 Mbit/s; there 2 s are counted, after a start of 1 s" in text
    assert "Links of 50 Mbit/s (same-subnet), measured of what header sizes allow: Never" in text


@pytest.mark.parametrize(("number", "after"), [
    pytest.param(signal.SIGINT, '"metric": "throughput"', id="Ctrl-C during the trials"),
    pytest.param(signal.SIGTERM, '"metric": "throughput"', id="SIGTERM during the trials"),
    pytest.param(signal.SIGINT, '"metric": "reachable"', id="Ctrl-C during the matrices"),
])
def test_interruption_leaves_what_was_measured_and_nothing_else(small, tmp_path, number, after):
    output = tmp_path / "out"
    process = subprocess.Popen(
        command("--topology", small, "--output", output, "--duration", 1), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    written = output / "results.jsonl"
    try:
        assert eventually(lambda: written.exists() and after in written.read_text(), 60)
        time.sleep(0.3)
        assert left_behind(process.pid), "the test looks for the wrong marks"
        process.send_signal(number)
        time.sleep(0.05)
        process.send_signal(number)  # an impatient person
        out, err = process.communicate(timeout=30 * SLOWNESS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert "Not complete: interrupted" in err
    assert "Traceback" not in err
    taken = load_samples(written)
    assert taken
    assert written.read_text().endswith("}\n")
    record = json.loads((output / "summary.json").read_text())
    assert (record["complete"], record["cut_short"]) == (False, "interrupted")
    assert (output / "logs" / "node31").is_dir()
    assert f"The {len(taken)} samples" in err
    assert "Files in" in out
    assert left_behind(process.pid) == []


@pytest.mark.parametrize(("arguments", "text"), [
    pytest.param(["--modes", "Allways"], "did you mean Always?", id="misspelled mode"),
    pytest.param(["--modes", "Never,Never"], "a mode is named twice in 'Never,Never'", id="twice"),
    pytest.param(["--repeats", "0"], "'0' is not a whole number of 1 or more", id="repeats"),
    pytest.param(["--duration", "0"], "'0' is not a number of seconds", id="duration"),
    pytest.param(["--topology", "/nonexistent.yaml"], "cannot be read", id="no topology"),
    pytest.param(["--output", "."], "is not empty", id="output in use"),
])
def test_mistakes_are_said_without_a_traceback(arguments, text, tmp_path):
    (tmp_path / "something").touch()
    done = run("--quick", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def test_one_pod_is_too_few(tmp_path):
    done = run("--quick", "--topology", topology(tmp_path, only="node31"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has too few pods: a measurement needs two" in done.stderr
    assert not (tmp_path / "results").exists()
