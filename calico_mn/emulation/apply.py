"""Resources of a running cluster, as with ``kubectl get``, ``apply``, ``delete`` and ``scale``.

In go resources, or names of some; out comes what became of each, and the deltas. The cluster that
follows is made aside, from the running one's resources with these laid over them, and is checked as
a whole; an error changes nothing::

    resources() + files --parse_change--> Topology --evolved--> Cluster --become--> deltas
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network

from calico_mn.calico.evolution import evolved
from calico_mn.calico.snapshot import snapshot
from calico_mn.delta import Delta
from calico_mn.emulation.membership import ClusterMininet
from calico_mn.errors import ClusterError, NotFoundError
from calico_mn.kernel.iptables import NONE
from calico_mn.model import Topology
from calico_mn.text import join_some, one_line
from calico_mn.topology.change import identity
from calico_mn.topology.emit import documents
from calico_mn.topology.kinds import (
    kind_of,
    kinds_named,
    name_of,
    named,
    namespace_of,
    reference,
)
from calico_mn.topology.kubernetes_kinds import WORKLOADS
from calico_mn.topology.load import Path, read_files
from calico_mn.topology.parse import Sources, parse_change, parse_documents
from calico_mn.topology.plain_data import Document, laid_over

#: a path, several of them, text, or resources as plain data
Source = Path | Document | Iterable[Path | Document]

CREATED, CONFIGURED, UNCHANGED, DELETED = "created", "configured", "unchanged", "deleted"
_WORKLOADS = tuple(kind.name for kind in WORKLOADS if kind.name != "Pod")
_SCALABLE = tuple(kind for kind in _WORKLOADS if kind != "DaemonSet")


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """What became of a resource: ``created``, ``configured``, ``unchanged`` or ``deleted``.

    ``reference`` is what kubectl calls it, such as ``deployment.apps/web``.
    """

    kind: str
    namespace: str
    name: str
    reference: str
    verb: str

    def __str__(self) -> str:
        return f"{self.reference} {self.verb}"


@dataclass(frozen=True, slots=True)
class Applied:
    """A change: its resources and all pods concerned, the kernel's deltas, and new warnings."""

    resources: tuple[ResourceChange, ...]
    deltas: tuple[Delta, ...]
    warnings: tuple[str, ...] = ()


class ResourceMininet(ClusterMininet):
    """A cluster whose resources are read and changed."""

    def resources(self, kind: str | None = None, name: str | None = None,
                  namespace: str | None = None) -> list[Document]:
        """The cluster's resources as kubectl and calicoctl print them, as plain data of your own.

        ``kind`` is any of their names for one, such as ``po`` or ``ippools``, or ``all`` for pods
        and workloads; None for any. Written as YAML, all of them are a topology that boots with
        the same addresses, blocks and routes (:mod:`calico_mn.calico.snapshot` says what does not
        survive). Raises ClusterError for an unknown kind.
        """
        kinds = None if kind is None else kinds_named(kind)
        return copy.deepcopy([
            document for document in documents(snapshot(self.cluster))
            if (kinds is None or kind_of(document) in kinds)
            and (name is None or name_of(document) == name)
            and (namespace is None or namespace_of(document) == namespace)])

    def apply(self, source: Source, *, dry_run: bool = False) -> Applied:
        """Create resources, or change those that there are; what became of them.

        ``source`` is a path, several of them, text, or resources as plain data. A resource takes
        the place of the one of its kind and name; what runs keeps its addresses. A workload that
        is applied gets as many pods as it says. ``dry_run`` changes nothing and returns the same.

        Raises TopologyError with every problem, ClusterError and IPAMError for what cannot be, and
        then nothing has changed; for KernelError and UnsupportedError see :meth:`become`.
        """
        return apply_texts(self, sources_of(source), dry_run=dry_run)

    def delete(self, kind: str, name: str, namespace: str | None = None, *, dry_run: bool = False
               ) -> Applied:
        """Delete a resource, with the pods of a workload or node, and all that is in a namespace.

        No controller makes up for deleted pods until its workload is applied or scaled. Raises
        NotFoundError where there is no such resource, and else as :meth:`apply`.
        """
        return delete_resources(self, [(kind, name)], namespace, dry_run=dry_run)

    def delete_resources(self, source: Source, *, dry_run: bool = False) -> Applied:
        """Delete the resources of a source, which is as in :meth:`apply`; see :meth:`delete`."""
        return delete_texts(self, sources_of(source), dry_run=dry_run)

    def scale(self, kind: str, name: str, replicas: int, namespace: str | None = None, *,
              dry_run: bool = False) -> Applied:
        """Give a workload so many pods, as its controller would choose them.

        Raises as :meth:`delete`, and ClusterError for what has no number of pods.
        """
        document = _named(self, kind, name, namespace)
        if kind_of(document) not in _SCALABLE:
            raise ClusterError(f"{reference(document)} has no number of pods to change; those of a"
                               f" {', '.join(_SCALABLE)} can be scaled")
        if replicas < 0:
            raise ClusterError(f"{reference(document)} cannot have {replicas} pods")
        return apply_texts(self, {reference(document): [laid_over(
            document, {"spec": {"replicas": replicas}})]}, dry_run=dry_run)


