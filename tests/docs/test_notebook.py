"""docs/results.ipynb runs from its first cell to its last, and is kept without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from calico_mn.measure.reading_log import FORMAT, ReadingLog
from calico_mn.measure.readings import Measurement

NOTEBOOK = json.loads(
    (Path(__file__).parents[2] / "docs" / "results.ipynb").read_text(encoding="utf-8"))
SPEED = {"Always": 80.0, "Never": 100.0}


@pytest.fixture
def results(tmp_path):
    """Two runs of two modes."""
    for day in (1, 2):
        directory = tmp_path / "results" / f"ipip-modes-{day}"
        directory.mkdir(parents=True)
        with ReadingLog(directory / "results.jsonl", "ipip-modes") as log:
            for repeat in range(1, 7):
                for mode, speed in SPEED.items():
                    setting = {"mode": mode, "path": "same-subnet", "tunnel": "ebpf"}
                    log.add("tcp", setting, Measurement({"throughput": speed + repeat}), repeat)
                    log.add("round trips", setting, Measurement(
                        {"latency": 9.0 * day}, {"round_trips_us": [8.0, 9.0, 10.0]}), repeat)
        (directory / "summary.json").write_text(json.dumps({
            "format": FORMAT, "complete": True, "environment": {},
            "findings": ["Always <b>tunnels</b>."]}))
    return tmp_path


def test_every_cell_runs(results):
    pytest.importorskip("pandas", reason="pandas is not installed: ./install.sh develop")
    cells = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    # As a notebook does, show what a cell ends with.
    shown = "\n".join(f"""
*lines, last = ast.parse({cell!r}).body
exec(compile(ast.Module(lines, []), "cell", "exec"))
value = eval(compile(ast.Expression(last.value), "cell", "eval"))
print(value, value._repr_html_() if hasattr(value, "_repr_html_") else "")""" for cell in cells)
    done = subprocess.run([sys.executable, "-c", f"import ast\n{shown}"], cwd=results, text=True,
                          capture_output=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == 0, done.stderr
    assert "<Results ipip-modes-2: 24 readings, complete>" in done.stdout
    assert "Always &lt;b&gt;tunnels&lt;/b&gt;." in done.stdout
    assert 'src="data:image/svg+xml;base64,' in done.stdout
    assert (results / "throughput.pdf").read_bytes().startswith(b"%PDF")
    assert "\\toprule" in done.stdout and "ratio\\_confidence" in done.stdout
    assert "slower" in done.stdout and "ipip-modes-1" in done.stdout


def test_outputs_are_not_kept():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None
               for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")
