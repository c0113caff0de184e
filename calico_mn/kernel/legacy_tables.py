"""Tables of iptables-legacy in new namespaces, without a process for each namespace.

    rules of a node ──▶ iptables-legacy-restore ──▶ the kernel's entries ──▶ patterns
    rules of the next ──▶ patterns, with its names in them ──▶ setsockopt(IPT_SO_SET_REPLACE)

Most of what iptables-legacy-restore takes for a small node is its start. The rules of two nodes are
the same but for digests, devices of pods and chains, which have fixed places in the kernel's
entries. So what iptables made of a rule once is the pattern for all rules of that shape:
:class:`LegacyTables` takes a firewall, writes it if it knows a pattern for each rule, and otherwise
says that iptables has to, from whose result it learns. Layouts are those of ``x_tables.h`` and
``ip_tables.h`` in ``include/uapi/linux``, the order of chains is that of ``libiptc.c`` in iptables.
"""

from __future__ import annotations

import ctypes
import re
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from calico_mn.state import Firewall

# What differs between rules of one shape: Felix's digest, a pod's device or the beginning of
# several, the chain that follows.
_VARIABLE = re.compile(
    rb'"cali:([\w-]{16})"|-interface (cali[0-9a-f]*\+?) |--(jump|goto) (cali-\S+)')
_SET = re.compile(rb"--match-set (\S+)")
#: longer chains have as many shapes as there are nodes, and are put together from their rules
_LONGEST = 32

#: the kernel's chains of each table, by the numbers of their hooks (netfilter_ipv4.h)
_HOOKS = (b"PREROUTING", b"INPUT", b"FORWARD", b"OUTPUT", b"POSTROUTING")
_CHAINS = {"raw": (0, 3), "mangle": (0, 1, 2, 3, 4), "nat": (0, 1, 3, 4), "filter": (1, 2, 3)}

_SET_REPLACE, _GET_INFO, _GET_ENTRIES = 64, 64, 65
_SO_IP_SET, _BY_NAME, _PROTOCOL = 83, 6, 6  # linux/netfilter/ipset/ip_set.h
_INFO = struct.Struct("=32sI5I5III")  # ipt_getinfo
_REPLACE = struct.Struct("=32sIII5I5IIQ")  # ipt_replace up to its entries
_ENTRIES = struct.Struct("=32sI4x")  # ipt_get_entries up to its entries
_OFFSETS = struct.Struct("=88xHH")  # ipt_entry: where the target is, and the next entry
_PART = struct.Struct("=H29sB")  # xt_entry_match and xt_entry_target up to their data
_VERDICT = struct.Struct("=i")  # xt_standard_target, after xt_entry_target
_ENTRY, _COUNTERS = 112, 16  # sizes of ipt_entry and xt_counters
_ACCEPT, _RETURN = -2, -5  # verdicts: -NF_ACCEPT - 1, XT_RETURN
_ERROR = b"ERROR"

_libc = ctypes.CDLL(None, use_errno=True)

Shape = tuple[bytes | int, ...]


class _Pattern(NamedTuple):
    """Entries of rules, and the offsets in them of what differs, each in the order of the rules.

    ``jumps`` are offsets of verdicts that lead to another chain; ``falls`` those of a rule without
    target, and where its next entry begins; ``sets`` those of an IP set's index, and its name.
    """

    entries: bytes
    rules: int
    digests: tuple[int, ...] = ()
    devices: tuple[int, ...] = ()
    jumps: tuple[int, ...] = ()
    falls: tuple[tuple[int, int], ...] = ()
    sets: tuple[tuple[int, bytes], ...] = ()


class _Chain(NamedTuple):
    """The pattern of a chain's rules, and what stands in its places."""

    pattern: _Pattern
    digests: list[bytes]
    devices: list[bytes]
    jumps: list[bytes]


