"""The machine's neighbour-table limit, really raised and given back: in a machine of our own.

Two runs side by side; the first is started by the command, and killed.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import SLOWNESS, eventually
from support.topologies import one_subnet

from calico_mn import CalicoNet
from calico_mn.kernel import neighbour_quota, processes, runtime_dir

ROOT = Path(__file__).resolve().parents[2]
OWNERS = 5

pytestmark = [
    pytest.mark.root, pytest.mark.ipip,
    pytest.mark.skipif("IN_UML" not in os.environ, reason="changes a sysctl of the whole machine:"
                       " runs in User-Mode Linux (tests/uml)")]


@pytest.fixture
def limit():
    """What the limit is; this machine's owner sets it to OWNERS."""
    before = neighbour_quota.PATH.read_text()
    neighbour_quota.PATH.write_text(f"{OWNERS}\n")
    yield neighbour_quota.limit
    neighbour_quota.PATH.write_text(before)


def test_two_runs_raise_the_limit_one_is_killed_and_the_last_one_gives_it_back(limit, tunnel):
    topology = ROOT / "topologies" / "two-subnets.yaml"
    command = [sys.executable, "-m", "calico_mn"]
    up = subprocess.run([*command, "up", "--detach", "--json", "--tunnel", tunnel,
                         "--raise-neighbour-limit", topology], cwd=ROOT, text=True,
                        capture_output=True, timeout=60 * SLOWNESS, check=False)
    assert (up.returncode, up.stderr) == (0, "")
    first = json.loads(up.stdout)
    raised = limit()
    assert raised > OWNERS
    with CalicoNet(one_subnet("Always"), tunnel=tunnel, raise_neighbour_limit=True):
        both = limit()
        assert both > raised
        os.kill(first["pid"], signal.SIGKILL)
        assert eventually(lambda: processes.start_time(first["pid"]) is None)
        done = subprocess.run([*command, "cleanup"], cwd=ROOT, text=True, capture_output=True,
                              timeout=60 * SLOWNESS, check=False)
        own = both - raised
        assert f"the neighbour-table limit is {own} again, from {both}" in done.stdout, done
        assert limit() == own
    assert limit() == OWNERS
    assert not runtime_dir.MACHINE.exists()
