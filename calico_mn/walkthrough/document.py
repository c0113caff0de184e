"""What a replay came to: counted, and all of it as JSON's values with the texts in one language.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from calico_mn.walkthrough.chapters import CHAPTERS
from calico_mn.walkthrough.step import (
    ABSENT,
    AGREES,
    DIFFERS,
    LIBRARY,
    NAMED,
    Result,
    Typed,
    Wrong,
)


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
    """Count commands, lines, checks and wrong statements."""
    played = list(results)
    verdicts = [line.verdict for result in played for line in result.comparison.lines]
    checks = [held for result in played for _, held in result.expects]
    calls = sum(result.step.typed.host == LIBRARY for result in played)
    commands = len(played) - calls + sum(result.step.meanwhile is not None for result in played)
    wrong = sorted((result.step.wrong for result in played if result.step.wrong and result.holds),
                   key=lambda statement: int(statement.code[1:]))
    return Summary(
        commands, calls, verdicts.count(AGREES), verdicts.count(NAMED), verdicts.count(ABSENT),
        verdicts.count(DIFFERS), len(checks), sum(checks),
        tuple(statement.code for statement in wrong),
        tuple(statement.code for statement in wrong if statement.not_shown),
        tuple(result.number for result in played if not result.holds))


def document(source: str, tunnel: str, language: str, results: Iterable[Result],
             summary: Summary) -> dict[str, Any]:
    """Everything that the terminal shows."""
    return {
        "topology": source, "tunnel": tunnel, "language": language, "ok": summary.ok,
        "steps": [step(result, language) for result in results],
        "summary": {**asdict(summary), "lines": summary.lines},
    }


def step(result: Result, language: str) -> dict[str, Any]:
    """One step."""
    played = result.step
    return {
        "number": result.number, "name": played.name, "chapter": result.chapter,
        "chapter_title": CHAPTERS[result.chapter - 1].title.of(language),
        "about": played.about.of(language), **_typed(played.typed, result.at),
        "article_command": played.article or None, "output": result.output,
        "meanwhile": ({**_typed(played.meanwhile, result.meanwhile_at), "output": result.meanwhile}
                      if played.meanwhile else None),
        "lines": [{
            "article": line.article, "real": line.real, "verdict": line.verdict,
            "differences": {rule.key: rule.says.of(language) for rule in line.differences},
            "reason": line.reason.of(language) if line.reason else None,
        } for line in result.comparison.lines],
        "not_in_the_article": list(result.comparison.others) if played.quotes else [],
        "checks": [{"text": expect.says.of(language), "holds": held}
                   for expect, held in result.expects],
        "wrong": _wrong(played.wrong, language) if played.wrong else None,
        "holds": result.holds,
    }


def _wrong(wrong: Wrong, language: str) -> dict[str, Any]:
    return {"code": wrong.code, "claim": wrong.claim.of(language),
            "fact": wrong.fact.of(language),
            "told": wrong.not_shown.of(language) if wrong.not_shown else None}


def _typed(typed: Typed, name: str) -> dict[str, Any]:
    return {"where": name or None, "command": typed.command}