class LegacyTables:
    """What was learned of rules. The methods run in the thread that is inside the namespace."""

    def __init__(self) -> None:
        self._patterns: dict[Shape, _Pattern] = {}

    def write(self, firewall: Firewall) -> bool:
        """Write all tables of a namespace that has no rules; its IP sets are there.

        False where a rule's shape was not learned, or where the kernel has rules in a table or
        takes none: then nothing is written, and all is up to iptables-legacy-restore.
        """
        tables = dict[str, dict[bytes, _Chain]]()
        for table in firewall.hooks:
            tables[table] = {}
            for name, rules in _texts(firewall, table).items():
                chain = self._chain(rules)
                if chain is None:
                    return False
                tables[table][name] = chain
            if any(jump not in tables[table] for chain in tables[table].values()
                   for jump in chain.jumps):
                return False  # iptables says which chain is missing
        try:
            with _socket() as sock:
                return _write(sock, tables)
        except OSError:
            return False

    def learn(self, firewall: Firewall) -> None:
        """Keep what iptables made of this firewall, just now, in a namespace that had no rules."""
        try:
            with _socket() as sock:
                for table in firewall.hooks:
                    entries = _read(sock, table)
                    for name, rules in _texts(firewall, table).items():
                        # iptables makes several rules of one with several addresses.
                        if len(rules) == len(entries.get(name, ())):
                            for rule, entry in zip(rules, entries[name], strict=True):
                                self._keep(rule, entry)
        except OSError:
            return

    def _chain(self, rules: Sequence[bytes]) -> _Chain | None:
        """A chain's rules, None if one of them has no pattern."""
        shape, *values = _split(b"\n".join(rules))
        pattern = self._patterns.get(shape)
        if pattern is None:
            patterns = [self._patterns.get(_split(rule)[0]) for rule in rules]
            pattern = _joined(patterns)
            if pattern is not None and len(rules) <= _LONGEST:
                self._patterns[shape] = pattern
        return pattern and _Chain(pattern, *values)

    def _keep(self, rule: bytes, entry: bytes) -> None:
        """The pattern of a rule, if all that can differ is in one place of its entry."""
        shape, digests, devices, jumps = _split(rule)
        target, _ = _OFFSETS.unpack_from(entry)
        names = _SET.findall(rule)
        sets = [at + _PART.size for at, name in _matches(entry, target) if name == b"set"]
        values = (*digests, *devices)
        if any(entry.count(value) != 1 for value in values) or len(names) != len(sets):
            return
        verdict = target + _PART.size
        leads_on = (not _text(entry[target + 2:verdict])
                    and _VERDICT.unpack_from(entry, verdict)[0] >= 0)
        if jumps and not leads_on:
            return
        self._patterns[shape] = _Pattern(
            entry, 1, tuple(map(entry.index, digests)), tuple(map(entry.index, devices)),
            (verdict,) if jumps else (), ((verdict, len(entry)),) if leads_on and not jumps else (),
            tuple(zip(sets, names, strict=True)))


def _kernels_chains(table: str) -> list[bytes]:
    return [_HOOKS[hook] for hook in _CHAINS[table]]


def _texts(firewall: Firewall, table: str) -> dict[bytes, list[bytes]]:
    """Chain -> the rules in it, as iptables-restore adds them to a table without rules.

    A rule is what follows the chain's name; the kernel's chains come first.
    """
    texts = {name: list[bytes]() for name in _kernels_chains(table)}
    for rule in firewall.hooks[table]:
        verb, name, text = rule.encode().split(b" ", 2)
        texts[name].insert(0 if verb == b"-I" else len(texts[name]), text)
    # libiptc keeps chains in the order of their names.
    for chain in sorted(chain for of, chain in firewall.chains if of == table):
        start = len(f"-A {chain} ")
        texts[chain.encode()] = [rule[start:].encode() for rule in firewall.chains[table, chain]]
    return texts


