import csv
import io
import re
from dataclasses import replace

import pytest

from calico_mn.calico.encapsulation import IPIP
from calico_mn.measure.readings import known_metrics
from calico_mn.measure.statistics import FASTER, SLOWER, TOO_FEW, Comparison, spread
from calico_mn.report import findings, summary_figures, summary_tables
from calico_mn.report.document import Document, format_cell
from calico_mn.report.document import Table as DocumentTable
from calico_mn.report.page import publish
from calico_mn.report.summary import REFERENCE, SAME_PACKETS, summarise, variants

from .conftest import altered

MODES = ("Always", "CrossSubnet", "Never")
STREAMS = ({"streams": 1}, {"streams": 2})


def row(summary, mode, place):
    (found,) = [r for r in summary.on(place) if r.mode == mode]
    return found


def by_column(found):
    return [dict(zip(found.columns, line, strict=True)) for line in found.rows]


def test_every_column_of_medians_says_its_unit():
    units = {"us", "s/GB", "B", "%", "kpps", "conn/s"}
    heads = {metric.column.heading for metric in known_metrics().values() if metric.column}
    assert {head for head in heads if not units & set(head.split())} == {
        "resent"}, "a count of segments"


def test_a_note_explains_the_columns_of_its_table_and_no_others(record):
    def costs(setting, repeat):
        return [("tcp", {"streams": 1}, {"cpu": 1.0 + repeat})]

    (table,) = [table for table in summary_tables.tables(
        summarise(record(more=costs), MODES), IPIP) if table.name == "cost"]
    assert "CPU time of the whole machine" in table.note
    assert "Headers" not in table.note and "Largest segment" not in table.note


# --- rows


def test_a_row_for_each_mode_on_each_path(record):
    summary = summarise(record(), MODES)
    assert summary.paths == summary.places == ("same-node", "same-subnet", "cross-subnet")
    assert summary.modes == MODES
    assert len(summary.rows) == 9
    assert {r.variant for r in summary.rows} == {""}


def test_a_row_counts_pairs_and_describes_trials(record):
    found = row(summarise(record(), MODES), "Always", "same-subnet")
    assert (found.pairs, found.reached, found.tunnelled) == (4, 4, 4)
    assert found.throughput == spread([13900, 13800, 13700])
    assert (found.throughput_ratio.n, found.latency_ratio.n) == (3, 3)
    assert found.throughput_ratio.median == 13800 / 15800
    assert found.latency_ratio.median == 12 / 9
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
    samples = [s for s in record(faster=lambda setting, repeat: 3 if repeat == 2 else 1)
               if not (s.mode == "Never" and s.repeat == 3)]
    found = row(summarise(samples, MODES), "Always", "same-subnet").throughput_ratio
    assert found.n == 2
    assert found.median == pytest.approx((13900 / 15900 + 13800 / 15800) / 2)


def test_noise_is_the_middle_one_of_the_relative_spreads(record):
    summary = summarise(record(), MODES)
    shares = sorted((r.throughput.q3 - r.throughput.q1) / r.throughput.median
                    for r in summary.rows)
    assert summary.noise("throughput") == shares[4]
    assert summarise(record(repeats=2), MODES).noise("latency") is None


def test_without_never_there_is_no_ratio(record):
    found = summarise(record(modes=("Always",)), ("Always",))
    assert {(r.throughput_ratio, r.latency_ratio) for r in found.rows} == {(None, None)}
    assert all(r.ratios == {} for r in found.rows)


def test_a_run_that_was_cut_short_has_the_rows_of_what_there_is(record):
    samples = record()[:14]
    found = summarise(samples, MODES)
    assert found.modes == ("Always", "CrossSubnet")
    assert all(r.throughput is None for r in found.rows)
    assert summarise([], MODES).rows == ()


# --- several metrics


def datagrams(setting, repeat):
    """UDP packets of two sizes; the tunnel costs a fifth of the small ones, and loses some."""
    through = setting["mode"] == "Always"
    return [("udp", {"size": size}, {"packets": packets * (0.8 if through and size == 64 else 1),
                                     "loss": 0.5 * through * repeat})
            for size, packets in ((64, 1000 + 5 * repeat), (1400, 500 + repeat))]


def test_a_metric_is_described_for_each_size_of_packets(record):
    found = row(summarise(record(more=datagrams), MODES), "Always", "same-subnet")
    assert found.measures["packets", "64"] == spread([804, 808, 812])
    assert found.measures["packets", "1400"] == spread([501, 502, 503])
    assert ("packets", "") not in found.measures
    assert found.ratios["packets", "64"].median == pytest.approx(0.8)
    assert found.ratios["packets", "64"].verdict == SLOWER
    assert found.ratios["packets", "1400"].median == 1
    # A size is not a place of its own.
    assert found.place == "same-subnet"


