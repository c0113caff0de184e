"""Pages of docs/, each as one session in a shell: what is shown is what is printed.

Numbers may differ, and so may lines that are shown as "...".
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.api_server import TOKEN, ApiServer, write_kubeconfig
from support.dumps import NODES, POOL, kubernetes_node, pod
from support.engines import NEEDS_BIRD
from support.private_run import private_run

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"


def session(page: Path) -> list[tuple[str, list[str]]]:
    """Each command of the page's console blocks with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"),
                            re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


@pytest.fixture
def prod(tmp_path):
    """The cluster that the pages ask: a kubeconfig with its context."""
    pods = [pod(f"web-{number}", f"k{number % 3 + 1}", f"10.80.{number % 3}.{number}")
            for number in range(9)]
    with ApiServer([*NODES, kubernetes_node("k3", "10.9.2.13/24"), POOL, *pods]) as server:
        yield write_kubeconfig(tmp_path / "kubeconfig", {"server": server.url}, {"token": TOKEN},
                               "prod")


def plain(line: str) -> str:
    """Without numbers, the code's digest, what makes tunl0, and the width of columns, which
    follows from numbers.
    """
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", re.sub(
        r"\b(ebpf|kernel)\b|-{2,}|iproute2-\S.*|Linux .*|\(code \w+\)", "", line))).strip()


@pytest.mark.root
@pytest.mark.parametrize("page", [
    # It cleans up.
    pytest.param("cli.md", marks=pytest.mark.kills), "policy.md", "packet-path.md", "versions.md",
    "export.md", "import.md", "exercises.md", "lab.md", "lab.zh.md", "whatif.md",
    pytest.param("bgp.md", marks=NEEDS_BIRD)])
def test_every_command_of_the_page_does_what_is_shown(tmp_path, prod, page):
    # It names runs as their files are called: others would be in its way.
    with private_run(tmp_path) as private:
        try_page(private.entering, tmp_path, prod, page)


def try_page(entering, tmp_path, prod, page):
    (tmp_path / "topologies").symlink_to(ROOT / "topologies")
    program = tmp_path / "calico-mn"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m calico_mn "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}",
                   "PYTHONPATH": str(ROOT), "HOME": str(tmp_path),
                   "KUBECONFIG": str(prod), "NO_PROXY": "127.0.0.1"}
    try:
        for command, shown in session(ROOT / "docs" / page):
            done = subprocess.run([*entering, "bash", "-c", command], env=environment, text=True,
                                  capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
            # Something is unreachable or not as it should be on purpose here: status 1.
            assert done.returncode in ((0, 1) if page.startswith(("lab", "whatif")) else (0,)), (
                f"$ {command}\n{done}")
            lines = iter([plain(line) for line in done.stdout.splitlines()])
            for line in shown:
                assert line == "..." or plain(line) in lines, (
                    f"$ {command}\nshows no more: {line!r}\n{done.stdout}{done.stderr}")
    finally:
        subprocess.run([*entering, program, "down", "--all"], env=environment,
                       capture_output=True, timeout=60, check=False)


def test_every_verb_is_on_the_page():
    from calico_mn.cli import verbs

    text = PAGE.read_text(encoding="utf-8")
    missing = [v for v in verbs.public() if f"calico-mn {v}" not in text]
    assert not missing, missing


def test_the_page_of_exercises_lists_them_all():
    from calico_mn.exercises.catalogue import EXERCISES

    text = (ROOT / "docs" / "exercises.md").read_text(encoding="utf-8")
    for number, exercise in enumerate(EXERCISES, 1):
        assert f"| {number} | {exercise.symptom} |" in text
