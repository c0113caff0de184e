"""What hostile and large files cost: each is read, and made a cluster of, in a child process.

The child's CPU time for each file and its peak resident memory (VmHWM of /proc/self/status) are
what the kernel accounts to it. The promise is a second and 200 MB; the time that a test may take
is larger, since a busy machine makes a second of CPU time longer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.hostile import HOSTILE, LARGE

ROOT = Path(__file__).parents[2]
MOST_MB = 200
MOST_CPU_S = 4
CHILD = """
import json, sys, time
from calico_mn.calico.cluster import Cluster
from calico_mn.errors import TopologyError
from calico_mn.topology import load_topology

for path in sys.argv[1:]:
    began = time.process_time()
    text = ""
    try:
        Cluster(load_topology(path, environ={}), 2)
    except TopologyError as error:
        text = str(error)
    spent = time.process_time() - began
    status = open("/proc/self/status").read()
    print(json.dumps([text, spent, int(status.split("VmHWM:")[1].split()[0]) / 1000]))
"""


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hostile")
    texts = {**HOSTILE, **LARGE}
    for name, make in texts.items():
        (folder / name).write_text(make(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *(str(folder / name) for name in texts)], cwd=ROOT,
        capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(zip(texts, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_large_hostile_file_is_refused_in_few_words_soon(
    name: str, costs: dict[str, Any]
) -> None:
    text, spent, _ = costs[name]
    assert text.startswith("/") and text.endswith(" found")
    assert len(text) < 400_000
    assert spent < MOST_CPU_S


@pytest.mark.parametrize("name", LARGE)
def test_a_large_cluster_is_made_soon(name: str, costs: dict[str, Any]) -> None:
    text, spent, _ = costs[name]
    assert text == ""
    assert spent < MOST_CPU_S


def test_none_of_them_takes_much_memory(costs: dict[str, Any]) -> None:
    assert max(peak for _, _, peak in costs.values()) < MOST_MB
