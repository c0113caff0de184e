"""Links and faults by verbs, each a process of its own: what is set stays with the run.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod shop/c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json

import pytest
from support.patience import eventually

from .conftest import boot, end

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def run(machine_can):
    lab = boot("faults")
    yield lab
    end(lab)


@pytest.fixture(autouse=True)
def as_before(run):
    """Each test leaves nothing behind."""
    yield
    run.ok("link", "reset")
    assert run.json("drop", "--reset") == []
    assert run.json("drop", "show") == run.json("drop", "reset") == []
    run.ok("podroutes", "off")
    assert run.json("speaker", "restart", "node32")["alive"]
    assert run.json("verify") == []
    status = run.json("status")
    assert not any(status[name] for name in ("links", "filters", "podRoutes", "deadSpeakers"))


def reached(run):
    return json.loads(run("pingall", "--json").stdout)["reached"]


def test_a_link_is_changed_listed_and_reset(run):
    run.ok("link", "node33:eth0", "--rate", "10Mbit")
    assert run.ok("link", "rack-b:node33", "down").splitlines()[-1] == (
        "node33:eth0: rate 10Mbit, down")
    assert "node33:eth0: rate 10Mbit, down" in run.ok("status")
    assert [(link["end"], link["far"], link["up"], link["rateMbit"])
            for link in run.json("link", "show") if link["changed"]] == [
                ("node33:eth0", "rack-b:node33", False, 10)]
    assert run.json("verify") == [] and reached(run) == 2
    assert run.ok("link", "node33", "rack-b", "up").splitlines()[-1] == (
        "node33:eth0: rate 10Mbit, up")
    # The kernel tells of a carrier up to a second later (linkwatch).
    assert eventually(lambda: reached(run) == 6)


@pytest.mark.parametrize(("what", "stored", "pairs"), [
    (["ipip"], "IP protocol 4", 2), (["protocol", "4"], "IP protocol 4", 2),
    (["icmp", "frag-needed"], "ICMP type 3 code 4", 6), (["tcp/5432"], "TCP port 5432", 6),
], ids=str)
def test_a_router_drops_a_kind_of_packets_until_it_is_reset(run, what, stored, pairs):
    assert run.ok("drop", "r1", *what) == f"r1 drops {stored}\n"
    assert reached(run) == pairs
    (row,) = run.json("drop", "--show")
    assert (row["place"], row["drop"], row["packets"] > 0) == ("r1", stored, pairs == 2)
    assert f"r1: {stored}" in run.ok("status")
    if pairs == 2:
        assert "r1's packet filter drops it" in run("trace", "a", "c").stdout
    assert run.ok("drop", "--reset", "r1", *what) == "nothing is dropped\n"
    assert reached(run) == 6


def test_a_node_drops_what_its_hooks_see(run):
    run.ok("drop", "node33", "ipip")
    tunnel = run.json("status")["tunnel"]
    (row,) = run.json("drop")
    assert row["hooks"] == ["input", "forward", *(["output"] if tunnel == "kernel" else [])]
    assert reached(run) == 2


def test_routers_know_the_pods_blocks(run):
    assert run.ok("podroutes", "on").splitlines()[-1] == "r1 knows the pods' blocks"
    run.ok("mode", "Never")
    assert reached(run) == 6
    assert run.ok("podroutes", "off").splitlines()[-1] == "no router knows the pods' blocks"
    assert reached(run) == 2
    run.ok("mode", "Always")


def test_a_dead_speaker_learns_nothing_until_it_is_restarted(run):
    assert "is dead, and routes stay" in run.ok("speaker", "kill", "node32")
    assert run.json("status")["deadSpeakers"] == ["node32"]
    run.ok("pod", "add", "late", "--node", "node33", "--ip", "10.22.99.1")
    late = [route["place"] for route in run.json("routes")
            if route["destination"].startswith("10.22.99.")]
    assert sorted(set(late)) == ["node31", "node33"]
    assert "10.22.99." in run.ok("speaker", "restart", "node32")
    run.ok("pod", "delete", "late")


@pytest.mark.parametrize(("words", "status", "said"), [
    (["link", "node31:eth7", "down"], 2, "node31 has no link eth7: did you mean node31:eth0?"),
    (["link", "node31", "--rate", "3"], 2, "must be a rate such as 100Mbit"),
    (["link", "show", "--loss", "1%"], 2, "say NODE:DEVICE"),
    (["drop", "r1"], 2, "say WHERE and WHAT"),
    (["drop", "r1", "gre"], 2, "no kind of packets is called 'gre': say ipip, vxlan"),
    (["drop", "r1", "tcp/70000"], 2, "no kind of packets is called 'tcp/70000'"),
    (["drop", "r1:eth0", "ipip"], 2, "r1:eth0: a place drops on all of its devices: say r1"),
    (["drop", "r9", "ipip"], 3, "there is no node, pod, router or subnet 'r9'"),
    (["speaker", "kill", "r1"], 3, "r1 is not a node or router with bgp"),
], ids=str)
def test_a_mistake_is_one_line(run, words, status, said):
    done = run(*words)
    assert done.returncode == status and said in done.stderr and done.stderr.count("\n") == 1
