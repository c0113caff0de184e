"""Encapsulation: what Calico puts around a packet between nodes, and what that asks of Linux.

An :class:`Encapsulation` is the one place that knows an encapsulation's names, device, headers,
and neighbours; captures, filters, arithmetic, traces and reports ask it. In go a pool, a node and
its peers; out come the tunnel device and what a route through it needs. Which routes there are, and
who writes them, is :mod:`calico_mn.calico.remote_routes`'s subject.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from calico_mn import profile, state
from calico_mn.errors import ClusterError
from calico_mn.model import EncapsulationMode, FelixConfiguration, IPPool, Node, Topology
from calico_mn.packetmatch import PacketMatch
from calico_mn.state import PROTO_BOOT, PROTO_FELIX, FdbEntry, Neighbour, Tunnel

UPLINK = "eth0"
#: IANA reserves protocol 255, so no packet has it
_NO_PACKET = PacketMatch(255)
NEVER = EncapsulationMode.NEVER
#: the neighbour and the forwarding entry by which VXLAN reaches a node
Vtep = tuple[Neighbour, FdbEntry]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node: its address in the underlay, and that of its tunnel device if it has one."""

    address: IPv4Address
    name: str = ""
    tunnel_address: IPv4Address | None = None
    tunnel_mac: str = ""


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """No encapsulation, and the questions that every encapsulation answers.

    ``name`` is how reports and traces call it; ``mode_field`` is the IPPool's field with its mode.
    ``overhead`` is the size in bytes of what stands before the inner IP header, from the outer IP
    header on. ``match`` selects the outer packets. ``handle`` begins the IPAM handle of a node's
    tunnel address (node/pkg/allocateip/allocateip.go). ``felix_protocol`` is the protocol of
    Felix's routes over the device; ``has_back_end`` says that a tunnel back end makes the device
    (:mod:`calico_mn.kernel.tunnel`), since not every kernel has it.
    """

    name: str = "none"
    mode_field: str = ""
    device: str = UPLINK
    overhead: int = 0
    match: PacketMatch = _NO_PACKET
    handle: str = ""
    felix_protocol: str = PROTO_FELIX
    has_back_end: bool = False

    def __str__(self) -> str:
        return self.name

    def mode_of(self, pool: IPPool) -> EncapsulationMode:
        """The pool's mode for this encapsulation."""
        return NEVER

    def of_pool(self, pool: IPPool, mode: EncapsulationMode) -> IPPool:
        """The pool with this encapsulation in ``mode``, and with no other."""
        return replace(pool, ipip_mode=NEVER, vxlan_mode=NEVER)

    def configured_address(self, node: Node) -> IPv4Address | None:
        """The address of the node's tunnel device that its Node resource tells, or None."""
        return None

    def with_address(self, node: Node, address: IPv4Address | None) -> Node:
        """The node whose tunnel device has this address, or none."""
        return node

    def configured_mtu(self, topology: Topology) -> int:
        """The device's MTU in bytes as FelixConfiguration sets it, 0 for the automatic choice."""
        return 0

    def with_mtu(self, felix: FelixConfiguration, mtu: int) -> FelixConfiguration:
        """The configuration with this MTU of the device in bytes."""
        return felix

    def is_enabled(self, felix: FelixConfiguration, *, has_address: bool) -> bool:
        """Whether Felix's rules know the tunnel: as configured, or where it has an address."""
        return False

    def is_taken_from_pods(self, felix: FelixConfiguration) -> bool:
        """Whether pods may send outer packets of their own."""
        return False

    def mtu(self, uplink_mtu: int, configured: int = 0) -> int:
        """The device's MTU in bytes: ``configured``, or what the uplink leaves inside the header.

        As in Felix (int_dataplane.go), nothing compares ``configured`` with the uplink's MTU.
        """
        return configured or uplink_mtu - self.overhead

    def handle_of(self, node: str) -> str:
        """The IPAM handle under which a node holds its tunnel address."""
        return f"{self.handle}{node}"

    def tunnel(self, node: Node, uplink_mtu: int, topology: Topology, *, is_on: bool,
               was_on: bool) -> Tunnel | None:
        """The node's tunnel device, None where there is none.

        ``is_on``: the node has a tunnel address now; ``was_on``: it has ever used it.
        """
        return None

    def gateway(self, peer: Peer) -> IPv4Address | None:
        """The next hop of routes through the tunnel to a peer, None as long as there is none."""
        return peer.address


