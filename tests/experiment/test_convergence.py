"""How long convergence takes: what is measured, and that each event ends with the right routes."""

import csv
import json
from collections import Counter
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import pytest
from support.engines import NEEDS_BIRD

from calico_mn.bgp.timers import CALICO, SHORT, read_timers
from calico_mn.errors import UnsupportedError
from calico_mn.measure.incidents import (
    BOOT,
    CUT,
    EVENTS,
    KILLED,
    MODE_CHANGE,
    NEW_BLOCK,
    REFLECTOR,
    REMOVED,
    RESTART,
    events_of,
)
from calico_mn.measure.reading_log import load_readings
from calico_mn.measure.readings import Reading
from calico_mn.report.document import format_cell
from calico_mn.text import duration
from experiments.convergence import (
    ENGINES,
    Results,
    chosen_engines,
    findings,
    loss_table,
    times_table,
)

from .conftest import ROOT, run_script

SCRIPT = ROOT / "experiments" / "convergence.py"
SETS = {"calico": CALICO, "short": SHORT, "bfd": read_timers("bfd=300")}
ALWAYS = [BOOT, NEW_BLOCK, MODE_CHANGE, RESTART, REMOVED]


run = partial(run_script, SCRIPT)


# --- what is measured

@pytest.mark.parametrize(("timers", "peerings", "course", "asked", "wanted"), [
    pytest.param("none", "mesh", "one", EVENTS, [*ALWAYS, KILLED], id="a mesh has no reflector"),
    pytest.param("none", "reflectors", "one", EVENTS, [*ALWAYS, KILLED, REFLECTOR],
                 id="reflectors"),
    pytest.param("none", "mesh", "two", EVENTS, [BOOT, CUT], id="a cable apart"),
    pytest.param("calico", "mesh", "one", EVENTS, ALWAYS, id="240 s are not waited for"),
    pytest.param("calico", "mesh", "two", EVENTS, [], id="and no cluster boots for it"),
    pytest.param("short", "mesh", "one", EVENTS, [*ALWAYS, KILLED], id="9 s are waited for"),
    pytest.param("bfd", "mesh", "two", EVENTS, [BOOT, CUT], id="BFD ends a hold time of 240 s"),
    pytest.param("none", "mesh", "one", [KILLED], [KILLED], id="one event"),
    pytest.param("none", "mesh", "two", [CUT], [CUT], id="the cable alone"),
    pytest.param("none", "mesh", "two", [BOOT], [], id="a boot alone is in the other cluster"),
])
def test_the_events_of_a_cluster(timers, peerings, course, asked, wanted):
    assert events_of(course, asked, SETS.get(timers), reflectors=peerings == "reflectors") == wanted


@pytest.mark.parametrize(("asked", "engine", "is_there", "chosen"), [
    pytest.param((), "builtin", True, ("builtin", "bird"), id="both"),
    pytest.param((), "bird", True, ("bird",), id="the one of --engine"),
    pytest.param(("builtin",), "builtin", True, ("builtin",), id="asked for by name"),
    pytest.param((), "builtin", False, ("builtin",), id="without BIRD"),
    pytest.param(("builtin",), "builtin", False, ("builtin",), id="without BIRD, not asked for"),
    pytest.param(("builtin", "bird"), "builtin", False, None, id="without BIRD, asked for"),
])
def test_bird_is_left_out_with_a_sentence_unless_it_was_asked_for(
        monkeypatch, asked, engine, is_there, chosen):
    def program():
        if not is_there:
            raise UnsupportedError("there is no program bird")
        return "/usr/sbin/bird"

    class Asked:
        options = SimpleNamespace(engine=engine)

        def __getitem__(self, factor):
            assert factor is ENGINES
            return asked

    monkeypatch.setattr("calico_mn.kernel.bird.program", program)
    if chosen is None:
        with pytest.raises(UnsupportedError, match="no program bird"):
            chosen_engines(Asked())
    else:
        assert chosen_engines(Asked()) == (chosen, [] if is_there else [
            "Not measured: BIRD, since there is no program bird."])


