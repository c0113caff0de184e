"""``down --all``, where all are ours: with processes and a /run of its own."""

import subprocess
import sys

from support.patience import SLOWNESS

from .conftest import LAB, ROOT, TUNNEL, environment

PROGRAM = """
import subprocess, sys
from calico_mn.cli.main import main
from calico_mn.kernel.registry import RunDirectory

subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True, timeout=60)
tunnel, lab = sys.argv[1:]
for name in ("one", "two"):
    assert main(["up", "--detach", "--tunnel", tunnel, "--name", name, lab]) == 0
private = RunDirectory({}, "private")
assert main(["down", "--all"]) == 0
assert main(["down", "--all"]) == 0
assert main(["list"]) == 0
"""


def test_all_that_take_requests_end_and_no_others(machine_can):
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
         sys.executable, "-c", PROGRAM, TUNNEL, str(LAB)],
        capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=60 * SLOWNESS)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[4:7] == ["one is down", "two is down", "nothing is running"]
    assert [line.split()[:2] for line in lines[7:]] == [["NAME", "STATUS"], ["private", "private"]]
