"""``calico-mn verify``: what was changed by hand in a run, found and repaired from a terminal.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod shop/c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from .conftest import PROGRAM, ROOT, calico_mn, environment

pytestmark = pytest.mark.root

FAULTS = [["node31", "--", "ip", "route", "del", "10.22.32.0/26"],
          ["node32", "--", "ip", "link", "set", "tunl0", "down"],
          ["node32", "--", "iptables", "-F", "cali-OUTPUT"]]
CLEAN = "all is as it should be, rules by iptables-nft\n"


def test_faults_are_shown_repaired_and_gone(own, golden):
    run = own("verify")
    assert run.ok("verify") == CLEAN
    for words in FAULTS:
        run.ok("exec", *words)
    found = run("verify")
    assert (found.returncode, found.stderr) == (1, "")
    assert run("verify", "node33", "a").stdout == CLEAN
    as_json = json.loads(run("verify", "--json", "node31").stdout)
    assert as_json == [{
        "namespace": "node31", "kind": "missing", "subject": "route", "present": None,
        "wanted": "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink", "failure": None}]
    repaired = run.ok("verify", "--repair")
    assert repaired.startswith(found.stdout)
    golden("verify-repair", repaired.replace("type ipip", "type tun"))
    assert run.ok("verify") == CLEAN
    assert run("verify", "node99").returncode == 3


def test_watching_goes_on_beside_other_requests(own):
    run = own("watch")
    watching = subprocess.Popen(
        [*PROGRAM, "verify", "--watch", "--json"], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment(CALICO_MN_RUN=run.identity))
    try:
        # A fault of before is told as soon as the watch has begun.
        run.ok("exec", *FAULTS[0])
        first = json.loads(watching.stdout.readline())
        assert [item["namespace"] for item in first["appeared"]] == ["node31"]
        run.ok("verify", "--repair")
        second = json.loads(watching.stdout.readline())
        assert second["appeared"] == []
        assert [item["namespace"] for item in second["disappeared"]] == ["node31"]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 130
    finally:
        watching.kill()
        watching.wait()
        watching.stdout.close()


def test_a_watch_ends_with_its_run(own):
    run = own("ends")
    watching = subprocess.Popen(
        [*PROGRAM, "verify", "--watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=ROOT, env=environment(CALICO_MN_RUN=run.identity))
    try:
        run.ok("exec", *FAULTS[0])
        assert watching.stdout.readline().endswith(" differs\n")
        calico_mn("down", run.identity)
        _out, err = watching.communicate(timeout=60)
        assert watching.returncode != 0
        assert len(err.splitlines()) == 1, err
    finally:
        watching.kill()
        watching.wait()
