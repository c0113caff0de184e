"""What an experiment wrote is read back: whole, torn, killed, or of another format."""

import json
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from calico_mn import results
from calico_mn.errors import CalicoMnError
from calico_mn.measure.reading_log import FORMAT, ReadingLog
from calico_mn.measure.readings import Measurement

SETTING = {"mode": "Always", "path": "cross-subnet", "streams": 2, "fabric": "plain"}


@pytest.fixture
def directory(tmp_path):
    with ReadingLog(tmp_path / "results.jsonl", "ipip-modes") as log:
        for repeat in (1, 2, 3):
            log.add("tcp", SETTING,
                    Measurement({"throughput": 12.5 * repeat, "retransmits": repeat},
                          {"per_second": [1.0, 2.0]}, {"encapsulated": True}), repeat)
    write(tmp_path, "summary.json")
    return tmp_path


def write(directory, name, **changes):
    (directory / name).write_text(json.dumps({
        "format": FORMAT, "complete": True, "environment": {"machine": {"cpus": 2}}, **changes}))


def test_rows_are_flat_and_tidy(directory):
    found = results.load(str(directory))
    assert [row for row in found.rows if row["metric"] == "throughput"] == [
        {"order": n, "instrument": "tcp", "repeat": n, "mode": "Always", "path": "cross-subnet",
         "streams": 2, "fabric": "plain", "encapsulated": True, "metric": "throughput",
         "value": 12.5 * n, "unit": "Mbit/s"} for n in (1, 2, 3)]
    assert [row["value"] for row in found.rows if row["metric"] == "retransmits"] == [1, 2, 3]
    assert [row["order"] for row in found.rows] == [1, 1, 2, 2, 3, 3]


def test_readings_are_whole_lines_with_their_lists(directory):
    found = results.load(directory)
    assert [(reading.order, reading.repeat) for reading in found.readings] == [
        (1, 1), (2, 2), (3, 3)]
    assert found.readings[2].values == {"throughput": 37.5, "retransmits": 3}
    assert found.readings[2].series == {"per_second": [1.0, 2.0]}
    with pytest.raises(FrozenInstanceError):
        found.readings[0].order = 0


def test_environment_and_summary(directory):
    found = results.load(directory)
    assert found.environment == {"machine": {"cpus": 2}}
    assert found.about["format"] == FORMAT
    assert (found.complete, found.directory) == (True, directory)


def test_a_torn_last_line_is_left_out(directory):
    path = directory / "results.jsonl"
    path.write_text(path.read_text()[:-30])
    assert [reading.repeat for reading in results.load(directory).readings] == [1, 2]


def test_of_a_run_that_was_killed_the_record_of_its_beginning_is_read(directory):
    (directory / "summary.json").unlink()
    (directory / "run.json").write_text(json.dumps({
        "format": FORMAT, "experiment": "ipip-modes", "arguments": ["--quick"],
        "environment": {"machine": {"cpus": 4}}}))
    found = results.load(directory)
    assert len(found.readings) == 3
    assert found.environment == {"machine": {"cpus": 4}}
    assert found.about["arguments"] == ["--quick"]
    assert not found.complete


def test_the_summary_goes_before_the_record_of_the_beginning(directory):
    write(directory, "run.json", environment={"machine": {"cpus": 4}})
    assert results.load(directory).environment == {"machine": {"cpus": 2}}


def test_readings_alone_are_enough(directory):
    (directory / "summary.json").unlink()
    found = results.load(directory)
    assert len(found.rows) == 6
    assert (found.complete, found.environment, found.about) == (False, {}, {})


def test_a_run_that_ended_before_its_first_reading_has_no_rows(tmp_path):
    with ReadingLog(tmp_path / "results.jsonl", "ipip-modes"):
        pass
    assert (results.load(tmp_path).rows, results.load(tmp_path).readings) == ((), ())


def test_a_run_that_was_cut_short_is_not_complete(directory):
    write(directory, "summary.json", complete=False)
    assert not results.load(directory).complete


@pytest.mark.parametrize("name", ["summary.json", "run.json"])
@pytest.mark.parametrize(("changes", "text"), [
    pytest.param({"format": FORMAT + 1}, f"has format {FORMAT + 1}, and this calico_mn reads up to"
                 f" {FORMAT}: use the version that wrote it, or a later one", id="newer"),
    pytest.param({"format": FORMAT - 1}, f"has format {FORMAT - 1}, and this calico_mn reads"
                 f" {FORMAT}: use the version that wrote it", id="older"),
    pytest.param({"format": "2"}, "names no format", id="not a number"),
    pytest.param({"format": True}, "names no format", id="a bool"),
    pytest.param({"format": 0}, "names no format", id="zero"),
    pytest.param({"format": None}, "names no format", id="null"),
])
def test_formats_that_cannot_be_read(directory, name, changes, text):
    (directory / "summary.json").unlink()
    write(directory, name, **changes)
    with pytest.raises(CalicoMnError) as caught:
        results.load(directory)
    assert str(caught.value).startswith(f"{directory}/{name}: ")
    assert text in str(caught.value)


