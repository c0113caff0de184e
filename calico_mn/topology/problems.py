"""Collecting what is wrong with a topology file, and what of it is ignored.

A :class:`Report` is passed through the whole reading; nothing here knows YAML or Calico. Everything
is bounded: a file of a million mistakes gives a list that a person can still scroll through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from calico_mn.errors import Problem, TopologyError
from calico_mn.text import join_some, one_line, quote, strip_control, suggest

MAX_PROBLEMS = 500
_MAX_LINE = 160
_MAX_NAMED = 40
_MAX_COMPARISONS = 100_000


class Mark(NamedTuple):
    """A position in a file; both count from 1, and 0 means none.

    ``file`` is named where there are several.
    """

    line: int
    column: int
    file: str = ""

    @property
    def where(self) -> str:
        """``line 7``, or ``line 7 of pods.yaml`` where there are several files.

        What has no position is in the running cluster that a file changes.
        """
        if not self.line:
            return "the running cluster"
        return f"line {self.line}" + (f" of {self.file}" if self.file else "")


NO_MARK = Mark(0, 0)


class TooManyProblemsError(Exception):
    """The report is full, and reading on would only cost time. Stays inside this package."""


class Report:
    """All problems and warnings of one topology, in the order they were met.

    ``file`` names the topology, and ``source`` the file that is read, where there are several.
    """

    def __init__(self, file: str, text: str = "") -> None:
        self.file = file
        self.source = ""
        self._texts = {"": text}
        self._lines: dict[str, list[str]] = {}
        self._problems: dict[Problem, None] = {}
        self._full = False
        self._comparisons = 0
        self._fields: dict[str, dict[str, None]] = {}
        self._kinds: dict[str, None] = {}
        self._replaced: dict[str, dict[str, None]] = {}
        self._pods: dict[str, None] = {}
        self._sentences: dict[str, None] = {}
        #: the IPv6 pools that are left out, each with its place
        self.ipv6_pools: dict[str, Mark] = {}

    def begin(self, source: str, text: str) -> None:
        """Go on with another file of the topology."""
        self.source = source
        self._texts[source] = text

    def mark(self, line: int, column: int) -> Mark:
        """A position in the file that is read."""
        return Mark(line, column, self.source)

    def add(self, what: str, mark: Mark, hint: str = "") -> None:
        """Add a problem at ``mark``; the same problem twice is one problem.

        Raises :class:`TooManyProblemsError` when the list is full already.
        """
        if len(self._problems) >= MAX_PROBLEMS:
            self._full = True
            raise TooManyProblemsError
        line, column, file = mark
        source_line = self._line(file, line)
        # A caret under column 5,000 would only fill the screen.
        if column > _MAX_LINE or column > len(source_line) + 1:
            source_line = ""
        problem = Problem(
            what, (file or self.file) if line else "", line, column, source_line[:_MAX_LINE], hint
        )
        self._problems[problem] = None

    def add_for_file(self, what: str, hint: str = "") -> None:
        """Add a problem that concerns the file as a whole."""
        self._problems[Problem(what, self.source or self.file, hint=hint)] = None

    def suggest(self, word: str, known: Iterable[str]) -> str:
        """The known name that ``word`` is probably a slip of, or nothing."""
        names = list(known)
        # The comparison is slow: a large file full of mistakes gets fewer hints.
        self._comparisons += len(names)
        return "" if self._comparisons > _MAX_COMPARISONS else suggest(word, names, cutoff=0.7)

    def did_you_mean(self, word: str, known: Iterable[str]) -> str:
        """``did you mean "ipipMode"?``, or nothing when no known name resembles ``word``."""
        close = self.suggest(word, known)
        return f"did you mean {quote(close)}?" if close else ""

    def ignore_field(self, kind: str, field: str) -> None:
        """Remember a field that Kubernetes or Calico know and that has no effect here."""
        self._fields.setdefault(kind, {})[one_line(field)] = None

    def ignore_kind(self, kind: str, says: str = "") -> None:
        """Remember a whole kind that has no effect here; ``says`` is what happens instead."""
        names = self._replaced.setdefault(says, {}) if says else self._kinds
        names[one_line(kind)] = None

    def ignore_pod(self, key: str, why: str) -> None:
        """Remember a pod that is not emulated."""
        self._pods[f"{one_line(key)} ({why})"] = None

    def warn(self, sentence: str) -> None:
        """Add a sentence of its own to the warnings."""
        self._sentences[sentence] = None

    @property
    def failed(self) -> bool:
        """Whether there is any problem."""
        return bool(self._problems)

    def warnings(self) -> tuple[str, ...]:
        """One sentence for all that is known and not modelled, one for pods, then the others."""
        parts = [f"{kind} {join_some(fields, _MAX_NAMED)}" for kind, fields in self._fields.items()]
        if self._kinds:
            parts.append(f"kinds {join_some(self._kinds, _MAX_NAMED)}")
        sentences = []
        if parts:
            sentences.append(f"These have no effect here: {'; '.join(parts)}.")
        if self._pods:
            sentences.append(f"Pods left out: {join_some(self._pods, 10)}.")
        sentences += [f"The file's {join_some(kinds, _MAX_NAMED)}"
                      f" {'has' if len(kinds) == 1 else 'have'} no effect: {says}."
                      for says, kinds in self._replaced.items()]
        return (*sentences, *self._sentences)

    def error(self) -> TopologyError:
        """The error that carries all problems in file order, those without a position last."""
        order = list(self._texts)
        problems = sorted(self._problems, key=lambda p: (
            p.line == 0, order.index(p.file) if p.file in order else 0, p.line, p.column))
        if self._full:
            problems.append(Problem("there are more problems, which are not listed", self.file))
        return TopologyError(problems, self.warnings())

    def _line(self, file: str, number: int) -> str:
        if not number:
            return ""
        if file not in self._lines:
            # Its other line breaks, such as form feed, are not allowed in a topology file, so
            # these are the lines of YAML 1.1, and our numbers the parser's.
            self._lines[file] = self._texts[file].splitlines()
        lines = self._lines[file]
        if number > len(lines):
            return ""
        # One character stays one character, or the caret would point elsewhere.
        line = lines[number - 1][: _MAX_LINE + 1]
        return strip_control(line.replace("\t", " "), "?")
