"""What becomes of traffic when a mode changes: readings taken together, as words and numbers.

What people read of it is in ``switch_report``, what they see in ``switch_pictures``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from calico_mn.experiment.switch import (
    COUNTER,
    DIES,
    LIVES,
    ONLY_FROM,
    ONLY_TO,
    PARTLY,
    STREAM,
    VARIES,
)
from calico_mn.measure.paths import PATHS
from calico_mn.measure.readings import Reading

#: shares of packets lost long after the change that count as none and as all
_NONE, _ALL = 0.01, 0.99


class Change(NamedTuple):
    """A change of mode by ``followers`` (all nodes, or one), with that reverse path filter."""

    before: str
    after: str
    followers: str
    rp_filter: int

    def __str__(self) -> str:
        return f"{self.before} to {self.after}"


class Outcomes:
    """The readings of each change, with what they say taken together.

    ``node`` is the one that follows alone, ``sources`` its pods. ``streams`` are by change and
    path, ``filtered`` packets (a number for each trial) by change and node.
    """

    def __init__(self, readings: Iterable[Reading], node: str, sources: Iterable[str]) -> None:
        self.node = node
        self._sources = frozenset(sources)
        self.streams: dict[tuple[Change, str], list[Reading]] = defaultdict(list)
        self.filtered: dict[tuple[Change, str], list[int]] = defaultdict(list)
        for reading in readings:
            where = reading.setting
            if reading.instrument == STREAM:
                self.streams[_change(reading), str(where["path"])].append(reading)
            elif reading.instrument == COUNTER:
                self.filtered[_change(reading), str(where["node"])].append(
                    int(value_of(reading, "rp_dropped")))

    @property
    def filters(self) -> list[int]:
        """The reverse path filters that were measured with."""
        return sorted({change.rp_filter for change, _ in self.streams})

    def pairs(self, followers: str) -> list[tuple[str, str, str]]:
        """(before, after, path) of what was measured, in the order of modes and paths."""
        return sorted({(change.before, change.after, path) for change, path in self.streams
                       if change.followers == followers},
                      key=lambda pair: (pair[0], pair[1], PATHS.index(pair[2])))

    def verdict(self, change: Change, path: str) -> str:
        """What stays of the traffic, in a word of :mod:`calico_mn.experiment.switch`.

        Empty where nothing was measured.
        """
        words = {_word(*self._shares(both)) for both in self._repeats(change, path)}
        if not words:
            return ""
        return words.pop() if len(words) == 1 else VARIES

    def lost(self, change: Change, path: str) -> list[int]:
        """Packets lost in both directions, a number for each repeat."""
        return [sum(int(value_of(one, "lost")) for one in both)
                for both in self._repeats(change, path)]

    def named(self, word: str) -> str:
        """A verdict with the node's name where it needs one: ``only from node31``."""
        return f"{word} {self.node}" if word in (ONLY_FROM, ONLY_TO) else word

    def _repeats(self, change: Change, path: str) -> list[list[Reading]]:
        """The two directions of each repeat."""
        by_repeat: dict[int, list[Reading]] = defaultdict(list)
        for reading in self.streams.get((change, path), ()):
            by_repeat[reading.repeat].append(reading)
        return list(by_repeat.values())

    def _shares(self, both: Sequence[Reading]) -> tuple[float, float]:
        """Lasting loss from the node that follows and to it, from 0 to 1."""
        out, back = 0.0, 0.0
        for one in both:
            if one.setting["source"] in self._sources:
                out = max(out, value_of(one, "lasting_loss"))
            else:
                back = max(back, value_of(one, "lasting_loss"))
        return out, back


def value_of(reading: Reading, metric: str) -> float:
    """A reading's number; 0 where it has none."""
    value = reading.values[metric]
    return value if isinstance(value, (int, float)) else 0


def _change(reading: Reading) -> Change:
    where = reading.setting
    return Change(str(where["before"]), str(where["after"]), str(where["followers"]),
                  int(str(where["rp_filter"])))


def _word(out: float, back: float) -> str:
    if not all(share <= _NONE or share >= _ALL for share in (out, back)):
        return PARTLY
    return {(False, False): LIVES, (True, True): DIES, (False, True): ONLY_FROM,
            (True, False): ONLY_TO}[out >= _ALL, back >= _ALL]
