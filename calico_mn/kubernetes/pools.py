"""IPPools of a real cluster: which mode they have, and how it is changed.

Calico's API server serves them as projectcalico.org/v3; without it they are kept as
crd.projectcalico.org/v1. Both have the same fields. A pool that Tigera's operator manages has its
mode from the Installation: the operator undoes any other change of it, so the Installation is
changed there (pkg/controller/ippool of tigera/operator).
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

from calico_mn.calico.encapsulation import DEFAULT, ENCAPSULATIONS, Encapsulation
from calico_mn.errors import ClusterError
from calico_mn.kubernetes.client import ApiError, ApiServer, path
from calico_mn.text import join, one_line

#: in the order in which they are tried
APIS = ("projectcalico.org/v3", "crd.projectcalico.org/v1")
NEVER = "Never"
#: no such group, and an API server of Calico's that is registered and does not answer
_NOT_SERVED = (404, 503)
#: the label of a pool that the operator manages, and the Installation that says how
_MANAGED_BY, _OPERATOR = "app.kubernetes.io/managed-by", "tigera-operator"
_INSTALLATIONS, _INSTALLATION = "operator.tigera.io/v1", "default"
#: seconds that the operator may take
_OPERATOR_S, _LOOK_S = 60.0, 0.5


@dataclass(frozen=True, slots=True)
class Pool:
    """An IPv4 pool as the API has it.

    ``entry`` is its place among the Installation's pools; None for a pool that is changed itself.
    """

    name: str
    api: str
    cidr: IPv4Network
    spec: dict[str, Any]
    is_operators: bool = False
    entry: int | None = None

    @property
    def encapsulation(self) -> Encapsulation:
        """The one that the pool uses, or the default one."""
        return next((item for item in ENCAPSULATIONS if self.mode_of(item) != NEVER), DEFAULT)

    @property
    def mode(self) -> str:
        """Always, CrossSubnet or Never."""
        return self.mode_of(self.encapsulation)

    def mode_of(self, encapsulation: Encapsulation) -> str:
        """That of an encapsulation."""
        return str(self.spec.get(encapsulation.mode_field) or NEVER)


def read(server: ApiServer) -> tuple[Pool, ...]:
    """The enabled IPv4 pools. Raises ApiError, and ClusterError for a cluster without Calico."""
    for api in APIS:
        try:
            items = server.list(path(api, "ippools"))["items"]
        except ApiError as error:
            if error.status in _NOT_SERVED:
                continue
            raise
        if items:
            return tuple(Pool(str(item["metadata"]["name"]), api, network, dict(item["spec"]),
                              (item["metadata"].get("labels") or {}).get(_MANAGED_BY) == _OPERATOR)
                         for item in items if not item["spec"].get("disabled")
                         for network in [ip_network(str(item["spec"]["cidr"]))]
                         if isinstance(network, IPv4Network))
    raise ClusterError(f"{server} has no IPPools ({join(APIS)}): is Calico its network?")


def pool_of(pools: Iterable[Pool], addresses: Iterable[str]) -> Pool:
    """The pool that all the pods' addresses are from.

    Raises ClusterError where that is none, or several.
    """
    pools = tuple(pools)
    by_address = {address: next((pool for pool in pools if IPv4Address(address) in pool.cidr), None)
                  for address in addresses}
    names = sorted({pool.name for pool in by_address.values() if pool})
    outside = [address for address, pool in by_address.items() if pool is None]
    if outside:
        raise ClusterError(f"the pods' addresses {join(outside)} are from none of Calico's pools:"
                           " is Calico the cluster's network?")
    if len(names) > 1:
        raise ClusterError(f"the pods have addresses from several pools, {one_line(join(names))},"
                           " which may have different modes: disable all but one for new pods")
    return next(pool for pool in pools if pool.name == names[0])


def changeable(server: ApiServer, pool: Pool) -> Pool:
    """The pool, with its ``entry`` if the operator manages it.

    Raises ApiError, and ClusterError where the Installation does not have the pool.
    """
    if not pool.is_operators:
        return pool
    for item in server.list(path(_INSTALLATIONS, "installations"))["items"]:
        if item["metadata"]["name"] == _INSTALLATION:
            network = (item.get("spec") or {}).get("calicoNetwork") or {}
            for number, entry in enumerate(network.get("ipPools") or ()):
                if entry.get("cidr") == pool.spec["cidr"]:
                    return replace(pool, entry=number)
    raise ClusterError(f"the operator manages the pool {one_line(pool.name)}, but no pool of the"
                       f" Installation {_INSTALLATION} has its cidr {pool.cidr}: its mode cannot be"
                       " changed")


def patch(pool: Pool, encapsulation: Encapsulation, mode: str) -> Any:
    """What sets the pool's mode: a merge patch, or a JSON patch (RFC 6902) of the Installation."""
    if pool.entry is None:
        return {"spec": {encapsulation.mode_field: mode}}
    place = f"/spec/calicoNetwork/ipPools/{pool.entry}"
    suffix = "" if mode == "Always" else mode  # EncapsulationType of operator.tigera.io/v1
    return [{"op": "test", "path": f"{place}/cidr", "value": pool.spec["cidr"]},
            {"op": "add", "path": f"{place}/encapsulation",
             "value": "None" if mode == NEVER else f"{encapsulation}{suffix}"}]


def set_mode(server: ApiServer, pool: Pool, encapsulation: Encapsulation, mode: str) -> None:
    """Change the pool, and wait for the operator where it manages it.

    Raises ApiError, and ClusterError where the operator does not act.
    """
    if pool.entry is None:
        server.request("PATCH", path(pool.api, "ippools", name=pool.name),
                       body=patch(pool, encapsulation, mode),
                       content_type="application/merge-patch+json")
        return
    server.request("PATCH", path(_INSTALLATIONS, "installations", name=_INSTALLATION),
                   body=patch(pool, encapsulation, mode),
                   content_type="application/json-patch+json")
    deadline = time.monotonic() + _OPERATOR_S
    while not has_mode(server, pool, encapsulation, mode):
        if time.monotonic() > deadline:
            raise ClusterError(f"the operator has not given the pool {one_line(pool.name)} the mode"
                               f" {mode} {_OPERATOR_S:g} s after its Installation was changed: see"
                               " 'kubectl get tigerastatus'")
        time.sleep(_LOOK_S)


def has_mode(server: ApiServer, pool: Pool, encapsulation: Encapsulation, mode: str) -> bool:
    """Whether the pool has the mode now. Raises ApiError, and ClusterError without pools."""
    return any(each.mode_of(encapsulation) == mode for each in read(server)
               if each.name == pool.name)


def command(context: str, pool: Pool, encapsulation: Encapsulation, mode: str) -> str:
    """The command by which a person sets the mode."""
    kind, name, form = (f"ippools.{pool.api.partition('/')[0]}", pool.name, "merge") if (
        pool.entry is None) else ("installations.operator.tigera.io", _INSTALLATION, "json")
    return shlex.join(["kubectl", "--context", context, "patch", kind, name, "--type", form,
                       "-p", json.dumps(patch(pool, encapsulation, mode))])