def apply_texts(net: ClusterMininet, texts: Sources, *, dry_run: bool = False) -> Applied:
    """As :meth:`calico_mn.CalicoNet.apply` of texts by their names in messages."""
    return _change(net, texts, (), dry_run)


def delete_texts(net: ClusterMininet, texts: Sources, *, is_lenient: bool = False,
                 dry_run: bool = False) -> Applied:
    """Delete the resources of texts. Raises NotFoundError for missing ones, unless it is lenient.
    """
    present = {identity(document): document for document in documents(snapshot(net.cluster))}
    asked = parse_documents(texts)
    missing = [reference(document) for document in asked if identity(document) not in present]
    if missing and not is_lenient:
        raise NotFoundError(one_line(f"there is no {join_some(missing, 5)}: nothing is deleted"))
    return _change(net, {}, [present[key] for document in asked
                             if (key := identity(document)) in present], dry_run)


def sources_of(source: Source) -> Sources:
    """Texts and documents by their names in messages. A text has several lines, or braces."""
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith(("{", "["))):
        return {"<string>": source}
    if isinstance(source, dict):
        return {"<resources>": [source]}
    items = [source] if isinstance(source, (str, os.PathLike)) else (
        list(source) if isinstance(source, Iterable) else [source])
    strange = [item for item in items if not isinstance(item, (dict, str, os.PathLike))]
    if strange:
        raise ClusterError("resources are a path, text, or mappings of fields, not a "
                           f"{type(strange[0]).__name__}")
    given = [item for item in items if isinstance(item, dict)]
    paths = [item for item in items if not isinstance(item, dict)]
    return {**read_files(paths), **({"<resources>": given} if given or not paths else {})}


def delete_resources(net: ClusterMininet, names: Iterable[tuple[str, str]], namespace: str | None,
                     *, dry_run: bool = False) -> Applied:
    """See :meth:`calico_mn.CalicoNet.delete`; ``names`` are kinds and names."""
    return _change(net, {}, [_named(net, kind, name, namespace) for kind, name in names], dry_run)


def _named(net: ClusterMininet, kind: str, name: str, namespace: str | None) -> Document:
    """The one resource of that name. Raises NotFoundError."""
    return named(documents(snapshot(net.cluster)), kinds_named(kind), name,
                 namespace or "default")[0]


