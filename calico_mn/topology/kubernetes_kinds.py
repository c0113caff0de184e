"""The kinds of Kubernetes with an effect, and the rules inside one resource.

Field names are those of ``k8s.io/api``. Of the ConfigMap calico-config only the pods' MTU has an
effect. calico-node's DaemonSet is with what it describes, in
:mod:`calico_mn.topology.default_pool`.
"""

from __future__ import annotations

from calico_mn.model import Node, Pod
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.problems import Report

CORE = "v1"
APPS = "apps/v1"

_BANDWIDTH = "no limit is set here; the Underlay's links may have a rate"
_ANNOTATIONS: s.Table = {
    "cni.projectcalico.org/ipAddrs": s.Field(r.ip_addrs, "ip"),
    "cni.projectcalico.org/podIP": s.Field(r.pod_ip, "present_ip"),
    **dict.fromkeys((f"cni.projectcalico.org/{name}" for name in (
        # of an endpoint that exists, or of IPv6; then Calico Enterprise's and VPP's
        "podIPs", "containerID", "ipv6pools", "ipFamilies", "awsElasticIPs", "networks",
        "egressGatewayIPs", "vppVcl", "vppExtraMemifPorts", "vppExtraMemifSpec",
        "vppInterfacesSpec", "vppHashConfig", "vppKeepOriginalPacket", "vppLBType",
        "AllowedSourcePrefixes")), s.Special.BOOKKEEPING),
    "cni.projectcalico.org/ipv4pools": s.Ignored(
        says="the address comes from any enabled IPPool"),
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
NAMESPACE: s.Table = {"namespace": s.Field(r.label, "namespace")}
TEMPLATE_META: s.Table = {**s.META, **NAMESPACE, "name": s.Field(r.subdomain, "template_name"),
                         "namespace": s.Field(r.label, "template_namespace")}
_SCHEDULING = "pods go to the nodes in turn"
POD_SPEC: s.Table = {
    "nodeName": s.Field(r.subdomain, "node"),
    "hostNetwork": s.Field(r.boolean, "host_network"),
    "affinity": s.Ignored(says=_SCHEDULING),
    "topologySpreadConstraints": s.Ignored(says=_SCHEDULING),
    # What a container is: nobody expects it to run here.
    **s.bookkeeping(
        "activeDeadlineSeconds automountServiceAccountToken containers dnsConfig dnsPolicy "
        "enableServiceLinks ephemeralContainers evictionResponders hostAliases hostIPC hostPID "
        "hostUsers hostname hostnameOverride imagePullSecrets initContainers nodeSelector os "
        "overhead preemptionPolicy priority priorityClassName readinessGates resourceClaims "
        "resources restartPolicy runtimeClassName schedulerName schedulingGates schedulingGroup "
        "securityContext serviceAccount serviceAccountName setHostnameAsFQDN "
        "shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations volumes "
        "workloadRef"),
}

ADDRESSES = s.List({
    "type": s.Field(r.text, "type"), "address": s.Field(r.text, "address"),
    s.REST: s.Special.BOOKKEEPING,
}, s.Unmodelled, name="addresses")

# calicoctl makes its Node of these annotations (libcalico-go lib/backend/k8s/resources/node.go).
NODE = s.Kind(s.resource_table(
    {**s.NAMED, "labels": s.Field(r.string_map, "labels"), "annotations": {
        "projectcalico.org/IPv4Address": s.Field(r.interface, "address"),
        "projectcalico.org/IPv4IPIPTunnelAddr": s.Field(r.address_or_none, "ipip_address"),
        "projectcalico.org/IPv4VXLANTunnelAddr": s.Field(r.address_or_none, "vxlan_address"),
        "projectcalico.org/VXLANTunnelMACAddr": s.Field(r.mac, "vxlan_mac"),
        "projectcalico.org/ASNumber": s.Field(r.text, "as_number"),
        "projectcalico.org/RouteReflectorClusterID": s.Field(r.text, "route_reflector"),
        s.REST: s.Special.BOOKKEEPING,
    }},
    spec={s.REST: s.Special.BOOKKEEPING},
    status={"addresses": ADDRESSES, s.REST: s.Special.BOOKKEEPING},
), Node, api=CORE, name="Node")


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
    **s.bookkeeping(
        "minReadySeconds paused progressDeadlineSeconds revisionHistoryLimit selector strategy"
    ),
}), Pod, _check_deployment, api=APPS, name="Deployment")

CONFIG_MAP = s.Kind(s.resource_table(
    {**s.META, **NAMESPACE},
    data={"veth_mtu": s.Field(r.mtu_text, "veth_mtu"), s.REST: s.Special.BOOKKEEPING},
    binaryData=s.Special.BOOKKEEPING,
    immutable=s.Special.BOOKKEEPING,
), s.Unmodelled, lambda _, config: config.has("veth_mtu"), api=CORE, name="ConfigMap",
    single="keep one of them", only="calico-config")

KINDS = (NODE, POD, DEPLOYMENT, CONFIG_MAP)