def test_what_never_is_zero_has_no_ratio(record):
    found = row(summarise(record(more=datagrams), MODES), "Always", "same-subnet")
    assert found.measures["loss", "64"].median == 1
    assert ("loss", "64") not in found.ratios


def test_repeats_in_which_never_was_zero_are_not_left_out_to_get_a_ratio(record):
    # Where Never lost nothing, Always lost most: only the third repeat has a quotient, below 1.
    lost = {"Always": (9, 9, 1), "Never": (0, 0, 2), "CrossSubnet": (0, 0, 2)}
    found = summarise(record(more=lambda setting, repeat: [
        ("count", {}, {"retransmits": lost[setting["mode"]][repeat - 1]})]), MODES)
    for mode in MODES:
        assert ("retransmits", "") not in row(found, mode, "same-subnet").ratios


def test_facts_are_described_and_not_compared(record):
    found = summarise(record(more=lambda setting, repeat: [("mss", {}, {"mss": 1428})]), MODES)
    assert row(found, "Always", "same-subnet").measures["mss", ""].median == 1428
    assert all(("mss", "") not in r.ratios for r in found.rows)


def test_less_is_better_for_costs(record):
    cost = {"Always": 2, "CrossSubnet": 1.5, "Never": 1}
    found = summarise(record(more=lambda setting, repeat: [
        ("cpu", {}, {"cpu": cost[setting["mode"]] + repeat / 100})]), MODES)
    assert row(found, "Always", "same-subnet").ratios["cpu", ""].verdict == SLOWER
    assert FASTER not in {r.ratios["cpu", ""].verdict for r in found.rows}


def test_what_is_no_number_is_left_out(record):
    found = summarise(record(more=lambda setting, repeat: [
        ("look", {}, {"outcome": "answered"})]), MODES)
    assert all(("outcome", "") not in r.measures for r in found.rows)


# --- further factors


def test_a_factor_that_varies_makes_places(record):
    summary = summarise(record(factors=STREAMS), MODES)
    assert summary.paths == ("same-node", "same-subnet", "cross-subnet")
    assert summary.places == tuple(f"{path}, streams {n}" for path in summary.paths
                                   for n in (1, 2))
    assert [r.mode for r in summary.on("same-subnet, streams 2")] == list(MODES)
    found = row(summary, "Always", "same-subnet, streams 2")
    assert (found.path, found.variant, found.throughput.n) == ("same-subnet", "streams 2", 3)


def test_a_factor_of_one_level_makes_none(record):
    summary = summarise(record(factors=({"streams": 4},)), MODES)
    assert summary.places == summary.paths


def test_each_place_is_compared_with_never_in_that_place(record):
    faster = {("Never", 1): 1, ("Never", 2): 2}
    summary = summarise(record(factors=STREAMS, faster=lambda setting, repeat: faster.get(
        (setting["mode"], setting["streams"]), 1)), MODES)
    alone, two = (row(summary, "Always", f"same-subnet, streams {n}") for n in (1, 2))
    assert alone.throughput_ratio.median == 13800 / 15800
    assert two.throughput_ratio.median == 13800 / 15800 / 2
    for n in (1, 2):
        never = row(summary, "Never", f"same-subnet, streams {n}")
        assert never.throughput_ratio == Comparison(3, 1, None, REFERENCE)


def test_levels_come_by_size_and_the_usual_one_has_a_word(record):
    # As the trials' random order may have them.
    factors = tuple({"rate": rate, "streams": 1} for rate in (1000, 0, 100))
    summary = summarise(record(factors=factors), MODES)
    assert [place for place in summary.places if place.startswith("same-subnet")] == [
        "same-subnet, rate as usual", "same-subnet, 100 Mbit/s", "same-subnet, 1000 Mbit/s"]


def test_two_factors_are_named_together(record):
    factors = tuple({"streams": streams, "rate": rate} for streams in (1, 2) for rate in (50, 100))
    summary = summarise(record(factors=factors), MODES)
    assert [place for place in summary.places if place.startswith("same-node")] == [
        "same-node, streams 1, 50 Mbit/s", "same-node, streams 1, 100 Mbit/s",
        "same-node, streams 2, 50 Mbit/s", "same-node, streams 2, 100 Mbit/s"]


