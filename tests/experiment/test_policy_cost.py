"""What policies cost, from end to end: structure and truth, never a time."""

import json
from collections import Counter
from functools import partial

import pytest

from calico_mn.errors import CalicoMnError
from calico_mn.measure.reading_log import load_readings
from calico_mn.measure.readings import Reading
from calico_mn.topology.scaled import policies
from experiments.policy_cost import Measured, grows

from .conftest import ROOT, run_script, topology

SCRIPT = ROOT / "experiments" / "policy_cost.py"


run = partial(run_script, SCRIPT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run, and the directory of its results."""
    directory = tmp_path_factory.mktemp("run")
    output, cluster = directory / "results", topology(directory, a="node31", b="node32", d="node31")
    done = run("--quick", "--repeats", 1, "--duration", 0.05, "--policies", 3, "--rules", 2,
               "--members", 20, "--iptables", "nft", "--topology", cluster, "--output", output)
    assert done.returncode == 0, done.stderr
    return done, output


@pytest.mark.root
def test_each_setting_is_measured_on_both_paths(finished):
    readings = load_readings(finished[1] / "results.jsonl")
    levels = {("none", "policies", 0): 0, ("nft", "policies", 0): 0, ("nft", "policies", 3): 1,
              ("nft", "rules", 2): 1, ("nft", "members", 20): 1}
    assert Counter((r.setting["filter"], r.setting["series"], r.setting["count"], r.setting["path"],
                    r.instrument) for r in readings) == {
        (*level, path, instrument): 1 for level, change in levels.items()
        for path in ("same-node", "same-subnet") for instrument in (
            "new packets", *["policy change"] * change,
            *(("tcp", "round trips", "tcp connections") if level[1] == "policies" else ()))}
    for reading in readings:
        for metric in ("new_packet", "throughput", "latency", "connections", "policy_change"):
            assert reading.values.get(metric, 1) > 0


@pytest.mark.root
def test_the_report_and_its_pictures_are_there(finished):
    done, output = finished
    assert done.stderr == ""
    assert "same-subnet, nft: Felix's rules without a policy, against none" in " ".join(
        done.stdout.split())
    assert json.loads((output / "summary.json").read_text())["complete"] is True
    assert {"report.html", "new-packets.csv", "flows.csv", "changes.csv", "new-policies.svg"} <= {
        path.name for path in output.iterdir()}


@pytest.mark.root
def test_a_run_is_taken_up_where_it_was_cut_short(finished):
    path = finished[1] / "results.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[:-2]))
    (finished[1] / "summary.json").unlink()  # else it counts as finished
    done = run("--resume", finished[1])
    assert done.returncode == 0, done.stderr
    again = path.read_text().splitlines(keepends=True)
    assert again[:-2] == whole[:-2]
    assert len(again) == len(whole)


def test_too_many_members_are_refused():
    with pytest.raises(CalicoMnError, match=r"need more addresses than 198\.18\.0\.0/15 has"):
        policies(100, rules=100, members=100)


def test_the_last_rule_of_all_decides():
    made, sets = policies(3, rules=2, members=5)
    assert [[bool(rule.source.selector) for rule in policy.ingress] for policy in made] == [
        [True, True], [True, True], [True, True, False]]
    assert [policy.order for policy in made] == [1, 2, 3]
    nets = [net for item in sets for net in item.nets]
    assert len(sets) == 6
    assert len(set(nets)) == len(nets) == 30


def reading(repeat, count, time, series="policies"):
    return Reading(1, "new packets", repeat, {"path": "same-node", "filter": "nft",
                   "series": series, "count": count}, {}, {"new_packet": time}, {})


@pytest.mark.parametrize(("times", "said"), [
    pytest.param([(0, 10), (10, 13), (100, 40)], "0.300 us a policy (R2 = 1.000)", id="a line"),
    pytest.param([(0, 10), (10, 10), (100, 10)], "for 100 policies in place of 0 +0.00 us"
                 " [-0.01 to +0.01, 95 %], no difference detectable", id="flat"),
    pytest.param([(0, 10), (10, 30), (100, 11)], "for 100 policies in place of 0 +1.00 us"
                 " [+0.99 to +1.01, 95 %]", id="more, but no line"),
])
def test_a_fit_is_printed_where_there_is_one(times, said):
    noise = {repeat: 0.01 * (-1) ** repeat for repeat in range(1, 9)}
    measured = Measured([
        reading(repeat, count, time + (noise[repeat] if count else 0))
        for repeat in noise for count, time in times])
    assert grows("policies", measured.growth("same-node", "nft", "policies")) == said
