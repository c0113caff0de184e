"""What an experiment says where it cannot run, and where its files go. No root."""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from calico_mn.errors import CalicoMnError
from calico_mn.experiment.options import FULL, QUICK, parse
from calico_mn.experiment.output import output_directory

from .conftest import ROOT, SCRIPT

NOW = datetime(2026, 1, 2, 3, 4, 5)
BARE = [sys.executable, "-I", "-S"]
"""A Python that has nothing but its standard library."""


def run_bare(script, cwd, **environment):
    return subprocess.run([*BARE, str(script), "--quick"], cwd=cwd, capture_output=True, text=True,
                          timeout=60, env={**os.environ, **environment})


def test_a_python_that_lacks_modules_names_the_command_to_run(tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    done = run_bare(SCRIPT, "/", CALICO_MN_VENV=str(tmp_path / "venv"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "lacks the module" in done.stderr
    assert "; run: sudo " in done.stderr
    assert done.stderr.endswith("/venv/bin/python " + str(SCRIPT).lstrip("/") + " --quick\n")


def test_without_a_virtual_environment_it_names_the_installer(tmp_path):
    done = run_bare(SCRIPT, tmp_path, CALICO_MN_VENV=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(f"; run first: {ROOT / 'install.sh'}\n")


def test_a_script_that_was_copied_away_says_so(tmp_path):
    copy = tmp_path / "ipip_modes.py"
    copy.write_text(SCRIPT.read_text())
    done = run_bare(copy, tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "run it where it lies" in done.stderr


def test_who_is_not_root_is_told_the_command():
    code = (f"import os, runpy, sys; os.geteuid = lambda: 1000; sys.argv = [{str(SCRIPT)!r}];"
            f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("making network namespaces needs root; run: sudo ")
    assert done.stderr.endswith(" experiments/ipip_modes.py\n")
    assert done.stderr.count("\n") == 1


def test_results_get_a_directory_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = output_directory(None, "ipip-modes", NOW)
    second = output_directory(None, "ipip-modes", NOW)
    assert first == Path("results/ipip-modes-20260102-030405")
    assert second == Path("results/ipip-modes-20260102-030405-2")
    assert second.is_dir()


def test_an_empty_directory_may_be_named(tmp_path):
    assert output_directory(tmp_path, "x", NOW) == tmp_path
    assert output_directory(tmp_path / "a" / "b", "x", NOW).is_dir()


def test_a_directory_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CalicoMnError) as caught:
        output_directory(tmp_path, "x", NOW)
    assert str(caught.value) == (f"{tmp_path} is not empty, and results are never overwritten:"
                                 " name another directory with --output")


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CalicoMnError, match=r"^cannot write results to .*file.*--output$"):
        output_directory(tmp_path / "file", "x", NOW)


@pytest.mark.parametrize(("arguments", "effort"), [
    pytest.param([], FULL, id="defaults"),
    pytest.param(["--quick"], QUICK, id="quick"),
    pytest.param(["--quick", "--repeats", "7"], type(QUICK)(7, QUICK.duration),
                 id="quick, with a wish"),
    pytest.param(["--duration", "0.5"], type(FULL)(FULL.repeats, 0.5), id="duration"),
])
def test_effort(arguments, effort):
    assert parse("", Path("topologies/x.yaml"), arguments).effort == effort


def test_modes_keep_their_order():
    assert parse("", Path("x/y"), ["--modes", "Never, Always"]).modes == ("Never", "Always")
