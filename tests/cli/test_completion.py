"""The shell's Tab: candidates, and real shells that ask for them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from calico_mn.cli import verbs

from .conftest import PROGRAM, ROOT, calico_mn, environment
from .terminal import Terminal


@pytest.fixture
def on_path(tmp_path: Path) -> str:
    """A PATH on which calico-mn is."""
    program = tmp_path / "bin" / "calico-mn"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:/usr/bin:/bin"


@pytest.fixture
def candidates(tmp_path: Path):
    def ask(*words: str, **changes: str) -> list[str]:
        """What the shell's function gets from calico-mn, one a line."""
        line = shlex.join(["calico-mn", *words]).replace("''", "")
        answer = tmp_path / "answer"
        done = calico_mn(_ARGCOMPLETE="1", _ARGCOMPLETE_IFS="\n", _ARGCOMPLETE_SHELL="bash",
                         _ARGCOMPLETE_SUPPRESS_SPACE="1", _ARGCOMPLETE_STDOUT_FILENAME=str(answer),
                         COMP_LINE=line, COMP_POINT=str(len(line)), **changes)
        assert (done.returncode, done.stdout) == (0, ""), done
        return answer.read_text().split()

    return ask


@pytest.mark.parametrize(("words", "expected"), [
    (["ca"], ["capture"]), (["st"], ["status"]), (["--v"], ["--version"]),
    (["up", "topologies/art"], ["topologies/article.yaml"]),
    (["up", "--name", "x"], []), (["up", "--det"], ["--detach"]),
    (["up", "--mode", ""], ["Always", "CrossSubnet", "Never"]),
    (["validate", "a", "topologies/art"], ["topologies/article.yaml"]),
    (["mode", "N"], ["Never"]), (["completion", "z"], ["zsh"]), (["pod", "a"], ["add"]),
    (["pod", "add", "x", "--n"], ["--node"]), (["nosuch", "x"], []), (["exec", "x", "--", "l"], []),
    (["list", ""], []), (["get", "ippo"], ["ippool", "ippools"]), (["get", "all"], ["all"]),
    (["apply", "-f", "topologies/art"], ["topologies/article.yaml"]),
    (["delete", "sts"], ["sts"]),
], ids=str)
def test_candidates_without_a_run(candidates, words, expected):
    assert candidates(*words) == expected


def test_every_verb_is_a_candidate(candidates):
    assert set(candidates("")) == set(verbs.public())
    assert set(candidates("--")) == {"--help", "--version"}


@pytest.mark.root
@pytest.mark.parametrize(("words", "expected"), [
    (["exec", "no"], ["node31", "node32", "node33"]), (["exec", "shop"], ["shop/c"]),
    (["mode", "Never", "--node", "node3"], ["node31", "node32", "node33"]),
    (["pod", "delete", "de"], ["default/a", "default/b"]), (["ping", "default/a", "r"],
                                                            ["r1", "rack-a", "rack-b"]),
    (["bgp", "d"], []), (["shell", "c"], ["c"]), (["get", "ippools", ""], ["pool"]),
    (["delete", "po", "a"], ["a"]), (["mode", "Never", "--pool", ""], ["pool"]),
    (["get", "po", ""], ["a", "b", "c"]), (["get", "pods", "-n", "s"], ["shop"]),
], ids=str)
def test_names_of_a_run(candidates, lab, words, expected):
    assert candidates(*words, CALICO_MN_RUN=lab.identity) == expected
    assert candidates("exec", "--run", lab.name, "node31") == ["node31"]
    assert lab.name in candidates("down", "")


@pytest.mark.root
def test_silence_about_a_run_that_is_not_there(candidates):
    assert candidates("exec", "no", CALICO_MN_RUN="nosuch") == []


@pytest.mark.root
def test_tab_in_a_real_bash(lab, on_path):
    with Terminal("bash", "--norc", "--noprofile", "-i", CALICO_MN_RUN=lab.identity, PATH=on_path,
                  PS1="ready> ") as there:
        assert there.shows("ready> ")
        there.type('eval "$(calico-mn completion bash)"; echo loaded$((1+1))\n')
        assert there.shows("loaded2") and there.shows("ready> ")
        there.type("calico-mn exec shop\t")
        assert there.shows("shop/c ")
        there.type("-- echo inside$((3+4))\n")
        assert there.shows("inside7") and there.shows("ready> ")
        there.type("calico-mn plan topologies/art\t")
        assert there.shows("article.yaml ")
        there.type("--nod\t")
        assert there.shows("--node ")
        there.type("node31 | grep -c blackhole | sed s,^,count=,\n")
        assert there.shows("count=1")
        there.type("exit\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: apt-get install {shell}")
    script = calico_mn("completion", shell).stdout
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, cwd=ROOT,
                          env=environment())
    assert (done.returncode, done.stderr) == (0, "")
