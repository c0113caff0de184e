"""Which kinds there are, and what they are called in files and on a command line. Pure.

In go an apiVersion and a kind as a file has them; out comes the :class:`Kind` that reads such a
resource, also for the older or stored form of an apiVersion (``crd.projectcalico.org/v1`` is what
a cluster without Calico's API server prints). A group that is neither Kubernetes's nor Calico's,
nor a slip of one, holds custom resources.

In goes a word such as ``po``, ``ippools`` or ``deployments.apps``, out comes the kind as a file
spells it; and the name by which kubectl calls a resource in its messages. Short names are those of
``kubectl api-resources`` and of calicoctl's ``commands/../resourcemgr``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import Any

from calico_mn.errors import ClusterError, NotFoundError
from calico_mn.text import join, join_some, suggest
from calico_mn.topology import (
    bgp_kinds,
    calico_kinds,
    default_pool,
    endpoint_kinds,
    kubernetes_kinds,
    policy_kinds,
    underlay,
)
from calico_mn.topology.plain_data import Document
from calico_mn.topology.schema import Kind

CRD_API = "crd.projectcalico.org/v1"

_READ: tuple[Kind[Any], ...] = (
    *calico_kinds.KINDS, *bgp_kinds.KINDS, *kubernetes_kinds.KINDS, *policy_kinds.KINDS,
    *endpoint_kinds.KINDS, default_pool.INSTALLATION, underlay.UNDERLAY)
KINDS = {(kind.api, kind.name): kind for kind in _READ}

# Kinds that exist and have no effect here, by apiVersion; those of ``k8s.io/api`` and of Calico.
IGNORED_KINDS = {f"{group}{slash}{version}": names.split() for apis, names in {
    calico_kinds.API: calico_kinds.IGNORED_KINDS,
    CRD_API: calico_kinds.ENTERPRISE_KINDS +
             "CalicoNodeStatus IPAMHandle "
             "KubeControllersConfiguration",
    "migration.projectcalico.org/v1 v1beta1": "DatastoreMigration",
    default_pool.API:
        "APIServer AmazonCloudIntegration ApplicationLayer Authentication Compliance EgressGateway "
        "GatewayAPI Goldmane ImageSet IntrusionDetection Istio LogCollector LogStorage "
        "ManagementCluster ManagementClusterConnection Manager Monitor NonClusterHost "
        "PacketCaptureAPI PolicyRecommendation TLSPassThroughRoute TLSTerminatedRoute Tenant "
        "TigeraStatus Whisker",
    "policy.networking.k8s.io/v1alpha1": "AdminNetworkPolicy BaselineAdminNetworkPolicy",
    "policy.networking.k8s.io/v1alpha2": "ClusterNetworkPolicy",
    kubernetes_kinds.CORE:
        "Binding ComponentStatus Event LimitRange PersistentVolume "
        "PersistentVolumeClaim PodTemplate ResourceQuota Secret",
    kubernetes_kinds.APPS: "ControllerRevision",
    "extensions/v1beta1": "Ingress PodSecurityPolicy",
    "admissionregistration.k8s.io/v1 v1beta1 v1alpha1":
        "MutatingWebhookConfiguration ValidatingWebhookConfiguration MutatingAdmissionPolicy "
        "MutatingAdmissionPolicyBinding ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding",
    "apiextensions.k8s.io/v1 v1beta1": "CustomResourceDefinition",
    "apiregistration.k8s.io/v1 v1beta1": "APIService",
    "autoscaling/v1 v2 v2beta1 v2beta2": "HorizontalPodAutoscaler",
    "batch/v1": "CronJob Job",
    "batch/v1beta1": "CronJob",
    "certificates.k8s.io/v1": "CertificateSigningRequest",
    "certificates.k8s.io/v1beta1": "CertificateSigningRequest ClusterTrustBundle",
    "certificates.k8s.io/v1alpha1": "ClusterTrustBundle PodCertificateRequest",
    "coordination.k8s.io/v1": "Lease",
    "coordination.k8s.io/v1beta1": "Lease LeaseCandidate",
    "coordination.k8s.io/v1alpha2": "LeaseCandidate",
    "events.k8s.io/v1 v1beta1": "Event",
    "flowcontrol.apiserver.k8s.io/v1 v1beta1 v1beta2 v1beta3":
        "FlowSchema PriorityLevelConfiguration",
    **dict.fromkeys(kubernetes_kinds.KUBEADM_APIS, "ClusterStatus InitConfiguration "
                    "JoinConfiguration ResetConfiguration UpgradeConfiguration"),
    "networking.k8s.io/v1 v1beta1": "IPAddress Ingress IngressClass ServiceCIDR",
    "networking.k8s.io/v1alpha1": "ClusterCIDR IPAddress ServiceCIDR",
    "node.k8s.io/v1 v1beta1": "RuntimeClass",
    "policy/v1": "Eviction PodDisruptionBudget",
    "policy/v1beta1": "Eviction PodDisruptionBudget PodSecurityPolicy",
    "rbac.authorization.k8s.io/v1 v1beta1 v1alpha1":
        "ClusterRole ClusterRoleBinding Role RoleBinding",
    "resource.k8s.io/v1 v1beta1 v1beta2 v1alpha3":
        "DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate ResourceSlice",
    "scheduling.k8s.io/v1 v1beta1": "PriorityClass",
    "storage.k8s.io/v1 v1beta1":
        "CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass",
}.items() for group, slash, versions in [apis.rpartition("/")] for version in versions.split()}

# Those that change routes or reachability in a real cluster: what happens here instead.
INSTEAD = {
    **dict.fromkeys(("ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"),
                    "packets are judged as without them"),
}

# Kinds with an effect under another apiVersion: older ones, and what Calico stores.
_APPS_KINDS = [name for api, name in KINDS if api == kubernetes_kinds.APPS]
_OTHER_FORMS = {
    **{(api, name): (kubernetes_kinds.APPS, name) for name in _APPS_KINDS
       for api in ("apps/v1beta1", "apps/v1beta2", "extensions/v1beta1")},
    **{(CRD_API, name): (calico_kinds.API, name) for api, name in KINDS
       if api == calico_kinds.API and name not in ("Node", "IPAMConfiguration")},
    (CRD_API, "IPAMConfig"): (calico_kinds.API, "IPAMConfiguration"),
    **{(api, "ClusterConfiguration"): (kubernetes_kinds.KUBEADM.api, "ClusterConfiguration")
       for api in kubernetes_kinds.KUBEADM_APIS},
    ("discovery.k8s.io/v1beta1", "EndpointSlice"): (endpoint_kinds.DISCOVERY, "EndpointSlice"),
    ("extensions/v1beta1", "NetworkPolicy"): (policy_kinds.NETWORKING, "NetworkPolicy"),
}
KINDS |= {form: KINDS[kind] for form, kind in _OTHER_FORMS.items()}

ALL_KINDS = dict.fromkeys(
    [*((api, kind) for api, kinds in IGNORED_KINDS.items() for kind in kinds), *KINDS])
APIS = frozenset(api for api, _ in ALL_KINDS)
_GROUPS = frozenset(api.rpartition("/")[0] for api in APIS)
_NEAR_MISS = 0.88


@cache
def is_custom(api: str) -> bool:
    """Whether an apiVersion is of a group of custom resources, and no slip of a known one."""
    group = api.rpartition("/")[0]
    if "." not in group or group in _GROUPS or len(group) > 253:
        return False
    return not any(SequenceMatcher(None, group, known).ratio() > _NEAR_MISS
                   for known in _GROUPS if not group.endswith(f".{known}"))


# --- what they are called

#: what ``kubectl get all`` lists
ALL = tuple(kind.name for kind in kubernetes_kinds.WORKLOADS)
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
_BLOCKS = ("BlockAffinity", "IPAMBlock")
_SEVERAL = {"all": ALL, "block": _BLOCKS, "blocks": _BLOCKS}


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
    return [*_SEVERAL, *(word for word, kind in _KINDS.items() if has_effect(kind))]


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
    if word.lower() in _SEVERAL:
        return _SEVERAL[word.lower()]
    if kind is None or (group and not any(
            known == kind and _group(api).startswith(group) for api, known in ALL_KINDS)):
        close = suggest(name, _KINDS, cutoff=0.75)
        raise ClusterError(f"there is no kind {word!r}" + (f"; did you mean {close}?" if close else
                           "; kinds are named as in kubectl and calicoctl: pods, nodes, ippools"))
    return (kind,)


def plural_of(words: str) -> str:
    """What messages call the resources of kinds, given by any names, with commas between them."""
    return " and ".join(dict.fromkeys(
        word if word in _SEVERAL else _plural(kinds_named(word)[0].lower())
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
