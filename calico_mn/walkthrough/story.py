"""The story as data: the article's lines, rules, chapters and words, read from story.yaml."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from calico_mn.walkthrough.step import Chapter, Rule, Text


def _build(kind: Any, value: Any) -> Any:
    """A value of YAML as an object of ``kind``: the types that fields of step.py have."""
    if value is None or kind in (str, bool):
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{name: _build(hints[name], inner) for name, inner in value.items()})
    arguments = get_args(kind)
    if get_origin(kind) is types.UnionType:
        return _build(arguments[0], value)
    if get_origin(kind) is tuple:
        inner = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return tuple(_build(each, item) for each, item in zip(inner, value, strict=True))
    return {name: _build(arguments[1], item) for name, item in value.items()}


_story = yaml.safe_load(Path(__file__).with_name("story.yaml").read_text(encoding="utf-8"))

#: what the article's terminals show, by name
LINES: Mapping[str, str] = _story["lines"]
#: what may differ from them: everywhere, and in single steps
RULES: tuple[Rule, ...] = _build(tuple[Rule, ...], _story["rules"])
STEP_RULES: Mapping[str, Rule] = {
    rule.key: rule for rule in _build(tuple[Rule, ...], _story["step_rules"])}
#: in their order
CHAPTERS: tuple[Chapter, ...] = _build(tuple[Chapter, ...], _story["chapters"])
#: the renderer's own words
WORDS: Mapping[str, Text] = _build(Mapping[str, Text], _story["words"])
