"""Documents -> resources: lists are opened, kinds found, mappings read by their schemas.

In go the trees of a file, out come its :class:`~calico_mn.topology.schema.Resources`. Reported are
unknown kinds and fields, wrong values, and missing ones; other kinds and fields that Kubernetes or
Calico know are ignored, and named in the warnings.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as AbstractMapping
from typing import Any

from calico_mn.text import join_some, quote
from calico_mn.topology import calico_kinds, default_pool, kubernetes_kinds, underlay
from calico_mn.topology.problems import Mark, Report
from calico_mn.topology.schema import (
    REST,
    Entry,
    Field,
    Ignored,
    Kind,
    List,
    M,
    Resource,
    Resources,
    Schema,
    Special,
    Table,
)
from calico_mn.topology.yaml_tree import Mapping, Scalar, Sequence, Tree, describe

_API_HINT = "add for example apiVersion: projectcalico.org/v3"
KINDS: dict[tuple[str, str], Kind[Any]] = {
    (kind.api, kind.name): kind
    for kind in (*calico_kinds.KINDS, *kubernetes_kinds.KINDS, default_pool.DAEMON_SET,
                 underlay.UNDERLAY)}
# Kinds that exist and have no effect here.
IGNORED_KINDS = {
    api: names.split() for api, names in {
        calico_kinds.API: calico_kinds.IGNORED_KINDS, **kubernetes_kinds.IGNORED_KINDS}.items()}
_ALL_KINDS = dict.fromkeys(
    [*((api, kind) for api, kinds in IGNORED_KINDS.items() for kind in kinds), *KINDS])
_APIS = frozenset(api for api, _ in _ALL_KINDS)


def read_resources(report: Report, documents: list[Tree], resources: Resources) -> None:
    """Add all resources of a file."""
    for document in documents:
        for tree, api, kind in _open_lists(report, document, "", ""):
            _read_resource(report, resources, tree, api, kind)


def _open_lists(
    report: Report, tree: Tree, api: str, kind: str
) -> Iterator[tuple[Mapping, str, str]]:
    """Each resource with its apiVersion and kind; ``api`` and ``kind`` are for items without.

    Nesting is bounded by the depth of the YAML.
    """
    if not isinstance(tree, Mapping):
        report.add(f"a resource must be a mapping of fields, not {describe(tree)}", tree.mark,
                   "begin with apiVersion:, kind: and metadata:")
        return
    if not (api or kind or tree.get("apiVersion") or tree.get("kind")):
        report.add("a resource needs apiVersion and kind", tree.mark,
                   "begin for example with apiVersion: projectcalico.org/v3 and kind: Node")
        return
    named_api = _word(report, tree, "apiVersion", api, _API_HINT)
    named_kind = _word(report, tree, "kind", kind, "add for example kind: Node")
    if not named_api or not named_kind:
        return
    stem = named_kind[:-4] if named_kind.endswith("List") else ""
    if (named_api, named_kind) in _ALL_KINDS or not _is_list(named_api, named_kind, stem):
        yield tree, named_api, named_kind
        return
    fields = ("apiVersion", "kind", "metadata", "items")
    for key, _ in tree.entries.values():
        if key.text not in fields:
            report.add(f"unknown field {quote(key.text)} in {named_kind}", key.mark,
                       report.did_you_mean(key.text, fields))
    items = tree.get("items")
    if items is None:
        return
    if not isinstance(items, Sequence):
        report.add(f"{named_kind} items must be a list, not {describe(items)}", items.mark,
                   "begin each item with a dash")
        return
    for item in items.items:
        yield from _open_lists(report, item, named_api if stem else "", stem)


def _is_list(api: str, kind: str, stem: str) -> bool:
    return (api, kind) == ("v1", "List") or (bool(stem) and (api, stem) in _ALL_KINDS)


def _word(report: Report, tree: Mapping, field: str, default: str, hint: str) -> str:
    value = tree.get(field)
    if value is None and not default:
        report.add(f"a resource needs {field}", tree.mark, hint)
        return ""
    if value is not None and not isinstance(value, Scalar):
        report.add(f"{field} must be text, not {describe(value)}", value.mark, hint)
        return ""
    return value.text if value is not None else default


def _read_resource(
    report: Report, resources: Resources, tree: Mapping, api: str, name: str
) -> None:
    kind = KINDS.get((api, name))
    if kind is None:
        if (api, name) in _ALL_KINDS:
            report.ignore_kind("v1 Node" if name == "Node" else name)
        else:
            _report_unknown_kind(report, tree, api, name)
        return
    metadata = tree.get("metadata")
    called = {key: value.text for key in ("name", "namespace") if isinstance(metadata, Mapping)
              and isinstance(value := metadata.get(key), Scalar)}
    without_name = "name" not in called and "metadata.name" in dict(kind.required)
    if kind.only and called.get("name") != kind.only and not without_name:
        report.ignore_kind(f"{name} (other than {kind.only})")
        return
    title = "/".join(filter(None, (called.get("namespace"), called.get("name"))))
    resource = read_mapping(report, tree, kind, name,
                            f"{name} {quote(title)}" if called.get("name") else name)
    if resource:
        resources.add(report, kind, resource)


def _report_unknown_kind(report: Report, tree: Mapping, api: str, kind: str) -> None:
    homes = [home for home, known in _ALL_KINDS if kind in (known, f"{known}List")]
    homes.sort(key=lambda home: (home, kind.removesuffix("List")) not in KINDS)
    wrong = tree.get("kind" if api in _APIS else "apiVersion")
    mark = wrong.mark if wrong is not None else tree.mark
    if api == "crd.projectcalico.org/v1":
        hint = "take it with calicoctl get -o yaml, which prints projectcalico.org/v3"
    elif homes:
        hint = f"{kind} belongs to apiVersion {homes[0]}"
    elif api in _APIS:
        kinds = [known for home, known in _ALL_KINDS if home == api]
        hint = (report.did_you_mean(kind, kinds)
                or report.did_you_mean(kind, {known for _, known in _ALL_KINDS}))
    else:
        hint = report.did_you_mean(api, _APIS)
    report.add(f"unknown kind {quote(kind)} of apiVersion {quote(api)}", mark, hint)


# --- mappings by their schemas

def read_mapping(
    report: Report, tree: Tree, schema: Schema[M], kind: str, title: str = ""
) -> Resource[M] | None:
    """Read a mapping by its schema; None when it has no effect.

    ``kind`` names the mapping in messages about its fields, and ``title``, where given, in those
    about missing ones.
    """
    resource: Resource[M] = Resource(tree.mark)
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
    report: Report, resource: Resource[Any], tree: Mapping, table: Table, kind: str, path: str
) -> None:
    misplaced = []
    for name, (key, value) in tree.entries.items():
        entry = table.get(name, table.get(name.partition("/")[0] + "/*", table.get(REST)))
        field_path = f"{path}.{name}" if path else name
        if entry is None or entry is Special.UNKNOWN or _differs_in_case(name, table):
            meant = _report_unknown(report, key, table, kind, path)
            if meant:
                misplaced.append((f"{path}.{meant}" if path else meant, key.mark))
        elif entry is not Special.BOOKKEEPING and not (isinstance(value, Scalar) and value.is_null):
            _read_entry(report, resource, value, entry, kind, field_path)
    # The field that a misspelt or misplaced one means is not missing as well.
    for meant, mark in misplaced:
        parent = meant.rpartition(".")[0]
        while parent:
            resource.given.setdefault(parent, mark)
            parent = parent.rpartition(".")[0]
        resource.given.setdefault(meant, None)


def _read_entry(
    report: Report, resource: Resource[Any], value: Tree, entry: Entry, kind: str, path: str
) -> None:
    label = _label(kind, path)
    if isinstance(entry, Field):
        resource.given[path] = value.mark
        resource.read(report, entry, value, label)
    elif isinstance(entry, Ignored):
        if not _is_default(value, entry.default):
            report.ignore_field(kind, path)
    elif isinstance(entry, List):
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


def _missing_at(resource: Resource[Any], path: str) -> Mark | None:
    """Where a field is missing: at the innermost mapping around it. None when it is given."""
    mark: Mark | None = resource.mark
    names = path.split(".")
    for depth in range(1, len(names)):
        mark = resource.given.get(".".join(names[:depth]), mark)
        if mark is None:
            return None
    return None if path in resource.given else mark


def _has_effect(entry: Entry) -> bool:
    return not isinstance(entry, (Ignored, Special))


def _differs_in_case(name: str, table: Table) -> bool:
    """Whether ``name`` is a field with an effect but for its case, where any name is accepted."""
    return name not in table and any(
        known.lower() == name.lower() and _has_effect(entry) for known, entry in table.items())


def _report_unknown(report: Report, key: Scalar, table: Table, kind: str, path: str) -> str:
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


def _find(name: str, table: Table) -> str:
    """The path below ``table`` of the field called ``name``, or nothing."""
    for parent, entry in table.items():
        if isinstance(entry, AbstractMapping):
            below = name if name in entry and name != REST else _find(name, entry)
            if below:
                return f"{parent}.{below}"
    return ""