def _split(text: bytes) -> tuple[Shape, list[bytes], list[bytes], list[bytes]]:
    """The shape of rules, then what stands in its gaps: digests, devices and chains."""
    pieces = _VARIABLE.split(text)
    digests, devices, words, jumps = ([*filter(None, pieces[group::5])] for group in (1, 2, 3, 4))
    # The length of a device's name decides how much of it is compared.
    return (*pieces[::5], *words, *map(len, devices)), digests, devices, jumps


def _joined(patterns: Sequence[_Pattern | None]) -> _Pattern | None:
    """One pattern for several rules in a row, None if one is missing."""
    known = [pattern for pattern in patterns if pattern]
    if len(known) < len(patterns):
        return None
    starts = accumulate((len(pattern.entries) for pattern in known), initial=0)
    placed = list(zip(starts, known))  # noqa: B905 - the last start is the end
    return _Pattern(
        b"".join(pattern.entries for pattern in known), len(known),
        tuple(start + at for start, pattern in placed for at in pattern.digests),
        tuple(start + at for start, pattern in placed for at in pattern.devices),
        tuple(start + at for start, pattern in placed for at in pattern.jumps),
        tuple((start + at, start + following) for start, pattern in placed
              for at, following in pattern.falls),
        tuple((start + at, name) for start, pattern in placed for at, name in pattern.sets))


# --- a table's entries

def _standard(verdict: int) -> bytes:
    """The entry at a chain's end: the policy, or the way back."""
    target = _PART.pack(40, b"", 0) + _VERDICT.pack(verdict) + bytes(4)
    return _OFFSETS.pack(_ENTRY, _ENTRY + 40).ljust(_ENTRY, b"\0") + target


def _head(name: bytes) -> bytes:
    """The entry before a chain's first rule, with its name; or the table's last one."""
    target = _PART.pack(64, _ERROR, 0) + name.ljust(32, b"\0")
    return _OFFSETS.pack(_ENTRY, _ENTRY + 64).ljust(_ENTRY, b"\0") + target


_POLICY, _BACK, _LAST = _standard(_ACCEPT), _standard(_RETURN), _head(_ERROR)
_EMPTY = _Chain(_Pattern(b"", 0), [], [], [])


def _write(sock: socket.socket, tables: Mapping[str, Mapping[bytes, _Chain]]) -> bool:
    """Write all tables or none; whether they are written. Raises OSError."""
    if any(_info(sock, table).entries > len(_CHAINS[table]) + 1 for table in tables):
        return False
    written = list[str]()
    for table, chains in tables.items():
        try:
            _replace(sock, table, chains)
        except OSError:
            for before in written:
                _replace(sock, before, dict.fromkeys(_kernels_chains(before), _EMPTY))
            return False
        written.append(table)
    return True


def _replace(sock: socket.socket, table: str, chains: Mapping[bytes, _Chain]) -> None:
    """Write a table in place of what it holds. Raises OSError."""
    hooks = _CHAINS[table]
    old = _info(sock, table).entries
    starts, ends = dict[bytes, int](), list[int]()
    at, count = 0, 1
    for number, (name, chain) in enumerate(chains.items()):
        at += len(_LAST) if number >= len(hooks) else 0
        starts[name] = at
        at += len(chain.pattern.entries)
        ends.append(at)
        at += len(_BACK)
        count += chain.pattern.rules + (2 if number >= len(hooks) else 1)
    indexes = dict[bytes, bytes]()
    parts = list[bytes | bytearray]()
    for number, (name, chain) in enumerate(chains.items()):
        parts += () if number < len(hooks) else (_head(name),)
        parts += (_filled(sock, chain, starts, starts[name], indexes),
                  _POLICY if number < len(hooks) else _BACK)
    content = b"".join((*parts, _LAST))
    counters = ctypes.create_string_buffer(_COUNTERS * old)
    entries = [starts[_HOOKS[hook]] if hook in hooks else 0 for hook in range(5)]
    policies = [ends[hooks.index(hook)] if hook in hooks else 0 for hook in range(5)]
    sock.setsockopt(socket.IPPROTO_IP, _SET_REPLACE, _REPLACE.pack(
        table.encode(), sum(1 << hook for hook in hooks), count, len(content), *entries, *policies,
        old, ctypes.addressof(counters)) + content)


