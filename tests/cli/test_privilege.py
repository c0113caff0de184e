"""What needs no root never asks for it, wherever it runs; what does tells the command to type."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import rootless
from support.warm import Warm

from calico_mn import command_line
from calico_mn.cli import verbs

from .conftest import LAB, PROGRAM, ROOT, environment

EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))
FILE = str(LAB)
RESULTS = "import sys, calico_mn.results as r; print(len(r.load(sys.argv[1]).readings))"
HELP = """
import sys
from calico_mn.cli import verbs
from calico_mn.cli.main import main
print([name for name in verbs.public() if main([name, "--help"])])
"""
READINGS = '{"format": %d, "experiment": "ipip-modes"}\n'

WITHOUT_ROOT = {
    "--help": "usage: calico-mn VERB",
    "--version": "calico-mn ",
    "help exec": "usage: calico-mn exec",
    "check": "Linux",
    "check --json": '"able"',
    f"validate {FILE}": "good",
    f"validate --json {FILE}": '"valid": true',
    f"plan {FILE}": "# node node31",
    f"plan --json --mode Never {FILE}": '"namespace"',
    f"graph {FILE}": "<svg",
    f"graph --mode Always {FILE}": "<svg",
    f"graph --format dot {FILE}": "graph",
    f"graph --format mermaid {FILE}": "graph TD",
    f"policy matrix -f {FILE}": "pairs",
    "init --nodes 2": "kind: Underlay",
    "check-node --help": "usage: calico-mn check-node",
    "import --how": "kubectl get nodes,pods",
    f"import {FILE}": "kind: IPPool",
    "import --help": "--context [NAME]",
    "version": "calico-mn ",
    "experiment list": "ipip-modes\n",
    "experiment run mtu --help": "usage: mtu.py",
    "report --help": "usage: calico-mn report",
    "break --list": " 1  The pods of one node reach no pod",
    "plot --help": "usage: calico-mn plot",
    "export --help": "usage: calico-mn export",
    "compare --help": "usage: calico-mn compare",
    "completion bash": "complete -o",
    "completion zsh": "compdef",
    "completion fish": "complete --command",
    "walkthrough --list": "1  ",
    "walkthrough --list --lang zh": "1  ",
}
#: of every verb that needs root: something to ask for
WITH_ROOT = {
    "up": ["x y.yaml", "--name", "it's"], "list": ["--json"], "status": [], "down": ["lab"],
    "cleanup": [], "get": ["pods", "-A"], "routes": ["node31"], "bgp": [],
    "exec": ["node31", "--", "sh", "-c", 'ip a | grep "$X"'], "shell": ["node31"],
    "capture": ["node31:eth0", "-w", "a file.pcap", "--", "ip proto 4"],
    "apply": ["-f", "more.yaml"], "delete": ["pod", "a"], "scale": ["deploy/a", "--replicas", "2"],
    "mode": ["Never"], "pod": ["add", "late", "--node", "node32"],
    "ping": ["a", "b"], "pingall": [], "trace": ["a", "b", "--svg", "way.svg"],
    "verify": ["--repair"], "walkthrough": ["--chapter", "2"], "_names": ["runs"],
    "web": ["lab", "--port", "8080"], "describe": ["pod", "a"], "link": ["node31:eth0", "down"],
    "drop": ["r1", "ipip"], "podroutes": ["on"], "speaker": ["kill", "node31"], "break": ["3"],
    "whatif": ["x y.yaml", "--mode", "Never"], "hint": [], "solution": [], "iperf": ["a", "b"],
    "sweep": ["--local", "2", "mtu"],
}


def without_root(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*rootless.prefix(), *command], stderr=subprocess.PIPE, text=True,
                          timeout=60, stdin=subprocess.DEVNULL, check=False,
                          **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A directory in which nothing can be made."""
    place = tmp_path / "read-only"
    place.mkdir()
    place.chmod(0o555)
    refused = without_root(["touch", "file"], cwd=place)
    assert "Permission denied" in refused.stderr or "Read-only" in refused.stderr
    return place


def bare(**changes: str) -> dict[str, str]:
    """An environment without HOME and what tells of it."""
    kept = environment(**changes)
    return {name: value for name, value in kept.items()
            if name in changes or name not in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
                                               "MPLCONFIGDIR")}


