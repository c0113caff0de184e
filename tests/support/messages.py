"""What every message is: a few lines, no traceback, nothing that a terminal would act on."""

from __future__ import annotations

from calico_mn.text import MAX_LINE


def assert_harmless(text: str, lines: int) -> None:
    """At most ``lines`` lines that can be read, and shown as they are."""
    assert "Traceback" not in text and "Exception ignored" not in text, text[-2000:]
    assert text.count("\n") <= lines, text[:2000]
    assert max(map(len, text.split("\n"))) <= MAX_LINE
    odd = {c for c in text if not c.isprintable() and c not in "\n\t"}
    assert not odd - {"\u00a0", "\u3000"}, odd
    text.encode()
