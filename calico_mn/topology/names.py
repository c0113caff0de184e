"""Names of kinds on a command line: kubectl's and calicoctl's, in full and short. Pure.

In goes a word such as ``po``, ``ippools`` or ``deployments.apps``, out comes the kind as a file
spells it; and the name by which kubectl calls a resource in its messages. Short names are those of
``kubectl api-resources`` and of calicoctl's ``commands/../resourcemgr``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from calico_mn.errors import ClusterError, NotFoundError
from calico_mn.text import join, join_some, suggest
from calico_mn.topology import workload_kinds
from calico_mn.topology.kinds import ALL_KINDS, KINDS

Document = dict[str, Any]

#: what ``kubectl get all`` lists
ALL = tuple(kind.name for kind in workload_kinds.KINDS)
# Those whose resources are in "default" when they name no namespace.
_NAMESPACED = frozenset((*ALL, "ConfigMap", "WorkloadEndpoint", "NetworkPolicy", "NetworkSet",
                        "StagedNetworkPolicy", "StagedKubernetesNetworkPolicy", "Service",
                        "Endpoints", "EndpointSlice"))
_SHORT = {
    "Pod": "po", "Node": "no", "Namespace": "ns", "ConfigMap": "cm", "Deployment": "deploy",
    "StatefulSet": "sts", "DaemonSet": "ds", "ReplicaSet": "rs", "ReplicationController": "rc",
    "Service": "svc", "ServiceAccount": "sa", "Endpoints": "ep", "Event": "ev", "Ingress": "ing",
    "CronJob": "cj", "HorizontalPodAutoscaler": "hpa", "PersistentVolume": "pv",
    "PersistentVolumeClaim": "pvc", "ResourceQuota": "quota", "LimitRange": "limits",
    "PodDisruptionBudget": "pdb", "PriorityClass": "pc", "StorageClass": "sc",
    "CustomResourceDefinition": "crd crds", "IPPool": "ipp ipps pool pools",
    "WorkloadEndpoint": "wep weps", "HostEndpoint": "hep heps", "BGPPeer": "bgpp bgpps",
    "BGPConfiguration": "bgpconfig bgpconfigs", "FelixConfiguration": "felixconfig felixconfigs",
    "IPAMConfiguration": "ipamconfig ipamconfigs", "ClusterInformation": "clusterinfo clusterinfos",
    "NetworkPolicy": "netpol np policy policies pol pols", "GlobalNetworkPolicy": "gnp gnps",
    "NetworkSet": "netsets", "BlockAffinity": "affinity affinities",
}
# A node's block is written as its affinity, one that no node has as itself.
_GROUPS = {"all": ALL, "block": ("BlockAffinity", "IPAMBlock"),
           "blocks": ("BlockAffinity", "IPAMBlock")}


def _plural(word: str) -> str:
    if word.endswith(("ss", "x")):
        return f"{word}es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return word if word.endswith("s") else f"{word}s"


_KINDS: dict[str, str] = {}
for _kind in (*(kind for _, kind in ALL_KINDS), *_SHORT):
    for _word in (_kind.lower(), _plural(_kind.lower()), *_SHORT.get(_kind, "").split()):
        _KINDS.setdefault(_word, _kind)


def words() -> list[str]:
    """Every name of kinds with an effect: those that a shell completes."""
    return [*_GROUPS, *(word for word, kind in _KINDS.items() if has_effect(kind))]


def has_effect(kind: str) -> bool:
    """Whether resources of a kind change anything here."""
    return any(kind == known.name for known in KINDS.values())


def is_kind(word: str) -> bool:
    """Whether a word is the name of a kind."""
    try:
        return bool(kinds_named(word))
    except ClusterError:
        return False


def kinds_named(word: str) -> tuple[str, ...]:
    """The kinds that a word such as ``po``, ``nodes``, ``deployments.apps`` or ``all`` names.

    ``blocks`` are the affinities of nodes, and what is left of those that are gone.

    Case does not matter. Raises ClusterError for another word.
    """
    name, _, group = word.lower().partition(".")
    kind = _KINDS.get(name)
    if word.lower() in _GROUPS:
        return _GROUPS[word.lower()]
    if kind is None or (group and not any(
            known == kind and _group(api).startswith(group) for api, known in ALL_KINDS)):
        close = suggest(name, _KINDS, cutoff=0.75)
        raise ClusterError(f"there is no kind {word!r}" + (f"; did you mean {close}?" if close else
                           "; kinds are named as in kubectl and calicoctl: pods, nodes, ippools"))
    return (kind,)


def plural_of(words: str) -> str:
    """What messages call the resources of kinds, given by any names, with commas between them."""
    return " and ".join(dict.fromkeys(
        word if word in _GROUPS else _plural(kinds_named(word)[0].lower())
        for word in words.split(",")))


def kind_of(document: Mapping[str, Any]) -> str:
    """The kind of a resource, the same one for every apiVersion that it may have."""
    known = KINDS.get((document["apiVersion"], document["kind"]))
    return known.name if known else str(document["kind"])


def name_of(document: Mapping[str, Any]) -> str:
    """A resource's name, empty where the file gives none."""
    return _metadata(document, "name")


def namespace_of(document: Mapping[str, Any]) -> str:
    """A resource's namespace, empty where its kind has none."""
    return _metadata(document, "namespace") or (
        "default" if is_namespaced(kind_of(document)) else "")


def _metadata(document: Mapping[str, Any], field: str) -> str:
    metadata = document.get("metadata")
    return str(metadata.get(field) or "") if isinstance(metadata, Mapping) else ""


def is_namespaced(kind: str) -> bool:
    """Whether the resources of a kind are in namespaces, as far as it has an effect."""
    return kind in _NAMESPACED


def named(documents: Sequence[Document], kinds: Sequence[str], name: str, namespace: str | None
          ) -> list[Document]:
    """The resources called ``[NAMESPACE/]NAME`` of these kinds, or of any; None is any namespace.

    Raises NotFoundError that says where else there is one, or names a similar one.
    """
    place, _, bare = name.rpartition("/")
    place = place or namespace or ""
    known = [document for document in documents if not kinds or kind_of(document) in kinds]
    here = [document for document in known if not place or namespace_of(document) in ("", place)]
    called = [document for document in here if name_of(document) == bare]
    if called:
        return called
    elsewhere = [namespace_of(document) for document in known if name_of(document) == bare]
    similar = suggest(bare, map(name_of, here))
    where = f" in namespace {place}" if place and any(map(is_namespaced, kinds)) else ""
    hint = (f"; there is one in {join_some(elsewhere, 5)}: -n {elsewhere[0]}" if elsewhere else
            f"; did you mean {similar}?" if similar else "")
    title = join([kind.lower() for kind in kinds] or ["resource"], "or")
    raise NotFoundError(f"there is no {title} {bare!r}{where}{hint}")


def reference(document: Mapping[str, Any]) -> str:
    """What kubectl calls a resource: ``pod/web-0``, ``ippool.projectcalico.org/default``."""
    kind = kind_of(document)
    # One node, whichever of Kubernetes and Calico has the document.
    group = "" if kind == "Node" else _group(document["apiVersion"])
    return f"{kind.lower()}{'.' if group else ''}{group}/{name_of(document)}"


def _group(api: str) -> str:
    return api.rpartition("/")[0]
