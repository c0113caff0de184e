"""What a wheel installs: the command, with its topologies and experiments, without a checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: what a build takes from the checkout
SOURCES = ("setup.py", "pyproject.toml", "calico_mn", "experiments", "topologies")


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, once it succeeded."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of a copy of the checkout: a build leaves files in it."""
    place = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name,
                            ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index",
        "-q", "-w", "dist", ".", cwd=place)
    (built,) = (place / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The command in an environment of its own; what it needs is that of the tests' environment."""
    place = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=place)
    run(sys.executable, "-m", "pip", "--python", "venv/bin/python", "install", "--no-index",
        "--no-deps", "-q", wheel, cwd=place)
    (packages,) = place.glob("venv/lib/python*/site-packages")
    needed = [path for path in sys.path if path.endswith("-packages")]
    (packages / "needed.pth").write_text("\n".join(needed) + "\n", encoding="utf-8")
    return place / "venv" / "bin" / "calico-mn"


def test_a_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "calico_mn").rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}
    files |= {f"calico_mn/files/{path.relative_to(ROOT).as_posix()}"
              for name in ("experiments", "topologies") for path in (ROOT / name).glob("*.*")}
    assert len(files) > 200 and files - inside == set()


def test_the_command_knows_its_topologies_and_experiments(installed, tmp_path):
    where = run(installed.with_name("python"), "-c", "import calico_mn; print(calico_mn.__file__)",
                cwd=tmp_path)
    assert Path(where).is_relative_to(installed.parents[1])
    assert run(installed, "validate", "topologies/two-subnets.yaml", cwd=tmp_path) == (
        "topologies/two-subnets.yaml: good: 3 nodes, 6 pods, 2 subnets\n")
    assert run(installed, "version", cwd=tmp_path) == run(
        sys.executable, "-m", "calico_mn", "version", cwd=ROOT)
    listed = json.loads(run(installed, "experiment", "list", "--json", cwd=tmp_path))
    assert [item["name"] for item in listed] == sorted(
        path.stem.replace("_", "-") for path in (ROOT / "experiments").glob("*.py"))
    assert all(Path(item["script"]).is_relative_to(installed.parents[1]) for item in listed)
    assert run(installed, "experiment", "run", "ipip-modes", "--help", cwd=tmp_path).startswith(
        "usage: ipip_modes.py")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="clusters need root")
def test_an_experiment_runs_and_makes_its_page(installed, tmp_path):
    said = run(installed, "experiment", "run", "mtu", "--quick", "--pod-mtus", "1480",
               "--link-mtus", "1500", "--duration", "0.1", "--output", "out", cwd=tmp_path)
    assert "report.html" in said
    assert "<svg" in run(installed, "graph", "topologies/article.yaml", cwd=tmp_path)
    assert "MTU" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    run(installed, "report", "out", cwd=tmp_path)
