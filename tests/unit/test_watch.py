"""How a watch goes round the places of a large cluster, without a kernel."""

from __future__ import annotations

import os

import pytest

from calico_mn.emulation.verification import Watch

PLACES = [f"node{number}" for number in range(7)]


class Silent:
    """Notifications of a namespace in which nothing happens."""

    def __init__(self) -> None:
        self._end, self._other = os.pipe()

    def fileno(self) -> int:
        return self._end

    def drain(self) -> bool:
        return False

    def close(self) -> None:
        os.close(self._end)
        os.close(self._other)


@pytest.mark.parametrize(("portion", "rounds"), [
    pytest.param(0, [PLACES, []], id="all at once"),
    pytest.param(3, [PLACES[:3], PLACES[3:6], PLACES[6:], []], id="in portions"),
    pytest.param(7, [PLACES, []], id="one portion"),
])
def test_the_first_round_is_without_pause(portion, rounds):
    looked = []

    def verify(places):
        looked.append(sorted(places))
        return ()

    with Watch(lambda: PLACES, lambda _name, _what: Silent(), verify, 3600, portion) as watch:
        seen = [watch.look().places for _ in rounds]
    assert looked == rounds
    assert [sorted(places) for places in seen] == rounds
