"""A topology as resources again, in the form in which kubectl and calicoctl print them. Pure.

In goes a :class:`~calico_mn.model.Topology`, out come its documents as plain data: reading them
gives the topology again. A resource that the files had keeps its own document, with what is in
force now laid over it; what they did not have is written from the model. Documents of nodes, pods
and affinities that are gone are left out, and so are WorkloadEndpoints and the blocks of nodes,
since the pods and affinities say the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Network
from typing import Any

from calico_mn.bgp_resources import BGPConfiguration
from calico_mn.model import (
    BlockAffinity,
    FelixConfiguration,
    IPAMConfiguration,
    Node,
    Pod,
    Topology,
)
from calico_mn.text import is_subdomain
from calico_mn.topology import (
    bgp_kinds,
    calico_kinds,
    calico_node,
    kubernetes_kinds,
    underlay,
)
from calico_mn.topology import schema as s
from calico_mn.topology.kinds import CRD_API, kind_of, name_of, namespace_of
from calico_mn.topology.plain_data import Document, at, laid_over, table_fields

#: kind, namespace and name; those of a block's affinity, which may have any name, are others
Key = tuple[str, str, str]
#: what the model says of the object of a document, in the fields of the document's apiVersion
Facts = Callable[[Document], Document]

# What others refer to comes first.
_FIRST = ("Underlay", "Node", "IPPool", "BlockAffinity", "IPAMBlock")
_WORKLOADS = {kind.name: kind.api for kind in reversed(kubernetes_kinds.WORKLOADS)}
_ORDER = {kind: place for place, kind in enumerate((*_FIRST, "", *_WORKLOADS))}
# Kinds of which a document without its object in the model is out of date.
_WHOLLY_MODELLED = frozenset((*_FIRST, "Pod", "WorkloadEndpoint"))
_ENDED = ("Succeeded", "Failed")


def documents(topology: Topology) -> list[Document]:
    """Every resource of the topology; parts may be shared with ``topology.documents``."""
    objects = {key: (api, facts) for key, api, facts in _objects(topology)}
    originals = {key_of(document): document for document in topology.documents}
    made = []
    written: set[Any] = set()
    for document in topology.documents:
        key = key_of(document)
        if key in objects and (key, document["apiVersion"]) not in written:
            made.append(laid_over(document, objects[key][1](document)))
            written |= {key, (key, document["apiVersion"])}
        elif _is_kept(document):
            made.append(document)
    for key, (api, facts) in objects.items():
        if key not in written:
            head = {"apiVersion": api, "kind": key[0]}
            made.append(laid_over(head, facts(head)))
    counts: Counter[tuple[Key, bool]] = Counter()
    for pod in made:
        phase = at(pod, "status", "phase")
        if pod["kind"] == "Pod" and phase not in _ENDED:
            counts.update((owner, phase == "Running") for owner in _owners(pod, originals))
    made = [_counted(document, counts) if document["kind"] in _WORKLOADS else document
            for document in made]
    # Blocks stay in the order in which their nodes claimed them, which is that of their use.
    place = {key: number for number, key in enumerate(objects)}
    return sorted(made, key=lambda document: (
        _ORDER.get(kind_of(document), _ORDER[""]), place.get(key_of(document), len(place))))


def key_of(document: Document) -> Key:
    """What a document's object is known by."""
    kind = kind_of(document)
    if kind == "BlockAffinity":
        return kind, str(at(document, "spec", "node")), str(at(document, "spec", "cidr"))
    if kind == "IPAMBlock":
        return kind, "", str(at(document, "spec", "cidr"))
    if kind in ("Underlay", "IPAMConfiguration"):
        return kind, "", ""
    return kind, namespace_of(document), name_of(document)


