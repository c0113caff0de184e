"""A command that is forked from a Python that has imported all answers as one that starts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from support.warm import WARM, Warm

from .conftest import LAB, PROGRAM, ROOT, environment


@pytest.mark.parametrize(("words", "stdin"), [
    (["--help"], ""), ([], ""), (["nosuch"], ""), (["validate", "-"], LAB.read_text()),
    (["validate", "-"], "kind: Nonsense"), (["graph", LAB.name, "--mode", "Never"], ""),
    (["status", "--run", "nosuch"], ""),
], ids=lambda value: " ".join(value) if isinstance(value, list) else value[:14])
def test_it_answers_as_a_cold_one(words, stdin):
    variables = environment(COLUMNS="90")
    cold = subprocess.run([*PROGRAM, *words], input=stdin, text=True, capture_output=True,
                          timeout=60, cwd=LAB.parent, env=variables)
    warm = WARM.run(words, stdin=stdin, environment=variables, cwd=LAB.parent)
    # Runs of other tests come and go.
    said, expected = (done.stderr.partition("; running: ")[0] for done in (warm, cold))
    assert (warm.args, warm.returncode, warm.stdout, said) == (
        cold.args, cold.returncode, cold.stdout, expected)
    assert cold.stdout or cold.stderr


def test_several_at_once_keep_their_streams_apart(tmp_path):
    answers = {}

    def ask(node):
        answers[node] = WARM.run(["plan", str(LAB), "--json"], environment=environment(),
                                 cwd=tmp_path, stdin=str(node)).stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3 and len(set(answers.values())) == 1 and '"namespace"' in answers[0]


def test_one_that_takes_too_long_is_ended():
    with pytest.raises(subprocess.TimeoutExpired, match="graph"):
        WARM.run(["graph", str(LAB)], environment=environment(), cwd=ROOT, timeout=0.0001)


def test_its_python_ends_with_it():
    warm = Warm()
    assert warm.run(["version"], environment=environment(), cwd=ROOT).returncode == 0
    pid = warm._server.pid
    assert os.readlink(f"/proc/{pid}/exe") == os.path.realpath(sys.executable)
    warm.close()
    assert not os.path.exists(f"/proc/{pid}")
