"""What chance alone does when flows choose between two equal ways (binomial). Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

#: of many cells that are spread evenly, one in a thousand would be called uneven
CONFIDENCE = 0.999

SPREAD = "spread"
ONE_PATH = "one path"
UNEVEN = "uneven"

#: packets that are no flow's (ARP) may leave by the other way: a smaller part counts as none
_STRAY = 0.02


def fuller(share: float) -> float:
    """The fuller way's share, from either way's."""
    return max(share, 1 - share)


def fair_limit(flows: int, confidence: float) -> float:
    """The share that the fuller way does not exceed with this probability.

    Each of ``flows`` takes one of two ways as a fair coin falls. Raises ValueError for none.
    """
    if flows < 1:
        raise ValueError("no flows, no shares")
    most = (flows + 1) // 2
    ways = math.comb(flows, most)
    inside = ways if 2 * most == flows else 2 * ways
    wanted = Fraction(confidence) * 2 ** flows  # too large for a float
    while inside < wanted:
        ways = ways * (flows - most) // (most + 1)
        most += 1
        inside += 2 * ways
    return most / flows


def verdict(shares: Sequence[float], flows: int) -> str:
    """What the first way's ``shares`` of several repeats with ``flows`` each say.

    :data:`ONE_PATH` when one way had (nearly) all in each repeat, whichever it was;
    :data:`SPREAD` when all flows together lie within :func:`fair_limit`; else :data:`UNEVEN`.
    """
    if all(fuller(share) > 1 - _STRAY for share in shares):
        return ONE_PATH
    together = fuller(math.fsum(shares) / len(shares))
    return SPREAD if together <= fair_limit(flows * len(shares), CONFIDENCE) else UNEVEN
