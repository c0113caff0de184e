"""Calico's selectors: expressions on labels, such as ``rack == 'r1' && has(ssd)``. Pure.

In goes the text of a selector, out comes a :class:`Selector`: a predicate of labels, and the text
as Calico spells it, whose digest names an IP set (libcalico-go ``lib/selector/parser/ast.go``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector: call it with labels. ``str`` gives Calico's own spelling of it."""

    text: str
    matches: Callable[[Labels], bool]

    def __call__(self, labels: Labels) -> bool:
        """Whether the labels match."""
        return self.matches(labels)

    def __str__(self) -> str:
        return self.text


_TOKEN = re.compile(r"""\s*(?:
    (?P<call>(?:all|global)\(\s*\)) | has\(\s*(?P<has>[\w./-]+)\s*\) |
    (?P<sign>&&|\|\||==|!=|[!(){},]) | (?P<text>"[^"]*"|'[^']*') | (?P<label>[\w./-]+)
    )""", re.VERBOSE | re.ASCII)
# These are words behind a label alone, and need no blank behind them (lib/selector/tokenizer).
_WORD = re.compile(r"\s*(?P<word>not\s*in|starts\s*with|ends\s*with|in|contains)")
_SPELLED = {"notin": "not in", "startswith": "starts with", "endswith": "ends with"}

# What an operator says of a label's value, which is None where the label is missing.
_OPERATORS: dict[str, Callable[[str | None, str], bool]] = {
    "==": lambda value, text: value == text,
    "!=": lambda value, text: value != text,
    "contains": lambda value, text: value is not None and text in value,
    "starts with": lambda value, text: value is not None and value.startswith(text),
    "ends with": lambda value, text: value is not None and value.endswith(text),
}


_ALL = Selector("all()", lambda labels: True)


@lru_cache(maxsize=10_000)
def parse_selector(text: str, prefix: str = "") -> Selector:
    """The selector that ``text`` spells; an empty one is ``all()``. Raises ValueError.

    ``prefix`` goes before the name of each label: those of namespaces and of service accounts
    have one where an endpoint carries them.
    """
    if not text.strip():
        return _ALL
    parser = _Parser(text, prefix)
    selector = parser.alternatives()
    if parser.kind:
        raise parser.error(f"{parser.value!r} is not expected there")
    return selector


def _quote(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'


def _joined(parts: list[Selector], sign: str, decisive: bool) -> Selector:
    """Parts of which the first that answers ``decisive`` decides."""
    if len(parts) == 1:
        return parts[0]
    conditions = [part.matches for part in parts]

    def matches(labels: Labels) -> bool:
        for condition in conditions:
            if condition(labels) is decisive:
                return decisive
        return not decisive

    return Selector(f"({sign.join(part.text for part in parts)})", matches)


class _Parser:
    """Recursive descent: ``||`` over ``&&`` over ``!`` over one condition."""

    def __init__(self, text: str, prefix: str) -> None:
        self._text, self._prefix, self._position, self._depth = text, prefix, 0, 0
        self._start = 0
        self.kind: str | None = None
        self.value = ""
        self._next()

    def _next(self) -> str:
        before, rest = self.value, self._text[self._position:]
        self._start = len(self._text) - len(rest.lstrip())
        if not rest.strip():
            self.kind, self.value = None, "the end"
            return before
        match = (_WORD.match(self._text, self._position) if self.kind == "label" else None
                 ) or _TOKEN.match(self._text, self._position)
        if match is None:
            raise self.error(f"{rest.strip()[:20]!r} is not expected there")
        self._position = match.end()
        self.kind = match.lastgroup or ""
        self.value = match[self.kind]
        if self.kind == "word":
            word = "".join(self.value.split())
            self.value = _SPELLED.get(word, word)
        return before

    def error(self, what: str) -> ValueError:
        """What is wrong, and at which character, counted from 1."""
        return ValueError(f"at character {self._start + 1}, {what}")

    def _take(self, sign: str) -> bool:
        if self.kind == "sign" and self.value == sign:
            self._next()
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self.error(f"{sign} is expected before {self.value!r}")

    def alternatives(self) -> Selector:
        parts = [self._conditions()]
        while self._take("||"):
            parts.append(self._conditions())
        return _joined(parts, " || ", True)

    def _conditions(self) -> Selector:
        parts = [self._condition()]
        while self._take("&&"):
            parts.append(self._condition())
        return _joined(parts, " && ", False)

    def _condition(self) -> Selector:
        self._depth += 1
        if self._depth > 100:
            raise self.error("it is nested too deep")
        try:
            if self._take("!"):
                negated = self._condition()
                return Selector(f"!{negated}", lambda labels: not negated.matches(labels))
            if self._take("("):
                inner = self.alternatives()
                self._expect(")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Selector:
        if self.kind == "call":
            return Selector(re.sub(r"\s", "", self._next()), _ALL.matches)
        if self.kind == "has":
            key = self._prefix + self._next()
            return Selector(f"has({key})", lambda labels: key in labels)
        if self.kind != "label":
            raise self.error(f"a label is expected before {self.value!r}")
        label = self._next()
        key = self._prefix + label
        start, operator = self._start, self._next()
        if operator in ("in", "not in"):
            members, negated = self._members(), operator == "not in"
            return Selector(f"{key} {operator} {{{', '.join(map(_quote, sorted(members)))}}}",
                            lambda labels: (labels.get(key) in members) is not negated)
        compare = _OPERATORS.get(operator)
        if compare is None:
            self._start = start
            raise self.error(f"an operator such as == is expected after {label!r}")
        text = self._string()
        return Selector(f"{key} {operator} {_quote(text)}",
                        lambda labels: compare(labels.get(key), text))

    def _members(self) -> frozenset[str]:
        self._expect("{")
        members = []
        while not self._take("}"):
            members.append(self._string())
            if not self._take(","):
                self._expect("}")
                break
        return frozenset(members)

    def _string(self) -> str:
        if self.kind != "text":
            raise self.error(f"a text in quotes is expected before {self.value!r}")
        return self._next()[1:-1]
