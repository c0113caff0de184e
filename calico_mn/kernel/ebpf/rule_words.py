"""Words of the kernel's memory of which one changes with every change of a namespace's rules.

In go the namespace in which the calling thread is, and the name of an IP set; out come addresses
with what is there. ``helpers/peek`` of ipip.bpf.c reads them; BTF says where to look. They are

- where the hooks of PREROUTING and INPUT are (``net->nf.hooks_ipv4``), and nat's behind them;
- the number of changes of nftables (``net->nft.base_seq``, since Linux 6.17);
- of each table of iptables-legacy where its rules are, how many and how long (``xt_table.private``,
  ``xt_table_info``);
- which set has the name's index, where its members are, and how many (``ip_set_net.ip_set_list``,
  ``htable``, ``ip_set_region.elements``).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from calico_mn.kernel.ebpf import btf, program
from calico_mn.kernel.ebpf.hooked_rules import LEGACY

#: NF_INET_PRE_ROUTING, NF_INET_LOCAL_IN
_HOOKS = (0, 1)
_MOST_ENTRIES, _MOST_SETS, _FIRST_SETS = 32, 4096, 64
_NF_TABLES = 1  # NF_HOOK_OP_NF_TABLES of linux/netfilter.h
#: up to here the members of a set have one count (HTABLE_REGION_BITS in ip_set_hash_gen.h)
_ONE_REGION_BITS = 10
_ETHERNET, _PEEKED = 14, 64

Words = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class RuleWords:
    """``words``, and whose changes they tell: ``nft``, the set, the tables of iptables-legacy."""

    words: Words
    nft: bool = False
    ip_set: bool = False
    tables: frozenset[str] = frozenset()


class KernelMemory:
    """Reads the kernel's memory, and finds these words in it. Raises OSError for what is not there.
    """

    def __init__(self) -> None:
        self._peek = program.load(program.PEEK)
        #: which of the namespace's private data (``net->gen``) are those of IP sets
        self._sets_id = 0

    def close(self) -> None:
        """Read no more."""
        os.close(self._peek)

    def net(self) -> int:
        """The address of this namespace's ``struct net``."""
        return self._word(0)

    def rule_words(self, net: int, ip_set: str) -> RuleWords:
        """The words of a namespace; none where the kernel does not tell."""
        hooks, nft = btf.offset("net", "nf", "netns_nf", "hooks_ipv4"), btf.offset(
            "net", "nft", "netns_nftables", "base_seq")
        if hooks is None:
            return RuleWords(())
        words = [(address, self._word(address))
                 for address in (net + hooks + 8 * hook for hook in _HOOKS)]
        names: set[str] = set()
        for _, entries in words[:]:
            for name, of_table in self._tables(entries):
                names.add(name)
                words += of_table
        if nft is not None:
            words.append((net + nft, self._word(net + nft)))
        of_set = self._set(net, ip_set)
        return RuleWords(tuple(dict.fromkeys((*words, *of_set))), nft is not None, bool(of_set),
                         frozenset(names))

    def _tables(self, entries: int) -> Iterator[tuple[str, list[tuple[int, int]]]]:
        """The legacy tables among ``struct nf_hook_entries``; those of nat are behind its hook.

        What else is hooked there without a table comes as "", with its first word: that of nat's
        hook (``nf_nat_lookup_hook_priv``) says where the hooks behind it are.
        """
        for private in self._private(entries):
            table = self._table(private)
            if table is None:
                inside = self._word(private)
                yield "", [(private, inside)]
                with suppress(OSError):
                    for behind in self._private(inside):
                        if nat := self._table(behind):
                            yield nat
            else:
                yield table

    def _private(self, entries: int) -> Iterator[int]:
        """In whose name each hook is called that is not nftables': an xt_table's, others'."""
        at, kind = btf.offset("nf_hook_entries", "hooks"), btf.offset(
            "nf_hook_ops", "hook_ops_type")
        if not entries or at is None or kind is None:
            return
        count = struct.unpack_from("=H", self._memory(entries))[0]
        for number in range(min(count, _MOST_ENTRIES)):
            hook = entries + at + 16 * number
            operations = self._word(entries + at + 16 * count + 8 * number)
            private = self._word(hook + 8)
            if private and self._memory(operations + kind)[0] != _NF_TABLES:
                yield private

    def _table(self, address: int) -> tuple[str, list[tuple[int, int]]] | None:
        """The name and the words of a ``struct xt_table``; None where that is something else."""
        name_at, info_at = btf.offset("xt_table", "name"), btf.offset("xt_table", "private")
        if name_at is None or info_at is None:
            return None
        name = self._memory(address + name_at).partition(b"\0")[0]
        if name not in LEGACY:
            return None
        info = self._word(address + info_at)
        # struct xt_table_info begins with size and number.
        return name.decode(), [(address + info_at, info), (info, self._word(info))]

    def _set(self, net: int, name: str) -> Words:
        """The words of a set of the kind hash:net; none where it cannot be found or is too large.

        Its module's part of a namespace has a number that the kernel does not tell: it is searched
        for once, by the set among the first ones.
        """
        gen = btf.offset("net", "gen")
        at = [btf.offset(*path) for path in (
            ("ip_set_net", "ip_set_list"), ("ip_set", "name"), ("ip_set", "data"),
            ("hash_net4", "table"), ("htable", "htable_bits"), ("htable", "hregion"),
            ("ip_set_region", "elements"))]
        if gen is None or None in at:
            return ()
        lists, names, data, table, bits, region, elements = (offset or 0 for offset in at)
        private = self._word(net + gen)
        count = struct.unpack_from("=I", self._memory(private))[0]
        for number in [self._sets_id] if self._sets_id else range(3, min(count, 256)):
            with suppress(OSError):
                sets = self._word(self._word(private + 8 * number) + lists)
                for slot, address in self._slots(
                        sets, names, _MOST_SETS if self._sets_id else _FIRST_SETS):
                    if self._memory(address + names).partition(b"\0")[0] == name.encode():
                        self._sets_id = number
                        hashed = self._word(address + data) + table
                        buckets = self._word(hashed)
                        if self._memory(buckets + bits)[0] > _ONE_REGION_BITS:
                            return ()
                        regions = self._word(buckets + region)
                        return ((slot, address), (hashed, buckets),
                                (regions + elements, self._word(regions + elements)))
        return ()

    def _slots(self, sets: int, names: int, most: int) -> Iterator[tuple[int, int]]:
        """Where each set of a list is named, and its address: sets have printable names."""
        for start in range(sets, sets + 8 * most, _PEEKED):
            addresses = struct.unpack("=8Q", self._memory(start))
            if not any(addresses):
                return
            for number, address in enumerate(addresses):
                if address:
                    name = self._memory(address + names).partition(b"\0")[0]
                    if not name.isascii() or not name.decode("ascii", "replace").isprintable() or (
                            not name):
                        return
                    yield start + 8 * number, address

    def _word(self, address: int) -> int:
        return int(struct.unpack_from("=Q", self._memory(address))[0])

    def _memory(self, address: int) -> bytes:
        refused, frame = program.run(self._peek, bytes(_ETHERNET) + struct.pack("=Q", address)
                                     + bytes(_PEEKED - 8))
        if refused:
            raise OSError(f"nothing to read at {address:#x}")
        return frame[_ETHERNET:]
