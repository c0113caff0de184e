"""Results that others made, damaged or forged: read, or refused in a line, in bounded time."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import assert_harmless

from calico_mn import results, streams
from calico_mn.errors import CalicoMnError
from calico_mn.experiment import record
from calico_mn.measure.reading_log import (
    FORMAT,
    MOST_ABOUT,
    MOST_READINGS,
    ReadingLog,
    load_readings,
)

HEAD = {"format": FORMAT, "experiment": "x"}
READING = {"order": 1, "instrument": "tcp", "repeat": 1, "setting": {"mode": "Never"},
           "seen": {"encapsulated": None}, "values": {"throughput": 1.5},
           "series": {"per_second": [1, 2.5]}}
RECORD = {**HEAD, "command": "c", "arguments": ["--quick"], "topology": "t.yaml"}


def changed(**changes):
    return json.dumps({**READING, **changes})


LINES = {
    "order-infinite": changed(order=float("inf")), "order-nan": changed(order=float("nan")),
    "order-word": changed(order="1"), "order-bool": changed(order=True),
    "order-0": changed(order=0),
    "order-fraction": changed(order=1.5), "order-null": changed(order=None),
    "repeat-negative": changed(repeat=-1), "repeat-list": changed(repeat=[1]),
    "instrument-list": changed(instrument=[]), "instrument-number": changed(instrument=3),
    "instrument-escape": changed(instrument="\x1b[2J"), "setting-pairs": changed(
        setting=[["a", [1]]]), "setting-list": changed(setting=[]), "setting-null": changed(
        setting=None), "setting-word": changed(setting="abc"), "level-object": changed(
        setting={"mode": {}}), "level-list": changed(setting={"mode": ["Never"]}),
    "level-escape": changed(setting={"mode": "\x1b]0;x\x07"}),
    "level-newline": changed(setting={"mode": "a\nb"}), "level-bidi": changed(
        setting={"mode": "\u202eyaml"}), "level-surrogate": changed(setting={"mode": "\ud800"}),
    "factor-escape": changed(setting={"\x1b[2J": 1}), "level-infinite": changed(
        setting={"streams": float("inf")}), "seen-list": changed(seen=[1]),
    "seen-deep": changed(seen={"a": {"b": 1}}), "values-list": changed(values=[]),
    "value-nan": changed(values={"throughput": float("nan")}), "value-infinite": changed(
        values={"throughput": float("-inf")}), "value-object": changed(values={"throughput": {}}),
    "value-1e999": changed().replace("1.5", "1e999"), "value-5000-digits": changed().replace(
        "1.5", "9" * 5000), "metric-unknown": changed(values={"speed": 1}),
    "series-word": changed(series={"a": "12"}), "series-null": changed(series={"a": [None]}),
    "series-nan": changed(series={"a": [float("nan")]}), "series-bare": changed(series=[1]),
    "series-deep": changed(series={"a": [[1]]}), "nothing": "{}", "list": "[]", "null": "null",
    "number": "7", "word": '"x"', "empty": "", "half": changed()[:40], "twice": changed() * 2,
    "deep": "[" * 100_000, "deep-objects": '{"a":' * 50_000, "nul": "\0" * 100, "head": json.dumps(
        HEAD), "blank": " " * 1000, "huge-line": '"' + "x" * 5_000_000, "python": "{'order': 1}",
    "html": "<script>alert(1)</script>", "yaml": "order: 1", "missing": json.dumps(
        {name: READING[name] for name in READING if name != "series"}),
}
HEADS = {
    "list": "[]", "null": "null", "nothing": "{}", "no-experiment": '{"format": 2}',
    "format-word": '{"format": "2", "experiment": "x"}', "deep": "[" * 100_000, "half": '{"form',
    "format-bool": '{"format": true, "experiment": "x"}', "nul": "\0\0", "blank": "  ",
    "format-later": '{"format": 99, "experiment": "x"}', "format-1e999": '{"format": 1e999}',
    "format-first": '{"format": 1, "experiment": "x"}', "reading": changed(),
    "other": '{"format": 2, "experiment": "y"}', "digits": "9" * 5000, "escape": "\x1b[2J",
}
RECORDS = {
    "list": [], "null": None, "word": "x", "nothing": {}, "format-list": {**RECORD, "format": []},
    "format-later": {**RECORD, "format": 99}, "format-bool": {**RECORD, "format": True},
    "arguments-word": {**RECORD, "arguments": "abc"}, "arguments-null": {
        **RECORD, "arguments": None}, "arguments-numbers": {**RECORD, "arguments": [1]},
    "arguments-object": {**RECORD, "arguments": {"--quick": 1}}, "arguments-nul": {
        **RECORD, "arguments": ["\0"]}, "topology-object": {**RECORD, "topology": {}},
    "topology-nul": {**RECORD, "topology": "\0"}, "topology-null": {**RECORD, "topology": None},
    "command-list": {**RECORD, "command": []}, "experiment-list": {**RECORD, "experiment": ["x"]},
    "other": {**RECORD, "experiment": "y"}, "no-topology": {
        name: RECORD[name] for name in RECORD if name != "topology"},
}
RAW = {"deep": b"[" * 100_000, "half": b'{"format"', "latin1": b"\xff", "nul": b"\0", "empty": b"",
       "digits": b"9" * 5000, "utf16": "{}".encode("utf-16"), "bom": b"\xef\xbb\xbf[]"}


def write(path, head, *lines):
    path.write_text("".join(f"{line}\n" for line in (head, *lines)), encoding="utf-8")


def refused(act, *lines):
    with pytest.raises(CalicoMnError) as caught:
        act()
    assert_harmless(str(caught.value), lines=0)


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_that_is_no_reading(line, tmp_path):
    path = tmp_path / "results.jsonl"
    write(path, json.dumps(HEAD), changed(), line)
    before = path.read_bytes()
    with pytest.raises(CalicoMnError, match=r"results\.jsonl:3: not a reading: ") as caught:
        load_readings(path)
    assert_harmless(str(caught.value), lines=0)
    refused(lambda: results.load(tmp_path))
    # Resuming the run fails in the same way, and writes nothing into it.
    refused(lambda: ReadingLog(path, "x", resume=True))
    assert path.read_bytes() == before


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_first_line_that_is_none(head, tmp_path):
    path = tmp_path / "results.jsonl"
    write(path, head, changed())
    refused(lambda: ReadingLog(path, "x", resume=True))
    if "y" not in head:
        refused(lambda: results.load(tmp_path))


@pytest.mark.parametrize("found", RECORDS.values(), ids=RECORDS)
def test_a_record_that_is_none(found, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(found))
    refused(lambda: record.read(tmp_path, "x"))


@pytest.mark.parametrize("name", ["run.json", "summary.json"])
@pytest.mark.parametrize("content", RAW.values(), ids=RAW)
def test_a_file_that_is_no_json(name, content, tmp_path):
    write(tmp_path / "results.jsonl", json.dumps(HEAD), changed())
    (tmp_path / name).write_bytes(content)
    refused(lambda: results.load(tmp_path))
    if name == "run.json":
        refused(lambda: record.read(tmp_path, "x"))


@pytest.mark.parametrize("found", [[1], "x", 7, True])
def test_an_environment_that_is_none(found, tmp_path):
    write(tmp_path / "results.jsonl", json.dumps(HEAD), changed())
    (tmp_path / "summary.json").write_text(json.dumps({**HEAD, "environment": found}))
    refused(lambda: results.load(tmp_path))


@pytest.mark.parametrize("name", ["run.json", "results.jsonl", "summary.json"])
@pytest.mark.parametrize("make", [
    pytest.param(os.mkfifo, id="FIFO"), pytest.param(os.mkdir, id="directory"),
    pytest.param(lambda path: os.symlink("/dev/zero", path), id="zero"),
    pytest.param(lambda path: os.symlink(path, path), id="loop"),
    pytest.param(lambda path: os.symlink("/proc/self/mem", path), id="mem"),
    pytest.param(lambda path: (path.touch(), os.truncate(path, 1 << 33)), id="8 GB"),
])
def test_files_that_are_none(make, name, tmp_path):
    if name != "results.jsonl":
        write(tmp_path / "results.jsonl", json.dumps(HEAD), changed())
    make(tmp_path / name)
    # What is no file is as good as none, and readings alone are enough.
    if name == "results.jsonl" or (tmp_path / name).is_file():
        refused(lambda: results.load(tmp_path))
    refused(lambda: record.read(tmp_path, "x"))
    if name == "results.jsonl":
        refused(lambda: ReadingLog(tmp_path / name, "x", resume=True))


def test_limits_are_far_above_what_experiments_write():
    assert MOST_READINGS > 100 * 4_000_000 and MOST_ABOUT > 10_000_000


def test_a_limit_is_exact(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1000)
    assert streams.read_bounded(path, 1000) == b"x" * 1000
    with pytest.raises(ValueError, match="is larger than"):
        streams.read_bounded(path, 999)


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    place = tmp_path_factory.getbasetemp() / "any-results"
    place.mkdir(exist_ok=True)
    for name, content in (("results.jsonl", data), ("results.jsonl", json.dumps(HEAD).encode()
                          + b"\n" + data), ("run.json", data)):
        (place / name).write_bytes(content)
        for act in (lambda: results.load(place), lambda: record.read(place, "x")):
            try:
                act()
            except CalicoMnError as error:
                assert_harmless(str(error), lines=0)
    (place / "run.json").unlink()


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                    max_leaves=8)


@given(st.fixed_dictionaries({}, optional={name: JSON | st.just(READING[name])
                                           for name in READING}))
def test_any_object_is_a_reading_or_refused(tmp_path_factory, found):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    write(path, json.dumps(HEAD), json.dumps(found))
    try:
        (reading,) = load_readings(path)
    except CalicoMnError as error:
        assert_harmless(str(error), lines=0)
    else:
        assert reading.order >= 1 and all(map(str.isprintable, reading.setting))
