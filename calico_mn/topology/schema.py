"""What a schema is made of: tables of field names, each with what becomes of the field.

A :class:`Schema` is such a table, a model class, and the rules inside one object; a
:class:`Kind` is the schema of a resource of one apiVersion::

    {"spec": {"cidr": Field(network, "cidr"), "nodeSelector": Ignored()}}, IPPool
                |             |        |
      name in the file     reader   attribute of the model object

Reading a mapping by its schema gives a :class:`Resource`: the model object, and the position of
each of its fields for the rules between objects. :class:`Resources` holds all of a file.
The reverse is :func:`~calico_mn.topology.plain_data.table_fields`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Generic, TypeVar, Union

from calico_mn.topology import readers as r
from calico_mn.topology.problems import Mark, Report
from calico_mn.topology.yaml_tree import Tree

M = TypeVar("M")
E = TypeVar("E")

# The entry for all fields that a table does not name; "group/*" is that for names with a group.
REST = "*"


def as_plain(value: Any) -> Any:
    """A value of the model as plain data: a list, a text, or as it is."""
    if isinstance(value, tuple):
        return list(map(as_plain, value))
    return value if value is None or type(value) in (bool, int, float, str) else str(value)


@dataclass(frozen=True, slots=True)
class Field:
    """A field with an effect: ``read`` gives the value of the attribute ``name``.

    A name that the model class does not have is for the schema's own rules. ``missing`` is the
    hint for a file that lacks the field; without one the field is optional. ``write`` is the
    reverse of ``read``: the value, unless it is None, as plain data. A field that is ``shown`` is
    written also where the model has its default.
    """

    read: r.Reader
    name: str
    missing: str = ""
    write: Callable[[Any], Any] = as_plain
    shown: bool = False


def choice(name: str, yes: str, no: str = "", *, missing: str = "", shown: bool = False) -> Field:
    """A field with one of two words, which are True and False of the attribute ``name``.

    Without ``no`` there is the one word alone.
    """
    read = r.one_of(*filter(None, (yes, no)))
    return Field(lambda tree: read(tree) == yes, name, missing,
                 lambda value: yes if value else no, shown)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A field of Kubernetes or Calico without effect here: a warning names it.

    It does not when the field holds ``default``. ``says`` makes a sentence of its own: what
    happens instead, for a field that changes addresses, routes or reachability.
    """

    default: tuple[str, ...] = ()
    says: str = ""


class Special(Enum):
    """Entries without details."""

    #: bookkeeping of the API server: accepted without a warning
    BOOKKEEPING = "bookkeeping"
    #: for the rest of a group of names of which all are known: a mistake
    UNKNOWN = "unknown"


Entry = Union[Field, "List[Any]", Ignored, Special, "Table"]
Table = AbstractMapping[str, Entry]


@dataclass(frozen=True, eq=False)
class Schema(Generic[M]):
    """How a mapping becomes an object of ``model``.

    ``check`` applies the rules inside one object before it is made, and may change its values;
    when it returns False, the object has no effect.
    """

    table: Table
    model: type[M]
    check: Callable[[Report, Resource[M]], bool] | None = None

    @cached_property
    def required(self) -> tuple[tuple[str, str], ...]:
        """The path of each field that must be given, with its hint."""
        return tuple(_required(self.table, ""))


@dataclass(frozen=True, eq=False)
class List(Schema[M]):
    """A list of mappings: the attribute ``name`` is a tuple of their objects.

    ``missing`` is as in :class:`Field`, ``empty`` the hint for a list that must not be empty.
    """

    name: str = ""
    missing: str = ""
    empty: str = ""


@dataclass(frozen=True, eq=False)
class Kind(Schema[M]):
    """The schema of a resource.

    ``topology`` is the attribute of :class:`calico_mn.model.Topology` that holds the objects, if
    they go there as they are: a tuple, or the one object of a ``single`` kind, where ``single`` is
    the hint for a second one. Resources with a name other than ``only``, where given, have no
    effect.
    """

    api: str = ""
    name: str = ""
    topology: str = ""
    single: str = ""
    only: str = ""

    @property
    def title(self) -> str:
        """The kind, with the name that has an effect."""
        return f"{self.name} {self.only}".rstrip()


