"""What an experiment wrote is read back: whole, torn, killed, or of a later format."""

import json
from dataclasses import FrozenInstanceError

import pytest
from calico_mn.measure.samples import FORMAT, SampleLog

from calico_mn import results
from calico_mn.errors import CalicoMnError
from calico_mn.measure.paths import Endpoint, Pair

PAIR = Pair(Endpoint("default/a", "10.0.0.1", "node31", "rack-a"),
            Endpoint("default/b", "10.0.1.1", "node33", "rack-b"))


@pytest.fixture
def directory(tmp_path):
    with SampleLog(tmp_path / "results.jsonl", "ebpf") as log:
        for repeat in (1, 2, 3):
            log.add(PAIR, "Always", "latency", 12.5 * repeat, repeat=repeat, encapsulated=True)
    write_summary(tmp_path)
    return tmp_path


def write_summary(directory, **changes):
    (directory / "summary.json").write_text(json.dumps({
        "format": FORMAT, "complete": True, "environment": {"machine": {"cpus": 2}}, **changes}))


def test_rows_and_environment(directory):
    found = results.load(str(directory))
    assert [(row.mode, row.path, row.metric, row.repeat, row.value, row.unit)
            for row in found.rows] == [
        ("Always", "cross-subnet", "latency", n, 12.5 * n, "us") for n in (1, 2, 3)]
    assert found.environment == {"machine": {"cpus": 2}}
    assert found.summary["format"] == FORMAT
    assert (found.complete, found.directory) == (True, directory)
    with pytest.raises(FrozenInstanceError):
        found.rows[0].value = 0


def test_a_torn_last_line_is_left_out(directory):
    path = directory / "results.jsonl"
    path.write_text(path.read_text()[:-30])
    assert [row.repeat for row in results.load(directory).rows] == [1, 2]


def test_a_run_that_was_killed_has_rows_and_no_summary(directory):
    (directory / "summary.json").unlink()
    found = results.load(directory)
    assert len(found.rows) == 3
    assert (found.complete, found.environment, found.summary) == (False, {}, {})


def test_a_run_that_was_cut_short_is_not_complete(directory):
    write_summary(directory, complete=False)
    assert not results.load(directory).complete


@pytest.mark.parametrize(("changes", "text"), [
    pytest.param({"format": FORMAT + 1}, f"has format {FORMAT + 1}, and this calico_mn reads up to"
                 f" {FORMAT}: use the version that wrote it, or a later one", id="newer"),
    pytest.param({"format": "1"}, "it names no format", id="not a number"),
    pytest.param({"format": True}, "it names no format", id="a bool"),
    pytest.param({"format": 0}, "it names no format", id="zero"),
])
def test_formats_that_cannot_be_read(directory, changes, text):
    write_summary(directory, **changes)
    with pytest.raises(CalicoMnError) as caught:
        results.load(directory)
    assert str(caught.value).startswith(f"{directory}/summary.json: ")
    assert text in str(caught.value)


def test_the_format_is_looked_at_before_samples_that_may_mean_something_else(directory):
    (directory / "results.jsonl").write_text('{"from": "the future"}\n')
    write_summary(directory, format=FORMAT + 1)
    with pytest.raises(CalicoMnError, match="has format"):
        results.load(directory)


@pytest.mark.parametrize("text", ['{"format": 1', "[]", "\xff"])
def test_a_damaged_summary(directory, text):
    (directory / "summary.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CalicoMnError, match=r"summary\.json: "):
        results.load(directory)


def test_a_directory_without_results(tmp_path):
    with pytest.raises(CalicoMnError, match=r"holds no results\.jsonl: give the directory"):
        results.load(tmp_path / "nothing")
