"""Documents -> resources: lists are opened, kinds found, mappings read by their schemas.

In go the trees of a file, out come its :class:`~calico_mn.topology.schema.Resources`. A kind that
neither Kubernetes nor Calico has is a problem; known ones without effect and custom resources are
named in the warnings. Of a mapping unknown fields, wrong values and missing fields are reported;
fields that Kubernetes or Calico know and that have no effect here are named in the warnings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as AbstractMapping
from typing import Any

from calico_mn.text import join_some, quote
from calico_mn.topology import calico_kinds
from calico_mn.topology import schema as s
from calico_mn.topology.kinds import ALL_KINDS, APIS, INSTEAD, KINDS, is_custom
from calico_mn.topology.plain_data import Document, plain
from calico_mn.topology.problems import Mark, Report
from calico_mn.topology.schema import Resources
from calico_mn.topology.yaml_tree import Mapping, Scalar, Sequence, Tree, describe

#: a resource as a tree and as plain data
Item = tuple[Mapping, Document]

_API_HINT = "add for example apiVersion: projectcalico.org/v3"
# The kinds of calicoctl's apiVersion v1, before Calico 3.
_CALICO_2 = frozenset(("bgpPeer", "hostEndpoint", "ipPool", "ippool", "node", "policy", "profile",
                       "workloadEndpoint"))


def open_documents(report: Report, documents: Iterable[Tree]) -> Iterator[Item]:
    """Each resource of a file, out of its Lists."""
    for document in documents:
        for tree, api, kind in _open_lists(report, document, "", ""):
            head = {"apiVersion": api, "kind": kind}
            yield tree, head | plain(tree) | head


def add_resource(report: Report, resources: Resources, item: Item) -> None:
    """Read a resource by its kind."""
    tree, document = item
    api, name = document["apiVersion"], document["kind"]
    resources.documents.append(document)
    kind = KINDS.get((api, name))
    if kind is None:
        if (api, name) in ALL_KINDS:
            report.ignore_kind(name, INSTEAD.get(name, ""))
        elif is_custom(api):
            report.ignore_kind(f"{name} ({api.rpartition('/')[0]})")
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


def _open_lists(
    report: Report, tree: Tree, api: str, kind: str
) -> Iterator[tuple[Mapping, str, str]]:
    """Each resource with its apiVersion and kind; ``api`` and ``kind`` are for items without.

    Nesting is bounded by the depth of the YAML.
    """
    if isinstance(tree, Sequence):
        # calicoctl prints several resources so (calicoctl/commands/common/printer.go).
        for item in tree.items:
            yield from _open_lists(report, item, api, kind)
        return
    if not isinstance(tree, Mapping):
        report.add(f"a resource must be a mapping of fields, not {describe(tree)}", tree.mark,
                   "begin with apiVersion:, kind: and metadata:")
        return
    if not (api or kind or tree.get("apiVersion") or tree.get("kind")):
        is_other = tree.entries and not {"metadata", "spec"} & {*tree.entries}
        report.add("a resource needs apiVersion and kind", tree.mark,
                   "settings of another program are no topology: kubectl get -o yaml and calicoctl "
                   "get -o yaml print one" if is_other else
                   "begin for example with apiVersion: projectcalico.org/v3 and kind: Node")
        return
    named_api = _word(report, tree, "apiVersion", api, _API_HINT)
    named_kind = _word(report, tree, "kind", kind, "add for example kind: Node")
    if not named_api or not named_kind:
        return
    stem = named_kind[:-4] if named_kind.endswith("List") else ""
    if (named_api, named_kind) in ALL_KINDS or not _is_list(named_api, named_kind, stem):
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
    return (api, kind) == ("v1", "List") or (bool(stem) and (api, stem) in ALL_KINDS)


def _word(report: Report, tree: Mapping, field: str, default: str, hint: str) -> str:
    value = tree.get(field)
    if value is None and not default:
        report.add(f"a resource needs {field}", tree.mark, hint)
        return ""
    if value is not None and not isinstance(value, Scalar):
        report.add(f"{field} must be text, not {describe(value)}", value.mark, hint)
        return ""
    return value.text if value is not None else default


def _report_unknown_kind(report: Report, tree: Mapping, api: str, kind: str) -> None:
    homes = [home for home, known in ALL_KINDS if kind in (known, f"{known}List")]
    homes.sort(key=lambda home: (home, kind.removesuffix("List")) not in KINDS)
    wrong = tree.get("kind" if api in APIS else "apiVersion")
    mark = wrong.mark if wrong is not None else tree.mark
    if api == "v1" and kind in _CALICO_2:
        hint = ("this is the form of Calico 2: 'calicoctl convert' of Calico 3.0 to 3.3 writes it "
                f"as {calico_kinds.API}")
    elif homes:
        hint = f"{kind} belongs to apiVersion {homes[0]}"
    elif api in APIS:
        kinds = [known for home, known in ALL_KINDS if home == api]
        hint = (report.did_you_mean(kind, kinds)
                or report.did_you_mean(kind, {known for _, known in ALL_KINDS}))
    else:
        hint = report.did_you_mean(api, APIS)
    report.add(f"unknown kind {quote(kind)} of apiVersion {quote(api)}", mark, hint)


# --- the fields of a mapping

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
