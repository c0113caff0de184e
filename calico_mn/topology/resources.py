"""Records of each modelled kind -> drafts, with the rules inside one resource.

The rules of an IPPool follow libcalico-go ``lib/clientv3/ippool.go`` and the CEL rules in
``api/pkg/apis/projectcalico/v3/ippool.go``; those of the IPAM configuration
``lib/ipam/ipam.go``.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from calico_mn.model import EncapsulationMode, IPAMConfiguration
from calico_mn.topology import drafts as d
from calico_mn.topology.fields import Located, Record
from calico_mn.topology.problems import Report, quote
from calico_mn.topology.readers import NO_IPV6, ipv6_text
from calico_mn.topology.underlay import MAX_MTU, MIN_IPV4_MTU, add_underlay

ENVIRONMENT_PREFIX = "CALICO_IPV4POOL_"
ENVIRONMENT_NAMES = (
    *(ENVIRONMENT_PREFIX + name for name in (
        "CIDR", "IPIP", "VXLAN", "BLOCK_SIZE", "NAT_OUTGOING", "NODE_SELECTOR",
        "DISABLE_BGP_EXPORT",
    )),
    "NO_DEFAULT_POOLS",
)
NO_VXLAN = "VXLAN is not emulated yet"
NO_SELECTOR = "node selectors other than all() are not modelled yet"


def add_node(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``projectcalico.org/v3`` Node."""
    drafts.nodes.append(
        d.NodeDraft(record.get("metadata", "name"), record.get("spec", "bgp", "ipv4Address"))
    )


