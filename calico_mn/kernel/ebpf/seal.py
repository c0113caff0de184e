"""What the eBPF tunl0 knows of a namespace's rules, so that it need not ask them for each packet.

In goes what Felix's rules look like to an outer packet (:class:`~calico_mn.rules.OuterWay`); out
come seals, one a namespace, in a map that ``underlay/ingress`` reads. A seal says whether the rules
let IPIP packets from allowed sources in and do nothing else with them. It lists words of the
kernel's memory, at least one of which changes with every change of the rules, so that the program
sees at the next packet that a seal is out of date::

    eth0 --> underlay/ingress --- the seal is current, lets in ------------> tunl0
                 |                                                             ^
                 +--> PREROUTING --> INPUT --> lo (what the rules accept) -----+
                                       |
                                       +--> the seal is out of date: one byte to the raw socket,
                                            and the attendant has :meth:`Seals.renew` look again

The words: where the hooks of PREROUTING and INPUT are (``net->nf.hooks_ipv4``), and those of nat
behind them, the number of changes of nftables (``net->nft.base_seq``, since Linux 6.17: before, no
seal lets anything in), and of each table of iptables-legacy where its rules are, how many and how
long (``xt_table.private``, ``xt_table_info``).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import suppress

from calico_mn.errors import CalicoMnError
from calico_mn.kernel.ebpf import btf, hooked_rules, program
from calico_mn.rules import OuterWay, lets_in

#: NF_INET_PRE_ROUTING, NF_INET_LOCAL_IN
_HOOKS = (0, 1)
_MOST_WORDS, _MOST_ENTRIES, _MOST_NAMESPACES = 20, 32, 65_536
_ETHERNET, _PEEKED = 14, 64
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE = 0, 1, 2, 3
_HASH, _NO_PREALLOCATION = 1, 1
_NF_TABLES = 1  # NF_HOOK_OP_NF_TABLES of linux/netfilter.h
_VALUE = 8 + 16 * _MOST_WORDS
_ATTEMPTS = 5
# map_fd, key, value, flags
_element = struct.Struct("=IxxxxQQQ")

Words = tuple[tuple[int, int], ...]


class Seals:
    """The seals of all namespaces of a back end. ``descriptor`` is that of the map."""

    def __init__(self, way: OuterWay | None = None) -> None:
        self._way = way or OuterWay({}, {})
        self.descriptor, _ = program.bpf(_MAP_CREATE, struct.pack(
            "=IIIII", _HASH, 8, _VALUE, _MOST_NAMESPACES, _NO_PREALLOCATION))
        try:
            self._peek = program.load(program.PEEK)
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        """Let go of the map; programs that are attached keep it."""
        os.close(self._peek)
        os.close(self.descriptor)

    def forget(self) -> None:
        """Know nothing of the namespace of the calling thread: another had its address before."""
        with suppress(OSError, struct.error):
            self._call(_MAP_DELETE, self._word(0))

    def renew(self) -> None:
        """Look at the rules of the namespace of the calling thread, unless they are known.

        Rules that change meanwhile, time and again, are left: the next packet asks again.
        """
        with suppress(OSError, struct.error):
            net = self._word(0)
            for _attempt in range(_ATTEMPTS):
                words, tables = self._words(net)
                if self._call(_MAP_LOOKUP, net)[8:] == _packed(words):
                    return
                is_let_in = self._is_let_in(tables) if words else False
                if self._words(net)[0] == words:
                    self._call(_MAP_UPDATE, net, struct.pack("=Q", is_let_in) + _packed(words))
                    return

    def _is_let_in(self, tables: frozenset[str] | None) -> bool:
        """``tables``: those of iptables-legacy whose words are known, None if nftables' are not."""
        try:
            legacy = frozenset(hooked_rules.legacy_tables())
            base, chains = hooked_rules.read(legacy, self._way.chains)
        except (OSError, CalicoMnError):
            return False
        return tables is not None and legacy <= tables and lets_in(self._way, base, chains)

    def _words(self, net: int) -> tuple[Words, frozenset[str] | None]:
        """The words that change with the rules; and whose changes they tell, as above."""
        hooks, nft = btf.offset("net", "nf", "netns_nf", "hooks_ipv4"), btf.offset(
            "net", "nft", "netns_nftables", "base_seq")
        if hooks is None:
            return (), None
        addresses = [net + hooks + 8 * hook for hook in _HOOKS]
        words = [(address, self._word(address)) for address in addresses]
        names: set[str] = set()
        for _, entries in words[:]:
            for name, table_words in self._tables(entries):
                names.add(name)
                words += table_words
        if nft is not None:
            words.append((net + nft, self._word(net + nft)))
        unique = tuple(dict.fromkeys(words))
        if len(unique) > _MOST_WORDS:
            return unique[:len(_HOOKS)], None
        return unique, None if nft is None else frozenset(names)

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
        if name not in hooked_rules.LEGACY:
            return None
        info = self._word(address + info_at)
        # struct xt_table_info begins with size and number.
        return name.decode(), [(address + info_at, info), (info, self._word(info))]

    def _word(self, address: int) -> int:
        return int(struct.unpack_from("=Q", self._memory(address))[0])

    def _memory(self, address: int) -> bytes:
        """What is at an address of the kernel. Raises OSError where there is nothing."""
        refused, frame = program.run(self._peek, bytes(_ETHERNET) + struct.pack("=Q", address)
                                     + bytes(_PEEKED - 8))
        if refused:
            raise OSError(f"nothing to read at {address:#x}")
        return frame[_ETHERNET:]

    def _call(self, command: int, key: int, value: bytes = bytes(_VALUE)) -> bytes:
        """Look a namespace up (zeros where there is none), update it, or delete it."""
        at = ctypes.create_string_buffer(struct.pack("=Q", key), 8)
        buffer = ctypes.create_string_buffer(value, _VALUE)
        try:
            program.bpf(command, _element.pack(
                self.descriptor, ctypes.addressof(at), ctypes.addressof(buffer), 0))
        except FileNotFoundError:
            return bytes(_VALUE)
        return buffer.raw


def _packed(words: Words) -> bytes:
    return b"".join(struct.pack("=QQ", *word) for word in words).ljust(_VALUE - 8, b"\0")
