"""Readings are written at once, read back whole, and taken up again after a crash."""

import json
from dataclasses import FrozenInstanceError

import pytest

from calico_mn.errors import CalicoMnError
from calico_mn.measure.reading_log import FORMAT, ReadingLog, load_readings
from calico_mn.measure.readings import (
    Measurement,
    Reading,
    Sample,
    by_factors,
    by_repeat,
    known_metrics,
    samples,
    under,
    values,
)
from calico_mn.measure.trials import PLAIN

SETTING = {"mode": "Never", "path": "cross-subnet", "streams": 2, "source": "default/a",
           "destination": "default/c", "tunnel": "ebpf", "fabric": "pod-routes"}
TAKEN = Measurement({"throughput": 1000.5, "retransmits": 3}, {"per_second": [999.5, 1001.5]},
              {"encapsulated": False})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.jsonl"


def write(path, count=2):
    with ReadingLog(path, "trial-run") as log:
        for repeat in range(1, count + 1):
            log.add("tcp", SETTING, TAKEN, repeat)
    return log


def taken_up(path):
    return ReadingLog(path, "trial-run", resume=True)


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


# --- written


def test_what_was_written_is_read_back(path):
    log = write(path)
    assert load_readings(path) == tuple(log.readings)
    assert log.readings[1] == Reading(2, "tcp", 2, SETTING, TAKEN.seen, TAKEN.values,
                                      TAKEN.series)


def test_the_first_line_names_format_and_experiment(path):
    with ReadingLog(path, "trial-run"):
        assert [json.loads(line) for line in lines(path)] == [
            {"format": FORMAT, "experiment": "trial-run"}]
    assert load_readings(path) == ()


def test_a_reading_is_on_disk_as_soon_as_it_is_taken(path):
    with ReadingLog(path, "trial-run") as log:
        log.add("tcp", SETTING, TAKEN, 2)
        assert path.read_text().endswith("}\n")
        assert json.loads(lines(path)[1]) == {
            "order": 1, "instrument": "tcp", "repeat": 2, "setting": SETTING,
            "seen": {"encapsulated": False},
            "values": {"throughput": 1000.5, "retransmits": 3},
            "series": {"per_second": [999.5, 1001.5]}}


def test_lists_of_single_values_are_kept(path):
    write(path)
    assert load_readings(path)[0].series == {"per_second": [999.5, 1001.5]}


def test_what_the_instrument_does_later_with_its_answer_changes_nothing(path):
    values, times = {"latency": 4.0}, [4.0]
    with ReadingLog(path, "trial-run") as log:
        reading = log.add("round trips", SETTING, Measurement(values, {"times": times}))
        values["latency"] = 0
        times.append(0)
    assert load_readings(path) == (reading,)
    assert (reading.values, reading.series) == ({"latency": 4.0}, {"times": [4.0]})


def test_earlier_measurements_are_never_overwritten(path):
    write(path)
    before = path.read_text()
    with pytest.raises(FileExistsError):
        ReadingLog(path, "trial-run")
    assert path.read_text() == before


def test_a_metric_without_a_unit_is_a_mistake_of_the_experiment(path):
    with ReadingLog(path, "trial-run") as log:
        with pytest.raises(AssertionError, match="speed"):
            log.add("tcp", SETTING, Measurement({"speed": 1}))
        assert log.readings == []
    assert len(lines(path)) == 1


# --- found again


def test_a_reading_is_found_by_instrument_setting_and_repeat(path):
    with ReadingLog(path, "trial-run") as log:
        reading = log.add("tcp", SETTING, TAKEN, 2)
        assert log.find("tcp", dict(reversed(SETTING.items())), 2) is reading
        assert log.find("tcp", SETTING) is None
        assert log.find("udp", SETTING, 2) is None
        assert log.find("tcp", {**SETTING, "streams": 1}, 2) is None
        assert log.find("tcp", {**SETTING, "size": 64}, 2) is None


def test_nothing_is_read_twice(path):
    with ReadingLog(path, "trial-run") as log:
        log.add("tcp", SETTING, TAKEN)
        with pytest.raises(AssertionError, match="read twice"):
            log.add("tcp", SETTING, TAKEN)
        log.add("tcp", SETTING, TAKEN, 2)
    assert [reading.repeat for reading in load_readings(path)] == [1, 2]


# --- taken up again


