"""The cluster as data: what a topology file says, checked and typed.

Frozen dataclasses only, under the names that Kubernetes and Calico give to things. No I/O, and
nothing about how Linux is configured: that is :mod:`calico_mn.state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from calico_mn.bgp_resources import BGPConfiguration, BGPFilter, BGPPeer
from calico_mn.policy import (
    FAILSAFE_INBOUND,
    FAILSAFE_OUTBOUND,
    HostEndpoint,
    Labelled,
    NetworkSet,
    Policy,
    Profile,
    ProtoPort,
    Service,
)
from calico_mn.profile import Profile as VersionProfile
from calico_mn.profile import of_version


class EncapsulationMode(str, Enum):
    """When a pool's traffic is encapsulated, spelled as ``IPPool.spec.ipipMode`` spells it."""

    ALWAYS = "Always"
    CROSS_SUBNET = "CrossSubnet"
    NEVER = "Never"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Link:
    """The cable between a host and its subnet's switch, the same in both directions.

    ``rate`` is in Mbit/s, ``delay`` in ms and ``loss`` in percent of the packets, one way through
    one cable; None means unlimited, or none. A topology has no more. What changes while the cluster
    runs may also have ``jitter`` in ms (more or less than the delay), ``reorder``, the percentage
    of the packets that overtake those that wait for their delay, and ``up``.
    """

    rate: float | None = None
    delay: float | None = None
    loss: float | None = None
    jitter: float | None = None
    reorder: float | None = None
    up: bool = True


@dataclass(frozen=True, slots=True)
class Subnet:
    """One layer-2 segment of the underlay: a switch with everything that is plugged into it.

    ``node_prefix`` is the prefix length that the nodes' NICs have there, 0 where they have the
    nodes' own, which is what Calico reads from them.
    """

    name: str
    cidr: IPv4Network
    mtu: int = 1500
    link: Link = field(default_factory=Link)
    node_prefix: int = 0


@dataclass(frozen=True, slots=True)
class RouterInterface:
    """A router's interface in a subnet."""

    subnet: str
    address: IPv4Address


#: inner addresses, protocol and ports: the flow inside a tunnel, for MultipathHash.fields
INNER_FLOW = 0x0DC0
#: outer addresses and protocol: Linux's default
OUTER_FIELDS = 0x0007


@dataclass(frozen=True, slots=True)
class MultipathHash:
    """What a router looks at to choose one of several equal routes, as Linux numbers it.

    ``policy`` is net.ipv4.fib_multipath_hash_policy: 0 outer addresses, 1 outer addresses and
    ports, 2 inner addresses of a tunnelled packet, 3 what ``fields`` says; ``fields`` is
    net.ipv4.fib_multipath_hash_fields, a sum of bits
    (Documentation/networking/ip-sysctl.rst; policy 3 since Linux 5.14).
    """

    policy: int = 0
    fields: int = OUTER_FIELDS


@dataclass(frozen=True, slots=True)
class Router:
    """A router of the underlay.

    ``pod_routes`` tells whether it has static routes to the pods' blocks. With an ``as_number`` it
    speaks BGP, and learns them; 0 is a router without BGP.
    """

    name: str
    interfaces: tuple[RouterInterface, ...]
    pod_routes: bool = False
    multipath_hash: MultipathHash = field(default_factory=MultipathHash)
    as_number: int = 0


