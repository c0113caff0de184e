"""The frame around every experiment, with a method that measures nothing real. No clusters."""

import csv
import json
import os
import signal

import pytest

from calico_mn import results
from calico_mn.errors import CalicoMnError, ClusterError, ToolError
from calico_mn.experiment import requirements
from calico_mn.experiment.frame import Experiment, Repetitions
from calico_mn.experiment.runner import run_experiment
from calico_mn.measure.readings import Measurement
from calico_mn.measure.trials import factorial, interleaved
from calico_mn.report.document import Document, Table

from .conftest import topology

SETTINGS = factorial(mode=("Always", "Never"), nodes=(3, 30))


class Method:
    """Reads a count for each trial; ``measured`` has the trials that were truly measured.

    ``before`` is called before each, with the number of those measured so far.
    """

    def __init__(self, before=lambda count: None, at_first=lambda: None):
        self.measured = []
        self._before = before
        self._at_first = at_first

    def measure(self, run):
        self._at_first()
        run.plan = {"settings": [dict(setting) for setting in SETTINGS]}
        for trial in interleaved(SETTINGS, run.repeats, run.options.seed):
            with run.trial(trial):
                run.measure("count", trial, lambda trial=trial: self._read(trial))

    def _read(self, trial):
        self._before(len(self.measured))
        self.measured.append((*trial.setting.values(), trial.repeat))
        return Measurement({"routes": trial["nodes"] - 1})


def report(run):
    run.notes["rows"] = [sample.row() for sample in run.log.samples]
    lines = tuple((s.mode, s.value) for s in run.log.samples)
    return Document("trial-run", "T", "Q?", (), (f"{len(lines)} values.",),
                    (Table("numbers", "Numbers", ("mode", "value"), lines),), (), (), (), {}, "",
                    cut_short=run.interruption.reason, failures=tuple(run.failures))


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Run an experiment with a method; its exit status."""
    monkeypatch.setattr(requirements, "require_root_and_programs", lambda: None)
    small = topology(tmp_path, a="node31", b="node32")

    def run(method, *arguments, name="trial-run"):
        experiment = Experiment(name, "A trial.", topology=str(small), full=Repetitions(2, 1),
                                quick=Repetitions(1, 0.3))
        return run_experiment(experiment, method.measure, report,
                              arguments=[str(word) for word in arguments])

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def interrupted(start, out, capsys):
    """A run that was interrupted after three readings."""
    method = Method(before=at(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert start(method, "--seed", 7, "--output", out) == 130
    assert len(method.measured) == 3
    capsys.readouterr()
    return method


def at(number, act):
    return lambda count: act() if count == number else None


def fail(error):
    def act():
        raise error
    return act


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


ALL = {(mode, nodes, repeat) for mode in ("Always", "Never") for nodes in (3, 30)
       for repeat in (1, 2)}


def test_a_run_writes_its_files_and_ends_well(start, out, capsys):
    method = Method()
    assert start(method, "--output", out) == 0
    assert set(method.measured) == ALL
    assert set(contents(out)) >= {
        "numbers.csv", "results.jsonl", "run.json", "summary.json", "topology.yaml"}
    found = results.load(out)
    assert found.complete
    assert found.about["cut_short"] is None
    assert len(found.rows) == len(found.about["rows"]) == 8
    with open(out / "numbers.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 9
    said, complaints = capsys.readouterr()
    assert "8 values." in said
    assert complaints == ""


def test_a_trial_that_fails_is_noted_and_tried_again_when_the_run_is_taken_up(
        start, out, capsys):
    method = Method(before=at(3, fail(ToolError("iperf3 is broken"))))
    assert start(method, "--output", out) == 1
    assert len(method.measured) == 3
    found = results.load(out)
    # Every trial was tried: nothing cut it short.
    assert (found.complete, len(found.readings), len(found.about["failures"])) == (True, 3, 5)
    assert "a trial failed: " in capsys.readouterr().err
    again = Method()
    assert start(again, "--resume", out) == 0
    assert set(again.measured) == ALL - set(method.measured)
    assert results.load(out).about["failures"] == []


# --- cut short, and taken up again


def test_a_run_that_was_interrupted_goes_on_where_it_was(start, out, interrupted, capsys):
    assert not results.load(out).complete
    method = Method()
    assert start(method, "--resume", out) == 0
    assert len(method.measured) == 5
    assert set(interrupted.measured) | set(method.measured) == ALL
    found = results.load(out)
    assert found.complete
    assert [reading.order for reading in found.readings] == list(range(1, 9))
    assert len(found.about["rows"]) == 8
    assert "8 values." in capsys.readouterr().out


def test_the_order_goes_on_by_the_seed_that_the_run_began_with(start, out, tmp_path, interrupted):
    start(Method(), "--resume", out)
    start(Method(), "--seed", 7, "--output", tmp_path / "whole")
    orders = [[(r.setting, r.repeat) for r in results.load(place).readings]
              for place in (out, tmp_path / "whole")]
    assert orders[0] == orders[1]


def test_a_run_may_be_cut_short_again_and_again(start, out, interrupted):
    for total in (4, 5):
        method = Method(before=at(1, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        assert start(method, "--resume", out) == 130
        assert len(results.load(out).readings) == total
    assert start(Method(), "--resume", out) == 0
    assert {(*r.setting.values(), r.repeat) for r in results.load(out).readings} == ALL


def test_a_torn_last_line_is_measured_again(start, out, interrupted):
    path = out / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-15])
    method = Method()
    assert start(method, "--resume", out) == 0
    assert len(method.measured) == 6
    assert interrupted.measured[2] in method.measured
    assert {(*r.setting.values(), r.repeat) for r in results.load(out).readings} == ALL


def test_a_finished_run_is_reported_again_and_nothing_measured(start, out):
    start(Method(), "--output", out)
    before = contents(out)
    for name in ("numbers.csv", "summary.json"):
        (out / name).unlink()
    method = Method()
    assert start(method, "--resume", out) == 0
    assert method.measured == []
    after = contents(out)
    assert set(after) == set(before)
    assert all(after[name] == before[name] for name in (
        "results.jsonl", "numbers.csv", "topology.yaml"))
    assert json.loads(after["summary.json"])["rows"] == json.loads(before["summary.json"])["rows"]


def test_a_finished_run_is_reported_again_without_measuring_and_without_root(
        start, out, monkeypatch):
    start(Method(), "--output", out)
    before = contents(out)
    for name in ("numbers.csv", "report.html"):
        (out / name).unlink()
    monkeypatch.setattr(requirements, "require_root_and_programs", fail(RuntimeError("root")))
    assert start(Method(at_first=fail(RuntimeError("measured"))), "--resume", out) == 0
    assert contents(out) == before


def test_a_plan_that_does_not_fit_is_an_error_in_a_line(start, out, monkeypatch):
    start(Method(), "--output", out)
    monkeypatch.setitem(globals(), "report", lambda run: run.plan["nothing"])
    with pytest.raises(CalicoMnError, match="do not fit together"):
        start(Method(), "--resume", out)


@pytest.mark.parametrize("change", [
    {"complete": False}, {"failures": ["x"]}, {"plan": {}}, {"plan": 1}, {"environment": None}])
def test_a_run_that_is_not_finished_is_not_reported_without_measuring(
        start, out, monkeypatch, change):
    start(Method(), "--output", out)
    summary = json.loads((out / "summary.json").read_text())
    (out / "summary.json").write_text(json.dumps({**summary, **change}))
    monkeypatch.setattr(requirements, "require_root_and_programs", fail(RuntimeError("root")))
    with pytest.raises(RuntimeError, match="root"):
        start(Method(), "--resume", out)


@pytest.mark.parametrize("spoil", [
    pytest.param(lambda path: path.unlink(), id="deleted"),
    pytest.param(lambda path: path.write_text("kind: Nonsense\n"), id="changed"),
])
def test_the_copy_of_the_topology_is_used(start, out, tmp_path, interrupted, spoil):
    copy = (out / "topology.yaml").read_bytes()
    spoil(tmp_path / "small.yaml")
    assert start(Method(), "--resume", out) == 0
    assert results.load(out).complete
    assert (out / "topology.yaml").read_bytes() == copy
    assert json.loads((out / "run.json").read_text())["topology"] == str(tmp_path / "small.yaml")


# --- what cannot be taken up, and what cannot begin


def test_a_run_is_not_taken_up_with_other_options(start, out, interrupted, capsys):
    before = contents(out)
    with pytest.raises(SystemExit) as caught:
        start(Method(), "--resume", out, "--repeats", 3)
    assert caught.value.code == 2
    assert "--resume goes on with the options that the run began with" in capsys.readouterr().err
    assert contents(out) == before


def test_a_run_of_another_experiment_is_not_taken_up(start, out, interrupted):
    before = contents(out)
    with pytest.raises(CalicoMnError, match="holds a run of trial-run, not of boot"):
        start(Method(), "--resume", out, name="boot-time")
    assert contents(out) == before


@pytest.mark.parametrize("make", [
    pytest.param(lambda path: path.mkdir(), id="an empty directory"),
    pytest.param(lambda path: None, id="none"),
    pytest.param(lambda path: path.write_text(""), id="a file"),
])
def test_what_holds_no_run_is_not_taken_up(start, out, make):
    make(out)
    with pytest.raises(CalicoMnError, match=r"holds no run\.json: give the directory"):
        start(Method(), "--resume", out)


def test_what_cannot_begin_leaves_nothing(start, out):
    method = Method(at_first=fail(ClusterError("too few pods")))
    with pytest.raises(ClusterError, match="too few pods"):
        start(method, "--output", out)
    assert not out.exists()


def test_an_interruption_at_boot_leaves_nothing(start, out, capsys):
    method = Method(at_first=lambda: os.kill(os.getpid(), signal.SIGINT))
    assert start(method, "--output", out) == 130
    assert capsys.readouterr().err == "Interrupted before anything was measured.\n"
    assert not out.exists()


@pytest.mark.parametrize("stop", [
    pytest.param(lambda: os.kill(os.getpid(), signal.SIGINT), id="interrupted"),
    pytest.param(fail(ClusterError("no tunnel here")), id="an error"),
])
def test_a_run_that_cannot_go_on_stays_as_it_was(start, out, interrupted, stop):
    before = contents(out)
    try:
        assert start(Method(at_first=stop), "--resume", out) == 130
    except ClusterError as error:
        assert str(error) == "no tunnel here"
    assert contents(out) == before


def test_readings_of_a_bug_in_the_method_are_not_lost(start, out):
    with pytest.raises(ZeroDivisionError):
        start(Method(before=at(2, lambda: 1 / 0)), "--output", out)
    found = results.load(out)
    assert (len(found.readings), found.complete) == (2, False)
    assert found.about["experiment"] == "trial-run"
    assert start(Method(), "--resume", out) == 0
    assert len(results.load(out).readings) == 8


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\x1b[2J\x1b]0;x\x07", "a\nb",
                                  "\u202egpj.yaml", "../../etc/x", "\ud800", "$(id)", "%s{0}"])
def test_what_a_forged_record_says_is_shown_as_words(start, out, interrupted, capsys, name):
    forged = json.loads((out / "run.json").read_text())
    forged |= {"topology": name, "command": name, "plan": name, "environment": {name: name}}
    (out / "run.json").write_text(json.dumps(forged))
    assert start(Method(), "--resume", out) == 0
    said = "".join(capsys.readouterr())
    assert "\x1b" not in said and "\x07" not in said and "\u202e" not in said
    assert "<script>alert" not in (out / "report.html").read_text()
    assert not [path for path in out.parent.rglob("*") if path.name in ("etc", "x")]


@pytest.mark.parametrize("arguments", [
    ["--colour"], ["--repeats", "-1"], ["--topology"], ["x\x1b[2J"],
    ["--output", ""], ["--seed", "9" * 5000], ["--repeats", "1e9"]], ids=" ".join)
def test_forged_arguments_are_refused_and_change_nothing(start, out, interrupted, capsys,
                                                         arguments):
    forged = {**json.loads((out / "run.json").read_text()), "arguments": arguments}
    (out / "run.json").write_text(json.dumps(forged))
    before = contents(out)
    with pytest.raises(SystemExit) as caught:
        start(Method(), "--resume", out)
    assert caught.value.code == 2
    assert "\x1b" not in capsys.readouterr().err
    assert contents(out) == before


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"kind: \"\\e[2J\"\n", None])
def test_a_damaged_copy_of_the_topology_is_refused_and_changes_nothing(start, out, interrupted,
                                                                       content):
    (out / "topology.yaml").unlink()
    if content is None:
        os.mkfifo(out / "topology.yaml")
    else:
        (out / "topology.yaml").write_bytes(content)
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(CalicoMnError) as caught:
        start(Method(), "--resume", out)
    assert str(caught.value).replace("\n", "").isprintable()
    assert sorted(path.name for path in out.iterdir()) == before


def test_a_forged_summary_is_shown_as_words(start, out, capsys):
    assert start(Method(), "--output", out) == 0
    for name in ("summary.json", "run.json"):
        forged = json.loads((out / name).read_text())
        forged["plan"] = {"settings": ["\x1b[2J<script>alert(1)</script>"], "\x1b[31m": "\u202e"}
        forged["environment"] = {"machine": {"kernel": "\x1b]0;x\x07<script>alert(1)</script>"}}
        forged["steal_share"] = None
        (out / name).write_text(json.dumps(forged))
    capsys.readouterr()
    assert start(Method(), "--resume", out) == 0
    assert "\x1b" not in "".join(capsys.readouterr())
    assert "<script>alert" not in (out / "report.html").read_text()
    assert "\x1b" not in (out / "report.html").read_text()
