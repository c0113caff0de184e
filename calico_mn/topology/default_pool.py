"""Calico's own pools: what its operator or calico-node makes where a file has no IPPool.

In go the resources of a file and the process's environment, out come the pools that the operator's
Installation describes, or the one that calico-node makes of ``CALICO_IPV4POOL_*`` at its start
(``node/pkg/lifecycle/startup/startup.go``). Which they are is always said, since no file shows it.

Field names of the Installation are those of ``operator.tigera.io/v1`` (tigera/operator ``api/v1``);
what follows from them is in ``pkg/controller/ippool/defaults.go`` and ``pkg/render/node.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from calico_mn.model import EncapsulationMode, IPPool, Node
from calico_mn.text import join_some
from calico_mn.topology import address_readers as a
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.address_readers import NO_IPV6, parse_network
from calico_mn.topology.calico_kinds import IP_POOL, check_pool
from calico_mn.topology.calico_node import PREFIX, VARIABLES
from calico_mn.topology.kubernetes_kinds import CONFIG_MAP, KIND_CLUSTER, KUBEADM
from calico_mn.topology.problems import NO_MARK, Report
from calico_mn.topology.readers import InvalidValueError
from calico_mn.topology.yaml_tree import Scalar

# --- the operator's Installation

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
    "natOutgoing": s.choice("nat_outgoing", "Enabled", "Disabled"),
    "blockSize": s.Field(r.block_size, "block_size"),
    "nodeSelector": s.Field(r.selector, "node_selector"),
    "disableNewAllocations": s.Field(r.boolean, "disabled"),
    "allowedUses": s.Field(r.uses, "allowed_uses"),
    "assignmentMode": s.choice("is_automatic", "Automatic", "Manual"),
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


# --- the pools of a file that has none

NAME = "default-ipv4-ippool"
DEFAULT = IPv4Network("192.168.0.0/16")
# What calico-node takes when a host has an address in the default range (ipv4/poolselector.go).
FALLBACKS = tuple(IPv4Network(f"172.{number}.0.0/16") for number in range(16, 32))
# What the operator takes on Amazon's EKS.
_EKS = IPv4Network("172.16.0.0/16")

Pool = s.Resource[IPPool]


def add_default_pools(report: Report, resources: s.Resources, nodes: list[s.Resource[Node]],
                      in_file: Mapping[str, Scalar], environ: Mapping[str, str]) -> None:
    """Add Calico's pools when the file has none.

    ``in_file`` are calico-node's variables in the file; they win over ``environ``.
    """
    installation = resources.single(INSTALLATION)
    variables = [name for name in in_file if name in VARIABLES]
    if resources.of(IP_POOL):
        if variables:
            report.warn(
                f"{join_some(variables, 40)} in calico-node's env has no effect: the file has an "
                "IPPool, and Calico reads these variables only when there is none."
            )
        _compare(report, resources, installation)
        _leave_ipv6_out(report)
        return
    if installation:
        pools = _of_installation(report, resources, installation)
    else:
        pools = _of_calico_node(report, resources, nodes, in_file, environ)
    for pool in pools:
        pool.values.setdefault("block_size", 26)
        if check_pool(report, pool):
            resources.add(report, IP_POOL, pool.make(IPPool))
    if resources.of(IP_POOL) and not report.failed:
        maker = "the Installation's" if installation else "Calico's default"
        shown = join_some((_shown(pool.model) for pool in resources.of(IP_POOL)), 5)
        report.warn(f"The file has no IPPool: assumed {maker}, {shown}.")
    if resources.of(IP_POOL):
        _leave_ipv6_out(report)
    else:
        for what, mark in report.ipv6_pools.items():
            report.add(f"{what}: {NO_IPV6}, and there is no IPv4 pool", mark,
                       "add an IPPool with a range such as 10.22.0.0/16")


def _leave_ipv6_out(report: Report) -> None:
    if report.ipv6_pools:
        report.warn(f"IPv6 is not emulated yet, so left out: {join_some(report.ipv6_pools, 5)}.")


def _shown(pool: IPPool) -> str:
    mode = (f"vxlanMode {pool.vxlan_mode}" if pool.vxlan_mode is not NEVER
            else f"ipipMode {pool.ipip_mode}")
    return f"{pool.name} {pool.cidr} with {mode}"


def _compare(report: Report, resources: s.Resources, installation: s.Resource[s.Unmodelled] | None
             ) -> None:
    """The operator owns the pools of its Installation; those of the file may be newer."""
    known = {pool.model.cidr for pool in resources.of(IP_POOL) if pool.has("cidr")}
    missing = [str(pool.get("cidr")) for pool in (installation.entries(POOLS) if installation
                                                  else []) if pool.has("cidr")
               and isinstance(pool.get("cidr"), IPv4Network) and pool.get("cidr") not in known]
    if missing:
        report.warn(f"The Installation's pools {join_some(missing, 5)} have no effect: the file "
                    "has IPPools, which are others.")


def _of_installation(report: Report, resources: s.Resources,
                     installation: s.Resource[s.Unmodelled]) -> list[Pool]:
    entries = installation.entries(POOLS)
    if "spec.calicoNetwork.ipPools" not in installation.given:
        is_eks = installation.get("provider") == "EKS"
        networks = _pod_subnets(resources) or [_EKS if is_eks else DEFAULT]
        entries = [s.made(s.Unmodelled, installation.mark, cidr=network,
                          encapsulation="VXLAN" if is_eks else "IPIP") for network in networks]
    pools = []
    ipv4 = [entry for entry in entries if isinstance(entry.get("cidr"), IPv4Network)]
    for entry in entries:
        pool: Pool = s.Resource(entry.mark, dict(entry.values), dict(entry.marks),
                                dict(entry.labels), set(entry.wrong))
        cidr = pool.get("cidr")
        if "name" not in pool.values and "name" not in pool.wrong:
            is_only = len(ipv4) == 1
            pool.set("name", NAME if is_only or cidr is None else
                     f"{str(cidr).replace(':', '.').replace('/', '-')}", entry.mark)
        encapsulation = pool.get("encapsulation", "IPIP" if isinstance(cidr, IPv4Network)
                                 else "None")
        for name, mode in zip(("ipip_mode", "vxlan_mode"), ENCAPSULATIONS[encapsulation],
                              strict=True):
            pool.set(name, mode, pool.at("encapsulation"))
            pool.labels.setdefault(name, "Installation encapsulation")
        pool.values.setdefault("nat_outgoing", True)
        pool.labels.setdefault("cidr", "Installation pool")
        pools.append(pool)
    return pools


def _of_calico_node(
    report: Report, resources: s.Resources, nodes: list[s.Resource[Node]],
    in_file: Mapping[str, Scalar], environ: Mapping[str, str],
) -> list[Pool]:
    pool: Pool = s.Resource(NO_MARK)
    pool.set("name", NAME, NO_MARK)
    pool.set("nat_outgoing", True, NO_MARK)
    for name, field in VARIABLES.items():
        value = in_file.get(name) or Scalar(environ.get(name, ""), False, NO_MARK)
        if value.text:
            pool.read(report, field, value,
                      name if name in in_file else f"environment variable {name}")
    if pool.get("no_default_pools"):
        if "cidr" in pool.labels:
            report.add(f"{pool.labels['no_default_pools']} cannot be true when {PREFIX}CIDR is "
                       "set", pool.at("no_default_pools"), "unset one of the two")
        return []
    if pool.get("disable_bgp_export"):
        report.warn(f"{PREFIX}DISABLE_BGP_EXPORT has no effect: the pool's blocks are announced "
                    "like all others.")
    if "cidr" in pool.labels and not pool.has("cidr") and "cidr" not in pool.wrong:
        return []  # CALICO_IPV4POOL_CIDR is "none"
    if "cidr" not in pool.labels:
        pool.set("cidr", next(iter(_pod_subnets(resources)), None) or _without_hosts(nodes),
                 NO_MARK)
    pool.values["cidr_hint"] = ("this is Calico's default pool, which a file without an IPPool "
                                f"gets: add one, or set {PREFIX}CIDR to another range")
    return [pool]


def _without_hosts(nodes: list[s.Resource[Node]]) -> IPv4Network:
    """The first of Calico's ranges that holds no host's address; with none it is the default."""
    hosts = [node.model.address.ip for node in nodes if node.has("address")]
    return next((network for network in (DEFAULT, *FALLBACKS)
                 if not any(host in network for host in hosts)), DEFAULT)


def _pod_subnets(resources: s.Resources) -> list[IPv4Network]:
    """``podSubnet`` of kubeadm's ConfigMap, and of the files that it is made of.

    Both programs look for that line of the ConfigMap's text.
    """
    values = [str(config.get("pod_subnet", "")) for kind in (KUBEADM, KIND_CLUSTER)
              for config in resources.of(kind)]
    for config in resources.of(CONFIG_MAP):
        if config.get("name") == "kubeadm-config":
            text = "\n".join(scalar.text for scalar in config.get("data", {}).values())
            values += re.findall(r"^\s*podSubnet:\s*(\S+)", text, re.MULTILINE)
    networks = []
    for word in ",".join(value.strip("\"'") for value in values).split(","):
        try:
            network = parse_network(word)
        except InvalidValueError:
            continue
        if isinstance(network, IPv4Network):
            networks.append(network)
    return networks
