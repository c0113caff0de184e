"""Trees of a file and plain data: each becomes the other; model objects become plain data. Pure.

Plain data is what JSON has: dict, list, str, int, float, bool and None. A tree that is made of it
has no positions. What is in force is laid over a resource's document (:func:`laid_over`), in the
fields by whose table it was read (:func:`table_fields`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from collections.abc import Mapping as AbstractMapping
from typing import Any, overload

from calico_mn.errors import Problem, TopologyError
from calico_mn.topology import schema as s
from calico_mn.topology.problems import NO_MARK
from calico_mn.topology.yaml_tree import (
    MAX_DEPTH,
    NOT_KEPT,
    Mapping,
    Scalar,
    Sequence,
    Tree,
)

#: a resource
Document = dict[str, Any]

_BOOLEANS = frozenset(["true", "True", "TRUE", "false", "False", "FALSE"])
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


def plain(tree: Tree) -> Any:
    """A tree as plain data, without what is not kept.

    A number whose spelling would be lost, such as 1.50 or 007, stays a text.
    """
    if isinstance(tree, Mapping):
        return {name: plain(value) for name, (_, value) in tree.entries.items()
                if name not in NOT_KEPT or isinstance(value, Scalar)}
    if isinstance(tree, Sequence):
        return [plain(item) for item in tree.items]
    text = tree.text
    if not tree.plain:
        return text
    if tree.is_null:
        return None
    if text in _BOOLEANS:
        return text.lower() == "true"
    if _NUMBER.fullmatch(text):
        value = float(text) if "." in text else int(text)
        return value if str(value) == text else text
    return text


@overload
def tree_of(value: dict[str, Any], depth: int = 0) -> Mapping: ...
@overload
def tree_of(value: Any, depth: int = 0) -> Tree: ...
def tree_of(value: Any, depth: int = 0) -> Tree:
    """Plain data as a tree without positions: the reverse of :func:`plain`.

    Raises :class:`calico_mn.errors.TopologyError` for what is nested too deep.
    """
    if depth > MAX_DEPTH:
        raise TopologyError([Problem(f"resources are nested deeper than {MAX_DEPTH} levels")])
    if isinstance(value, dict):
        return Mapping(NO_MARK, {
            str(name): (Scalar(str(name), True, NO_MARK), tree_of(item, depth + 1))
            for name, item in value.items()})
    if isinstance(value, (list, tuple)):
        return Sequence(NO_MARK, [tree_of(item, depth + 1) for item in value])
    if value is None or isinstance(value, bool):
        return Scalar("null" if value is None else str(value).lower(), True, NO_MARK)
    return Scalar(str(value), not isinstance(value, str), NO_MARK)


def at(value: Any, *path: str) -> Any:
    """What a mapping has below these names; None where it has nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def laid_over(document: Any, facts: Document) -> Document:
    """A document with ``facts`` laid over it, mapping by mapping; None takes a field out."""
    merged = dict(document) if isinstance(document, dict) else {}
    for name, fact in facts.items():
        value = laid_over(merged.get(name), fact) if isinstance(fact, dict) else fact
        if value is None or (value == {} and name not in merged):
            merged.pop(name, None)
        else:
            merged[name] = value
    return merged


def table_fields(table: s.Table, document: Any, model: Any) -> Document:
    """What a model object says, in the fields of a table: to be laid over that part of a document.

    None is for a field to be taken out. Lists of objects are left out.
    """
    return _table_fields(table, document, dict(_attributes(model)))


def _attributes(model: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Each attribute with its value and its default, those of parts of the object among them."""
    for item in dataclasses.fields(model):
        value = getattr(model, item.name)
        if dataclasses.is_dataclass(value):
            yield from _attributes(value)
        else:
            yield item.name, (value, item.default)


def _table_fields(table: s.Table, document: Any,
                  attributes: AbstractMapping[str, tuple[Any, Any]]) -> Document:
    fields: Document = {}
    for name, entry in table.items():
        given = document.get(name) if isinstance(document, dict) else None
        if isinstance(entry, AbstractMapping):
            if part := _table_fields(entry, given, attributes):
                fields[name] = part
        elif isinstance(entry, s.Field) and entry.name in attributes:
            value, default = attributes[entry.name]
            wanted = None if value is None else entry.write(value)
            if given != wanted and (given is not None or entry.shown or value != default):
                fields[name] = wanted if entry.shown or value != default else None
    return fields
