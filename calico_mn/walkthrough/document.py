"""A replay as JSON's values, with the texts in one language. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from calico_mn.walkthrough.chapters import CHAPTERS
from calico_mn.walkthrough.result import Result
from calico_mn.walkthrough.step import Typed, Wrong
from calico_mn.walkthrough.summary import Summary


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
    told = result.step
    return {
        "number": result.number, "name": told.name, "chapter": result.chapter,
        "chapter_title": CHAPTERS[result.chapter - 1].title.of(language),
        "about": told.about.of(language), **_typed(told.typed, result.at),
        "article_command": told.article or None, "output": result.output,
        "meanwhile": ({**_typed(told.meanwhile, result.meanwhile_at), "output": result.meanwhile}
                      if told.meanwhile else None),
        "lines": [{
            "article": line.article, "real": line.real, "verdict": line.verdict,
            "differences": {rule.key: rule.says.of(language) for rule in line.differences},
            "reason": line.reason.of(language) if line.reason else None,
        } for line in result.comparison.lines],
        "not_in_the_article": list(result.comparison.others) if told.quotes else [],
        "checks": [{"text": expect.says.of(language), "holds": held}
                   for expect, held in result.expects],
        "wrong": _wrong(told.wrong, language) if told.wrong else None,
        "holds": result.holds,
    }


def _wrong(wrong: Wrong, language: str) -> dict[str, Any]:
    return {"code": wrong.code, "claim": wrong.claim.of(language),
            "fact": wrong.fact.of(language),
            "told": wrong.told.of(language) if wrong.told else None}


def _typed(typed: Typed, name: str) -> dict[str, Any]:
    return {"where": name or None, "command": typed.command}
