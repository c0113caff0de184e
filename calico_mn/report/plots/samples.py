"""What pictures are made of, before anything is drawn: checked samples, units, quantiles. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from calico_mn.text import number

#: unit -> the next larger one, which is 1000 of it
_LARGER = {"bit/s": "kbit/s", "kbit/s": "Mbit/s", "Mbit/s": "Gbit/s", "ns": "\u00b5s",
           "\u00b5s": "ms", "ms": "s", "bytes": "kB", "kB": "MB", "MB": "GB"}
_SMALLER = {larger: unit for unit, larger in _LARGER.items()}


def check_finite(values: Iterable[float], what: str) -> None:
    """Raise ValueError if one of the values, which are of ``what``, is not a finite number."""
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"{what}: {value} cannot be drawn, only finite numbers can")


def check_not_empty(values: Iterable[object], picture: str) -> None:
    """Raise ValueError unless there is a value to draw."""
    if not any(True for _ in values):
        raise ValueError(f"{picture}: nothing to draw, there is no sample")


def unit_for(values: Sequence[float], unit: str) -> tuple[float, str]:
    """(factor, unit) in which the smallest positive of ``values`` is a short number, 1 or more."""
    unit = "\u00b5s" if unit == "us" else unit
    factor = 1.0
    least = min((abs(value) for value in values if value), default=0.0)
    while unit in _LARGER and least * factor >= 1000:
        factor, unit = factor / 1000, _LARGER[unit]
    return factor, unit


def small_unit_for(value: float, unit: str) -> tuple[float, str]:
    """(factor, unit) in which a value below 1 is 1 or more, if there is such a unit."""
    factor = 1.0
    while value and abs(value) * factor < 1 and unit in _SMALLER:
        factor, unit = factor * 1000, _SMALLER[unit]
    return factor, unit


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def tick(value: float) -> str:
    """A number on an axis: three digits, without zeros at the end that say nothing."""
    return number(value, zeros=False)


def minus(text: str) -> str:
    """The text with typographic minus signs."""
    return text.replace("-", "\u2212")
