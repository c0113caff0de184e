"""Experiments on several machines: a scheduler of Dask and workers over TLS.

       lab0: scheduler, clients
       br0 10.77.0.10/24
        |            |            |
       lab1         lab2         lab3     a worker each; some tests lose theirs
       eth0 .11     eth0 .12     eth0 .13

Machines are namespaces of their own (support/lab.py). Each block has a cluster of two nodes:

     node31  a        node32  b
        |             |
   -----+-- rack-a ---+---- r1
"""

import os
import signal
import subprocess

import pytest
from support import lab as machines
from support.patience import SLOWNESS, eventually

from calico_mn import results
from calico_mn.experiment.interruption import INTERRUPTED

from .conftest import command, topology

pytestmark = pytest.mark.root

FEW = ("--modes", "Always,Never", "--paths", "same-subnet", "--instruments", "rtt", "--quick",
       "--duration", 0.05, "--no-policy")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with machines.lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


class Client:
    """An experiment started on lab0, which measures on the machines of its scheduler."""

    def __init__(self, lab, place, *words, on=True):
        self.output = place / "out"
        self.process = lab.lab0.start(
            *command(*words, *(("--on", lab.address) if on else ())), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=place)
        self.said = ""

    def says(self, text):
        """Read complaints until there is one with this."""
        for line in self.process.stderr:
            self.said += line
            if text in line:
                return True
        return False

    def ended(self):
        """Its exit status."""
        self.out, rest = self.process.communicate(timeout=300 * SLOWNESS)
        self.said += rest
        return self.process.returncode


def begun(lab, place, repeats):
    file = topology(place, a="node31", b="node32")
    return Client(lab, place, "--topology", file, *FEW, "--repeats", repeats, "--output",
                  place / "out")


def resumed(lab, place):
    return Client(lab, place, "--resume", place / "out", on=False)


def halted(*machines):
    """The processes of the runs on these machines, halted as soon as they have begun."""
    found = {}

    def look():
        for machine in machines:
            runs = [] if machine in found else machine.runs()
            if runs:
                found[machine] = int(runs[0].partition("-")[0])
                os.kill(found[machine], signal.SIGSTOP)
        return len(found) == len(machines)

    assert eventually(look)
    return found.values()


def repeats_by_machine(run):
    by_machine = {}
    for reading in run.readings:
        by_machine.setdefault(reading.seen["machine"], set()).add(reading.repeat)
    return by_machine


def test_two_machines_make_one_run(lab, tmp_path):
    one, other = [machine for machine, _ in lab.workers(2)]
    client = begun(lab, tmp_path, 4)
    assert client.ended() == 0, client.said
    assert client.said.splitlines()[0] == "2 blocks on 2 workers"
    assert "disturb" not in client.said
    run = results.load(client.output)
    assert run.complete
    assert repeats_by_machine(run) == {one.name: {1, 2}, other.name: {3, 4}}
    assert [reading.order for reading in run.readings] == list(range(1, len(run.readings) + 1))
    assert set(run.environment["machines"]) == {one.name, other.name}
    assert run.environment["cluster"]["topology"] == str(tmp_path / "small.yaml")
    assert "By machine: ratios to Never" in client.out
    assert f"{other.name} against {one.name}" in client.out
    assert "<h3>Machine " in (client.output / "report.html").read_text()
    # A ratio is of one repeat, and every repeat has both modes on one machine.
    trials = {(row["repeat"], row["mode"], row["machine"]) for row in run.rows
              if row["metric"] == "latency"}
    assert trials == {(repeat, mode, (one if repeat < 3 else other).name)
                      for repeat in range(1, 5) for mode in ("Always", "Never")}
    assert not one.runs() and not other.runs()


@pytest.mark.kills
def test_a_run_goes_on_after_ctrl_c_and_after_a_kill_of_the_client(lab, tmp_path):
    (first, _), (second, _) = lab.workers(2)
    client = begun(lab, tmp_path, 2)
    # The second block stands still until the first has ended.
    (block,) = halted(second)
    assert client.says(f"{first.name}: measured repeat 1")
    client.process.send_signal(signal.SIGINT)
    assert client.ended() == INTERRUPTED
    os.kill(block, signal.SIGCONT)
    assert "Not complete: interrupted." in client.said and "--resume" in client.said
    kept = results.load(client.output)
    assert not kept.complete and repeats_by_machine(kept) == {first.name: {1}}
    assert eventually(lambda: not first.runs() and not second.runs())

    again = resumed(lab, tmp_path)
    assert again.says("1 block on 2 workers")
    assert eventually(lambda: first.runs() or second.runs())
    again.process.kill()
    again.ended()
    assert eventually(lambda: not first.runs() and not second.runs())

    done = resumed(lab, tmp_path)
    assert done.ended() == 0, done.said
    run = results.load(client.output)
    assert run.complete and {reading.repeat for reading in run.readings} == {1, 2}
    assert [reading for reading in run.readings if reading.repeat == 1] == list(kept.readings)
    assert run.about["failures"] == [] and run.about["cut_short"] is None


def test_ctrl_c_before_a_block_has_ended_leaves_nothing(lab, tmp_path):
    (first, _), (second, _) = lab.workers(2)
    client = begun(lab, tmp_path, 2)
    blocks = halted(first, second)
    client.process.send_signal(signal.SIGINT)
    assert client.ended() == INTERRUPTED
    for block in blocks:
        os.kill(block, signal.SIGCONT)
    assert client.said.endswith("Interrupted before a block had ended.\n")
    assert not client.output.exists()
    assert eventually(lambda: not first.runs() and not second.runs())


@pytest.mark.kills
def test_blocks_of_a_killed_worker_and_of_one_that_is_cut_off_are_measured_by_another(
        lab, tmp_path):
    (first, killed), (second, cut), (third, _) = lab.workers(3)
    client = begun(lab, tmp_path, 3)
    found = halted(first, second)
    killed.kill()
    lab.lab0.run("ip", "link", "set", second.name, "down")
    for block in found:
        os.kill(block, signal.SIGCONT)
    assert client.ended() == 0, client.said
    run = results.load(client.output)
    assert run.complete and repeats_by_machine(run) == {third.name: {1, 2, 3}}
    assert eventually(lambda: not any((first.runs(), second.runs(), third.runs())))
    # A worker that has lost its scheduler ends.
    assert eventually(lambda: cut.poll() is not None)