@dataclass(frozen=True, slots=True)
class _Ipip(Encapsulation):
    """RFC 2003: the outer header is an IPv4 header without options."""

    def mode_of(self, pool: IPPool) -> EncapsulationMode:
        return pool.ipip_mode

    def of_pool(self, pool: IPPool, mode: EncapsulationMode) -> IPPool:
        return replace(pool, ipip_mode=mode, vxlan_mode=NEVER)

    def configured_address(self, node: Node) -> IPv4Address | None:
        return node.ipip_address

    def with_address(self, node: Node, address: IPv4Address | None) -> Node:
        return replace(node, ipip_address=address)

    def configured_mtu(self, topology: Topology) -> int:
        return topology.felix.ipip_mtu

    def with_mtu(self, felix: FelixConfiguration, mtu: int) -> FelixConfiguration:
        return replace(felix, ipip_mtu=mtu)

    def is_enabled(self, felix: FelixConfiguration, *, has_address: bool) -> bool:
        return has_address if felix.ipip_enabled is None else felix.ipip_enabled

    def is_taken_from_pods(self, felix: FelixConfiguration) -> bool:
        return felix.allow_ipip_from_workloads

    def tunnel(self, node: Node, uplink_mtu: int, topology: Topology, *, is_on: bool,
               was_on: bool) -> Tunnel | None:
        """tunl0, which every host with the module has; Felix brings it up and never down again.

        From felix/dataplane/linux/ipip_mgr.go.
        """
        return Tunnel(self.device, self.mtu(uplink_mtu, self.configured_mtu(topology)), UPLINK,
                      was_on)


@dataclass(frozen=True, slots=True)
class _Vxlan(Encapsulation):
    """RFC 7348 as ``felix/dataplane/linux/vxlan_mgr.go`` uses it: one VNI, nothing learned.

    The headers are IPv4, UDP, VXLAN and Ethernet. Every peer's VTEP is a neighbour with a MAC, and
    that MAC is mapped to the peer's address in the underlay. Felix's routes of the device carry
    its DeviceRouteProtocol, 3 (boot), and those beside it 80.
    """

    port: int = 4789

    def mode_of(self, pool: IPPool) -> EncapsulationMode:
        return pool.vxlan_mode

    def of_pool(self, pool: IPPool, mode: EncapsulationMode) -> IPPool:
        return replace(pool, ipip_mode=NEVER, vxlan_mode=mode)

    def configured_address(self, node: Node) -> IPv4Address | None:
        return node.vxlan_address

    def with_address(self, node: Node, address: IPv4Address | None) -> Node:
        return replace(node, vxlan_address=address)

    def configured_mtu(self, topology: Topology) -> int:
        return topology.felix.vxlan_mtu

    def with_mtu(self, felix: FelixConfiguration, mtu: int) -> FelixConfiguration:
        return replace(felix, vxlan_mtu=mtu)

    def is_enabled(self, felix: FelixConfiguration, *, has_address: bool) -> bool:
        return has_address if felix.vxlan_enabled is None else felix.vxlan_enabled

    def is_taken_from_pods(self, felix: FelixConfiguration) -> bool:
        return felix.allow_vxlan_from_workloads

    def tunnel_mac(self, node: Node) -> str:
        """The MAC of a node's VTEP, as Felix derives it: ``f`` and five bytes of SHA-1 of the name.

        From ``vtepMACForHost`` in felix/calc/vxlan_resolver.go; ``spec.vxlanTunnelMACAddr`` of
        the Node comes first.
        """
        if node.vxlan_mac:
            return node.vxlan_mac
        digest = hashlib.sha1(node.name.encode(), usedforsecurity=False).digest()
        return ":".join(f"{byte:02x}" for byte in b"f" + digest[:5])

    def tunnel(self, node: Node, uplink_mtu: int, topology: Topology, *, is_on: bool,
               was_on: bool) -> Tunnel | None:
        """vxlan.calico, which Felix makes when VXLAN is on and deletes when it is off."""
        if not is_on:
            return None
        # Above what the uplink leaves, the kernel lowers a new device's MTU and refuses to raise it
        # (vxlan_config_apply, vxlan_change_mtu in drivers/net/vxlan/vxlan_core.c).
        mtu = min(self.mtu(uplink_mtu, self.configured_mtu(topology)), self.mtu(uplink_mtu))
        return Tunnel(self.device, mtu, UPLINK,
                      kind=state.VXLAN, vni=topology.felix.vxlan_vni, port=self.port,
                      local=str(node.address.ip), mac=self.tunnel_mac(node))

    def gateway(self, peer: Peer) -> IPv4Address | None:
        """The peer's VTEP: Felix leaves a route out until there is one."""
        return peer.tunnel_address

    def vtep(self, peer: Peer) -> Vtep | None:
        """The permanent entries that the device needs for a peer, None as long as it has no VTEP.
        """
        return None if peer.tunnel_address is None else (
            Neighbour(self.device, str(peer.tunnel_address), peer.tunnel_mac),
            FdbEntry(self.device, peer.tunnel_mac, str(peer.address)))


