"""Documents -> resources: lists are opened, kinds found, mappings read by their schemas.

In go the trees of a file, out come its :class:`~calico_mn.topology.schema.Resources`. A kind that
neither Kubernetes nor Calico has is a problem; known ones without effect and custom resources are
named in the warnings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from calico_mn.text import quote
from calico_mn.topology import calico_kinds
from calico_mn.topology.fields import read_mapping
from calico_mn.topology.kinds import ALL_KINDS, APIS, INSTEAD, KINDS, is_custom
from calico_mn.topology.plain_data import plain
from calico_mn.topology.problems import Report
from calico_mn.topology.schema import Resources
from calico_mn.topology.yaml_tree import Mapping, Scalar, Sequence, Tree, describe

Document = dict[str, Any]
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
    resources.documents.append(document)
    _read_resource(report, resources, tree, document["apiVersion"], document["kind"])


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


def _read_resource(
    report: Report, resources: Resources, tree: Mapping, api: str, name: str
) -> None:
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


