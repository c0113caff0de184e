"""Numbers in words and places on a line: what pictures need besides a canvas. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: unit -> (how many of it make the next one, the next one)
_LARGER = {"bit/s": (1000, "kbit/s"), "kbit/s": (1000, "Mbit/s"), "Mbit/s": (1000, "Gbit/s"),
           "ns": (1000, "\u00b5s"), "\u00b5s": (1000, "ms"), "ms": (1000, "s"),
           "bytes": (1000, "kB"), "kB": (1000, "MB"), "MB": (1000, "GB")}


def checked(values: Iterable[float], what: str) -> tuple[float, ...]:
    """The values. Raises ValueError if one is not a finite number; ``what`` they are."""
    found = tuple(values)
    for value in found:
        if not math.isfinite(value):
            raise ValueError(f"{what}: {value} cannot be drawn, only finite numbers can")
    return found


def demand(values: Iterable[object], picture: str) -> None:
    """Raise ValueError unless there is a value to draw."""
    if not any(True for _ in values):
        raise ValueError(f"{picture}: nothing to draw, there is no sample")


def unit_for(values: Sequence[float], unit: str) -> tuple[float, str]:
    """(factor, unit) in which the smallest positive of ``values`` is a short number, 1 or more."""
    unit = "\u00b5s" if unit == "us" else unit
    factor = 1.0
    least = min((abs(value) for value in values if value), default=0.0)
    while unit in _LARGER and least * factor >= _LARGER[unit][0]:
        factor, unit = factor / _LARGER[unit][0], _LARGER[unit][1]
    return factor, unit


def small_unit_for(value: float, unit: str) -> tuple[float, str]:
    """(factor, unit) in which a value below 1 is 1 or more, if there is such a unit."""
    smaller = {larger: (many, small) for small, (many, larger) in _LARGER.items()}
    factor = 1.0
    while value and abs(value) * factor < 1 and unit in smaller:
        factor, unit = factor * smaller[unit][0], smaller[unit][1]
    return factor, unit


def number(value: float) -> str:
    """Three digits that count, thousands with commas, never an exponent between 1e-4 and 1e15."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e15 or size < 1e-4:
        return f"{value:.2g}"
    # 99.97 is 100 with three digits, not 100.0.
    digits = max(0, 2 - math.floor(math.log10(float(f"{size:.3g}")) + 1e-12))
    return f"{value:,.{min(digits, 6)}f}"


def tick(value: float) -> str:
    """As :func:`number`, without zeros at the end that say nothing."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def span(low: float, high: float, unit: str = "") -> str:
    """An interval, as in "18.8 to 20.4"."""
    return f"{number(low)} to {number(high)}{' ' + unit if unit else ''}"


def spread_apart(wanted: Sequence[float], sizes: Sequence[float], low: float, high: float
                 ) -> list[float]:
    """Places for things of ``sizes``, centred near ``wanted``, in its order without overlap.

    All lie between ``low`` and ``high`` if there is room at all; else they begin at ``low``.
    Neighbours that would overlap stand together around the middle of where they want to be.
    """
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    # Of each cluster: members, its size, and the start that suits all of them best.
    clusters: list[tuple[list[int], float, float]] = []
    for i in order:
        members, size, start = [i], sizes[i], wanted[i] - sizes[i] / 2
        start = min(max(start, low), max(low, high - size))
        while clusters and clusters[-1][2] + clusters[-1][1] > start:
            before, before_size, before_start = clusters.pop()
            start = ((before_start * len(before) + (start - before_size) * len(members))
                     / (len(before) + len(members)))
            members, size = before + members, before_size + size
            start = min(max(start, low), max(low, high - size))
        clusters.append((members, size, start))
    places = [0.0] * len(wanted)
    for members, _, start in clusters:
        for i in members:
            places[i] = start + sizes[i] / 2
            start += sizes[i]
    return places


def thinned(places: Sequence[float], sizes: Sequence[float], gap: float = 6) -> list[int]:
    """Which of the things in a row, in order, can be shown without touching; the first always."""
    kept: list[int] = []
    for i, place in enumerate(places):
        if not kept or place - sizes[i] / 2 >= places[kept[-1]] + sizes[kept[-1]] / 2 + gap:
            kept.append(i)
    return kept


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from ``low`` to ``high``; with 2 and 5 of each if that gives few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if math.log10(high / low) > 3 else (1, 2, 5)
    return [step * 10.0 ** decade for decade in decades for step in steps
            if low * 0.999 <= step * 10.0 ** decade <= high * 1.001]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; ``left`` < ``right`` and ``low`` < ``high``."""

    left: float
    low: float
    right: float
    high: float

    def touches(self, other: Box) -> bool:
        """Whether they share a point inside."""
        return (self.left < other.right and other.left < self.right
                and self.low < other.high and other.low < self.high)

    def holds(self, x: float, y: float) -> bool:
        """Whether the point lies in it."""
        return self.left <= x <= self.right and self.low <= y <= self.high


def free_box(candidates: Iterable[Box], room: Box, taken: Sequence[Box],
             lines: Sequence[tuple[float, float]]) -> Box | None:
    """The first candidate inside ``room`` that touches nothing taken and no point of a line."""
    for box in candidates:
        if (box.left >= room.left and box.right <= room.right and box.low >= room.low
                and box.high <= room.high and not any(box.touches(other) for other in taken)
                and not any(box.holds(x, y) for x, y in lines)):
            return box
    return None
