"""The example of docs/experiments/own.md runs as it is shown."""

import re
import subprocess
import sys

import pytest
from support.patience import SLOWNESS

from calico_mn import results

from .conftest import ROOT


@pytest.mark.root
def test_the_example_is_an_experiment(tmp_path):
    page = (ROOT / "docs" / "experiments" / "own.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```py\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(example.splitlines()) < 50
    (tmp_path / "topologies").symlink_to(ROOT / "topologies")
    (tmp_path / "experiments").mkdir()
    script = tmp_path / "experiments" / "connections.py"
    script.write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, "--quick", "--repeats", "3", "--duration", "0.1", "--output",
         tmp_path / "out"], text=True, capture_output=True, timeout=120 * SLOWNESS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Nodes in the same subnet" in done.stdout
    run = results.load(tmp_path / "out")
    assert {row["mode"] for row in run.rows if row["metric"] == "connections"} == {
        "Always", "CrossSubnet", "Never"}
    assert {"report.html", "summary.csv", "ratios.png"} <= {
        path.name for path in run.directory.iterdir()}
