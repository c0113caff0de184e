"""The cost of encapsulation from end to end: structure and truth, never a time."""

import csv
import json
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from calico_mn.measure.iperf import cpu_seconds
from calico_mn.measure.reading_log import load_readings
from experiments.encapsulation_cost import cases, fitted

from .conftest import run_script, topology

SCRIPT = Path(__file__).parents[2] / "experiments" / "encapsulation_cost.py"
ON, OFF = "as they are", "off"

pytestmark = pytest.mark.root


run = partial(run_script, SCRIPT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run, and the directory of its results."""
    directory = tmp_path_factory.mktemp("run")
    output = directory / "results"
    done = run("--quick", "--repeats", 2, "--duration", 0.1, "--tunnel", "ebpf", "--topology",
               topology(directory, a="node31", b="node32"), "--output", output)
    assert done.returncode == 0, done.stderr
    return done, output


@pytest.fixture(scope="module")
def readings(finished):
    return load_readings(finished[1] / "results.jsonl")


def test_both_modes_are_measured_alike(readings):
    assert Counter((r.setting["mode"], r.setting["size"], r.setting["offloads"])
                   for r in readings) == {
        (mode, size, level): 2 for mode in ("Always", "Never")
        for size, level in ((64, ON), (1400, ON), (0, ON), (0, OFF))}


def test_the_mode_alone_decides_whether_packets_are_encapsulated(readings):
    assert {(r.setting["mode"], r.seen["encapsulated"]) for r in readings} == {
        ("Always", True), ("Never", False)}
    assert len({(r.setting["source"], r.setting["destination"]) for r in readings}) == 1


def test_tcp_segments_are_of_one_size_in_both_modes(readings):
    assert {r.values["mss"] for r in readings if r.setting["size"] == 0} == {1428}


def test_switched_offloads_are_named(finished, readings):
    for r in readings:
        switched = r.seen["offloads_off"]
        assert bool(switched) is (r.setting["offloads"] == OFF)
    for device in ("eth0 of default/a", "eth0 of node31", "tunl0 of node32"):
        assert device in switched or not switched
        assert device in " ".join(finished[0].stdout.split())


def test_every_cost_is_positive_and_parts_make_the_sum(readings):
    for r in readings:
        assert r.values["programs_packet"] > 0
        parts = sum(r.values[f"cpu_packet_{kind}"] for kind in ("user", "system", "softirq"))
        assert parts == pytest.approx(r.values["cpu_packet"], abs=0.01)


def test_two_repeats_are_too_few_for_a_verdict(finished, readings):
    assert {case.difference().verdict for case in cases(readings)} == {"too few repeats"}
    with open(finished[1] / "costs.csv", encoding="utf-8", newline="") as file:
        assert {line["verdict"] for line in csv.DictReader(file)} == {"too few repeats"}


def test_the_report_and_its_picture_are_there(finished):
    done, output = finished
    assert done.stderr == ""
    assert json.loads((output / "summary.json").read_text())["complete"] is True
    assert {"report.html", "costs.csv", "speeds.csv", "machine.csv", "cost-ebpf.svg"} <= {
        path.name for path in output.iterdir()}


def test_a_run_is_taken_up_where_it_was_cut_short(finished):
    path = finished[1] / "results.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[:-2]))
    (finished[1] / "summary.json").unlink()  # else it counts as finished
    done = run("--resume", finished[1])
    assert done.returncode == 0, done.stderr
    again = path.read_text().splitlines(keepends=True)
    assert again[:-2] == whole[:-2]
    assert len(again) == len(whole)


def sizes(**cost):
    """UDP of up to three sizes; ``cost`` is a mode's at each size in us, give or take."""
    count = len(next(iter(cost.values())))
    return [SimpleNamespace(size=size, values=lambda mode, n=n: {
        repeat: cost[mode][n] + 0.01 * repeat for repeat in range(7)})
        for n, size in enumerate((0, 500, 1000)[:count])]


@pytest.mark.parametrize(("measured", "says"), [
    pytest.param(sizes(Always=[3, 3.5, 4], Never=[2, 2.5, 3]), [
        "CPU time of a UDP packet by its size (ebpf tunl0, medians of the repeats' lines): Always"
        " 3.03 us and 1.00 us per kB; Never 2.03 us and 1.00 us per kB. Always minus Never:"
        " +1.00 us [+1.00 to +1.00, 95 %]; per kB +0.00 us"], id="a line"),
    pytest.param(sizes(Always=[4, 3.5, 3], Never=[2, 2.5, 3]), [
        "ebpf tunl0, UDP: cost by packet size is not measurable in this run, because the samples"
        " lie on no straight line that rises (R2 below 0.9)."], id="a line that falls"),
    pytest.param(sizes(Always=[3, 9, 4], Never=[2, 2.5, 3]), [
        "ebpf tunl0, UDP: cost by packet size is not measurable in this run"], id="no line"),
    pytest.param(sizes(Always=[3, 4], Never=[2, 3]), [], id="two sizes are no fit"),
])
def test_only_a_fit_is_printed_as_one(measured, says):
    texts = list(fitted("ebpf tunl0", measured))
    assert [text[:len(start)] for text, start in zip(texts, says, strict=True)] == says


def test_pods_in_different_subnets_cannot_be_compared(tmp_path):
    done = run("--quick", "--topology", topology(tmp_path, a="node31", b="node33"),
               "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "no two pods are on two nodes of one subnet" in done.stderr


@pytest.mark.parametrize(("end", "seconds"), [
    pytest.param({"cpu_utilization_percent": {"host_total": 60.0, "remote_total": 40.0}}, 2.0,
                 id="both ends"),
    pytest.param({"cpu_utilization_percent": {"host_total": 60.0}}, None, id="one end only"),
    pytest.param({}, None, id="not told"),
])
def test_cpu_time_is_that_of_both_ends(end, seconds):
    assert cpu_seconds({"end": end}, 2.0) == seconds
