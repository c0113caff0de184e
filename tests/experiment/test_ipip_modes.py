"""The main experiment from end to end. Structure and encapsulation; never an absolute speed."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.patience import SLOWNESS, eventually

from calico_mn import results
from calico_mn.measure.reading_log import load_readings

from .conftest import ROOT, command, key_of, left_behind, run, topology

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
def found(finished):
    return results.load(finished[1])


@pytest.fixture(scope="module")
def rows(found):
    """Flat rows, by metric."""
    by_metric = {}
    for row in found.rows:
        by_metric.setdefault(row["metric"], []).append(row)
    return by_metric


def where(row):
    return row["mode"], row["path"]


def test_every_pair_is_tried_in_every_mode(rows):
    assert Counter(map(where, rows["reachable"])) == {
        (mode, path): count for mode in MODES for path, count in
        (("same-node", 2), ("same-subnet", 4), ("cross-subnet", 6))}


def test_only_never_across_subnets_is_unreachable_on_the_plain_fabric(rows):
    tried = rows["reachable"]
    assert {row["fabric"] for row in tried} == {"plain"}
    assert {where(row) for row in tried if row["value"] == 0} == {ACROSS}
    assert all(row["value"] == 0 for row in tried if where(row) == ACROSS)


def test_the_wire_agrees_with_what_calico_says_of_the_modes(rows):
    for metric, mine in rows.items():
        seen = {}
        for row in mine:
            seen.setdefault(where(row), set()).add(row["encapsulated"])
        assert seen == {key: {value} for key, value in TRUTH.items()}, metric


@pytest.mark.parametrize(("metric", "unit"), [
    ("throughput", "Mbit/s"), ("latency", "us"), ("retransmits", "segments")])
def test_each_trial_gives_every_value_once(rows, metric, unit):
    mine = rows[metric]
    assert Counter((*where(row), row["repeat"]) for row in mine) == {
        (mode, path, repeat): 1 for mode in MODES for path in PATHS for repeat in (1, 2)}
    assert {row["unit"] for row in mine} == {unit}
    assert all(row["value"] > 0 or metric == "retransmits" for row in mine)


def test_pod_routes_are_added_only_where_the_fabric_does_not_connect(rows):
    for metric in ("throughput", "latency"):
        assert {where(row) for row in rows[metric] if row["fabric"] == "pod-routes"} == {ACROSS}
        assert {row["fabric"] for row in rows[metric] if where(row) == ACROSS} == {"pod-routes"}


def test_trials_are_interleaved_in_complete_blocks(found, rows):
    assert [reading.order for reading in found.readings] == list(
        range(1, len(found.readings) + 1))
    trials = rows["throughput"]
    for repeat, block in enumerate((trials[:9], trials[9:]), 1):
        assert {row["repeat"] for row in block} == {repeat}
        assert {where(row) for row in block} == set(TRUTH)
    order = [where(row) for row in trials[:9]]
    assert order != sorted(order, key=list(TRUTH).index)


def test_no_setting_is_read_twice(found):
    keys = Counter(map(key_of, found.readings))
    assert set(keys.values()) == {1}


def test_every_reading_names_the_tunnel_back_end_that_ran(found):
    (tunnel,) = {reading.setting["tunnel"] for reading in found.readings}
    assert tunnel == found.environment["cluster"]["tunnel"]
    assert tunnel in ("kernel", "ebpf")


def test_summary_holds_the_rows_and_the_environment(found):
    record = found.about
    assert found.complete
    assert record["failures"] == []
    assert list(dict.fromkeys(map(where, record["rows"]))) == [
        (mode, path) for path in PATHS for mode in MODES]
    environment = found.environment
    assert set(environment["versions"]) >= {
        "calico_mn", "calico_mn_source", "python", "mininet", "iperf3", "iperf3_threads",
        "iproute2", "ping"}
    assert None not in environment["versions"].values()
    assert environment["network"]["mtu"] == {
        "pod eth0": 1480, "node eth0": 1500, "node tunl0": 1480}
    assert re.fullmatch("[0-9a-f]{64}", environment["cluster"]["topology_sha256"])
    assert environment["cluster"]["nodes"] == 3
    assert environment["network"]["tcp_congestion_control"]
    steal = record["noise"]["steal_share"]
    assert steal is None or 0 <= steal <= 1
    # Two repeats have no spread to speak of.
    assert set(record["noise"]["spread"]) >= {"throughput", "latency"}
    assert set(record["noise"]["spread"].values()) == {None}


def test_the_record_of_the_beginning_knows_how_to_do_it_again(finished, found):
    begun = json.loads((finished[1] / "run.json").read_text())
    assert (begun["format"], begun["experiment"]) == (2, "ipip-modes")
    assert begun["arguments"][:5] == ["--quick", "--repeats", "2", "--duration", "0.05"]
    assert "--output" not in begun["arguments"]
    assert begun["environment"] == found.environment
    assert begun["plan"] == found.about["plan"]
    given = Path(begun["arguments"][-1])
    assert begun["topology"] == str(given) == found.environment["cluster"]["topology"]
    assert (finished[1] / "topology.yaml").read_bytes() == given.read_bytes()


def test_csv_has_every_mode_path_and_metric(finished, found):
    with open(finished[1] / "summary.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    for metric in ("reachable", "throughput", "latency"):
        assert [where(line) for line in lines if line["metric"] == metric] == [
            (mode, path) for path in PATHS for mode in MODES]
    assert {line["variant"] for line in lines} == {""}
    (across,) = [x for x in lines if where(x) == ACROSS and x["metric"] == "throughput"]
    assert (across["fabric"], across["ratio_to_never"], across["verdict"]) == (
        "pod-routes", "1.0", "reference")
    assert [(x["mode"], x["path"], x["metric"]) for x in lines] == [
        (x["mode"], x["path"], x["metric"]) for x in found.about["rows"]]


def test_the_report_is_made_again_by_the_verb_and_says_the_same(finished, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(finished[1], again)
    page = (again / "report.html").read_text()
    for path in again.iterdir():
        if path.suffix in (".html", ".csv", ".svg", ".png"):
            path.unlink()
    done = subprocess.run([sys.executable, "-m", "calico_mn", "report", again], text=True,
                          capture_output=True, timeout=120, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert (again / "report.html").read_text() == page
    assert {path.name for path in again.iterdir()} == {path.name for path in finished[1].iterdir()}
    # What was cut short is said to be so, and stays so.
    summary = json.loads((again / "summary.json").read_text())
    assert summary == json.loads((finished[1] / "summary.json").read_text())
    (again / "summary.json").write_text(json.dumps(
        {**summary, "complete": False, "cut_short": "interrupted"}))
    subprocess.run([sys.executable, "-m", "calico_mn", "report", again], check=True, timeout=120,
                   capture_output=True, cwd=ROOT)
    assert results.load(again).about["cut_short"] == "interrupted"
    assert "<strong>Not complete:</strong> interrupted" in (again / "report.html").read_text()


def test_the_last_line_is_the_report_and_findings_come_first(finished):
    done, output = finished
    lines = done.stdout.splitlines()
    assert lines[-1] == f"Report: {output / 'report.html'}"
    places = [lines.index(title) for title in (
        "Findings", "Who reaches whom, on the fabric as it is", "What the numbers cannot say")]
    assert places == sorted(places)
    assert {"results.jsonl", "summary.json", "summary.csv", "run.json", "topology.yaml", "logs",
            "report.html"} <= {path.name for path in output.iterdir()}
    assert {path.name for path in (output / "logs").iterdir()} >= {"node31", "node32", "node33"}
    for path in output.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_terminal_says_what_ran_and_what_it_means(finished):
    text = " ".join(finished[0].stdout.split())
    assert "3 nodes in 2 subnets, 4 pods" in text
    assert "built-in BGP-like distributor" in text
    assert re.search("Felix's rules iptables-(nft|legacy)", text)
    assert "Never: 6 of 12" in text
    assert "Never connects none of 6 pairs on this fabric" in text
    assert "With n = 2 there is no interval" in text
    # The last line is as long as the path.
    assert max(map(len, finished[0].stdout.splitlines()[:-1])) <= 100
    assert finished[0].stderr == ""


def test_path_classes_that_a_topology_lacks_are_left_out_and_said(tmp_path):
    done = run("--quick", "--repeats", 1, "--duration", 0.05, "--modes", "Never,Always",
               "--instruments", "rtt", "--topology", topology(tmp_path, a="node31", b="node32"),
               "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {row["path"] for row in results.load(tmp_path / "out").rows} == {"same-subnet"}
    assert "Not measured: same-node and cross-subnet" in done.stdout


def test_a_block_of_a_larger_run_leaves_the_report_to_that_run(tmp_path):
    done = run("--quick", "--no-report", "--repeats", 1, "--duration", 0.05, "--modes", "Never",
               "--instruments", "rtt", "--topology", topology(tmp_path, a="node31", b="node32"),
               "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert results.load(tmp_path / "out").complete
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "logs", "results.jsonl", "run.json", "summary.json", "topology.yaml"}
    assert done.stdout.splitlines()[-1] == f"Directory: {tmp_path / 'out'}"


def test_over_slow_links_measured_and_computed_throughput_are_compared(tmp_path):
    done = run("--quick", "--repeats", 1, "--duration", 0.05, "--modes", "Never,Always",
               "--instruments", "tcp", "--output", tmp_path / "out",
               "--topology", topology(tmp_path, rate="50Mbit", a="node31", b="node32"))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "summary.json").read_text())
    (limit,) = record["plan"]["limits"]
    assert (limit["path"], limit["rate_mbit"], limit["pod_mtu_bytes"], limit["link_mtu_bytes"]) == (
        "same-subnet", 50, 1480, 1500)
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
    pytest.param(signal.SIGINT, '"throughput"', id="Ctrl-C during the trials"),
    pytest.param(signal.SIGTERM, '"throughput"', id="SIGTERM during the trials"),
    pytest.param(signal.SIGINT, '"reachable"', id="Ctrl-C during the matrices"),
])
def test_interruption_leaves_what_was_measured_and_nothing_else(small, tmp_path, number, after):
    output = tmp_path / "out"
    process = subprocess.Popen(
        command("--topology", small, "--output", output, "--duration", 1,
                "--instruments", "rtt,tcp"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    written = output / "results.jsonl"
    try:
        assert eventually(lambda: written.exists() and after in written.read_text(), 60)
        time.sleep(0.3)
        assert left_behind(process.pid), "the test looks for the wrong marks"
        process.send_signal(number)
        time.sleep(0.05)
        process.send_signal(number)  # an impatient person
        out, err = process.communicate(timeout=60 * SLOWNESS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert "Not complete: interrupted" in err
    assert "Traceback" not in err
    taken = load_readings(written)
    assert taken
    assert written.read_text().endswith("}\n")
    record = json.loads((output / "summary.json").read_text())
    assert (record["complete"], record["cut_short"]) == (False, "interrupted")
    assert (output / "logs" / "node31").is_dir()
    assert f"The {len(taken)} readings" in err
    assert f"add --resume {output} to the command" in err
    assert out.endswith("/report.html\n")
    assert left_behind(process.pid) == []


@pytest.mark.parametrize(("arguments", "text"), [
    pytest.param(["--modes", "Allways"], "did you mean Always?", id="misspelled mode"),
    pytest.param(["--modes", "Never,Never"], "a mode is named twice in 'Never,Never'", id="twice"),
    pytest.param(["--repeats", "0"], "'0' is not a whole number from 1 to 100000", id="repeats"),
    pytest.param(["--duration", "0"], "'0' is not a number of seconds", id="duration"),
    pytest.param(["--topology", "/nonexistent.yaml"], "cannot be read", id="no topology"),
    pytest.param(["--output", "."], "is not empty", id="output in use"),
    pytest.param(["--pairs", "web-0"], "is no list of pairs", id="half a pair"),
    pytest.param(["--baseline", "Never,Always"], "is more than one mode", id="two baselines"),
    pytest.param(["--instruments", "ping"], "'ping' is none of rtt, tcp", id="no instrument"),
])
def test_mistakes_are_said_without_a_traceback(arguments, text, tmp_path):
    (tmp_path / "something").touch()
    done = run("--quick", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


@pytest.mark.parametrize(("arguments", "text"), [
    pytest.param(["--pairs", "web-0:web-9"], "no pod 'web-9'; did you mean default/web-",
                 id="no pod"),
    pytest.param(["--modes", "Always", "--baseline", "Never"], "is none of the modes that are"
                 " measured: Always", id="a baseline that is not measured"),
    pytest.param(["--congestion", "venus"], "has no venus (it has", id="no such congestion"),
])
def test_what_the_cluster_or_the_kernel_lacks_is_one_sentence(arguments, text, tmp_path):
    done = run("--quick", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.glob("results/*")) == []


def test_one_pod_is_too_few(tmp_path):
    done = run("--quick", "--topology", topology(tmp_path, only="node31"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has too few pods: a measurement needs two" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.glob("results/*")) == []


def test_streams_that_vary_are_places_of_their_own_also_without_felixs_rules(tmp_path):
    done = run("--quick", "--no-policy", "--repeats", 1, "--duration", 0.05, "--modes", "Never",
               "--streams", "1,2", "--instruments", "tcp", "--output", tmp_path / "out",
               "--topology", topology(tmp_path, a="node31", b="node32"))
    assert done.returncode == 0, done.stderr
    trials = [row for row in results.load(tmp_path / "out").rows if row["metric"] == "throughput"]
    assert sorted(row["streams"] for row in trials) == [1, 2]
    assert "same-subnet, streams 2: default/a to default/b, n = 1" in done.stdout
    assert re.search(r"Felix's rules +none \(--no-policy\)", done.stdout)
    assert results.load(tmp_path / "out").environment["cluster"]["iptables"] == "none"


def test_less_is_measured_where_less_is_asked_for(tmp_path):
    """a and b on node31 and node32, c and d on node33: two pairs across subnets, one within."""
    done = run("--quick", "--repeats", 3, "--duration", 0.05, "--modes", "Always,CrossSubnet",
               "--pairs", "a:c,b:d,a:b", "--instruments", "rtt,tcp", "--baseline", "CrossSubnet",
               "--congestion", "reno", "--output", tmp_path / "out", "--topology",
               topology(tmp_path, a="node31", b="node32", c="node33", d="node33", e="node33"))
    assert done.returncode == 0, done.stderr
    rows = results.load(tmp_path / "out").rows
    assert {row["instrument"] for row in rows} == {"ping", "round trips", "tcp"}
    assert "default/e" not in {row["source"] for row in rows}
    assert {row["congestion"] for row in rows if row["instrument"] == "tcp"} == {"reno"}
    assert {(row["path"], row.get("pair")) for row in rows if row["instrument"] == "tcp"} == {
        ("same-subnet", None), ("cross-subnet", "default/a to default/c"),
        ("cross-subnet", "default/b to default/d")}
    assert "cross-subnet, default/b to default/d, n = 3" in done.stdout
    assert "to CrossSubnet" in done.stdout and "to Never" not in done.stdout
    with open(tmp_path / "out" / "summary.csv", encoding="utf-8", newline="") as file:
        ratios = {line["ratio_to_crosssubnet"] for line in csv.DictReader(file)
                  if line["verdict"] == "reference"}
    assert ratios == {"1.0"}


def test_encapsulations_are_compared_in_one_run(tmp_path):
    done = run("--quick", "--repeats", 1, "--duration", 0.05, "--modes", "Always",
               "--encapsulations", "ipip,vxlan", "--vxlan-checksum", "on,off",
               "--instruments", "tcp", "--output", tmp_path / "out",
               "--topology", topology(tmp_path, a="node31", b="node32"))
    assert done.returncode == 0, done.stderr
    assert "IPIP and VXLAN modes compared: Always" in done.stdout
    for place in ("IPIP", "VXLAN, checksum offload on", "VXLAN, checksum offload off"):
        assert f"same-subnet, {place}: default/a to default/b, n = 1" in done.stdout
    assert "The pods' MTU is 1480 with IPIP and 1450 with VXLAN in every mode" in re.sub(
        r"\s+", " ", done.stdout)
    rows = [row for row in results.load(tmp_path / "out").rows if row["metric"] == "mss"]
    assert {(row["encapsulation"], row.get("vxlan_checksum"), row["value"]) for row in rows} == {
        ("IPIP", None, 1428), ("VXLAN", "on", 1398), ("VXLAN", "off", 1398)}
    assert all(row["encapsulated"] for row in rows)
