"""A fabric that drops IP protocol 4: who reaches whom, and what goes on all the same.

     node31  a        node32  b                node33  c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

r1 knows the pods' blocks throughout, so that Never connects a and b with c.
"""

import csv
import subprocess
from functools import partial
from itertools import permutations

import pytest

from calico_mn.measure.reading_log import load_readings

from .conftest import ROOT, run_script, topology

pytestmark = pytest.mark.root

SCRIPT = ROOT / "experiments" / "blocked_protocol_4.py"
MODES = ("Always", "CrossSubnet", "Never")
PHASES = ("before", "everywhere", "routers", "after")

ALL = {"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}}
NEIGHBOURS = {"a": {"b"}, "b": {"a"}, "c": set()}
NOBODY = {"a": set(), "b": set(), "c": set()}
NODES = {"node31": {"node32", "node33"}, "node32": {"node31", "node33"},
         "node33": {"node31", "node32"}}

#: (mode, phase) -> whom each pod reaches
PODS = {
    ("Always", "before"): ALL,
    ("Always", "everywhere"): NOBODY,
    ("Always", "routers"): NEIGHBOURS,
    ("Always", "after"): ALL,
    ("CrossSubnet", "before"): ALL,
    ("CrossSubnet", "everywhere"): NEIGHBOURS,
    ("CrossSubnet", "routers"): NEIGHBOURS,
    ("CrossSubnet", "after"): ALL,
    ("Never", "before"): ALL,
    ("Never", "everywhere"): ALL,
    ("Never", "routers"): ALL,
    ("Never", "after"): ALL,
}
#: (mode, phase) -> which device dropped how many pings: two for each lost ordered pair
DROPPED = {
    # a to b and c, b to a and c; c to a and b
    ("Always", "everywhere"): {"rack-a": 8, "rack-b": 4, "r1": 0},
    ("Always", "routers"): {"rack-a": 0, "rack-b": 0, "r1": 8},
    ("CrossSubnet", "everywhere"): {"rack-a": 4, "rack-b": 4, "r1": 0},
    ("CrossSubnet", "routers"): {"rack-a": 0, "rack-b": 0, "r1": 8},
}
NOTHING = {"rack-a": 0, "rack-b": 0, "r1": 0}


run = partial(run_script, SCRIPT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    for family in ("ip", "bridge"):
        asked = subprocess.run(["unshare", "-n", "nft", "add", "table", family, "t"],
                               capture_output=True, text=True, timeout=60, check=False)
        if asked.returncode:
            pytest.skip(f"nft cannot filter in family {family} here: {asked.stderr.strip()[:120]}")
    directory = tmp_path_factory.mktemp("blocked")
    done = run("--quick", "--output", directory / "out",
               "--topology", topology(directory, a="node31", b="node32", c="node33"))
    assert done.returncode == 0, done.stderr
    return done, directory / "out"


def readings(output, instrument):
    return [r for r in load_readings(output / "results.jsonl") if r.instrument == instrument]


def reached(output, instrument):
    """(mode, phase) -> who -> whom."""
    found = {}
    for reading in readings(output, instrument):
        where = reading.setting
        source, destination = (where[end].removeprefix("default/")
                               for end in ("source", "destination"))
        mine = found.setdefault((where["mode"], where["phase"]), {}).setdefault(source, set())
        if reading.values["reachable"]:
            mine.add(destination)
    return found


def test_which_pods_live(finished):
    assert reached(finished[1], "ping") == PODS


def test_nodes_reach_each_other_throughout(finished):
    assert reached(finished[1], "node ping") == dict.fromkeys(PODS, NODES)


def test_tcp_to_the_port_of_bgp_works_throughout(finished):
    each_pair_once = {"node31": {"node32", "node33"}, "node32": {"node33"}}
    assert reached(finished[1], "node tcp") == dict.fromkeys(PODS, each_pair_once)


def test_no_session_and_no_route_goes(finished):
    speakers = readings(finished[1], "speaker")
    assert len(speakers) == len(PODS) * 3
    assert {(r.values["sessions"], r.values["routes"]) for r in speakers} == {(2, 2)}


def test_lost_pings_die_in_the_first_device_that_drops(finished):
    found = {}
    for reading in readings(finished[1], "filter"):
        where = reading.setting
        found.setdefault((where["mode"], where["phase"]), {})[where["place"]] = (
            reading.values["dropped"])
    assert found == {**dict.fromkeys(PODS, NOTHING), **DROPPED}


def test_pings_that_were_tunnelled_are_those_that_die(finished):
    tunnelled = {(r.setting["mode"], r.setting["source"], r.setting["destination"])
                 for r in readings(finished[1], "ping") if r.setting["phase"] == "before"
                 and r.seen["encapsulated"]}
    lost = {(r.setting["mode"], r.setting["source"], r.setting["destination"])
            for r in readings(finished[1], "ping") if r.setting["phase"] == "everywhere"
            and not r.values["reachable"]}
    assert tunnelled == lost
    assert len(lost) == len(list(permutations("abc", 2))) + 4


def test_the_report_says_what_is_treacherous(finished):
    done, output = finished
    text = " ".join(done.stdout.split())
    assert "24 of 24 pings between nodes were answered and 12 of 12 pairs of nodes" in text
    assert "no session went down and no route changed" in text
    assert "The filters counted 36 dropped packets for 18 lost pairs" in text
    assert "Always, everywhere: 0 of 6" in text
    assert "Never, throughout: 6 of 6" in text
    with open(output / "where.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[:3] == [["mode", "dropped", "pairs lost", "rack-a", "rack-b", "r1"],
                        ["Always", "everywhere", "6", "8", "4", "0"],
                        ["Always", "routers", "4", "", "", "8"]]
    assert {"state.csv", "everywhere.svg", "routers.png", "report.html"} <= {
        path.name for path in output.iterdir()}
    assert done.stderr == ""


def test_vxlan_dies_by_its_port(finished, tmp_path):
    output = tmp_path / "out"
    done = run("--quick", "--encapsulation", "vxlan", "--modes", "Always", "--output", output,
               "--topology", topology(tmp_path, a="node31", b="node32", c="node33"))
    assert done.returncode == 0, done.stderr
    assert reached(output, "ping") == {key: value for key, value in PODS.items()
                                       if key[0] == "Always"}
    assert {(r.values["sessions"], r.values["routes"])
            for r in readings(output, "speaker")} == {(2, 2)}
    assert "with UDP port 4789 dropped everywhere" in " ".join(done.stdout.split())
    assert "protocol 4" not in done.stdout and "IPIP" not in done.stdout


def test_a_run_can_be_taken_up_again(finished):
    path = finished[1] / "results.jsonl"
    whole = path.read_text()
    kept = "".join(whole.splitlines(keepends=True)[:-30])
    path.write_text(kept)
    (finished[1] / "summary.json").unlink()  # else it counts as finished
    again = run("--resume", finished[1])
    assert again.returncode == 0, again.stderr
    assert path.read_text().startswith(kept)
    assert path.read_text().count("\n") == whole.count("\n")
    assert reached(finished[1], "ping") == PODS
