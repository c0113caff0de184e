"""A topology as manifests for a cluster of Kubernetes with Calico, and as a cluster of kind.

In goes a topology, out come numbered files of resources, a file for each tool and step, with a
README of the commands. Pods are written one by one, each pinned to its node by the label
kubernetes.io/hostname and with a container that sleeps. Everything else is as the topology's files
have it, without what a cluster fills in by itself.

Calico's resources are in the form projectcalico.org/v3, which calicoctl checks and completes; in
the stored form, which kubectl takes, policies would lack what Felix expects.

For kind (Kubernetes in Docker) there is its configuration besides, and a script of the commands. A
node of the topology is a worker, and kind names workers by their number. Pools are there before
Calico's agents start, so that these make no pool of their own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from calico_mn.export import IMAGE, Export, as_yaml
from calico_mn.model import Pod, Topology
from calico_mn.text import join, one_line
from calico_mn.topology import calico_kinds, emit
from calico_mn.topology.kinds import kind_of, name_of, namespace_of
from calico_mn.topology.kubernetes_kinds import CORE, WORKLOADS
from calico_mn.topology.plain_data import Document

_KUBERNETES_POLICY, _CALICO = "networking.k8s.io/v1", calico_kinds.API
#: file -> the (apiVersion, kind) of what is in it, in the order of their use
FILES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "01-calico.yaml": tuple((_CALICO, kind) for kind in (
        "FelixConfiguration", "BGPConfiguration", "BGPFilter", "BGPPeer", "IPReservation",
        "IPPool")),
    "02-namespaces.yaml": ((CORE, "Namespace"), (CORE, "ServiceAccount")),
    "03-policies.yaml": ((_KUBERNETES_POLICY, "NetworkPolicy"),),
    "04-calico-policies.yaml": tuple((_CALICO, kind) for kind in (
        "Tier", "NetworkSet", "GlobalNetworkSet", "HostEndpoint", "NetworkPolicy",
        "GlobalNetworkPolicy")),
    "05-services.yaml": ((CORE, "Service"),),
    "06-pods.yaml": ((CORE, "Pod"),),
}
_HOST_NAME = "kubernetes.io/hostname"
#: what each cluster has of its own
_SYSTEM = re.compile("(kube-|calico-|tigera-).*")
# What Kubernetes gives a Service; "None" is asked for.
_GIVEN = frozenset(("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy",
                    "healthCheckNodePort"))
# What other notes speak of.
_NOTED = ("Node", "Underlay", *(kind.name for kind in WORKLOADS))
# calicoctl refuses fields that its release does not know; this default is known from v3.30 on.
_LATE_DEFAULTS = {"IPPool": {"assignmentMode": "Automatic"}}
_BOOKKEEPING = re.compile(r"kubectl\.kubernetes\.io/|projectcalico\.org/metadata|"
                          r"deployment\.kubernetes\.io/")

_README = """\
# Manifests

Made by `calico-mn export`. kubectl and calicoctl take them in this order:

```sh
export DATASTORE_TYPE=kubernetes
{commands}
```

`01-calico.yaml` holds for the whole cluster: its pools, BGP and Felix. Leave it out to keep those
that the cluster has.

Each pod runs only on the node that has its label `{label}`: {nodes}.

{labels}Not in these files:

