"""The vocabulary of the story: texts, chapters of steps, what each must show, and what it showed.

    Chapter --of--> Step: Typed command, Text, Quotes of the article with Rules, Expects
    played on a cluster --> Result: output, Comparison with the quotes, which Expects hold
    all Results --> Summary

Pure data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: as ``--lang`` takes them
LANGUAGES = ("en", "zh")

#: where commands are typed: roles that nodes and pods of the cluster have
NODE31, NODE32, NODE33 = "node31", "node32", "node33"
BACKEND, FRONTEND, ELSEWHERE, ROUTER = "backend", "frontend", "elsewhere", "router"
#: not a host: a change of the cluster, or a question about it, by the library
LIBRARY = "library"

#: the clusters that chapters play on
AS_IT_IS, AUTOMATIC_MTU, TWO_SUBNETS = "as it is", "automatic MTU", "two subnets"

#: verdicts on a line of the article: it was printed; it was, but for what is named; this tunnel
#: back end cannot print it; it was not printed
AGREES, NAMED, ABSENT, DIFFERS = "agrees", "named", "absent", "differs"


@dataclass(frozen=True, slots=True)
class Text:
    """The same said in English and in Chinese; paragraphs are parted by an empty line."""

    en: str
    zh: str

    def of(self, language: str) -> str:
        """The text in a language. Raises KeyError for an unknown one."""
        return {"en": self.en, "zh": self.zh}[language]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that may differ, in lines of ``backend`` only, if it is given.

    Each of ``patterns`` is a regular expression and what replaces its matches in both lines.
    """

    key: str
    says: Text
    patterns: tuple[tuple[str, str], ...]
    backend: str = ""

    def apply(self, line: str) -> str:
        """The line without it."""
        for pattern, replacement in self.patterns:
            line = re.sub(pattern, replacement, line)
        return line


@dataclass(frozen=True, slots=True)
class Quote:
    """Lines of the article. ``absent``: back end -> why it cannot print them."""

    text: str
    absent: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the article, the real one (None: there is none), and what differs, by rule."""

    article: str
    real: str | None
    verdict: str
    differences: tuple[Rule, ...] = ()
    reason: Text | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The article's lines in their order, and the real lines that are none of them."""

    lines: tuple[Line, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expect:
    """What the output must hold (or with ``absent`` must not): a regular expression, by lines.

    ``same_as`` names an earlier step and an expression for its output: the groups of both must be
    the same. ``backend``: of this tunnel back end only.
    """

    pattern: str
    says: Text
    absent: bool = False
    same_as: tuple[str, str] | None = None
    backend: str = ""

    def holds(self, output: str, before: Mapping[str, str]) -> bool:
        """Whether it is so; ``before`` has the outputs of earlier steps by name."""
        match = re.search(self.pattern, output, re.MULTILINE)
        if self.same_as is None:
            return bool(match) != self.absent
        step, pattern = self.same_as
        earlier = re.search(pattern, before.get(step, ""), re.MULTILINE)
        return bool(match and earlier and match.group(1) == earlier.group(1))


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong or misleading statement of the article, and the fact.

    ``not_shown``: the part of the fact that this cluster cannot show, and why.
    """

    code: str
    claim: Text
    fact: Text
    not_shown: Text | None = None


@dataclass(frozen=True, slots=True)
class Typed:
    """A command line and where it is typed; it is a constant of this package, given to ``sh``."""

    host: str
    command: str


@dataclass(frozen=True, slots=True)
class Step:
    """A command with its explanation.

    ``article`` is the command as the article types it, where that is another. ``meanwhile`` is
    typed once the command, a tcpdump, listens. In :data:`LIBRARY`, ``command`` is the call of
    the library that the function named ``action`` makes.
    """

    name: str
    typed: Typed
    about: Text
    article: str = ""
    quotes: tuple[Quote, ...] = ()
    rules: tuple[Rule, ...] = ()
    expects: tuple[Expect, ...] = ()
    meanwhile: Typed | None = None
    wrong: Wrong | None = None
    action: str = ""
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Chapter:
    """Steps that belong together and need no other chapter.

    ``cluster`` is the one it plays on; ``spoils``: afterwards it is not what it was.
    """

    title: Text
    steps: tuple[Step, ...]
    cluster: str = AS_IT_IS
    spoils: bool = False


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
    expects: tuple[tuple[Expect, bool], ...]

    @property
    def holds(self) -> bool:
        """Whether all that must match did."""
        return (all(held for _, held in self.expects)
                and all(line.verdict != DIFFERS for line in self.comparison.lines))


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
