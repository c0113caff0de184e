"""Flows over two equal cables, from end to end.

    node31                         left                         node33
    web-0 ----- rack-a ----- r1 <        > r2 ----- rack-b ----- web-2
                                   right
"""

import csv
import json
from functools import partial
from itertools import product

import pytest

from calico_mn.measure.equal_paths import ONE_PATH, SPREAD
from calico_mn.measure.reading_log import load_readings
from experiments.flow_entropy import FORGOTTEN, KEPT, POLICIES, cells_of, expected

from .conftest import ROOT, run_script, topology

SCRIPT = ROOT / "experiments" / "flow_entropy.py"
FLOWS = 100
SPREADING = {("Always", "1", KEPT), ("Always", "3 inner", KEPT), ("Always", "3 inner", FORGOTTEN),
             ("Never", "1", KEPT), ("Never", "1", FORGOTTEN)}
EVERY = list(product(("Always", "Never"), POLICIES, (KEPT, FORGOTTEN)))


run = partial(run_script, SCRIPT)


@pytest.mark.parametrize("cell", EVERY, ids=str)
def test_what_headers_let_a_router_see(cell):
    assert expected(*cell) == (SPREAD if cell in SPREADING else ONE_PATH)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run, and the directory of its results."""
    output = tmp_path_factory.mktemp("run") / "results"
    done = run("--quick", "--flows", FLOWS, "--output", output)
    assert done.returncode == 0, done.stderr
    return done, output


@pytest.fixture(scope="module")
def readings(finished):
    return load_readings(finished[1] / "results.jsonl")


@pytest.mark.root
def test_each_combination_is_read_once_and_all_flows_arrive(readings):
    keys = [tuple(r.setting[name] for name in ("mode", "policy", "hashes", "protocol"))
            for r in readings]
    assert sorted(keys) == sorted((*cell, protocol) for cell in EVERY
                                  for protocol in ("udp", "tcp"))
    assert keys != sorted(keys), "in random order"
    assert {r.values["flows_arrived"] for r in readings} == {FLOWS}


@pytest.mark.root
def test_shares_are_those_of_the_packets_counted(readings):
    for reading in readings:
        first, second = reading.series["packets"]
        assert reading.values["packets_left"] == first + second >= FLOWS
        assert reading.values["path_share"] == pytest.approx(first / (first + second), abs=1e-6)
        assert reading.seen == {"encapsulated": reading.setting["mode"] == "Always"}
        assert reading.setting["fabric"] == {
            "Always": "plain", "Never": "pod-routes"}[reading.setting["mode"]]
    datagrams = [r for r in readings if r.setting["protocol"] == "udp"]
    assert all(r.values["packets_left"] <= FLOWS + 5 for r in datagrams), "a flow is a datagram"


@pytest.mark.root
def test_verdicts_are_as_expected(readings):
    cells = cells_of(readings, ["Always", "Never"])
    assert [(cell.mode, cell.policy, cell.hashes) for cell in cells] == EVERY
    assert {str(cell): cell.word for cell in cells} == {str(cell): cell.wanted for cell in cells}
    assert [str(cell) for cell in cells if cell.artefact] == ["Always, policy 1, hashes kept"]


@pytest.mark.root
def test_the_report_says_it_and_the_files_are_there(finished):
    done, output = finished
    text = " ".join(done.stdout.split())
    assert "All 20 combinations did what the headers let a router see" in text
    assert "An artefact: Always, policy 1, hashes kept." in text
    assert "the fuller one carries 50 to 60 % in 95 of 100 cases" in text
    summary = json.loads((output / "summary.json").read_text())
    assert summary["complete"] is True
    assert summary["plan"]["devices"] == ["eth1", "eth2"]
    assert len(summary["cells"]) == 20
    with open(output / "flows.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 20
    assert {"report.html", "verdicts.svg", "cables-always.png", "cables-never.svg"} <= {
        path.name for path in output.iterdir()}


@pytest.mark.root
def test_a_run_is_taken_up_where_it_was_cut_short(finished):
    results = finished[1] / "results.jsonl"
    whole = results.read_text().splitlines(keepends=True)
    results.write_text("".join(whole[:-3]))
    (finished[1] / "summary.json").unlink()  # else it counts as finished
    done = run("--resume", finished[1])
    assert done.returncode == 0, done.stderr
    again = results.read_text().splitlines(keepends=True)
    assert again[:-3] == whole[:-3]
    assert len(again) == len(whole)


@pytest.mark.root
@pytest.mark.parametrize(("pods", "said"), [
    ({"a": "node31", "b": "node33"}, "no router has several equal ways from rack-a to rack-b"),
    ({"a": "node31", "b": "node32"}, "all pods are in one subnet"),
])
def test_a_topology_without_a_choice_is_refused(tmp_path, pods, said):
    done = run("--quick", "--topology", topology(tmp_path, **pods), "--output", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flows", ["19", "5001", "many"])
def test_too_few_flows_say_nothing_and_are_refused(flows):
    done = run("--flows", flows)
    assert done.returncode == 2
    assert "is not a whole number from 20 to 5000" in done.stderr
