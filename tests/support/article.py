"""The article's lines and real ones by the walk-through's rules, for tests that compare them."""

from __future__ import annotations

from calico_mn.walkthrough.article import RULES, apply, of_backend


def normal(text: str, *, tunnel: str = "kernel") -> list[str]:
    """The lines of ``text`` by the common rules; ``tunnel`` is the back end that printed it."""
    rules = of_backend(RULES, tunnel)
    lines = [apply(rules, line) for line in text.replace("\r", "").splitlines()]
    return [line for line in lines if line]
