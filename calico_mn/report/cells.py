"""Several values in a cell of a table: their median, or their range. Pure.

In go the values of a setting's repeats; out come cells, with the unrounded numbers for the CSV.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from statistics import median

from calico_mn.report.document import Numbers, rounded


def median_of(values: Collection[float], digits: int = 0, scale: float = 1) -> Numbers | None:
    """The values' median as of :func:`rounded`; None for no values."""
    return rounded(median(values), digits, scale) if values else None


def ends_of(values: Collection[float], shown: Callable[[float], str]) -> str:
    """``3 to 40``: the least and the most, or one of them if they do not differ."""
    return " to ".join(dict.fromkeys(map(shown, (min(values), max(values)))))


def range_of(values: Collection[float], shown: Callable[[float], str]) -> Numbers | None:
    """``12 (3 to 40)``: the median, and the least and the most if their texts differ.

    ``shown`` gives the text of one number. None for no values.
    """
    if not values:
        return None
    middle, low, high = median(values), min(values), max(values)
    return Numbers(shown(middle) + (
        f" ({ends_of(values, shown)})" if shown(low) != shown(high) else ""),
                   {"": middle, " min": low, " max": high})
