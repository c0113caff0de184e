"""The kinds of Kubernetes with an effect, and the rules inside one resource.

Field names are those of ``k8s.io/api``. Of the ConfigMap calico-config only the pods' MTU has an
effect. calico-node's DaemonSet is with what it describes, in
:mod:`calico_mn.topology.default_pool`.
"""

from __future__ import annotations

from calico_mn.model import Pod
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.problems import Report

CORE = "v1"
APPS = "apps/v1"

_ANNOTATIONS: s.Table = {
    "cni.projectcalico.org/ipAddrs": s.Field(r.ip_addrs, "ip"),
    "cni.projectcalico.org/podIP": s.Field(r.pod_ip, "present_ip"),
    "cni.projectcalico.org/podIPs": s.Special.BOOKKEEPING,
    "cni.projectcalico.org/containerID": s.Special.BOOKKEEPING,
    **s.ignored(
        "cni.projectcalico.org/ipv4pools cni.projectcalico.org/ipv6pools "
        "cni.projectcalico.org/ipAddrsNoIpam cni.projectcalico.org/floatingIPs "
        "cni.projectcalico.org/hwAddr cni.projectcalico.org/allowedSourcePrefixes "
        "kubernetes.io/ingress-bandwidth kubernetes.io/egress-bandwidth"
    ),
    "cni.projectcalico.org/*": s.Special.UNKNOWN,
    s.REST: s.Special.BOOKKEEPING,
}
NAMESPACE: s.Table = {"namespace": s.Field(r.label, "namespace")}
TEMPLATE_META: s.Table = {**s.META, **NAMESPACE, "name": s.Field(r.subdomain, "template_name"),
                         "namespace": s.Field(r.label, "template_namespace")}
POD_SPEC: s.Table = {
    "nodeName": s.Field(r.subdomain, "node"),
    "hostNetwork": s.Field(r.boolean, "host_network"),
    **s.ignored(
        "activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig "
        "dnsPolicy enableServiceLinks ephemeralContainers hostAliases hostIPC hostPID hostUsers "
        "hostname hostnameOverride imagePullSecrets initContainers nodeSelector os overhead "
        "preemptionPolicy priority priorityClassName readinessGates resourceClaims resources "
        "restartPolicy runtimeClassName schedulerName schedulingGates securityContext "
        "serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain "
        "terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes workloadRef"
    ),
}


def _check_pod(report: Report, pod: s.Resource[Pod]) -> bool:
    """A pod in the host's network, or one that has ended, has no address of its own."""
    pod.values.setdefault("namespace", "default")
    if not pod.has("ip") and pod.has("present_ip"):
        pod.set("ip", pod.get("present_ip"), pod.at("present_ip"))
    phase = "hostNetwork" if pod.get("host_network") else pod.get("phase")
    if phase in ("hostNetwork", "Succeeded", "Failed") and pod.has("name"):
        numbers = "-*" if "replicas" in pod.values else ""
        report.ignore_pod(f"{pod.get('namespace')}/{pod.get('name')}{numbers}", phase)
        return False
    return True


POD = s.Kind(s.resource_table(
    {**s.NAMED, **NAMESPACE, "annotations": _ANNOTATIONS},
    spec={**POD_SPEC, "nodeName": s.Field(
        r.subdomain, "node", "there is no scheduler here: add the name of the pod's node, or make "
        "it a Deployment, whose pods go to the nodes in turn")},
    status={"phase": s.Field(r.text, "phase"), s.REST: s.Special.BOOKKEEPING},
), Pod, _check_pod, api=CORE, name="Pod")


def _check_deployment(report: Report, deployment: s.Resource[Pod]) -> bool:
    deployment.values.setdefault("replicas", 1)
    return _check_pod(report, deployment)


# Its object is a pod of the template, without the number in its name.
DEPLOYMENT = s.Kind(s.resource_table({**s.NAMED, **NAMESPACE}, spec={
    "replicas": s.Field(r.integer(0, 2**31 - 1, "0 means no pods"), "replicas"),
    "template": {
        "metadata": {**TEMPLATE_META, "annotations": _ANNOTATIONS},
        "spec": POD_SPEC,
    },
    **s.ignored(
        "minReadySeconds paused progressDeadlineSeconds revisionHistoryLimit selector strategy"
    ),
}), Pod, _check_deployment, api=APPS, name="Deployment")

CONFIG_MAP = s.Kind(s.resource_table(
    {**s.META, **NAMESPACE},
    data={"veth_mtu": s.Field(r.mtu_text, "veth_mtu"), s.REST: s.Ignored()},
    binaryData=s.Ignored(),
    immutable=s.Ignored(),
), s.Unmodelled, lambda _, config: config.has("veth_mtu"), api=CORE, name="ConfigMap",
    single="keep one of them", only="calico-config")

KINDS = (POD, DEPLOYMENT, CONFIG_MAP)

# Kinds that exist and have no effect here.
IGNORED_KINDS = {
    CORE: "Binding ComponentStatus Endpoints Event LimitRange Namespace Node PersistentVolume "
          "PersistentVolumeClaim PodTemplate ReplicationController ResourceQuota Secret Service "
          "ServiceAccount",
    APPS: "ControllerRevision ReplicaSet StatefulSet",
    "admissionregistration.k8s.io/v1":
        "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition",
    "apiregistration.k8s.io/v1": "APIService",
    "autoscaling/v1": "HorizontalPodAutoscaler",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "batch/v1": "CronJob Job",
    "coordination.k8s.io/v1": "Lease",
    "discovery.k8s.io/v1": "EndpointSlice",
    "networking.k8s.io/v1": "Ingress IngressClass NetworkPolicy",
    "operator.tigera.io/v1": "APIServer Goldmane Installation TigeraStatus Whisker",
    "policy/v1": "PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "scheduling.k8s.io/v1": "PriorityClass",
    "storage.k8s.io/v1": "CSIDriver CSINode StorageClass VolumeAttachment",
}
