"""The article's lines against real ones: which agree, and what differs where they don't. Pure.

Each rule (story.yaml) names one thing that cannot be equal on two machines, and nothing else is
forgiven.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from calico_mn.walkthrough import step
from calico_mn.walkthrough.article import RULES


def compare(quotes: Sequence[step.Quote], real: str, *, tunnel: str = "kernel",
            more: Sequence[step.Rule] = ()) -> step.Comparison:
    """Each line of the quotes with the real line that it is, in order.

    ``more`` are rules of this step alone; they go before the common ones. A line that is not
    there is shown beside the one that looks most like it.
    """
    rules = of_backend((*more, *RULES), tunnel)
    printed = [line.rstrip() for line in real.replace("\r", "").splitlines() if line.strip()]
    applied = [apply(rules, line) for line in printed]
    lines: list[step.Line] = []
    taken: set[int] = set()
    start = 0
    for quote in quotes:
        for text in filter(None, map(str.rstrip, quote.text.splitlines())):
            wanted = apply(rules, text)
            at = next((n for n in range(start, len(applied)) if applied[n] == wanted), None)
            if at is not None:
                start = at + 1
                taken.add(at)
                needed = _needed(rules, text, printed[at])
                lines.append(step.Line(
                    text, printed[at], step.NAMED if needed else step.AGREES, needed))
            elif tunnel in quote.absent:
                lines.append(step.Line(text, None, step.ABSENT, reason=quote.absent[tunnel]))
            else:
                near = get_close_matches(text, [line for n, line in enumerate(printed)
                                                if n not in taken], 1)
                lines.append(step.Line(text, near[0] if near else None, step.DIFFERS))
    others = tuple(line for n, line in enumerate(printed) if n not in taken)
    return step.Comparison(tuple(lines), others)


def of_backend(rules: Sequence[step.Rule], tunnel: str) -> tuple[step.Rule, ...]:
    """The rules that hold for a tunnel back end."""
    return tuple(rule for rule in rules if rule.backend in ("", tunnel))


def apply(rules: Sequence[step.Rule], line: str) -> str:
    """The line as all rules leave it."""
    for rule in rules:
        line = rule.apply(line)
    return line


def _needed(rules: Sequence[step.Rule], article: str, real: str) -> tuple[step.Rule, ...]:
    """The rules without which the two lines would not be equal."""
    if article == real:
        return ()
    needed = list(rules)
    for rule in rules:
        rest = [r for r in needed if r is not rule]
        if apply(rest, article) == apply(rest, real):
            needed = rest
    return tuple(needed)
