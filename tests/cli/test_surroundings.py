"""Odd environments, limits and streams: the same answer, or a line that says
why there is none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.messages import assert_harmless

from .conftest import LAB, ROOT

ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "no PATH": {"PATH": None}, "empty PATH": {"PATH": ""}, "PATH of nothing": {"PATH": "/none"},
    "locale unknown": {"LANG": "xx_YY.ZZ", "LC_ALL": "qq"},
    "ASCII": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "ASCII asked for": {"PYTHONIOENCODING": "ascii"}, "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "UTF-16": {"PYTHONIOENCODING": "utf-16-le"},
    "no TERM": {"TERM": None}, "TERM dumb": {"TERM": "dumb"}, "TERM bad": {"TERM": "\x1b[31m"},
    **{f"COLUMNS={value}": {"COLUMNS": value, "LINES": value}
       for value in ("0", "-5", "abc", "9" * 30)},
    "NO_COLOR": {"NO_COLOR": "0"}, "FORCE_COLOR": {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"},
    "places missing": {"HOME": None, "TMPDIR": "/none", "MPLCONFIGDIR": "/none"},
    "places closed": {
        "HOME": "/proc", "TMPDIR": "/proc", "MPLBACKEND": "none", "MPLCONFIGDIR": "/proc/x",
        "XDG_CACHE_HOME": "/proc/x", "XDG_CONFIG_HOME": "\x1b", "XDG_RUNTIME_DIR": "x"},
    "hash seed": {"PYTHONHASHSEED": "7"}, "warnings": {"PYTHONWARNINGS": "error"},
    "development": {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"},
    "optimized": {"PYTHONOPTIMIZE": "2"}, "run": {"CALICO_MN_RUN": "\x1b[2J"},
    "odds and ends": {"CALICO_MN_VENV": "/none", "PYTHONUNBUFFERED": "1", "TZ": "none/\x1b",
                      "PYTHONDONTWRITEBYTECODE": "1"},
}
WRAPPED = {
    "all closed": ('"$@" <&- >&- 2>&-', 0), "input closed": ('"$@" <&-', 0),
    "output full": ('"$@" >/dev/full', 1), "both full": ('"$@" >/dev/full 2>/dev/full', 1),
    "no reader": ('"$@" | true; exit ${PIPESTATUS[0]}', None),
    "umask 777": ('umask 777; "$@"', 0), "umask 0": ('umask 0; "$@"', 0),
    "no cwd": ('mkdir gone; cd gone; rmdir ../gone; "$@"', 0), "stack": (
        'ulimit -s unlimited; "$@"', 0), "small stack": ('ulimit -s 256; "$@"', 0),
    "16 descriptors": ('ulimit -n 16; "$@"', 0), "120 MB": ('ulimit -v 120000; "$@"', 0),
    "-O": ('python=$1; shift; "$python" -O "$@"', 0),
    "-W error": ('python=$1; shift; "$python" -W error "$@"', 0),
    "-X dev": ('python=$1; shift; "$python" -X dev -W error "$@"', 0),
}


def run(words: list[str], cwd: Path, shell: str = "",
        **changes: str | None) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in {
        **os.environ, "PYTHONPATH": str(ROOT), **changes}.items() if value is not None}
    command = [sys.executable, "-m", "calico_mn", *words]
    return subprocess.run(["/bin/bash", "-c", shell, "sh", *command] if shell else command,
                          cwd=cwd, env=environment, capture_output=True, timeout=60,
                          stdin=subprocess.DEVNULL)


GRAPH = ["graph", str(LAB), "--mode", "Never", "-o", "picture.svg"]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("usual")
    assert run(GRAPH, place).returncode == 0
    return (place / "picture.svg").read_bytes()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_changes_no_answer(name: str, picture: bytes, tmp_path: Path) -> None:
    done = run(GRAPH, tmp_path, **ENVIRONMENTS[name])
    assert (done.returncode, done.stderr) == (0, b"")
    encoding = "utf-16-le" if name == "UTF-16" else "ascii"
    assert done.stdout.decode(encoding) == "wrote picture.svg\n"
    assert (tmp_path / "picture.svg").read_bytes() == picture


@pytest.mark.parametrize("name", WRAPPED)
def test_streams_and_limits(name: str, tmp_path: Path) -> None:
    shell, status = WRAPPED[name]
    done = run(["validate", str(LAB)], tmp_path, shell)
    assert done.returncode in ((0, 141) if status is None else (status,)), done
    assert_harmless(done.stderr.decode() + done.stdout.decode(), lines=2)


@pytest.mark.parametrize("words", [["walkthrough", "--list", "--lang", "zh"], ["--help"],
                                   ["graph", str(LAB)], ["plan", str(LAB)]], ids=" ".join)
def test_what_is_not_ascii_is_no_failure_where_only_ascii_is(words: list[str], tmp_path: Path
                                                             ) -> None:
    done = run(words, tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0",
               PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout
    if words[0] == "graph":
        done.stdout.decode("utf-8")  # a picture is UTF-8 wherever it goes


def test_a_name_in_no_encoding_can_be_said(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.yaml")
    (tmp_path / name).write_bytes(LAB.read_bytes())
    done = run(["validate", name], tmp_path, LC_ALL="C.UTF-8", PYTHONIOENCODING="utf-8:strict")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[0] == b"\\udcff.yaml: good: 3 nodes, 3 pods, 2 subnets"


def test_answers_do_not_depend_on_the_order_of_sets(tmp_path: Path) -> None:
    for words in (["plan", str(LAB)], ["graph", str(LAB)]):
        assert len({run(words, tmp_path, PYTHONHASHSEED=seed).stdout for seed in ("0", "1")}) == 1