@dataclass(slots=True)
class Resource(Generic[M]):
    """An object as read from a file, and the position of each of its fields.

    A field that is missing or wrong has been reported; it has no position, and in ``model`` it is
    the default, or None in spite of its type. Ask :meth:`has` before using it.
    """

    mark: Mark
    values: dict[str, Any] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    # The attributes that the file gives wrongly.
    wrong: set[str] = field(default_factory=set)
    # The position of all that the file says, right or wrong, by its path in the file. None is for
    # a mapping that cannot be read, so that nothing below it counts as missing.
    given: dict[str, Mark | None] = field(default_factory=dict)
    model: M = field(init=False)

    def has(self, *names: str) -> bool:
        """Whether the attributes are given, and right."""
        return all(name in self.marks for name in names)

    def at(self, *names: str) -> Mark:
        """The position of the first of the attributes that is given, or else of the object."""
        return next((self.marks[name] for name in names if name in self.marks), self.mark)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, or ``default`` when it is missing or wrong."""
        return self.values.get(name, default)

    def read(self, report: Report, field: Field, tree: Tree, label: str) -> None:
        """Set an attribute from the file; ``label`` names its field in messages."""
        self.labels[field.name] = label
        try:
            value = field.read(tree)
        except r.InvalidValueError as error:
            report.add(f"{label} {error.what}", tree.mark, error.hint)
            self.wrong.add(field.name)
            return
        if value is not None:
            self.set(field.name, value, tree.mark)

    def set(self, name: str, value: Any, mark: Mark) -> None:
        """Set an attribute as if the file gave it at ``mark``."""
        self.values[name], self.marks[name] = value, mark

    def refuse(self, name: str) -> None:
        """Count an attribute as wrong, after the problem was reported."""
        self.values.pop(name, None)
        self.marks.pop(name, None)
        self.wrong.add(name)

    def entries(self, field: List[E]) -> list[Resource[E]]:
        """The entries of a list."""
        entries: list[Resource[E]] = self.values.get(field.name, [])
        return entries

    def make(self, model: type[M]) -> Resource[M]:
        """Make the object from the values."""
        arguments: dict[str, Any] = {}
        for attribute in dataclasses.fields(model):  # type: ignore[arg-type]
            value = self.values.get(attribute.name)
            if isinstance(value, list):
                arguments[attribute.name] = tuple(entry.model for entry in value)
            elif value is not None or (attribute.default is dataclasses.MISSING
                                       and attribute.default_factory is dataclasses.MISSING):
                arguments[attribute.name] = value
        self.model = model(**arguments)
        return self


def made(model: type[M], mark: Mark, **values: Any) -> Resource[M]:
    """An object that stands for what the file says at ``mark``, or for nothing in it."""
    resource: Resource[M] = Resource(mark, values, dict.fromkeys(values, mark))
    return resource.make(model)


@dataclass(frozen=True, slots=True)
class Unmodelled:
    """The object of what has an effect and no place of its own in the model."""


class Resources:
    """All resources with an effect, in file order."""

    def __init__(self) -> None:
        self._all: list[tuple[Kind[Any], Resource[Any]]] = []
        #: all resources of the files as plain data, those without an effect too
        self.documents: list[dict[str, Any]] = []

    def add(self, report: Report, kind: Kind[M], resource: Resource[M]) -> None:
        """Add a resource; a second one of a single kind is a problem."""
        first = self.single(kind) if kind.single else None
        if first:
            report.add(f"a second {kind.title}", resource.mark,
                       f"the first is in {first.mark.where}; {kind.single}")
        else:
            self._all.append((kind, resource))

    def of(self, *kinds: Kind[M]) -> list[Resource[M]]:
        """The resources of these kinds."""
        return [resource for kind, resource in self._all if kind in kinds]

    def replace(self, kind: Kind[M], resources: list[Resource[M]]) -> None:
        """Let these be all resources of a kind."""
        self._all = [(other, resource) for other, resource in self._all if other is not kind]
        self._all += [(kind, resource) for resource in resources]

    def single(self, kind: Kind[M]) -> Resource[M] | None:
        """The first resource of a kind."""
        return next(iter(self.of(kind)), None)


def resource_table(metadata: Table, **fields: Entry) -> Table:
    """The table of a whole resource."""
    return {"apiVersion": Field(r.text, "api"), "kind": Field(r.text, "kind"),
            "metadata": metadata, "status": Special.BOOKKEEPING, **fields}


def bookkeeping(names: str) -> dict[str, Special]:
    """Table entries for the space-separated ``names``, accepted without a word."""
    return dict.fromkeys(names.split(), Special.BOOKKEEPING)


NAME_HINT = "add metadata: {name: ...}"
BOOKKEEPING: Table = dict.fromkeys((
    "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "generation", "generateName", "managedFields", "selfLink",
    "ownerReferences", "finalizers", "labels", "annotations", "clusterName",
), Special.BOOKKEEPING)
META: Table = {**BOOKKEEPING, "name": Field(r.subdomain, "name")}
NAMED: Table = {**META, "name": Field(r.subdomain, "name", NAME_HINT)}
LABELS: Table = {"labels": Field(r.string_map, "labels")}


def _required(table: Table, path: str) -> Iterator[tuple[str, str]]:
    for name, entry in table.items():
        field_path = f"{path}.{name}" if path else name
        if isinstance(entry, (Field, List)):
            if entry.missing:
                yield field_path, entry.missing
        elif isinstance(entry, AbstractMapping):
            yield from _required(entry, field_path)
