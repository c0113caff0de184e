"""Results in either language: as lines of text, each with its style, and as JSON's values.

Pure, and without colour codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from calico_mn.text import columns, wrap
from calico_mn.walkthrough.article import CHAPTERS, WORDS
from calico_mn.walkthrough.step import (
    ABSENT,
    AGREES,
    DIFFERS,
    LIBRARY,
    Chapter,
    Line,
    Result,
    Summary,
    Text,
    Typed,
    Wrong,
)

#: styles of lines, by the names of the colours that a terminal gives them
TITLE, COMMAND, SAME, NAMED, BAD, WRONG, FAINT, PLAIN = (
    "title", "place", "good", "outer", "bad", "warn", "faint", "plain")

_IN = "  "


@dataclass(frozen=True, slots=True)
class Styled:
    """A line and its style, one of those above."""

    text: str
    style: str = PLAIN


Lines = Iterable[Styled]


class Renderer:
    """Renders in ``language``, explanations wrapped at ``width`` columns.

    Lines that programs printed are never wrapped.
    """

    def __init__(self, language: str, width: int = 88) -> None:
        self._language = language
        self._width = width

    def heading(self, source: str, tunnel: str, bird: str = "") -> Iterator[Styled]:
        """What this is, on what it runs, with what BIRD if any, and what the marks mean."""
        yield Styled(self._say("title", source=source), TITLE)
        yield Styled(_IN + self._say("tunnel", tunnel=tunnel), FAINT)
        if bird:
            yield Styled(_IN + self._say("bird", bird=bird), FAINT)
        for line in self._say("legend").splitlines():
            yield Styled(_IN + line, FAINT)

    def chapter(self, number: int, chapter: Chapter) -> Iterator[Styled]:
        """A chapter's title."""
        yield Styled("")
        yield Styled(self._say("chapter", number=number, title=self._say(chapter.title)), TITLE)

    def step(self, result: Result) -> Iterator[Styled]:
        """A step: explanation, command, output beside the article's lines, what was checked."""
        step = result.step
        yield Styled("")
        number = f"{result.number}. "
        yield from self._wrapped(self._say(step.about), number, " " * len(number))
        yield Styled("")
        yield Styled(_IN + self._prompt(step.typed, result.at), COMMAND)
        if step.article:
            yield Styled(_IN + self._say("article_types") + step.article, FAINT)
        if step.meanwhile:
            yield Styled(_IN + self._say("meanwhile")
                         + self._prompt(step.meanwhile, result.meanwhile_at), COMMAND)
        yield from self._compared(result) if step.quotes else self._plain(result)
        for expect, held in result.expects:
            mark = self._say("ok" if held else "not_ok")
            yield from self._wrapped(self._say(expect.says), f"{_IN}{mark}  ", " " * 6,
                                     SAME if held else BAD)
        if step.wrong:
            yield from self._wrong(step.wrong)

    def summary(self, summary: Summary) -> Iterator[Styled]:
        """What it came to."""
        counts = {**asdict(summary), "lines": summary.lines, "places": len(summary.wrong),
                  "codes": ", ".join(summary.wrong), "told": ", ".join(summary.told)}
        yield Styled("")
        yield Styled(self._say("summary"), TITLE)
        places = "places" if summary.wrong else "no_places"
        lines = "lines" if summary.lines else "no_lines"
        partly = ("partly",) if summary.told else ()
        for text in ("commands", lines, "checks", places, *partly):
            yield from self._wrapped(self._say(text, **counts), _IN, _IN + _IN)
        if summary.ok:
            yield Styled(_IN + self._say("good"), SAME)
        else:
            steps = ", ".join(map(str, summary.failed))
            yield Styled(_IN + self._say("failed", steps=steps), BAD)

    # --- parts of a step

    def _say(self, text: Text | str, **values: object) -> str:
        """A text, or the renderer's own words of that name, in the language."""
        said = (WORDS[text] if isinstance(text, str) else text).of(self._language)
        return said.format(**values) if values else said

    def _prompt(self, typed: Typed, name: str) -> str:
        if typed.host == LIBRARY:
            return f"{self._say('cluster')}: {typed.command}"
        sign = ":/# " if "/" in name else "# "
        return f"{name.rpartition('/')[2]}{sign}{typed.command}"

    def _wrapped(self, text: str, first: str, rest: str, style: str = PLAIN) -> Iterator[Styled]:
        for line in wrap(text, self._width, rest, first=first):
            yield Styled(line, style)

    def _wrong(self, wrong: Wrong) -> Iterator[Styled]:
        claim = self._say("wrong", code=wrong.code) + self._say(wrong.claim)
        yield from self._wrapped(claim, _IN, _IN, WRONG)
        yield from self._wrapped(self._say("fact") + self._say(wrong.fact), _IN, _IN)
        if wrong.not_shown:
            not_shown = self._say("told") + self._say(wrong.not_shown)
            yield from self._wrapped(not_shown, _IN, _IN, FAINT)

    @staticmethod
    def _plain(result: Result) -> Iterator[Styled]:
        for line in result.output.splitlines():
            if line.strip():
                yield Styled(f"{_IN}  {line.rstrip()}")

    def _compared(self, result: Result) -> Iterator[Styled]:
        """The real lines in their order, the article's lines where they are others."""
        waiting = list(result.comparison.lines)
        others = list(result.comparison.others)
        for real in filter(str.strip, map(str.rstrip, result.output.splitlines())):
            while waiting and waiting[0].verdict in (ABSENT, DIFFERS):
                yield from self._line(waiting.pop(0))
            if waiting and waiting[0].real == real:
                yield from self._line(waiting.pop(0))
            elif real in others:
                others.remove(real)
                yield Styled(f"{_IN}+ {real}", FAINT)
        for line in waiting:
            yield from self._line(line)
        rules = {rule.key: rule.says for line in result.comparison.lines
                 for rule in line.differences}
        if len(rules) > 1:
            rules.pop("blanks", None)
        reasons = (line.reason for line in result.comparison.lines if line.reason)
        first = f"{_IN}  {self._say('because')}: "
        for text in dict.fromkeys((*rules.values(), *reasons)):
            yield from self._wrapped(self._say(text), first, " " * columns(first), FAINT)

    def _line(self, line: Line) -> Iterator[Styled]:
        article = self._say("article_shows")
        if line.verdict == AGREES:
            yield Styled(f"{_IN}= {line.real}", SAME)
        elif line.verdict == ABSENT:
            yield Styled(f"{_IN}- {article}: {line.article}", NAMED)
        elif line.verdict == DIFFERS:
            yield Styled(f"{_IN}! {line.real or self._say('missing')}", BAD)
            yield Styled(f"{_IN}  {article}: {line.article}", BAD)
        else:
            yield Styled(f"{_IN}~ {line.real}", NAMED)
            yield Styled(f"{_IN}  {article}: {line.article}", FAINT)


