"""The kinds of ``projectcalico.org/v3`` with an effect, and the rules inside one resource.

Field names are those of ``api/pkg/apis/projectcalico/v3`` in Calico's source. A name in no table
is not one of Calico's, and an error. ``r`` are readers of values, ``s`` what a schema is made of
(:mod:`calico_mn.topology.schema`). The rules of an IPPool follow libcalico-go
``lib/clientv3/ippool.go`` and the CEL rules in ``api/pkg/apis/projectcalico/v3/ippool.go``; those
of the IPAM configuration ``lib/ipam/ipam.go``.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from calico_mn import model
from calico_mn.policy import ProtoPort
from calico_mn.profile import PROGRAM_CLUSTER_ROUTES, doubt
from calico_mn.text import join
from calico_mn.topology import address_readers as a
from calico_mn.topology import policy_readers as p
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.kubernetes_kinds import ADDRESSES, as_number, cluster_id
from calico_mn.topology.problems import Report

API = "projectcalico.org/v3"
NEVER = model.EncapsulationMode.NEVER


def _check_node(report: Report, node: s.Resource[model.Node]) -> bool:
    """A node without BGP has no more than the addresses that Kubernetes knows."""
    if node.entries(ADDRESSES) and "bgp" not in node.given:
        node.given.setdefault("spec.bgp.ipv4Address", node.mark)
    return True


NODE_SPEC: s.Table = {
    "bgp": {
        "ipv4Address": s.Field(
            a.interface, "address",
            "add the node's address and prefix: spec: {bgp: {ipv4Address: 192.168.57.31/24}}"),
        "ipv4IPIPTunnelAddr": s.Field(a.address_or_none, "ipip_address"),
        "asNumber": s.Field(as_number, "as_number"),
        "routeReflectorClusterID": s.Field(cluster_id, "route_reflector"),
        "ipv6Address": s.Special.BOOKKEEPING,
    },
    "ipv4VXLANTunnelAddr": s.Field(a.address_or_none, "vxlan_address"),
    "vxlanTunnelMACAddr": s.Field(r.mac, "vxlan_mac"),
    "addresses": ADDRESSES,
    "wireguard": s.Ignored(says="packets between nodes are not encrypted"),
    **s.bookkeeping("interfaces orchRefs ipv6VXLANTunnelAddr vxlanTunnelMACAddrV6"),
}
NODE = s.Kind(
    s.resource_table({**s.NAMED, **s.LABELS}, spec=NODE_SPEC),
    model.Node, _check_node, api=API, name="Node", topology="nodes")


def check_pool(report: Report, pool: s.Resource[model.IPPool]) -> bool:
    """The rules of one pool, whichever fields or variables describe it."""
    ipip, vxlan = pool.get("ipip_mode", NEVER), pool.get("vxlan_mode", NEVER)
    if vxlan is not NEVER and ipip is not NEVER:
        report.add(f"{pool.labels['ipip_mode']} and {pool.labels['vxlan_mode']} cannot both be "
                   "other than Never", pool.at("vxlan_mode"),
                   "a pool has one encapsulation; set one of the two to Never")
    cidr, size = pool.get("cidr"), pool.get("block_size", 26)
    if isinstance(cidr, IPv6Network):
        if ipip is not NEVER:
            report.add(f"{pool.labels['ipip_mode']} must be Never for an IPv6 pool",
                       pool.at("ipip_mode"),
                       f"IPIP carries IPv4 only; {a.NO_IPV6} anyway, so remove this pool")
        report.ipv6_pools[f"{pool.labels['cidr']} {a.ipv6_text(cidr)}"] = pool.at("cidr")
        return False
    elif size > 32:
        report.add(f"{pool.labels['block_size']} {size} is not between 20 and 32",
                   pool.at("block_size"), "it is an IPv6 pool's; Calico's default is 26")
        pool.refuse("cidr")
    elif "block_size" in pool.wrong:
        pool.refuse("cidr")  # Which blocks it has cannot be known.
    elif cidr and cidr.prefixlen > size and not pool.get("disabled"):
        report.add(f"{pool.labels['cidr']} {cidr} is smaller than one block of /{size}",
                   pool.at("block_size", "cidr"), f"use a range of /{size} or larger, or a block "
                   f"size of at least {max(20, cidr.prefixlen)}")
    return True


POOL_SPEC: s.Table = {
    "cidr": s.Field(a.network, "cidr", "add the pool's range: spec: {cidr: 10.22.0.0/16}"),
    "blockSize": s.Field(r.block_size, "block_size", shown=True),
    "ipipMode": s.Field(r.mode, "ipip_mode", shown=True),
    "vxlanMode": s.Field(r.mode, "vxlan_mode", shown=True),
    "natOutgoing": s.Field(r.boolean, "nat_outgoing", shown=True),
    "disabled": s.Field(r.boolean, "disabled"),
    "nodeSelector": s.Field(r.selector, "node_selector", shown=True),
    "allowedUses": s.Field(r.uses, "allowed_uses", shown=True),
    "assignmentMode": s.choice("is_automatic", "Automatic", "Manual", shown=True),
    "disableBGPExport": s.Field(lambda tree: not r.boolean(tree), "is_exported",
                                write=lambda value: not value),
    "namespaceSelector": s.Ignored(("all()",), "the pool serves pods of all namespaces"),
    "ipip": s.Ignored(says="ipipMode is the mode"),
    "nat-outgoing": s.Ignored(says="natOutgoing is meant by it now"),
}
IP_POOL = s.Kind(s.resource_table(s.NAMED, spec=POOL_SPEC), model.IPPool, check_pool, api=API,
                 name="IPPool", topology="pools")


def _check_affinity(report: Report, affinity: s.Resource[model.BlockAffinity]) -> bool:
    """Only a confirmed one is in force."""
    state = "deleted" if affinity.get("deleted") else affinity.get("state", "")
    if state not in ("", "confirmed") and affinity.has("cidr", "node"):
        report.warn(f"BlockAffinity {affinity.get('cidr')} of {affinity.get('node')} is {state}, "
                    "so the block is not the node's.")
        return False
    return True


def _check_block(report: Report, block: s.Resource[model.BlockAffinity]) -> bool:
    """A block in use may have no affinity: its node has gone."""
    is_free = not block.has("node") and block.get("in_use") is False
    block.values.setdefault("node", "")
    return not is_free and isinstance(block.get("cidr"), IPv4Network)


# What a block says itself; with its BlockAffinity it is one and the same.
IPAM_BLOCK = s.Kind(s.resource_table(s.META, spec={
    "cidr": s.Field(a.network, "cidr", "add the block, such as 10.22.138.0/26"),
    "affinity": s.Field(r.node_of_affinity, "node"),
    "allocations": s.Field(r.has_values, "in_use"),
    s.REST: s.Special.BOOKKEEPING,
}), model.BlockAffinity, _check_block, api=API, name="IPAMBlock")

IP_RESERVATION = s.Kind(s.resource_table(s.META, spec={
    "reservedCIDRs": s.Field(a.ipv4_networks, "networks"),
}), s.Unmodelled, api=API, name="IPReservation")

# Of an endpoint, what it tells of its pod.
WORKLOAD_ENDPOINT = s.Kind(s.resource_table(
    {**s.META, "namespace": s.Field(r.label, "namespace")}, spec={
        "node": s.Field(r.subdomain, "node"),
        "pod": s.Field(r.subdomain, "pod"),
        "ipNetworks": s.Field(a.ipv4_networks, "networks"),
        s.REST: s.Special.BOOKKEEPING,
    }), s.Unmodelled, lambda _, endpoint: endpoint.has("node", "pod"), api=API,
    name="WorkloadEndpoint")

BLOCK_AFFINITY = s.Kind(s.resource_table(s.META, spec={
    "cidr": s.Field(a.ipv4_network, "cidr", "add the block, such as 10.22.138.0/26"),
    "node": s.Field(r.subdomain, "node", "add the name of the node that has the block"),
    "state": s.Field(r.one_of("", "confirmed", "pending", "pendingDeletion"), "state"),
    "deleted": s.Field(r.boolean_or_text, "deleted"),
    "type": s.Ignored(("host",)),
}), model.BlockAffinity, _check_affinity, api=API, name="BlockAffinity", topology="affinities")


def _check_ipam(report: Report, ipam: s.Resource[model.IPAMConfiguration]) -> bool:
    strict = ipam.get("strict_affinity", False)
    if ipam.get("name", "default") != "default":
        report.add(f"IPAMConfiguration must be named default, not {ipam.get('name')}",
                   ipam.at("name"), "a cluster has one, and Calico looks for it under that name")
    if not ipam.get("auto_allocate", True):
        report.add("IPAMConfiguration spec.autoAllocateBlocks false is not modelled yet",
                   ipam.at("auto_allocate"), "leave it out" if strict else
                   "leave it out; without strictAffinity, Calico refuses it, too")
    return True


IPAM_SPEC: s.Table = {
    "strictAffinity": s.Field(r.boolean, "strict_affinity", shown=True),
    "maxBlocksPerHost": s.Field(r.integer(0, 2**31 - 1, "0 means no limit"),
                                "max_blocks_per_host", shown=True),
    "autoAllocateBlocks": s.Field(r.boolean, "auto_allocate"),
    **s.bookkeeping("ipCooldownSeconds kubeVirtVMAddressPersistence"),
}
IPAM_CONFIGURATION = s.Kind(
    s.resource_table(s.META, spec=IPAM_SPEC), model.IPAMConfiguration, _check_ipam, api=API,
    name="IPAMConfiguration", topology="ipam", single="a cluster has one")


def _check_felix(report: Report, felix: s.Resource[model.FelixConfiguration]) -> bool:
    port = felix.get("vxlan_port", 4789)
    if port != 4789:
        report.warn(f"FelixConfiguration spec.vxlanPort {port} has no effect: VXLAN uses UDP port "
                    "4789 here.")
    times = [f"spec.{name}" for name in _TIMES if name in felix.values]
    if times:
        report.warn(f"FelixConfiguration {join(times)} {'has' if len(times) == 1 else 'have'} no"
                    " effect: rules are written when resources change, and by 'verify --repair'.")
    return True


# How often Felix looks at rules and routes that others may have changed, and how long it waits.
_TIMES = (
    "routeRefreshInterval", "interfaceRefreshInterval", "iptablesRefreshInterval",
    "iptablesPostWriteCheckInterval", "iptablesLockTimeout", "iptablesLockProbeInterval",
    "ipsetsRefreshInterval", "xdpRefreshInterval", "netlinkTimeout")
# Its other fields, about 150 and more in each release, are named in the warning.
FELIX_SPEC: s.Table = {
    "ipipMTU": s.Field(r.mtu("20 less than the uplink's"), "ipip_mtu"),
    "vxlanMTU": s.Field(r.mtu("50 less than the uplink's"), "vxlan_mtu"),
    "vxlanVNI": s.Field(r.integer(1, 2**24 - 1, "Calico's default is 4096"), "vxlan_vni"),
    "vxlanPort": s.Field(r.integer(1, 65535, "Calico's default is 4789"), "vxlan_port"),
    "ipipEnabled": s.Field(r.boolean, "ipip_enabled"),
    "vxlanEnabled": s.Field(r.boolean, "vxlan_enabled"),
    "defaultEndpointToHostAction": s.Field(r.to_host, "to_host", write=str.capitalize),
    "chainInsertMode": s.Field(r.in_any_case("Insert", "Append"), "chain_insert_mode"),
    "iptablesBackend": s.Field(r.in_any_case("Auto", "Legacy", "NFT"), "iptables_backend"),
    "allowIPIPPacketsFromWorkloads": s.Field(r.boolean, "allow_ipip_from_workloads"),
    "allowVXLANPacketsFromWorkloads": s.Field(r.boolean, "allow_vxlan_from_workloads"),
    "programClusterRoutes": s.Field(r.one_of(*PROGRAM_CLUSTER_ROUTES),
                                    "program_cluster_routes"),
    "externalNodesList": s.Field(
        a.only_ipv4_networks, "external_nodes",
        write=lambda value: [str(item).removesuffix("/32") for item in value]),
    **{name: s.Field(r.duration, name) for name in _TIMES},
    "failsafeInboundHostPorts": s.List(p.FAILSAFE_PORT, ProtoPort, name="failsafe_inbound"),
    "failsafeOutboundHostPorts": s.List(p.FAILSAFE_PORT, ProtoPort, name="failsafe_outbound"),
    "bpfEnabled": s.Ignored(("false",), "packets take the kernel's way, as without eBPF"),
    "wireguardEnabled": s.Ignored(("false",), "packets between nodes are not encrypted"),
    "natOutgoingAddress": s.Ignored(says="packets that leave get their node's address"),
    "deviceRouteSourceAddress": s.Ignored(says="routes to pods have no source address"),
    s.REST: s.Ignored(),
}
FELIX_CONFIGURATION = s.Kind(s.resource_table(
    {**s.META, "name": s.Field(r.subdomain, "name", "the one for all nodes is called default")},
    spec=FELIX_SPEC), model.FelixConfiguration, _check_felix, api=API,
    name="FelixConfiguration", topology="felix", single="keep one of them", only="default")


def _check_information(report: Report, information: s.Resource[model.ClusterInformation]) -> bool:
    version = information.get("calico_version", "")
    if why := doubt(version):
        report.warn(f"ClusterInformation spec.calicoVersion {version} {why}.")
    return True


CLUSTER_INFORMATION = s.Kind(s.resource_table(s.META, spec={
    "calicoVersion": s.Field(r.text, "calico_version"),
    "datastoreReady": s.Ignored(("true",), "pods are connected all the same"),
    s.REST: s.Special.BOOKKEEPING,
}), model.ClusterInformation, _check_information, api=API, name="ClusterInformation",
    topology="information", single="a cluster has one", only="default")

KINDS = (NODE, IP_POOL, IP_RESERVATION, BLOCK_AFFINITY, IPAM_BLOCK, WORKLOAD_ENDPOINT,
         IPAM_CONFIGURATION, FELIX_CONFIGURATION, CLUSTER_INFORMATION)

# Kinds that exist and have no effect here.
# Of Calico Enterprise and Cloud (tigera/api).
ENTERPRISE_KINDS = (
    "AlertException AuthenticationReview AuthorizationReview BFDConfiguration "
    "DeepPacketInspection EgressGatewayPolicy ExternalNetwork GlobalAlert GlobalAlertTemplate "
    "GlobalReport GlobalReportType GlobalThreatFeed LicenseKey ManagedCluster PacketCapture "
    "PolicyRecommendationScope RemoteClusterConfiguration SecurityEventWebhook UISettings "
    "UISettingsGroup ")
IGNORED_KINDS = ENTERPRISE_KINDS + (
    "CalicoNodeStatus IPAMHandle "
    "KubeControllersConfiguration CalicoAPIConfig")
