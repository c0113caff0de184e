"""Policies as data: what files say about who may talk to whom, checked and typed.

Frozen dataclasses under the names of Kubernetes and Calico, beside :mod:`calico_mn.model`. What
they mean for an endpoint is computed in :mod:`calico_mn.calico.policy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network

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
    """``projectcalico.org/v3`` EntityRule: one end of a packet. Empty fields match everything."""

    nets: tuple[IPv4Network, ...] = ()
    not_nets: tuple[IPv4Network, ...] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    service_account_names: tuple[str, ...] = ()
    service_account_selector: str = ""
    ports: tuple[Ports, ...] = ()
    not_ports: tuple[Ports, ...] = ()


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
