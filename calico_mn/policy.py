"""Policies as data: what files say about who may talk to whom, checked and typed.

Frozen dataclasses under the names of Kubernetes and Calico, beside :mod:`calico_mn.model`. What
they mean for an endpoint is computed in :mod:`calico_mn.calico.policy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

#: order of a policy without one: after all others (felix/calc/policy_sorter.go)
NO_ORDER = float("inf")
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}
Labels = tuple[tuple[str, str], ...]


class Action(str, Enum):
    """What a rule does with a packet, spelled as ``Rule.action`` spells it."""

    ALLOW = "Allow"
    DENY = "Deny"
    LOG = "Log"
    PASS = "Pass"


@dataclass(frozen=True, slots=True)
class Ports:
    """A port, a range of ports, or a named port, whose numbers depend on the endpoint."""

    first: int = 0
    last: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Icmp:
    """An ICMP type, and a code where one is given."""

    type: int
    code: int | None = None


@dataclass(frozen=True, slots=True)
class EntityRule:
    """``projectcalico.org/v3`` EntityRule: one end of a packet. Empty fields match everything.

    ``service`` is the name of the Service in ``services``, in the policy's own namespace unless
    ``service_namespace`` names one.
    """

    nets: tuple[IPv4Network, ...] = ()
    not_nets: tuple[IPv4Network, ...] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    service_account_names: tuple[str, ...] = ()
    service_account_selector: str = ""
    ports: tuple[Ports, ...] = ()
    not_ports: tuple[Ports, ...] = ()
    service: str = ""
    service_namespace: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """``projectcalico.org/v3`` Rule. Protocols are lower-case names or numbers as text."""

    action: Action = Action.ALLOW
    protocol: str = ""
    not_protocol: str = ""
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    source: EntityRule = field(default_factory=EntityRule)
    destination: EntityRule = field(default_factory=EntityRule)


class Stage(str, Enum):
    """Where a host endpoint's packet meets policies; a pod's meets those of NORMAL.

    UNTRACKED is before connection tracking, PRE_DNAT before destination NAT, FORWARD for packets
    that the node forwards, NORMAL for those of its own processes.
    """

    NORMAL = ""
    FORWARD = "applyOnForward"
    UNTRACKED = "doNotTrack"
    PRE_DNAT = "preDNAT"


@dataclass(frozen=True, slots=True)
class Policy:
    """A NetworkPolicy or GlobalNetworkPolicy of Calico, or one that Kubernetes' was converted to.

    ``storage_name`` is the name in Calico's datastore, with its tier: ``default.web`` or
    ``knp.default.web``. ``namespace`` is empty for a global one. ``types`` are ``Ingress`` and
    ``Egress``.
    """

    kind: str
    name: str
    storage_name: str
    namespace: str = ""
    order: float = NO_ORDER
    selector: str = ""
    namespace_selector: str = ""
    service_account_selector: str = ""
    types: tuple[str, ...] = ("Ingress",)
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    is_untracked: bool = False
    is_pre_dnat: bool = False
    applies_on_forward: bool = False

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Where it is asked (felix/calc/event_sequencer.go, ``tierInfoToProtoTierInfo``)."""
        if self.is_untracked:
            return (Stage.UNTRACKED,)
        if self.is_pre_dnat:
            return (Stage.PRE_DNAT,)
        return (Stage.NORMAL, Stage.FORWARD) if self.applies_on_forward else (Stage.NORMAL,)

    def __hash__(self) -> int:
        # Policies are keys of caches: their rules need not be hashed each time.
        return hash((self.namespace, self.storage_name))

    @property
    def id(self) -> str:
        """As Felix names it in chains and comments: ``default/knp.default.web``."""
        return f"{self.namespace}/{self.storage_name}" if self.namespace else self.storage_name


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """A NetworkSet, or with no ``namespace`` a GlobalNetworkSet: labelled networks."""

    name: str
    namespace: str = ""
    labels: Labels = ()
    nets: tuple[IPv4Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Labelled:
    """A Namespace or, with a ``namespace``, a ServiceAccount: what its pods inherit."""

    name: str
    namespace: str = ""
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class HostEndpoint:
    """``projectcalico.org/v3`` HostEndpoint: devices of a node that policies apply to.

    ``interface`` is the name of one, ``*`` for all, or empty: then it is the one that has one of
    ``addresses``. ``ports`` are (name, protocol, number).
    """

    name: str
    node: str
    interface: str = ""
    addresses: tuple[IPv4Address, ...] = ()
    labels: Labels = ()
    profiles: tuple[str, ...] = ()
    ports: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """``projectcalico.org/v3`` Profile: rules after all policies, and labels to inherit."""

    name: str
    labels: Labels = ()
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


#: the one that Calico brings along (lib/backend/k8s/resources/profile.go)
ALLOWING_PROFILE = "projectcalico-default-allow"


@lru_cache(maxsize=10_000)
def builtin_profile(name: str) -> Profile | None:
    """Calico's own one of this name: of a namespace it allows all, of an account nothing.

    Source: lib/backend/k8s/conversion (``NamespaceToProfile``, ``ServiceAccountToProfile``).
    """
    if name.startswith("ksa."):
        return Profile(name)
    if name.startswith("kns.") or name == ALLOWING_PROFILE:
        return Profile(name, ingress=(Rule(),), egress=(Rule(),))
    return None


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service: where its endpoints listen, by number or by the name that pods give."""

    protocol: str = "tcp"
    target: int | str = 0


@dataclass(frozen=True, slots=True)
class Service:
    """A Service: its endpoints are the pods that its labels select, or else ``addresses``.

    ``addresses`` are those of its EndpointSlices: each on all ports that stand beside it.
    """

    name: str
    namespace: str
    selector: Labels = ()
    ports: tuple[ServicePort, ...] = ()
    addresses: tuple[tuple[IPv4Address, tuple[tuple[str, int], ...]], ...] = ()

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ProtoPort:
    """A failsafe port of FelixConfiguration, on the other end's address ``net`` where given."""

    protocol: str
    port: int
    net: IPv4Network | None = None


def _failsafes(text: str) -> tuple[ProtoPort, ...]:
    return tuple(ProtoPort(protocol, int(port)) for protocol, _, port in (
        word.partition(":") for word in text.split()))


#: felix/config/config_params.go
FAILSAFE_INBOUND = _failsafes(
    "tcp:22 udp:68 tcp:179 tcp:2379 tcp:2380 tcp:5473 tcp:6443 tcp:6666 tcp:6667")
FAILSAFE_OUTBOUND = _failsafes(
    "udp:53 udp:67 tcp:179 tcp:2379 tcp:2380 tcp:5473 tcp:6443 tcp:6666 tcp:6667")