def _objects(topology: Topology) -> Iterator[tuple[Key, str, Facts]]:
    """Each object that has a document: its key, the apiVersion of a new document, the facts."""
    calico, core = calico_kinds.API, kubernetes_kinds.CORE
    yield ("Underlay", "", ""), underlay.API, lambda _: underlay.fields_of(topology.underlay)
    for node in topology.nodes:
        yield ("Node", "", node.name), calico, partial(_node, node)
    for pool in topology.pools:
        yield ("IPPool", "", pool.name), calico, partial(
            _by_table, pool.name, calico_kinds.POOL_SPEC, pool)
    for affinity in topology.affinities:
        kind, api = ("BlockAffinity", calico) if affinity.node else ("IPAMBlock", CRD_API)
        yield (kind, affinity.node, str(affinity.cidr)), api, partial(_affinity, affinity)
    for pod in topology.pods:
        yield ("Pod", pod.namespace, pod.name), core, partial(_pod, pod)
    for name in dict.fromkeys(pod.namespace for pod in topology.pods):
        yield ("Namespace", "", name), core, partial(_named, name, {})
    given = {key_of(document) for document in topology.documents}
    kinds = {kind for kind, _, _ in given}
    # These win over a FelixConfiguration, and give the pods' MTU.
    has_other = "Installation" in kinds or any(
        kind == "DaemonSet" and name == calico_node.NAME for kind, _, name in given)
    felix = ("FelixConfiguration", "", "default")
    if felix in given or (topology.felix != FelixConfiguration() and not has_other):
        yield felix, calico, partial(
            _by_table, "default", calico_kinds.FELIX_SPEC, topology.felix)
    bgp = ("BGPConfiguration", "", "default")
    if bgp in given or topology.bgp != BGPConfiguration() or not (topology.mesh or has_other):
        yield bgp, calico, partial(bgp_kinds.configuration_fields, topology.bgp, topology.mesh)
    information = ("ClusterInformation", "", "default")
    if information in given or topology.information.calico_version:
        yield information, calico, partial(
            _named, "default", {"calicoVersion": topology.information.calico_version})
    for peer in topology.bgp_peers:
        yield ("BGPPeer", "", peer.name), calico, partial(bgp_kinds.peer_fields, peer)
    for item in topology.bgp_filters:
        yield ("BGPFilter", "", item.name), calico, partial(bgp_kinds.filter_fields, item)
    if "IPAMConfiguration" in kinds or topology.ipam != IPAMConfiguration():
        yield ("IPAMConfiguration", "", ""), calico, partial(
            _by_table, "default", calico_kinds.IPAM_SPEC, topology.ipam)
    if topology.reservations and "IPReservation" not in kinds:
        yield ("IPReservation", "", "reserved"), calico, partial(
            _named, "reserved", {"reservedCIDRs": list(map(str, topology.reservations))})
    if topology.veth_mtu and "Installation" not in kinds and not any(
            name == "calico-config" for _, _, name in given):
        yield ("ConfigMap", "kube-system", "calico-config"), core, lambda _: {
            "metadata": {"namespace": "kube-system", "name": "calico-config"},
            "data": {"veth_mtu": str(topology.veth_mtu)}}


def _is_kept(document: Document) -> bool:
    """Whether a document stays that has no object in the model."""
    kind = kind_of(document)
    if kind == "IPPool":
        return ":" in str(at(document, "spec", "cidr"))
    return kind not in _WHOLLY_MODELLED or (kind == "Pod" and bool(kubernetes_kinds.left_out(
        at(document, "spec", "hostNetwork") is True, str(at(document, "status", "phase")),
        at(document, "spec", "nodeName") is not None)))


def _named(name: str, spec: Document, _document: Document) -> Document:
    return {"metadata": {"name": name}, "spec": spec}


def _by_table(name: str, table: s.Table, model: object, document: Document) -> Document:
    return _named(name, table_fields(table, document.get("spec"), model), document)


# --- nodes and blocks

def _node(node: Node, document: Document) -> Document:
    metadata: Document = {"name": node.name}
    if "metadata" not in document:
        metadata["labels"] = dict(node.labels)
    if document["apiVersion"] == kubernetes_kinds.CORE:
        annotations = at(document, "metadata", "annotations")
        return {"metadata": {**metadata, "annotations": table_fields(
            kubernetes_kinds.NODE_ANNOTATIONS, annotations, node)}}
    return {"metadata": metadata,
            "spec": table_fields(calico_kinds.NODE_SPEC, document.get("spec"), node)}


def _affinity(affinity: BlockAffinity, _document: Document) -> Document:
    if not affinity.node:
        return {"metadata": {"name": _dashed(affinity.cidr)},
                "spec": {"cidr": str(affinity.cidr), "affinity": None, "allocations": None}}
    return {"metadata": {"name": affinity_name(affinity)}, "spec": {
        "cidr": str(affinity.cidr), "node": affinity.node, "state": "confirmed", "deleted": None}}


