"""The operator's Installation: the pools, MTU and BGP that it gives a cluster.

Field names are those of ``operator.tigera.io/v1`` (tigera/operator ``api/v1``); what follows from
them is in ``pkg/controller/ippool/defaults.go`` and ``pkg/render/node.go``.
"""

from __future__ import annotations

from typing import Any

from calico_mn.model import EncapsulationMode
from calico_mn.topology import address_readers as a
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.problems import Report

API = "operator.tigera.io/v1"
NEVER = EncapsulationMode.NEVER
CROSS_SUBNET, ALWAYS = EncapsulationMode.CROSS_SUBNET, EncapsulationMode.ALWAYS

# encapsulation -> ipipMode and vxlanMode
ENCAPSULATIONS = {
    "IPIP": (ALWAYS, NEVER), "IPIPCrossSubnet": (CROSS_SUBNET, NEVER), "None": (NEVER, NEVER),
    "VXLAN": (NEVER, ALWAYS), "VXLANCrossSubnet": (NEVER, CROSS_SUBNET),
}

POOLS = s.List({
    "name": s.Field(r.subdomain, "name"),
    "cidr": s.Field(a.network, "cidr", "add the pool's range: cidr: 10.22.0.0/16"),
    "encapsulation": s.Field(r.one_of(*ENCAPSULATIONS), "encapsulation"),
    "natOutgoing": s.Field(r.one_of("Enabled", "Disabled"), "nat"),
    "blockSize": s.Field(r.block_size, "block_size"),
    "nodeSelector": s.Field(r.selector, "node_selector"),
    "disableNewAllocations": s.Field(r.boolean, "disabled"),
    "allowedUses": s.Field(r.uses, "allowed_uses"),
    "assignmentMode": s.Field(r.is_automatic, "is_automatic"),
    "disableBGPExport": s.Ignored(("false",), "its blocks are announced like all others"),
    "namespaceSelector": s.Ignored(("all()",), "the pool serves pods of all namespaces"),
}, s.Unmodelled, name="pools")


def _check_installation(report: Report, installation: s.Resource[Any]) -> bool:
    if installation.get("cni", "Calico") != "Calico":
        report.warn(f"Installation spec.cni.type {installation.get('cni')} has no effect: pods are "
                    "connected by Calico's own CNI plug-in.")
    if installation.get("ipam", "Calico") != "Calico":
        report.warn(f"Installation spec.cni.ipam.type {installation.get('ipam')} has no effect: "
                    "addresses come from Calico's IPAM.")
    if installation.get("dataplane", "Iptables") in ("BPF", "VPP"):
        report.warn(f"Installation spec.calicoNetwork.linuxDataplane "
                    f"{installation.get('dataplane')} has no effect: packets take the kernel's "
                    "way, as with Iptables.")
    return True


INSTALLATION = s.Kind(s.resource_table(s.META, spec={
    "kubernetesProvider": s.Field(r.text, "provider"),
    "cni": {"type": s.Field(r.text, "cni"), "ipam": {"type": s.Field(r.text, "ipam"),
                                                     s.REST: s.Special.BOOKKEEPING},
            s.REST: s.Special.BOOKKEEPING},
    "calicoNetwork": {
        "bgp": s.Field(r.one_of("Enabled", "Disabled"), "bgp"),
        "mtu": s.Field(r.mtu("that of the pods' tunnels"), "mtu"),
        "linuxDataplane": s.Field(r.text, "dataplane"),
        "ipPools": POOLS,
        s.REST: s.Special.BOOKKEEPING,
    },
    s.REST: s.Special.BOOKKEEPING,
}), s.Unmodelled, _check_installation, api=API, name="Installation", single="a cluster has one",
    only="default")