# --- what the report says

@pytest.mark.parametrize(("milliseconds", "words"), [
    (0.0, "0 ms"), (1.234, "1.23 ms"), (999.0, "999 ms"), (1345.0, "1.34 s"), (240e3, "240 s")])
def test_times_in_words(milliseconds, words):
    assert duration(milliseconds) == words


def results(*events, peerings=("mesh",)):
    """Of a built-in engine, and of BIRD with two sets of timers; (series, event, ms, lost)."""
    plan = {"engines": ["builtin", "bird"], "nodes": [6], "peerings": list(peerings),
            "events": list(EVENTS), "timers": {
                "calico": asdict(CALICO), "short": asdict(SHORT)}}
    readings = []
    for order, (timers, event, took, lost) in enumerate(events):
        setting = {"engine": "builtin" if timers == "none" else "bird", "timers": timers,
                   "peerings": peerings[0], "nodes": 6, "course": "one", "event": event}
        readings.append(Reading(order, "routes", 1, setting, {}, {"convergence": took},
                                {"node_ms": [took]}))
        readings += [Reading(order, "stream", 1, {**setting, "path": path}, {},
                             {"lost": count, "sent": 100, "gap": count * 2.0}, {})
                     for path, count in zip(("same-subnet", "cross-subnet"), lost, strict=True)]
    return Results(readings, plan)


def test_a_loss_that_is_not_waited_for_is_in_brackets():
    table = times_table(results(("none", KILLED, 2.0, (0, 0)), ("short", KILLED, 8000.0, (0, 0))))
    assert [(*row[:2], format_cell(row[2])) for row in table.rows if row[0] == KILLED] == [
        (KILLED, "Built-in", "2.00 ms"), (KILLED, "BIRD, calico", "(240 s)"),
        (KILLED, "BIRD, short", "8.00 s")]
    assert not any(row[0] == REFLECTOR for row in table.rows), "there is none in a mesh"


def test_packets_are_counted_by_path_and_a_parted_pair_is_not_said_to_lose_some():
    measured = results(("none", MODE_CHANGE, 2.0, (3, 0)), ("none", CUT, 2.0, (0, 100)),
                       ("short", MODE_CHANGE, 2.0, (0, 0)))
    (table,) = loss_table(measured)
    assert table.rows == ((MODE_CHANGE, "Built-in", "same-subnet", 3, 6.0),)
    said = list(findings(measured))
    assert ("Built-in: of 300 packets between pods that stay connected, 3 were lost at mode-change."
            in said)
    assert "BIRD, short: of 200 packets between pods that stay connected, none was lost." in said


def test_without_losses_there_is_no_table_of_them():
    assert not list(loss_table(results(("none", CUT, 2.0, (0, 100)))))


def test_findings_name_what_a_timer_says():
    said = list(findings(results(("short", KILLED, 8000.0, (0, 0)))))
    assert ("BIRD, short: a loss in silence is over 8.00 s after it, where its timers say"
            " 3.75 to 9 s for each session." in said)
    assert ("With Calico's default hold time of 240 s each session ends 100 to 240 s after a loss"
            " in silence, and the last one counts." in said)


# --- from end to end

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """All events with the built-in engine, behind reflectors, and the directory of the results."""
    output = tmp_path_factory.mktemp("run") / "results"
    done = run("--quick", "--engines", "builtin", "--peerings", "reflectors", "--duration", 0.1,
               "--events", ",".join(EVENTS), "--packets", 200, "--output", output,
               "--seed", 5)  # the cluster of few events comes last
    assert done.returncode == 0, done.stderr
    return done, output


