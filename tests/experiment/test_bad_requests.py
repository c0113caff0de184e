"""Impossible options, odd streams and environments: one line, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from calico_mn.errors import (
    CalicoMnError,
    KernelError,
    NotFoundError,
    ToolError,
    UnsupportedError,
)
from calico_mn.experiment.arguments import Defaults, Repetitions, parse
from calico_mn.experiment.frame import exit_status
from experiments import ipip_modes

from .conftest import ROOT, SCRIPT

DEFAULTS = Defaults(Path("topologies/x.yaml"), Repetitions(6, 1), Repetitions(3, 0.3))
ARTICLE = str(ROOT / "topologies" / "article.yaml")
SECONDS = "is not a number of seconds from 0.05 to 3600"
REPEATS = "is not a whole number from 1 to 100000"


@pytest.mark.parametrize(("argument", "message"), [
    ("--repeats=", f"argument --repeats: '' {REPEATS}"),
    ("--repeats=-1", f"argument --repeats: '-1' {REPEATS}"),
    ("--repeats=1e9", f"argument --repeats: '1e9' {REPEATS}"),
    ("--repeats=99999999999999999999", f"argument --repeats: '99999999999999999999' {REPEATS}"),
    ("--repeats=\u0661", f"argument --repeats: '\u0661' {REPEATS}"),
    ("--duration=", f"argument --duration: '' {SECONDS}"),
    ("--duration=nan", f"argument --duration: 'nan' {SECONDS}"),
    ("--duration=inf", f"argument --duration: 'inf' {SECONDS}"),
    ("--duration=-1", f"argument --duration: '-1' {SECONDS}"),
    ("--duration=1e400", f"argument --duration: '1e400' {SECONDS}"),
    ("--duration=0,5", f"argument --duration: '0,5' {SECONDS}"),
    ("--seed=", "argument --seed: '' is not a whole number from 0 to 999999999"),
    ("--seed=1.5", "argument --seed: '1.5' is not a whole number from 0 to 999999999"),
    ("--modes=", "argument --modes: there is no mode '' (modes: Always, CrossSubnet, Never)"),
    ("--modes=always", "argument --modes: there is no mode 'always' (modes: Always,"
                       " CrossSubnet, Never); did you mean Always?"),
    ("--modes=Never,Never", "argument --modes: a mode is named twice in 'Never,Never'"),
    ("--modes=\x1b[2J", r"argument --modes: there is no mode '\x1b[2J' (modes: Always,"
                        " CrossSubnet, Never)"),
    ("--streams=nan", "argument --streams: 'nan' is not a whole number from 1 to 128"),
    ("--rates=inf", "argument --rates: 'inf' is not a whole number from 1 to 1000000, or topology"),
    ("--topology", "argument --topology: expected one argument"),
    ("--quick=yes", "argument --quick: ignored explicit argument 'yes'"),
    ("--rep=1", "unrecognized arguments: --rep=1"),
    ("--colour=red", "unrecognized arguments: --colour=red"),
    ("two-subnets.yaml", "unrecognized arguments: two-subnets.yaml"),
])
def test_an_option_that_cannot_be(argument, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse("", DEFAULTS, ipip_modes.experiment.factors, [argument])
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].partition(": error: ")[2] == message


def run(command, cwd=ROOT, **environment):
    """Through a shell, since it is shells that close and redirect."""
    return subprocess.run(
        ["/bin/sh", "-c", command, "sh", sys.executable, str(SCRIPT)], cwd=cwd,
        capture_output=True, text=True, errors="replace", timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "A": ARTICLE, **environment})


VALIDATE = '"$1" -m calico_mn validate'


@pytest.mark.parametrize(("command", "environment", "status"), [
    pytest.param(f"{VALIDATE} $A >&-", {}, 0, id="output closed"),
    pytest.param(f"{VALIDATE} $A <&- >&- 2>&-", {}, 0, id="all closed"),
    pytest.param(f"{VALIDATE} $A /none 2>&-", {}, 2, id="errors closed"),
    pytest.param(f"{VALIDATE} $A > /dev/full", {}, 1, id="output full"),
    pytest.param(f"{VALIDATE} /none 2> /dev/full", {}, 2, id="errors full"),
    pytest.param(f"{VALIDATE} $A", {"LC_ALL": "C", "PYTHONUTF8": "0",
                                    "PYTHONCOERCECLOCALE": "0"}, 0, id="ASCII"),
    pytest.param(f"{VALIDATE} $A", {"PYTHONOPTIMIZE": "2"}, 0, id="optimized"),
    pytest.param(f"unset HOME; {VALIDATE} $A", {}, 0, id="no home"),
    pytest.param(f"umask 0; COLUMNS=1 TERM=dumb NO_COLOR=1 {VALIDATE} $A", {}, 0, id="dumb"),
    pytest.param(f"mkdir gone && cd gone && rmdir ../gone && {VALIDATE} a", {}, 2, id="no cwd"),
    pytest.param('"$1" "$2" --topology /none', {"PYTHONOPTIMIZE": "2"}, 2,
                 id="experiment, optimized"),
    pytest.param('"$1" "$2" --topology /none >&- 2>/dev/full', {"LC_ALL": "C"}, 2,
                 id="experiment, no output"),
    pytest.param('"$1" "$2" --topology /', {"COLUMNS": "1", "TERM": "dumb"}, 2,
                 id="experiment, a directory"),
])
def test_odd_streams_and_environments(command, environment, status, tmp_path):
    done = run(command, tmp_path, **environment)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert done.stderr.count("\n") <= 3


def test_a_full_disk_is_said():
    assert run(f"{VALIDATE} $A > /dev/full").stderr == (
        "calico-mn: cannot go on: No space left on device\n")


def test_a_results_directory_that_disappears_is_said(tmp_path, capsys):
    def measure():
        (tmp_path / "gone" / "summary.json").write_text("{}")
        return 0

    assert exit_status(measure) == 1
    assert capsys.readouterr().err == (
        f"cannot go on: {tmp_path}/gone/summary.json: No such file or directory\n")


@pytest.mark.parametrize(("error", "status"), [
    (CalicoMnError("said"), 2), (NotFoundError("no such node"), 2), (ToolError("hung"), 1),
    (KernelError("refused"), 1), (UnsupportedError("nft is not installed"), 1),
    (OSError(28, "full"), 1), (OSError("odd"), 1)], ids=repr)
def test_an_error_is_one_line_and_a_status(error, status, capsys):
    def fail():
        raise error

    assert exit_status(fail) == status
    assert capsys.readouterr().err.count("\n") == 1
