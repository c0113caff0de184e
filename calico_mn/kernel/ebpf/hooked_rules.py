"""The rules that a packet for this host meets: nftables' and iptables-legacy's, and an IP set.

In go the names of chains; out come all chains of the kernel's hooks PREROUTING and INPUT, and the
digests of the rules in them and in the chains that were asked for. The kernel is asked by netlink
and getsockopt(2), since programs would take ten times as long. Layouts, in ``include/uapi/linux``:
``netfilter/nf_tables.h``, ``netfilter_ipv4/ip_tables.h``, ``netfilter/x_tables.h``,
``netfilter/ipset/ip_set.h``.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Collection, Iterator

from calico_mn.kernel.ebpf import handover
from calico_mn.kernel.netlink import attribute, attributes, text
from calico_mn.rules import Chain, Hooked, digest

#: the tables of iptables-legacy, as the kernel names them
LEGACY = (b"raw", b"mangle", b"nat", b"filter", b"security")
_HOOK_NAMES = ("PREROUTING", "INPUT")
_FAMILIES = {1: "inet ", int(socket.AF_INET): ""}
_ACCEPT = 1
_GET_INFO, _GET_ENTRIES = 64, 65
_IP_SETS, _LIST = 6, 7  # NFNL_SUBSYS_IPSET, IPSET_CMD_LIST
_SET_PROTOCOL, _SET_NAME, _SET_ELEMENTS, _SET_IP, _SET_CIDR = 1, 2, 8, 1, 3
# struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], num_entries, size
_info = struct.Struct("=32sI5I5III")
_entries_header = struct.Struct("=32sIxxxx")
# struct ipt_entry: target_offset and next_offset; its length, where the matches begin
_OFFSETS_AT, _ENTRY_LENGTH = 88, 112
# struct xt_entry_target: size, name; behind it the verdict, or the name of the chain
_target = struct.Struct("=H29sx")
_ACCEPTED = -_ACCEPT - 1

_libc = ctypes.CDLL(None, use_errno=True)

Read = tuple[list[Hooked], dict[Chain, tuple[str, ...]]]


def legacy_tables() -> tuple[str, ...]:
    """The tables of iptables-legacy that this namespace has: asking for others would make them."""
    try:
        with open("/proc/thread-self/net/ip_tables_names", encoding="ascii") as names:
            return tuple(names.read().split())
    except OSError:
        return ()


def read(legacy: Collection[str], chains: Collection[Chain]) -> Read:
    """The chains of the hooks, and the digests in them and in ``chains``. Raises OSError."""
    base, digests = _nft(chains)
    for table in legacy:
        more, inside = _legacy(table)
        base += more
        for chain, rules in inside.items():
            digests[chain] = digests.get(chain, ()) + rules
    return base, digests


def members(name: str) -> frozenset[str]:
    """The members of an IP set of the kind hash:net, as ipset lists them. Raises OSError."""
    found: set[str] = set()
    asked = attribute(_SET_PROTOCOL, bytes([6])) + text(_SET_NAME, name)
    for _family, inside in handover.dump(_IP_SETS, _LIST, socket.AF_INET, asked):
        for element in _elements(inside.get(_SET_ELEMENTS, b"")):
            address = attributes(element.get(_SET_IP, b"")).get(1, bytes(4))
            length = element.get(_SET_CIDR, b"\x20")[0]
            found.add(socket.inet_ntoa(address) + ("" if length == 32 else f"/{length}"))
    return frozenset(found)


def _elements(data: bytes) -> Iterator[dict[int, bytes]]:
    """The attributes of each element: all elements are of one kind of attribute."""
    while len(data) >= 4:
        length = struct.unpack_from("=H", data)[0]
        yield attributes(data[4:length])
        data = data[(length + 3) & ~3:]


def _nft(chains: Collection[Chain]) -> Read:
    base, digests = [], {}
    for family, table, chain, hook, policy in handover.chains():
        if family not in _FAMILIES or table == handover.TABLE:
            continue
        place = _FAMILIES[family] + table, chain
        if hook in range(len(_HOOK_NAMES)) or place in chains:
            digests[place] = tuple(map(digest, handover.rules(family, table, chain)))
        if hook in range(len(_HOOK_NAMES)):
            base.append(Hooked(place, policy == _ACCEPT, bool(digests[place])))
    return base, digests


def _legacy(table: str) -> Read:
    info = _get(_GET_INFO, _info.pack(table.encode(), *[0] * 13))
    _, valid, *numbers, _, size = _info.unpack(info)
    starts, ends = numbers[:5], numbers[5:]
    blob = _get(_GET_ENTRIES, _entries_header.pack(table.encode(), size) + bytes(size))
    blob = blob[_entries_header.size:]
    builtin = {starts[hook]: (name, ends[hook]) for hook, name in enumerate(_HOOK_NAMES)
               if valid & 1 << hook}
    base: list[Hooked] = []
    digests: dict[Chain, list[str]] = {}
    name, last = "", -1
    for place, entry, target in _walk(blob):
        start = _target.size
        kind = _target.unpack_from(target)[1].partition(b"\0")[0]
        if place in builtin:
            name, last = builtin[place]
            digests[table, name] = []
        elif kind == b"ERROR":
            name = target[start:].partition(b"\0")[0].decode("ascii", "replace")
            digests[table, name], last = [], -1
            continue
        if place == last:
            accepts = struct.unpack_from("=i", target, start)[0] == _ACCEPTED
            base.append(Hooked((table, name), accepts, bool(digests[table, name])))
            name = ""
        elif name:
            digests[table, name].append(digest(entry))
    # The last rule of a chain of ours is the return that is at the end of each.
    own = {chain for chain in digests if chain[1] not in _HOOK_NAMES}
    return base, {chain: tuple(rules[:-1] if chain in own else rules)
                  for chain, rules in digests.items()}


def _walk(blob: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Where each entry is, its bytes, and its target's."""
    place = 0
    while place + _ENTRY_LENGTH <= len(blob):
        target, following = struct.unpack_from("=HH", blob, place + _OFFSETS_AT)
        if following < _ENTRY_LENGTH:
            return
        yield place, blob[place:place + following], blob[place + target:place + following]
        place += following


def _get(option: int, value: bytes) -> bytes:
    """getsockopt(2) with a question in the buffer, which Python's does not send. Raises OSError."""
    buffer, length = ctypes.create_string_buffer(value, len(value)), ctypes.c_uint(len(value))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                       socket.IPPROTO_RAW) as sock:
        if _libc.getsockopt(sock.fileno(), socket.SOL_IP, option, buffer, ctypes.byref(length)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw

