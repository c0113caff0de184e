"""The main experiment taken up again after Ctrl-C and after a kill, with real clusters.

     node31  a        node32                   node33  c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

Tests of the frame alone, without a method, are in test_runner.py, and faster.
"""

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from support import rootless
from support.patience import SLOWNESS, eventually
from support.private_run import private_run

from calico_mn import results
from calico_mn.kernel import runtime_dir

from .conftest import command, key_of, left_behind, run, topology

pytestmark = pytest.mark.root

MODES = ("Always", "Never")
PATH = "cross-subnet"
REPEATS = (1, 2)

#: what the file holds by the time of the stroke
AFTER = {"matrices": '"reachable"', "trials": '"throughput"'}


def cut_short(directory, number, moment, entering=()):
    """Start a run in ``directory``, stop it by a signal at a ``moment``; its pid and status.

    ``entering`` comes before the command.
    """
    given = topology(directory, a="node31", c="node33")
    output = directory / "out"
    process = subprocess.Popen(
        [*entering, *command("--quick", "--repeats", 2, "--duration", 0.05, "--modes",
                             ",".join(MODES), "--instruments", "rtt,tcp", "--topology", given,
                             "--output", output)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    written = output / "results.jsonl"
    try:
        assert eventually(lambda: written.exists() and AFTER[moment] in written.read_text(),
                          60, pause=0.005)
        process.send_signal(number)
        process.wait(60 * SLOWNESS)
    finally:
        process.kill()
        process.wait()
    return process, output


def taken_up(output, entering=()):
    done = run("--resume", output, entering=entering)
    assert done.returncode == 0, done.stderr
    return done


def assert_whole(output, before):
    """Everything was measured once, and what was there before is there unchanged."""
    found = results.load(output)
    assert found.complete
    assert found.about["failures"] == []
    assert found.readings[:len(before)] == before
    assert [reading.order for reading in found.readings] == list(range(1, len(found.readings) + 1))
    assert set(Counter(map(key_of, found.readings)).values()) == {1}
    assert Counter((row["mode"], row["source"]) for row in found.rows
                   if row["metric"] == "reachable") == {
        (mode, source): 1 for mode in MODES for source in ("default/a", "default/c")}
    for metric in ("throughput", "latency"):
        assert Counter((row["mode"], row["path"], row["repeat"]) for row in found.rows
                       if row["metric"] == metric) == {
            (mode, PATH, repeat): 1 for mode in MODES for repeat in REPEATS}
    assert {(row["mode"], row["path"]) for row in found.about["rows"]} == {
        (mode, PATH) for mode in MODES}
    assert all(row["n"] == 2 for row in found.about["rows"] if row["metric"] == "throughput")
    return found


def end_what_is_left(pid):
    """After a kill: the run's directory, and a server that waits for its client for ever."""
    for name in left_behind(pid):
        if name.isdigit():
            os.kill(int(name), signal.SIGKILL)
        else:
            shutil.rmtree(name)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that was interrupted in the middle, and never touched after that."""
    process, output = cut_short(tmp_path_factory.mktemp("run"), signal.SIGINT, "trials")
    assert process.returncode == 130
    return output


@pytest.fixture(scope="module")
def resumed(interrupted, tmp_path_factory):
    """A copy of it, taken up again; the program, the directory, the readings of before."""
    output = tmp_path_factory.mktemp("again") / "out"
    shutil.copytree(interrupted, output)
    # The file that the run began with is gone and its copy is what counts.
    given = Path(json.loads((output / "run.json").read_text())["topology"])
    hidden = given.rename(given.with_suffix(".hidden"))
    before = results.load(output).readings
    done = taken_up(output)
    hidden.rename(given)
    return done, output, before


def test_after_ctrl_c_a_run_goes_on_and_nothing_is_lost_or_measured_twice(resumed):
    _, output, before = resumed
    assert 0 < len(before) < len(results.load(output).readings)
    found = assert_whole(output, before)
    assert found.about["cut_short"] is None
    assert {path.name for path in output.glob("logs*")} == {"logs", "logs-2"}


def test_a_run_that_went_on_names_the_topology_that_it_began_with(resumed, interrupted):
    done, output, _ = resumed
    given = json.loads((interrupted / "run.json").read_text())["topology"]
    assert results.load(output).environment["cluster"]["topology"] == given
    assert results.load(output).environment["cluster"]["topology_sha256"] == (
        results.load(interrupted).environment["cluster"]["topology_sha256"])
    assert Path(given).name in done.stdout
    assert done.stderr == ""


def test_a_run_that_is_finished_is_not_measured_again(resumed, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(resumed[1], output)
    (output / "summary.json").unlink()
    (output / "summary.csv").unlink()
    written = (output / "results.jsonl").read_bytes()
    taken_up(output)
    assert (output / "results.jsonl").read_bytes() == written
    assert_whole(output, results.load(resumed[1]).readings)
    assert (output / "summary.csv").read_bytes() == (resumed[1] / "summary.csv").read_bytes()


@pytest.mark.kills
@pytest.mark.parametrize("moment", AFTER)
def test_a_run_that_was_killed_is_readable_and_goes_on(tmp_path, monkeypatch, moment):
    # The next start would say that it cleaned up after this one: no other test's sees it.
    with private_run(tmp_path) as private:
        monkeypatch.setattr(runtime_dir, "MACHINE", private.runs)
        process, output = cut_short(tmp_path, signal.SIGKILL, moment, private.entering)
        assert process.returncode == -signal.SIGKILL
        try:
            found = results.load(output)
            assert found.readings
            assert not found.complete
            assert found.environment["cluster"]["nodes"] == 3
            assert found.about["experiment"] == "ipip-modes"
            assert not (output / "summary.json").exists()
            taken_up(output, private.entering)
            assert_whole(output, found.readings)
        finally:
            end_what_is_left(process.pid)


@pytest.mark.parametrize(("arguments", "text"), [
    pytest.param(["--repeats", "3"], "--resume goes on with the options", id="other options"),
    pytest.param(["--quick"], "--resume goes on with the options", id="even the same ones"),
])
def test_other_options_are_refused(interrupted, arguments, text):
    before = {path: path.read_bytes() for path in interrupted.iterdir() if path.is_file()}
    done = run(*arguments, "--resume", interrupted)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in interrupted.iterdir() if path.is_file()} == before


def test_what_holds_no_run_is_refused_in_a_line(tmp_path):
    done = run("--resume", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"{tmp_path}: holds no run.json: give the directory of a run that was"
                           " cut short\n")


def test_a_finished_run_is_reported_again_without_root(tmp_path):
    output = tmp_path / "out"
    done = run("--quick", "--repeats", 1, "--duration", 0.05, "--modes", "Always",
               "--instruments", "rtt,tcp", "--topology",
               topology(tmp_path, a="node31", c="node33"), "--output", output)
    assert done.returncode == 0, done.stderr
    before = {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}
    (output / "report.html").unlink()
    again = subprocess.run([*rootless.prefix(), *command("--resume", output)], text=True,
                           capture_output=True, timeout=60 * SLOWNESS, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()} == before
