"""The story on running clusters.

     gateway .1
         |
    -----+------- hosts 192.168.57.0/24 ------+-----
         |                                    |
      node31 .31                           node32 .32
      a front end, 10.22.138.1             the back end, 10.22.151.11
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.engines import NEEDS_BIRD
from support.topologies import two_subnets

from calico_mn import CalicoNet, load_topology
from calico_mn.errors import ClusterError, UnsupportedError
from calico_mn.kernel.tunnel import choose
from calico_mn.walkthrough import replay as stage
from calico_mn.walkthrough.article import CHAPTERS, clusters
from calico_mn.walkthrough.replay import play
from calico_mn.walkthrough.step import DIFFERS, NAMED, summarise
from calico_mn.walkthrough.text import Renderer

ROOT = Path(__file__).resolve().parents[2]
TUNNEL = os.environ.get("CALICO_MN_TUNNEL", "auto")
ARTICLE = load_topology(ROOT / "topologies" / "article.yaml")


@pytest.fixture(scope="module")
def machine_can():
    try:
        choose(TUNNEL).close()
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.fixture
def net(machine_can):
    with CalicoNet(ARTICLE, tunnel=TUNNEL) as running:
        yield running


def walkthrough(*words):
    """calico-mn walkthrough, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "calico_mn", "walkthrough", "--tunnel", TUNNEL, *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=280, encoding="utf-8")


@pytest.mark.root
@NEEDS_BIRD
def test_the_article_holds_with_a_real_bird(machine_can):
    done = walkthrough("--engine", "bird")
    assert done.returncode == 0, done.stdout
    assert "routes between nodes by BIRD 2." in done.stdout


@pytest.mark.root
@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.ipip), "zh"])
def test_the_whole_story_holds(machine_can, language):
    done = walkthrough("--lang", language)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "  !" not in done.stdout.partition("Chapter 1" if language == "en" else "第 1 章")[2]
    assert done.stdout.count("\n  = ") > 15
    last = {"en": "  All that must match did.", "zh": "  该一致的全部一致。"}[language]
    assert done.stdout.splitlines()[-1] == last


@pytest.mark.root
@pytest.mark.ipip
def test_a_chapter_alone_as_json(machine_can):
    done = walkthrough("--chapter", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] and found["tunnel"] in ("ebpf", "kernel")
    route = next(step for step in found["steps"] if step["name"] == "route")
    assert route["where"] == "node32" and route["command"] == 'route -n|grep "10.22.151.11"'
    assert [line["verdict"] for line in route["lines"]] == ["agrees"]
    assert found["summary"]["lines"] == sum(len(step["lines"]) for step in found["steps"])


@pytest.mark.root
@pytest.mark.ipip
def test_a_route_that_is_missing_is_named_and_fails(net):
    deleted = net["node31"].popen(["ip", "route", "del", "10.22.151.0/26"])
    assert deleted.communicate(timeout=60) and deleted.returncode == 0
    chapter = replace(CHAPTERS[1], steps=CHAPTERS[1].steps[:1])
    result, = play(net, chapter)
    wrong, = [line for line in result.comparison.lines if line.verdict == DIFFERS]
    assert wrong.article == "10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink"
    found = summarise([result])
    assert not found.ok and found.differ == 1 and found.failed == (1,)
    shown = [line.text for line in Renderer("en").step(result)]
    assert f"    article: {wrong.article}" in shown
    assert "  Not as it must be: 1" in [line.text for line in Renderer("en").summary(found)]


@pytest.mark.root
@pytest.mark.ipip
def test_packets_that_never_come_are_missed_and_not_waited_for_in_vain(net, monkeypatch):
    monkeypatch.setattr(stage, "_QUIET_S", 1.0)
    chapter = CHAPTERS[1]
    capture = next(step for step in chapter.steps if step.name == "wire")
    net.set_ipip_mode("Never")
    result, = play(net, replace(chapter, steps=(capture,)))
    assert not result.holds and not any(held for _, held in result.expects)
    assert result.comparison.others[0].startswith("tcpdump: listening on eth0")
    assert summarise([result]).wrong == ()


@pytest.mark.root
@pytest.mark.ipip
def test_nothing_is_taken_as_agreed_without_having_been_printed(net):
    for result in play(net, replace(CHAPTERS[2], steps=CHAPTERS[2].steps[:1])):
        printed = [line.rstrip() for line in result.output.splitlines()]
        for line in result.comparison.lines:
            assert line.real is None or line.real in printed
        assert NAMED in {line.verdict for line in result.comparison.lines}


def test_a_summary_of_nothing_counts_no_lines():
    shown = [line.text for line in Renderer("en").summary(summarise([]))]
    assert "  the article shows no lines here" in shown
    assert not any("0 agree" in line for line in shown)


@pytest.mark.parametrize(("topology", "missing"), [
    pytest.param(two_subnets("Always"), "the pod sit/sit-web-backend-58f48df4c9-b2q28",
                 id="another cluster"),
    pytest.param(replace(ARTICLE, veth_mtu=0), 'veth_mtu: "1500"', id="another MTU"),
    pytest.param(replace(ARTICLE, pods=ARTICLE.pods[1:]), "a pod with the address 10.22.138.1",
                 id="no front end"),
    pytest.param(replace(ARTICLE, underlay=replace(ARTICLE.underlay, routers=())),
                 "a router whose address is 192.168.57.1", id="no gateway"),
])
def test_another_topology_is_refused_with_what_it_lacks(topology, missing):
    with pytest.raises(ClusterError, match="What is missing") as refusal:
        clusters(topology)
    assert missing in str(refusal.value)


@pytest.mark.root
@pytest.mark.parametrize(("words", "said"), [
    (["--chapter", "9"], "there is no chapter 9: they are 1 to 8"),
    (["--pause"], "--pause needs a terminal"),
    (["topologies/two-subnets.yaml"], "is not the article's cluster"),
])
def test_a_wrong_request_is_refused(words, said):
    done = walkthrough(*words)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""
