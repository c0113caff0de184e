"""Measured against computed: what is checked, and what is said of each cause."""

import pytest

from calico_mn.measure.physics import PathLimit
from calico_mn.measure.statistics import spread
from calico_mn.report.link_limits import as_json, checks, explain
from calico_mn.report.summary import Row, Summary

LIMITS = {"cross-subnet": PathLimit(100, 1480, 1500)}
DIRECT, TUNNELLED = 95.58, 94.32


def row(mode, encapsulated, *rates, path="cross-subnet", variant=""):
    return Row(mode, path, 1, 1, int(bool(encapsulated)), 1, encapsulated=encapsulated,
               variant=variant,
               measures={("throughput", ""): spread(rates)} if rates else {})


def said(*rows):
    (paragraph,) = explain(Summary(rows), LIMITS)
    return paragraph


def test_modes_that_agree():
    text = said(row("Always", True, 94.2, 94.3, 94.4), row("Never", False, 95.5))
    assert text == (
        "Links of 100 Mbit/s (cross-subnet), measured of what header sizes allow:"
        " Always 94.3 of 94.32 Mbit/s (-0.02 %); Never 95.5 of 95.58 Mbit/s (-0.09 %)."
        " They agree within 0.5 %.")


@pytest.mark.parametrize(("rows", "reason"), [
    pytest.param([row("Always", True, DIRECT)], "this is what they would get without it",
                 id="mode"),
    pytest.param([row("Never", False, TUNNELLED)], "this is what they would get inside IPIP",
                 id="mode, the other way"),
    pytest.param([row("Never", False, 90, 93, 96)], "from 90 to 96, so this is scatter",
                 id="scatter"),
    pytest.param([row("Never", False, 97)], "such a link cannot carry so much", id="too fast"),
    pytest.param([row("Never", False, 80), row("Never", False, 100, path="same-node")],
                 "this machine moves no more than 100 Mbit/s between pods of one node",
                 id="a slow machine"),
    pytest.param([row("Never", False, 80), row("Never", False, 9000, path="same-node")],
                 "something held it back besides the link", id="too slow"),
])
def test_a_mode_that_does_not_agree_is_named_with_the_reason(rows, reason):
    text = said(*rows)
    assert f"{rows[0].mode} does not agree: " in text
    assert reason in text
    assert "They agree" not in text


def test_a_very_slow_link_needs_longer_transfers():
    limits = {"cross-subnet": PathLimit(1, 1480, 1500)}
    (text,) = explain(Summary((row("Never", False, 0.52, 0.53),)), limits)
    assert "try a longer --duration" in text


def test_only_who_differs_is_named():
    text = said(row("Always", True, TUNNELLED), row("Never", False, 80))
    assert "Always does not" not in text
    assert "Never does not agree" in text


@pytest.mark.parametrize("other", [
    pytest.param(row("Never", False, 95, path="same-subnet"), id="no limit on this path"),
    pytest.param(row("Never", False), id="no throughput"),
    pytest.param(row("Never", None, 95), id="not seen on the wire"),
])
def test_what_cannot_be_computed_is_not_checked(other):
    assert checks(Summary((other,)), LIMITS) == ()
    assert explain(Summary((other,)), LIMITS) == ()


def test_record():
    record = as_json(Summary((row("Always", True, 90.0),)), LIMITS)
    assert record == {
        "tolerance": 0.005,
        "limits": {"cross-subnet": {"rate": 100, "pod_mtu": 1480, "link_mtu": 1500}},
        "checks": [{"place": "cross-subnet", "mode": "Always", "encapsulated": True,
                    "measured": 90.0, "computed": 94.32, "deviation": -0.0458,
                    "agrees": False}],
    }


def test_each_variant_is_checked_against_its_own_limit():
    limits = {"cross-subnet, 50 Mbit/s": PathLimit(50, 1480, 1500),
              "cross-subnet, 100 Mbit/s": PathLimit(100, 1480, 1500)}
    rows = [row("Never", False, rate * 0.9558, variant=f"{rate} Mbit/s") for rate in (50, 100)]
    found = explain(Summary(tuple(rows)), limits)
    assert [text.partition(",")[0] for text in found] == [
        "Links of 50 Mbit/s (cross-subnet", "Links of 100 Mbit/s (cross-subnet"]
    assert all("They agree" in text for text in found)


@pytest.mark.parametrize(("variant", "reason"), [
    pytest.param("streams 2", "moves no more than 100 Mbit/s between pods of one node", id="same"),
    pytest.param("streams 8", "something held it back besides the link", id="another"),
])
def test_a_slow_machine_is_one_that_is_slow_in_the_same_variant(variant, reason):
    limits = {"cross-subnet, streams 2": PathLimit(100, 1480, 1500)}
    (text,) = explain(Summary((
        row("Never", False, 80, variant="streams 2"),
        row("Never", False, 100, path="same-node", variant=variant))), limits)
    assert reason in text


def test_stolen_cpu_time_is_a_reason_for_too_little_only():
    (text,) = explain(Summary((row("Never", False, 80),)), LIMITS, steal=0.3)
    assert "other machines took 30 % of the CPU time" in text
    (text,) = explain(Summary((row("Never", False, 99),)), LIMITS, steal=0.3)
    assert "such a link cannot carry so much" in text
