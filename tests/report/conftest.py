"""Golden files, as in tests/unit, and readings to make reports from."""

from pathlib import Path

import pytest

from calico_mn.measure.paths import Endpoint, ordered_pairs
from calico_mn.measure.reading_log import ReadingLog
from calico_mn.measure.readings import Measurement, Sample

GOLDEN = Path(__file__).parent / "golden"

#: mode -> path -> how the packets cross: "=" directly, "#" inside IPIP, "." not at all
TRUTH = {
    "Always": {"same-node": "=", "same-subnet": "#", "cross-subnet": "#"},
    "CrossSubnet": {"same-node": "=", "same-subnet": "=", "cross-subnet": "#"},
    "Never": {"same-node": "=", "same-subnet": "=", "cross-subnet": "."},
}
#: Mbit/s and us of the first repeat
SPEED = {("same-node", "="): (20000, 4), ("same-subnet", "="): (16000, 8),
         ("same-subnet", "#"): (14000, 11), ("cross-subnet", "#"): (13000, 14),
         ("cross-subnet", "."): (15000, 10)}


@pytest.fixture
def golden(request):
    """Compare ``text`` with golden/NAME; with ``pytest --record`` write it there."""

    def compare(name, text):
        path = GOLDEN / name
        if request.config.getoption("--record"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no {path.name}: run pytest --record, then read what it wrote"
        assert text == path.read_text(encoding="utf-8")

    return compare


def cluster(racks):
    """Pods from ``{"rack-a": {"node31": 2}}``: so many on each node."""
    return [Endpoint(f"default/{node}-{number}", f"10.0.{place}.{number}", node, rack)
            for rack, nodes in racks.items()
            for place, (node, count) in enumerate(nodes.items()) for number in range(count)]


PODS = cluster({"rack-a": {"node31": 2, "node32": 1}, "rack-b": {"node33": 1}})


@pytest.fixture
def record(tmp_path):
    """Samples as a run would take them: matrices, then ``repeats`` of each trial.

    ``factors`` are settings besides mode and path, all combined with them; ``faster`` says by
    which number a trial's throughput is multiplied, ``more`` has readings besides, both of a
    setting and a repeat.
    """

    def make(pods=PODS, modes=tuple(TRUTH), repeats=3, factors=({},),
             faster=lambda setting, repeat: 1, more=lambda setting, repeat: ()):
        with ReadingLog(tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl", "ipip-modes") as log:
            pairs = ordered_pairs(pods)
            for mode in modes:
                for pair in pairs:
                    how = TRUTH[mode][pair.path]
                    log.add("ping", {**setting_of(mode, pair), "fabric": "plain"},
                            Measurement({"reachable": int(how != ".")},
                                  seen={"encapsulated": how == "#"}))
            first = {}
            for pair in pairs:
                first.setdefault(pair.path, pair)
            for repeat in range(1, repeats + 1):
                for path, pair in first.items():
                    for mode in modes:
                        how = TRUTH[mode][path]
                        fast, slow = SPEED[path, how]
                        for also in factors:
                            setting = {**setting_of(mode, pair), **also,
                                       "fabric": "pod-routes" if how == "." else "plain"}
                            rate = (fast - 100 * repeat) * faster(setting, repeat)
                            for name, own, values in (
                                    ("tcp", {}, {"throughput": rate}),
                                    ("round trips", {}, {"latency": slow + 0.5 * repeat}),
                                    *more(setting, repeat)):
                                log.add(name, {**setting, **own}, Measurement(
                                    values, seen={"encapsulated": how == "#"}), repeat)
        return log.samples

    return make


def setting_of(mode, pair):
    return {"mode": mode, "path": pair.path, "source": pair.source.name,
            "destination": pair.destination.name, "tunnel": "ebpf"}


def altered(samples, change):
    """The samples with the values that ``change`` makes of them."""
    return tuple(Sample(sample.metric, change(sample), sample.reading) for sample in samples)
