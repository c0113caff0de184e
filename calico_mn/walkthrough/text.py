"""Results in either language: as lines of text, each with its style, and as JSON's values.

Pure, and without colour codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from calico_mn.text import columns, wrap
from calico_mn.walkthrough.chapters import CHAPTERS
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


class Words:
    """The renderer's own words."""

    TITLE = Text("The article's walk through Calico's IPIP mode, typed again: {source}",
                 "跟着文章重走一遍 Calico 的 IPIP 模式：{source}")
    TUNNEL = Text("tunl0 by the back end \"{tunnel}\"; routes as up to Calico v3.25",
                  "tunl0 由后端“{tunnel}”提供；路由格式与 Calico v3.25 及以前一致")
    LEGEND = Text(
        "=  as the article shows it    ~  but for what is named below    +  not in the article\n"
        "-  cannot be shown here       !  differs",
        "=  与文章一致    ~  除下面列出的差异外一致    +  文章中没有\n"
        "-  此处无法显示  !  不一致")
    CHAPTER = Text("Chapter {number}  {title}", "第 {number} 章  {title}")
    ARTICLE_TYPES = Text("the article types: ", "文章输入的是：")
    MEANWHILE = Text("meanwhile on ", "同时在 ")
    ARTICLE_SHOWS = Text("article", "文章")
    BECAUSE = Text("differs", "差异")
    MISSING = Text("(nothing like it was printed)", "（没有类似的输出）")
    OK = Text("ok", "对")
    NOT_OK = Text("NO", "错")
    WRONG = Text("Wrong or misleading in the article ({code}): ",
                 "文章有误或易误解之处（{code}）：")
    FACT = Text("In fact: ", "实际上：")
    CLUSTER = Text("cluster", "集群")
    NEXT = Text("Enter for the next step ", "按回车继续 ")

    SUMMARY = Text("Summary", "小结")
    COMMANDS = Text("{commands} commands, {calls} changes or questions by the library",
                    "输入命令 {commands} 条，调用库 {calls} 次")
    LINES = Text(
        "{lines} lines of the article: {agree} agree, {named} agree after naming what differs,"
        " {absent} cannot be shown with this back end, {differ} differ",
        "文章的输出 {lines} 行：{agree} 行一致，{named} 行除列出的差异外一致，"
        "{absent} 行在此后端下无法显示，{differ} 行不一致")
    NO_LINES = Text("the article shows no lines here", "文章在这里没有给出输出")
    CHECKS = Text("{held} of {checks} further checks hold", "其他检查 {checks} 项，{held} 项成立")
    TOLD = Text("Not to be seen here: ", "此处无法演示：")
    PLACES = Text(
        "{places} places where the article is wrong or misleads: {codes}",
        "文章有误或易误解之处 {places} 处：{codes}")
    PARTLY = Text("of these, a part is told and cannot be seen on this cluster: {told}",
                  "其中有一部分只作说明，在这个集群上无法演示：{told}")
    NO_PLACES = Text("no statement of the article was tested", "没有检验文章的论断")
    FAILED = Text("Not as it must be: {steps}", "与预期不符的步骤：{steps}")
    GOOD = Text("All that must match did.", "该一致的全部一致。")


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
        yield Styled(self._say(Words.TITLE, source=source), TITLE)
        yield Styled(_IN + self._say(Words.TUNNEL, tunnel=tunnel), FAINT)
        for line in self._say(Words.LEGEND).splitlines():
            yield Styled(_IN + line, FAINT)

    def chapter(self, number: int, chapter: Chapter) -> Iterator[Styled]:
        """A chapter's title."""
        yield Styled("")
        yield Styled(self._say(Words.CHAPTER, number=number, title=self._say(chapter.title)), TITLE)

    def step(self, result: Result) -> Iterator[Styled]:
        """A step: explanation, command, output beside the article's lines, what was checked."""
        step = result.step
        yield Styled("")
        number = f"{result.number}. "
        yield from self._wrapped(self._say(step.about), number, " " * len(number))
        yield Styled("")
        yield Styled(_IN + self._prompt(step.typed, result.at), COMMAND)
        if step.article:
            yield Styled(_IN + self._say(Words.ARTICLE_TYPES) + step.article, FAINT)
        if step.meanwhile:
            yield Styled(_IN + self._say(Words.MEANWHILE)
                         + self._prompt(step.meanwhile, result.meanwhile_at), COMMAND)
        yield from self._compared(result) if step.quotes else self._plain(result)
        for expect, held in result.expects:
            mark = self._say(Words.OK if held else Words.NOT_OK)
            yield from self._wrapped(self._say(expect.says), f"{_IN}{mark}  ", " " * 6,
                                     SAME if held else BAD)
        if step.wrong:
            yield from self._wrong(step.wrong)

    def summary(self, summary: Summary) -> Iterator[Styled]:
        """What it came to."""
        counts = {**asdict(summary), "lines": summary.lines, "places": len(summary.wrong),
                  "codes": ", ".join(summary.wrong), "told": ", ".join(summary.told)}
        yield Styled("")
        yield Styled(self._say(Words.SUMMARY), TITLE)
        places = Words.PLACES if summary.wrong else Words.NO_PLACES
        lines = Words.LINES if summary.lines else Words.NO_LINES
        partly = (Words.PARTLY,) if summary.told else ()
        for text in (Words.COMMANDS, lines, Words.CHECKS, places, *partly):
            yield from self._wrapped(self._say(text, **counts), _IN, _IN + _IN)
        if summary.ok:
            yield Styled(_IN + self._say(Words.GOOD), SAME)
        else:
            steps = ", ".join(map(str, summary.failed))
            yield Styled(_IN + self._say(Words.FAILED, steps=steps), BAD)

    # --- parts of a step

    def _say(self, text: Text, **values: object) -> str:
        said = text.of(self._language)
        return said.format(**values) if values else said

    def _prompt(self, typed: Typed, name: str) -> str:
        if typed.host == LIBRARY:
            return f"{self._say(Words.CLUSTER)}: {typed.command}"
        sign = ":/# " if "/" in name else "# "
        return f"{name.rpartition('/')[2]}{sign}{typed.command}"

    def _wrapped(self, text: str, first: str, rest: str, style: str = PLAIN) -> Iterator[Styled]:
        for line in wrap(text, self._width, rest, first=first):
            yield Styled(line, style)

    def _wrong(self, wrong: Wrong) -> Iterator[Styled]:
        claim = self._say(Words.WRONG, code=wrong.code) + self._say(wrong.claim)
        yield from self._wrapped(claim, _IN, _IN, WRONG)
        yield from self._wrapped(self._say(Words.FACT) + self._say(wrong.fact), _IN, _IN)
        if wrong.not_shown:
            not_shown = self._say(Words.TOLD) + self._say(wrong.not_shown)
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
        first = f"{_IN}  {self._say(Words.BECAUSE)}: "
        for text in dict.fromkeys((*rules.values(), *reasons)):
            yield from self._wrapped(self._say(text), first, " " * columns(first), FAINT)

    def _line(self, line: Line) -> Iterator[Styled]:
        article = self._say(Words.ARTICLE_SHOWS)
        if line.verdict == AGREES:
            yield Styled(f"{_IN}= {line.real}", SAME)
        elif line.verdict == ABSENT:
            yield Styled(f"{_IN}- {article}: {line.article}", NAMED)
        elif line.verdict == DIFFERS:
            yield Styled(f"{_IN}! {line.real or self._say(Words.MISSING)}", BAD)
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
