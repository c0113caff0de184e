import math
from itertools import product

import pytest

from calico_mn.measure.equal_paths import (
    ONE_PATH,
    SPREAD,
    UNEVEN,
    fair_limit,
    larger_share,
    spread_verdict,
)


@pytest.mark.parametrize("flows", [1, 2, 7, 10])
@pytest.mark.parametrize("confidence", [0.3, 0.5, 0.95, 0.999])
def test_the_limit_is_that_of_all_throws_counted(flows, confidence):
    throws = [max(sum(throw), flows - sum(throw)) for throw in product((0, 1), repeat=flows)]
    most = next(most for most in range(flows + 1)
                if sum(throw <= most for throw in throws) >= confidence * len(throws))
    assert fair_limit(flows, confidence) == most / flows


def test_the_limit_tends_to_that_of_the_normal_distribution():
    for flows in (200, 5000):
        assert fair_limit(flows, 0.95) == pytest.approx(
            0.5 + 1.96 * math.sqrt(0.25 / flows), abs=0.6 / flows)
    assert fair_limit(200, 0.95) == 0.57


def test_no_flows_have_no_shares():
    with pytest.raises(ValueError, match="no flows"):
        fair_limit(0, 0.95)


@pytest.mark.parametrize(("shares", "word"), [
    pytest.param([0.0], ONE_PATH, id="all by the second"),
    pytest.param([1.0, 0.0, 0.995], ONE_PATH, id="now the one, now the other, and ARP"),
    pytest.param([0.5], SPREAD, id="even"),
    pytest.param([0.45, 0.6], SPREAD, id="even together"),
    pytest.param([0.7], UNEVEN, id="too far for chance"),
    pytest.param([0.6, 0.6, 0.6], UNEVEN, id="too far together"),
    pytest.param([1.0, 0.5], UNEVEN, id="one path but once"),
])
def test_verdicts_for_200_flows_a_repeat(shares, word):
    assert spread_verdict(shares, 200) == word


def test_either_way_may_be_the_larger_share():
    assert larger_share(0.25) == larger_share(0.75) == 0.75
