"""No BIRD outlives its run, and two runs with BIRD do not meet, though their addresses are alike.

     node31 .31    node32 .32
     pod a         pod b
        |             |
   -----+-- rack-a ---+-----      twice; or topologies/two-subnets.yaml, ended at its boot
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import machine
from support.connectivity import expect_connectivity, full_mesh
from support.engines import NEEDS_BIRD
from support.patience import eventually
from support.topologies import one_subnet

from calico_mn import CalicoNet
from calico_mn.bgp.timers import SHORT
from calico_mn.kernel import processes

pytestmark = [pytest.mark.root, pytest.mark.kills, NEEDS_BIRD]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "calico_mn"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL],
                         ids=lambda number: number.name)
def test_a_boot_that_is_ended_while_its_birds_connect_leaves_none(number):
    # They connect after two seconds, and the boot waits for them.
    booting = subprocess.Popen([*PROGRAM, "up", "--engine", "bird", "topologies/two-subnets.yaml"],
                               cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        assert eventually(lambda: "bird" in machine.processes_of_runs(booting.pid).values()
                          or booting.poll() is not None)
        assert booting.poll() is None, booting.communicate()
        booting.send_signal(number)
        booting.communicate(timeout=60)
    finally:
        booting.kill()
        booting.communicate()
    assert booting.returncode != 0
    if number == signal.SIGKILL:
        subprocess.run([*PROGRAM, "cleanup"], cwd=ROOT, timeout=60, check=True,
                       stdout=subprocess.DEVNULL)
    assert eventually(lambda: not machine.leftovers(booting.pid)), machine.leftovers(booting.pid)


def test_two_runs_side_by_side_have_birds_of_their_own(tunnel):
    nets = [CalicoNet(one_subnet("Always"), tunnel=tunnel, engine="bird", timers=SHORT)
            for _ in range(2)]
    with nets[0] as lasting:
        own = set(lasting.birds.pids().values())
        with nets[1] as other:
            others = set(other.birds.pids().values())
            assert len(own) == len(others) == 2 and not own & others
            other.kill_speaker("node32")
            other.set_ipip_mode("Never")
            for net in nets:
                net.refresh_sessions()
            assert set(lasting.cluster.probed.values()) == {""}
            assert other.cluster.probed == {}  # no session between two live ones
            expect_connectivity(lasting, full_mesh("a", "b"))
        assert all(map(processes.has_ended, others))
        assert not any(map(processes.has_ended, own)) and lasting.verify() == ()
    assert all(map(processes.has_ended, own))