def _change(net: ClusterMininet, sources: Sources,
            deleted: Sequence[Document], dry_run: bool) -> Applied:
    running = snapshot(net.cluster)
    present = documents(running)
    gone = set(map(identity, deleted)) | set(map(identity, _dependents(present, deleted)))
    wanted, given = parse_change(
        running, [document for document in present if identity(document) not in gone], sources)
    known = {*running.warnings, *net.cluster.route_warnings()}
    after = evolved(net.cluster, wanted)
    deltas = net.become(after, dry_run=dry_run)
    return Applied(
        tuple(_compare(present, documents(snapshot(after)), [*given, *deleted])), deltas,
        tuple(text for text in (*wanted.warnings, *after.route_warnings(),
                                *_of_the_next_boot(running, wanted, net.runtime.iptables.name))
              if text not in known))


def _of_the_next_boot(running: Topology, wanted: Topology, iptables: str) -> Iterator[str]:
    """Sentences on changes that have no effect on a cluster that runs."""
    if running.felix.iptables_backend != wanted.felix.iptables_backend and iptables != NONE:
        yield ("FelixConfiguration spec.iptablesBackend has no effect before the next boot: this"
               f" run writes Felix's rules with iptables-{iptables}.")


def _dependents(present: Sequence[Document], deleted: Sequence[Document]) -> Iterable[Document]:
    """What goes with resources: their pods, a node's or pool's blocks, all of a namespace.

    From Kubernetes' garbage collector and from libcalico-go's lib/clientv3/node.go and ippool.go.
    """
    for item in deleted:
        kind, name, namespace = kind_of(item), name_of(item), namespace_of(item)
        if kind == "Underlay":
            raise ClusterError("the Underlay cannot be deleted: the cluster stands on it")
        replica_sets = {name_of(other) for other in present if kind_of(other) == "ReplicaSet"
                        and namespace_of(other) == namespace}
        owned = [other for other in present if kind in _WORKLOADS
                 and namespace_of(other) == namespace
                 and _is_owned(other, kind, name, replica_sets)]
        yield from owned
        yield from _dependents(present, [other for other in owned if kind_of(other) != "Pod"])
        yield from (other for other in present if _goes_with(other, item, kind, name))


def _goes_with(other: Document, item: Document, kind: str, name: str) -> bool:
    spec = other.get("spec") or {}
    if kind == "Namespace":
        return namespace_of(other) == name
    if kind == "Node":
        return (kind_of(other), spec.get("nodeName")) == ("Pod", name) or (
            (kind_of(other), name_of(other)) == ("Node", name)) or (
            (kind_of(other), spec.get("node")) == ("BlockAffinity", name))
    return (kind, kind_of(other)) == ("IPPool", "BlockAffinity") and _is_inside(
        spec["cidr"], item["spec"]["cidr"])


def _is_owned(document: Document, kind: str, name: str, replica_sets: set[str]) -> bool:
    """Whether a workload is its owner, a Deployment also by a ReplicaSet that is not there."""
    owners = (document.get("metadata") or {}).get("ownerReferences") or ()
    return any((owner.get("kind"), owner.get("name")) == (kind, name) or (
        (kind, owner.get("kind")) == ("Deployment", "ReplicaSet")
        and owner.get("name") not in replica_sets
        and str(owner.get("name")).rpartition("-")[0] == name) for owner in owners)


def _is_inside(block: str, pool: str) -> bool:
    inner, outer = ip_network(block), ip_network(pool)
    return isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network) and (
        inner.subnet_of(outer))


def _compare(before: Sequence[Document], after: Sequence[Document], asked: Sequence[Document]
             ) -> Iterable[ResourceChange]:
    """What became of the resources that were asked about, and of pods and workloads."""
    old = {identity(document): document for document in before}
    new = {identity(document): document for document in after}
    keys = set(map(identity, asked))
    for key, document in {**old, **new}.items():
        if key not in new:
            verb = DELETED
        elif key not in old:
            verb = CREATED
        else:
            verb = UNCHANGED if old[key] == new[key] else CONFIGURED
        kind = kind_of(document)
        if key in keys or (kind in ("Pod", *_WORKLOADS) and verb in (CREATED, DELETED)):
            yield ResourceChange(kind, namespace_of(document), name_of(document),
                                 reference(document), verb)
