"""What readings of a change of mode say taken together. No root."""

from __future__ import annotations

import pytest

from calico_mn.measure.readings import Reading
from calico_mn.measure.reverse_path import DIES, LIVES, ONLY_FROM, ONLY_TO, PARTLY
from experiments.mode_switch import (
    COUNTER,
    ONE,
    STREAM,
    VARIES,
    Change,
    Outcomes,
    alone_picture,
)

CHANGE = Change("Always", "Never", ONE, 2)
MINE, OTHER = "default/a", "default/b"


def stream(source, lasting, repeat=1, lost=0, rp_filter=2, after="Never"):
    return Reading(1, STREAM, repeat,
                   {"before": "Always", "after": after, "followers": ONE,
                    "rp_filter": rp_filter, "path": "same-subnet", "source": source}, {},
                   {"lasting_loss": lasting, "lost": lost}, {"lost_at": []})


def outcomes(*readings):
    return Outcomes(readings, "node31", [MINE])


@pytest.mark.parametrize(("out", "back", "word"), [
    (0, 0, LIVES), (1, 1, DIES), (0, 1, ONLY_FROM), (1, 0, ONLY_TO), (0.5, 0, PARTLY)],
    ids=[LIVES, DIES, ONLY_FROM, ONLY_TO, PARTLY])
def test_a_verdict_is_about_both_directions(out, back, word):
    found = outcomes(stream(MINE, out), stream(OTHER, back))
    assert found.verdict(CHANGE, "same-subnet") == word


def test_repeats_that_disagree_vary():
    found = outcomes(stream(MINE, 0), stream(OTHER, 0), stream(MINE, 1, 2), stream(OTHER, 1, 2))
    assert found.verdict(CHANGE, "same-subnet") == VARIES


def test_losses_of_both_directions_are_added_for_each_repeat():
    found = outcomes(stream(MINE, 0, lost=3), stream(OTHER, 0, lost=4), stream(MINE, 0, 2, lost=1))
    assert found.lost(CHANGE, "same-subnet") == [7, 1]


def test_what_was_not_measured_has_no_verdict_and_is_shown_as_not_tested():
    """A run that was cut short: of two changes and two filters half is missing."""
    found = outcomes(stream(MINE, 0), stream(OTHER, 0),
                     stream(MINE, 1, rp_filter=1, after="CrossSubnet"))
    assert found.verdict(CHANGE._replace(rp_filter=1), "same-subnet") == ""
    grid, = alone_picture(found)
    assert grid.svg.count(">not tested<") == 2
    assert VARIES not in grid.alt


def test_packets_that_filters_dropped_are_by_node():
    found = outcomes(Reading(1, COUNTER, 1, {**stream(MINE, 0).setting, "node": "node32"}, {},
                             {"rp_dropped": 9}, {}))
    assert found.filtered == {(CHANGE, "node32"): [9]}


@pytest.mark.parametrize(("word", "shown"), [
    (ONLY_TO, "only to node31"), (ONLY_FROM, "only from node31"), (DIES, "dies")])
def test_a_direction_is_named_after_the_node_that_changed(word, shown):
    assert outcomes().named(word) == shown
