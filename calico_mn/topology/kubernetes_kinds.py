"""The kinds of Kubernetes with an effect that are no workloads: Node, and two ConfigMaps.

Field names are those of ``k8s.io/api``. Workloads are in :mod:`calico_mn.topology.workload_kinds`.
"""

from __future__ import annotations

import re

from calico_mn.model import Node
from calico_mn.policy import Labelled
from calico_mn.topology import address_readers as a
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.scheduling import NODE_FIELDS
from calico_mn.topology.yaml_tree import Tree, describe

CORE = "v1"
APPS = "apps/v1"
NAMESPACE: s.Table = {"namespace": s.Field(r.label, "namespace")}

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
NODE = s.Kind(s.resource_table(
    {**s.NAMED, "labels": s.Field(r.string_map, "labels"), "annotations": {
        "projectcalico.org/IPv4Address": s.Field(a.interface, "address"),
        "projectcalico.org/IPv4IPIPTunnelAddr": s.Field(a.address_or_none, "ipip_address"),
        "projectcalico.org/IPv4VXLANTunnelAddr": s.Field(a.address_or_none, "vxlan_address"),
        "projectcalico.org/VXLANTunnelMACAddr": s.Field(r.mac, "vxlan_mac"),
        "projectcalico.org/ASNumber": s.Field(as_number, "as_number"),
        "projectcalico.org/RouteReflectorClusterID": s.Field(cluster_id, "route_reflector"),
        s.REST: s.Special.BOOKKEEPING,
    }},
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
    {**s.NAMED, "labels": s.Field(r.string_map, "labels"), "annotations": {
        "cni.projectcalico.org/ipv4pools": s.Field(a.json_names, "pools"),
        s.REST: s.Special.BOOKKEEPING}},
    spec=s.Special.BOOKKEEPING,
), Labelled, api=CORE, name="Namespace")

KINDS = (NODE, CONFIG_MAP, KUBEADM, KIND_CLUSTER, NAMESPACE_KIND)
