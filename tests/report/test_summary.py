import csv
import json

from calico_mn.measure.statistics import spread
from calico_mn.report import files
from calico_mn.report.summary import summarise

MODES = ("Always", "CrossSubnet", "Never")


def row(summary, mode, path):
    (found,) = [r for r in summary.on(path) if r.mode == mode]
    return found


def test_a_row_for_each_mode_on_each_path(record):
    summary = summarise(record(), MODES)
    assert summary.paths == ("same-node", "same-subnet", "cross-subnet")
    assert summary.modes == MODES
    assert len(summary.rows) == 9


def test_a_row_counts_pairs_and_describes_trials(record):
    found = row(summarise(record(), MODES), "Always", "same-subnet")
    assert (found.pairs, found.reached, found.tunnelled) == (4, 4, 4)
    assert found.throughput == spread([13900, 13800, 13700])
    assert found.throughput_ratio == 13800 / 15800
    assert found.latency_ratio == 12 / 9
    assert (found.fabric, found.encapsulated) == ("plain", True)


def test_never_across_subnets_is_unreachable_yet_measured_on_another_fabric(record):
    found = row(summarise(record(), MODES), "Never", "cross-subnet")
    assert (found.pairs, found.reached, found.tunnelled) == (6, 0, 0)
    assert found.fabric == "pod-routes"
    assert found.throughput.n == 3
    assert found.throughput_ratio == 1


def test_without_never_there_is_no_ratio(record):
    found = summarise(record(modes=("Always",)), ("Always",))
    assert {(r.throughput_ratio, r.latency_ratio) for r in found.rows} == {(None, None)}


def test_a_run_that_was_cut_short_has_the_rows_of_what_there_is(record):
    samples = record()[:14]
    found = summarise(samples, MODES)
    assert found.modes == ("Always", "CrossSubnet")
    assert all(r.throughput is None for r in found.rows)
    assert summarise([], MODES).rows == ()


def test_csv(record, golden):
    golden("summary.csv", files.csv_text(summarise(record(), MODES)))


def test_csv_has_one_line_for_each_mode_path_and_metric(record):
    lines = list(csv.DictReader(files.csv_text(summarise(record(), MODES)).splitlines()))
    assert len({(x["mode"], x["path"], x["metric"]) for x in lines}) == len(lines) == 27


def test_json_holds_the_run_and_the_rows(record):
    found = json.loads(files.json_text(summarise(record(), MODES), {"complete": True}))
    assert (found["format"], found["complete"], len(found["rows"])) == (1, True, 9)
    never = found["rows"][8]
    assert (never["mode"], never["path"], never["fabric"]) == (
        "Never", "cross-subnet", "pod-routes")
    assert never["throughput"] == {"unit": "Mbit/s", "n": 3, "median": 14800, "q1": 14750,
                                   "q3": 14850, "min": 14700, "max": 14900,
                                   "ratio_to_never": 1.0}
