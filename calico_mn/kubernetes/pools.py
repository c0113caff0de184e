"""IPPools of a real cluster: which mode they have, and how it is changed.

Calico's API server serves them as projectcalico.org/v3; without it they are kept as
crd.projectcalico.org/v1. Both have the same fields.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Pool:
    """An IPv4 pool as the API has it."""

    name: str
    api: str
    cidr: IPv4Network
    spec: dict[str, Any]

    @property
    def encapsulation(self) -> Encapsulation:
        """The one that the pool uses, or the default one."""
        return next((item for item in ENCAPSULATIONS if self._mode(item) != NEVER), DEFAULT)

    @property
    def mode(self) -> str:
        """Always, CrossSubnet or Never."""
        return self._mode(self.encapsulation)

    def _mode(self, encapsulation: Encapsulation) -> str:
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
            return tuple(Pool(str(item["metadata"]["name"]), api, network, dict(item["spec"]))
                         for item in items if not item["spec"].get("disabled")
                         for network in [ip_network(str(item["spec"]["cidr"]))]
                         if isinstance(network, IPv4Network))
    raise ClusterError(f"{server} has no IPPools ({join(APIS)}): is Calico its network?")


def pool_of(pools: Iterable[Pool], addresses: Iterable[str]) -> Pool:
    """The pool that all the pods' addresses are from.

    Raises ClusterError where that is none, or several.
    """
    pools = tuple(pools)
    found = {address: next((pool for pool in pools if IPv4Address(address) in pool.cidr), None)
             for address in addresses}
    names = sorted({pool.name for pool in found.values() if pool})
    outside = [address for address, pool in found.items() if pool is None]
    if outside:
        raise ClusterError(f"the pods' addresses {join(outside)} are from none of Calico's pools:"
                           " is Calico the cluster's network?")
    if len(names) > 1:
        raise ClusterError(f"the pods have addresses from several pools, {one_line(join(names))},"
                           " which may have different modes: disable all but one for new pods")
    return next(pool for pool in pools if pool.name == names[0])


def patch(encapsulation: Encapsulation, mode: str) -> dict[str, Any]:
    """The merge patch that sets a pool's mode."""
    return {"spec": {encapsulation.mode_field: mode}}


def set_mode(server: ApiServer, pool: Pool, encapsulation: Encapsulation, mode: str) -> None:
    """Change the pool. Raises ApiError."""
    server.request("PATCH", path(pool.api, "ippools", name=pool.name),
                   body=patch(encapsulation, mode), content_type="application/merge-patch+json")


def command(context: str, pool: Pool, encapsulation: Encapsulation, mode: str) -> str:
    """The command by which a person sets the mode."""
    group = pool.api.partition("/")[0]
    return shlex.join(["kubectl", "--context", context, "patch", f"ippools.{group}", pool.name,
                       "--type", "merge", "-p", json.dumps(patch(encapsulation, mode))])