def affinity_name(affinity: BlockAffinity) -> str:
    """As Calico names a BlockAffinity, such as ``node31-10-22-138-0-26``."""
    name = f"{affinity.node}-{_dashed(affinity.cidr)}"
    if is_subdomain(name):
        return name
    digest = hashlib.sha1(affinity.node.encode(), usedforsecurity=False).hexdigest()
    return f"{digest}-{_dashed(affinity.cidr)}"


def _dashed(network: IPv4Network) -> str:
    return str(network).replace(".", "-").replace("/", "-")


# --- pods and workloads

def _pod(pod: Pod, document: Document) -> Document:
    has_ip = str(pod.ip) if pod.ip and pod.has_ip else None
    annotations: Document = {}
    metadata: Document = {"name": pod.name, "namespace": pod.namespace, "annotations": annotations}
    spec: Document = {"nodeName": pod.node or None}
    # A file's own pod that no node can have asks again; it would be left out as Pending.
    status: Document = {"phase": "Pending"} if pod.node or "metadata" not in document else {}
    if "metadata" not in document:
        metadata["labels"] = dict(pod.labels)
        if pod.owner:
            kind, _, name = pod.owner.partition("/")
            metadata["ownerReferences"] = [{
                "apiVersion": _WORKLOADS.get(kind, kubernetes_kinds.CORE), "kind": kind,
                "name": name, "controller": True}]
        if pod.service_account != "default":
            spec["serviceAccountName"] = pod.service_account
        if pod.ports:
            spec["containers"] = [{"name": pod.name, "ports": ports_of(pod)}]
        annotations.update(requests_of(pod))
    if has_ip:
        annotations["cni.projectcalico.org/podIP"] = f"{has_ip}/32"
        status = {"phase": "Running", "podIP": has_ip}
        if at(document, "status", "podIP") not in (has_ip, None):
            # A later pod of that name.
            annotations["cni.projectcalico.org/podIPs"] = status["podIPs"] = None
    return {"metadata": metadata, "spec": spec, "status": status}


def ports_of(pod: Pod) -> list[Document]:
    """The ports of a pod's container."""
    return [{"name": name, "protocol": protocol.upper(), "containerPort": number}
            for name, protocol, number in pod.ports]


def requests_of(pod: Pod) -> Document:
    """The annotations by which a pod asks Calico's IPAM for pools, or for an address."""
    pools = {"cni.projectcalico.org/ipv4pools": json.dumps(pod.pools)} if pod.pools else {}
    return {**pools, **({"cni.projectcalico.org/ipAddrs": json.dumps([str(pod.ip)])}
                        if pod.ip and not pod.has_ip else {})}


def _owners(pod: Document, originals: dict[Key, Document]) -> Iterator[Key]:
    """Its workloads: the owner, and the Deployment whose ReplicaSet that is."""
    namespace = namespace_of(pod)
    for owner in at(pod, "metadata", "ownerReferences") or ():
        kind, name = str(at(owner, "kind")), str(at(owner, "name"))
        yield kind, namespace, name
        if kind != "ReplicaSet":
            continue
        replica_set = originals.get((kind, namespace, name))
        if replica_set is None:
            yield "Deployment", namespace, name.rpartition("-")[0]
        for deployment in at(replica_set, "metadata", "ownerReferences") or ():
            yield "Deployment", namespace, str(at(deployment, "name"))


def _counted(workload: Document, counts: Counter[tuple[Key, bool]]) -> Document:
    """A workload with the number of its pods, of which none may be left."""
    key = key_of(workload)
    kind, _, name = key
    if kind == "Pod" or (kind, name) == ("DaemonSet", calico_node.NAME) or at(
            workload, "spec", "template", "spec", "hostNetwork") is True:
        return workload
    ready = counts[key, True]
    total = ready + counts[key, False]
    workload = laid_over(workload, {"metadata": {"namespace": namespace_of(workload)}})
    if kind == "DaemonSet":
        return laid_over(workload, {"status": {
            "currentNumberScheduled": total, "desiredNumberScheduled": total,
            "numberReady": ready}})
    return laid_over(workload, {"spec": {"replicas": total},
                                "status": {"replicas": total, "readyReplicas": ready}})
