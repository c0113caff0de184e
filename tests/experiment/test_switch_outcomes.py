"""What readings of a change of mode say taken together. No root."""

from __future__ import annotations

import pytest

from calico_mn.measure.readings import Reading, by_factors
from calico_mn.measure.reverse_path import (
    DIES,
    LIVES,
    ONLY_FROM,
    ONLY_TO,
    PARTLY,
    VARIES,
    cases,
)
from experiments.mode_switch import COUNTER, ONE, STREAM, alone_picture, filters_table

MINE, OTHER = "default/a", "default/b"


def stream(source, lasting, repeat=1, lost=0, rp_filter=2, after="Never"):
    return Reading(1, STREAM, repeat,
                   {"before": "Always", "after": after, "followers": ONE,
                    "rp_filter": rp_filter, "path": "same-subnet", "source": source}, {},
                   {"lasting_loss": lasting, "lost": lost}, {"lost_at": []})


def found(*readings):
    return cases(readings, "node31", {"same-subnet": [MINE, OTHER]})


@pytest.mark.parametrize(("out", "back", "word"), [
    (0, 0, LIVES), (1, 1, DIES), (0, 1, ONLY_FROM), (1, 0, ONLY_TO), (0.5, 0, PARTLY)],
    ids=[LIVES, DIES, ONLY_FROM, ONLY_TO, PARTLY])
def test_a_verdict_is_about_both_directions(out, back, word):
    (case,) = found(stream(MINE, out), stream(OTHER, back))
    assert case.verdict == word
    assert (case.change, case.rp_filter, case.path) == ("Always to Never", 2, "same-subnet")


def test_repeats_that_disagree_vary():
    (case,) = found(stream(MINE, 0), stream(OTHER, 0), stream(MINE, 1, 2), stream(OTHER, 1, 2))
    assert case.verdict == VARIES


def test_losses_of_both_directions_are_added_for_each_repeat():
    (case,) = found(stream(MINE, 0, lost=3), stream(OTHER, 0, lost=4), stream(MINE, 0, 2, lost=1))
    assert case.lost == [7, 1]


def test_what_was_not_measured_is_shown_as_not_tested():
    """A run that was cut short: of two changes and two filters half is missing."""
    (grid,) = alone_picture(found(
        stream(MINE, 0), stream(OTHER, 0), stream(MINE, 1, rp_filter=1, after="CrossSubnet")),
        "node31")
    assert grid.svg.count(">not tested<") == 2
    assert VARIES not in grid.alt


def test_packets_that_filters_dropped_are_by_node():
    counts = [Reading(1, COUNTER, 1, {**stream(MINE, 0).setting, "node": node}, {},
                      {"rp_dropped": count}, {}) for node, count in (("node31", 0), ("node32", 9))]
    (table,) = filters_table(by_factors(counts, "before", "after", "followers", "rp_filter"),
                             "node31")
    assert table.columns == ("change", "rp_filter", "node31", "node32")
    assert table.rows == (("Always to Never", 2, 0, 9),)


@pytest.mark.parametrize(("out", "back", "shown"), [
    (1, 0, "only to node31"), (0, 1, "only from node31"), (1, 1, "dies")])
def test_a_direction_is_named_after_the_node_that_changed(out, back, shown):
    (case,) = found(stream(MINE, out), stream(OTHER, back))
    assert case.words == shown
