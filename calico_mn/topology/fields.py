"""Mappings by their schemas: the fields of a resource, read, ignored or reported.

In go a mapping of a file and its :class:`~calico_mn.topology.schema.Schema`, out comes a
:class:`~calico_mn.topology.schema.Resource`. Reported are unknown fields, wrong values and missing
fields; what Kubernetes or Calico know and has no effect here is named in the warnings.
"""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from typing import Any

from calico_mn.text import join_some, quote
from calico_mn.topology import schema as s
from calico_mn.topology.problems import Mark, Report
from calico_mn.topology.yaml_tree import Mapping, Scalar, Sequence, Tree, describe


def read_mapping(
    report: Report, tree: Tree, schema: s.Schema[s.M], kind: str, title: str = ""
) -> s.Resource[s.M] | None:
    """Read a mapping by its schema; None when it has no effect.

    ``kind`` names the mapping in messages about its fields, and ``title``, where given, in those
    about missing ones.
    """
    resource: s.Resource[s.M] = s.Resource(tree.mark)
    if isinstance(tree, Mapping):
        _read_fields(report, resource, tree, schema.table, kind, "")
        if schema.check and not schema.check(report, resource):
            return None
        for path, hint in schema.required:
            mark = _missing_at(resource, path)
            if mark is not None:
                report.add(f"{title or kind} needs {path}", mark, hint)
    else:
        _refuse_shape(report, tree, kind)
    resource.make(schema.model)
    return resource


def _read_fields(
    report: Report, resource: s.Resource[Any], tree: Mapping, table: s.Table, kind: str, path: str
) -> None:
    misplaced = []
    for name, (key, value) in tree.entries.items():
        entry = entry_of(table, name)
        field_path = f"{path}.{name}" if path else name
        if entry is None or entry is s.Special.UNKNOWN or _differs_in_case(name, table):
            meant = _report_unknown(report, key, table, kind, path)
            if meant:
                misplaced.append((f"{path}.{meant}" if path else meant, key.mark))
        elif entry is not s.Special.BOOKKEEPING and not (
                isinstance(value, Scalar) and value.is_null):
            _read_entry(report, resource, value, entry, kind, field_path)
    # The field that a misspelt or misplaced one means is not missing as well.
    for meant, mark in misplaced:
        parent = meant.rpartition(".")[0]
        while parent:
            resource.given.setdefault(parent, mark)
            parent = parent.rpartition(".")[0]
        resource.given.setdefault(meant, None)


def entry_of(table: s.Table, name: str) -> s.Entry | None:
    """What becomes of a field; None where the table does not know it."""
    return table.get(name, table.get(name.partition("/")[0] + "/*", table.get(s.REST)))


def _read_entry(
    report: Report, resource: s.Resource[Any], value: Tree, entry: s.Entry, kind: str, path: str
) -> None:
    label = _label(kind, path)
    if isinstance(entry, s.Field):
        resource.given[path] = value.mark
        resource.read(report, entry, value, label)
    elif isinstance(entry, s.Ignored):
        if not _is_default(value, entry.default):
            if entry.says:
                report.warn(f"{label} has no effect: {entry.says}.")
            else:
                report.ignore_field(kind, path)
    elif isinstance(entry, s.List):
        resource.given[path] = value.mark
        if not isinstance(value, Sequence):
            report.add(f"{label} must be a list, not {describe(value)}", value.mark,
                       "begin each entry with a dash")
            return
        entries = [read_mapping(report, item, entry, f"{label}[{i}]")
                   for i, item in enumerate(value.items)]
        resource.set(entry.name, [item for item in entries if item is not None], value.mark)
        if entry.empty and not entries:
            report.add(f"{label} is empty", value.mark, entry.empty)
    elif isinstance(entry, AbstractMapping):
        if isinstance(value, Mapping):
            resource.given[path] = value.mark
            _read_fields(report, resource, value, entry, kind, path)
        else:
            resource.given[path] = None
            _refuse_shape(report, value, label)


def _label(kind: str, path: str) -> str:
    """``IPPool spec.cidr``, ``Underlay spec.subnets[0].cidr``."""
    return f"{kind}{'.' if kind.endswith(']') else ' '}{path}" if path else kind


def _refuse_shape(report: Report, tree: Tree, label: str) -> None:
    report.add(f"{label} must be a mapping of fields, not {describe(tree)}", tree.mark,
               "write its fields as name: value")


def _is_default(value: Tree, default: tuple[str, ...]) -> bool:
    if isinstance(value, Scalar):
        return (value.text,) == default or value.text == ""
    if isinstance(value, Sequence):
        texts = tuple(i.text if isinstance(i, Scalar) else "" for i in value.items)
        return texts in (default, ())
    return not value.entries


def _missing_at(resource: s.Resource[Any], path: str) -> Mark | None:
    """Where a field is missing: at the innermost mapping around it. None when it is given."""
    mark: Mark | None = resource.mark
    names = path.split(".")
    for depth in range(1, len(names)):
        mark = resource.given.get(".".join(names[:depth]), mark)
        if mark is None:
            return None
    return None if path in resource.given else mark


def _has_effect(entry: s.Entry) -> bool:
    return not isinstance(entry, (s.Ignored, s.Special))


def _differs_in_case(name: str, table: s.Table) -> bool:
    """Whether ``name`` is a field with an effect but for its case, where any name is accepted."""
    return name not in table and any(
        known.lower() == name.lower() and _has_effect(entry) for known, entry in table.items())


def _report_unknown(report: Report, key: Scalar, table: s.Table, kind: str, path: str) -> str:
    """Report it; the path below ``table`` of the field that is meant, as far as we can tell."""
    named = [name for name in table if not name.endswith("*")]
    # A field of that very name elsewhere is a better guess than a similar name in this table.
    meant, close = _find(key.text, table), report.suggest(key.text, named)
    if close and (not meant or close.lower() == key.text.lower()):
        meant, hint = close, f"did you mean {quote(close)}?"
    elif meant:
        hint = f"{key.text} belongs under {meant.removesuffix('.' + key.text)}"
    else:
        names = [name for name, entry in table.items() if _has_effect(entry)]
        hint = f"fields with an effect here: {join_some(names, 40)}" if names else ""
    report.add(f"unknown field {quote(key.text)} in {_label(kind, path)}",
               key.mark, hint)
    return meant


def _find(name: str, table: s.Table) -> str:
    """The path below ``table`` of the field called ``name``, or nothing."""
    for parent, entry in table.items():
        if isinstance(entry, AbstractMapping):
            below = name if name in entry and name != s.REST else _find(name, entry)
            if below:
                return f"{parent}.{below}"
    return ""
