"""Results as lines of text, each with its style, in either language. Pure, without colour codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from calico_mn.walkthrough import words
from calico_mn.walkthrough.compare import ABSENT, AGREES, DIFFERS, Line
from calico_mn.walkthrough.result import Result
from calico_mn.walkthrough.step import LIBRARY, Chapter, Typed
from calico_mn.walkthrough.summary import Summary
from calico_mn.walkthrough.width import columns, wrap

#: what a line is about; a terminal may give each its own look
TITLE, COMMAND, SAME, NAMED, BAD, WRONG, FAINT, PLAIN = (
    "title", "command", "same", "named", "bad", "wrong", "faint", "plain")

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

    def heading(self, source: str, tunnel: str) -> Iterator[Styled]:
        """What this is, on what it runs, and what the marks mean."""
        yield Styled(words.TITLE.of(self._language).format(source=source), TITLE)
        yield Styled(_IN + words.TUNNEL.of(self._language).format(tunnel=tunnel), FAINT)
        for line in words.LEGEND.of(self._language).splitlines():
            yield Styled(_IN + line, FAINT)

    def chapter(self, number: int, chapter: Chapter) -> Iterator[Styled]:
        """A chapter's title."""
        yield Styled("")
        title = words.CHAPTER.of(self._language).format(
            number=number, title=chapter.title.of(self._language))
        yield Styled(title, TITLE)

    def step(self, result: Result) -> Iterator[Styled]:
        """A step: explanation, command, output beside the article's lines, what was checked."""
        step = result.step
        yield Styled("")
        number = f"{result.number}. "
        yield from self._wrapped(step.about.of(self._language), number, " " * len(number))
        yield Styled("")
        yield Styled(_IN + self._prompt(step.typed, result.at), COMMAND)
        if step.article:
            yield Styled(_IN + words.ARTICLE_TYPES.of(self._language) + step.article, FAINT)
        if step.meanwhile:
            yield Styled(_IN + words.MEANWHILE.of(self._language)
                         + self._prompt(step.meanwhile, result.meanwhile_at), COMMAND)
        yield from self._compared(result) if step.quotes else self._plain(result)
        for expect, held in result.expects:
            mark = (words.OK if held else words.NOT_OK).of(self._language)
            yield from self._wrapped(expect.says.of(self._language), f"{_IN}{mark}  ", " " * 6,
                                     SAME if held else BAD)
        if step.wrong:
            label = words.WRONG.of(self._language).format(code=step.wrong.code)
            yield from self._wrapped(label + step.wrong.claim.of(self._language), _IN, _IN, WRONG)
            yield from self._wrapped(words.FACT.of(self._language)
                                     + step.wrong.fact.of(self._language), _IN, _IN)
            if step.wrong.told:
                yield from self._wrapped(words.TOLD.of(self._language)
                                         + step.wrong.told.of(self._language), _IN, _IN, FAINT)

    def summary(self, found: Summary) -> Iterator[Styled]:
        """What it came to."""
        counts = {"commands": found.commands, "calls": found.calls, "lines": found.lines,
                  "agree": found.agree, "named": found.named, "absent": found.absent,
                  "differ": found.differ, "checks": found.checks, "held": found.held,
                  "places": len(found.wrong), "codes": ", ".join(found.wrong),
                  "told": ", ".join(found.told)}
        yield Styled("")
        yield Styled(words.SUMMARY.of(self._language), TITLE)
        places = words.PLACES if found.wrong else words.NO_PLACES
        lines = words.LINES if found.lines else words.NO_LINES
        partly = (words.PARTLY,) if found.told else ()
        for text in (words.COMMANDS, lines, words.CHECKS, places, *partly):
            yield from self._wrapped(text.of(self._language).format(**counts), _IN, _IN + _IN)
        if found.ok:
            yield Styled(_IN + words.GOOD.of(self._language), SAME)
        else:
            steps = ", ".join(map(str, found.failed))
            yield Styled(_IN + words.FAILED.of(self._language).format(steps=steps), BAD)

    # --- parts of a step

    def _prompt(self, typed: Typed, name: str) -> str:
        if typed.place == LIBRARY:
            return f"{words.CLUSTER.of(self._language)}: {typed.command}"
        sign = ":/# " if "/" in name else "# "
        return f"{name.rpartition('/')[2]}{sign}{typed.command}"

    def _wrapped(self, text: str, first: str, rest: str, style: str = PLAIN) -> Iterator[Styled]:
        for line in wrap(text, self._width, first, rest):
            yield Styled(line, style)

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
        rules = {rule.key: rule for line in result.comparison.lines for rule in line.differences}
        reasons = {line.reason.of(self._language): "" for line in result.comparison.lines
                   if line.reason}
        label = words.BECAUSE.of(self._language)
        for text in (*(rule.says.of(self._language) for key, rule in rules.items()
                       if key != "blanks" or len(rules) == 1), *reasons):
            first = f"{_IN}  {label}: "
            yield from self._wrapped(text, first, " " * columns(first), FAINT)

    def _line(self, line: Line) -> Iterator[Styled]:
        article = words.ARTICLE_SHOWS.of(self._language)
        if line.verdict == AGREES:
            yield Styled(f"{_IN}= {line.real}", SAME)
        elif line.verdict == ABSENT:
            yield Styled(f"{_IN}- {article}: {line.article}", NAMED)
        elif line.verdict == DIFFERS:
            yield Styled(f"{_IN}! {line.real or words.MISSING.of(self._language)}", BAD)
            yield Styled(f"{_IN}  {article}: {line.article}", BAD)
        else:
            yield Styled(f"{_IN}~ {line.real}", NAMED)
            yield Styled(f"{_IN}  {article}: {line.article}", FAINT)
