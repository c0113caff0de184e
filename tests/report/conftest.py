"""Golden files, as in tests/unit, and samples to make reports from."""

from pathlib import Path

import pytest
from calico_mn.measure.samples import SampleLog

from calico_mn.measure.paths import Endpoint, ordered_pairs

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
    """Samples as a run would take them: matrices, then ``repeats`` of each trial."""

    def make(pods=PODS, modes=tuple(TRUTH), repeats=3):
        with SampleLog(tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl", "ebpf") as log:
            pairs = ordered_pairs(pods)
            for mode in modes:
                for pair in pairs:
                    how = TRUTH[mode][pair.path]
                    log.add(pair, mode, "reachable", int(how != "."), encapsulated=how == "#")
            first = {}
            for pair in pairs:
                first.setdefault(pair.path, pair)
            for repeat in range(1, repeats + 1):
                for path, pair in first.items():
                    for mode in modes:
                        how = TRUTH[mode][path]
                        fast, slow = SPEED[path, how]
                        facts = {"repeat": repeat, "encapsulated": how == "#",
                                 "fabric": "pod-routes" if how == "." else "plain"}
                        log.add(pair, mode, "latency", slow + 0.5 * repeat, **facts)
                        log.add(pair, mode, "throughput", fast - 100 * repeat, **facts)
        return log.samples

    return make
