"""The schemas of the resources, as tables: field -> reader, or known and without effect here.

Field names are those of Kubernetes (``k8s.io/api``) and Calico (``api/pkg/apis/projectcalico/v3``).
A name in no table is a name that nobody knows, and an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from calico_mn.topology import readers as r
from calico_mn.topology.fields import KNOWN, REST, SILENT, UNKNOWN, Items, Known, Silent, Table

CALICO = "projectcalico.org/v3"
CORE = "v1"
APPS = "apps/v1"
OURS = "calico-mn/v1"


def known(names: str) -> dict[str, Known]:
    """Table entries for the space-separated ``names``, all known and without effect."""
    return dict.fromkeys(names.split(), KNOWN)


def silent(names: str) -> dict[str, Silent]:
    """Table entries for the space-separated ``names``, all accepted without a word."""
    return dict.fromkeys(names.split(), SILENT)


_ANNOTATIONS: Table = {
    "cni.projectcalico.org/ipAddrs": r.ip_addrs,
    "cni.projectcalico.org/podIP": r.pod_ip,
    "cni.projectcalico.org/podIPs": SILENT,
    "cni.projectcalico.org/containerID": SILENT,
    **known(
        "cni.projectcalico.org/ipv4pools cni.projectcalico.org/ipv6pools "
        "cni.projectcalico.org/ipAddrsNoIpam cni.projectcalico.org/floatingIPs "
        "cni.projectcalico.org/hwAddr cni.projectcalico.org/allowedSourcePrefixes "
        "kubernetes.io/ingress-bandwidth kubernetes.io/egress-bandwidth"
    ),
    "cni.projectcalico.org/*": UNKNOWN,
    REST: SILENT,
}

_HOUSEKEEPING: Table = silent(
    "uid resourceVersion creationTimestamp deletionTimestamp deletionGracePeriodSeconds generation "
    "generateName managedFields selfLink ownerReferences finalizers labels annotations clusterName"
)

_META: Table = {**_HOUSEKEEPING, "name": r.subdomain}
_NAMESPACED: Table = {**_META, "namespace": r.label_name}


def _resource(metadata: Table, **fields: object) -> Table:
    """The table of a whole resource."""
    table: dict[str, object] = {"apiVersion": r.text, "kind": r.text, "metadata": metadata}
    return {**table, "status": SILENT, **fields}  # type: ignore[dict-item]


_NODE = _resource(_META, spec={
    "bgp": {
        "ipv4Address": r.interface,
        **known("asNumber ipv6Address ipv4IPIPTunnelAddr routeReflectorClusterID"),
    },
    **known(
        "addresses orchRefs wireguard ipv4VXLANTunnelAddr ipv6VXLANTunnelAddr "
        "vxlanTunnelMACAddr vxlanTunnelMACAddrV6"
    ),
})

_MODE = r.one_of("Always", "CrossSubnet", "Never")

_IPPOOL = _resource(_META, spec={
    "cidr": r.network,
    "blockSize": r.integer,
    "ipipMode": _MODE,
    "vxlanMode": _MODE,
    "natOutgoing": r.boolean,
    "disabled": r.boolean,
    "nodeSelector": r.text,
    "allowedUses": Known(("Workload", "Tunnel")),
    "assignmentMode": Known(("Automatic",)),
    "disableBGPExport": Known(("false",)),
    "namespaceSelector": Known(("all()",)),
    **known("ipip nat-outgoing"),
})

_BLOCK_AFFINITY = _resource(_META, spec={
    "cidr": r.ipv4_network,
    "node": r.subdomain,
    "state": r.one_of("", "confirmed", "pending", "pendingDeletion"),
    "deleted": r.boolean_or_text,
    "type": Known(("host",)),
})

_IPAM_CONFIGURATION = _resource(_META, spec={
    "strictAffinity": r.boolean,
    "maxBlocksPerHost": r.integer,
    "autoAllocateBlocks": r.boolean,
    "kubeVirtVMAddressPersistence": KNOWN,
})

# Its other fields, about 150 and more in each release, are named in the warning.
_FELIX_CONFIGURATION = _resource(_META, spec={"ipipMTU": r.integer, REST: KNOWN})

_CONTAINER_FIELDS = known(
    "args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports "
    "readinessProbe resizePolicy resources restartPolicy restartPolicyRules securityContext "
    "startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty "
    "volumeDevices volumeMounts workingDir"
)

_POD_SPEC: Table = {
    "nodeName": r.subdomain,
    "hostNetwork": r.boolean,
    **known(
        "activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig "
        "dnsPolicy enableServiceLinks ephemeralContainers hostAliases hostIPC hostPID hostUsers "
        "hostname hostnameOverride imagePullSecrets initContainers nodeSelector os overhead "
        "preemptionPolicy priority priorityClassName readinessGates resourceClaims resources "
        "restartPolicy runtimeClassName schedulerName schedulingGates securityContext "
        "serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain "
        "terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes workloadRef"
    ),
}

_POD = _resource(
    {**_NAMESPACED, "annotations": _ANNOTATIONS},
    spec=_POD_SPEC,
    status={"phase": r.text, REST: SILENT},
)

_DEPLOYMENT = _resource(_NAMESPACED, spec={
    "replicas": r.integer,
    "template": {
        "metadata": {**_NAMESPACED, "annotations": _ANNOTATIONS},
        "spec": _POD_SPEC,
    },
    **known(
        "minReadySeconds paused progressDeadlineSeconds revisionHistoryLimit selector strategy"
    ),
})

# Of calico-node only the environment has an effect, through Calico's default pool.
_DAEMON_SET = _resource(_NAMESPACED, spec={
    "template": {
        "metadata": {**_NAMESPACED, "annotations": SILENT},
        "spec": {
            **_POD_SPEC,
            "hostNetwork": SILENT,
            "containers": Items({
                **_CONTAINER_FIELDS,
                "name": r.text,
                "env": Items({
                    "name": r.text,
                    "value": r.text,
                    "valueFrom": {REST: SILENT},
                }),
            }),
        },
    },
    **known("minReadySeconds revisionHistoryLimit selector updateStrategy"),
})

_CONFIG_MAP = _resource(
    _NAMESPACED,
    data={"veth_mtu": r.mtu_text, REST: KNOWN},
    binaryData=KNOWN,
    immutable=KNOWN,
)

_LINK: Table = {"rate": r.rate, "delay": r.delay}

_UNDERLAY: Table = {
    "apiVersion": r.text,
    "kind": r.text,
    "metadata": {**_HOUSEKEEPING, "name": r.label_name},
    "spec": {
        "link": _LINK,
        "subnets": Items({
            "name": r.label_name, "cidr": r.ipv4_network, "mtu": r.integer, "link": _LINK,
        }),
        "routers": Items({
            "name": r.label_name,
            "podRoutes": r.boolean,
            "multipathHash": r.integer,
            "multipathHashFields": r.integer,
            "interfaces": Items({"subnet": r.label_name, "address": r.address}),
        }),
    },
}

_NAME_HINT = "add metadata: {name: ...}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A modelled kind: its table, and for each required field the hint when it is missing."""

    name: str
    api: str
    table: Table
    required: dict[tuple[str, ...], str] = field(default_factory=dict)


