"""Pods, and the kinds of Kubernetes that make some: each is read as a pod or the template of pods.

Field names are those of ``k8s.io/api``. In a workload's resource ``replicas`` is the number of its
pods, None for a Pod, and ``per_node`` tells that it is a DaemonSet's; ``left_out`` says why a pod
is none of the network's, with no word about calico-node, whose variables are read in
:mod:`calico_mn.topology.calico_node`. Who makes how many pods, and where, is decided in
:mod:`calico_mn.topology.placement`.
"""

from __future__ import annotations

from collections.abc import Callable

from calico_mn.model import Pod
from calico_mn.topology import address_readers as a
from calico_mn.topology import calico_node, policy_readers, scheduling
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.kubernetes_kinds import APPS, CORE, NAMESPACE
from calico_mn.topology.problems import Report

_BANDWIDTH = "no limit is set here; the Underlay's links may have a rate"
_ANNOTATIONS: s.Table = {
    "cni.projectcalico.org/ipAddrs": s.Field(a.ip_addrs, "ip"),
    "cni.projectcalico.org/podIP": s.Field(a.pod_ip, "has_ip"),
    **dict.fromkeys((f"cni.projectcalico.org/{name}" for name in (
        # of an endpoint that exists, or of IPv6; then Calico Enterprise's and VPP's
        "podIPs", "containerID", "ipv6pools", "ipFamilies", "awsElasticIPs", "networks",
        "egressGatewayIPs", "vppVcl", "vppExtraMemifPorts", "vppExtraMemifSpec",
        "vppInterfacesSpec", "vppHashConfig", "vppKeepOriginalPacket", "vppLBType",
        "AllowedSourcePrefixes")), s.Special.BOOKKEEPING),
    "cni.projectcalico.org/ipv4pools": s.Field(a.json_names, "pools"),
    "cni.projectcalico.org/ipAddrsNoIpam": s.Ignored(
        says="the address comes from IPAM; ipAddrs fixes one"),
    "cni.projectcalico.org/floatingIPs": s.Ignored(
        says="the pod is reached at its own address only"),
    "cni.projectcalico.org/hwAddr": s.Ignored(says="the pod's MAC address is the kernel's choice"),
    "cni.projectcalico.org/allowedSourcePrefixes": s.Ignored(
        says="sources of packets are checked by rp_filter alone"),
    "kubernetes.io/ingress-bandwidth": s.Ignored(says=_BANDWIDTH),
    "kubernetes.io/egress-bandwidth": s.Ignored(says=_BANDWIDTH),
    "cni.projectcalico.org/*": s.Special.UNKNOWN,
    s.REST: s.Special.BOOKKEEPING,
}
_LABELS: s.Table = {"labels": s.Field(r.string_map, "labels")}
TEMPLATE_META: s.Table = {**s.META, **NAMESPACE, **_LABELS,
                          "name": s.Field(r.subdomain, "template_name"),
                          "namespace": s.Field(r.label, "template_namespace")}
# Their names are what a policy's named ports refer to.
PORTS = s.List({
    "name": s.Field(r.text, "name"), "containerPort": s.Field(policy_readers.port, "port"),
    "protocol": s.Field(policy_readers.protocol, "protocol"), s.REST: s.Special.BOOKKEEPING,
}, s.Unmodelled, name="ports")
POD_SPEC: s.Table = {
    "nodeName": s.Field(r.subdomain, "node"),
    "hostNetwork": s.Field(r.boolean, "host_network"),
    "serviceAccountName": s.Field(r.subdomain, "service_account"),
    "containers": s.List({"ports": PORTS, s.REST: s.Special.BOOKKEEPING}, s.Unmodelled,
                         name="containers"),
    **scheduling.POD_FIELDS,
    # What a container is: none runs here.
    **s.bookkeeping(
        "activeDeadlineSeconds automountServiceAccountToken dnsConfig dnsPolicy "
        "enableServiceLinks ephemeralContainers evictionResponders hostAliases hostIPC hostPID "
        "hostUsers hostname hostnameOverride imagePullSecrets initContainers os overhead "
        " preemptionPolicy priority priorityClassName readinessGates resourceClaims "
        "resources restartPolicy runtimeClassName schedulerName schedulingGates schedulingGroup "
        "securityContext serviceAccount setHostnameAsFQDN "
        "shareProcessNamespace subdomain terminationGracePeriodSeconds volumes "
        "workloadRef"),
}

