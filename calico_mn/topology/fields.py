"""What a schema table is made of, and how a tree is read by one.

A table maps a field's name to what is done with it: a reader, a table of its own, :class:`Items`,
:data:`KNOWN` or :data:`SILENT`. The tables themselves are in :mod:`calico_mn.topology.schema`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, Union

from calico_mn.topology.positions import Mapping, Scalar, Sequence, Tree
from calico_mn.topology.problems import Mark, Report, listing, quote

T = TypeVar("T")

# A reader turns a tree into a value, or reports why not and returns None.
Reader = Callable[[Report, Tree, str], Any]


@dataclass(frozen=True, slots=True)
class Known:
    """A real field that has no effect here: named in the warning unless it holds ``default``."""

    default: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Silent:
    """Housekeeping of the API server: accepted without a word."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """For the rest of a group of names in which a name that we don't know is a mistake."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list whose entries are all read by ``table``."""

    table: Table


Entry = Union[Reader, Known, Silent, Unknown, Items, "Table"]
Table = AbstractMapping[str, Entry]

KNOWN = Known()
SILENT = Silent()
UNKNOWN = Unknown()
# The entry for all fields that a table does not name; "group/*" is that for names with a group.
REST = "*"


@dataclass(frozen=True, slots=True)
class Located(Generic[T]):
    """A value and the place that it comes from."""

    value: T
    mark: Mark


@dataclass(slots=True)
class Record:
    """A mapping after reading. A value that was reported as wrong is there, as None."""

    mark: Mark
    values: dict[str, Located[Any]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    lists: dict[str, list[Record]] = field(default_factory=dict)
    # Not a mapping at all, and reported: then nothing more is said of it.
    wrong: bool = False

    def get(self, *path: str) -> Located[Any] | None:
        """The value at ``path``, or None when it is absent or wrong."""
        record = self.nearest(*path[:-1])[0]
        found = record.values.get(path[-1]) if record else None
        return None if found is None or found.value is None else found

    def has(self, *path: str) -> bool:
        """Whether the file says something at ``path``, right or wrong."""
        record, _ = self.nearest(*path[:-1])
        return record is None or record.wrong or any(
            path[-1] in place for place in (record.values, record.records, record.lists)
        )

    def items(self, *path: str) -> list[Record]:
        """The entries of the list at ``path``."""
        record = self.nearest(*path[:-1])[0]
        return record.lists.get(path[-1], []) if record else []

    def nearest(self, *path: str) -> tuple[Record | None, Mark]:
        """The record at ``path`` and its place.

        An absent record is an empty one at the place of its parent; a wrong one is None.
        """
        record = self
        for name in path:
            if name in record.values:
                return None, record.values[name].mark
            record = record.records.get(name) or Record(record.mark)
        return record, record.mark

    def misplace(self, path: list[str], mark: Mark) -> None:
        """Take ``path`` for given wrongly, unless it is given: what stands at ``mark`` meant it."""
        record = self
        for name in path[:-1]:
            record = record.records.setdefault(name, Record(mark))
        if not record.has(path[-1]):
            record.values[path[-1]] = Located(None, mark)


def read_record(report: Report, tree: Tree, table: Table, kind: str, path: str = "") -> Record:
    """Read a mapping by its table, reporting unknown fields and wrong values.

    ``kind`` and ``path`` only name the place in messages.
    """
    record = Record(tree.mark)
    if not isinstance(tree, Mapping):
        report.add(f"{kind} must be a mapping of fields, not {describe(tree)}", tree.mark,
                   "write its fields as name: value")
        record.wrong = True
        return record
    meant = []
    for name, (key, value) in tree.entries.items():
        entry = table.get(name, table.get(name.partition("/")[0] + "/*", table.get(REST)))
        here = f"{path}.{name}" if path else name
        if entry is None or isinstance(entry, Unknown) or _other_case(name, table):
            meant.append((_unknown_field(report, key, table, kind, path), key.mark))
        else:
            _read_entry(report, record, name, value, entry, kind, here)
    for place, mark in meant:
        if place:
            record.misplace(place, mark)
    return record


def _read_entry(
    report: Report, record: Record, name: str, value: Tree, entry: Entry, kind: str, here: str
) -> None:
    empty = isinstance(value, Scalar) and value.is_null
    if isinstance(entry, (Silent, Unknown)) or empty:
        return
    if isinstance(entry, Known):
        if not _is_default(value, entry.default):
            report.leave_out_field(kind, here)
    elif isinstance(entry, Items):
        if not isinstance(value, Sequence):
            report.add(f"{kind} {here} must be a list, not {describe(value)}", value.mark,
                       "begin each entry with a dash")
            record.values[name] = Located(None, value.mark)
            return
        record.lists[name] = [
            read_record(report, item, entry.table, f"{kind} {here}[{i}]")
            for i, item in enumerate(value.items)
        ]
    elif isinstance(entry, AbstractMapping):
        if isinstance(value, Mapping):
            record.records[name] = read_record(report, value, entry, kind, here)
        else:
            report.add(f"{kind} {here} must be a mapping of fields, not {describe(value)}",
                       value.mark, "write its fields as name: value")
            record.values[name] = Located(None, value.mark)
    else:
        record.values[name] = Located(entry(report, value, f"{kind} {here}"), value.mark)


def describe(tree: Tree) -> str:
    """What a tree is, for "not ..." in a message."""
    if isinstance(tree, Mapping):
        return "a mapping"
    if isinstance(tree, Sequence):
        return "a list"
    return "nothing" if tree.is_null else quote(tree.text)


def _is_default(value: Tree, default: tuple[str, ...]) -> bool:
    if isinstance(value, Scalar):
        return (value.text,) == default or value.text == ""
    if isinstance(value, Sequence):
        texts = tuple(i.text if isinstance(i, Scalar) else "" for i in value.items)
        return texts in (default, ())
    return not value.entries


def _other_case(name: str, table: Table) -> bool:
    """Whether ``name`` is a field with an effect but for its case, where any name is taken."""
    if name in table:
        return False
    return any(known.lower() == name.lower() and not isinstance(entry, (Known, Silent))
               for known, entry in table.items())


def _unknown_field(
    report: Report, key: Scalar, table: Table, kind: str, path: str
) -> list[str]:
    """Report it; the path below ``table`` of the field that was meant, as far as we can tell."""
    where = f"{kind} {path}" if path else kind
    named = [name for name in table if not name.endswith("*")]
    # A name that is right, only elsewhere, is a better guess than one that is spelled alike here.
    meant, close = _find(key.text, table), report.closest(key.text, named)
    if close and (not meant or close.lower() == key.text.lower()):
        meant, hint = [close], f"did you mean {quote(close)}?"
    else:
        modelled = [n for n, e in table.items() if not isinstance(e, (Known, Silent, Unknown))]
        hint = (f"{key.text} belongs under {'.'.join(meant[:-1])}" if meant
                else f"fields with an effect here: {listing(modelled)}" if modelled else "")
    report.add(f"unknown field {quote(key.text)} in {where}", key.mark, hint)
    return meant


def _find(name: str, table: Table) -> list[str]:
    """The path below ``table`` at which a field called ``name`` has its place, or nothing."""
    for parent, entry in table.items():
        if isinstance(entry, AbstractMapping):
            if name in entry and name != REST:
                return [parent, name]
            deeper = _find(name, entry)
            if deeper:
                return [parent, *deeper]
    return []
