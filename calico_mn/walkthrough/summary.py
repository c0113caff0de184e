"""What a replay came to, counted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from calico_mn.walkthrough.compare import ABSENT, AGREES, DIFFERS, NAMED
from calico_mn.walkthrough.result import Result
from calico_mn.walkthrough.step import LIBRARY


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of commands, of the article's lines by verdict, and of further checks.

    ``wrong`` are the codes of the article's wrong statements whose steps held, ``told`` those of
    them of which this cluster cannot show a part; ``failed`` the numbers of steps that did not
    hold.
    """

    commands: int
    calls: int
    agree: int
    named: int
    absent: int
    differ: int
    checks: int
    held: int
    wrong: tuple[str, ...]
    told: tuple[str, ...]
    failed: tuple[int, ...]

    @property
    def ok(self) -> bool:
        """Whether all that must match did."""
        return not self.failed

    @property
    def lines(self) -> int:
        """The article's lines."""
        return self.agree + self.named + self.absent + self.differ


def summarise(results: Iterable[Result]) -> Summary:
    """Count what was found."""
    found = list(results)
    verdicts = [line.verdict for result in found for line in result.comparison.lines]
    checks = [held for result in found for _, held in result.expects]
    calls = sum(result.step.typed.place == LIBRARY for result in found)
    commands = len(found) - calls + sum(result.step.meanwhile is not None for result in found)
    wrong = sorted((result.step.wrong for result in found if result.step.wrong and result.holds),
                   key=lambda one: int(one.code[1:]))
    return Summary(
        commands, calls, verdicts.count(AGREES), verdicts.count(NAMED), verdicts.count(ABSENT),
        verdicts.count(DIFFERS), len(checks), sum(checks),
        tuple(one.code for one in wrong), tuple(one.code for one in wrong if one.told),
        tuple(result.number for result in found if not result.holds))
