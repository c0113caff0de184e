"""The story's texts: both languages say everything, and lines fit a terminal."""

from __future__ import annotations

import dataclasses
import re
import string

import pytest

from calico_mn.text import columns, wrap
from calico_mn.walkthrough.article import CHAPTERS, RULES, WORDS
from calico_mn.walkthrough.replay import ACTIONS
from calico_mn.walkthrough.step import LANGUAGES, LIBRARY, Text

STEPS = [(number, step) for number, chapter in enumerate(CHAPTERS, 1) for step in chapter.steps]
CHINESE = re.compile("[\u4e00-\u9fff]")


def texts(value, place):
    """Every Text inside a value, with the way to it."""
    if isinstance(value, Text):
        yield place, value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from texts(getattr(value, field.name), f"{place}.{field.name}")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(inner, f"{place}.{key}")
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield from texts(inner, f"{place}.{number}")


ALL = [
    *texts(CHAPTERS, "chapters"),
    *texts(RULES, "rules"),
    *texts(WORDS, "words"),
]


def test_every_language_has_every_text():
    assert len(ALL) > 150
    for place, text in ALL:
        for language in LANGUAGES:
            assert text.of(language).strip(), f"{place} says nothing in {language}"
        # What is a sentence in English is one in Chinese.
        if place not in ("words.legend",) and len(text.en.split()) > 1:
            assert CHINESE.search(text.zh), f"{place}: {text.zh}"
        assert not CHINESE.search(text.en), f"{place}: {text.en}"
        # half-width punctuation right after a Chinese character is a slip
        assert not re.search("[\u4e00-\u9fff][,;!?]", text.zh), f"{place}: {text.zh}"


def test_both_languages_fill_in_the_same():
    def fields(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for name, text in WORDS.items():
        assert fields(text.en) == fields(text.zh), name


def test_every_step_compares_or_checks_something_and_names_are_unique():
    for chapter in CHAPTERS:
        names = [step.name for step in chapter.steps]
        assert len(set(names)) == len(names)
        for place, step in enumerate(chapter.steps):
            assert step.quotes or step.expects, step.name
            for expect in step.expects:
                assert expect.same_as is None or expect.same_as[0] in names[:place]
            assert (step.action in ACTIONS) == (step.typed.host == LIBRARY)


def test_each_wrong_statement_has_one_step_that_checks_it():
    wrong = [step for _, step in STEPS if step.wrong]
    assert sorted(int(step.wrong.code[1:]) for step in wrong) == list(range(1, 12))
    assert all(step.expects for step in wrong)


@pytest.mark.parametrize("width", [60, 88, 100])
@pytest.mark.parametrize("language", LANGUAGES)
def test_explanations_fit_and_lose_nothing(language, width):
    for place, text in ALL:
        if place == "words.legend":
            continue
        lines = wrap(text.of(language), width, "     ", first="  1. ")
        assert max(map(columns, lines)) <= width, place
        said = "".join("".join(lines).split())
        assert said == "1." + "".join(text.of(language).split()), place
