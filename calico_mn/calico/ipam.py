"""Calico IPAM: blocks, their affinity to nodes, and the order in which addresses are given.

Follows ``libcalico-go/lib/ipam`` (``ipam.go``, ``ipam_block.go``,
``ipam_block_reader_writer.go``). Bookkeeping only: announcing an address is left to
:mod:`calico_mn.calico.cluster` and :mod:`calico_mn.bgp`.

Left out: taking over other nodes' empty blocks, which Calico does only after they were empty
for a minute, and reservations.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from calico_mn.errors import IPAMError
from calico_mn.model import BlockAffinity, IPAMConfiguration, IPPool

#: what ``maxBlocksPerHost: 0`` means in ipam.go: a safety limit, not infinity
DEFAULT_BLOCKS_PER_HOST = 20


@dataclass(slots=True)
class Block:
    """A block: ``free`` holds ordinals in the order in which they will be given out.

    ``affinity`` is the node's name, or empty when no node has a claim on the block.
    """

    cidr: IPv4Network
    affinity: str
    free: deque[int] = field(default_factory=deque)
    used: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # No network or broadcast address is reserved: a block is not a subnet.
        self.free.extend(range(self.cidr.num_addresses))

    def take(self, ordinal: int, handle: str) -> IPv4Address:
        """Give out one ordinal, which must be free."""
        self.used[ordinal] = handle
        return self.cidr[ordinal]

    def take_next(self, handle: str) -> IPv4Address:
        """Give out the head of the free list: lowest first, later the longest unused."""
        return self.take(self.free.popleft(), handle)


@dataclass(frozen=True, slots=True)
class Allocation:
    """An address in use: who has it and on which node."""

    address: IPv4Address
    handle: str
    node: str
    block: IPv4Network


class IPAM:
    """All blocks and addresses of a cluster."""

    def __init__(self, pools: Iterable[IPPool], affinities: Iterable[BlockAffinity] = (),
                 configuration: IPAMConfiguration | None = None) -> None:
        self.pools = tuple(pools)
        self.configuration = configuration or IPAMConfiguration()
        self._blocks: dict[IPv4Network, Block] = {}
        self._by_node: dict[str, list[Block]] = {}
        self._allocations: dict[str, Allocation] = {}
        self._on_node: dict[str, dict[str, Allocation]] = {}
        for affinity in affinities:
            self._claim(affinity.cidr, affinity.node)

    def blocks(self, node: str) -> tuple[IPv4Network, ...]:
        """The blocks with an affinity to ``node``, in the order in which it claimed them."""
        return tuple(block.cidr for block in self._by_node.get(node, ()))

    def blocks_of(self, pool: IPPool) -> tuple[Block, ...]:
        """The blocks of a pool that exist, by address."""
        return tuple(sorted((block for block in self._blocks.values()
                             if _holds(pool.cidr, block.cidr)), key=lambda block: block.cidr))

    def affinities(self) -> tuple[BlockAffinity, ...]:
        """Every block that belongs to a node."""
        return tuple(BlockAffinity(block.affinity, block.cidr)
                     for block in self._blocks.values() if block.affinity)

    def allocation(self, handle: str) -> Allocation | None:
        """What ``handle`` holds, or None."""
        return self._allocations.get(handle)

    def borrowed(self, node: str) -> tuple[IPv4Address, ...]:
        """Addresses in use on ``node`` that lie outside its own blocks."""
        return tuple(a.address for a in self._on_node.get(node, {}).values()
                     if self._blocks[a.block].affinity != node)

    def assign(self, node: str, handle: str, pools: Iterable[IPPool] | None = None
               ) -> IPv4Address:
        """The next address for ``handle`` on ``node``, from ``pools`` (default: all enabled).

        Own blocks first, then a new block, then an address of another node's block, unless
        affinity is strict. Raises IPAMError when nothing is left.
        """
        self._refuse_second(handle)
        usable = tuple(pool for pool in (self.pools if pools is None else pools)
                       if not pool.disabled)
        for block in self._by_node.get(node, ()):
            if block.free and any(_holds(pool.cidr, block.cidr) for pool in usable):
                return self._record(block, node, handle)
        for pool in usable:
            free = self._unclaimed(pool, node)
            if free is not None and self._may_claim(node):
                return self._record(self._claim(free, node), node, handle)
        if not self.configuration.strict_affinity:
            for pool in usable:
                for block in self._others(pool, node):
                    if block.free:
                        return self._record(block, node, handle)
        raise IPAMError(self._exhausted(node, handle, usable))

    def assign_ip(self, node: str, handle: str, address: IPv4Address) -> IPv4Address:
        """Exactly ``address``; claims its block for ``node`` if no node has it.

        Raises IPAMError when it is taken, outside the enabled pools, or, with strict affinity,
        in another node's block.
        """
        self._refuse_second(handle)
        pool = next((p for p in self.pools if address in p.cidr and not p.disabled), None)
        if pool is None:
            raise IPAMError(f"{handle}: {address} lies in no enabled IP pool")
        cidr = IPv4Network((address, pool.block_size), strict=False)
        block = self._blocks.get(cidr) or self._claim(cidr, node)
        if self.configuration.strict_affinity and block.affinity != node:
            raise IPAMError(f"{handle}: {address} is in {cidr}, a block of"
                            f" {block.affinity or 'no node'}, and affinity is strict")
        ordinal = int(address) - int(cidr.network_address)
        if ordinal in block.used:
            raise IPAMError(f"{handle}: {address} is taken by {block.used[ordinal]}")
        block.free.remove(ordinal)
        block.take(ordinal, handle)
        return self._note(Allocation(address, handle, node, cidr))

    def release(self, handle: str) -> IPv4Address | None:
        """Take back what ``handle`` holds: it goes to the tail, to be reused last."""
        allocation = self._allocations.pop(handle, None)
        if allocation is None:
            return None
        del self._on_node[allocation.node][handle]
        block = self._blocks[allocation.block]
        ordinal = int(allocation.address) - int(block.cidr.network_address)
        del block.used[ordinal]
        block.free.append(ordinal)
        self._forget_unused(block)
        return allocation.address

    def release_affinity(self, node: str) -> None:
        """Release a deleted node's affinities, and delete its empty blocks."""
        for block in self._by_node.pop(node, []):
            block.affinity = ""
            self._forget_unused(block)

    def _refuse_second(self, handle: str) -> None:
        if handle in self._allocations:
            raise IPAMError(f"{handle} has {self._allocations[handle].address} already")

    def _record(self, block: Block, node: str, handle: str) -> IPv4Address:
        return self._note(Allocation(block.take_next(handle), handle, node, block.cidr))

    def _note(self, allocation: Allocation) -> IPv4Address:
        self._allocations[allocation.handle] = allocation
        self._on_node.setdefault(allocation.node, {})[allocation.handle] = allocation
        return allocation.address

    def _forget_unused(self, block: Block) -> None:
        if not block.affinity and not block.used:
            del self._blocks[block.cidr]

    def _claim(self, cidr: IPv4Network, node: str) -> Block:
        block = self._blocks[cidr] = Block(cidr, node)
        self._by_node.setdefault(node, []).append(block)
        return block

    def _may_claim(self, node: str) -> bool:
        limit = self.configuration.max_blocks_per_host or DEFAULT_BLOCKS_PER_HOST
        return len(self._by_node.get(node, ())) < limit

    def _unclaimed(self, pool: IPPool, node: str) -> IPv4Network | None:
        """The first block of the pool that does not exist, from the node's own start on.

        Calico seeds Go's random generator, we seed Python's, so the starting points differ: pin
        blocks with a BlockAffinity where the exact prefix matters.
        """
        count = 1 << max(0, pool.block_size - pool.cidr.prefixlen)
        start = _start(node, count)
        size = 1 << (32 - pool.block_size)
        base = int(pool.cidr.network_address)
        for step in range(count):
            cidr = IPv4Network((base + (start + step) % count * size, pool.block_size))
            if cidr not in self._blocks:
                return cidr
        return None

    def _others(self, pool: IPPool, node: str) -> Iterator[Block]:
        """Blocks of the pool that are not the node's, from the node's own start on."""
        count = 1 << max(0, pool.block_size - pool.cidr.prefixlen)
        start = _start(node, count)
        base = int(pool.cidr.network_address)

        def distance(block: Block) -> int:
            position = (int(block.cidr.network_address) - base) >> (32 - pool.block_size)
            return (position - start) % count

        yield from sorted((block for block in self._blocks.values()
                           if block.affinity != node and _holds(pool.cidr, block.cidr)),
                          key=distance)

    def _exhausted(self, node: str, handle: str, pools: tuple[IPPool, ...]) -> str:
        names = ", ".join(f"{pool.name} ({pool.cidr})" for pool in pools) or "no enabled pool"
        reason = f"no address left for {handle} on {node} in {names}"
        if self.configuration.strict_affinity and any(
                block.free for pool in pools for block in self._others(pool, node)):
            reason += "; other nodes' blocks have some, but affinity is strict"
        if not self._may_claim(node) and any(self._unclaimed(pool, node) for pool in pools):
            reason += f"; {node} has {len(self.blocks(node))} blocks and may claim no more"
        return reason


def _holds(pool: IPv4Network, block: IPv4Network) -> bool:
    """``block.subnet_of(pool)``, without its cost."""
    return (pool.prefixlen <= block.prefixlen and int(block.network_address)
            & int(pool.netmask) == int(pool.network_address))


def _start(node: str, count: int) -> int:
    """Where a node starts to search a pool's blocks: pseudo-random, but always the same."""
    return random.Random(fnv1_32(node)).randrange(count)


def fnv1_32(text: str) -> int:
    """FNV-1, 32 bits: Calico's seed for a node's first block."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value * 0x01000193) & 0xFFFFFFFF ^ byte
    return value