def test_a_level_that_was_not_reached_yet_has_no_trials(record):
    samples = [s for s in record(factors=STREAMS)
               if s.metric == "reachable" or s.mode == "Always"
               or s.reading.setting["streams"] == 1]
    summary = summarise(samples, MODES)
    assert row(summary, "Never", "same-subnet, streams 2").throughput is None
    assert row(summary, "Always", "same-subnet, streams 2").throughput_ratio is None
    assert row(summary, "Always", "same-subnet, streams 1").throughput_ratio is not None


def test_each_place_knows_the_setting_of_its_trials(record):
    samples = record(factors=STREAMS)
    found = variants(summarise(samples, MODES), samples)
    assert {place: (setting["path"], setting["streams"]) for place, setting in found.items()} == {
        f"{path}, streams {n}": (path, n)
        for path in ("same-node", "same-subnet", "cross-subnet") for n in (1, 2)}
    samples = record(repeats=0)
    assert variants(summarise(samples, MODES), samples) == {}


def test_places_are_named_in_table_and_sentences(record):
    summary = summarise(record(factors=STREAMS), MODES)
    shown = summary_tables.comparison(summary, 98, IPIP)
    assert "same-subnet, streams 2: default/node31-0 to default/node32-0, n = 3" in shown
    (text,) = [text for text in findings.explain(summary) if text.startswith("Nodes in the same")]
    assert text.count("Always encapsulates;") == 1
    assert "With streams 1: throughput as a ratio" in text
    assert "With streams 2: throughput as a ratio" in text


# --- one estimate of one quantity


def test_pictures_show_the_numbers_of_the_tables(record):
    """The repeats are skewed, so that means or pooled samples would show others."""
    def more(setting, repeat):
        slow = 10 if repeat == 3 else 1
        parts = {"cpu_user": 0.1 * repeat, "cpu_system": 0.2 * slow, "cpu_softirq": 0.3}
        yield "cost", {}, {"cpu": sum(parts.values()), **parts}
        yield "times", {}, {"latency": 20.0 * slow, "latency_p99": 70.0 * slow}

    samples = [replace(sample, reading=replace(
        sample.reading, series={"round_trips_us": [sample.reading.values["latency"] + 3] * 9}))
        if "latency_p99" in sample.reading.values else sample
        for sample in record(more=more) if sample.reading.values.keys() != {"latency"}]
    summary = summarise(samples, MODES)
    tables = {table.name: by_column(table) for table in summary_tables.tables(summary, IPIP)}
    pictures = {figure.name: figure.alt for figure in summary_figures.figures(
        summary, samples, {}, "", IPIP)}
    assert format_cell(tables["cost"][0]["CPU s/GB"]) == "0.700"
    assert ">0.700<" in next(figure.svg for figure in summary_figures.figures(
        summary, samples, {}, "", IPIP) if figure.name == "cpu")
    assert format_cell(tables["delay"][0]["RTT p50 us"]) == "20.0"
    assert "Always p50 20.0 and p99 or the largest 70.0" in pictures["latency"]


def test_no_interval_without_its_level(record):
    speed = summary_tables.tables(summarise(record(), MODES), IPIP)[0]
    assert "[interval]: of the median ratio, 75 % (so few repeats allow no more)" in speed.note
    pictures = summary_figures.figures(summarise(record(), MODES), record(), {}, "", IPIP)
    assert any("75 % interval" in " ".join(re.findall(">([^<]+)<", figure.svg))
               for figure in pictures)


# --- files


def csv_text(tmp_path, summary):
    document = Document("x", "", "", (), (), (summary_tables.tidy(summary),), (), (), (), {}, "")
    assert publish(tmp_path, document) == ("report.html", "summary.csv")
    return (tmp_path / "summary.csv").read_text(encoding="utf-8")


def test_csv(record, golden, tmp_path):
    golden("summary.csv", csv_text(tmp_path, summarise(record(), MODES)))


def test_csv_has_one_line_for_each_mode_place_and_metric(record, tmp_path):
    summary = summarise(record(factors=STREAMS, more=datagrams), MODES)
    lines = list(csv.DictReader(io.StringIO(csv_text(tmp_path, summary))))
    keys = {(x["mode"], x["path"], x["variant"], x["metric"], x["size"]) for x in lines}
    assert len(keys) == len(lines)
    expected = {("throughput", ""), ("latency", ""), ("packets", "64"), ("packets", "1400"),
                ("loss", "64"), ("loss", "1400")}
    assert {key for key in keys if key[3] != "reachable"} == {
        (mode, path, f"streams {n}", metric, size) for mode in MODES
        for path in ("same-node", "same-subnet", "cross-subnet") for n in (1, 2)
        for metric, size in expected}


