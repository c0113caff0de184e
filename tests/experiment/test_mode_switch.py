"""Packets lost by a change of mode: which directions live afterwards, and which die.

     node31  a        node32  b                node33  c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

node31 changes alone, or all nodes do. The streams run between a and b, and between a and c.
"""

import csv
import json
from functools import partial

import pytest

from calico_mn.measure.reading_log import load_readings

from .conftest import ROOT, run_script, topology

pytestmark = pytest.mark.root

SCRIPT = ROOT / "experiments" / "mode_switch.py"
A, B, C = "default/a", "default/b", "default/c"
DIRECTIONS = {(A, B), (B, A), (A, C), (C, A)}

NEAR, FAR = {(A, B), (B, A)}, {(A, C), (C, A)}

#: (before, after) -> rp_filter -> directions that die when node31 alone changes
DEAD = {
    ("Always", "CrossSubnet"): {0: set(), 1: NEAR, 2: set()},
    ("CrossSubnet", "Always"): {0: set(), 1: NEAR, 2: set()},
    ("Always", "Never"): {0: set(), 1: NEAR | FAR, 2: {(B, A), (C, A)}},
    ("Never", "Always"): {0: set(), 1: NEAR | FAR, 2: {(A, B), (A, C)}},
    ("CrossSubnet", "Never"): {0: set(), 1: FAR, 2: {(C, A)}},
    ("Never", "CrossSubnet"): {0: set(), 1: FAR, 2: {(A, C)}},
}


run = partial(run_script, SCRIPT)


def streams(directory):
    return [r for r in load_readings(directory / "results.jsonl") if r.instrument == "stream"]


def dead(readings):
    """(before, after) -> rp_filter -> directions in which all was lost long after the change."""
    found = {}
    for reading in readings:
        where = reading.setting
        mine = found.setdefault((where["before"], where["after"]), {}).setdefault(
            where["rp_filter"], set())
        share = reading.values["lasting_loss"]
        assert share in (0, 1), reading
        if share:
            mine.add((where["source"], where["destination"]))
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Every change by node31 alone, once."""
    directory = tmp_path_factory.mktemp("alone")
    done = run("--quick", "--duration", 0.1, "--packets", 200, "--followers", "one",
               "--topology", topology(directory, a="node31", b="node32", c="node33"),
               "--output", directory / "out")
    assert done.returncode == 0, done.stderr
    return done, directory / "out"


def test_who_dies_when_one_node_changes_alone(alone):
    assert dead(streams(alone[1])) == DEAD


def test_every_direction_was_watched_and_whole_before_its_change(alone):
    readings = streams(alone[1])
    assert {(r.setting["source"], r.setting["destination"]) for r in readings} == DIRECTIONS
    assert len(readings) == 6 * 3 * 4
    for reading in readings:
        values = reading.values
        assert values["sent"] > 0
        assert (values["lost_before"], values["reordered"], values["duplicated"]) == (0, 0, 0)
        assert len(reading.series["lost_at"]) == values["lost"]


def test_never_across_the_router_is_measured_with_the_pods_routes(alone):
    for reading in streams(alone[1]):
        where = reading.setting
        across = C in (where["source"], where["destination"])
        assert where["path"] == ("cross-subnet" if across else "same-subnet")
        never = "Never" in (where["before"], where["after"])
        assert where["fabric"] == ("pod-routes" if never and across else "plain")


def test_the_receivers_filter_is_what_drops(alone):
    where_of = {A: "node31", B: "node32", C: "node33"}
    for reading in load_readings(alone[1] / "results.jsonl"):
        if reading.instrument != "reverse path filter":
            continue
        where = reading.setting
        dying = DEAD[where["before"], where["after"]][where["rp_filter"]]
        receivers = {where_of[destination] for _, destination in dying}
        assert (reading.values["rp_dropped"] > 0) == (where["node"] in receivers), reading


def test_the_report_says_who_lives(alone):
    done, output = alone
    with open(output / "alone.csv", encoding="utf-8", newline="") as file:
        rows = {(row[0], row[1]): row[2:] for row in list(csv.reader(file))[1:]}
    assert rows["Always to CrossSubnet", "same-subnet"] == ["lives", "dies", "lives"]
    assert rows["Always to Never", "cross-subnet"] == ["lives", "dies", "only from node31"]
    assert rows["Never to CrossSubnet", "cross-subnet"] == ["lives", "dies", "only to node31"]
    assert len(rows) == 12
    text = " ".join(done.stdout.split())
    assert "rp_filter 0 (off): none of 12 stay broken. That is what" in text
    assert "rp_filter 1 (strict): 8 of 12 stay broken. That is what" in text
    assert "rp_filter 2 (loose): 6 of 12 stay broken. That is what" in text
    assert {"alone.svg", "alone.png", "report.html"} <= {p.name for p in output.iterdir()}
    assert done.stderr == ""


def test_when_all_nodes_change_all_lives_and_a_run_can_be_taken_up_again(tmp_path):
    done = run("--quick", "--followers", "all", "--modes", "Never,Always", "--rp-filters", "1,2",
               "--duration", 0.1, "--packets", 200, "--output", tmp_path / "out",
               "--topology", topology(tmp_path, a="node31", b="node32", c="node33"))
    assert done.returncode == 0, done.stderr
    whole = load_readings(tmp_path / "out" / "results.jsonl")
    path = tmp_path / "out" / "results.jsonl"
    assert dead(streams(tmp_path / "out")) == {
        change: {1: set(), 2: set()} for change in (("Never", "Always"), ("Always", "Never"))}
    assert "dies" not in (tmp_path / "out" / "moment.csv").read_text()

    # As if it had been killed in the middle of a trial.
    kept = path.read_text().splitlines(keepends=True)[:10]
    path.write_text("".join(kept))
    (tmp_path / "out" / "summary.json").unlink()  # else it counts as finished
    again = run("--resume", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert path.read_text().startswith("".join(kept))
    taken = load_readings(path)
    assert {(r.instrument, tuple(sorted(r.setting.items())), r.repeat) for r in taken} == {
        (r.instrument, tuple(sorted(r.setting.items())), r.repeat) for r in whole}
    assert len(taken) == len(whole) == 4 * (4 + 3)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["complete"] is True


def test_with_vxlan_no_node_tunnels_to_one_in_never(tmp_path):
    done = run("--quick", "--duration", 0.1, "--packets", 200, "--followers", "one",
               "--encapsulation", "vxlan", "--rp-filters", "1", "--output", tmp_path / "out",
               "--topology", topology(tmp_path, a="node31", b="node32", c="node33"))
    assert done.returncode == 0, done.stderr
    both_tunnel = {("Always", "CrossSubnet"), ("CrossSubnet", "Always")}
    assert dead(streams(tmp_path / "out")) == {
        change: {1: NEAR if change in both_tunnel else set()} for change in DEAD}
    text = " ".join(done.stdout.split())
    assert "Packets lost by a change of VXLAN mode" in text
    assert "2 of 12 stay broken. That is what the kernel's rule says" in text
    assert "tunl0" not in text and "IPIP" not in text


@pytest.mark.parametrize(("pods", "arguments"), [
    pytest.param({"a": "node31", "d": "node31"}, [], id="pods of one node"),
    pytest.param({"a": "node31", "b": "node32"}, ["--modes", "Never"], id="one mode"),
])
def test_what_cannot_be_measured_is_said(tmp_path, pods, arguments):
    done = run("--quick", *arguments, "--topology", topology(tmp_path, **pods),
               "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "a change needs two modes, and pods on two nodes to see it" in done.stderr
    assert "Traceback" not in done.stderr
