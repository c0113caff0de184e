import json

import pytest

from calico_mn.errors import CalicoMnError
from calico_mn.measure.paths import Endpoint, Pair
from calico_mn.measure.samples import Sample, SampleLog, load_samples

A = Endpoint("default/a", "10.0.0.1", "node31", "rack-a")
B = Endpoint("default/b", "10.0.1.1", "node33", "rack-b")
PAIR = Pair(A, B)


def write(path, count=2):
    with SampleLog(path, "ebpf") as log:
        for repeat in range(1, count + 1):
            log.add(PAIR, "Never", "throughput", 1000.5 * repeat, repeat=repeat,
                    encapsulated=False, fabric="pod-routes")
    return log


def test_what_was_written_is_read_back(tmp_path):
    path = tmp_path / "results.jsonl"
    log = write(path)
    assert load_samples(path) == tuple(log.samples)
    assert log.samples[1] == Sample(
        "Never", "default/a", "default/b", "cross-subnet", "throughput", 2001.0, "Mbit/s", 2, 2,
        False, "ebpf", "pod-routes")


def test_a_sample_is_on_disk_as_soon_as_it_is_taken(tmp_path):
    path = tmp_path / "results.jsonl"
    with SampleLog(path, "kernel") as log:
        log.add(PAIR, "Always", "reachable", 1, encapsulated=True)
        line = json.loads(path.read_text())
        assert line == {
            "mode": "Always", "source": "default/a", "destination": "default/b",
            "path": "cross-subnet", "metric": "reachable", "value": 1, "unit": "bool",
            "repeat": 1, "order": 1, "encapsulated": True, "tunnel": "kernel", "fabric": "plain"}


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "results.jsonl"
    log = write(path, 3)
    path.write_text(path.read_text()[:-20])
    assert load_samples(path) == tuple(log.samples[:2])


def test_another_line_that_is_no_sample_is_an_error(tmp_path):
    path = tmp_path / "results.jsonl"
    write(path)
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(CalicoMnError) as caught:
        load_samples(path)
    assert str(caught.value) == f"{path}:1: not a sample: '{{}}'"


def test_samples_are_never_overwritten(tmp_path):
    write(tmp_path / "results.jsonl")
    with pytest.raises(FileExistsError):
        SampleLog(tmp_path / "results.jsonl", "ebpf")