NONE = Encapsulation()
IPIP = _Ipip(
    name="IPIP", mode_field="ipipMode", device="tunl0", overhead=20,
    match=PacketMatch.IPIP, handle="ipip-tunnel-addr-", has_back_end=True)
VXLAN = _Vxlan(
    name="VXLAN", mode_field="vxlanMode", device="vxlan.calico", overhead=50,
    match=PacketMatch.VXLAN, handle="vxlan-tunnel-addr-", felix_protocol=PROTO_BOOT)

#: those that put a header on, in the order in which tunnel addresses are allocated
ENCAPSULATIONS: tuple[Encapsulation, ...] = (IPIP, VXLAN)
#: programClusterRoutes -> of which pools the routes are then written; VXLAN's are always Felix's
PROGRAMMED: Mapping[str, tuple[Encapsulation, ...]] = {
    profile.DISABLED: (), profile.ENABLED: (IPIP, NONE),
    profile.ENABLED_IPIP_ONLY: (IPIP,), profile.ENABLED_NO_ENCAP_ONLY: (NONE,)}
#: the encapsulation of a pool whose modes are all Never
DEFAULT: Encapsulation = IPIP
#: the one whose device a tunnel back end makes
WITH_BACK_END: Encapsulation = IPIP
#: those whose device Felix deletes when no pool uses them
DELETED_WHEN_OFF = (VXLAN,)


def of_device(device: str) -> Encapsulation | None:
    """The encapsulation whose device has this name, or None."""
    return next((e for e in ENCAPSULATIONS if e.device == device), None)


def owner_of(handle: str) -> str:
    """What has the addresses of an IPAM handle: ``tunl0 of NODE``, or the pod's key itself."""
    return next((f"{e.device} of {handle[len(e.handle):]}" for e in ENCAPSULATIONS
                 if handle.startswith(e.handle)), handle)


def named(name: str) -> Encapsulation:
    """An encapsulation by its name, upper or lower case. Raises ClusterError."""
    try:
        return next(e for e in ENCAPSULATIONS if e.name.lower() == name.lower())
    except StopIteration:
        known = ", ".join(map(str, ENCAPSULATIONS))
        raise ClusterError(f"there is no encapsulation {name!r}; encapsulations: {known}") from None


def format_prefix(prefix: IPv4Network) -> str:
    """A prefix as iproute2 prints it: a host route without its ``/32``."""
    return str(prefix.network_address) if prefix.prefixlen == 32 else str(prefix)
