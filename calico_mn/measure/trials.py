"""The order of trials. Pure: the same seed gives the same order on every machine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trial:
    """One measurement of one mode on one path; ``repeat`` counts from 1."""

    mode: str
    path: str
    repeat: int


def interleaved(modes: Sequence[str], paths: Sequence[str], repeats: int, seed: int
                ) -> tuple[Trial, ...]:
    """Every combination ``repeats`` times, in randomised complete blocks.

    A block holds every combination once, in an order of its own. A drift of the machine (heat,
    a neighbour's load) so meets all modes alike, and each block allows a paired comparison.
    """
    generator = random.Random(seed)
    order: list[Trial] = []
    for repeat in range(1, repeats + 1):
        block = [Trial(mode, path, repeat) for path in paths for mode in modes]
        generator.shuffle(block)
        order += block
    return tuple(order)