{notes}
"""


def kubernetes(topology: Topology, image: str = IMAGE) -> Export:
    """The manifests, and a README.md of the commands; ``image`` is that of all pods."""
    files, notes = manifests(topology, image, {})
    steps = "\n".join(commands(files))
    labels = "\n".join(_label_commands(topology))
    text = _README.format(
        commands=steps, label=_HOST_NAME, nodes=", ".join(node.name for node in topology.nodes),
        labels=f"Labels of nodes:\n\n```sh\n{labels}\n```\n\n" if labels else "",
        notes="\n".join(f"- {note}" for note in notes))
    return Export({**files, "README.md": text}, notes, "the commands of README.md")


def manifests(topology: Topology, image: str, names: Mapping[str, str],
              without: Collection[str] = ()) -> tuple[dict[str, str], tuple[str, ...]]:
    """Files of resources, and notes on what is not in them, such as the kinds of ``without``.

    ``names`` are the nodes' names in the cluster; those that are not in it stay.
    """
    members: dict[tuple[str, str], list[Document]] = {}
    left_out: dict[str, None] = {}
    for document in (*emit.documents(topology), *_accounts(topology)):
        kind = kind_of(document)
        api = _CALICO if "projectcalico.org" in document["apiVersion"] else document["apiVersion"]
        if kind in without or not any((api, kind) in kinds for kinds in FILES.values()):
            if kind not in _NOTED:
                left_out[kind] = None
        elif kind != "Pod" and not _is_given(document):
            members.setdefault((api, kind), []).append(_cleaned(document, api, names))
    pods = [pod for pod in topology.pods if pod.node and not _SYSTEM.fullmatch(pod.namespace)]
    members[CORE, "Pod"] = [_pod(pod, image, names) for pod in pods]
    notes = [f"resources of kind {join(sorted(map(one_line, left_out)))}"] if left_out else []
    notes += ["nodes and the underlay: addresses, subnets, MTUs and routers are the cluster's own",
              "addresses: Calico's IPAM chooses blocks and those that no pod asks for"]
    if any(pod.owner for pod in pods):
        notes.append("workloads: their pods are written instead, each pinned to its node")
    if len(pods) < len(topology.pods):
        notes.append("pods without a node, and those of kube-, calico- and tigera- namespaces")
    texts = {file: [item for kind in kinds for item in members.get(kind, ())]
             for file, kinds in FILES.items()}
    return {file: as_yaml(items) for file, items in texts.items() if items}, tuple(notes)


def commands(files: Iterable[str]) -> list[str]:
    """What applies the files, in order."""
    return [f"{'calicoctl' if 'calico' in file else 'kubectl'} apply -f {file}" for file in files]


def _accounts(topology: Topology) -> Iterator[Document]:
    """The service accounts that pods name and the files do not have."""
    given = {(namespace_of(item) or "default", name_of(item)) for item in topology.documents
             if kind_of(item) == "ServiceAccount"}
    for namespace, name in dict.fromkeys((pod.namespace, pod.service_account)
                                         for pod in topology.pods):
        if name != "default" and (namespace, name) not in given:
            yield {"apiVersion": CORE, "kind": "ServiceAccount",
                   "metadata": {"namespace": namespace, "name": name}}


def _is_given(document: Document) -> bool:
    """What a cluster has or makes by itself, such as Calico's copies of Kubernetes' policies."""
    kind, name, namespace = kind_of(document), name_of(document), namespace_of(document)
    return bool(_SYSTEM.fullmatch(name if kind == "Namespace" else namespace)) or (
        kind != "Namespace" and name.startswith("knp.")) or (
        (kind, name) in (("ServiceAccount", "default"), ("Service", "kubernetes"))) or (
        (kind, name) == ("Namespace", "default") and not document["metadata"].get("labels"))


def _cleaned(document: Document, api: str, names: Mapping[str, str]) -> Document:
    """A document without what a cluster writes into it, its node under its name there."""
    given = _mapping(document.get("metadata"))
    annotations = {key: value for key, value in _mapping(given.get("annotations")).items()
                   if not _BOOKKEEPING.match(key)}
    metadata = {**{key: given[key] for key in ("name", "namespace", "labels") if given.get(key)},
                **({"annotations": annotations} if annotations else {})}
    cleaned: Document = {"apiVersion": api, "kind": document["kind"], "metadata": metadata}
    late = _LATE_DEFAULTS.get(kind_of(document), {})
    spec = {key: value for key, value in _mapping(document.get("spec")).items()
            if key not in late or late[key] != value}
    if document["kind"] in ("Namespace", "ServiceAccount"):
        return cleaned
    if document["kind"] == "Service":
        spec = {key: value for key, value in spec.items()
                if key not in _GIVEN or value == "None"}
        spec["ports"] = [{key: value for key, value in port.items() if key != "nodePort"}
                         for port in spec.get("ports") or ()]
    if isinstance(node := spec.get("node"), str):
        spec = {**spec, "node": names.get(node, node)}
    return {**cleaned, "spec": spec}


def _mapping(value: Any) -> dict[str, Any]:
    """A part of a document that nothing has checked; empty where it is no mapping."""
    return value if isinstance(value, dict) else {}


def _pod(pod: Pod, image: str, names: Mapping[str, str]) -> Document:
    annotations, ports = emit.requests_of(pod), emit.ports_of(pod)
    return {"apiVersion": CORE, "kind": "Pod", "metadata": {
        "name": pod.name, "namespace": pod.namespace,
        **({"labels": dict(pod.labels)} if pod.labels else {}),
        **({"annotations": annotations} if annotations else {})}, "spec": {
        "nodeSelector": {_HOST_NAME: names.get(pod.node, pod.node)},
        "tolerations": [{"operator": "Exists"}],
        "serviceAccountName": pod.service_account,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": image, "command": ["sleep", "infinity"],
                        **({"ports": ports} if ports else {})}]}}


def node_labels(topology: Topology) -> Iterator[tuple[str, dict[str, str]]]:
    """Each node with the labels that Kubernetes does not give it."""
    for node in topology.nodes:
        yield node.name, {key: value for key, value in node.labels
                          if "kubernetes.io/" not in key}


def _label_commands(topology: Topology) -> Iterator[str]:
    for name, labels in node_labels(topology):
        if labels:
            yield shlex.join(["kubectl", "label", "node", name,
                              *(f"{key}={value}" for key, value in labels.items())])


# --- a cluster of kind

CLUSTER = "calico-mn"
#: of kinds that need the topology's own network
_LEFT_OUT = ("BGPConfiguration", "BGPFilter", "BGPPeer", "HostEndpoint")
_POOLS = "01-calico.yaml"
#: what a file may have for a release before it is a word of the script
_RELEASE = re.compile(r"v[0-9]+\.[0-9]+\.[0-9]+")

_SCRIPT = """\
#!/bin/sh
# Needs kind, kubectl, and calicoctl of Calico's release. The cluster ends with
# "kind delete cluster --name {cluster}". Commands of your own: export KUBECONFIG=$PWD/kubeconfig
#
{nodes}
set -eu
cd "$(dirname "$0")"
export KUBECONFIG="$PWD/kubeconfig" DATASTORE_TYPE=kubernetes
calico=https://raw.githubusercontent.com/projectcalico/calico/${{CALICO-{release}}}/manifests

