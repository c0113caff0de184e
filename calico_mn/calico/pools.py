"""IPPools: how their traffic is encapsulated, and which may give an address. Pure.

In go the fields of a pool, and a change of its mode; out comes its :class:`PoolMode`. In go the
pools, a node and what an address is for; out come the pools that IPAM may use, as
``determinePools`` and ``filterPoolsByUse`` of libcalico-go ``lib/ipam/ipam.go`` choose them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from calico_mn.calico.encapsulation import (
    DEFAULT,
    ENCAPSULATIONS,
    NEVER,
    NONE,
    Encapsulation,
    named,
)
from calico_mn.errors import ClusterError, IPAMError
from calico_mn.model import EncapsulationMode, IPPool, Node, Pod
from calico_mn.selector import parse_selector
from calico_mn.text import quote, suggest


def wish(mode: EncapsulationMode | str | None, encapsulation: Encapsulation | str | None
         ) -> tuple[EncapsulationMode | None, Encapsulation | None]:
    """A mode and an encapsulation by their names, upper or lower case; None for what stays.

    Raises ClusterError.
    """
    if isinstance(encapsulation, str):
        encapsulation = named(encapsulation)
    if mode is None:
        return None, encapsulation
    for member in EncapsulationMode:
        if member.lower() == str(mode).lower():
            return member, encapsulation
    kind = f"{encapsulation} mode" if encapsulation else "mode"
    raise ClusterError(f"there is no {kind} {mode!r}; modes: {', '.join(EncapsulationMode)}")


@dataclass(frozen=True, slots=True)
class PoolMode:
    """How a pool's traffic is encapsulated, and when."""

    encapsulation: Encapsulation
    mode: EncapsulationMode

    @classmethod
    def of(cls, pool: IPPool) -> PoolMode:
        """As the pool's fields say; if all are Never, DEFAULT in mode Never."""
        return next((cls(e, e.mode_of(pool)) for e in ENCAPSULATIONS
                     if e.mode_of(pool) is not NEVER), cls(DEFAULT, NEVER))

    def changed(self, mode: EncapsulationMode | None, encapsulation: Encapsulation | None
                ) -> PoolMode:
        """The pool after a change; None leaves the mode, or the encapsulation, as it is."""
        return PoolMode(encapsulation or self.encapsulation, mode or self.mode)

    @property
    def is_on(self) -> bool:
        """Whether any of the pool's traffic is encapsulated."""
        return self.mode is not NEVER

    def __str__(self) -> str:
        """``Always`` and the like; with the encapsulation's name unless it is DEFAULT."""
        return str(self.mode) if self.in_force in (NONE, DEFAULT) else (
            f"{self.mode} ({self.in_force})")

    @property
    def fields(self) -> dict[str, EncapsulationMode]:
        """The IPPool's fields, ``ipipMode`` and ``vxlanMode``, with their values."""
        return {e.mode_field: self.mode if e is self.in_force else NEVER for e in ENCAPSULATIONS}

    @property
    def in_force(self) -> Encapsulation:
        """The encapsulation, or NONE in mode Never."""
        return self.encapsulation if self.is_on else NONE


#: what a prefix outside of all pools counts as: BIRD alone writes its routes
OUTSIDE_POOLS = PoolMode(DEFAULT, NEVER)


def usable_pools(pools: Iterable[IPPool], node: Node, use: str,
                 requested: Iterable[str] = ()) -> tuple[IPPool, ...]:
    """The enabled pools that give addresses for ``use`` on ``node``.

    ``requested`` are names or networks of pools that are asked for: then nodeSelector and
    assignmentMode do not count.
    """
    wanted = set(requested)
    return tuple(
        pool for pool in pools if not pool.disabled and use in pool.allowed_uses and (
            wanted & {pool.name, str(pool.cidr)} if wanted
            else pool.is_automatic and selects(pool, node)))


def selects(pool: IPPool, node: Node) -> bool:
    """Whether a pool's nodeSelector is true of a node's labels."""
    return parse_selector(pool.node_selector)(dict(node.labels))


def require_pools(pools: Iterable[IPPool], pod: Pod) -> None:
    """Raises IPAMError where a pod asks for a pool that is not there: the CNI plug-in fails."""
    known = [name for pool in pools for name in (pool.name, str(pool.cidr))]
    for name in pod.pools:
        if name not in known:
            meant = suggest(name, known)
            reason = f"there is no IPPool {quote(name)}, for which ipv4pools asks" + (
                f" (did you mean {quote(meant)}?)" if meant else "")
            raise IPAMError(f"{pod.key}: {reason}", reason)
