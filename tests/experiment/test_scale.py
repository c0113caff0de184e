"""Clusters of a few sizes, from boot to stop; how fast is not tested."""

import csv
import json
from dataclasses import replace
from functools import partial

import pytest

from calico_mn import CalicoNet, load_topology
from calico_mn.measure.cluster import Routes, computed
from calico_mn.measure.reading_log import load_readings
from calico_mn.measure.readings import Reading
from calico_mn.topology.scaled import scaled
from experiments.scale import GROWTHS, UNMEASURABLE, formula, pictures, sizes_of

from .conftest import ROOT, run_script

SCRIPT = ROOT / "experiments" / "scale.py"
BASE = load_topology(ROOT / "topologies" / "scale.yaml")
RACKS = load_topology(ROOT / "topologies" / "two-paths.yaml")


run = partial(run_script, SCRIPT)


@pytest.mark.parametrize(("nodes", "pods", "routes"), [
    pytest.param(2, 10, Routes(2, 2 * (1 + 1 + 1 + 10)), id="one block a node"),
    pytest.param(40, 50, Routes(40 * 39, 40 * 53), id="the largest of a default run"),
    pytest.param(3, 63, Routes(6, 3 * 66), id="63 pods and tunl0 fill a block"),
    pytest.param(3, 64, Routes(12, 3 * 68), id="the 64th needs another"),
])
def test_routes_by_arithmetic(nodes, pods, routes):
    assert computed(BASE, nodes, pods) == routes


def test_without_a_router_there_is_no_default_route():
    bare = replace(BASE, underlay=replace(BASE.underlay, routers=()))
    assert computed(bare, 3, 10).own == computed(BASE, 3, 10).own - 3


@pytest.mark.root
@pytest.mark.ipip
@pytest.mark.parametrize(("base", "nodes", "pods"), [
    pytest.param(BASE, 3, 64, id="two blocks a node"), pytest.param(RACKS, 5, 2, id="two racks")])
def test_the_kernel_has_the_routes_that_arithmetic_says(base, nodes, pods):
    with CalicoNet(scaled(base, nodes, pods)) as net:
        tables = [net.kernel_routes(node.name) for node in net.nodes]
        lines = [net[node.name].pexec(["ip", "route"])[0].splitlines() for node in net.nodes]
    assert [len(table) for table in tables] == [len(found) for found in lines]
    assert sum(map(len, tables)) == computed(base, nodes, pods).total
    for table in tables:
        remote = [r for r in table if (r.protocol, r.kind) == ("bird", "unicast")]
        assert len(remote) * nodes == computed(base, nodes, pods).remote
        assert {r.device for r in remote} == {"tunl0"}
        assert all(r.via.startswith("192.168.") for r in remote)
        assert sum(r.device.startswith("cali") for r in table) == pods


def reading(nodes, each, boot):
    values = {"boot": boot, "routes_changed": nodes * (nodes - 1)}
    return Reading(1, "life", 1, {"nodes": nodes, "pods": each}, {}, values, {})


def test_a_plane_through_all_sizes_in_words():
    sizes = sizes_of([reading(nodes, each, 20 + 2.5 * nodes + 0.9 * nodes * each)
                      for nodes in (10, 2, 5) for each in (50, 10)])
    assert [(one.nodes, one.each) for one in sizes] == [
        (2, 10), (2, 50), (5, 10), (5, 50), (10, 10), (10, 50)]
    assert sizes[-1].pods == 500
    text, r2 = formula(sizes, *GROWTHS[0][1:])
    assert text == "20.0 ms + 2.50 ms a node + 900 us a pod"
    assert r2 == pytest.approx(1)


@pytest.mark.parametrize("boot", [
    pytest.param(lambda nodes, each: 100 - nodes * each / 10, id="shrinks"),
    pytest.param(lambda nodes, each: nodes * 37 % 11 + each * 53 % 7, id="scattered")])
def test_what_does_not_grow_along_a_plane_is_not_measurable(boot):
    sizes = sizes_of([reading(nodes, each, boot(nodes, each))
                      for nodes in (2, 5, 10) for each in (10, 50)])
    assert formula(sizes, *GROWTHS[0][1:]) == (UNMEASURABLE, None)