def _filled(sock: socket.socket, chain: _Chain, starts: Mapping[bytes, int], start: int,
            indexes: dict[bytes, bytes]) -> bytearray:
    """A chain's entries at the offset ``start`` of a table in which chains begin at ``starts``."""
    pattern = chain.pattern
    entries = bytearray(pattern.entries)
    for at, digest in zip(pattern.digests, chain.digests, strict=True):
        entries[at:at + len(digest)] = digest
    for at, device in zip(pattern.devices, chain.devices, strict=True):
        entries[at:at + len(device)] = device
    for at, jump in zip(pattern.jumps, chain.jumps, strict=True):
        _VERDICT.pack_into(entries, at, starts[jump])
    for at, following in pattern.falls:
        _VERDICT.pack_into(entries, at, start + following)
    for at, name in pattern.sets:
        if name not in indexes:
            indexes[name] = _set_index(sock, name)
        entries[at:at + 2] = indexes[name]
    return entries


# --- asking the kernel

class _Info(NamedTuple):
    """A table as the kernel tells it: offsets of each hook's first entry and of its policy."""

    starts: Sequence[int]
    policies: Sequence[int]
    entries: int
    size: int


def _socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def _ask(sock: socket.socket, option: int, request: bytes) -> bytes:
    """getsockopt() with a question in its buffer. Raises OSError."""
    buffer = ctypes.create_string_buffer(request, len(request))
    size = ctypes.c_uint32(len(request))
    if _libc.getsockopt(sock.fileno(), socket.IPPROTO_IP, option, buffer, ctypes.byref(size)):
        raise OSError(ctypes.get_errno(), f"getsockopt {option}")
    return buffer.raw


def _info(sock: socket.socket, table: str) -> _Info:
    _, _, *numbers = _INFO.unpack(_ask(sock, _GET_INFO, table.encode().ljust(_INFO.size, b"\0")))
    return _Info(numbers[:5], numbers[5:10], numbers[10], numbers[11])


def _set_index(sock: socket.socket, name: bytes) -> bytes:
    """The two bytes by which rules of this namespace name an IP set."""
    return _ask(sock, _SO_IP_SET, struct.pack("=II32s", _BY_NAME, _PROTOCOL, name))[8:10]


def _read(sock: socket.socket, table: str) -> dict[bytes, list[bytes]]:
    """Chain -> the entries of its rules; nothing where ip_tables was loaded with other policies."""
    info = _info(sock, table)
    content = _ask(sock, _GET_ENTRIES, _ENTRIES.pack(table.encode(), info.size)
                   + bytes(info.size))[_ENTRIES.size:]
    begins = {info.starts[hook]: _HOOKS[hook] for hook in _CHAINS[table]}
    if any(content[at + _ENTRY:at + len(_POLICY)] != _POLICY[_ENTRY:]
           for at in (info.policies[hook] for hook in _CHAINS[table])):
        return {}
    chains = dict[bytes, list[bytes]]()
    chain = list[bytes]()
    at = 0
    while at < len(content):
        target, size = _OFFSETS.unpack_from(content, at)
        entry = content[at:at + size]
        if _text(entry[target + 2:]) == _ERROR:
            chain = chains[_text(entry[target + _PART.size:])] = []
        else:
            if at in begins:
                chain = chains[begins[at]] = []
            chain.append(entry)
        at += size
    # The last entry is the chain's end.
    return {name: entries[:-1] for name, entries in chains.items()}


def _matches(entry: bytes, target: int) -> Iterator[tuple[int, bytes]]:
    """Offset and name of each match of an entry, whose target is at ``target``."""
    at = _ENTRY
    while at < target:
        yield at, _text(entry[at + 2:])
        at += _PART.unpack_from(entry, at)[0]


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
