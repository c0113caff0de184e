"""docs/cli.md and docs/policy.md, each as one session in a shell: what is shown is what is printed.

Numbers may differ, and so may lines that are shown as "...".
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from calico_mn.kernel import registry

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


def plain(line: str) -> str:
    """Without numbers, what makes tunl0, and the width of columns that follows from numbers."""
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", re.sub(
        r"\b(ebpf|kernel)\b|-{2,}|iproute2-\S.*|Linux .*", "", line))).strip()


@pytest.mark.alone  # it names runs as their files are called
@pytest.mark.root
@pytest.mark.parametrize(("page", "name"), [
    ("cli.md", "two-subnets"), ("policy.md", "policies"), ("packet-path.md", "policies")])
def test_every_command_of_the_page_does_what_is_shown(tmp_path, page, name):
    if running := [run.name for run in registry.runs() if run.name.startswith(name)]:
        pytest.skip(f"runs of these names are on this machine already: {running}")
    (tmp_path / "topologies").symlink_to(ROOT / "topologies")
    program = tmp_path / "calico-mn"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m calico_mn "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}",
                   "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    try:
        for command, shown in session(ROOT / "docs" / page):
            done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, text=True,
                                  capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
            assert done.returncode == 0, f"$ {command}\n{done}"
            lines = iter([plain(line) for line in done.stdout.splitlines()])
            for line in shown:
                assert line == "..." or plain(line) in lines, (
                    f"$ {command}\nshows no more: {line!r}\n{done.stdout}{done.stderr}")
            # From here on this run is meant, whoever else has runs on this machine.
            for run in registry.runs():
                if run.name == name:
                    environment["CALICO_MN_RUN"] = run.identity
    finally:
        if "CALICO_MN_RUN" in environment:
            subprocess.run([program, "down", environment["CALICO_MN_RUN"]], env=environment,
                           capture_output=True, timeout=60, check=False)


def test_every_verb_is_on_the_page():
    from calico_mn.cli import verbs

    text = PAGE.read_text(encoding="utf-8")
    missing = [v for v in verbs.public() if f"calico-mn {v}" not in text]
    assert not missing, missing
