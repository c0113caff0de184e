"""Calico IPAM: blocks, their affinity to nodes, and the order in which addresses are given.

Follows ``libcalico-go/lib/ipam`` (``ipam.go``, ``ipam_block.go``,
``ipam_block_reader_writer.go``). Bookkeeping only: announcing an address is left to
:mod:`calico_mn.calico.cluster` and :mod:`calico_mn.bgp`.

Left out: taking over other nodes' empty blocks, which Calico does only after they were empty
for a minute. Which pools a request may use is decided in :mod:`calico_mn.calico.pools`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from calico_mn.calico.encapsulation import owner_of
from calico_mn.errors import IPAMError
from calico_mn.model import BlockAffinity, IPAMConfiguration, IPPool
from calico_mn.text import join_some

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
        self.free.remove(ordinal)
        self.used[ordinal] = handle
        return self.cidr[ordinal]

    def next_free(self, reserved: Sequence[IPv4Network]) -> int | None:
        """The head of the free list: lowest first, later the longest unused; None without one."""
        if not reserved:
            return self.free[0] if self.free else None
        return next((ordinal for ordinal in self.free
                     if not any(self.cidr[ordinal] in network for network in reserved)), None)


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
                 configuration: IPAMConfiguration | None = None,
                 reservations: Iterable[IPv4Network] = ()) -> None:
        self._blocks: dict[IPv4Network, Block] = {}
        self._by_node: dict[str, list[Block]] = {}
        self._allocations: dict[str, Allocation] = {}
        self._on_node: dict[str, dict[str, Allocation]] = {}
        self.adopt(pools, configuration or IPAMConfiguration(), reservations)
        for affinity in affinities:
            self.claim(affinity.cidr, affinity.node)

    def adopt(self, pools: Iterable[IPPool], configuration: IPAMConfiguration,
              reservations: Iterable[IPv4Network]) -> None:
        """Go on with these pools and rules; what was given out stays."""
        self.pools = tuple(pools)
        self._reserved = tuple(collapse_addresses(reservations))
        self.configuration = configuration
        # Blocks of another size than their pool's, made before that was changed, or of no pool.
        self._odd = [cidr for cidr in self._blocks if self._is_odd(cidr)]

    def _is_odd(self, cidr: IPv4Network) -> bool:
        return cidr.prefixlen != next((pool.block_size for pool in self.pools
                                       if cidr.network_address in pool.cidr), 0)

    def blocks(self, node: str) -> tuple[IPv4Network, ...]:
        """The blocks with an affinity to ``node``, in the order in which it claimed them."""
        return tuple(block.cidr for block in self._by_node.get(node, ()))

    def blocks_of(self, pool: IPPool) -> tuple[Block, ...]:
        """The blocks of a pool that exist, by address."""
        return tuple(sorted((block for block in self._blocks.values()
                             if _holds(pool.cidr, block.cidr)), key=lambda block: block.cidr))

    def affinities(self) -> tuple[BlockAffinity, ...]:
        """Every affinity, and every block that no node has one to: claimed in this order, they
        give the same blocks. A block's own affinity comes before a second one, which is stale.
        """
        claims = [(block.affinity != node, node, block.cidr)
                  for node, own in self._by_node.items() for block in own]
        claims += [(False, "", block.cidr) for block in self._blocks.values() if not block.affinity]
        return tuple(BlockAffinity(node, cidr) for _, node, cidr in sorted(
            claims, key=lambda claim: claim[0]))

    def allocation(self, handle: str) -> Allocation | None:
        """What ``handle`` holds, or None."""
        return self._allocations.get(handle)

    def borrowed(self, node: str) -> tuple[IPv4Address, ...]:
        """Addresses in use on ``node`` that lie outside its own blocks."""
        own = self.blocks(node)  # Few, and mostly the same objects: hashes would take longer.
        return tuple(a.address for a in self._on_node.get(node, {}).values() if a.block not in own)

    def assign(self, node: str, handle: str, pools: Iterable[IPPool] | None = None
               ) -> IPv4Address:
        """The next address for ``handle`` on ``node``, from ``pools`` (default: all enabled).

        Own blocks first, then a new block, then an address of another node's block, unless
        affinity is strict. A node that has its limit of blocks in these pools gets no more, and
        borrows none either (ErrBlockLimit of ipam.go). Raises IPAMError when nothing is left.
        """
        self._refuse_second(handle)
        usable = tuple(pool for pool in (self.pools if pools is None else pools)
                       if not pool.disabled)
        own = [block for block in self._by_node.get(node, ())
               if any(_holds(pool.cidr, block.cidr) for pool in usable)]
        may_claim = len(own) < (self.configuration.max_blocks_per_host or DEFAULT_BLOCKS_PER_HOST)
        for block in self._in_order(node, usable, own, may_claim):
            ordinal = block.next_free(self._reserved)
            if ordinal is not None:
                return self._note(
                    Allocation(block.take(ordinal, handle), handle, node, block.cidr))
        raise _refusal(handle, self._exhausted(node, usable, may_claim, len(own)))

    def _in_order(self, node: str, pools: Sequence[IPPool], own: Iterable[Block], may_claim: bool
                  ) -> Iterator[Block]:
        """Where a node looks for an address; a new block is claimed when its turn comes."""
        # A block may have a second affinity, which is stale; its own one counts.
        yield from (block for block in own if block.affinity == node)
        if may_claim:
            for pool in pools:
                free = self._unclaimed(pool, node)
                if free is not None:
                    yield self.claim(free, node)
            if not self.configuration.strict_affinity:
                for pool in pools:
                    yield from self._others(pool, node)

    def block_of(self, address: IPv4Address) -> IPv4Network:
        """The block that holds an address, or would hold it."""
        for cidr in self._odd:
            if address in cidr:
                return cidr
        size = next((pool.block_size for pool in self.pools if address in pool.cidr), 26)
        return IPv4Network((address, size), strict=False)

    def assign_ip(self, node: str, handle: str, address: IPv4Address, *, is_present: bool = False
                  ) -> IPv4Address:
        """Exactly ``address``; claims its block for ``node`` if no node has it.

        Raises IPAMError when it is taken, outside the enabled pools, or, with strict affinity,
        in another node's block. An address that ``is_present`` was given out before, when pools
        and configuration may have been others: it must only be free.
        """
        self._refuse_second(handle)
        if not is_present and not any(address in pool.cidr and not pool.disabled
                                      for pool in self.pools):
            raise _refusal(handle, f"{address} lies in no enabled IPPool")
        cidr = self.block_of(address)
        block = self._blocks.get(cidr) or self.claim(cidr, node)
        if self.configuration.strict_affinity and block.affinity != node and not is_present:
            raise _refusal(handle, f"{address} is in {cidr}, a block of"
                           f" {block.affinity or 'no node'}, and affinity is strict")
        ordinal = int(address) - int(cidr.network_address)
        if ordinal in block.used:
            raise _refusal(handle, f"{address} is taken by {owner_of(block.used[ordinal])}")
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
            self._release_block(block, node)

    def release_block(self, node: str, cidr: IPv4Network) -> None:
        """Release one affinity of a node. Raises IPAMError while the block is in use."""
        block = self._blocks[cidr]
        if block.used:
            users = join_some(block.used.values(), 5)
            raise IPAMError(f"{cidr}, a block of {node}, holds addresses of {users}:"
                            " delete those first")
        self._by_node[node] = [other for other in self._by_node[node] if other is not block]
        self._release_block(block, node)

    def _release_block(self, block: Block, node: str) -> None:
        if block.affinity == node:
            block.affinity = next((other for other, blocks in self._by_node.items()
                                   if any(block is own for own in blocks)), "")
        self._forget_unused(block)

    def _refuse_second(self, handle: str) -> None:
        if handle in self._allocations:
            raise IPAMError(f"{handle} has {self._allocations[handle].address} already")

    def _note(self, allocation: Allocation) -> IPv4Address:
        self._allocations[allocation.handle] = allocation
        self._on_node.setdefault(allocation.node, {})[allocation.handle] = allocation
        return allocation.address

    def _forget_unused(self, block: Block) -> None:
        if not block.affinity and not block.used:
            del self._blocks[block.cidr]
            if block.cidr in self._odd:
                self._odd.remove(block.cidr)

    def claim(self, cidr: IPv4Network, node: str) -> Block:
        """Give a node an affinity to a block; the block belongs to the first node that has one.

        For no node it is a block without affinity.
        """
        block = self._blocks.get(cidr)
        if block is None:
            block = self._blocks[cidr] = Block(cidr, node)
            if self._is_odd(cidr):
                self._odd.append(cidr)
        if not node:
            return block
        own = self._by_node.setdefault(node, [])
        if not any(block is other for other in own):
            own.append(block)
        return block

    def _unclaimed(self, pool: IPPool, node: str) -> IPv4Network | None:
        """The first block of the pool that does not exist, from the node's own start on.

        Calico seeds Go's random generator, we seed Python's, so the starting points differ: pin
        blocks with a BlockAffinity where the exact prefix matters.
        """
        start, count = _search(node, pool)
        size, base = 1 << (32 - pool.block_size), int(pool.cidr.network_address)
        for step in range(count):
            cidr = IPv4Network((base + (start + step) % count * size, pool.block_size))
            if cidr not in self._blocks and not any(map(cidr.overlaps, self._odd)) and not any(
                    cidr.subnet_of(network) for network in self._reserved):
                return cidr
        return None

    def _others(self, pool: IPPool, node: str) -> Iterator[Block]:
        """Blocks of the pool that are not the node's, from the node's own start on."""
        start, count = _search(node, pool)
        base = int(pool.cidr.network_address)

        def distance(block: Block) -> int:
            position = (int(block.cidr.network_address) - base) >> (32 - pool.block_size)
            return (position - start) % count

        yield from sorted((block for block in self._blocks.values()
                           if block.affinity != node and _holds(pool.cidr, block.cidr)),
                          key=distance)

    def _exhausted(self, node: str, pools: tuple[IPPool, ...], may_claim: bool, blocks: int
                   ) -> str:
        if not pools:
            return ("no enabled IPPool gives the node such addresses (see nodeSelector, allowedUses"
                    " and assignmentMode)")
        names = ", ".join(f"{pool.name} ({pool.cidr})" for pool in pools)
        reason = f"no address is left in IPPool {names}"
        if may_claim and self.configuration.strict_affinity and any(
                block.free for pool in pools for block in self._others(pool, node)):
            reason += "; other nodes' blocks have some, but affinity is strict"
        if not may_claim:
            reason += f"; {blocks} blocks are the most that a node may claim"
        return reason


def _refusal(handle: str, reason: str) -> IPAMError:
    return IPAMError(f"{owner_of(handle)}: {reason}", reason)


def _holds(pool: IPv4Network, block: IPv4Network) -> bool:
    """``block.subnet_of(pool)``, without its cost."""
    return (pool.prefixlen <= block.prefixlen and int(block.network_address)
            & int(pool.netmask) == int(pool.network_address))


def _search(node: str, pool: IPPool) -> tuple[int, int]:
    """Where a node starts to search a pool's blocks, pseudo-random but always the same, and how
    many blocks the pool has room for.
    """
    count = 1 << max(0, pool.block_size - pool.cidr.prefixlen)
    return random.Random(fnv1_32(node)).randrange(count), count


def fnv1_32(text: str) -> int:
    """FNV-1, 32 bits: Calico's seed for a node's first block."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value * 0x01000193) & 0xFFFFFFFF ^ byte
    return value
