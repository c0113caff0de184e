"""The design of an experiment: which settings, how often, in which order.

Pure: the same seed gives the same order on every machine.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calico_mn.measure.readings import Value


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of all factors, once; ``repeat`` counts from 1."""

    setting: Mapping[str, Value]
    repeat: int

    def __getitem__(self, factor: str) -> Value:
        return self.setting[factor]

    def text(self, factor: str) -> str:
        """A factor's level as text."""
        return str(self.setting[factor])

    def __str__(self) -> str:
        return ", ".join(map(str, self.setting.values())) + f", repeat {self.repeat}"


def factorial(**levels: Sequence[Value]) -> tuple[dict[str, Value], ...]:
    """Every combination of the factors' levels; the last factor varies fastest."""
    return tuple(dict(zip(levels, combination, strict=True))
                 for combination in itertools.product(*levels.values()))


def interleaved(settings: Sequence[Mapping[str, Value]], repeats: int, seed: int
                ) -> tuple[Trial, ...]:
    """Every setting ``repeats`` times, in randomised complete blocks.

    A block holds every setting once, in an order of its own. A drift of the machine (heat, a
    neighbour's load) so meets all settings alike, and each block allows a paired comparison.
    """
    generator = random.Random(seed)
    order: list[Trial] = []
    for repeat in range(1, repeats + 1):
        block = [Trial(dict(setting), repeat) for setting in settings]
        generator.shuffle(block)
        order += block
    return tuple(order)
