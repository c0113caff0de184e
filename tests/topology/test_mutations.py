"""Shipped topologies with something changed: a cluster can be made of them, or it is said why not.

Text is cut, repeated and replaced; trees lose values, repeat them, or have them replaced by, or put
into, others. What was found this way once stays as a case of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_any_input import NAMES, SCALARS, VALUES, outcome

from calico_mn.errors import TopologyError
from calico_mn.model import Topology

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "topologies" / f"{name}.yaml" for name in (
    "article", "two-subnets", "slow-links", "two-paths", "two-pools")] + [
        Path(__file__).parent / "pasted.yaml"]
TEXTS = [path.read_text(encoding="utf-8") for path in SHIPPED]
TREES = [list(yaml.load_all(text, yaml.BaseLoader)) for text in TEXTS]
SNIPPETS = st.sampled_from([
    "", " ", "\n", "\t", "- ", ": ", "{", "}", "[", "]", "'", '"', "&a ", "*a", "<<: ", "!!set ",
    "|\n", "#", "---\n", "...\n", "%", "null", "no", "-1", "0", "1e999", ".nan", "/0", "/32", "32",
    "0.0.0.0", "255.255.255.255", "fd00::1", "99999999999999999999", "\x00", "\x1b[2J", "\ufeff",
    "\u202e", "\r", "\x85", "\u2028", "\ud7ff", "Always", "List", "items",
]) | st.text(max_size=5)


@st.composite
def changed_texts(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 1, 3, 10, 80, 800])))
        piece = draw(SNIPPETS | st.just(text[start:end] * 2))
        text = text[:start] + piece + text[end:]
    return text


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below ``tree``."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], (dict, list)):
            yield from places(tree[key])


@st.composite
def changed_trees(draw: st.DrawFn) -> str:
    documents = copy.deepcopy(draw(st.sampled_from(TREES)))
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(documents))
        if not found:
            break
        holder, key = found[draw(st.integers(0, len(found) - 1))]
        other_holder, other_key = found[draw(st.integers(0, len(found) - 1))]
        how = draw(st.sampled_from(["drop", "repeat", "replace", "nest", "rename", "swap"]))
        if how == "drop":
            del holder[key]
        elif how == "repeat" and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif how == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(NAMES))] = holder.pop(key)
        elif how == "nest":
            holder[key] = draw(st.sampled_from([[holder[key]], {"spec": holder[key]}]))
        elif how == "swap":
            holder[key] = copy.deepcopy(other_holder[other_key])
        else:
            holder[key] = draw(SCALARS | VALUES)
    return str(yaml.safe_dump_all(documents, allow_unicode=True))


@settings(max_examples=150, deadline=None)
@given(changed_texts())
def test_a_text_with_something_changed(text: str) -> None:
    assert isinstance(outcome(text), (Topology, TopologyError))


@settings(max_examples=120, deadline=None)
@given(changed_trees())
def test_a_tree_with_something_changed(text: str) -> None:
    assert isinstance(outcome(text), (Topology, TopologyError))


@pytest.mark.parametrize("text", TEXTS, ids=[path.stem for path in SHIPPED])
def test_they_are_good_as_they_are(text: str) -> None:
    assert isinstance(outcome(text), Topology)
