"""What becomes of packets that are too large, from end to end.

    a (node31)                                      b (node32)
      eth0  pod MTU                            pod MTU  eth0
        |                                                |
      tunl0 tunnel MTU ---- links: link MTU ---- tunnel MTU tunl0

The cases are chosen so that small packets always get through.
"""

import csv
import json
from functools import partial
from pathlib import Path

import pytest

from calico_mn.measure.path_mtu import (
    FRAGMENTS,
    HANGS,
    LEARNS,
    PROBES,
    REFUSED,
    WORKS,
    Seen,
)
from calico_mn.measure.reading_log import load_readings
from calico_mn.measure.readings import Reading
from experiments.mtu import cases

from .conftest import run_script, topology

SCRIPT = Path(__file__).parents[2] / "experiments" / "mtu.py"
pytestmark = pytest.mark.root

NAMES = tuple(probe.name for probe in PROBES)


run = partial(run_script, SCRIPT)


# --- from what was seen to a word

@pytest.mark.parametrize(("seen", "word"), [
    pytest.param(Seen(3, 3, False, None, 0, 0, 0, 1500), WORKS, id="all pings"),
    pytest.param(Seen(2, 3, False, 1480, 1, 0, 4, 1496), LEARNS, id="the first ping teaches"),
    pytest.param(Seen(3, 3, False, None, 0, 0, 6, 1496), FRAGMENTS, id="in fragments"),
    pytest.param(Seen(0, 3, True, 1480, 1, 0, 0, 0), REFUSED, id="refused by the kernel"),
    pytest.param(Seen(0, 3, False, None, 0, 3, 0, 0), HANGS, id="no ping"),
    pytest.param(Seen(0, 3, False, 1480, 1, 0, 0, 1520), HANGS, id="taught in vain"),
    pytest.param(Seen(9, 9, False, None, 0, 0, 0, 1500, 0), WORKS, id="all of TCP"),
    pytest.param(Seen(8, 9, False, None, 0, 0, 0, 1500, 3), HANGS, id="a part of TCP"),
    pytest.param(Seen(9, 9, False, 1480, 9, 0, 0, 1500, 9), LEARNS, id="TCP is taught"),
])
def test_the_word_follows_from_what_was_seen(seen, word):
    assert seen.outcome == word


def reading(order, outcome, pod=1500):
    setting = {"pod_mtu": pod, "tunnel_mtu": 1480, "link_mtu": 1500, "icmp": "passes",
               "probe": "TCP"}
    return Reading(order, "probe", order, setting, {}, {"outcome": outcome}, {})


def test_repeats_that_disagree_are_marked():
    (case,) = cases([reading(1, WORKS), reading(2, HANGS), reading(3, HANGS)])
    assert case.outcomes == {"TCP": "hangs?"}
    assert case.pod > case.room


