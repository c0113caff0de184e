"""Calico's selectors: expressions on labels, such as ``rack == 'r1' && has(ssd)``. Pure.

In goes the text of a selector, out comes a predicate of labels; libcalico-go ``lib/selector``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

Labels = Mapping[str, str]
Selector = Callable[[Labels], bool]

_TOKEN = re.compile(r"""\s*(?:
    (?P<call>(?:all|global)\(\s*\)) | has\(\s*(?P<has>[\w./-]+)\s*\) |
    (?P<sign>&&|\|\||==|!=|[!(){},]) | (?P<text>"[^"]*"|'[^']*') |
    (?P<word>not\s+in\b|starts\s+with\b|ends\s+with\b|in\b|contains\b) | (?P<label>[\w./-]+)
    )""", re.VERBOSE)

# What an operator says of a label's value, which is None where the label is missing.
_OPERATORS: dict[str, Callable[[str | None, str], bool]] = {
    "==": lambda value, text: value == text,
    "!=": lambda value, text: value != text,
    "contains": lambda value, text: value is not None and text in value,
    "starts with": lambda value, text: value is not None and value.startswith(text),
    "ends with": lambda value, text: value is not None and value.endswith(text),
}


@lru_cache(maxsize=1000)
def parse_selector(text: str) -> Selector:
    """A selector as a predicate of labels; an empty one is true. Raises ValueError."""
    if not text.strip():
        return lambda labels: True
    parser = _Parser(text)
    selector = parser.alternatives()
    if parser.kind:
        raise ValueError(f"{parser.value!r} is not expected there")
    return selector


class _Parser:
    """Recursive descent: ``||`` over ``&&`` over ``!`` over one condition."""

    def __init__(self, text: str) -> None:
        self._text, self._position, self._depth = text, 0, 0
        self.kind: str | None = None
        self.value = ""
        self._next()

    def _next(self) -> str:
        before = self.value
        if not self._text[self._position:].strip():
            self.kind, self.value = None, "the end"
            return before
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            raise ValueError(f"{self._text[self._position:].strip()[:20]!r} is not expected there")
        self._position = match.end()
        self.kind = match.lastgroup or ""
        self.value = re.sub(r"\s+", " ", match[self.kind])
        return before

    def _take(self, sign: str) -> bool:
        if self.kind == "sign" and self.value == sign:
            self._next()
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError(f"{sign} is expected before {self.value!r}")

    def alternatives(self) -> Selector:
        parts = [self._conditions()]
        while self._take("||"):
            parts.append(self._conditions())
        return parts[0] if len(parts) == 1 else lambda labels: any(p(labels) for p in parts)

    def _conditions(self) -> Selector:
        parts = [self._condition()]
        while self._take("&&"):
            parts.append(self._condition())
        return parts[0] if len(parts) == 1 else lambda labels: all(p(labels) for p in parts)

    def _condition(self) -> Selector:
        self._depth += 1
        if self._depth > 100:
            raise ValueError("it is nested too deep")
        try:
            if self._take("!"):
                negated = self._condition()
                return lambda labels: not negated(labels)
            if self._take("("):
                inner = self.alternatives()
                self._expect(")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Selector:
        if self.kind == "call":
            self._next()
            return lambda labels: True
        if self.kind == "has":
            key = self._next()
            return lambda labels: key in labels
        if self.kind not in ("label", "word"):
            raise ValueError(f"a label is expected before {self.value!r}")
        key = self._next()
        operator = self._next()
        if operator in ("in", "not in"):
            members, negated = self._members(), operator == "not in"
            return lambda labels: (labels.get(key) in members) is not negated
        compare = _OPERATORS.get(operator)
        if compare is None:
            raise ValueError(f"an operator such as == is expected after {key!r}")
        text = self._string()
        return lambda labels: compare(labels.get(key), text)

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
            raise ValueError(f"a text in quotes is expected before {self.value!r}")
        return self._next()[1:-1]