def add_pool(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``projectcalico.org/v3`` IPPool."""
    drafts.pools_given += 1
    ipip, vxlan = record.get("spec", "ipipMode"), record.get("spec", "vxlanMode")
    mode = EncapsulationMode(ipip.value) if ipip else EncapsulationMode.NEVER
    tunnels = ipip is not None and mode is not EncapsulationMode.NEVER
    if vxlan and vxlan.value != "Never":
        if tunnels:
            report.add("IPPool spec.ipipMode and spec.vxlanMode cannot both be other than Never",
                       vxlan.mark, "a pool has one encapsulation; set one of the two to Never")
        else:
            report.add(f"IPPool spec.vxlanMode {vxlan.value}: {NO_VXLAN}", vxlan.mark,
                       "set vxlanMode to Never and ipipMode to Always or CrossSubnet")
    selector = record.get("spec", "nodeSelector")
    if selector and selector.value not in ("", "all()"):
        report.add(f"IPPool spec.nodeSelector {quote(selector.value)}: {NO_SELECTOR}",
                   selector.mark, "leave it out, so that the pool serves all nodes")
    size = record.get("spec", "blockSize")
    cidr: Located[IPv4Network | IPv6Network] | None = record.get("spec", "cidr")
    if cidr and isinstance(cidr.value, IPv6Network):
        if tunnels and ipip:
            report.add("IPPool spec.ipipMode must be Never for an IPv6 pool", ipip.mark,
                       f"IPIP carries IPv4 only; {NO_IPV6} anyway, so remove this pool")
        else:
            report.add(f"IPPool spec.cidr {quote(ipv6_text(cidr.value))}: {NO_IPV6}", cidr.mark,
                       "remove this pool")
        return
    if size and not 20 <= size.value <= 32:
        report.add(f"IPPool spec.blockSize {size.value} is not between 20 and 32", size.mark,
                   "Calico's default is 26: blocks of 64 addresses")
        return
    disabled, nat = record.get("spec", "disabled"), record.get("spec", "natOutgoing")
    block_size = size.value if size else 26
    is_disabled = bool(disabled and disabled.value)
    if cidr and isinstance(cidr.value, IPv4Network):
        if cidr.value.prefixlen > block_size and not is_disabled:
            report.add(
                f"IPPool {cidr.value} is smaller than one block of /{block_size}",
                size.mark if size else cidr.mark,
                f"use a range of /{block_size} or larger, or a blockSize of at least "
                f"{max(20, cidr.value.prefixlen)}",
            )
        drafts.pools.append(d.PoolDraft(
            record.get("metadata", "name"), Located(cidr.value, cidr.mark), block_size,
            mode, bool(nat and nat.value), is_disabled,
        ))


def add_affinity(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``projectcalico.org/v3`` BlockAffinity; only a confirmed one is in force."""
    state, deleted = record.get("spec", "state"), record.get("spec", "deleted")
    cidr = record.get("spec", "cidr")
    if (state and state.value not in ("", "confirmed")) or (deleted and deleted.value):
        why = "deleted" if deleted and deleted.value else state.value if state else ""
        report.leave_out_field("BlockAffinity", f"{cidr.value if cidr else '?'} ({why})")
        return
    drafts.affinities.append(d.AffinityDraft(record.get("spec", "node"), cidr))


def add_ipam(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``projectcalico.org/v3`` IPAMConfiguration, of which a cluster has one."""
    name = record.get("metadata", "name")
    if name and name.value != "default":
        report.add(f"IPAMConfiguration must be named default, not {name.value}", name.mark,
                   "a cluster has one, and Calico looks for it under that name")
    if drafts.ipam:
        report.add("a second IPAMConfiguration", record.mark,
                   f"the first is in line {drafts.ipam.mark.line}; a cluster has one")
    strict, most = record.get("spec", "strictAffinity"), record.get("spec", "maxBlocksPerHost")
    auto = record.get("spec", "autoAllocateBlocks")
    is_strict = bool(strict and strict.value)
    blocks = most.value if most else 0
    if most and not 0 <= blocks <= 2**31 - 1:
        report.add(f"IPAMConfiguration spec.maxBlocksPerHost {blocks} is out of range", most.mark,
                   "0 means no limit")
    elif most and blocks and not is_strict:
        report.add("IPAMConfiguration spec.maxBlocksPerHost needs strictAffinity", most.mark,
                   "set strictAffinity to true; otherwise a node borrows beyond the limit")
    if auto and not auto.value:
        report.add("IPAMConfiguration spec.autoAllocateBlocks false is not modelled yet", auto.mark,
                   "leave it out" if is_strict else
                   "leave it out; without strictAffinity, Calico refuses it, too")
    drafts.ipam = Located(IPAMConfiguration(is_strict, blocks), record.mark)


def add_pod(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``v1`` Pod; one on the host's network, or one that has ended, has no address of its own."""
    name = record.get("metadata", "name")
    namespace = _namespace(record)
    if name is None:
        return
    phase, host = record.get("status", "phase"), record.get("spec", "hostNetwork")
    if host and host.value:
        report.leave_out_pod(f"{namespace}/{name.value}", "hostNetwork")
        return
    if phase and phase.value in ("Succeeded", "Failed"):
        report.leave_out_pod(f"{namespace}/{name.value}", phase.value)
        return
    node = record.get("spec", "nodeName")
    if node is None and not record.has("spec", "nodeName"):
        report.add(f"Pod {namespace}/{name.value} needs spec.nodeName", record.nearest("spec")[1],
                   "there is no scheduler here: add the name of the pod's node, or make it a "
                   "Deployment, whose pods go to the nodes in turn")
    drafts.pods.append(d.PodDraft(namespace, name, node, _fixed_ip(record, "metadata")))


def add_deployment(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``apps/v1`` Deployment."""
    name = record.get("metadata", "name")
    namespace = _namespace(record)
    if name is None:
        return
    template = ("spec", "template")
    host = record.get(*template, "spec", "hostNetwork")
    if host and host.value:
        report.leave_out_pod(f"{namespace}/{name.value}-*", "hostNetwork")
        return
    replicas = record.get("spec", "replicas") or Located(1, name.mark)
    if replicas.value < 0:
        report.add(f"Deployment spec.replicas {replicas.value} is negative", replicas.mark,
                   "0 means no pods")
        return
    drafts.pods.append(d.PodDraft(
        namespace, name, record.get(*template, "spec", "nodeName"),
        _fixed_ip(record, *template, "metadata"), replicas,
    ))


def add_config_map(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``v1`` ConfigMap calico-config; others were left out before."""
    mtu = record.get("data", "veth_mtu")
    if mtu and drafts.veth_mtu:
        report.add("a second ConfigMap calico-config with veth_mtu", mtu.mark,
                   f"the first is in line {drafts.veth_mtu.mark.line}; keep one of them")
    drafts.veth_mtu = drafts.veth_mtu or mtu


def add_felix_configuration(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``projectcalico.org/v3`` FelixConfiguration default; others were left out before."""
    if drafts.felix:
        report.add("a second FelixConfiguration default", record.mark,
                   f"the first is in line {drafts.felix.line}; keep one of them")
    drafts.felix = drafts.felix or record.mark
    mtu = record.get("spec", "ipipMTU")
    if mtu and not (mtu.value == 0 or MIN_IPV4_MTU <= mtu.value <= MAX_MTU):
        report.add(f"FelixConfiguration spec.ipipMTU {mtu.value} is not an MTU", mtu.mark,
                   f"bytes from {MIN_IPV4_MTU} to {MAX_MTU}, or 0 for the automatic choice:"
                   " 20 less than the uplink's")
        return
    drafts.ipip_mtu = drafts.ipip_mtu or mtu


def add_daemon_set(report: Report, record: Record, drafts: d.Drafts) -> None:
    """``apps/v1`` DaemonSet calico-node: the variables that describe the default pool."""
    for container in record.items("spec", "template", "spec", "containers"):
        name = container.get("name")
        if name is None or name.value != "calico-node":
            continue
        for variable in container.items("env"):
            _add_variable(report, variable, drafts)


def _add_variable(report: Report, variable: Record, drafts: d.Drafts) -> None:
    name, value = variable.get("name"), variable.get("value")
    if name is None:
        return
    if name.value not in ENVIRONMENT_NAMES:
        if name.value.startswith(ENVIRONMENT_PREFIX):
            report.add(f"unknown variable {quote(name.value)} in the env of calico-node",
                       name.mark, report.guess(name.value, ENVIRONMENT_NAMES))
    elif "valueFrom" in variable.records:
        report.add(f"{name.value} has no value here, only a reference", name.mark,
                   "write value: and the text that the reference stands for")
    else:
        drafts.environment[name.value] = value or Located("", name.mark)


def _namespace(record: Record) -> str:
    namespace = record.get("metadata", "namespace")
    return str(namespace.value) if namespace else "default"


def _fixed_ip(record: Record, *metadata: str) -> Located[IPv4Address] | None:
    wanted = record.get(*metadata, "annotations", "cni.projectcalico.org/ipAddrs")
    return wanted or record.get(*metadata, "annotations", "cni.projectcalico.org/podIP")


BUILDERS: dict[str, Callable[[Report, Record, d.Drafts], None]] = {
    "Node": add_node,
    "IPPool": add_pool,
    "BlockAffinity": add_affinity,
    "IPAMConfiguration": add_ipam,
    "Pod": add_pod,
    "Deployment": add_deployment,
    "ConfigMap": add_config_map,
    "FelixConfiguration": add_felix_configuration,
    "DaemonSet": add_daemon_set,
    "Underlay": add_underlay,
}