@dataclass(frozen=True, slots=True)
class ExternalHost:
    """A machine outside the cluster, without Calico, in the subnet that has its address.

    ``gateway`` None is the subnet's first router.
    """

    name: str
    address: IPv4Address
    gateway: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Underlay:
    """The physical network under the cluster, with what else is plugged into it."""

    subnets: tuple[Subnet, ...]
    routers: tuple[Router, ...] = ()
    name: str = "underlay"
    hosts: tuple[ExternalHost, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A Kubernetes node.

    ``address`` is ``spec.bgp.ipv4Address``. Its prefix length is what CrossSubnet compares with
    and may differ from the subnet's: an address given without one is a /32
    (libcalico-go/lib/backend/syncersv1/updateprocessors/bgpnodeprocessor.go).
    ``vxlan_mac`` is ``spec.vxlanTunnelMACAddr``, empty where Felix chooses. ``ipip_address`` and
    ``vxlan_address`` are the addresses that the node's tunnel devices have already.
    ``route_reflector`` is ``spec.bgp.routeReflectorClusterID``, empty for a node that reflects no
    routes, and ``as_number`` its own AS, 0 for that of the BGPConfiguration.
    """

    name: str
    address: IPv4Interface
    vxlan_mac: str = ""
    ipip_address: IPv4Address | None = None
    vxlan_address: IPv4Address | None = None
    labels: tuple[tuple[str, str], ...] = ()
    route_reflector: str = ""
    as_number: int = 0


#: what a pool may be allowed for, as ``IPPool.spec.allowedUses`` spells it
WORKLOAD, TUNNEL = "Workload", "Tunnel"


@dataclass(frozen=True, slots=True)
class IPPool:
    """``projectcalico.org/v3`` IPPool, IPv4.

    ``is_automatic`` is False for ``assignmentMode: Manual``: only pods that name the pool get its
    addresses. ``is_exported`` is False for ``disableBGPExport``: BGP announces none of them.
    """

    name: str
    cidr: IPv4Network
    block_size: int = 26
    ipip_mode: EncapsulationMode = EncapsulationMode.NEVER
    nat_outgoing: bool = False
    disabled: bool = False
    vxlan_mode: EncapsulationMode = EncapsulationMode.NEVER
    node_selector: str = "all()"
    allowed_uses: tuple[str, ...] = (WORKLOAD, TUNNEL)
    is_automatic: bool = True
    is_exported: bool = True


@dataclass(frozen=True, slots=True)
class BlockAffinity:
    """A block that belongs to a node from the start; the node may have gone.

    ``node`` is empty for a block in use that no node has an affinity to any more.
    """

    node: str
    cidr: IPv4Network


@dataclass(frozen=True, slots=True)
class IPAMConfiguration:
    """``projectcalico.org/v3`` IPAMConfiguration; ``max_blocks_per_host`` 0 means unlimited."""

    strict_affinity: bool = False
    max_blocks_per_host: int = 0


@dataclass(frozen=True, slots=True)
class FelixConfiguration:
    """``projectcalico.org/v3`` FelixConfiguration ``default``: what all nodes' Felix is told.

    ``ipip_mtu`` and ``vxlan_mtu`` are the MTUs of tunl0 and vxlan.calico in bytes, 0 for Calico's
    automatic choice; ``vxlan_vni`` is the VXLAN network identifier. ``to_host`` says
    what becomes of a pod's packets to its own node that its policies allow; Calico's manifest has
    ``ACCEPT``, Felix alone ``DROP``. ``chain_insert_mode`` is ``Insert`` or ``Append``: whether
    Felix's rules come before others in the kernel's chains. ``ipip_enabled`` and ``vxlan_enabled``
    say whether Felix's rules know the tunnel; None follows the pools. ``iptables_backend`` is
    ``Auto``, ``Legacy`` or ``NFT``. ``external_nodes`` may send tunnel packets though they are no
    nodes. The failsafe ports are those on which no policy of a host endpoint is asked.
    ``program_cluster_routes`` says of which pools Felix writes the routes between nodes, empty for
    the release's default.
    """

    ipip_mtu: int = 0
    vxlan_mtu: int = 0
    vxlan_vni: int = 4096
    to_host: str = "ACCEPT"
    chain_insert_mode: str = "Insert"
    ipip_enabled: bool | None = None
    vxlan_enabled: bool | None = None
    allow_ipip_from_workloads: bool = False
    allow_vxlan_from_workloads: bool = False
    iptables_backend: str = "Auto"
    external_nodes: tuple[IPv4Network, ...] = ()
    program_cluster_routes: str = ""
    failsafe_inbound: tuple[ProtoPort, ...] = FAILSAFE_INBOUND
    failsafe_outbound: tuple[ProtoPort, ...] = FAILSAFE_OUTBOUND


@dataclass(frozen=True, slots=True)
class ClusterInformation:
    """``projectcalico.org/v3`` ClusterInformation ``default``: the release, such as ``v3.29.1``."""

    calico_version: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod; ``ip`` is set when the file names its address.

    With ``has_ip`` it is the one that the running pod has, even if its pool has changed since;
    else one that it asks IPAM for. ``pools`` are names or networks of the pools that it asks for,
    ``owner`` is the workload that made it, as ``Deployment/web``,
    ``ports`` are (name, protocol, number) of its containers' named ports.
    A pod that no node can have has no ``node``, and ``pending`` says why.
    """

    namespace: str
    name: str
    node: str
    ip: IPv4Address | None = None
    has_ip: bool = False
    pools: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    service_account: str = "default"
    ports: tuple[tuple[str, str, int], ...] = ()
    owner: str = ""
    pending: str = ""

    @property
    def key(self) -> str:
        """``namespace/name``, the pod's name everywhere in this package."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole cluster. Tuples keep the order of the file.

    ``veth_mtu`` is the pods' MTU in bytes, 0 for Calico's automatic choice. ``reservations`` are
    networks from which IPAM chooses no address (``IPReservation``). Without ``mesh`` nodes do not
    peer with each other (``BGPConfiguration.spec.nodeToNodeMeshEnabled``, or BIRD is off), but
    where ``bgp_peers`` let them; there are none without BIRD.
    ``warnings`` are sentences for the user about what the file says and we leave out.
    ``documents`` are the resources as the files say them, Lists opened, each with its apiVersion
    and kind: plain data in file order, kinds without effect included. ``lines`` tells where the
    file says what nodes and pods (``namespace/name``) have for addresses.
    """

    underlay: Underlay
    nodes: tuple[Node, ...]
    pools: tuple[IPPool, ...]
    pods: tuple[Pod, ...] = ()
    affinities: tuple[BlockAffinity, ...] = ()
    ipam: IPAMConfiguration = field(default_factory=IPAMConfiguration)
    veth_mtu: int = 0
    felix: FelixConfiguration = field(default_factory=FelixConfiguration)
    warnings: tuple[str, ...] = ()
    source: str = ""
    reservations: tuple[IPv4Network, ...] = ()
    policies: tuple[Policy, ...] = ()
    network_sets: tuple[NetworkSet, ...] = ()
    namespaces: tuple[Labelled, ...] = ()
    service_accounts: tuple[Labelled, ...] = ()
    host_endpoints: tuple[HostEndpoint, ...] = ()
    profiles: tuple[Profile, ...] = ()
    services: tuple[Service, ...] = ()
    mesh: bool = True
    bgp: BGPConfiguration = field(default_factory=BGPConfiguration)
    bgp_peers: tuple[BGPPeer, ...] = ()
    bgp_filters: tuple[BGPFilter, ...] = ()
    information: ClusterInformation = field(default_factory=ClusterInformation)
    documents: tuple[dict[str, Any], ...] = field(default=(), compare=False, repr=False)
    lines: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def profile(self) -> VersionProfile:
        """What the release of Calico does its own way."""
        return of_version(self.information.calico_version)

    def subnet_of(self, address: IPv4Address) -> Subnet | None:
        """The underlay subnet that holds ``address``, or None."""
        return next((s for s in self.underlay.subnets if address in s.cidr), None)
