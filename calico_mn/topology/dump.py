"""Dumps of a real cluster -> one topology, and the least that says it again. Pure.

In go the texts that ``kubectl get -o yaml`` or ``-o json`` printed, however many and large, or
what an API server answered; out comes their :class:`~calico_mn.model.Topology`. Its documents
hold only fields that a kind reads (:mod:`calico_mn.topology.kinds`), so what a container is or
holds goes no further than this module.
Secrets are dropped as they are parsed, and no message quotes a line of a dump.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from calico_mn.model import Topology
from calico_mn.topology import calico_node, emit
from calico_mn.topology import schema as s
from calico_mn.topology.documents import Item, entry_of, open_documents
from calico_mn.topology.kinds import KINDS, kind_of, name_of, namespace_of
from calico_mn.topology.parse import build_topology
from calico_mn.topology.plain_data import Document, at, tree_of
from calico_mn.topology.problems import Report
from calico_mn.topology.yaml_tree import NOT_KEPT, Tree, read_documents

#: of one file; a pod takes 5 to 15 kB
MAX_BYTES = 400 * 1000 * 1000
# How many times the limits of a topology file a dump may have in lines and values.
_TIMES = 20
_SECRETS = ("Secret", "SecretList")
# What no kind reads of a container, but for the variables of calico-node.
_DROPPED = NOT_KEPT | {"args", "command", "envFrom", "hostIPs", "podIPs", "podCIDRs"}
_FIELD = re.compile(r"( *(?:- )*)([A-Za-z]+):$")
_BLANK = re.compile(r"[ \t\r\n]*")
_ANCHOR = re.compile(r"[:-] &\w")
_KIND = re.compile(r"(?:- |  )?kind: ([A-Za-z]+)$")
# Of a ConfigMap that calico-node's variables may refer to.
_CONFIG = "calico-config"


def read_dump(texts: Iterable[tuple[str, str | Document]]) -> tuple[Topology, int]:
    """The topology of dumps, each with its file's name, and how many Secrets were passed over.

    A Document was read from JSON with :func:`kept`.

    Of a resource that is there twice the first counts. Raises
    :class:`calico_mn.errors.TopologyError` with all problems.
    """
    report = Report("the dump")
    secrets = 0

    def items() -> Iterator[Item]:
        nonlocal secrets
        keys = set()
        for file, text in texts:
            report.begin(file, "")
            for tree, document in open_documents(report, _trees(text, report)):
                if document["kind"] in _SECRETS:
                    secrets += 1
                    continue
                key = (document["apiVersion"], *emit.key_of(document))
                if key not in keys or not name_of(document):
                    keys.add(key)
                    yield tree, condensed(document)

    return build_topology(report, items(), {}), secrets


def written(topology: Topology) -> list[Document]:
    """The resources of a dump's topology that have an effect."""
    pods = {pod.key for pod in topology.pods}
    by_endpoints = {(item.namespace, item.name) for item in topology.services if not item.selector}
    return [document for document in emit.documents(topology)
            if "metadata" in document and not _is_without_use(document, pods, by_endpoints)]


def _is_without_use(document: Document, pods: set[str], by_endpoints: set[tuple[str, str]]) -> bool:
    """Pods that are none of the network's, ConfigMaps of other programs, and EndpointSlices of
    Services with a selector.
    """
    match kind_of(document):
        case "Pod":
            return "/".join(emit.key_of(document)[1:]) not in pods
        case "EndpointSlice":
            service = at(document, "metadata", "labels", "kubernetes.io/service-name")
            return (namespace_of(document), service) not in by_endpoints
        case "ConfigMap":
            return name_of(document) != _CONFIG
    return False


# --- reading

def _trees(text: str | Document, report: Report) -> list[Tree]:
    """A file's documents, those of JSON without positions."""
    if isinstance(text, dict):
        return [tree_of(text)]
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] in ("{", "["):
        try:
            return list(map(tree_of, _values(text)))
        except (ValueError, RecursionError):
            pass  # YAML that begins so
    return read_documents(_blanked(text), report, times=_TIMES)


def _values(text: str) -> Iterator[Any]:
    """The JSON values of a text: kubectl prints an empty List of what it may not list, and the
    next command's output may follow in the same file. Raises ValueError.
    """
    decoder = json.JSONDecoder(object_pairs_hook=kept)
    place = _BLANK.match(text).end()  # type: ignore[union-attr]
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        yield value
        place = _BLANK.match(text, place).end()  # type: ignore[union-attr]


def kept(pairs: list[tuple[str, Any]]) -> Document:
    """A JSON object without what no kind reads, and without a Secret's data.

    For ``json.loads(text, object_pairs_hook=kept)``.
    """
    value = {name: item for name, item in pairs
             if name not in _DROPPED or not isinstance(item, (dict, list))}
    if isinstance(value.get("env"), list):
        value["env"] = _variables(value["env"])
    if value.get("kind") in _SECRETS:
        return {name: value[name] for name in ("apiVersion", "kind") if name in value}
    return value


def _blanked(text: str) -> str:
    """YAML as kubectl prints it, with empty lines for what no kind reads: a parser's time goes
    into these fields, and the lines keep their numbers. A text with anchors stays as it is.
    """
    if _ANCHOR.search(text):
        return text
    lines = text.split("\n")
    column = -1  # of the field whose value is being left out
    dropped = _DROPPED
    for number, line in enumerate(lines):
        if column >= 0:
            indent = len(line) - len(line.lstrip(" "))
            if indent > column or not line or (indent == column and line.startswith("- ", indent)):
                lines[number] = ""
                continue
            column = -1
        field = _FIELD.match(line)
        if field and field[2] in dropped:
            column = len(field[1])
        elif kind := _KIND.match(line):
            dropped = _DROPPED if kind[1] == "DaemonSet" else _DROPPED | {"env"}
    return "\n".join(lines)


# --- leaving out

def condensed(document: Document) -> Document:
    """A resource without the fields that no kind reads; only the head of a kind without effect."""
    kind = KINDS.get((document["apiVersion"], document["kind"]))
    if kind is None:
        return {name: document[name] for name in ("apiVersion", "kind")}
    return _fields(document, kind.table)


def _fields(value: Mapping[str, Any], table: s.Table) -> Document:
    fields = {name: _part(item, entry_of(table, name)) for name, item in value.items()}
    return {name: item for name, item in fields.items() if item is not None}


def _part(value: Any, entry: s.Entry | None) -> Any:
    """What an entry reads of a value, None for nothing."""
    if isinstance(entry, s.Field):
        return value
    if isinstance(entry, s.List) and isinstance(value, list):
        if entry is calico_node.ENV:
            value = _variables(value)
        items = [_fields(item, entry.table) for item in value if isinstance(item, dict)]
        # An empty rule of a policy means all packets; an empty container means nothing.
        if entry.table.get(s.REST) is s.Special.BOOKKEEPING:
            items = [item for item in items if item]
            return items or None
        return items
    if isinstance(entry, Mapping) and isinstance(value, dict):
        return _fields(value, entry) or None
    return None


def _variables(env: list[Any]) -> list[Any]:
    """Those that calico-node would look at: the others stay where they are."""
    return [item for item in env
            if isinstance(item, dict) and item.get("name") in calico_node.KNOWN]
