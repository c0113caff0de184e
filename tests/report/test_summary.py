import csv
import json
from dataclasses import replace

import pytest

from calico_mn.measure.statistics import SLOWER, Comparison, spread
from calico_mn.report import files
from calico_mn.report.summary import REFERENCE, SAME_PACKETS, summarise

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
    assert (found.throughput_ratio.n, found.latency_ratio.n) == (3, 3)
    assert found.throughput_ratio.ratio == 13800 / 15800
    assert found.latency_ratio.ratio == 12 / 9
    assert (found.throughput_ratio.verdict, found.latency_ratio.verdict) == (SLOWER, SLOWER)
    assert (found.fabric, found.encapsulated) == ("plain", True)


def test_never_across_subnets_is_unreachable_yet_measured_on_another_fabric(record):
    found = row(summarise(record(), MODES), "Never", "cross-subnet")
    assert (found.pairs, found.reached, found.tunnelled) == (6, 0, 0)
    assert found.fabric == "pod-routes"
    assert found.throughput.n == 3
    assert found.throughput_ratio == Comparison(3, 1, None, REFERENCE)


def test_a_mode_that_sends_what_never_sends_gets_no_verdict(record):
    found = row(summarise(record(), MODES), "CrossSubnet", "same-subnet")
    assert (found.throughput_ratio.verdict, found.latency_ratio.verdict) == (
        SAME_PACKETS, SAME_PACKETS)


def test_ratios_are_paired_by_repeat(record):
    # Everything is three times as fast in the second repeat: medians alone would not show it.
    samples = [replace(s, value=s.value * (3 if s.repeat == 2 else 1))
               for s in record() if not (s.mode == "Never" and s.repeat == 3)]
    found = row(summarise(samples, MODES), "Always", "same-subnet").throughput_ratio
    assert found.n == 2
    assert found.ratio == pytest.approx((13900 / 15900 + 13800 / 15800) / 2)


def test_noise_is_the_middle_one_of_the_relative_spreads(record):
    summary = summarise(record(), MODES)
    shares = sorted((r.throughput.q3 - r.throughput.q1) / r.throughput.median
                    for r in summary.rows)
    assert summary.noise("throughput") == shares[4]
    assert summarise(record(repeats=2), MODES).noise("latency") is None


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
                                   "interval": {"low": 14700, "high": 14900,
                                                "confidence": 0.75},
                                   "outliers": [],
                                   "to_never": {"n": 3, "ratio": 1.0, "interval": None,
                                                "verdict": "reference", "needed": None}}


def test_repeats_needed_are_bounded_in_the_files(record):
    values = {1: 0.8, 2: 1.001, 3: 1.2}
    samples = [replace(s, value=100 * (values[s.repeat] if s.mode == "Always" else 1))
               if s.metric == "latency" else s for s in record()]
    summary = summarise(samples, MODES)
    always = json.loads(files.json_text(summary, {}))["rows"][3]
    assert always["latency"]["to_never"] == {
        "n": 3, "ratio": 1.001, "interval": {"low": 0.8, "high": 1.2, "confidence": 0.75},
        "verdict": "no difference detectable", "needed": ">1000"}
    (line,) = [x for x in csv.DictReader(files.csv_text(summary).splitlines())
               if (x["mode"], x["path"], x["metric"]) == ("Always", "same-subnet", "latency")]
    assert (line["verdict"], line["needed"]) == ("no difference detectable", ">1000")