@pytest.mark.root
def test_every_event_is_measured_once_and_concerns_the_nodes_that_it_should(finished):
    readings = load_readings(finished[1] / "results.jsonl")
    changed = {r.setting["event"]: r.values["nodes_changed"] for r in readings
               if r.instrument == "routes" and r.setting["course"] == "one"}
    # Each rack has three nodes. node4 is where a pod and a daemon come, node6 and node5 go, node2
    # is a reflector; in CrossSubnet the routes within a rack are other ones.
    assert changed == {BOOT: 6, NEW_BLOCK: 6, MODE_CHANGE: 6, RESTART: 1, REMOVED: 5, KILLED: 4,
                       REFLECTOR: 3}
    assert [r.values["nodes_changed"] for r in readings if r.setting["event"] == CUT
            and r.instrument == "routes"] == [6]
    assert Counter(r.setting["event"] for r in readings if r.instrument == "stream") == {
        event: 4 for event in EVENTS if event != BOOT}
    for reading in readings:
        if reading.instrument == "routes":
            assert reading.values["convergence"] == max(reading.series["node_ms"]) > 0


@pytest.mark.root
def test_only_what_is_parted_loses_packets(finished):
    for reading in load_readings(finished[1] / "results.jsonl"):
        if reading.instrument == "stream" and reading.setting["event"] != MODE_CHANGE:
            is_parted = (reading.setting["event"], reading.setting["path"]) == (CUT, "cross-subnet")
            assert reading.values["lasting_loss"] == int(is_parted), reading
            assert is_parted or reading.values["lost"] == 0, reading


@pytest.mark.root
def test_the_report_says_it_and_the_files_are_there(finished):
    done, output = finished
    text = " ".join(done.stdout.split())
    assert "Built-in: 6 nodes have their routes after" in text and "240 s" not in text
    assert done.stderr == ""
    assert json.loads((output / "summary.json").read_text())["complete"] is True
    with open(output / "times.csv", encoding="utf-8", newline="") as file:
        assert [row["event"] for row in csv.DictReader(file)] == list(EVENTS)
    assert {"report.html", "convergence.csv", "announced.svg", "silent.png"} <= {
        path.name for path in output.iterdir()}


@pytest.mark.root
def test_a_run_is_taken_up_where_it_was_cut_short(finished):
    results = finished[1] / "results.jsonl"
    whole = results.read_text().splitlines(keepends=True)
    results.write_text("".join(whole[:-5]))  # all of the last cluster but its boot
    (finished[1] / "summary.json").unlink()  # else it counts as finished
    done = run("--resume", finished[1])
    assert done.returncode == 0, done.stderr
    assert results.read_text().startswith("".join(whole[:-5]))
    assert Counter((r.instrument, r.setting["event"]) for r in load_readings(results)) == Counter(
        (line["instrument"], line["setting"]["event"]) for line in map(json.loads, whole[1:]))


@pytest.mark.root
@NEEDS_BIRD
def test_bfd_notices_a_dead_node_long_before_the_hold_time(tmp_path):
    done = run("--quick", "--engines", "bird", "--engine", "bird", "--bird-timers",
               "short,hold=240,bfd=100", "--events", "mode-change,node-killed", "--duration", 0.1,
               "--packets", 200, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "where its timers say 0.2 to 0.3 s for each session" in " ".join(done.stdout.split())
    changed = {r.setting["event"]: r.values["nodes_changed"]
               for r in load_readings(tmp_path / "out" / "results.jsonl")
               if r.instrument == "routes"}
    assert changed == {MODE_CHANGE: 6, KILLED: 5}
    environment = json.loads((tmp_path / "out" / "summary.json").read_text())["environment"]
    assert environment["versions"]["bird"].startswith("BIRD version 2")


@pytest.mark.root
@pytest.mark.parametrize(("arguments", "status", "said"), [
    pytest.param(["--nodes", "5"], 2, "'5' is not a whole number from 6 to 200", id="five nodes"),
    pytest.param(["--events", "reboot"], 2, "'reboot' is none of boot, new-block",
                 id="an unknown event"),
    pytest.param(["--engines", "builtin", "--events", "reflector-lost", "--peerings", "mesh"], 2,
                 "none of reflector-lost can be measured with what was asked for: reflector-lost"
                 " needs reflectors", id="no reflector"),
])
def test_what_cannot_be_measured_is_said(tmp_path, arguments, status, said):
    done = run("--quick", *arguments, "--output", tmp_path / "out")
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert said in " ".join(done.stderr.split())