def test_one_size_has_no_formula():
    assert formula(sizes_of([reading(2, 10, 1.0)]), *GROWTHS[0][1:]) is None


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run, and the directory of its results."""
    output = tmp_path_factory.mktemp("run") / "results"
    done = run("--quick", "--nodes", "2,3,4", "--pods", "1,4", "--output", output)
    assert done.returncode == 0, done.stderr
    return done, output


@pytest.mark.root
def test_each_size_is_read_once_with_all_that_there_is_to_know(finished):
    readings = load_readings(finished[1] / "results.jsonl")
    sizes = sizes_of(readings)
    assert len(readings) == len(sizes) == 6
    for one in sizes:
        wanted = computed(BASE, one.nodes, one.each)
        assert one.values("routes") == (wanted.total,)
        assert one.values("routes_remote") == one.values("routes_changed") == (wanted.remote,)
        for metric in ("boot", "stop", "convergence", "change", "change_back"):
            assert one.median(metric) > 0
        assert {"memory", "memory_slab", "memory_process"} <= one.readings[0].values.keys()
        assert isinstance(one.readings[0].seen["at_rest"], bool)


@pytest.mark.parametrize(("memory", "shown"), [
    pytest.param({5: 3.0, 10: -2.0}, True, id="it shrank in one size"),
    pytest.param({5: -1.0, 10: -2.0}, False, id="it shrank in all"),
])
def test_memory_that_shrank_is_in_no_picture(memory, shown):
    sizes = sizes_of([Reading(nodes, "life", 1, {"nodes": nodes, "pods": 2}, {}, {
        "boot": 10.0, "routes": 20, "convergence": 1.0, "change": 1.0, "routes_changed": 2,
        "memory": amount, "memory_slab": amount}, {}) for nodes, amount in memory.items()])
    made = {picture.name: picture for picture in pictures(sizes)}
    assert set(made) == {"boot", "routes", "join", "mode-change"} | ({"memory"} if shown
                                                                          else set())
    if shown:
        assert "-2" not in made["memory"].alt and "R2" not in made["boot"].alt


@pytest.mark.root
def test_the_report_says_it_and_the_files_are_there(finished):
    done, output = finished
    text = " ".join(done.stdout.split())
    assert "All 6 sizes have exactly the routes that arithmetic says" in text
    assert "gc_thresh3" not in text, "16 pods fill no neighbour table"
    assert json.loads((output / "summary.json").read_text())["complete"] is True
    with open(output / "routes.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["all"], row["computed"]) for row in rows] == [
        (row["computed"], row["computed"]) for row in rows]
    assert len(rows) == 6
    assert {"report.html", "boot.svg", "boot.png", "routes.svg", "join.svg",
            "mode-change.svg"} <= {path.name for path in output.iterdir()}


@pytest.mark.root
def test_a_run_is_taken_up_where_it_was_cut_short(finished):
    results = finished[1] / "results.jsonl"
    whole = results.read_text().splitlines(keepends=True)
    results.write_text("".join(whole[:-2]))
    (finished[1] / "summary.json").unlink()  # else it counts as finished
    done = run("--resume", finished[1])
    assert done.returncode == 0, done.stderr
    again = results.read_text().splitlines(keepends=True)
    assert again[:-2] == whole[:-2]
    assert len(again) == len(whole)


@pytest.mark.root
@pytest.mark.parametrize(("arguments", "status", "said"), [
    pytest.param(["--nodes", "1"], 2, "'1' is not a whole number from 2 to 400", id="one node"),
    pytest.param(["--nodes", "400", "--pods", "200"], 2, "need 1,601 blocks, and 10.22.0.0/16 has"
                 " 1,024", id="pool too small"),
    pytest.param(["--nodes", "400", "--topology", ROOT / "topologies" / "article.yaml"], 2,
                 "has no address for a node", id="subnet too small"),
])
def test_what_cannot_fit_is_refused_before_it_boots(tmp_path, arguments, status, said):
    done = run("--output", tmp_path / "out", *arguments)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
