"""An experiment under sudo, killed at random moments: the results are the user's and readable.

     node31  a        node32                   node33  c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

The topology is one that root alone may read.
"""

import json
import os
import random
import signal
import subprocess
import time

import pytest
from support.nobody import SUDO, attempted, home, open_directory, roots
from support.patience import SLOWNESS, eventually

from calico_mn import results
from calico_mn.experiment import record
from calico_mn.kernel import cleanup

from .conftest import ROOT, command, left_behind, run, topology

pytestmark = [pytest.mark.root, pytest.mark.kills]

ENVIRONMENT = {**os.environ, **SUDO, "PYTHONPATH": str(ROOT)}
WHOLE = {"format": record.FORMAT, "experiment": "ipip-modes", "command": "", "arguments": [],
         "topology": ""}
WORDS = ("--quick", "--repeats", 2, "--duration", 0.05, "--modes", "Always", "--instruments", "rtt")


@pytest.fixture
def tmp_path():
    with open_directory() as path:
        yield path


@pytest.fixture
def theirs(tmp_path):
    return home(tmp_path)


@pytest.fixture
def private(tmp_path):
    path = topology(tmp_path, a="node31", c="node33")
    path.chmod(0o600)
    return path


def test_killed_at_any_moment_nothing_of_roots_is_left_and_it_goes_on(theirs, private):
    chance = random.Random(7)
    for number in range(3):
        process = subprocess.Popen(
            command(*WORDS, "--topology", private), cwd=theirs, env=ENVIRONMENT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            assert eventually(lambda number=number: (theirs / "results").is_dir() and len(
                list((theirs / "results").iterdir())) > number, 30, pause=0.001)
            time.sleep(chance.uniform(0, (0.01, 0.4, 1.5)[number]) * SLOWNESS)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert roots(theirs) == []
    cleanup.remove_all()
    last = max((theirs / "results").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    known = results.load(last).readings
    assert attempted(lambda: (last / "run.json").read_text()) == "done"
    done = run("--resume", last, cwd=theirs, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    found = results.load(last)
    assert found.complete and found.readings[:len(known)] == known
    assert roots(theirs) == []
    assert left_behind(process.pid) == []


@pytest.mark.parametrize(("mode", "copied"), [(0o600, 0o600), (0o640, 0o600), (0o644, 0o644)])
def test_the_copy_of_a_topology_is_as_private_as_the_topology(private, tmp_path, mode, copied):
    private.chmod(mode)
    place = tmp_path / "results"
    place.mkdir()
    before = os.umask(0o022)
    try:
        record.begin(place, "x", OPTIONS, private.read_text(), private=record.is_private(private))
    finally:
        os.umask(before)
    assert (place / "topology.yaml").stat().st_mode & 0o777 == copied
    assert (place / "topology.yaml").read_bytes() == private.read_bytes()


class OPTIONS:
    """As little of a command line as a record needs."""

    arguments = ()
    topology = "x.yaml"


def test_what_is_resumed_is_read_with_the_users_rights(theirs, private):
    (theirs / "topology.yaml").symlink_to(private)
    (theirs / "run.json").write_text(json.dumps(WHOLE))
    done = run("--resume", theirs, env=ENVIRONMENT)
    assert done.returncode == 2
    assert "topology.yaml: cannot be read: Permission denied" in done.stderr
    (theirs / "run.json").unlink()
    (theirs / "run.json").symlink_to(private)
    done = run("--resume", theirs, env=ENVIRONMENT)
    assert (done.returncode, done.stdout) == (2, "") and "holds no run.json" in done.stderr


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 2}', "\0", "5"])
def test_a_record_that_is_none_is_said_to_be_none(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    done = run("--resume", tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["arguments", "topology", "command"])
def test_words_of_a_record_that_are_no_words(tmp_path, name):
    (tmp_path / "run.json").write_text(json.dumps({**WHOLE, name: [1]}))
    done = run("--resume", tmp_path)
    assert done.returncode == 2 and "is not the record of a run" in done.stderr


def test_a_fifo_in_place_of_a_record_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    done = run("--resume", tmp_path)
    assert done.returncode == 2 and "holds no run.json" in done.stderr
