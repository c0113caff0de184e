"""Selectors of labels, and which pools give an address."""

import dataclasses

import pytest

from calico_mn.calico.pools import usable_pools
from calico_mn.model import TUNNEL, WORKLOAD
from calico_mn.selector import parse_selector

from .clusters import node, pool

LABELS = {"rack": "r1", "zone": "eu-west", "kubernetes.io/os": "linux", "in": "x",
          "spaced": "a  b"}


@pytest.mark.parametrize(("text", "expected"), [
    ("", True), ("all()", True), ("global()", True), ("!all()", False), ("! all( )", False),
    ("rack == 'r1'", True), ('rack == "r2"', False), ("rack=='r1'", True),
    ("rack != 'r1'", False), ("none != 'r1'", True), ("none == 'r1'", False),
    ("has(rack)", True), ("has(none)", False), ("!has(none)", True),
    ("rack in {'r1', 'r2'}", True), ("rack in {}", False), ("rack not in {'r2'}", True),
    ("none not in {'r2'}", True), ("none in {'r2'}", False), ("rack  not   in {'r1'}", False),
    ("zone contains 'west'", True), ("zone starts with 'eu'", True), ("zone ends with 'eu'", False),
    ("none contains ''", False), ("kubernetes.io/os == 'linux'", True), ("in == 'x'", True),
    ("rack in{'r1'}", True), ("rack notin {'r2'}", True), ("zone startswith 'eu'", True),
    ("zone endswith'west'", True), ("zone contains'west'", True), ("in in {'x'}", True),
    ("has( rack )", True), ("spaced == 'a  b'", True), ("rack in {'r1',}", True),
    ("not in {'y'} || contains contains 'z'", False),
    ("rack == 'r1' && zone == 'x'", False), ("rack == 'r1' || zone == 'x'", True),
    ("rack == 'r2' && has(zone) || has(rack)", True),
    ("rack == 'r2' && (has(zone) || has(rack))", False),
    ("!(rack == 'r2')", True), ("!!has(rack)", True), ("((all()))", True),
])
def test_a_selector_is_true_of_labels(text, expected):
    assert parse_selector(text)(LABELS) is expected


@pytest.mark.parametrize("text", [
    "rack", "rack ==", "rack == r1", "== 'r1'", "rack == 'r1' &&", "(all()", "all())", "has()",
    "rack in 'r1'", "rack in {'r1'", "rack = 'r1'", "rack == 'r1", "a b", "\x00", "!", "&&",
    "(" * 1000, "!" * 1000, "rack not 'x'",
])
def test_what_is_no_selector_is_refused(text):
    with pytest.raises(ValueError, match=r"expected|nested"):
        parse_selector(text)


@pytest.mark.parametrize(("text", "message"), [
    ("rack == 1", "at character 9, a text in quotes is expected before '1'"),
    ("rack = 'r1'", "at character 6, \"= 'r1'\" is not expected there"),
    ("(has(rack)", "at character 11, ) is expected before 'the end'"),
    ("has(rack) zone", "at character 11, 'zone' is not expected there"),
    ("rack zone == 'x'", "at character 6, an operator such as == is expected after 'rack'"),
    ("h\u00e9t == 'x'", "at character 2, \"\u00e9t == 'x'\" is not expected there"),
    ("has(a) &&  || has(b)", "at character 12, a label is expected before '||'"),
])
def test_the_place_of_a_mistake(text, message):
    with pytest.raises(ValueError) as caught:
        parse_selector(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(("change", "use", "requested", "expected"), [
    ({}, WORKLOAD, (), True), ({}, TUNNEL, (), True),
    ({"allowed_uses": ("LoadBalancer",)}, WORKLOAD, (), False),
    ({"allowed_uses": ("LoadBalancer",)}, WORKLOAD, ("p",), False),
    ({"allowed_uses": ("Tunnel",)}, TUNNEL, (), True),
    ({"disabled": True}, WORKLOAD, ("p",), False),
    ({"node_selector": "rack == 'r1'"}, WORKLOAD, (), True),
    ({"node_selector": "rack == 'r2'"}, WORKLOAD, (), False),
    ({"node_selector": "rack == 'r2'"}, WORKLOAD, ("p",), True),
    ({"is_automatic": False}, WORKLOAD, (), False),
    ({"is_automatic": False}, WORKLOAD, ("10.0.0.0/24",), True),
    ({}, WORKLOAD, ("other",), False),
])
def test_a_pool_is_usable(change, use, requested, expected):
    made = dataclasses.replace(pool("10.0.0.0/24", name="p"), **change)
    host = dataclasses.replace(node("n", "10.9.0.1/24"), labels=(("rack", "r1"),))
    assert usable_pools([made], host, use, requested) == ((made,) if expected else ())
