"""Runs that begin and end at the same time, also while some are killed and others clean up.

     node31 .31      in each process a cluster of one pod, again and again
     pod a
        |
   -----+-- rack-a

All processes of a test share a /run of their own, so that no other run keeps the directory below
it: only then a start meets one that another process is removing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import SLOWNESS

pytestmark = [pytest.mark.root, pytest.mark.kills]

ROOT = Path(__file__).resolve().parents[2]
TESTS = str(ROOT / "tests")
OWN_RUN = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
CLEANUP = [sys.executable, "-m", "calico_mn", "cleanup"]
LIST = [sys.executable, "-m", "calico_mn", "list"]
#: clusters one after another, so many, with pauses of up to 20 ms
CLUSTERS = """
import random, sys, time
sys.path.insert(0, sys.argv[1])
from calico_mn import CalicoNet
from support.topologies import cluster
chance, count, tunnel = random.Random(int(sys.argv[2])), int(sys.argv[3]), sys.argv[4]
topology = cluster("Never", "a@node31", nodes={"node31": "192.168.57.31/24"})
for _ in range(count):
    with CalicoNet(topology, tunnel=tunnel) as net:
        assert net.runtime.directory.path.is_dir()
    time.sleep(chance.uniform(0, 0.02))
"""
#: the same with nothing but the runs' directories, below /run or below argv[3]
DIRECTORIES = """
import os, random, sys, time
from pathlib import Path
from calico_mn.kernel import registry, runtime_dir
chance, count = random.Random(int(sys.argv[1])), int(sys.argv[2])
if sys.argv[3:]:
    runtime_dir._is_machines, runtime_dir._TEMPORARY = lambda: False, Path(sys.argv[3])
    os.environ.pop("XDG_RUNTIME_DIR", None)
for _ in range(count):
    run = registry.RunDirectory({"topology": "loop"})
    living = registry.runs()
    assert run.identity in {other.identity for other in living}, (run.path, living)
    assert [other.name for other in living].count(run.name) == 1
    run.remove()
    time.sleep(chance.choice((0, 0, 0.001)))
"""
#: the same with a higher neighbour-table limit, which is a file here; argv[3] is how often, and
#: without a loop it is a clean-up, after which the limit is its owner's again
LIMIT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from calico_mn.calico.underlay import neighbour_entries
from calico_mn.kernel import cleanup, neighbour_quota, registry, runtime_dir
from support.topologies import one_subnet
OWNERS, NEED = 5, 20

class Limit(type(Path())):
    def write_text(self, text, **_options):  # at once, as a sysctl is written
        beside = self.with_suffix(f".{os.getpid()}")
        Path(beside).write_text(text)
        beside.replace(self)

neighbour_quota.PATH = Limit(sys.argv[2])
for _ in range(int(sys.argv[3])):
    run = registry.RunDirectory({})
    neighbour_quota.raise_limit(neighbour_entries(one_subnet("Always")), run.identity)
    with runtime_dir.locked():
        ledger, now = neighbour_quota._read(), neighbour_quota.limit()
        assert ledger.needs[run.identity] == NEED and ledger.own == OWNERS, ledger
        assert now == ledger.target >= sum(ledger.needs.values()), (now, ledger)
    neighbour_quota.restore_limit(run.identity)
    run.remove()
    time.sleep(0.001)
if sys.argv[3] == "0":
    cleanup.remove_all()
if sys.argv[4:]:
    assert neighbour_quota.limit() == OWNERS, neighbour_quota.limit()
"""
#: Starts the processes of "working", and beside them, until those end, some of "beside" to their
#: end and some of "victims" to be killed. Prints what each of those but the victims complained
#: of, and at the end what is left below /run once "last" has run.
MANY = """
import json, os, random, subprocess, sys, time
chance, plan = random.Random(7), json.loads(sys.argv[1])

def start(argv):
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

def end(process):
    complaint = process.communicate(timeout=plan["patience"])[1]
    if process.returncode or complaint:
        print(process.returncode, complaint)

working = [start(argv) for argv in plan["working"]]
while any(process.poll() is None for process in working):
    victims = [start(argv) for argv in plan["victims"]]
    beside = [start(argv) for argv in plan["beside"]]
    time.sleep(chance.uniform(0.3, 0.6) if victims else 0.05)
    for process in victims:
        process.kill()
        process.communicate(timeout=plan["patience"])
    for process in beside:
        end(process)
for process in working:
    end(process)
for argv in plan["last"]:
    end(start(argv))
for path in os.listdir("/run"):
    print("left:", path, os.listdir(f"/run/{path}"))
"""


