from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.measure.trials import Trial, interleaved

MODES = ("Always", "CrossSubnet", "Never")
PATHS = ("same-node", "cross-subnet")


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_each_block_holds_every_combination_once(seed, repeats):
    order = interleaved(MODES, PATHS, repeats, seed)
    size = len(MODES) * len(PATHS)
    assert len(order) == size * repeats
    for block in range(repeats):
        trials = order[block * size:(block + 1) * size]
        assert {t.repeat for t in trials} == {block + 1}
        assert Counter((t.mode, t.path) for t in trials) == Counter(
            {(mode, path): 1 for mode in MODES for path in PATHS})


def test_a_seed_gives_one_order_everywhere():
    assert interleaved(MODES, PATHS, 2, 1) == interleaved(MODES, PATHS, 2, 1)
    assert interleaved(("A", "B"), ("p",), 3, 1) == (
        Trial("B", "p", 1), Trial("A", "p", 1), Trial("B", "p", 2), Trial("A", "p", 2),
        Trial("A", "p", 3), Trial("B", "p", 3))


def test_seeds_and_blocks_differ_in_order():
    orders = {interleaved(MODES, PATHS, 1, seed) for seed in range(20)}
    assert len(orders) > 15
    order = interleaved(MODES, PATHS, 4, 1)
    blocks = {tuple((t.mode, t.path) for t in order[i:i + 6]) for i in range(0, 24, 6)}
    assert len(blocks) > 1


@pytest.mark.parametrize(("modes", "paths", "repeats"), [((), PATHS, 2), (MODES, (), 2)])
def test_without_modes_or_paths_there_is_no_trial(modes, paths, repeats):
    assert interleaved(modes, paths, repeats, 1) == ()
