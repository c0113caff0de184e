"""Which IPPools may give an address: for which use, on which node. Pure.

In go the pools, a node and what the address is for; out come the pools that IPAM may use, as
``determinePools`` and ``filterPoolsByUse`` of libcalico-go ``lib/ipam/ipam.go`` choose them.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_mn.errors import IPAMError
from calico_mn.model import IPPool, Node, Pod
from calico_mn.selector import parse_selector
from calico_mn.text import quote, suggest


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
