"""What an experiment says where it cannot run, and where its files go. No root."""

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from calico_mn.errors import CalicoMnError
from calico_mn.experiment import record
from calico_mn.experiment.arguments import Defaults, Repetitions, parse
from calico_mn.experiment.record import output_directory
from calico_mn.experiment.run import Run
from experiments import ipip_modes

from .conftest import ROOT, SCRIPT

DEFAULTS = Defaults(Path("topologies/x.yaml"), Repetitions(6, 1), Repetitions(3, 0.3))
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


@pytest.mark.parametrize(("words", "may"), [([], False), (["--raise-neighbour-limit"], True)])
def test_the_machines_neighbour_limit_is_raised_only_when_asked(words, may, monkeypatch):
    given = []
    monkeypatch.setattr("calico_mn.experiment.run.CalicoNet",
                        lambda *_args, **options: given.append(options) or pytest.fail("made"))
    run = Run("x", parse("", DEFAULTS, arguments=words), None, "", Path(), None, None, None)
    for boot in (lambda: run._boot(None, None, 2), lambda: run.temporary_cluster(None).__enter__()):
        with pytest.raises(pytest.fail.Exception, match="made"):
            boot()
    assert [options["raise_neighbour_limit"] for options in given] == [may, may]


def test_without_root_the_command_to_type_is_printed():
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


def read(*arguments):
    return parse("", DEFAULTS, ipip_modes.experiment.factors, list(arguments))


@pytest.mark.parametrize(("arguments", "effort"), [
    pytest.param([], DEFAULTS.full, id="defaults"),
    pytest.param(["--quick"], DEFAULTS.quick, id="quick"),
    pytest.param(["--quick", "--repeats", "7"], Repetitions(7, 0.3), id="quick, with a wish"),
    pytest.param(["--duration", "0.5"], Repetitions(6, 0.5), id="duration"),
])
def test_effort(arguments, effort):
    assert read(*arguments).repetitions == effort


def test_an_experiment_without_options_of_its_own():
    assert parse("", DEFAULTS, arguments=[]).topology == DEFAULTS.topology


@pytest.mark.parametrize(("option", "text", "levels"), [
    ("modes", "Never, Always", ("Never", "Always")),
    ("streams", "8,1,8", (8, 1)),
    ("pod-mtus", "auto, 1500", (0, 1500)),
    ("rates", "topology,100", (0, 100)),
    ("tunnels", "ebpf,kernel,ebpf", ("ebpf", "kernel")),
])
def test_levels_keep_their_order(option, text, levels):
    assert read(f"--{option}", text).levels[f"--{option}"] == levels


@pytest.mark.parametrize(("option", "text", "message"), [
    ("streams", "0", "'0' is not a whole number from 1 to 128"),
    ("streams", "1,,2", "'' is not a whole number from 1 to 128"),
    ("streams", "two", "'two' is not a whole number from 1 to 128"),
    ("pod-mtus", "100", "'100' is not a whole number from 576 to 65535, or auto"),
    ("rates", "-5", "'-5' is not a whole number from 1 to 1000000, or topology"),
    ("tunnels", "kernel,gre", "'gre' is none of kernel, ebpf"),
    ("modes", "never", "there is no mode 'never'"),
])
def test_levels_that_cannot_be(option, text, message, capsys):
    with pytest.raises(SystemExit) as caught:
        read(f"--{option}={text}")
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    ["--quick", "--output", "here", "--seed", "3"],
    ["--output=here", "--quick", "--seed", "3"],
])
def test_what_a_run_was_asked_for_is_kept_less_where_its_files_went(arguments):
    assert read(*arguments).arguments == ("--quick", "--seed", "3")


@pytest.mark.parametrize("arguments", [["--resume", "DIR"], ["--resume=DIR"]])
def test_a_run_is_taken_up_by_its_directory_alone(arguments):
    assert read(*arguments).resume == Path("DIR")


@pytest.mark.parametrize("arguments", [
    ["--resume", "DIR", "--quick"], ["--quick", "--resume=DIR"], ["--resume=DIR", "--seed=2"],
    ["--seed=2", "--resume", "DIR"], ["--streams", "2", "--resume", "DIR"],
    ["--resume=DIR", "--output=other"],
])
def test_a_run_is_not_taken_up_with_other_options(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        read(*arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(
        ": error: --resume goes on with the options that the run began with: give no others but"
        " --on\n")


# --- the record of a run


def begun(directory, *arguments):
    directory.mkdir(exist_ok=True)
    topology = directory.parent / "a.yaml"
    topology.write_text("kind: Underlay\n")
    return record.begin(directory, "trial-run", read("--topology", str(topology), *arguments),
                        topology.read_text(), private=record.is_private(topology))


def test_a_record_is_read_as_it_was_written(tmp_path):
    written = begun(tmp_path / "run", "--quick")
    assert record.read(tmp_path / "run", "trial-run") == written
    assert written.arguments == ("--topology", str(tmp_path / "a.yaml"), "--quick")
    assert (tmp_path / "run" / "topology.yaml").read_text() == "kind: Underlay\n"


def test_of_two_runs_that_found_one_directory_empty_the_second_is_refused(tmp_path):
    written = begun(tmp_path / "run", "--quick")
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(CalicoMnError, match=rf"^{re.escape(str(tmp_path / 'run'))}: another run has"
                                            r" begun to write its results here: name another"):
        begun(tmp_path / "run", "--seed", "7")
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    assert record.read(tmp_path / "run", "trial-run") == written


def test_what_becomes_known_is_added(tmp_path):
    written = begun(tmp_path / "run")
    record.add(tmp_path / "run", {"plan": {"modes": ["Never"]}})
    record.add(tmp_path / "run", {"environment": {"cpus": 2}})
    found = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (found["plan"], found["environment"]) == ({"modes": ["Never"]}, {"cpus": 2})
    assert record.read(tmp_path / "run", "trial-run") == written
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "run.json", "topology.yaml"]


def test_a_record_that_is_taken_back_leaves_what_it_did_not_write(tmp_path):
    begun(tmp_path / "run")
    (tmp_path / "run" / "mine").touch()
    record.discard(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]
    (tmp_path / "run" / "mine").unlink()
    record.discard(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("text", "message"), [
    pytest.param(None, ": holds no run.json: give the directory of a run that was cut short",
                 id="none"),
    pytest.param("{", "/run.json: cannot be read: ", id="no JSON"),
    pytest.param("[]", "/run.json: names no format of results", id="a list"),
    pytest.param('{"format": 3}', "/run.json: has format 3, and this calico_mn reads up to 2",
                 id="later"),
    pytest.param('{"format": 2}', "/run.json: is not the record of a run", id="not a record"),
    pytest.param('{"format": 2, "experiment": "boot-time", "command": "", "arguments": [],'
                 ' "topology": ""}', ": holds a run of boot-time, not of trial-run",
                 id="another experiment"),
])
def test_records_that_cannot_be_read(tmp_path, text, message):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(CalicoMnError) as caught:
        record.read(tmp_path, "trial-run")
    assert str(caught.value).startswith(f"{tmp_path}{message}")