KINDS: dict[tuple[str, str], Kind] = {
    (kind.api, kind.name): kind
    for kind in (
        Kind("Node", CALICO, _NODE, {
            ("metadata", "name"): _NAME_HINT,
            ("spec", "bgp", "ipv4Address"):
                "add the node's address and prefix: spec: {bgp: {ipv4Address: 192.168.57.31/24}}",
        }),
        Kind("IPPool", CALICO, _IPPOOL, {
            ("metadata", "name"): _NAME_HINT,
            ("spec", "cidr"): "add the pool's range: spec: {cidr: 10.22.0.0/16}",
        }),
        Kind("BlockAffinity", CALICO, _BLOCK_AFFINITY, {
            ("spec", "cidr"): "add the block, such as 10.22.138.0/26",
            ("spec", "node"): "add the name of the node that has the block",
        }),
        Kind("IPAMConfiguration", CALICO, _IPAM_CONFIGURATION),
        Kind("FelixConfiguration", CALICO, _FELIX_CONFIGURATION, {
            ("metadata", "name"): "the one for all nodes is called default",
        }),
        Kind("Pod", CORE, _POD, {("metadata", "name"): _NAME_HINT}),
        Kind("Deployment", APPS, _DEPLOYMENT, {("metadata", "name"): _NAME_HINT}),
        Kind("DaemonSet", APPS, _DAEMON_SET),
        Kind("ConfigMap", CORE, _CONFIG_MAP),
        Kind("Underlay", OURS, _UNDERLAY, {
            ("spec", "subnets"): "add subnets: a list of {name, cidr}",
        }),
    )
}

# Kinds that exist and have no effect here.
KNOWN_KINDS: dict[str, frozenset[str]] = {
    api: frozenset(names.split())
    for api, names in {
        CALICO: "BGPConfiguration BGPFilter BGPPeer CalicoNodeStatus ClusterInformation "
                "GlobalNetworkPolicy GlobalNetworkSet HostEndpoint "
                "IPReservation KubeControllersConfiguration NetworkPolicy NetworkSet Profile "
                "StagedGlobalNetworkPolicy StagedKubernetesNetworkPolicy StagedNetworkPolicy "
                "Tier WorkloadEndpoint",
        CORE: "Binding ComponentStatus Endpoints Event LimitRange Namespace Node PersistentVolume "
              "PersistentVolumeClaim PodTemplate ReplicationController ResourceQuota Secret "
              "Service ServiceAccount",
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
    }.items()
}
