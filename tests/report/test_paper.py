"""Figures, captions and tables for publications, and whether runs agree."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread
from support.warm import WARM

from calico_mn import results
from calico_mn.errors import CalicoMnError
from calico_mn.measure.reading_log import FORMAT
from calico_mn.measure.statistics import (
    LESS,
    NO_DIFFERENCE,
    TOO_FEW,
    Comparison,
    Interval,
    median_interval,
    quotient,
)
from calico_mn.report import estimates, paper
from calico_mn.report.summary import summarise

ROOT = Path(__file__).parents[2]
MODES = ("Always", "CrossSubnet", "Never")
THROUGHPUT, LATENCY = ("throughput", ""), ("latency", "")


def made(record, *whats, runs=("6.1", "6.18"), faster=lambda setting, repeat: 1, absolute=False):
    """Estimates of runs of six repeats; in the last one, ``faster`` changes the throughput."""
    return estimates.estimates({
        run: summarise(record(repeats=6, faster=faster if run == runs[-1] else lambda *_: 1), MODES)
        for run in runs}, whats or (THROUGHPUT,), absolute=absolute)


# --- statistics

def test_a_quotient_by_hand():
    series = Comparison(8, 0.8, Interval(0.8 / 1.1, 0.8 * 1.2, 0.95), "")
    reference = Comparison(6, 0.9, Interval(0.9 / 1.3, 0.9 * 1.4, 0.95), "")
    found = quotient(series, reference)
    assert (found.n, found.verdict) == (6, NO_DIFFERENCE)
    assert found.median == pytest.approx(0.8 / 0.9)
    # exp of the root of the summed squares: log 1.1 with log 1.4, log 1.2 with log 1.3
    assert found.median / found.interval.low == pytest.approx(1.41866, abs=1e-5)
    assert found.interval.high / found.median == pytest.approx(1.37643, abs=1e-5)


@pytest.mark.parametrize(("interval", "median", "verdict"), [
    pytest.param(Interval(0.49, 0.51, 0.95), 0.5, LESS, id="differ"),
    pytest.param(Interval(0.49, 0.51, 0.75), 0.5, TOO_FEW, id="too low a level"),
    pytest.param(None, 0.5, TOO_FEW, id="no interval"),
])
def test_verdicts_on_a_quotient(interval, median, verdict):
    reference = Comparison(6, 1.0, Interval(0.99, 1.01, 0.95), "")
    assert quotient(Comparison(6, median, interval, ""), reference).verdict == verdict


def test_the_interval_of_a_quotient_holds_the_true_one_about_as_often_as_it_says():
    draw, held = random.Random(1), 0
    for _ in range(400):
        runs = []
        for _ in range(2):
            values = [draw.lognormvariate(0, 0.2) for _ in range(8)]
            runs.append(Comparison(8, statistics.median(values), median_interval(values), ""))
        held += quotient(*runs).interval.holds(1)
    assert 0.92 <= held / 400 <= 1


# --- runs compared

def test_runs_that_differ_are_named_with_their_ratios_and_intervals(record):
    def slower(setting, repeat):
        return 0.8 if setting["mode"] == "Always" and setting["path"] == "cross-subnet" else 1

    pairs = estimates.compared(made(record, faster=slower))
    verdicts = {(pair.later.place, pair.later.mode): pair.verdict for pair in pairs}
    assert verdicts.pop(("cross-subnet", "Always")) == "differ"
    assert set(verdicts.values()) == {NO_DIFFERENCE} and len(verdicts) == 5
    first, second = estimates.findings(pairs)
    assert first == ("6.18 against 6.1: of 6 estimates no difference is detectable in 5 and they"
                     " differ in 1.")
    assert second.startswith("TCP throughput, cross-subnet, Always to Never: 0.863 [")
    assert re.search(r"which is 0\.8000 \[0\.79\d\d-0\.80\d\d, 95 %\] times as much\.$", second)
    (table,) = estimates.tables(pairs)
    assert table.columns == ("where", "mode", "A", "B", "B / A", "verdict")
    assert [row[-1] for row in table.rows].count("differ") == 1


def test_a_quantity_that_a_run_lacks_is_an_error_that_lists_what_it_has(record):
    with pytest.raises(CalicoMnError, match=r"6\.1: has no ratios to Never of packets:64; it has"
                                            " throughput, latency"):
        made(record, ("packets", "64"))


@pytest.mark.parametrize(("environments", "labels"), [
    pytest.param([{"machine": {"kernel": "6.1"}}, {"machine": {"kernel": "6.18"}}],
                 ("Linux 6.1", "Linux 6.18"), id="two kernels"),
    pytest.param([{"cluster": {"tunnel": "ebpf"}}, {"cluster": {"tunnel": "kernel"}}],
                 ("ebpf tunl0", "kernel tunl0"), id="two tunnels"),
    pytest.param([{"date": "2026-01-01T10:00"}, {"date": "2026-01-02T10:00"}],
                 ("2026-01-01", "2026-01-02"), id="two days"),
    pytest.param([{}, {"cluster": 7}], ("a0", "a1"), id="nothing known"),
])
def test_runs_are_called_by_what_they_differ_in(tmp_path, environments, labels):
    runs = [results.Results(tmp_path / f"a{n}", (), environment, {})
            for n, environment in enumerate(environments)]
    assert results.labels(runs) == labels


# --- figures and LaTeX

@pytest.mark.parametrize("absolute", [False, True])
def test_a_pdf_embeds_truetype_fonts_and_is_as_wide_as_asked(record, absolute):
    pdf = paper.figure(made(record, THROUGHPUT, LATENCY, absolute=absolute), 3.4, "pdf")
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert b"/CIDFontType2" in pdf, "Type 42"
    (box,) = re.findall(rb"/MediaBox \[ ([0-9. ]+) \]", pdf)
    assert float(box.split()[2]) == pytest.approx(3.4 * 72, abs=0.1)
    assert pdf == paper.figure(made(record, THROUGHPUT, LATENCY, absolute=absolute), 3.4, "pdf")


LONG = "cross-subnet, default/a-rather-long-name-of-a-pod to default/another-long-name, cubic"


@pytest.mark.parametrize("width", [2, 3.4, 7])
def test_long_names_of_places_and_runs_leave_the_axes_their_width(record, width):
    several = [replace(each, place=LONG, run=f"Linux 6.18.44, a processor with a name, {each.run}")
               for each in made(record, LATENCY)]
    with paper.canvas.style(paper._STYLE):
        sheet = paper._drawn(several, width)
        sheet.draw_without_rendering()
        (axes,) = sheet.axes
        assert axes.get_position().width > 0.5
        for text in (*axes.texts, axes.xaxis.label, *sheet.legends[0].texts):
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= sheet.bbox.x1 + 1, text.get_text()


def test_an_svg_needs_no_fonts_and_a_png_has_only_greys(record):
    several = made(record)
    svg = paper.figure(several, 3.4, "svg").decode()
    assert "<text" not in svg and "<title" not in svg
    picture = imread(io.BytesIO(paper.figure(several, 3.4, "png")))
    assert picture.shape[1] == 2040
    assert abs(picture[..., 0] - picture[..., 1]).max() == 0


def test_caption_and_table_are_latex(record):
    several = made(record, runs=("a_1", "b%"))
    caption = paper.caption(several, {"a_1": "Linux 6.1.", "b%": "Linux 6.18 & more."})
    assert "medians of n = 6 ratios to Never" in caption and r"95 \% intervals" in caption
    assert r"Circles (a\_1): Linux 6.1." in caption
    assert r"Squares (b\%): Linux 6.18 \& more." in caption
    table = paper.table(several).splitlines()
    assert table[0] == r"\begin{tabular}{lllrrr}"
    assert table[2] == r"Run & Path & Mode & $n$ & Ratio to Never & 95 \% interval \\"
    assert [line for line in table if line.startswith("\\")] == [
        r"\begin{tabular}{lllrrr}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"]
    assert len(table) == 6 + 12
    assert r"a\_1 & cross-subnet & Always & 6 & 0.863 & 0.861--0.866 \\" in table


def test_a_caption_names_its_quantities_as_parts_of_a_sentence(record):
    caption = paper.caption(made(record, LATENCY, THROUGHPUT, runs=("6.1",)), {"6.1": "Linux 6.1."})
    assert caption.startswith("Median round-trip time and TCP throughput by path and mode")
    assert list(map(paper._noun, (
        "CPU per GB, user", "Round-trip time under load, p99", "UDP packets received, 64 bytes"))
    ) == ["user CPU per GB", "p99 round-trip time under load", "64-byte UDP packets received"]


@pytest.mark.parametrize("absolute", [False, True])
def test_a_caption_says_which_mode_needed_the_pods_routes(record, absolute):
    caption = paper.caption(made(record, absolute=absolute), {"6.1": "a.", "6.18": "b."})
    assert caption.count("added to the routers") == 1
    assert ("cross-subnet: Never is measured with the pods' routes added to the routers, because it"
            " does not connect these pods without them.") in caption


def test_pairs_of_a_path_class_share_the_sentence_about_routes(record):
    several = [replace(each, place=f"{each.place}, default/a to default/{each.mode}")
               for each in made(record)]
    assert paper.caption(several, {"6.1": "a.", "6.18": "b."}).count("added to the routers") == 1


def test_without_intervals_nothing_has_a_level(record):
    few = estimates.estimates({"a": summarise(record(repeats=2), MODES)}, [THROUGHPUT])
    assert paper.table(few).splitlines()[2] == (
        r"Path & Mode & $n$ & Ratio to Never & Interval \\")
    assert "interval" not in paper.caption(few, {"a": "x."})


def test_verdicts_that_no_estimate_has_are_left_out(record):
    (text,) = estimates.findings(estimates.compared(estimates.estimates(
        {name: summarise(record(repeats=2), MODES) for name in ("a", "b")}, [THROUGHPUT])))
    assert text == "b against a: of 6 estimates 6 have too few repeats."


@pytest.mark.parametrize(("text", "escaped"), [
    ("a_b & 5 %", r"a\_b \& 5 \%"), ("x^2~{y}", r"x\textasciicircum{}2\textasciitilde{}\{y\}"),
    ("\\input{x}", r"\textbackslash{}input\{x\}"), ("3 \u00b5s", r"3 \textmu{}s")])
def test_nothing_in_a_name_is_a_command_of_latex(text, escaped):
    assert paper.latex(text) == escaped


# --- the verbs

@pytest.fixture
def directories(record, tmp_path):
    """Two runs on disk, of two kernels."""
    for kernel in ("6.1", "6.18"):
        record(repeats=6)
        directory = tmp_path / f"run-{kernel}"
        directory.mkdir()
        max(tmp_path.glob("*.jsonl")).rename(directory / "results.jsonl")
        (directory / "summary.json").write_text(json.dumps({
            "format": FORMAT, "experiment": "ipip-modes", "complete": True,
            "environment": {"machine": {"kernel": kernel}}, "plan": {"quick": True}}))
    return [str(tmp_path / f"run-{kernel}") for kernel in ("6.1", "6.18")]


def calico_mn(*arguments, directory=ROOT):
    return WARM.run(arguments, timeout=120, cwd=directory,
                    environment={**os.environ, "PYTHONPATH": str(ROOT)})


def test_plot_writes_a_figure_a_caption_and_a_table(directories, tmp_path):
    done = calico_mn("plot", *directories, "-o", str(tmp_path / "fig.pdf"), "--width", "86mm",
                     "--metric", "throughput,latency")
    assert done.stderr == "" and done.returncode == 0
    names = ["fig.pdf", "fig-caption.tex", "fig-table.tex"]
    assert done.stdout.splitlines() == [f"wrote {tmp_path / name}" for name in names]
    assert "Circles (Linux 6.1): Linux 6.1. Quick run: not for publication." in (
        tmp_path / names[1]).read_text()


def test_compare_prints_a_sentence_and_a_table_and_json_and_yaml(directories):
    done = calico_mn("compare", *directories)
    assert "Linux 6.18 against Linux 6.1: of 6 estimates no difference" in " ".join(
        done.stdout.split())
    assert "TCP throughput: A is Linux 6.1, B is Linux 6.18" in done.stdout
    answer = json.loads(calico_mn("compare", *directories, "--json").stdout)
    assert answer["estimates"][0]["quotient"]["median"] == 1
    assert answer["estimates"][0]["in_first"]["confidence"] == 0.95
    assert yaml.safe_load(calico_mn("compare", *directories, "-o", "yaml").stdout) == answer


@pytest.mark.parametrize(("arguments", "says"), [
    pytest.param(["compare", "{0}"], "name two directories or more", id="one run"),
    pytest.param(["plot", "{0}", "-o", "x.gif"], "'x.gif' ends in none of .pdf, .svg, .png",
                 id="another format"),
    pytest.param(["plot", "{0}", "--width", "1in"], "'1in' is no width from 2in to 20in",
                 id="too narrow"),
    pytest.param(["plot", "{0}", "--metric", "speed"], "has no ratios to Never of speed; it has"
                 " throughput, latency", id="an unknown metric"),
    pytest.param(["plot", "{0}", "{1}", "--labels", "a"], "--labels needs a different name for"
                 " each of 2 runs", id="too few labels"),
    pytest.param(["report", "{0}"], "holds no run.json", id="no record"),
    pytest.param(["report", "/nonexistent"], "holds no results.jsonl", id="no run"),
])
def test_what_cannot_be_done_is_a_sentence(directories, arguments, says):
    done = calico_mn(*(word.format(*directories) for word in arguments))
    assert done.returncode in (1, 2) and says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("about", [
    {"failures": 7}, {"failures": [7]}, {"plan": 7}, {"plan": {"modes": 7}}, {"environment": []},
    {"environment": {"machine": 7}}, {"cut_short": {}}, {"experiment": "../../etc/passwd"}, {}],
    ids=str)
def test_a_summary_that_was_changed_is_a_sentence(directories, about):
    directory = Path(directories[0])
    shutil.copy(ROOT / "topologies" / "two-subnets.yaml", directory / "topology.yaml")
    (directory / "run.json").write_text(json.dumps({
        "format": FORMAT, "experiment": about.get("experiment", "ipip-modes"), "command": "",
        "arguments": [], "topology": ""}))
    summary = json.loads((directory / "summary.json").read_text())
    (directory / "summary.json").write_text(json.dumps({**summary, **about}))
    done = calico_mn("report", str(directory))
    assert done.returncode in (1, 2, 3) and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_the_commands_of_the_page_work(directories, tmp_path):
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name, directory in zip(("monday", "tuesday"), directories, strict=True):
        (tmp_path / "results").mkdir(exist_ok=True)
        (tmp_path / "results" / name).symlink_to(directory)
    commands = [command.split() for command in re.findall(
        "^    calico-mn ((?:plot|compare) .+)$", page, re.MULTILINE)]
    assert len(commands) == 3
    for command in commands:
        done = calico_mn(*command, directory=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert (tmp_path / "both-table.tex").exists()
