"""The order of trials: every setting once in each block, by a seed that means the same anywhere."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.measure.trials import Trial, factorial, interleaved

SETTINGS = factorial(mode=("Always", "CrossSubnet", "Never"), path=("same-node", "cross-subnet"))
LEVELS = st.dictionaries(st.text("abcdef", min_size=1, max_size=5),
                         st.lists(st.integers(0, 9), unique=True, max_size=3), max_size=4)


def levels(trial):
    return tuple(sorted(trial.setting.items()))


@given(LEVELS)
def test_a_factorial_holds_every_combination_once(factors):
    found = factorial(**factors)
    expected = 1
    for values in factors.values():
        expected *= len(values)
    assert len({tuple(setting.items()) for setting in found}) == len(found) == expected
    assert all(list(setting) == list(factors) for setting in found)
    assert all(setting[name] in values for setting in found for name, values in factors.items())


def test_the_last_factor_of_a_factorial_varies_fastest():
    assert factorial(streams=(1, 8), rate=(0, 100)) == (
        {"streams": 1, "rate": 0}, {"streams": 1, "rate": 100},
        {"streams": 8, "rate": 0}, {"streams": 8, "rate": 100})


@pytest.mark.parametrize(("factors", "found"), [
    pytest.param({}, ({},), id="no factor: one setting of nothing"),
    pytest.param({"mode": ("Never",), "rate": ()}, (), id="a factor without levels"),
])
def test_a_factorial_of_little(factors, found):
    assert factorial(**factors) == found


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_each_block_holds_every_setting_once(seed, repeats):
    order = interleaved(SETTINGS, repeats, seed)
    size = len(SETTINGS)
    assert len(order) == size * repeats
    for block in range(repeats):
        trials = order[block * size:(block + 1) * size]
        assert {trial.repeat for trial in trials} == {block + 1}
        assert Counter(map(levels, trials)) == Counter(
            tuple(sorted(setting.items())) for setting in SETTINGS)


def test_settings_need_not_be_a_factorial():
    settings = ({"mode": "Never", "path": "same-node"}, {"mode": "Always", "path": "cross-subnet"})
    assert Counter(map(levels, interleaved(settings, 3, 1))) == {
        (("mode", "Never"), ("path", "same-node")): 3,
        (("mode", "Always"), ("path", "cross-subnet")): 3}


def test_a_seed_gives_one_order_everywhere():
    assert interleaved(SETTINGS, 2, 1) == interleaved(SETTINGS, 2, 1)
    a, b = {"mode": "A"}, {"mode": "B"}
    assert interleaved((a, b), 3, 1) == (
        Trial(b, 1), Trial(a, 1), Trial(b, 2), Trial(a, 2), Trial(a, 3), Trial(b, 3))


def test_more_repeats_begin_with_the_same_trials():
    assert interleaved(SETTINGS, 6, 1)[:12] == interleaved(SETTINGS, 2, 1)


def test_seeds_and_blocks_differ_in_order():
    orders = {tuple(map(levels, interleaved(SETTINGS, 1, seed))) for seed in range(20)}
    assert len(orders) > 15
    order = interleaved(SETTINGS, 4, 1)
    assert len({tuple(map(levels, order[i:i + 6])) for i in range(0, 24, 6)}) > 1


@pytest.mark.parametrize(("settings", "repeats"), [((), 2), (SETTINGS, 0)])
def test_without_settings_or_repeats_there_is_no_trial(settings, repeats):
    assert interleaved(settings, repeats, 1) == ()


def test_a_trial_names_its_levels():
    trial = Trial({"mode": "Never", "streams": 8}, 3)
    assert (trial["streams"], trial.text("streams")) == (8, "8")
    assert str(trial) == "Never, 8, repeat 3"
    with pytest.raises(KeyError):
        trial["direction"]
