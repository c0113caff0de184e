"""Documents -> resources of the modelled kinds: lists are opened, other known kinds left out."""

from __future__ import annotations

from collections.abc import Iterator

from calico_mn.topology.drafts import Drafts
from calico_mn.topology.fields import describe, read_record
from calico_mn.topology.positions import Mapping, Scalar, Sequence, Tree
from calico_mn.topology.problems import Report, quote
from calico_mn.topology.resources import BUILDERS
from calico_mn.topology.schema import APPS, CALICO, CORE, KINDS, KNOWN_KINDS, Kind

_API_HINT = "add for example apiVersion: projectcalico.org/v3"
_ALL_KINDS: dict[tuple[str, str], bool] = {
    **{(api, kind): False for api, kinds in KNOWN_KINDS.items() for kind in kinds},
    **{key: True for key in KINDS},
}
_APIS = frozenset(api for api, _ in _ALL_KINDS)


def read_resources(report: Report, documents: list[Tree]) -> Drafts:
    """All resources of the file as drafts."""
    drafts = Drafts()
    for document in documents:
        for resource, api, kind in _open_lists(report, document, "", ""):
            _read_resource(report, drafts, resource, api, kind)
    return drafts


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
    for key, _ in tree.entries.values():
        if key.text not in ("apiVersion", "kind", "metadata", "items"):
            report.add(f"unknown field {quote(key.text)} in {named_kind}", key.mark,
                       report.guess(key.text, ("apiVersion", "kind", "metadata", "items")))
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
    return (api, kind) == (CORE, "List") or (bool(stem) and (api, stem) in _ALL_KINDS)


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
    report: Report, drafts: Drafts, tree: Mapping, api: str, kind: str
) -> None:
    modelled = KINDS.get((api, kind))
    if modelled is None:
        if (api, kind) in _ALL_KINDS:
            report.leave_out_kind(kind if "/" in api or kind != "Node" else "v1 Node")
        else:
            _unknown_kind(report, tree, api, kind)
        return
    name = _name(tree)
    if (api, kind) == (CORE, "ConfigMap") and name != "calico-config":
        report.leave_out_kind("ConfigMap (other than calico-config)")
        return
    if (api, kind) == (CALICO, "FelixConfiguration") and name not in ("", "default"):
        report.leave_out_kind("FelixConfiguration (other than default)")
        return
    if (api, kind) == (APPS, "DaemonSet") and name != "calico-node":
        report.leave_out_kind("DaemonSet (other than calico-node)")
        return
    record = read_record(report, tree, modelled.table, kind)
    for path, hint in modelled.required.items():
        if not record.has(*path):
            report.add(f"{_title(modelled, name)} needs {'.'.join(path)}",
                       record.nearest(*path[:-1])[1], hint)
    BUILDERS[kind](report, record, drafts)


def _name(tree: Mapping) -> str:
    metadata = tree.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return name.text if isinstance(name, Scalar) else ""


def _title(kind: Kind, name: str) -> str:
    return f"{kind.name} {quote(name)}" if name else kind.name


def _unknown_kind(report: Report, tree: Mapping, api: str, kind: str) -> None:
    homes = [home for home, known in _ALL_KINDS if kind in (known, f"{known}List")]
    homes.sort(key=lambda home: (home, kind.removesuffix("List")) not in KINDS)
    place = tree.get("kind" if api in _APIS else "apiVersion")
    mark = place.mark if place is not None else tree.mark
    if api == "crd.projectcalico.org/v1":
        hint = "take it with calicoctl get -o yaml, which prints projectcalico.org/v3"
    elif homes:
        hint = f"{kind} belongs to apiVersion {homes[0]}"
    elif api in _APIS:
        kinds = [known for home, known in _ALL_KINDS if home == api]
        hint = report.guess(kind, kinds) or report.guess(kind, {k for _, k in _ALL_KINDS})
    else:
        hint = report.guess(api, _APIS)
    report.add(f"unknown kind {quote(kind)} of apiVersion {quote(api)}", mark, hint)
