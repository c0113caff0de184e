"""Parts of sentences; and strings from outside reach a terminal as plain text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.cli import output
from calico_mn.streams import complain
from calico_mn.text import (
    MAX_LINE,
    columns,
    escape_control,
    join,
    join_some,
    message,
    number,
    one_line,
    percent,
    plural,
    quote,
    strip_control,
    suggest,
    wrap,
)

HARMFUL = ["\x1b[2J", "\x1b]0;x\x07", "\x9b2J", "\r", "\b", "\x7f", "\x00", "\u202e", "\u2066",
           "\u200f", "\u2028", "\udcff", "\x85", "\x0c", "\x0e"]


@pytest.mark.parametrize(("count", "noun", "form", "shown"), [
    (0, "pod", None, "0 pods"), (1, "pod", None, "1 pod"), (2, "pod", None, "2 pods"),
    (1, "address", None, "1 address"), (3, "address", None, "3 addresses"),
    (2, "body", "bodies", "2 bodies"), (1234, "route", None, "1234 routes"),
], ids=str)
def test_plural(count, noun, form, shown):
    assert plural(count, noun, form) == shown


@pytest.mark.parametrize(("words", "shown"), [
    ([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c"),
], ids=str)
def test_join(words, shown):
    assert join(words) == shown
    assert join(words, "or") == shown.replace("and", "or")


@pytest.mark.parametrize(("limit", "shown"), [
    (1, "a and 2 more"), (2, "a, b and 1 more"), (3, "a, b, c"), (4, "a, b, c")])
def test_join_some(limit, shown):
    assert join_some(iter("abc"), limit) == shown


@pytest.mark.parametrize(("word", "known", "meant"), [
    ("pasue", ["up", "pause"], "pause"), ("crosssubnet", ["Never", "CrossSubnet"], "CrossSubnet"),
    ("ALWAYS", ["Never", "Always"], "Always"), ("", ["up"], ""), ("quite-else", ["up"], ""),
    ("node13", ["node1", "node31", "node11"], "node31"), ("up", [], ""),
    ("x" * 65, ["x" * 66], ""), ("x" * 65, ["X" * 65], "X" * 65),
], ids=str)
def test_suggest(word, known, meant):
    assert suggest(word, known) == meant


def test_suggest_is_as_strict_as_asked():
    assert suggest("ippol", ["ippool"], 0.7) == "ippool"
    assert suggest("pod", ["pools"], 0.5) == "pools"
    assert suggest("pod", ["pools"], 0.7) == ""


@pytest.mark.parametrize(("value", "shown", "short"), [
    (0, "0", "0"), (1, "1.00", "1"), (99.97, "100", "100"), (0.5, "0.500", "0.5"),
    (1234.5, "1,234", "1,234"), (9.996, "10.0", "10"), (-12.34, "-12.3", "-12.3"),
    (1e15, "1e+15", "1e+15"), (0.00001, "1e-05", "1e-05"), (0.000123, "0.000123", "0.000123"),
    (20, "20.0", "20"), (200, "200", "200"), (-0.0, "0", "0"),
], ids=str)
def test_number(value, shown, short):
    assert number(value) == shown
    assert number(value, zeros=False) == short


@pytest.mark.parametrize(("value", "shown"), [
    (9.4049, "9.405"), (941.5, "941.5"), (1234.5, "1,234"), (999.97, "1,000"), (1, "1.000")],
    ids=str)
def test_number_of_four_digits(value, shown):
    assert number(value, 4) == shown


@pytest.mark.parametrize(("share", "decimals", "sign", "shown"), [
    (0.125, 0, False, "12 %"), (0.125, 1, False, "12.5 %"), (0.125, 1, True, "+12.5 %"),
    (-0.00001, 2, True, "0.00 %"), (0.0, 0, True, "0 %"), (-0.5, 0, False, "-50 %"),
], ids=str)
def test_percent(share, decimals, sign, shown):
    assert percent(share, decimals, sign=sign) == shown


@pytest.mark.parametrize(("text", "width"), [
    ("plain", 5), ("Kn\u00f6tchen", 8), ("o\u0308", 1), ("\u4e2d\u6587", 4),
    ("\uff0c", 2)], ids=ascii)
def test_columns(text, width):
    assert columns(text) == width


@pytest.mark.parametrize(("text", "width", "lines"), [
    pytest.param("one two three", 8, ["one two", "three"], id="English at blanks"),
    pytest.param("网络地址块", 6, ["网络地", "址块"], id="Chinese anywhere"),
    pytest.param("网络。地址", 4, ["网", "络。", "地址"], id="no line begins with a full stop"),
    pytest.param("看（文章）写", 5, ["看", "（文", "章）", "写"], id="nor ends with a bracket"),
    pytest.param("经 tunl0 到", 8, ["经 tunl0", "到"], id="both"),
    pytest.param("/sys/class/net/eth0", 8, ["/sys/class/net/eth0"], id="a long word stays whole"),
    pytest.param("", 8, [""], id="nothing"),
    pytest.param("a  b \n c", 10, ["a b c"], id="blanks are one"),
])
def test_wrap(text, width, lines):
    assert wrap(text, width) == lines


def test_wrapped_lines_are_indented_and_measured_as_asked():
    assert wrap("one two three", 9, "  ", first="- ") == ["- one two", "  three"]
    assert wrap("one two three", 14, measure=lambda line: 2 * len(line)) == ["one two", "three"]


def test_one_character_stays_one_character():
    assert strip_control("a\x1bb\nc") == "a b c"
    assert strip_control("a\x1bb", "?") == "a?b"


def test_quote_is_short():
    assert quote("a\nb") == '"a\\nb"'
    assert quote("x" * 61) == f'"{"x" * 60}..."'


@given(st.text() | st.sampled_from(HARMFUL).map("a{}b".format))
def test_nothing_that_a_terminal_acts_on_gets_through(text: str) -> None:
    for shown in (escape_control(text), message(text), one_line(text)):
        shown.encode()
        for c in shown:
            assert c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp")
            assert unicodedata.bidirectional(c) not in (
                "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    assert "\n" not in one_line(text) and escape_control(text).count("\n") == text.count("\n")


@pytest.mark.parametrize("text", ["plain", "two\nlines", "a\tb", "Knoten \u00fc", "\u4e2d\u6587",
                                  "'a' \"b\" \\x1b", "\u2713 30 \u00b5s \u2013 \u00b1 2"])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert escape_control(text) == message(text) == text


@given(st.integers(0, 5 * MAX_LINE), st.sampled_from(["a", "\x1b", "\u4e2d", "ab\n"]))
def test_a_line_has_an_end(length: int, text: str) -> None:
    assert max(map(len, message(text * length).split("\n"))) <= MAX_LINE


def test_of_a_long_line_beginning_and_end_are_shown() -> None:
    shown = message(f"begin {'x' * 200_000} end\nnext")
    assert shown.startswith("begin xxx") and " [...] " in shown and shown.endswith("xxx end\nnext")


@pytest.mark.parametrize("text", HARMFUL, ids=ascii)
def test_complaints_are_harmless(text, capsys):
    complain(f"a{text}b")
    assert capsys.readouterr().err == f"a{one_line(text)}b\n"


@pytest.mark.parametrize("text", HARMFUL, ids=ascii)
def test_what_is_said_and_tables_are_harmless(text, capsys):
    output.say(f"a{text}b")
    output.show(output.columns(("A", "B"), [(text, f"x{text}")]), heads=0)
    output.show(output.box(("A",), [(text,)]), heads=0)
    shown = capsys.readouterr().out
    assert shown.startswith(f"a{one_line(text)}b\n") and text not in shown


def test_a_table_with_a_frame_is_calicoctls():
    # A table of Calico's documentation, with an address that is longer by one digit.
    assert output.box(("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"), [
        ("192.168.10.12", "node-to-node mesh", "up", "23:30:04", "Established")]) == [
        "+---------------+-------------------+-------+----------+-------------+",
        "| PEER ADDRESS  |     PEER TYPE     | STATE |  SINCE   |    INFO     |",
        "+---------------+-------------------+-------+----------+-------------+",
        "| 192.168.10.12 | node-to-node mesh | up    | 23:30:04 | Established |",
        "+---------------+-------------------+-------+----------+-------------+"]


def test_our_own_colours_stay(monkeypatch, capsys):
    monkeypatch.setattr(output, "is_coloured", lambda: True)
    output.say(output.paint("good\x1b[2J", "good"))
    assert capsys.readouterr().out == "\x1b[32mgood\\x1b[2J\x1b[0m\n"
