"""The helpers themselves: what they must notice, and what they must not forgive."""

from __future__ import annotations

import pytest
from support import connectivity
from support.article import normal
from support.connectivity import Connectivity, expect_connectivity, full_mesh

from calico_mn.walkthrough.article import LINES


@pytest.fixture
def net(monkeypatch):
    """a and b reach each other; c reaches a, and no pod reaches c."""
    answers = {("a", "b"), ("b", "a"), ("c", "a")}
    monkeypatch.setattr(connectivity, "answered", lambda _net, pairs: {
        pair: pair in answers for pair in pairs})


def test_a_matrix_that_holds_passes(net):
    expect_connectivity(net, {"a": {"b"}, "b": {"a"}, "c": {"a"}})


def test_a_matrix_that_does_not_hold_is_drawn_with_what_differs(net):
    with pytest.raises(AssertionError) as failure:
        expect_connectivity(net, full_mesh("a", "b") | {"c": {"b"}})
    assert str(failure.value).splitlines()[-4:] == [
        "     a  b  c",
        "a    -  y  .",
        "b    y  -  .",
        "c   !y !.  -",
    ]


def test_a_destination_without_a_row_is_a_mistake():
    with pytest.raises(AssertionError, match="a: no row for d"):
        Connectivity({"a": {"d"}})


def test_a_declared_matrix_counts_as_unchecked_until_it_is_checked(net):
    matrix = Connectivity({"a": {"b"}, "b": {"a"}})
    assert connectivity.unchecked == [matrix]
    matrix.check(net)
    assert connectivity.unchecked == []


@pytest.mark.parametrize(("text", "old", "new"), [
    (LINES["ip_route"], "onlink", ""),
    (LINES["ip_route"], "dev tunl0", "dev eth0"),
    (LINES["ip_route"], "proto bird", "proto 80"),
    (LINES["ip_route"], "10.22.138.1 ", "10.22.138.2 "),
    (LINES["pod_neigh"], "REACHABLE", "STALE"),
    (LINES["pod_neigh"], "ee:ee:ee:ee:ee:ee", "ee:ee:ee:ee:ee:e0"),
    (LINES["tunl0"], "mtu 1480", "mtu 1500"),
    (LINES["tunl0"], "NOARP,UP", "UP"),
    (LINES["pod_tunl0"], "DOWN", "UP"),
])  # fmt: skip
def test_normalising_does_not_forgive_what_the_article_says(text, old, new):
    assert old in text
    for tunnel in ("kernel", "ebpf"):
        assert normal(text, tunnel=tunnel) != normal(text.replace(old, new), tunnel=tunnel)


def test_the_rules_for_a_tun_device_hold_for_the_ebpf_back_end_only():
    shown = ("2: tunl0: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN "
             "group default qlen 1000\n    inet 10.22.138.0/32 scope global tunl0\n")
    assert normal(shown, tunnel="ebpf") == normal(LINES["tunl0"])
    assert normal(shown, tunnel="kernel") != normal(LINES["tunl0"])