def test_a_log_is_taken_up_where_it_ended(path):
    first = write(path).readings
    with taken_up(path) as log:
        assert log.readings == first
        assert log.find("tcp", SETTING, 2) == first[1]
        with pytest.raises(AssertionError, match="read twice"):
            log.add("tcp", SETTING, TAKEN, 2)
        assert log.add("tcp", SETTING, TAKEN, 3).order == 3
    assert [(r.order, r.repeat) for r in load_readings(path)] == [(1, 1), (2, 2), (3, 3)]
    assert [("format" in json.loads(line)) for line in lines(path)] == [True, False, False, False]


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_torn_last_line_is_left_out_and_cut_off(path, cut):
    first = write(path, 3).readings
    path.write_bytes(path.read_bytes()[:-cut])
    assert load_readings(path) == tuple(first[:2])
    with taken_up(path) as log:
        assert log.find("tcp", SETTING, 3) is None
        log.add("tcp", SETTING, TAKEN, 3)
    assert load_readings(path) == tuple(first)


def test_a_line_that_was_torn_inside_a_character_is_left_out(path):
    with ReadingLog(path, "trial-run") as log:
        first = log.add("tcp", SETTING, TAKEN)
    with open(path, "ab") as file:
        file.write('{"instrument": "Größe'.encode()[:-2])
    assert load_readings(path) == (first,)


def test_a_log_that_is_taken_up_again_and_again_holds_each_reading_once(path):
    write(path, 1)
    for repeat in (2, 3, 4):
        with taken_up(path) as log:
            log.add("tcp", SETTING, TAKEN, repeat)
        with open(path, "a") as file:
            file.write('{"order": ')
    assert [(r.order, r.repeat) for r in load_readings(path)] == [(n, n) for n in (1, 2, 3, 4)]


def test_readings_of_another_experiment_are_refused_and_left_as_they_are(path):
    write(path)
    path.write_text(path.read_text() + '{"torn')
    before = path.read_text()
    with pytest.raises(CalicoMnError) as caught:
        ReadingLog(path, "boot-time", resume=True)
    assert str(caught.value) == f"{path}: holds readings of trial-run, not of boot-time"
    assert path.read_text() == before


def test_a_run_that_still_goes_on_cannot_be_taken_up(path):
    with ReadingLog(path, "trial-run") as running:
        running.add("tcp", SETTING, TAKEN)
        with pytest.raises(CalicoMnError) as caught:
            taken_up(path)
        running.add("tcp", SETTING, TAKEN, 2)
    assert str(caught.value) == f"{path}: its run is still going on"
    with taken_up(path) as log:
        assert [reading.repeat for reading in log.readings] == [1, 2]


def test_what_is_not_there_cannot_be_taken_up(path):
    with pytest.raises(CalicoMnError, match=r"results\.jsonl: is missing: there is nothing"):
        taken_up(path)
    assert not path.exists()


# --- damaged, and of other formats


@pytest.mark.parametrize("line", [
    pytest.param("{}", id="nothing in it"),
    pytest.param("[]", id="a list"),
    pytest.param("nonsense", id="no JSON"),
    pytest.param("", id="an empty line"),
    pytest.param('{"order": 1, "instrument": "tcp"}', id="half of the fields"),
    pytest.param(json.dumps({"order": 1, "instrument": "tcp", "repeat": 1, "setting": {},
                             "seen": {}, "values": {"speed": 1}, "series": {}}),
                 id="an unknown metric"),
    pytest.param(json.dumps({"order": "first", "instrument": "tcp", "repeat": 1, "setting": {},
                             "seen": {}, "values": {}, "series": {}}), id="an order of words"),
    pytest.param(json.dumps({"order": 1, "instrument": "tcp", "repeat": 1, "setting": "Never",
                             "seen": {}, "values": {}, "series": {}}), id="a setting of words"),
])
def test_a_damaged_line_is_named_by_its_number(path, line):
    write(path)
    found = lines(path)
    path.write_text("\n".join([*found[:2], line, *found[2:]]) + "\n")
    with pytest.raises(CalicoMnError) as caught:
        load_readings(path)
    assert str(caught.value) == f"{path}:3: not a reading: {line[:80]!r}"
    with pytest.raises(CalicoMnError):
        taken_up(path)


@pytest.mark.parametrize(("header", "text"), [
    pytest.param({"format": FORMAT + 1, "experiment": "trial-run"},
                 f": has format {FORMAT + 1}, and this calico_mn reads up to {FORMAT}: use the"
                 " version that wrote it, or a later one", id="later"),
    pytest.param({"format": FORMAT - 1, "experiment": "trial-run"},
                 f": has format {FORMAT - 1}, and this calico_mn reads {FORMAT}: use the version"
                 " that wrote it", id="older"),
    pytest.param({"format": "2", "experiment": "trial-run"}, ": names no format of results",
                 id="a word"),
    pytest.param({"format": True, "experiment": "trial-run"}, ": names no format of results",
                 id="a bool"),
    pytest.param({"format": 0, "experiment": "trial-run"}, ": names no format of results",
                 id="zero"),
    pytest.param({"mode": "Never", "metric": "latency"},
                 ':1: not the first line of results: \'{"mode": "Never", "metric": "latency"}\'',
                 id="no header, as of the first format"),
    pytest.param([], ":1: not the first line of results: '[]'", id="a list"),
])
def test_a_first_line_that_cannot_be_read(path, header, text):
    path.write_text(json.dumps(header) + "\n")
    with pytest.raises(CalicoMnError) as caught:
        load_readings(path)
    assert str(caught.value) == f"{path}{text}"