def test_every_table_becomes_a_file_and_empty_cells_stay_empty(tmp_path):
    tables = tuple(DocumentTable(name, "", ("a", "b"), ((1.5, None), ("x, y", True)))
                   for name in ("one", "two"))
    document = Document("x", "", "", (), (), tables, (), (), (), {}, "")
    assert publish(tmp_path, document) == ("report.html", "one.csv", "two.csv")
    assert (tmp_path / "two.csv").read_text() == 'a,b\n1.5,\n"x, y",True\n'


def test_tidy_has_a_column_for_everything(record):
    found = summary_tables.tidy(summarise(record(factors=STREAMS, more=datagrams), MODES))
    (line,) = [x for x in by_column(found) if (x["mode"], x["path"], x["variant"], x["metric"],
                                               x["size"])
               == ("Always", "same-subnet", "streams 2", "packets", 64)]
    assert line["unit"] == "1/s"
    assert (line["n"], line["median"], line["min"], line["max"]) == (3, 808, 804, 812)
    assert (line["low"], line["high"], line["confidence"]) == (804, 812, 0.75)
    assert (line["ratio_to_never"], line["ratio_n"], line["verdict"]) == (0.8, 3, SLOWER)
    assert (line["fabric"], line["encapsulated"], line["outliers"]) == ("plain", "true", 0)


def test_json_holds_the_same_lines_without_what_does_not_apply(record):
    summary = summarise(record(), MODES)
    found = summary_tables.as_json(summary)
    assert [(x["mode"], x["path"], x["metric"]) for x in found] == [
        (x["mode"], x["path"], x["metric"]) for x in by_column(summary_tables.tidy(summary))]
    (never,) = [x for x in found if (x["mode"], x["path"], x["metric"])
                == ("Never", "cross-subnet", "throughput")]
    assert never == {
        "mode": "Never", "path": "cross-subnet", "metric": "throughput", "unit": "Mbit/s",
        "fabric": "pod-routes", "encapsulated": "false", "source": "default/node31-0",
        "destination": "default/node33-0", "n": 3, "median": 14800, "low": 14700, "high": 14900,
        "confidence": 0.75, "q1": 14750, "q3": 14850, "min": 14700, "max": 14900, "outliers": [],
        "ratio_to_never": 1, "ratio_n": 3, "verdict": "reference"}
    assert not any(value is None for line in found for value in line.values())


def test_json_lists_the_outliers_themselves(record):
    def slow_once(setting, repeat):
        return 0.1 if (setting["mode"], setting["path"], repeat) == (
            "Always", "same-subnet", 6) else 1

    found = summary_tables.as_json(summarise(record(repeats=6, faster=slow_once), MODES))
    assert {(x["mode"], x["path"], x["metric"]): x["outliers"] for x in found
            if x.get("outliers")} == {("Always", "same-subnet", "throughput"): [1340.0]}


def test_repeats_needed_are_bounded_in_the_files(record):
    values = {1: 0.8, 2: 1.001, 3: 1.2}
    samples = altered(record(), lambda s: s.value if s.metric != "latency" else 100 * (
        values[s.repeat] if s.mode == "Always" else 1))
    (line,) = [x for x in by_column(summary_tables.tidy(summarise(samples, MODES)))
               if (x["mode"], x["path"], x["metric"]) == ("Always", "same-subnet", "latency")]
    assert (line["ratio_to_never"], line["ratio_n"], line["ratio_low"], line["ratio_high"],
            line["ratio_confidence"]) == (1.001, 3, 0.8, 1.2, 0.75)
    assert (line["verdict"], line["needed"]) == ("no difference detectable", ">1000")


def test_too_few_repeats_are_called_so(record):
    found = row(summarise(record(repeats=2), MODES), "Always", "same-subnet")
    assert found.throughput_ratio.verdict == TOO_FEW
    assert found.throughput_ratio.interval is None


def test_what_the_wire_did_not_show_is_empty(record):
    samples = [replace(s, reading=replace(s.reading, seen={"encapsulated": None}))
               for s in record()]
    lines = by_column(summary_tables.tidy(summarise(samples, MODES)))
    assert {line["encapsulated"] for line in lines} == {None}
    # Not seen is not the same as sending the same packets.
    assert SAME_PACKETS not in {line["verdict"] for line in lines}
