"""Resources as read: typed, with places, but not yet checked against each other.

A field is None when the file does not give it, or gives it wrongly and that was reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from calico_mn.model import EncapsulationMode, IPAMConfiguration, MultipathHash
from calico_mn.topology.fields import Located
from calico_mn.topology.problems import Mark


@dataclass(frozen=True, slots=True)
class NodeDraft:
    """A ``Node``."""

    name: Located[str] | None
    address: Located[IPv4Interface] | None


@dataclass(frozen=True, slots=True)
class PoolDraft:
    """An ``IPPool`` whose own fields agree with each other."""

    name: Located[str] | None
    cidr: Located[IPv4Network]
    block_size: int
    ipip_mode: EncapsulationMode
    nat_outgoing: bool
    disabled: bool
    # What the user can do when the range does not fit.
    cidr_hint: str = ""


@dataclass(frozen=True, slots=True)
class AffinityDraft:
    """A ``BlockAffinity`` in force."""

    node: Located[str] | None
    cidr: Located[IPv4Network] | None


@dataclass(frozen=True, slots=True)
class PodDraft:
    """A ``Pod``, or the pods of a ``Deployment`` when ``replicas`` is given."""

    namespace: str
    name: Located[str]
    node: Located[str] | None
    ip: Located[IPv4Address] | None = None
    replicas: Located[int] | None = None


@dataclass(frozen=True, slots=True)
class SubnetDraft:
    """A subnet of the underlay; rate in Mbit/s, delay in ms."""

    name: Located[str] | None
    cidr: Located[IPv4Network] | None
    mtu: int
    rate: float | None = None
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class FootDraft:
    """A router's interface."""

    subnet: Located[str] | None
    address: Located[IPv4Address] | None


@dataclass(frozen=True, slots=True)
class RouterDraft:
    """A router of the underlay."""

    name: Located[str] | None
    pod_routes: bool
    interfaces: tuple[FootDraft, ...]
    multipath_hash: MultipathHash = field(default_factory=MultipathHash)


@dataclass(frozen=True, slots=True)
class UnderlayDraft:
    """The ``Underlay``."""

    name: str
    mark: Mark
    subnets: tuple[SubnetDraft, ...]
    routers: tuple[RouterDraft, ...]


@dataclass(slots=True)
class Drafts:
    """Everything that the file holds, in file order. ``pools_given`` counts wrong ones too."""

    nodes: list[NodeDraft] = field(default_factory=list)
    pools: list[PoolDraft] = field(default_factory=list)
    affinities: list[AffinityDraft] = field(default_factory=list)
    pods: list[PodDraft] = field(default_factory=list)
    underlay: UnderlayDraft | None = None
    ipam: Located[IPAMConfiguration] | None = None
    veth_mtu: Located[int] | None = None
    ipip_mtu: Located[int] | None = None
    felix: Mark | None = None
    environment: dict[str, Located[str]] = field(default_factory=dict)
    pools_given: int = 0
