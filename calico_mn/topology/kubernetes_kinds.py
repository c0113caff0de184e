"""The kinds of Kubernetes but for policies: nodes, namespaces, ConfigMaps, pods, their makers.

Field names are those of ``k8s.io/api``. Pods, and the kinds that make some, are each read as a pod
or the template of pods. In a workload's resource ``replicas`` is the number of its pods, None for a
Pod, and ``per_node`` tells that it is a DaemonSet's; ``left_out`` says why a pod is none of the
network's, with no word about calico-node, whose variables are read in
:mod:`calico_mn.topology.calico_node`. Who makes how many pods, and where, is decided in
:mod:`calico_mn.topology.placement`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from calico_mn.model import Node, Pod
from calico_mn.policy import Labelled
from calico_mn.topology import address_readers as a
from calico_mn.topology import calico_node, policy_readers, scheduling
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.problems import Report
from calico_mn.topology.scheduling import NODE_FIELDS
from calico_mn.topology.yaml_tree import Tree, describe

CORE = "v1"
APPS = "apps/v1"
NAMESPACE: s.Table = {"namespace": s.Field(r.label, "namespace")}


def in_default(_report: Report, item: s.Resource[Any]) -> bool:
    """A resource that names no namespace is in ``default``."""
    item.values.setdefault("namespace", "default")
    return True


ADDRESSES = s.List({
    "type": s.Field(r.text, "type"), "address": s.Field(r.text, "address"),
    s.REST: s.Special.BOOKKEEPING,
}, s.Unmodelled, name="addresses")


def as_number(tree: Tree) -> int:
    """An AS number, as one number or as two of 16 bits with a point (numorstring/asnumber.go)."""
    word = r.text(tree)
    if re.fullmatch("[0-9]{1,10}", word) and int(word) < 2**32:
        return int(word)
    if re.fullmatch("[0-9]{1,5}[.][0-9]{1,5}", word):
        high, low = map(int, word.split("."))
        if max(high, low) < 2**16:
            return high << 16 | low
    raise r.InvalidValueError(f"{describe(tree)} is not an AS number",
                              "a number up to 4294967295; private ones are 64512 to 65534")


def cluster_id(tree: Tree) -> str:
    """A route reflector's cluster id, written as an IPv4 address; empty for none."""
    return str(a.address(tree)) if r.text(tree) else ""


# calicoctl makes its Node of these annotations (libcalico-go lib/backend/k8s/resources/node.go).
NODE_ANNOTATIONS: s.Table = {
    "projectcalico.org/IPv4Address": s.Field(a.interface, "address"),
    "projectcalico.org/IPv4IPIPTunnelAddr": s.Field(a.address_or_none, "ipip_address"),
    "projectcalico.org/IPv4VXLANTunnelAddr": s.Field(a.address_or_none, "vxlan_address"),
    "projectcalico.org/VXLANTunnelMACAddr": s.Field(r.mac, "vxlan_mac"),
    "projectcalico.org/ASNumber": s.Field(as_number, "as_number", write=str),
    "projectcalico.org/RouteReflectorClusterID": s.Field(cluster_id, "route_reflector"),
    s.REST: s.Special.BOOKKEEPING,
}
NODE = s.Kind(s.resource_table(
    {**s.NAMED, **s.LABELS, "annotations": NODE_ANNOTATIONS},
    spec={**NODE_FIELDS, s.REST: s.Special.BOOKKEEPING},
    status={"addresses": ADDRESSES, s.REST: s.Special.BOOKKEEPING},
), Node, api=CORE, name="Node")


# calico-config has the pods' MTU, kubeadm-config the pods' range; calico-node refers to others.
CONFIG_MAP = s.Kind(s.resource_table(
    {**s.META, **NAMESPACE},
    data=s.Field(r.scalars, "data"),
    binaryData=s.Special.BOOKKEEPING,
    immutable=s.Special.BOOKKEEPING,
), s.Unmodelled, api=CORE, name="ConfigMap")

# What kubeadm makes that ConfigMap of, and kind what it gives to kubeadm.
KUBEADM_APIS = tuple(f"kubeadm.k8s.io/v1beta{number}" for number in (1, 2, 3, 4))
_NETWORKING: s.Table = {
    "networking": {"podSubnet": s.Field(r.text, "pod_subnet"), s.REST: s.Special.BOOKKEEPING},
    s.REST: s.Special.BOOKKEEPING}
KUBEADM = s.Kind(s.resource_table(s.META, **_NETWORKING), s.Unmodelled, api=KUBEADM_APIS[-1],
                 name="ClusterConfiguration")
KIND_CLUSTER = s.Kind(s.resource_table(s.META, **_NETWORKING), s.Unmodelled,
                      api="kind.x-k8s.io/v1alpha4", name="Cluster")

# Its pods inherit its labels, and the pools of their addresses unless they name others
# (cni-plugin pkg/k8s).
NAMESPACE_KIND = s.Kind(s.resource_table(
    {**s.NAMED, **s.LABELS, "annotations": {
        "cni.projectcalico.org/ipv4pools": s.Field(a.json_names, "pools"),
        s.REST: s.Special.BOOKKEEPING}},
    spec=s.Special.BOOKKEEPING,
), Labelled, api=CORE, name="Namespace")


# --- pods, and what makes them

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
TEMPLATE_META: s.Table = {**s.META, **NAMESPACE, **s.LABELS,
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
    in_default(report, pod)
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
    {**_METADATA, **s.LABELS, "annotations": _ANNOTATIONS}, spec=POD_SPEC,
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

WORKLOADS = (POD, DEPLOYMENT, STATEFUL_SET, REPLICA_SET, REPLICATION_CONTROLLER, DAEMON_SET)
KINDS = (NODE, CONFIG_MAP, KUBEADM, KIND_CLUSTER, NAMESPACE_KIND, *WORKLOADS)