def test_the_format_is_looked_at_before_readings_that_may_mean_something_else(directory):
    (directory / "results.jsonl").write_text('{"from": "the future"}\n')
    write(directory, "summary.json", format=FORMAT + 1)
    with pytest.raises(CalicoMnError, match="has format"):
        results.load(directory)


def test_samples_of_the_first_format_are_refused_without_a_summary_too(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"mode": "Never", "metric": "latency"}\n')
    with pytest.raises(CalicoMnError, match=r"results\.jsonl:1: not the first line of results"):
        results.load(tmp_path)


@pytest.mark.parametrize("text", ['{"format": 2', "[]", "\xff"])
def test_a_damaged_summary(directory, text):
    (directory / "summary.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CalicoMnError, match=r"summary\.json: "):
        results.load(directory)


def test_a_directory_without_results(tmp_path):
    with pytest.raises(CalicoMnError, match=r"holds no results\.jsonl: give the directory"):
        results.load(tmp_path / "nothing")


def test_what_format_2_wrote_is_read_the_same_by_every_later_version():
    """A few readings of the main experiment, as they were written when format 2 was current."""
    read = results.load(Path(__file__).parent / "results-format-2")
    assert (read.complete, read.about["experiment"], read.environment["machine"]["cpus"]) == (
        True, "ipip-modes", 2)
    assert [reading.instrument for reading in read.readings] == [
        *["ping"] * 4, "round trips", "tcp", "round trips under load", "udp", "connections",
        "wire"]
    assert {(row["metric"], row["unit"]) for row in read.rows} == {
        ("reachable", "bool"), ("latency", "us"), ("latency_p99", "us"),
        ("throughput", "Mbit/s"), ("retransmits", "segments"), ("mss", "bytes"),
        ("cpu_user", "s/GB"), ("cpu_system", "s/GB"), ("cpu_softirq", "s/GB"), ("cpu", "s/GB"),
        ("cpu_packet", "us"), ("loaded_latency", "us"), ("loaded_latency_p99", "us"),
        ("packets", "1/s"), ("packets_sent", "1/s"), ("loss", "share"), ("connections", "1/s"),
        ("wire_bytes", "bytes/byte"), ("largest_segment", "bytes")}
    first = read.readings[4]
    assert (first.setting["mode"], first.seen, len(first.series["round_trips_us"])) == (
        "CrossSubnet", {"encapsulated": True}, 5)


def test_the_name_of_the_file_is_understood_too(directory):
    assert results.load(directory / "results.jsonl") == results.load(directory)


def test_all_runs_of_a_pattern_are_read_by_name(directory):
    (directory / "logs").mkdir()
    assert results.load_all(f"{directory.parent}/{directory.name}") == (
        results.load(directory),)
    with pytest.raises(CalicoMnError, match=r"x\*: no directory with results.jsonl is called so"):
        results.load_all(str(directory / "x*"))


def test_a_run_is_a_line_at_a_prompt(directory):
    assert repr(results.load(directory)) == f"<Results {directory.name}: 3 readings, complete>"


def test_without_pandas_the_error_says_how_to_get_it(directory, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CalicoMnError, match="pip install pandas"):
        results.load(directory).frame()


def test_frames_have_a_row_a_value_a_metric_or_a_single_value(directory):
    pytest.importorskip("pandas", reason="pandas is not installed: ./install.sh develop")
    run = results.load(directory)
    frame, summary, series = run.frame(), run.summary(), run.series("per_second")
    assert list(frame.value) == [row["value"] for row in run.rows]
    assert set(frame.run) == {directory.name} and run.to_pandas().equals(frame)
    (line,) = summary[summary.metric == "throughput"].to_dict("records")
    assert (line["mode"], line["path"], line["n"], line["median"]) == (
        "Always", "cross-subnet", 3, 25.0)
    assert list(series.per_second) == [1.0, 2.0] * 3 and list(series["sample"])[:2] == [0, 1]
    with pytest.raises(CalicoMnError, match="has no series 'x'; it has per_second"):
        run.series("x")


def test_settings_without_modes_are_summed_up_by_setting(tmp_path):
    pytest.importorskip("pandas", reason="pandas is not installed: ./install.sh develop")
    with ReadingLog(tmp_path / "results.jsonl", "scale") as log:
        for repeat in (1, 2, 3):
            log.add("life", {"nodes": 2}, Measurement({"boot": 10.0 * repeat}), repeat)
    (line,) = results.load(tmp_path).summary().to_dict("records")
    assert (line["nodes"], line["metric"], line["n"], line["median"], line["confidence"]) == (
        2, "boot", 3, 20.0, 0.75)