def complaints(working, victims=(), beside=(), last=()) -> str:
    plan = {"working": working, "victims": victims, "beside": beside, "last": last,
            "patience": 60 * SLOWNESS}
    done = subprocess.run([*OWN_RUN, sys.executable, "-c", MANY, json.dumps(plan)], cwd=ROOT,
                          capture_output=True, text=True, timeout=240 * SLOWNESS, check=False)
    return done.stdout + done.stderr


def clusters(seed: int, count: int, tunnel: str) -> list[str]:
    return [sys.executable, "-c", CLUSTERS, TESTS, str(seed), str(count), tunnel]


def test_a_start_never_meets_the_end_of_another_run(tunnel):
    assert complaints([clusters(seed, 40, tunnel) for seed in (1, 2, 3)]) == ""


def test_kills_clean_ups_and_lists_do_not_disturb_starts_and_stops(tunnel):
    assert complaints([clusters(seed, 40, tunnel) for seed in (1, 2)],
                      victims=[clusters(3, 1000, tunnel)], beside=[CLEANUP, LIST],
                      last=[CLEANUP]) == ""


@pytest.mark.parametrize("place", ["/run", "/tmp"])
def test_directories_of_runs_come_and_go_in_many_processes(tmp_path, place):
    beside = [[sys.executable, "-c", "from calico_mn.kernel import cleanup, registry;"
               " cleanup.remove_all(); registry.runs()"]] if place == "/run" else []
    where = [str(tmp_path)] if place == "/tmp" else []
    working = [[sys.executable, "-c", DIRECTORIES, str(seed), "150", *where] for seed in range(4)]
    assert complaints(working, beside=beside) == ""
    assert list(tmp_path.iterdir()) == []


def test_the_neighbour_limit_follows_from_who_lives_and_in_the_end_is_the_owners(tmp_path):
    limit = tmp_path / "gc_thresh3"
    limit.write_text("5\n")

    def process(*words: str) -> list[str]:
        return [sys.executable, "-c", LIMIT, TESTS, str(limit), *words]

    assert complaints([process("100") for _ in range(3)], victims=[process("100000")],
                      beside=[process("0")], last=[process("0", "last")]) == ""


def test_of_several_that_begin_with_one_name_one_does_and_of_several_that_end_it_one_does(tunnel):
    code = """
import json, os, subprocess, sys
def at_once(*words):
    processes = [subprocess.Popen([sys.executable, "-m", "calico_mn", *words], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for _ in range(3)]
    said = [process.communicate(timeout=60)[1] for process in processes]
    print(json.dumps(sorted(zip([process.returncode for process in processes], said))))
at_once("up", "--detach", "--name", "lab", "--tunnel", sys.argv[1], sys.argv[2])
at_once("down", "lab")
print(json.dumps(os.listdir("/run")))
"""
    done = subprocess.run([*OWN_RUN, sys.executable, "-c", code, tunnel,
                           str(ROOT / "topologies" / "article.yaml")], cwd=ROOT, text=True,
                          capture_output=True, timeout=120 * SLOWNESS, check=False)
    assert done.stderr == ""
    up, down, left = map(json.loads, done.stdout.splitlines())
    assert [status for status, _said in up] == [0, 2, 2]
    assert all("a run called lab is there already" in said for _status, said in up[1:])
    assert down[0] == [0, ""] and left == []
    assert all(status == 0 or "lab" in said for status, said in down)