# --- JSON

def document(source: str, tunnel: str, language: str, results: Iterable[Result],
             summary: Summary) -> dict[str, Any]:
    """Everything that the terminal shows."""
    return {
        "topology": source, "tunnel": tunnel, "language": language, "ok": summary.ok,
        "steps": [_step_fields(result, language) for result in results],
        "summary": {**asdict(summary), "lines": summary.lines},
    }


def _step_fields(result: Result, language: str) -> dict[str, Any]:
    played, wrong = result.step, result.step.wrong
    return {
        "number": result.number, "name": played.name, "chapter": result.chapter,
        "chapter_title": CHAPTERS[result.chapter - 1].title.of(language),
        "about": played.about.of(language), **_typed_fields(played.typed, result.at),
        "article_command": played.article or None, "output": result.output,
        "meanwhile": {**_typed_fields(played.meanwhile, result.meanwhile_at),
                      "output": result.meanwhile} if played.meanwhile else None,
        "lines": [{
            "article": line.article, "real": line.real, "verdict": line.verdict,
            "differences": {rule.key: rule.says.of(language) for rule in line.differences},
            "reason": line.reason.of(language) if line.reason else None,
        } for line in result.comparison.lines],
        "not_in_the_article": list(result.comparison.others) if played.quotes else [],
        "checks": [{"text": expect.says.of(language), "holds": held}
                   for expect, held in result.expects],
        "wrong": {
            "code": wrong.code, "claim": wrong.claim.of(language), "fact": wrong.fact.of(language),
            "told": wrong.not_shown.of(language) if wrong.not_shown else None} if wrong else None,
        "holds": result.holds,
    }


def _typed_fields(typed: Typed, name: str) -> dict[str, Any]:
    return {"where": name or None, "command": typed.command}
