"""The page that steps through a trace: what its stops hold, and how a browser shows them."""

from __future__ import annotations

import json

import pytest
from report.test_page import chromium, complaints  # noqa: F401
from support.topologies import one_subnet

from calico_mn.control.dispatcher import Dispatcher, Job
from calico_mn.errors import ClusterError
from calico_mn.trace import analysis
from calico_mn.trace.journey import journey, page

RECORDINGS = ("always", "rp", "never-far", "vxlan", "vxlan-down")
TABLES = {"node31": ["default via 192.168.57.1 dev eth0",
                     "10.22.33.0/26 via 192.168.58.33 dev tunl0 proto bird onlink",
                     "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink"]}


@pytest.fixture
def made(recording):
    """made(name) -> the journey of a recording."""
    return lambda name, title="": journey(analysis.path_trace(recording(name)), TABLES, title)


def test_a_stop_has_headers_and_the_chosen_lines_of_its_table(made):
    stop = made("always")["stops"][1]
    assert (stop["place"], stop["leg"], stop["picture"], stop["hop"]) == ("node31", "forward", 0, 1)
    assert [(name, tunnel) for name, _, tunnel in stop["comes"]["headers"]] == [
        ("Ethernet", False), ("IPv4", False), ("ICMP", False)]
    assert [(name, tunnel) for name, _, tunnel in stop["goes"]["headers"]] == [
        ("Ethernet", False), ("IPv4", True), ("IPv4", False), ("ICMP", False)]
    assert [chosen for _, chosen in stop["table"]] == [True, True, False]


def test_a_line_of_another_table_is_shown_with_it(made):
    stop = made("always")["stops"][5]
    assert stop["place"] == "node33"
    assert ["table local: local 192.168.58.33 dev eth0 proto kernel scope host src 192.168.58.33",
            True] in stop["table"]


@pytest.mark.parametrize(("name", "headers"), [
    ("always", {"Ethernet", "IPv4", "ICMP"}), ("vxlan", {"Ethernet", "IPv4", "VXLAN", "ICMP"})])
def test_every_hop_of_every_leg_is_a_stop(made, recording, name, headers):
    path, stops = analysis.path_trace(recording(name)), made(name)["stops"]
    assert [stop["place"] for stop in stops] == [
        hop.namespace for leg in (path.forward, path.reply) for hop in leg.hops]
    assert {header[0] for stop in stops if stop["goes"] for header in stop["goes"]["headers"]
            } == headers


def test_where_it_was_dropped_the_last_stop_says_why(made):
    stops = [stop for stop in made("rp")["stops"] if stop["leg"] == "forward"]
    assert stops[-1]["place"] == "node32"
    assert stops[-1]["dropped"][0] == "DROPPED on the forward path in node32: rp-filter"
    assert not any(stop["dropped"] for stop in stops[:-1])


def test_a_page_escapes_what_it_holds(made):
    hostile = made("always", "</script><script>alert(1)</script>")
    text = page([hostile])
    assert text.count("<script") == 2 and "alert(1)</script>" not in text
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data) == [hostile]


@pytest.mark.root
def test_modes_are_not_changed_where_a_change_does_not_arrive(boot):
    net = boot(one_subnet("Always"))
    net.kill_speaker("node32")
    with pytest.raises(ClusterError, match="the speaker of node32 does not run"):
        Dispatcher(net).perform("trace", Job(net), {
            "source": "a", "destination": "b", "stops": True, "modes": True})


@pytest.mark.parametrize(("width", "screen"), [
    pytest.param(420, {"mobile": True}, id="phone"), pytest.param(1280, {"dark": True}, id="dark")])
@pytest.mark.parametrize("names", [*((name,) for name in RECORDINGS),
                                   ("always", "vxlan", "never-far")], ids=" ".join)
def test_keys_step_through_the_hops(chromium, made, tmp_path, names, width, screen):  # noqa: F811
    journeys = [made(name, name) for name in names]
    assert complaints(chromium, page(journeys), tmp_path / "path.html", width, **screen) == []
    count = max(len(item["stops"]) for item in journeys)
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", count - 1),
                      ("ArrowRight", count - 1), ("Home", 0), ("ArrowLeft", 0)):
        chromium.press(key)
        assert chromium.ask("document.getElementById('count').textContent") == (
            f"step {step + 1} of {count}")
        stops = [item["stops"][min(step, len(item["stops"]) - 1)] for item in journeys]
        assert chromium.ask("[...document.querySelectorAll('h3')].map(h => h.firstChild.data)"
                            ) == [stop["place"] for stop in stops]
        assert chromium.ask(
            "[...document.querySelectorAll('.journey')].map(one => [...one.querySelectorAll("
            "'.slide .current')].map(card => Number(card.getAttribute('data-hop'))))") == [
                [] if stop["picture"] is None else [stop["hop"]] for stop in stops]
    assert chromium.ask("document.documentElement.scrollWidth") == width
    chromium.ask("document.querySelectorAll('.rail button')[1].click()")
    assert chromium.ask("document.getElementById('count').textContent") == f"step 2 of {count}"
