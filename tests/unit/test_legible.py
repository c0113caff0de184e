"""Words of others reach a terminal as plain text, whatever they are."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.cli import output
from calico_mn.legible import MAX_LINE, harmless, message, printable
from calico_mn.report import terminal

HARMFUL = ["\x1b[2J", "\x1b]0;x\x07", "\x9b2J", "\r", "\b", "\x7f", "\x00", "\u202e", "\u2066",
           "\u200f", "\u2028", "\udcff", "\x85", "\x0c", "\x0e"]


@given(st.text() | st.sampled_from(HARMFUL).map("a{}b".format))
def test_nothing_that_a_terminal_acts_on_gets_through(text: str) -> None:
    for shown in (harmless(text), message(text), printable(text)):
        shown.encode()
        for c in shown:
            assert c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp")
            assert unicodedata.bidirectional(c) not in (
                "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    assert "\n" not in printable(text) and harmless(text).count("\n") == text.count("\n")


@pytest.mark.parametrize("text", ["plain", "two\nlines", "a\tb", "Knoten \u00fc", "\u4e2d\u6587",
                                  "'a' \"b\" \\x1b", "\u2713 30 \u00b5s \u2013 \u00b1 2"])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert harmless(text) == message(text) == text


@given(st.integers(0, 5 * MAX_LINE), st.sampled_from(["a", "\x1b", "\u4e2d", "ab\n"]))
def test_a_line_has_an_end(length: int, text: str) -> None:
    assert max(map(len, message(text * length).split("\n"))) <= MAX_LINE


def test_of_a_long_line_beginning_and_end_are_shown() -> None:
    shown = message(f"begin {'x' * 200_000} end\nnext")
    assert shown.startswith("begin xxx") and " [...] " in shown and shown.endswith("xxx end\nnext")


@pytest.mark.parametrize("complain", [output.complain, terminal.complain])
@pytest.mark.parametrize("text", HARMFUL, ids=ascii)
def test_complaints_are_harmless(complain, text, capsys):
    complain(f"a{text}b")
    assert capsys.readouterr().err == f"a{printable(text)}b\n"


@pytest.mark.parametrize("text", HARMFUL, ids=ascii)
def test_what_is_said_and_tables_are_harmless(text, capsys):
    output.say(f"a{text}b")
    output.show(output.columns(("A", "B"), [(text, f"x{text}")]), heads=0)
    output.show(output.box(("A",), [(text,)]), heads=0)
    shown = capsys.readouterr().out
    assert shown.startswith(f"a{printable(text)}b\n") and text not in shown


def test_our_own_colours_stay(monkeypatch, capsys):
    monkeypatch.setattr(output, "is_coloured", lambda _stream: True)
    output.say(output.paint("good\x1b[2J", "good"))
    assert capsys.readouterr().out == "\x1b[32mgood\\x1b[2J\x1b[0m\n"
