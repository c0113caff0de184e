"""Which kinds there are: with an effect, known without one, custom resources, and mistakes.

In go an apiVersion and a kind as a file has them; out comes the :class:`Kind` that reads such a
resource, also for the older or stored form of an apiVersion (``crd.projectcalico.org/v1`` is what
a cluster without Calico's API server prints). A group that is neither Kubernetes's nor Calico's,
nor a slip of one, holds custom resources.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from functools import cache
from typing import Any

from calico_mn.topology import (
    bgp_kinds,
    calico_kinds,
    host_kinds,
    kubernetes_kinds,
    operator_kinds,
    policy_kinds,
    service_kinds,
    underlay,
    workload_kinds,
)
from calico_mn.topology.schema import Kind

CRD_API = "crd.projectcalico.org/v1"

KINDS: dict[tuple[str, str], Kind[Any]] = {
    (kind.api, kind.name): kind
    for kind in (*calico_kinds.KINDS, *bgp_kinds.KINDS, *kubernetes_kinds.KINDS,
                 *workload_kinds.KINDS, *policy_kinds.KINDS, *host_kinds.KINDS,
                 *service_kinds.KINDS,
                 operator_kinds.INSTALLATION, underlay.UNDERLAY)}

_ADMISSION = ("MutatingWebhookConfiguration ValidatingWebhookConfiguration "
              "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding ValidatingAdmissionPolicy "
              "ValidatingAdmissionPolicyBinding")
_RBAC = "ClusterRole ClusterRoleBinding Role RoleBinding"
# Kinds that exist and have no effect here, by apiVersion; those of ``k8s.io/api`` and of Calico.
IGNORED_KINDS = {api: names.split() for api, names in {
    calico_kinds.API: calico_kinds.IGNORED_KINDS,
    CRD_API: calico_kinds.ENTERPRISE_KINDS +
             "CalicoNodeStatus IPAMHandle "
             "KubeControllersConfiguration",
    "migration.projectcalico.org/v1": "DatastoreMigration",
    "migration.projectcalico.org/v1beta1": "DatastoreMigration",
    operator_kinds.API:
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
    "admissionregistration.k8s.io/v1": _ADMISSION,
    "admissionregistration.k8s.io/v1beta1": _ADMISSION,
    "admissionregistration.k8s.io/v1alpha1": _ADMISSION,
    "apiextensions.k8s.io/v1": "CustomResourceDefinition",
    "apiextensions.k8s.io/v1beta1": "CustomResourceDefinition",
    "apiregistration.k8s.io/v1": "APIService",
    "apiregistration.k8s.io/v1beta1": "APIService",
    "autoscaling/v1": "HorizontalPodAutoscaler",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "autoscaling/v2beta1": "HorizontalPodAutoscaler",
    "autoscaling/v2beta2": "HorizontalPodAutoscaler",
    "batch/v1": "CronJob Job",
    "batch/v1beta1": "CronJob",
    "certificates.k8s.io/v1": "CertificateSigningRequest",
    "certificates.k8s.io/v1beta1": "CertificateSigningRequest ClusterTrustBundle",
    "certificates.k8s.io/v1alpha1": "ClusterTrustBundle PodCertificateRequest",
    "coordination.k8s.io/v1": "Lease",
    "coordination.k8s.io/v1beta1": "Lease LeaseCandidate",
    "coordination.k8s.io/v1alpha2": "LeaseCandidate",
    "events.k8s.io/v1": "Event",
    "events.k8s.io/v1beta1": "Event",
    **dict.fromkeys((f"flowcontrol.apiserver.k8s.io/v1{stage}"
                     for stage in ("", "beta1", "beta2", "beta3")),
                    "FlowSchema PriorityLevelConfiguration"),
    **dict.fromkeys(kubernetes_kinds.KUBEADM_APIS, "ClusterStatus InitConfiguration "
                    "JoinConfiguration ResetConfiguration UpgradeConfiguration"),
    "networking.k8s.io/v1": "IPAddress Ingress IngressClass ServiceCIDR",
    "networking.k8s.io/v1beta1": "IPAddress Ingress IngressClass ServiceCIDR",
    "networking.k8s.io/v1alpha1": "ClusterCIDR IPAddress ServiceCIDR",
    "node.k8s.io/v1": "RuntimeClass",
    "node.k8s.io/v1beta1": "RuntimeClass",
    "policy/v1": "Eviction PodDisruptionBudget",
    "policy/v1beta1": "Eviction PodDisruptionBudget PodSecurityPolicy",
    "rbac.authorization.k8s.io/v1": _RBAC,
    "rbac.authorization.k8s.io/v1beta1": _RBAC,
    "rbac.authorization.k8s.io/v1alpha1": _RBAC,
    **dict.fromkeys((f"resource.k8s.io/v1{stage}" for stage in ("", "beta1", "beta2", "alpha3")),
                    "DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate "
                    "ResourceSlice"),
    "scheduling.k8s.io/v1": "PriorityClass",
    "scheduling.k8s.io/v1beta1": "PriorityClass",
    "storage.k8s.io/v1":
        "CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass",
    "storage.k8s.io/v1beta1":
        "CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass",
}.items()}

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
    ("discovery.k8s.io/v1beta1", "EndpointSlice"): (service_kinds.DISCOVERY, "EndpointSlice"),
    ("extensions/v1beta1", "NetworkPolicy"): (policy_kinds.NETWORKING, "NetworkPolicy"),
}
for _form, _kind in _OTHER_FORMS.items():
    KINDS[_form] = KINDS[_kind]

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