OWNERS = s.List({"kind": s.Field(r.text, "kind"), "name": s.Field(r.text, "name"),
                 s.REST: s.Special.BOOKKEEPING}, s.Unmodelled, name="owners")
_METADATA: s.Table = {**s.NAMED, **NAMESPACE, "ownerReferences": OWNERS}


def _check_pod(report: Report, pod: s.Resource[Pod]) -> bool:
    """A pod in the host's network, or one that has ended or waits, has no address of its own."""
    pod.values.setdefault("namespace", "default")
    pod.values.setdefault("kind", "Pod")
    if pod.has("has_ip"):
        pod.set("ip", pod.get("has_ip"), pod.at("has_ip"))
        pod.values["has_ip"] = True
    else:
        pod.values.pop("has_ip", None)
    pod.values["ports"] = tuple(
        (port.get("name"), port.get("protocol", "tcp"), port.get("port").first)
        for container in pod.values.get("containers", ())
        for port in container.values.get("ports", ()) if port.has("name", "port"))
    why = left_out(pod.get("host_network", False), pod.get("phase", ""), pod.has("node"))
    if why:
        pod.values.setdefault("left_out", why)
    return True


def left_out(host_network: bool, phase: str, has_node: bool) -> str:
    """Why a pod is none of the network's, or nothing."""
    if host_network:
        return "hostNetwork"
    is_waiting = phase == "Pending" and not has_node
    return phase if is_waiting or phase in ("Succeeded", "Failed") else ""


POD = s.Kind(s.resource_table(
    {**_METADATA, **_LABELS, "annotations": _ANNOTATIONS}, spec=POD_SPEC,
    status={"phase": s.Field(r.text, "phase"), "podIP": s.Field(a.address_or_none, "status_ip"),
            s.REST: s.Special.BOOKKEEPING},
), Pod, _check_pod, api=CORE, name="Pod")


def _check_template(
    name: str, **values: object
) -> Callable[[Report, s.Resource[Pod]], bool]:
    def check(report: Report, workload: s.Resource[Pod]) -> bool:
        for key, value in {"kind": name, **values}.items():
            workload.values.setdefault(key, value)
        return _check_pod(report, workload)

    return check


def _workload(name: str, fields: str, api: str = APPS) -> s.Kind[Pod]:
    """A kind whose object is a pod of its template, without the number in its name."""
    return s.Kind(s.resource_table(_METADATA, spec={
        "replicas": s.Field(r.integer(0, 2**31 - 1, "0 means no pods"), "replicas"),
        "template": {
            "metadata": {**TEMPLATE_META, "annotations": _ANNOTATIONS},
            "spec": POD_SPEC,
        },
        **s.bookkeeping(f"minReadySeconds revisionHistoryLimit selector {fields}"),
    }), Pod, _check_template(name, replicas=1), api=api, name=name)


DEPLOYMENT = _workload("Deployment", "paused progressDeadlineSeconds rollbackTo strategy")
STATEFUL_SET = _workload(
    "StatefulSet", "ordinals persistentVolumeClaimRetentionPolicy podManagementPolicy serviceName "
    "updateStrategy volumeClaimTemplates")
REPLICA_SET = _workload("ReplicaSet", "serviceName")
REPLICATION_CONTROLLER = _workload("ReplicationController", "", CORE)


def _check_daemon_set(report: Report, daemon_set: s.Resource[Pod]) -> bool:
    """calico-node is no workload here: its variables describe the cluster.

    One whose status says that it has no pods makes none.
    """
    if daemon_set.get("name") == calico_node.NAME or daemon_set.get("scheduled") == "0":
        daemon_set.values["left_out"] = ""
    return _check_template("DaemonSet", per_node=True, replicas=1)(report, daemon_set)


DAEMON_SET = s.Kind(s.resource_table(_METADATA, spec={
    "template": {
        "metadata": {**TEMPLATE_META, "annotations": _ANNOTATIONS},
        "spec": {**POD_SPEC, "containers": calico_node.CONTAINERS},
    },
    **s.bookkeeping("minReadySeconds revisionHistoryLimit selector templateGeneration "
                    "updateStrategy"),
}, status={"currentNumberScheduled": s.Field(r.text, "scheduled"),
           s.REST: s.Special.BOOKKEEPING}), Pod, _check_daemon_set, api=APPS, name="DaemonSet")

KINDS = (POD, DEPLOYMENT, STATEFUL_SET, REPLICA_SET, REPLICATION_CONTROLLER, DAEMON_SET)