def is_silent(command: list[str], wanted: str, read_only: Path) -> None:
    done = without_root(command, cwd=read_only, env=bare(), stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert wanted in done.stdout


def reads_nobody(command: list[str], read_only: Path, status: tuple[int, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = without_root(command, cwd=read_only, env=bare(HOME="/proc/nobody"), stdout=writing)
    finally:
        os.close(writing)
    assert done.stderr == "" and done.returncode in status


@pytest.mark.parametrize("words", WITHOUT_ROOT)
def test_what_needs_no_root_works_without_in_a_directory_that_is_not_writable(words, read_only):
    is_silent([*PROGRAM, *shlex.split(words)], WITHOUT_ROOT[words], read_only)


@pytest.mark.parametrize(("line", "wanted"), [
    ("calico-mn va", "validate"), ("calico-mn graph --format d", "dot"), ("calico-mn down ", "")])
def test_completion_needs_no_root(line, wanted, read_only):
    command = ["bash", "-c", 'exec "$0" "$@" 8>&1 9>&2 >/dev/null', *PROGRAM]
    done = without_root(command, cwd=read_only, stdout=subprocess.PIPE, env=bare(
        _ARGCOMPLETE="1", _ARGCOMPLETE_SHELL="bash", _ARGCOMPLETE_SUPPRESS_SPACE="1",
        COMP_LINE=line, COMP_POINT=str(len(line))))
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout.rstrip() == wanted


def test_every_verbs_help_needs_no_root(read_only):
    is_silent([sys.executable, "-c", HELP], "\n[]\n", read_only)


@pytest.mark.parametrize("words", [words for words, wanted in WITHOUT_ROOT.items()
                                   if wanted and " --" not in words])
def test_a_closed_pipe_is_no_reason_to_complain(words, read_only):
    # 141, as a shell reports SIGPIPE; completion and argparse are silent in any case.
    reads_nobody([*PROGRAM, *shlex.split(words)], read_only, (0, 141))


@pytest.mark.parametrize("script", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiments_help_needs_no_root(script, read_only):
    is_silent([sys.executable, str(script), "--help"], "--raise-neighbour-limit", read_only)


def test_an_experiments_help_does_not_mind_a_closed_pipe(read_only):
    reads_nobody([sys.executable, str(EXPERIMENTS[0]), "--help"], read_only, (0, 1, 120, 141))


def test_results_are_read_without_root(tmp_path, read_only):
    from calico_mn.measure.reading_log import FORMAT
    (tmp_path / "results.jsonl").write_text(READINGS % FORMAT)
    is_silent([sys.executable, "-c", RESULTS, str(tmp_path)], "0\n", read_only)


def test_pictures_are_drawn_without_a_home(read_only):
    code = ("from calico_mn.report.plots import canvas; canvas.load_matplotlib()\n"
            "import sys; print('matplotlib' in sys.modules)")
    is_silent([sys.executable, "-c", code], "True", read_only)


def test_without_runs_a_name_that_is_no_file_is_a_mistake_for_every_user(read_only):
    hidden: list[str] = []
    if os.geteuid() == 0:
        hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$0" "$@"']
    elif Path("/run/calico-mn").exists():
        pytest.skip("another cluster runs on this machine")
    done = subprocess.run([*hidden, *rootless.prefix(), *PROGRAM, "graph", "lab"], cwd=read_only,
                          env=bare(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (3, "calico-mn: no run is called 'lab'; running: none"
                                              "\n")


# --- what needs root

@pytest.fixture
def typed(tmp_path: Path):
    """typed(LINE) -> the words that sudo gets when a shell is given that line."""
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    sudo.chmod(0o755)

    def paste(line: str) -> list[str]:
        done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60,
                              env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
        return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]

    return paste


def test_every_verb_is_in_one_of_the_tables():
    known = {words.split()[0] for words in WITHOUT_ROOT}
    assert known | set(WITH_ROOT) >= set(verbs.public())


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """Commands without any privilege, of a Python that has none."""
    warm = Warm(rootless.prefix())
    yield warm
    warm.close()


@pytest.mark.parametrize("name", WITH_ROOT)
def test_a_verb_that_needs_root_prints_the_command_to_type(name, typed, warm):
    words = [name, *WITH_ROOT[name]]
    done = warm.run(words, cwd=ROOT, environment=environment(CALICO_MN_RUN=""))
    told, _, command = done.stderr.partition("; run: ")
    assert (told, done.stdout) == (f"calico-mn: {name} needs root", "")
    assert done.returncode == (125 if name in ("exec", "shell") else 2)
    assert command.count("\n") == 1
    assert typed(command) == [sys.executable, "-m", "calico_mn", *words]


def test_what_sudo_would_drop_is_in_the_command(typed):
    done = without_root([*PROGRAM, "status"], cwd=ROOT, stdout=subprocess.PIPE, env=environment(
        CALICO_MN_RUN="lab", CALICO_IPV4POOL_CIDR="10.22.0.0/16", PYTHONDONTWRITEBYTECODE="1"))
    assert typed(done.stderr.partition("; run: ")[2]) == [
        "env", "CALICO_IPV4POOL_CIDR=10.22.0.0/16", "CALICO_MN_RUN=lab", sys.executable, "-m",
        "calico_mn", "status"]


@pytest.mark.parametrize("script", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_without_root_prints_the_command_to_type(script, typed):
    words = ["--quick", "--output", "a place"]
    done = without_root([sys.executable, str(script), *words], cwd=script.parent, env=environment(),
                        stdout=subprocess.PIPE)
    told, _, command = done.stderr.partition("; run: ")
    assert (done.returncode, told) == (1, "making network namespaces needs root")
    assert command.count("\n") == 1
    assert typed(command) == [sys.executable, f"./{script.name}", *words]


@pytest.mark.parametrize("word", ["plain", "two words", "it's", "$(id)", "", "-x", "\t", "a\nb",
                                  "\x1b[2Jb", "back\\slash\n", "é", "new'\n", "\udcff1"])
def test_a_command_can_be_pasted_with_any_argument(word, typed):
    line = command_line.sudo_command([word, "last"], {"CALICO_MN_RUN": word, "OTHER": "x"})
    assert line.isprintable()
    assert typed(line) == [*(["env", f"CALICO_MN_RUN={word}"] if word else []), word, "last"]