kind create cluster --config kind.yaml --kubeconfig kubeconfig
kubectl apply --server-side -f "$calico/crds.yaml"
kubectl wait --for condition=Established crd --all --timeout 1m
{pools}
kubectl apply --server-side -f "$calico/calico.yaml"
# Felix stops at rp_filter 2, which nodes have from the machine, as on Ubuntu.
kubectl set env --namespace kube-system daemonset/calico-node FELIX_IGNORELOOSERPF=true
kubectl rollout status --namespace kube-system daemonset/calico-node --timeout 10m
{others}
kubectl wait --for condition=Ready pod --all --all-namespaces --timeout 10m
"""


def kind(topology: Topology, image: str = IMAGE) -> Export:
    """kind.yaml, manifests and create.sh; ``image`` is that of all pods."""
    names = {node.name: f"{CLUSTER}-worker{number if number > 1 else ''}"
             for number, node in enumerate(topology.nodes, 1)}
    files, notes = manifests(topology, image, names, _LEFT_OUT)
    workers = [{"role": "worker", **({"labels": labels} if labels else {})}
               for _, labels in node_labels(topology)]
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "name": CLUSTER,
              "networking": {"disableDefaultCNI": True, "podSubnet": str(topology.pools[0].cidr)},
              "nodes": [{"role": "control-plane"}, *workers]}
    others = [file for file in files if file != _POOLS]
    release = topology.information.calico_version
    script = _SCRIPT.format(
        cluster=CLUSTER, nodes="\n".join(f"# {name} is {worker}" for name, worker in names.items()),
        release=release if _RELEASE.fullmatch(release) else f"{topology.profile.name}.0",
        pools="\n".join(commands([_POOLS])), others="\n".join(commands(others)))
    return Export(
        {"kind.yaml": as_yaml([config]), **files, "create.sh": script},
        (*notes, "subnets: all nodes are in one, where CrossSubnet sends packets as Never does",
         "BGP of its own: nodes peer in a full mesh"),
        "sh create.sh")
