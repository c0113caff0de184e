"""calico-mn as a person runs it: a process for each command, and runs in the background."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.private_run import private_run
from support.warm import WARM, is_read_by_python

from calico_mn.errors import UnsupportedError
from calico_mn.kernel import runtime_dir
from calico_mn.kernel.tunnel import choose

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LAB = HERE / "lab.yaml"
PROGRAM = [sys.executable, "-m", "calico_mn"]
TUNNEL = os.environ.get("CALICO_MN_TUNNEL", "auto")
#: so that other people's runs on this machine are never meant
OWN = f"t{os.getpid()}"


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def calico_mn(*words: str, stdin: str = "", timeout: float = 60, cwd: Path = ROOT,
              **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    if len(PROGRAM) == 3 and not any(map(is_read_by_python, changes)):
        return WARM.run(words, environment=environment(**changes), cwd=cwd, stdin=stdin,
                        timeout=timeout)
    return subprocess.run([*PROGRAM, *words], input=stdin, capture_output=True, text=True,
                          timeout=timeout, cwd=cwd, env=environment(**changes))


@dataclass(frozen=True)
class Lab:
    """A run in the background."""

    name: str
    pid: int
    identity: str

    def __call__(self, verb: str, *words: str, **options: Any
                 ) -> subprocess.CompletedProcess[str]:
        """A verb on this run."""
        return calico_mn(verb, *words, CALICO_MN_RUN=self.identity, **options)

    def ok(self, verb: str, *words: str, **options: Any) -> str:
        """What a verb prints, once it succeeded."""
        done = self(verb, *words, **options)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def json(self, verb: str, *words: str) -> Any:
        return json.loads(self.ok(verb, *words, "--json"))

    @property
    def directory(self) -> Path:
        return runtime_dir.MACHINE / self.identity


def boot(name: str, *words: str, file: Path = LAB) -> Lab:
    done = calico_mn("up", "--detach", "--json", "--tunnel", TUNNEL, "--name", f"{OWN}-{name}",
                     *words, str(file))
    assert done.returncode == 0, done
    facts = json.loads(done.stdout)
    return Lab(facts["name"], facts["pid"], facts["run"])


def end(run: Lab) -> None:
    if run.directory.exists():
        calico_mn("down", run.identity)


@pytest.fixture(scope="session")
def machine_can() -> None:
    if os.geteuid():
        pytest.skip("needs root, to make network namespaces: sudo pytest")
    try:
        choose(TUNNEL).close()
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def lab(machine_can: None) -> Iterator[Lab]:
    """A run that tests only look at, or leave as they found it."""
    run = boot("lab")
    yield run
    end(run)


@pytest.fixture
def own(machine_can: None) -> Iterator[Any]:
    """own(NAME, *words) -> a run of the test's own."""
    made = []

    def start(name: str, *words: str) -> Lab:
        made.append(boot(name, *words))
        return made[-1]

    yield start
    for run in made:
        end(run)


@pytest.fixture
def apart(machine_can: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands have a /run of their own: no start elsewhere cleans up after a run that is killed.
    """
    with private_run(ROOT) as private:
        monkeypatch.setattr(sys.modules[__name__], "PROGRAM", [*private.entering, *PROGRAM])
        monkeypatch.setattr(runtime_dir, "MACHINE", private.runs)
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Any:
    """Compare ``text`` with golden/NAME.txt; with ``pytest --record`` write it there."""

    def compare(name: str, text: str) -> None:
        path = HERE / "golden" / f"{name}.txt"
        if request.config.getoption("--record"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no {path.name}: run pytest --record, then read what it wrote"
        assert text == path.read_text(encoding="utf-8")

    return compare