@pytest.mark.parametrize("data", [b"", b'{"format": 2, "expe'], ids=["empty", "torn"])
def test_a_file_without_a_whole_line(path, data):
    path.write_bytes(data)
    with pytest.raises(CalicoMnError, match="holds nothing: the run ended before"):
        load_readings(path)


def test_a_file_that_is_no_text(path):
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(CalicoMnError, match=r"results\.jsonl: cannot be read: "):
        load_readings(path)


# --- values


def test_every_value_is_a_sample_with_its_unit(path):
    log = write(path, 2)
    assert log.samples == samples(log.readings)
    assert [(s.order, s.repeat, s.metric, s.value, s.unit) for s in log.samples] == [
        (1, 1, "throughput", 1000.5, "Mbit/s"), (1, 1, "retransmits", 3, "segments"),
        (2, 2, "throughput", 1000.5, "Mbit/s"), (2, 2, "retransmits", 3, "segments")]


def test_a_sample_knows_its_setting(path):
    sample = write(path).samples[0]
    assert (sample.mode, sample.path, sample.source, sample.destination, sample.tunnel,
            sample.fabric, sample.encapsulated, sample.number) == (
        "Never", "cross-subnet", "default/a", "default/c", "ebpf", "pod-routes", False, 1000.5)
    with pytest.raises(FrozenInstanceError):
        sample.value = 0


def test_a_sample_of_an_experiment_without_these_factors():
    sample = Sample("boot", 12.5, Reading(1, "boot", 1, {"nodes": 3}, {}, {"boot": 12.5}, {}))
    assert (sample.mode, sample.path, sample.fabric, sample.encapsulated) == ("", "", PLAIN, None)


def test_a_row_is_flat_with_a_column_for_each_factor(path):
    row = write(path).samples[1].row()
    assert row == {"order": 1, "instrument": "tcp", "repeat": 1, **SETTING,
                   "encapsulated": False, "metric": "retransmits", "value": 3,
                   "unit": "segments"}
    assert not any(isinstance(value, (dict, list, tuple)) for value in row.values())


def test_every_metric_has_a_unit_and_words_for_it():
    assert all(metric.unit and metric.title for metric in known_metrics().values())
    titles = [metric.title for metric in known_metrics().values()]
    assert len(set(titles)) == len(titles)


# --- by factors

UDP, TCP = "udp", "tcp"
SOME = [Reading(order, instrument, repeat, {"mode": mode, "size": size}, {}, {"packets": value}, {})
        for order, (instrument, repeat, mode, size, value) in enumerate((
            (UDP, 1, "Always", 64, 10), (UDP, 1, "Never", 64, 30), (UDP, 2, "Always", 64, None),
            (TCP, 1, "Always", 0, 5), (UDP, 2, "Always", 1400, 7)))]


@pytest.mark.parametrize(("asked", "levels", "orders"), [
    pytest.param((), {}, [0, 1, 2, 3, 4], id="all"),
    pytest.param((UDP,), {"mode": "Always"}, [0, 2, 4], id="an instrument under a level"),
    pytest.param((), {"size": 0}, [3], id="0 is a level"),
    pytest.param((), {"pair": "a to b"}, [], id="a factor that none has"),
])
def test_readings_under_levels(asked, levels, orders):
    assert [reading.order for reading in under(SOME, *asked, **levels)] == orders


def test_what_is_no_number_is_left_out():
    assert values(SOME, "packets", mode="Always") == [10, 5, 7]
    assert values(SOME, "throughput") == []


def test_several_numbers_of_a_repeat_are_added():
    assert by_repeat(SOME, "packets") == {1: 45, 2: 7}
    assert by_repeat(SOME, "packets", size=64) == {1: 40}


def test_groups_have_the_levels_as_they_are():
    assert {levels: len(group) for levels, group in by_factors(SOME, "size", "mode").items()} == {
        (64, "Always"): 2, (64, "Never"): 1, (0, "Always"): 1, (1400, "Always"): 1}