# --- the experiment itself

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run, and the directory of its results."""
    directory = tmp_path_factory.mktemp("run")
    small = topology(directory, a="node31", b="node32")
    output = directory / "results"
    done = run("--quick", "--duration", 0.3, "--pod-mtus", "1480,1500", "--tunnel-mtus", "1480",
               "--link-mtus", "1500,1460", "--topology", small, "--output", output)
    assert done.returncode == 0, done.stderr
    return done, output


@pytest.fixture(scope="module")
def found(finished):
    readings = load_readings(finished[1] / "results.jsonl")
    return {(case.pod, case.tunnel, case.link, case.icmp): case for case in cases(readings)}


def test_every_probe_is_sent_in_every_combination(found):
    assert list(found) == [(pod, 1480, link, icmp) for link in (1500, 1460)
                           for pod in (1480, 1500) for icmp in ("passes", "filtered")]
    assert all(tuple(case.outcomes) == NAMES for case in found.values())


def test_small_packets_get_through_everywhere(found):
    assert {case.outcomes[probe] for case in found.values()
            for probe in ("ping 84", "TCP 64")} == {WORKS}


@pytest.mark.parametrize("icmp", ["passes", "filtered"])
def test_pods_that_fit_need_no_icmp(found, icmp):
    assert set(found[1480, 1480, 1500, icmp].outcomes.values()) == {WORKS}


def test_with_icmp_a_pod_above_the_tunnel_learns_its_mtu(found):
    case = found[1500, 1480, 1500, "passes"]
    assert case.outcomes == {
        "ping 84": WORKS, "ping DF": REFUSED, "ping as UDP": LEARNS, "ping no DF": FRAGMENTS,
        "TCP 64": WORKS, "TCP": LEARNS, "TCP no DF": FRAGMENTS, "TCP GSO": LEARNS}
    assert case.of("TCP", "path_mtu") == case.of("ping DF", "path_mtu") == [1480]
    assert all(count > 0 for count in case.of("TCP", "frag_needed"))
    assert case.of("TCP", "fragments") == [0]
    # Learned: packets of 1480 bytes and the outer header.
    assert case.of("TCP", "largest_packet") == [1500]


def test_without_icmp_what_has_df_hangs(found):
    case = found[1500, 1480, 1500, "filtered"]
    assert case.outcomes == {
        "ping 84": WORKS, "ping DF": HANGS, "ping as UDP": HANGS, "ping no DF": FRAGMENTS,
        "TCP 64": WORKS, "TCP": HANGS, "TCP no DF": FRAGMENTS, "TCP GSO": HANGS}
    assert case.of("TCP", "frag_needed") == [0]
    assert all(count > 0 for count in case.of("TCP", "dropped"))
    assert case.of("TCP", "path_mtu") == []


def test_a_tunnel_above_its_link_teaches_what_the_link_leaves(found):
    case = found[1480, 1480, 1460, "passes"]
    assert (case.outcomes["TCP"], case.outcomes["ping DF"], case.outcomes["ping no DF"]) == (
        LEARNS, REFUSED, FRAGMENTS)
    assert case.of("TCP", "path_mtu") == [1440]


def test_a_tunnel_above_its_link_hangs_where_icmp_is_filtered(found):
    case = found[1480, 1480, 1460, "filtered"]
    assert case.outcomes["TCP"] == case.outcomes["ping DF"] == HANGS
    assert all(count > 0 for count in case.of("TCP", "dropped"))


def test_segments_are_packets_unless_offloads_are_on(found):
    for case in found.values():
        for probe in ("TCP", "TCP no DF"):
            assert all(size <= case.pod + 20 for size in case.of(probe, "largest_packet"))
    (size,) = found[1480, 1480, 1500, "passes"].of("TCP GSO", "largest_packet")
    assert size > 1500


def test_the_report_says_it_and_the_files_are_there(finished):
    done, output = finished
    text = " ".join(done.stdout.split())
    assert ("Where pod MTU <= tunl0 MTU <= link MTU - 20, 2 of 2 combinations carry every probe"
            in text)
    assert "Pods above tunl0, ICMP passes (1 combination): TCP (DF): learns;" in text
    assert "eth0 of default/a, eth0 of default/b" in text
    assert done.stderr == ""
    assert json.loads((output / "summary.json").read_text())["complete"] is True
    with open(output / "evidence.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 8 * len(PROBES)
    assert {"report.html", "outcomes.csv", "outcomes-passes.svg", "outcomes-filtered.png"} <= {
        path.name for path in output.iterdir()}


def test_a_run_is_taken_up_where_it_was_cut_short(finished, tmp_path):
    output = finished[1]
    whole = (output / "results.jsonl").read_text().splitlines(keepends=True)
    (output / "results.jsonl").write_text("".join(whole[:-2]))
    (output / "summary.json").unlink()  # else it counts as finished
    done = run("--resume", output)
    assert done.returncode == 0, done.stderr
    again = (output / "results.jsonl").read_text().splitlines(keepends=True)
    assert again[:-2] == whole[:-2]
    assert len(again) == len(whole)


def test_pods_of_one_node_are_refused(tmp_path):
    done = run("--quick", "--topology", topology(tmp_path, a="node31", b="node31"),
               "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "all pods are on one node" in done.stderr
    assert "Traceback" not in done.stderr


def test_vxlan_has_its_own_overhead_and_device(tmp_path):
    output = tmp_path / "out"
    done = run("--quick", "--duration", 0.3, "--encapsulation", "vxlan", "--link-mtus", 1500,
               "--topology", topology(tmp_path, a="node31", b="node32"), "--output", output)
    assert done.returncode == 0, done.stderr
    readings = load_readings(output / "results.jsonl")
    assert {reading.setting["encapsulation"] for reading in readings} == {"VXLAN"}
    outcomes = {(case.pod, case.tunnel, case.icmp): case.outcomes["TCP"]
                for case in cases(readings)}
    # The kernel gives vxlan.calico no MTU above 1450 here: pods of 1500 learn that.
    assert outcomes == {(pod, tunnel, icmp): WORKS if pod == 1450 else wrong
                        for tunnel in (1450, 1500) for pod in (1450, 1500)
                        for icmp, wrong in (("passes", LEARNS), ("filtered", HANGS))}
    text = " ".join(done.stdout.split())
    assert "Where pod MTU <= vxlan.calico MTU <= link MTU - 50, 2 of 2 combinations carry" in text
    assert "the MTU that the link allows: the kernel gave vxlan.calico no larger one." in text
    assert "tunl0" not in done.stdout and done.stderr == ""
