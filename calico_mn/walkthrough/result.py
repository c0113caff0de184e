"""What a step showed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn.walkthrough.compare import DIFFERS, Comparison
from calico_mn.walkthrough.step import Expect, Same, Step


@dataclass(frozen=True, slots=True)
class Result:
    """A step of a chapter, both counted from 1, and what was found.

    ``at`` and ``meanwhile_at`` are the names of the nodes or pods where commands were typed,
    ``output`` and ``meanwhile`` what these printed; ``expects`` tells what held.
    """

    chapter: int
    number: int
    step: Step
    at: str
    meanwhile_at: str
    output: str
    meanwhile: str
    comparison: Comparison
    expects: tuple[tuple[Expect | Same, bool], ...]

    @property
    def holds(self) -> bool:
        """Whether all that must match did."""
        return (all(held for _, held in self.expects)
                and all(line.verdict != DIFFERS for line in self.comparison.lines))
